"""The real driver, pool and weight sync with light actors that are killed, stopped and hang.

Afterwards every step has its groups, every group is accounted for, no completion was sampled from unverified weights.
"""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from chaos.world import SAMPLES, World, kill, live, require_complete

from vrl.config import FaultConfig
from vrl.data.stream import SampleStream
from vrl.errors import WorkerError
from vrl.lifecycle import first_cause

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light_ray"), pytest.mark.timeout(280)]


@pytest.mark.parametrize("age", [0, 1])
def test_p1_p2_a_killed_engine_costs_no_group_and_its_successor_has_the_weights(tmp_path: Path, age: int):
    async def scenario(world: World) -> None:
        await world.at_step(3)
        kill((await world.pids(world.engines))[0])
        await world.restarted()

    world = live(tmp_path, scenario, age=age)
    require_complete(world, age=age)
    assert world.engines.restarts == 1 and world.driver.counts.dropped == {}


def test_p2_the_only_engine_comes_back_with_the_weights_of_the_learner(tmp_path: Path):
    """Synchronous, so only `sync_newcomers` can give the engine its weights."""

    async def scenario(world: World) -> None:
        await world.at_step(3)
        kill((await world.pids(world.engines))[0])
        await world.restarted()

    world = live(tmp_path, scenario, age=0, num_engines=1)
    require_complete(world, age=0)
    assert world.engines.restarts == 1
    assert all(version == step - 1 for step, version in world.versions)


def test_p3_a_stopped_engine_is_replaced(tmp_path: Path):
    async def scenario(world: World) -> None:
        await world.at_step(3)
        kill((await world.pids(world.engines))[1], signal.SIGSTOP)
        await world.restarted()

    world = live(tmp_path, scenario)
    require_complete(world)
    assert world.engines.restarts == 1


@pytest.mark.parametrize("how", ["hang", "die"])
def test_p5_a_reward_that_hangs_or_dies_costs_its_groups_only(tmp_path: Path, how: str):
    async def scenario(world: World) -> None:
        return

    ill = frozenset({next(SampleStream(SAMPLES, seed=0, shuffle=True)).sample_id})
    world = live(tmp_path, scenario, ill=ill, how=how, reward_timeout_s=6.0)
    require_complete(world)
    dropped = world.driver.counts.dropped
    assert dropped.keys() == {"reward_lost"} and world.rewards.lost_calls >= 2
    # The death of a worker also loses its other calls: a group may be unlucky twice.
    assert 1 <= dropped["reward_lost"] <= 4


def test_p6_all_engines_dead_end_the_run_within_a_minute(tmp_path: Path):
    killed_at: list[float] = []

    async def scenario(world: World) -> None:
        await world.at_step(2)
        pids = await world.pids(world.engines)
        killed_at.append(time.monotonic())
        for pid in pids:
            kill(pid)

    with pytest.raises((WorkerError, BaseExceptionGroup)) as caught:
        live(tmp_path, scenario, fault=FaultConfig(max_restarts=0, heartbeat_interval_s=0.3))
    error = first_cause(caught.value) if isinstance(caught.value, BaseExceptionGroup) else caught.value
    assert "all 2 rollout workers are dead" in str(error) and "max_restarts=0" in str(error)
    assert time.monotonic() - killed_at[0] < 60


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_p17_a_push_that_fails_half_way_leaves_no_engine_with_mixed_weights(tmp_path: Path, signum: int):
    pushes: list[int] = []

    async def between(engines: Any) -> None:
        pushes.append(len(engines))
        if len(pushes) == 3:
            kill(await engines[1].pid.remote(), signum)

    async def scenario(world: World) -> None:
        await world.restarted()

    world = live(tmp_path, scenario, between=between)
    require_complete(world)
    assert world.weights.failures >= 1 and world.engines.restarts == 1
    assert pushes[3] == 1 and pushes[-1] == 2  # immediately to the survivor, in the end to both again
