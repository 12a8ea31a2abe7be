"""P19 and P21: 200 steps with a restart every ten leak nothing, and the bound on policy age holds across restarts."""

import asyncio
import gc
import os
import re
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from chaos.world import FAULT, GROUPS_PER_STEP, PREFETCH, World, kill, live, require_complete
from ray._private.internal_api import memory_summary
from support.fakes import prepare
from support.leaks import left_of, shared_memory_of

from vrl.training.progress import RunProgress
from vrl.types import Prompt, Sample

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light_ray"), pytest.mark.timeout(880)]
SEGMENTS, STEPS, DEATHS, AGE = 10, 20, 2, 2
CLIP_BYTES = 2**20


async def prepare_clip(sample: Sample) -> tuple[Prompt, Any]:
    """Return a prompt whose patches are in the object store, as a data worker does."""
    prompt, _ = await prepare(sample)
    return prompt, ray.put(np.zeros(CLIP_BYTES, dtype=np.uint8))


def family() -> list[int]:
    """Return this process and all its descendants."""
    return [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]


def held(shared: set[str]) -> dict[str, float]:
    """Measure what this process and its Ray hold without actors. `shared`: names in /dev/shm that they have mapped."""
    gc.collect()
    process = psutil.Process()
    return {
        "rss_mb": process.memory_info().rss / 2**20,
        "descriptors": process.num_fds(),
        "threads": threading.active_count(),
        "processes": len(family()),
        "shared": len(left_of(shared)),
        "stored_mib": stored_at_last_mib(),
    }


def stored_mib() -> float:
    """Return the size of the object store's contents."""
    summary = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)  # of our Ray, even if others run
    (found,) = re.findall(r"Plasma memory usage ([\d.]+) MiB", summary)
    return float(found)


def stored_at_last_mib() -> float:
    """Return the size of what remains in the object store after Ray had time to free objects."""
    deadline = time.monotonic() + 10
    while (found := stored_mib()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def test_p19_p21_200_steps_with_a_restart_every_ten_are_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Every ten steps an engine dies; every twenty the whole run is stopped and resumes from its checkpoint."""
    stored: list[float] = []
    shared: set[str] = set()

    async def scenario(world: World) -> None:
        first = world.kept.step
        for death in range(1, DEATHS + 1):
            await world.at_step(first + death * STEPS // DEATHS - 7)
            kill((await world.pids(world.engines))[0])
            await world.restarted(death)
        await world.at_step(first + STEPS - 2)
        stored.append(await asyncio.to_thread(stored_mib))
        shared.update(shared_memory_of(family()))

    progress, seen = RunProgress(), []
    for segment in range(1, SEGMENTS + 1):
        world = live(
            tmp_path, scenario, steps=segment * STEPS, age=AGE, prepare_sample=prepare_clip, progress=progress,
            fault=replace(FAULT, max_restarts=3),
        )  # fmt: skip
        require_complete(world, steps=segment * STEPS, age=AGE, first=progress.step + 1)
        assert world.engines.restarts == DEATHS
        progress = world.driver.checkpoint_progress
        del world
        seen.append(held(shared))
    with capsys.disabled():
        for what in seen[0]:
            print(f"\n{what}: " + " ".join(f"{one[what]:.0f}" for one in seen[1::2]), end="")
        print("\nstored_mib in the midst: " + " ".join(f"{mib:.0f}" for mib in stored))
    assert max(stored) < 2 * (AGE + 1) * GROUPS_PER_STEP + 2 * PREFETCH  # a segment's clips are 80 MiB or more
    early, late = seen[4], seen[-1]
    growth = {what: late[what] - early[what] for what in early}
    assert growth["rss_mb"] < 15 and growth["shared"] <= 0 and late["stored_mib"] == 0, growth
    assert growth["descriptors"] <= 2 and growth["threads"] <= 1 and growth["processes"] <= 1, growth
