"""A small run for chaos tests: the real driver, pools and weight sync with light actors, and a scenario of faults."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
from chaos.light import MIXED, LightEngine, LightLearner, LightReward
from support.fakes import prepare

from vrl.actors.pool import ActorPool
from vrl.config import AlgoConfig, FaultConfig, LogConfig, PushConfig, RunConfig
from vrl.data.stream import SampleStream
from vrl.observability.run_log import RunLog
from vrl.rollout.prefetch import PromptPrefetcher
from vrl.training.driver import Driver
from vrl.training.progress import RunProgress
from vrl.training.weight_sync import WeightSync
from vrl.types import Sample

GROUPS_PER_STEP, PREFETCH = 4, 8
SAMPLES = [Sample(sample_id=str(i), task="vqa", question="?") for i in range(400)]
# An actor silent for this long is dead, not just slow, even on a busy machine.
FAULT = FaultConfig(heartbeat_interval_s=0.3, heartbeat_timeout_s=10.0, max_restarts=20, backoff_s=0.1)


@dataclass
class World:
    """A run with light actors."""

    driver: Driver
    prefetcher: PromptPrefetcher
    engines: ActorPool
    rewards: ActorPool
    weights: WeightSync
    learner: LightLearner
    file: Path
    kept: RunProgress  # what the latest checkpoint would contain
    versions: list[tuple[int, int]] = field(default_factory=list)  # (step, oldest policy version of one of its groups)

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    async def pids(self, pool: ActorPool) -> list[int]:
        return await pool.ask(pool.alive, "pid")

    async def at_step(self, step: int) -> None:
        while self.driver.progress.step < step:
            await asyncio.sleep(0.01)

    async def restarted(self, times: int = 1) -> None:
        """Wait until engines have restarted `times` times and have the weights; the run itself may have ended by then.

        Raises TimeoutError if this takes minutes.
        """
        async with asyncio.timeout(150):
            while self.engines.restarts < times or self.engines.newcomer.is_set():
                await asyncio.sleep(0.05)


def start_here(_role: str, actor_class: type, _index: int, /, **keywords: Any) -> Any:
    """Start an actor on the one small node of the fixture `light_ray`."""
    return ray.remote(actor_class).options(num_cpus=0, max_restarts=0).remote(**keywords)


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
    reward_timeout_s: float = 60.0,
    between: Callable[[Any], Awaitable[None]] | None = None,
    start: Callable[..., Any] = start_here,
    prepare_sample: Callable[[Sample], Awaitable[Any]] = prepare,
    max_bad_fraction: float = 0.1,
    samples: list[Sample] = SAMPLES,
    progress: RunProgress | None = None,
    share_gpus: bool = False,
    room_for: Callable[[int], Any] | None = None,
) -> World:
    """Train from `progress` on while `scenario` runs; returns the world when both have ended."""

    async def main() -> World:
        learner = LightLearner(between)
        gpus = asyncio.Lock() if share_gpus else None

        def start_engine(index: int) -> Any:
            assert not learner.on_gpu, "an engine starts during colocated_training"
            return start("rollout", LightEngine, index, index=index)

        engines = ActorPool(
            "rollout", start_engine, num_engines, timeout_s=600, fault=fault, heartbeat="ready",
            answers_while_busy=True, quarantine=True, restart_lock=gpus, room_for=room_for,
        )  # fmt: skip
        rewards = ActorPool(
            "reward", lambda i: start("reward", LightReward, i, ill=ill, how=how), 2, timeout_s=reward_timeout_s,
            fault=fault,
        )  # fmt: skip
        weights = WeightSync(engines, learner, backend="gloo", config=PushConfig(), workers_per_engine=1, gpus=gpus)
        algo = AlgoConfig(groups_per_step=GROUPS_PER_STEP, max_policy_age=age)
        config = RunConfig(name="t", runs_dir=str(tmp_path), steps=steps, algo=algo)
        first = progress or RunProgress()
        log = RunLog(tmp_path, LogConfig(tensorboard=False), steps=steps, first_step=first.step)
        stream = SampleStream(samples, seed=0, shuffle=True)
        stream.restore(stream.state() | {"ordinal": first.ordinal})
        prefetcher = PromptPrefetcher(
            stream, prepare_sample, prefetch=PREFETCH, max_bad_fraction=max_bad_fraction, first_ordinal=first.ordinal
        )

        async def on_step(step: int, groups: Any, *_: Any) -> dict[str, float]:
            world.versions += [(step, group.policy_version) for group in groups]
            return {}

        async def after_step() -> None:
            if driver.progress.step % 5 == 0:
                world.kept = driver.checkpoint_progress

        driver = Driver(
            config, prefetcher=prefetcher, engines=engines, rewards=rewards, learner=learner, log=log,
            sync_weights=weights.sync, colocated_training=weights.colocated_training, on_step=on_step,
            after_step=after_step, progress=replace(first),
        )  # fmt: skip
        world = World(driver, prefetcher, engines, rewards, weights, learner, tmp_path / "metrics.jsonl", first)
        newcomers = asyncio.create_task(weights.sync_newcomers())
        try:
            await asyncio.gather(engines.ready(), rewards.ready())
            await weights.sync(first.policy_version)
            await asyncio.gather(driver.run(), scenario(world))
            assert not newcomers.done()
        finally:
            newcomers.cancel()
            prefetcher.close()
            await asyncio.gather(engines.close(), rewards.close())
            log.close()
        return world

    return asyncio.run(main())


def require_complete(world: World, *, steps: int = 12, age: int = 1, first: int = 1) -> None:
    """Assert that each step ran once with all groups, within the age bound, on whole weights, and counts add up."""
    assert [row["step"] for row in world.rows()] == list(range(1, steps + 1))
    assert [sum(step == n for step, _ in world.versions) for n in range(first, steps + 1)] == (
        [GROUPS_PER_STEP] * (steps - first + 1)
    )
    assert all(version != MIXED for _, version in world.versions)
    assert max(row["rollout/policy_age_max"] for row in world.rows()) <= age
    counts = world.driver.counts
    assert counts.trained == GROUPS_PER_STEP * steps
    assert counts.started == counts.trained + sum(counts.dropped.values()) + counts.unfinished


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    os.kill(pid, signum)
