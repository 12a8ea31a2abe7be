"""P22, a soak test: every few seconds an engine, a reward worker or the learner dies, chosen by a seeded draw.

VRL_SOAK_S is its duration (60 seconds), VRL_SOAK_PERIOD_S the mean time between deaths (4 seconds). It prints the
effective-training-time ratio: the time of all steps if each took the lower quartile, over the elapsed time; our
definition. The promise is one half with a death every ten seconds.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest
from chaos.world import World, kill, live, require_complete
from ray.exceptions import RayError

from vrl.config import FaultConfig
from vrl.errors import LearnerLostError
from vrl.lifecycle import first_cause
from vrl.training.progress import RunProgress

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light_ray"), pytest.mark.timeout(880)]
SOAK_S = float(os.environ.get("VRL_SOAK_S", "60"))
PERIOD_S = float(os.environ.get("VRL_SOAK_PERIOD_S", "4"))
LEAST_RATIO = 0.5 if PERIOD_S >= 10 else 0.1
FAULT = FaultConfig(heartbeat_interval_s=0.3, heartbeat_timeout_s=5.0, max_restarts=500, backoff_s=0.1, window_s=10)


def test_p22_soak(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rng = random.Random(0)
    started = time.monotonic()
    deaths: list[str] = []
    worlds: list[World] = []

    async def scenario(world: World) -> None:
        worlds.append(world)
        while time.monotonic() - started < SOAK_S:
            await asyncio.sleep(PERIOD_S * rng.uniform(0.5, 1.5))
            victim = rng.choice(["rollout", "rollout", "rollout", "reward", "reward", "learner"])
            if victim == "learner":
                world.learner.lost = True
                deaths.append(victim)
                await asyncio.sleep(3600)  # the run ends
            pool = world.engines if victim == "rollout" else world.rewards
            with contextlib.suppress(TimeoutError, RayError, IndexError):  # a dead actor has no pid
                pid = await asyncio.wait_for(rng.choice(pool.alive).pid.remote(), 1)
                kill(pid, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]))
                deaths.append(victim)
        world.driver.stop_soon()

    progress = RunProgress()
    while True:
        try:
            world = live(
                tmp_path, scenario, steps=10**6, num_engines=3, fault=FAULT, reward_timeout_s=5.0, progress=progress
            )
            break
        except BaseExceptionGroup as error:
            if not isinstance(first_cause(error), LearnerLostError):
                raise
            progress = worlds[-1].kept
    wall_s = time.monotonic() - started
    steps = world.driver.progress.step
    require_complete(world, steps=steps, first=progress.step + 1)
    times = sorted(row["step/seconds"] for row in world.rows())
    ratio = times[len(times) // 4] * steps / wall_s
    with capsys.disabled():
        shown = {role: deaths.count(role) for role in sorted(set(deaths))}
        print(f"\nsoak: {steps} steps, deaths {shown} in {wall_s:.0f} s, effective-training-time ratio {ratio:.2f}")
    assert len(deaths) >= SOAK_S / (8 * PERIOD_S) and ratio > LEAST_RATIO
