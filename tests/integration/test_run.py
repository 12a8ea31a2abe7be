"""Whole runs by the command line, all parts real: what a user sees is files, exit codes, and nothing left behind."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.leaks import left_of, shared_memory_of, socket_files_of

from vrl.data.dataset import read_samples
from vrl.toyworld.make import make_toy

pytestmark = pytest.mark.timeout(700)  # a busy machine is slow, not wrong

SMALL = [
    "rollout.max_num_seqs=32",
    "algo.groups_per_step=4",
    "val.samples=12",
    "log.samples_every=2",
    "gate.prompts=2",
]
COLD = ["steps=40", "val.every=0", "sft.stop_at_reward=0"]


@dataclass
class Vrl:
    """A vrl command under way, findable by a mark that all its children inherit."""

    process: subprocess.Popen
    mark: str
    shared_memory: set[str] = field(default_factory=set)  # names that its processes were seen to have
    sockets: set[str] = field(default_factory=set)  # paths, likewise

    @classmethod
    def start(cls, *arguments: str) -> "Vrl":
        mark = uuid.uuid4().hex
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("vrl")), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "VRL_TEST_MARK": mark, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"},
            start_new_session=True,
        )
        return cls(process=process, mark=mark)

    def wait(self, timeout_s: float = 600) -> str:
        """The whole output, once the command has ended."""
        deadline = time.monotonic() + timeout_s
        while True:
            alive = self.alive()
            self.shared_memory |= shared_memory_of(alive)
            self.sockets |= socket_files_of(alive)
            try:
                return self.process.communicate(timeout=1)[0]
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    self._end()
                    raise

    def alive(self) -> list[int]:
        """Processes of this command, regardless of their current parent."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended while we looked
        return found

    def assert_nothing_left(self) -> None:
        """No process, socket file or shared memory survives the command (they get a moment to follow it)."""
        deadline = time.monotonic() + 30
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert self._end() == []
        assert left_of(self.shared_memory) == set()
        assert [path for path in self.sockets if os.path.exists(path)] == []

    def _end(self) -> list[str]:
        """Kill all processes of the command; returns what they were."""
        left = []
        for pid in self.alive():
            with contextlib.suppress(OSError):  # it ended while we looked
                left.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip())
                os.kill(pid, signal.SIGKILL)
        return left


def run(*arguments: str) -> tuple[int, str]:
    command = Vrl.start(*arguments)
    output = command.wait()
    command.assert_nothing_left()
    return command.process.returncode, output


def rows(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def summary(run_dir: Path) -> dict:
    return json.loads((run_dir / "summary.json").read_text())


def without_times(found: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if "seconds" not in k and "per_s" not in k} for row in found]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "toy"
    make_toy(out, clips=40, difficulty=0, seed=0, workers=2)
    return out


@pytest.fixture(scope="module")
def data(toy: Path) -> list[str]:
    return [f"data.train={toy}/train_basic.parquet", f"data.val={toy}/val_basic.parquet"]


@pytest.fixture(scope="module")
def cold(toy: Path, data: list[str]) -> Path:
    """A short cold start: formats come out right, skill is low."""
    runs = toy.parent / "runs"
    code, output = run(
        "sft",
        "conf/toy/sft.yaml",
        f"runs_dir={runs}",
        f"model.path={toy}/model",
        *data,
        *SMALL,
        *COLD,
        f"data.cache.dir={runs}/cache",
    )
    assert code == 0, output
    return runs / "toy-sft"


def train(cold: Path, data: list[str], name: str, *overrides: str) -> list[str]:
    base = ["train", "conf/toy/rl.yaml", f"runs_dir={cold.parent}", f"name={name}", f"model.path={cold}"]
    return [*base, *data, *SMALL, *overrides]


def test_cold_start_leaves_a_whole_run_folder(cold: Path):
    losses = [row["loss/sft"] for row in rows(cold)]
    assert len(losses) == 40 and losses[-1] < 0.5 * losses[0]
    done = summary(cold)
    assert done["kind"] == "sft" and done["ended"] == "finished" and done["steps"] == 40
    assert rows(cold)[-1]["val/loss"] > 0 and any(key.startswith("val/format/") for key in rows(cold)[-1])
    assert (cold / "checkpoints" / "step_000040" / "hf" / "model.safetensors").is_file()


def test_over_all_epochs_and_validations_each_clip_is_decoded_once(cold: Path, toy: Path):
    samples = [*read_samples(toy / "train_basic.parquet"), *read_samples(toy / "val_basic.parquet")[:12]]
    clips = {hashlib.sha256((toy / media.path).read_bytes()).digest() for s in samples for media in s.media}
    done = summary(cold)
    assert done["decodes"] == len(clips)
    assert done["cache_hits"] > 10 * len(clips) and done["corrupt_cache_entries"] == 0
    assert rows(cold)[0]["data/cache_hit_frac"] < 1 and rows(cold)[-1]["data/cache_hit_frac"] == 1


@pytest.fixture(scope="module")
def synchronous(cold: Path, data: list[str]) -> Path:
    code, output = run(*train(cold, data, "sync", "steps=4"))
    assert code == 0, output
    return cold.parent / "sync"


def test_synchronous_run_keeps_its_contract(synchronous: Path):
    found = rows(synchronous)
    assert [row["step"] for row in found] == [1, 2, 3, 4]
    for key in (
        "policy_version", "reward/mean", "reward/format", "loss/policy", "loss/mismatch_kl", "rollout/tokens_per_s",
        "learner/tokens_per_s", "push/seconds", "step/seconds", "group/zero_spread_frac",
    ):  # fmt: skip
        assert all(key in row for row in found), key
    assert all(abs(row["loss/mismatch_kl"]) < 1e-5 for row in found)
    assert all(row["rollout/policy_age_max"] == 0 for row in found)
    done = summary(synchronous)
    assert done["steps"] == 4 and 0 <= done["val_after"]["mean"] <= 1 and "vqa" in done["val_before"]
    assert done["groups_started"] == (
        done["groups_trained"] + sum(done["groups_dropped"].values()) + done["groups_unfinished"]
    )
    assert done["groups_trained"] > 0
    assert (synchronous / "config.yaml").is_file()
    assert [p.name for p in sorted((synchronous / "samples").iterdir())][:2] == [
        "step_000001.parquet",
        "step_000002.parquet",
    ]


def test_the_same_seed_gives_the_same_metrics(synchronous: Path, cold: Path, data: list[str]):
    code, output = run(*train(cold, data, "again", "steps=4"))
    assert code == 0, output
    assert without_times(rows(cold.parent / "again")) == without_times(rows(synchronous))


def test_asynchronous_run_with_two_ranks_two_engines_and_broken_clips(cold: Path, toy: Path, tmp_path: Path):
    broken = tmp_path / "toy"
    shutil.copytree(toy, broken, ignore=shutil.ignore_patterns("model"))
    for clip in sorted((broken / "clips" / "train").iterdir())[::8]:
        clip.write_bytes(b"not a video" * 100)
    data = [f"data.train={broken}/train_basic.parquet", f"data.val={broken}/val_basic.parquet"]
    code, output = run(
        *train(cold, data, "async", "steps=5", "algo.max_policy_age=1", "learner.ranks=2", "learner.zero_stage=3"),
        "rollout.engines=2",
        "data.max_bad_fraction=0.5",
        "gate.enabled=false",
    )
    assert code == 0, output
    ages = [row["rollout/policy_age_max"] for row in rows(cold.parent / "async")]
    assert max(ages) <= 1
    done = summary(cold.parent / "async")
    assert done["samples_dropped"] and all(bad["message"] for bad in done["dropped_samples"])
    listed = [json.loads(line)["path"] for line in (cold.parent / "async" / "bad_media.jsonl").read_text().splitlines()]
    assert len(set(listed)) == len(listed) == done["bad_media"] > 0
    assert done["groups_started"] == (
        done["groups_trained"] + sum(done["groups_dropped"].values()) + done["groups_unfinished"]
    )


@pytest.mark.parametrize(
    ("signum", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_the_run_with_a_checkpoint_and_it_resumes(cold: Path, data: list[str], signum: int, code: int):
    name = f"stopped-{code}"
    command = Vrl.start(*train(cold, data, name, "steps=500", "val.samples=2"))
    metrics = cold.parent / name / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while not (metrics.is_file() and len(metrics.read_text().splitlines()) >= 3):
        assert command.process.poll() is None and time.monotonic() < deadline, command.wait(1)
        time.sleep(0.1)
    if signum == signal.SIGINT:
        os.killpg(command.process.pid, signum)  # as a terminal does: to the whole foreground group
    else:
        command.process.send_signal(signum)
    output = command.wait(60)
    command.assert_nothing_left()
    assert command.process.returncode == code, output
    done = summary(cold.parent / name)
    assert done["ended"] == "stopped" and done["steps"] >= 3
    assert (cold.parent / name / "checkpoints" / f"step_{done['steps']:06d}" / "manifest.json").is_file()
    if signum == signal.SIGTERM:
        again, output = run(*train(cold, data, name, f"steps={done['steps'] + 2}", "val.samples=2", "resume=must"))
        assert again == 0, output
        assert [row["step"] for row in rows(cold.parent / name)] == list(range(1, done["steps"] + 3))
        resumed = summary(cold.parent / name)
        assert resumed["groups_started"] == (
            resumed["groups_trained"] + sum(resumed["groups_dropped"].values()) + resumed["groups_unfinished"]
        )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_resumed_run_equals_an_uninterrupted_one(cold: Path, data: list[str]):
    small = ["val.samples=2", "gate.enabled=false", "learner.lr_schedule=constant"]
    for name, *overrides in (
        ("straight", "steps=6"),
        ("halves", "steps=3"),
        ("halves", "steps=6", "resume=must"),
    ):
        code, output = run(*train(cold, data, name, *small, *overrides))
        assert code == 0, output
    straight, halves = (without_times(rows(cold.parent / name)) for name in ("straight", "halves"))
    assert [row["step"] for row in halves] == [1, 2, 3, 4, 5, 6]
    for found, wanted in zip(halves, straight, strict=True):
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6)


def test_wrong_configuration_exits_2_with_every_problem(tmp_path: Path):
    code, output = run("train", "conf/toy/rl.yaml", f"runs_dir={tmp_path}", "algo.lrr=1", "steps=-4")
    assert code == 2
    assert "algo.lrr" in output and not list(tmp_path.iterdir())


EACH = """
import json, sys
import psutil
from vrl.cli import main

def refuse(event, arguments):
    if event == "subprocess.Popen" and "gcs_server" in str(arguments):
        sys.exit("Ray was started")

sys.addaudithook(refuse)
for arguments in json.loads(sys.argv[1]):
    print("no Ray, exit code", main(arguments), file=sys.stderr)
assert not psutil.Process().children(recursive=True)
heavy = {"transformers", "torchvision", "torch._dynamo", "deepspeed", "vllm"} & sys.modules.keys()
assert not heavy, f"the driver loads what only its actors need: {heavy}"
"""


def test_bad_data_is_an_error_before_any_actor(cold: Path, data: list[str], tmp_path: Path):
    """One process for all: most of what each takes is imports."""
    row = {
        "sample_id": "a",
        "task": "vqa",
        "question": "?",
        "answer": "Z",
        "answer_type": "choice",
        "options": ["x", "y"],
    }
    missing = {**row, "sample_id": "b", "answer": "A", "media": [{"kind": "video", "path": "nowhere.mp4"}]}
    faults = {
        json.dumps(row): "answer",
        json.dumps(missing): "nowhere.mp4",
        "": "no rows",
        json.dumps({**row, "answer": "A", "task": "dance"}): "dance",
    }
    cases = []
    for index, (text, expected) in enumerate(faults.items()):
        rows_file = tmp_path / f"{index}.jsonl"
        rows_file.write_text(text)
        cases.append((train(cold, [f"data.train={rows_file}", "data.val=''"], "bad"), expected))
    cases.append((train(cold, ["data.train=/nowhere/rows.parquet"], "bad"), "/nowhere/rows.parquet"))
    cases.append((train(cold, data, "bad", f"model.path={tmp_path}"), "model.path"))
    commands = json.dumps([arguments for arguments, _ in cases])
    ended = subprocess.run([sys.executable, "-c", EACH, commands], capture_output=True, text=True, timeout=100)
    told = ended.stderr.split("no Ray, exit code ")
    assert ended.returncode == 0 and len(told) == len(cases) + 1, ended.stderr
    for (_, expected), output, code in zip(cases, told[:-1], told[1:], strict=True):
        assert expected in output and code.startswith("2\n"), output
