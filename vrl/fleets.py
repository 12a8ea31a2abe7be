"""The fleets of a run: data workers, rollout engines, reward workers, learner; started together, ended together.

Joins what must not know one another: engines and learner meet here. Does not know the algorithm.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from vrl.config import ModelConfig, RunConfig
from vrl.data.worker import DataWorker
from vrl.learner.group import LearnerGroup
from vrl.observability.spans import span
from vrl.placement import Placement
from vrl.pool import ActorPool
from vrl.reward.worker import RewardWorker
from vrl.rollout.engine import RolloutEngine
from vrl.types import Prompt, Sample
from vrl.weights import choose_backend

_START_TIMEOUT_S = 1800.0  # loading a large model from a slow disk


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleets:
    """Everything alive in a run. `engines` and `rewards` are empty in a cold start that does not generate."""

    model: ModelConfig  # with the folder that model.path led to
    data: ActorPool
    learner: LearnerGroup
    engines: ActorPool
    rewards: ActorPool

    async def prepare(self, sample: Sample) -> tuple[Prompt, Any]:
        """A prompt for generation and a reference to its patches. Raises DataError."""
        return await self.data.call_keeping("prepare", sample)

    async def prepare_sft(self, sample: Sample) -> tuple[Prompt, Any]:
        """A prompt with its target and a reference to its patches. Raises DataError."""
        return await self.data.call_keeping("prepare_sft", sample)

    async def push_weights(self, policy_version: int) -> int:
        """Pause the engines, send and verify the learner's weights, resume; returns the bytes sent to each engine.

        When the push fails the engines stay paused: none of them may sample from weights that nobody vouches for.
        """
        with span("push"):
            await self.engines.broadcast("pause")
            num_bytes = await self.learner.push_weights(policy_version)
            await self.engines.broadcast("resume")
        return num_bytes


@asynccontextmanager
async def start_fleets(
    config: RunConfig, placement: Placement, model_path: str, *, total_updates: int, engines: bool = True
) -> AsyncIterator[Fleets]:
    """Start every role at once and wait until all are ready; end them all on the way out.

    `total_updates`: optimizer updates of the whole run, over which the learning rate is scheduled.
    """
    model = replace(config.model, path=model_path)
    data = placement.start(
        "data",
        DataWorker,
        lambda _: {
            "model": model,
            "data": config.data,
            "max_tokens": config.rollout.max_tokens,
            "train_prefix": config.sft.train_prefix,
        },
    )
    backend = choose_backend(config.push, has_gpus=placement.has_gpus)
    rollout, reward = [], []
    if engines:
        rollout = placement.start(
            "rollout",
            RolloutEngine,
            lambda index: {
                "model": model,
                "rollout": config.rollout,
                "push_backend": backend,
                "seed": config.seed,
                "index": index,
            },
        )
        reward = placement.start(
            "reward",
            RewardWorker,
            lambda _: {"task_configs": config.tasks, "config": config.reward, "model_path": model_path},
        )
    pools = {
        "data": ActorPool("data", data, timeout_s=config.data.decode_timeout_s * config.data.prefetch + 60),
        "rollout": ActorPool("rollout", rollout, timeout_s=config.rollout.timeout_s),
        "reward": ActorPool("reward", reward, timeout_s=config.reward.timeout_s),
    }
    starting = asyncio.ensure_future(
        LearnerGroup.start(
            [placement.options("learner", rank) for rank in range(config.learner.ranks)],
            model_config=model,
            learner_config=config.learner,
            algo_config=config.algo,
            temperature=config.rollout.temperature,
            total_steps=total_updates,
            seed=config.seed,
        )
    )
    try:
        await asyncio.gather(starting, *(pool.ready(_START_TIMEOUT_S) for pool in pools.values()))
        learner = starting.result()
        if engines:
            await learner.connect_engines(
                pools["rollout"].actors, backend, config.push, workers_per_engine=config.rollout.tensor_parallel
            )
        yield Fleets(
            model=model, data=pools["data"], learner=learner, engines=pools["rollout"], rewards=pools["reward"]
        )
    finally:
        if not starting.cancel() and starting.exception() is None:  # done, and well
            starting.result().close()
        await _end(pools)


async def _end(pools: dict[str, ActorPool]) -> None:
    goodbyes = {"data": "close", "rollout": "shutdown", "reward": None}
    await asyncio.gather(*(pool.close(goodbyes[role]) for role, pool in pools.items()))
