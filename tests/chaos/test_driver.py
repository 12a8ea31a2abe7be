"""The real driver, pool and push over light actors that are killed, stopped and hang. What must hold afterwards:
every step has its groups, no group is unaccounted for, no completion was sampled from weights nobody vouches for."""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
from chaos.light import MIXED, LightEngine, LightLearner, LightReward
from fakes import prepare
from ray.exceptions import RayActorError

from vrl.config import AlgoConfig, FaultConfig, LogConfig, PushConfig, RunConfig
from vrl.data.stream import SampleStream
from vrl.driver import Driver, Progress
from vrl.errors import WorkerError
from vrl.metrics import RunLog
from vrl.pool import ActorPool
from vrl.push import WeightPush
from vrl.rollout.feed import PromptFeed
from vrl.run import first_cause
from vrl.types import Sample

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light_ray"), pytest.mark.timeout(280)]
FAULT = FaultConfig(heartbeat_s=0.3, silence_s=2.0, max_restarts=20, backoff_s=0.1)
SAMPLES = [Sample(sample_id=str(i), task="vqa", question="?") for i in range(400)]


@dataclass
class World:
    """A run over light fleets."""

    driver: Driver
    engines: ActorPool
    rewards: ActorPool
    push: WeightPush
    learner: LightLearner
    file: Path
    versions: list[tuple[int, int]] = field(default_factory=list)  # (step, oldest policy version of one of its groups)

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    async def pids(self, pool: ActorPool) -> list[int]:
        return await pool.ask(pool.alive, "pid")

    async def at_step(self, step: int) -> None:
        while self.driver.progress.step < step:
            await asyncio.sleep(0.01)

    async def restarted(self) -> None:
        """Until one engine was replaced and has the weights; the run may be over by then, the fleets are not."""
        while not self.engines.restarts or self.engines.newcomer.is_set():
            await asyncio.sleep(0.05)


def live(
    tmp_path: Path,
    scenario: Callable[[World], Awaitable[None]],
    *,
    steps: int = 12,
    age: int = 1,
    num_engines: int = 2,
    fault: FaultConfig = FAULT,
    ill: frozenset[str] = frozenset(),
    how: str = "",
    reward_timeout_s: float = 20.0,
    between: Callable[[Any], Awaitable[None]] | None = None,
) -> World:
    """Train beside `scenario`; returns the world when both have ended."""

    async def main() -> World:
        def start_engine(index: int) -> Any:
            return ray.remote(LightEngine).options(num_cpus=1, max_restarts=0).remote(index)

        def start_reward(_: int) -> Any:
            return ray.remote(LightReward).options(num_cpus=1, max_restarts=0).remote(ill, how)

        engines = ActorPool(
            "rollout", start_engine, num_engines, timeout_s=20, fault=fault, heartbeat="ready",
            answers_while_busy=True, quarantine=True,
        )  # fmt: skip
        rewards = ActorPool("reward", start_reward, 2, timeout_s=reward_timeout_s, fault=fault)
        learner = LightLearner(between)
        push = WeightPush(engines, learner, backend="gloo", config=PushConfig(), workers_per_engine=1)
        algo = AlgoConfig(groups_per_step=4, max_policy_age=age)
        config = RunConfig(name="t", runs_dir=str(tmp_path), steps=steps, algo=algo)
        log = RunLog(tmp_path, LogConfig(tensorboard=False), steps=steps)
        feed = PromptFeed(SampleStream(SAMPLES, seed=0, shuffle=True), prepare, prefetch=8, max_bad_fraction=0.1)

        async def on_step(step: int, groups: Any, *_: Any) -> dict[str, float]:
            world.versions += [(step, group.policy_version) for group in groups]
            return {}

        async def after_step() -> None: ...

        driver = Driver(
            config, feed=feed, engines=engines, rewards=rewards, learner=learner, log=log,
            push_weights=push.to_all, on_step=on_step, after_step=after_step, progress=Progress(),
        )  # fmt: skip
        world = World(driver, engines, rewards, push, learner, tmp_path / "metrics.jsonl")
        newcomers = asyncio.create_task(push.to_newcomers())
        try:
            await asyncio.gather(engines.ready(), rewards.ready())
            await asyncio.gather(driver.run(), scenario(world))
            assert not newcomers.done()
        finally:
            newcomers.cancel()
            feed.close()
            await asyncio.gather(engines.close(), rewards.close())
            log.close()
        return world

    return asyncio.run(main())


def require_whole(world: World, *, steps: int = 12, age: int = 1) -> None:
    """All steps once, each with its four groups, ages within the bound, no mixed weights, all groups accounted for."""
    assert [row["step"] for row in world.rows()] == list(range(1, steps + 1))
    assert [sum(step == n for step, _ in world.versions) for n in range(1, steps + 1)] == [4] * steps
    assert all(version != MIXED for _, version in world.versions)
    assert max(row["rollout/policy_age_max"] for row in world.rows()) <= age
    ledger = world.driver.ledger
    assert ledger.trained == 4 * steps
    assert ledger.started == ledger.trained + sum(ledger.dropped.values()) + ledger.unfinished


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    os.kill(pid, signum)


@pytest.mark.parametrize("age", [0, 1])
def test_p1_p2_a_killed_engine_costs_no_group_and_its_successor_has_the_weights(tmp_path: Path, age: int):
    async def scenario(world: World) -> None:
        await world.at_step(3)
        kill((await world.pids(world.engines))[0])
        await world.restarted()

    world = live(tmp_path, scenario, age=age)
    require_whole(world, age=age)
    assert world.engines.restarts == 1 and world.driver.ledger.dropped == {}


def test_p2_the_only_engine_comes_back_with_the_weights_of_the_learner(tmp_path: Path):
    """Synchronous, so nothing but the newcomer's own push can serve it."""

    async def scenario(world: World) -> None:
        await world.at_step(3)
        kill((await world.pids(world.engines))[0])
        await world.restarted()

    world = live(tmp_path, scenario, age=0, num_engines=1)
    require_whole(world, age=0)
    assert world.engines.restarts == 1
    assert all(version == step - 1 for step, version in world.versions)


def test_p3_a_stopped_engine_is_replaced(tmp_path: Path):
    async def scenario(world: World) -> None:
        await world.at_step(3)
        kill((await world.pids(world.engines))[1], signal.SIGSTOP)
        await world.restarted()

    world = live(tmp_path, scenario)
    require_whole(world)
    assert world.engines.restarts == 1


@pytest.mark.parametrize("how", ["hang", "die"])
def test_p5_a_reward_that_hangs_or_dies_costs_its_groups_only(tmp_path: Path, how: str):
    async def scenario(world: World) -> None:
        return

    ill = frozenset({next(SampleStream(SAMPLES, seed=0, shuffle=True)).sample_id})
    world = live(tmp_path, scenario, ill=ill, how=how, reward_timeout_s=3.0)
    require_whole(world)
    dropped = world.driver.ledger.dropped
    assert dropped.keys() == {"reward_lost"} and world.rewards.lost_calls >= 2
    # Who dies takes along what its worker scored beside: a group may be unlucky twice.
    assert dropped["reward_lost"] == 1 if how == "hang" else 1 <= dropped["reward_lost"] <= 4


def test_p6_all_engines_dead_end_the_run_within_a_minute(tmp_path: Path):
    killed_at: list[float] = []

    async def scenario(world: World) -> None:
        await world.at_step(2)
        killed_at.append(time.monotonic())
        for pid in await world.pids(world.engines):
            kill(pid)

    with pytest.raises((WorkerError, BaseExceptionGroup)) as caught:
        live(tmp_path, scenario, fault=FaultConfig(max_restarts=0, heartbeat_s=0.3))
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
    require_whole(world)
    assert world.push.failures >= 1 and world.engines.restarts == 1
    assert pushes[3] == 1 and pushes[-1] == 2  # at once to the survivor, at the end to both again


def test_p22_soak(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Something dies or stops every two seconds. Prints the effective-training-time ratio: the time that steps would
    have taken undisturbed (each as long as their lower quartile) over the time that they took; our definition."""
    rng = random.Random(0)
    steps = 150
    started = time.monotonic()

    async def scenario(world: World) -> None:
        while world.driver.progress.step < steps - 5:
            await asyncio.sleep(2.0)
            pool = rng.choice([world.engines, world.engines, world.rewards])
            with contextlib.suppress(TimeoutError, RayActorError, IndexError):  # who is down cannot be asked for it
                pid = await asyncio.wait_for(rng.choice(pool.alive).pid.remote(), 1)
                kill(pid, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]))

    fault = FaultConfig(heartbeat_s=0.3, silence_s=1.5, max_restarts=500, backoff_s=0.1, window_s=10)
    world = live(tmp_path, scenario, steps=steps, num_engines=3, fault=fault, reward_timeout_s=3.0)
    wall_s = time.monotonic() - started
    require_whole(world, steps=steps)
    times = sorted(row["step/seconds"] for row in world.rows())
    ratio = times[len(times) // 4] * steps / sum(times)
    deaths = world.engines.restarts + world.rewards.restarts
    with capsys.disabled():
        print(f"\nsoak: {deaths} deaths in {wall_s:.0f} s, effective-training-time ratio {ratio:.2f}")
    assert deaths >= 5
