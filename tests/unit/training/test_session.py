import asyncio
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.fakes import FakeEngines, FakeRewards, prepare

from vrl.algo.packing import LIKE_TOKENS
from vrl.checkpoint import Checkpoint, newest
from vrl.config import AlgoConfig, CheckpointConfig, DataConfig, ModelConfig, PushConfig, RunConfig, SftConfig
from vrl.errors import CheckpointError, ConfigError, LostCallError, StorageError
from vrl.lifecycle import Stop
from vrl.training.progress import RunProgress
from vrl.training.run_folder import RunData
from vrl.training.session import Session, stored_state, with_steps
from vrl.training.sft import train_sft
from vrl.types import Sample


def run_data(train: list[Sample], val: list[Sample] | None = None) -> RunData:
    return RunData(train=tuple(train), val=tuple(val or ()), files={})


def checkpoint(**changes):
    driver = {
        "stream": {},
        "progress": asdict(RunProgress(step=3)),
        "bad": [],
        "vals": {},
        "wall_s": 1.0,
        "media_work": {},
    } | changes
    return Checkpoint(path=Path("runs/x/step_000003"), step=3, driver=driver)


def test_a_run_resumes_from_its_checkpoint_or_starts_at_zero():
    assert stored_state(None)["progress"]["step"] == 0
    assert stored_state(checkpoint())["progress"]["step"] == 3


def test_a_cold_start_that_generates_shares_no_gpu():
    async def go() -> None:
        config = RunConfig(name="x", data=DataConfig(train="a", val="b"), push=PushConfig(backend="ipc"))
        task: Any = asyncio.current_task()
        await train_sft(config, Stop(task))

    with pytest.raises(ConfigError, match="got ipc in a cold start that generates"):
        asyncio.run(go())


def test_a_checkpoint_of_another_version_says_what_differs():
    old = asdict(RunProgress(step=3))
    del old["earlier"]["dropped"]
    with pytest.raises(CheckpointError, match=r"missing: \['progress\.earlier\.dropped'\], unknown: \['cursor'\]"):
        stored_state(checkpoint(progress=old, cursor=1))
    with pytest.raises(CheckpointError, match="another version of vrl"):
        stored_state(Checkpoint(path=Path("x"), step=1, driver={}))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("file write failed")])
def test_a_save_that_fails_takes_no_room_and_leaves_the_older_ones(tmp_path: Path, error: Exception):
    (tmp_path / "model").mkdir()
    checkpoints = tmp_path / "model" / "checkpoints"

    class Learner:
        """Whose disk is full at step 4."""

        async def save(self, folder: Path) -> None:
            folder.mkdir()
            (folder / "state").write_bytes(bytes(1000))
            if "step_000004" in str(folder):
                raise error

    async def scenario() -> None:
        model = ModelConfig(path=str(tmp_path / "model"))
        fleets: Any = SimpleNamespace(model=model, prepare=prepare, learner=Learner())
        config = RunConfig(name="model", runs_dir=str(tmp_path), checkpoint=CheckpointConfig(every=2))
        one = [Sample(sample_id="0", task="vqa", question="?", answer="a")]
        session = Session(config, "rl", fleets, None, run_data(one), None, LIKE_TOKENS)  # pyright: ignore[reportArgumentType]
        await session.save_if_due(RunProgress(step=2))
        with pytest.raises(StorageError, match=rf"checkpoint of step 4: .*{error.args[-1]}.* MiB free.*make room"):
            await session.save_if_due(RunProgress(step=4))

    asyncio.run(scenario())
    found = newest(checkpoints)
    assert found is not None and found.step == 2
    assert sorted(path.name for path in checkpoints.iterdir()) == ["latest", "step_000002"]


def test_an_export_that_fails_loses_the_folder_and_not_the_checkpoint(tmp_path: Path):
    said: list[str] = []

    class Learner:
        async def save(self, folder: Path) -> None:
            folder.mkdir()

        async def export(self, folder: Path) -> None:
            folder.mkdir()
            (folder / "config.json").write_text("{}")
            raise ValueError("GenerationConfig is invalid")

    async def scenario() -> None:
        fleets: Any = SimpleNamespace(model=ModelConfig(path="m"), prepare=prepare, learner=Learner())
        config = RunConfig(name="run", runs_dir=str(tmp_path))
        config.run_dir.mkdir()
        log: Any = SimpleNamespace(say=said.append)
        one = run_data([Sample(sample_id="0", task="vqa", question="?", answer="a")])
        session = Session(config, "rl", fleets, log, one, None, LIKE_TOKENS)
        await session._save(RunProgress(step=3), export=True)

    asyncio.run(scenario())
    found = newest(tmp_path / "run" / "checkpoints")
    assert found is not None and found.step == 3 and not found.hf.exists()
    assert said == [
        "checkpoint of step 3 has no hf/ folder: ValueError: GenerationConfig is invalid; `vrl export` writes it"
    ]


def test_a_validation_whose_kept_samples_died_with_a_node_prepares_them_anew(tmp_path: Path):
    (tmp_path / "model").mkdir()
    samples = [Sample(sample_id=str(i), task="vqa", question="?", answer="a") for i in range(3)]
    prepared: list[str] = []

    class Node(FakeEngines):
        """Engines to which patches that were made before it died are of no use."""

        died_after = 0

        async def call(self, method: str, *args: Any, **sampling: Any) -> Any:
            if any(int(patches) < self.died_after for patches in args[1:]):
                raise LostCallError("what it was given is lost")
            return await super().call(method, *args, **sampling)

    async def number(sample: Sample) -> Any:
        prepared.append(sample.sample_id)
        return (await prepare(sample))[0], len(prepared) - 1

    async def scenario() -> None:
        model, engines = ModelConfig(path=str(tmp_path / "model")), Node()
        fleets: Any = SimpleNamespace(model=model, prepare=number, engines=engines, rewards=FakeRewards())
        config = RunConfig(name="model", runs_dir=str(tmp_path))  # a folder that is there
        session = Session(config, "rl", fleets, None, run_data(samples, samples), None, LIKE_TOKENS)  # pyright: ignore[reportArgumentType]
        first = await session.validate()
        assert first["mean"] == 0 and await session.validate() == first
        assert prepared == ["0", "1", "2"]  # the second one saw what the first had kept
        engines.died_after = 2
        assert await session.validate() == first and prepared == ["0", "1", "2"] * 2
        engines.died_after = 100
        with pytest.raises(LostCallError):  # it is not the node then
            await session.validate()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("kind", "keys", "samples", "steps"),
    [
        ("rl", {}, 1000, 100),  # no epochs: steps counts
        ("rl", {"epochs": 1.0, "algo": AlgoConfig(groups_per_step=16)}, 6038, 377),  # VideoReasoner, stage 2
        ("sft", {"epochs": 1.0, "sft": SftConfig(batch_size=32)}, 10467, 327),  # Video-R2, stage 1
        ("rl", {"epochs": 1.0, "algo": AlgoConfig(groups_per_step=1)}, 4804, 4804),  # Video-R2, stage 2
        ("sft", {"epochs": 3.0, "sft": SftConfig(batch_size=16)}, 3003, 563),  # VideoReasoner, stage 1
        ("sft", {"epochs": 0.5, "sft": SftConfig(batch_size=32)}, 7, 1),
    ],
)
def test_epochs_set_the_steps(kind: str, keys: dict, samples: int, steps: int):
    assert with_steps(RunConfig(name="x", **keys), kind, samples).steps == steps
