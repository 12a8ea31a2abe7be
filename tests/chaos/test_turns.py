"""Learner and engines that take turns on shared GPUs: real driver, pools and weight sync with light actors."""

import asyncio
from pathlib import Path

import pytest
from chaos.world import World, kill, live, require_complete

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light_ray"), pytest.mark.timeout(280)]


def test_engines_and_learner_take_turns_and_an_engine_that_dies_asleep_restarts_afterwards(tmp_path: Path):
    """The light learner raises if an engine is awake, a light engine if it is asleep, and so does an untimely start."""

    async def scenario(world: World) -> None:
        pids = await world.pids(world.engines)
        await world.at_step(2)
        while not world.learner.on_gpu:
            await asyncio.sleep(0.005)
        kill(pids[0])
        await world.restarted()

    world = live(tmp_path, scenario, age=0, share_gpus=True)
    require_complete(world, age=0)
    assert world.engines.restarts == 1 and world.driver.counts.dropped == {}
    assert world.learner.turns == 12 and world.learner.on_gpu is False
