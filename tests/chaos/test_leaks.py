"""P19 and P21: 200 steps with a restart every ten leave nothing behind, and the bound on policy age outlives them."""

import gc
import os
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from chaos.world import FAULT, World, kill, live, require_whole
from fakes import prepare
from ray._private.internal_api import memory_summary

from vrl.driver import Progress
from vrl.types import Prompt, Sample

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light_ray"), pytest.mark.timeout(880)]
EVERY, SEGMENTS = 10, 20
CLIP_BYTES = 2**18  # more than Ray passes by value


async def prepare_clip(sample: Sample) -> tuple[Prompt, Any]:
    """A prompt whose patches lie in the object store, as a data worker's do."""
    prompt, _ = await prepare(sample)
    return prompt, ray.put(np.zeros(CLIP_BYTES, dtype=np.uint8))


def held() -> dict[str, float]:
    """What this process and its Ray hold, with no actor alive."""
    gc.collect()
    process = psutil.Process()
    (stored_mib,) = re.findall(r"Plasma memory usage ([\d.]+) MiB", memory_summary(stats_only=True))
    return {
        "rss_mb": process.memory_info().rss / 2**20,
        "descriptors": process.num_fds(),
        "threads": threading.active_count(),
        "processes": len(process.children(recursive=True)),
        "shm_mb": sum(entry.stat().st_blocks for entry in os.scandir("/dev/shm")) * 512 / 2**20,
        "stored_mib": float(stored_mib),
    }


def test_p19_p21_200_steps_with_a_restart_every_ten_are_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Every ten steps the whole run is taken down and goes on from its checkpoint; in between an engine dies."""

    async def scenario(world: World) -> None:
        await world.at_step(world.kept.step + 3)
        kill((await world.pids(world.engines))[0])
        await world.restarted()

    progress, seen = Progress(), []
    for segment in range(1, SEGMENTS + 1):
        world = live(
            tmp_path, scenario, steps=segment * EVERY, age=2, prepare_sample=prepare_clip, progress=progress,
            fault=replace(FAULT, max_restarts=3),
        )  # fmt: skip
        require_whole(world, steps=segment * EVERY, age=2, first=progress.step + 1)
        assert world.engines.restarts == 1
        progress = world.driver.settled
        del world
        seen.append(held())
    with capsys.disabled():
        for what in seen[0]:
            print(f"\n{what}: " + " ".join(f"{one[what]:.0f}" for one in seen[4::5]), end="")
    early, late = seen[4], seen[-1]
    growth = {what: late[what] - early[what] for what in early}
    assert growth["rss_mb"] < 15 and growth["shm_mb"] < 5 and growth["stored_mib"] < 1, growth
    assert growth["descriptors"] <= 2 and growth["threads"] <= 1 and growth["processes"] <= 1, growth
