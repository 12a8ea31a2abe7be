"""P13: a fifth of the clips are bad, in every known way, and one decode hangs. Decoded by real data workers."""

import asyncio
import json
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
import ray
from chaos.world import FAULT, World, kill, live, require_complete
from support.clips import FOUR_FRAMES, write_clip
from unit.data.decode.test_video import BAD

from vrl.actors.pool import ActorPool
from vrl.config import DataConfig, ModelConfig
from vrl.data.media_tracker import MediaTracker
from vrl.data.preparer import SamplePreparer
from vrl.data.worker import DataWorker
from vrl.errors import DataError
from vrl.lifecycle import first_cause
from vrl.toyworld.model import build_family
from vrl.types import Media, Prompt, Sample

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light_ray"), pytest.mark.timeout(280)]
TIMEOUT_S = 10.0


def write_samples(root: Path) -> tuple[list[Sample], dict[str, str]]:
    """Write fifty samples, a fifth of them with bad clips; returns the reason for each bad clip, by its path."""
    write_clip(root / "good.mp4", [i / 8 for i in range(16)])
    reasons = {}
    for index, (case, (name, reason, make)) in enumerate(BAD.items()):
        (root / str(index)).mkdir()
        make(root / str(index) / name)
        reasons[f"{index}/{name}"] = "empty" if case == "empty" else reason  # rejected before it is opened
    good = [f"good{i}.mp4" for i in range(4 * len(reasons))]
    for path in good:
        shutil.copy(root / "good.mp4", root / path)
    paths = [*reasons, *good]
    return [
        Sample(sample_id=str(i), task="vqa", question="How?", answer="red", media=(Media(kind="video", path=path),))
        for i, path in enumerate(paths)
    ], reasons


def run(tmp_path: Path, *, max_bad_fraction: float) -> tuple[World, dict[str, str], list[dict[str, str]], float]:
    """Train on them; returns the run, the bad clips, the list that it wrote, and the seconds that the hang cost."""
    build_family(tmp_path / "model", "qwen2_vl", sharp=False)
    samples, reasons = write_samples(tmp_path)
    model = ModelConfig(path=str(tmp_path / "model"), max_context_tokens=256)
    data = DataConfig(train=str(tmp_path / "train.parquet"), frames=FOUR_FRAMES, decode_timeout_s=TIMEOUT_S)
    pools: list[ActorPool] = []
    listed = MediaTracker(tmp_path / "bad_media.jsonl")
    cost_s: list[float] = []

    async def read(sample: Sample) -> tuple[Prompt, object]:
        if not pools:
            actor = ray.remote(DataWorker).options(num_cpus=0, max_restarts=0)
            pools.append(
                ActorPool("data", lambda _: actor.remote(model, data, max_tokens=16), 1, timeout_s=60, fault=FAULT,
                          max_in_flight=1)
            )  # fmt: skip
        return await pools[0].call_keeping("prepare", sample)

    async def scenario(world: World) -> None:
        await world.at_step(3)
        (decoder,) = decoders()
        kill(decoder, signal.SIGSTOP)  # as unresponsive as a decoder in an endless loop
        started = time.monotonic()
        while decoder in decoders():
            await asyncio.sleep(0.1)
        cost_s.append(time.monotonic() - started)

    try:
        world = live(
            tmp_path, scenario, steps=25, samples=samples, prepare_sample=SamplePreparer(read, listed),
            max_bad_fraction=max_bad_fraction,
        )  # fmt: skip
    finally:
        for actor in pools[0].alive:
            ray.kill(actor)
    lines = [json.loads(line) for line in (tmp_path / "bad_media.jsonl").read_text().splitlines()]
    return world, reasons, lines, cost_s[0]


def decoders() -> list[int]:
    """Return the decode processes of this process' data workers."""
    found = psutil.Process().children(recursive=True)
    return [child.pid for child in found if "vrl.data.decode.process" in child.cmdline()]


def test_p13_bad_clips_are_named_once_and_a_hang_costs_its_timeout(tmp_path: Path):
    world, reasons, lines, cost_s = run(tmp_path, max_bad_fraction=0.5)
    require_complete(world, steps=25)
    found = {line["path"]: line["reason"] for line in lines}
    assert len(found) == len(lines) and found.keys() >= reasons.keys()
    assert [reason for path, reason in found.items() if reason != reasons.get(path)] == ["timeout"]
    assert cost_s < TIMEOUT_S * 5


def test_p13_too_many_of_them_end_the_run(tmp_path: Path):
    with pytest.raises(BaseExceptionGroup) as caught:
        run(tmp_path, max_bad_fraction=0.02)
    error = first_cause(caught.value)
    assert isinstance(error, DataError) and "max_bad_fraction" in str(error)
