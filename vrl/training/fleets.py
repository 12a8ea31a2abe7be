"""The fleets of a run: data workers, rollout engines, reward workers, learner; started and ended together.

Connects engines and learner, which must not import each other. Does not know the algorithm.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from vrl.actors.placement import Placement
from vrl.actors.pool import ActorPool
from vrl.config import ModelConfig, RunConfig
from vrl.data.wording import read_wording
from vrl.data.worker import DataWorker
from vrl.errors import DataError, LostCallError
from vrl.learner.group import LearnerGroup
from vrl.reward.judge.engines import end
from vrl.reward.worker import RewardWorker
from vrl.rollout.engine import RolloutEngine
from vrl.rollout.judge import JudgeEngine
from vrl.training.weight_sync import WeightSync
from vrl.types import PackedBatch, Prompt, RawPrompt, Sample
from vrl.weights.sender import choose_backend

_TOWER = "model.visual."  # prefix of the vision tower's parameter names, in all three families
_PREPARE_TIMEOUT_S = 60.0  # the processor's pass over one sample, and the call


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleets:
    """All actors of a run. `engines` and `rewards` are empty in a cold start that does not generate."""

    model: ModelConfig  # with model.path resolved to a folder
    data: ActorPool
    learner: LearnerGroup
    engines: ActorPool
    rewards: ActorPool
    weights: WeightSync
    decode_timeout_s: float

    async def prepare(self, sample: Sample) -> tuple[Prompt, Any]:
        """Return a prompt for generation and a reference to its patches. Raises DataError."""
        return await self._prepare("prepare", sample)

    async def prepare_sft(self, sample: Sample) -> tuple[Prompt, Any]:
        """Return a prompt with its target and a reference to its patches. Raises DataError."""
        return await self._prepare("prepare_sft", sample)

    async def raw(self, prompt: Prompt) -> RawPrompt:
        """Return a prompt as it was before the processor, for the gate. Raises DataError or LostCallError."""
        return await self.data.call("raw", prompt, timeout_s=self._timeout_s(prompt.sample))

    async def logprobs(self, batch: PackedBatch, patches: Sequence[Any]) -> list[tuple[np.ndarray, ...]]:
        """Return the learner's log-probs; no engine may be generating."""
        async with self.weights.colocated_training():
            return await self.learner.logprobs(batch, patches)

    def faults(self) -> dict[str, float]:
        """Return counts of survived faults since the start, under the names of the metric catalogue."""
        pools = (self.data, self.engines, self.rewards)
        return {
            **{f"fault/restarts/{pool.role}": float(pool.restarts) for pool in pools},
            "fault/lost_actors": float(sum(pool.num_lost for pool in pools)),
            "fault/lost_calls": float(sum(pool.lost_calls for pool in pools)),
            "fault/failed_pushes": float(self.weights.failures),
        }

    async def _prepare(self, method: str, sample: Sample) -> tuple[Prompt, Any]:
        try:
            return await self.data.call_keeping(method, sample, timeout_s=self._timeout_s(sample))
        except LostCallError as error:
            raise DataError(f"sample {sample.sample_id}: {error}", reason="lost") from error

    def _timeout_s(self, sample: Sample) -> float:
        """Return the time limit of a call: the worker kills slow decoders, so a slower call is stuck."""
        return self.decode_timeout_s * max(1, len(sample.media)) + _PREPARE_TIMEOUT_S


@asynccontextmanager
async def start_fleets(
    config: RunConfig, placement: Placement, model_path: str, *, total_updates: int, engines: bool = True
) -> AsyncIterator[Fleets]:
    """Start all roles together and wait until they are ready; end them all on exit.

    If engines share the learner's GPUs, the learner starts first and frees memory for them.
    `total_updates`: optimizer updates in the run, over which the learning rate is scheduled.
    """
    model = replace(config.model, path=model_path)
    backend = choose_backend(config.push, has_gpus=placement.has_gpus)
    gpus = asyncio.Lock() if backend == "ipc" and engines else None
    judges: list[Any] = []
    pools: dict[str, ActorPool] = {}
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
        if gpus is not None:  # an engine takes its share of the free memory when it starts
            await (await asyncio.shield(starting)).offload()
        judges = _start_judges(config, placement) if engines else []
        pools = _start_pools(config, placement, model, backend, judges, gpus)
        await asyncio.gather(
            starting, *(pool.ready() for pool in pools.values()), *(judge.ready.remote() for judge in judges)
        )
        learner, per_engine = starting.result(), config.rollout.tensor_parallel
        weights = WeightSync(
            pools["rollout"], learner, backend=backend, config=config.push, workers_per_engine=per_engine, gpus=gpus
        )
        async with asyncio.TaskGroup() as tasks:  # a task that fails ends the run
            newcomers = tasks.create_task(weights.sync_newcomers(), name="sync_newcomers")
            yield Fleets(
                model=model,
                data=pools["data"],
                learner=learner,
                engines=pools["rollout"],
                rewards=pools["reward"],
                weights=weights,
                decode_timeout_s=config.data.decode_timeout_s,
            )
            newcomers.cancel()
    finally:
        if not starting.cancel() and starting.exception() is None:  # it has started
            starting.result().close()
        await asyncio.gather(*(pool.close() for pool in pools.values()))
        await end(judges)


def _start_pools(
    config: RunConfig,
    placement: Placement,
    model: ModelConfig,
    backend: str,
    judges: Sequence[Any],
    gpus: asyncio.Lock | None,
) -> dict[str, ActorPool]:
    max_tokens, prefix = config.rollout.max_tokens, config.sft.train_prefix
    data = {"model": model, "data": config.data, "max_tokens": max_tokens, "train_prefix": prefix}
    data["wording"] = read_wording(config.prompt)
    engine = {"model": model, "rollout": config.rollout, "push_backend": backend, "seed": config.seed}
    engine["vision_trains"] = vision_trains(config)
    reward = {"task_configs": config.tasks, "config": config.reward, "model_path": model.path, "judge_engines": judges}
    start = partial(placement.start_pool, fault=config.fault)
    return {
        "data": start("data", DataWorker, data, timeout_s=_PREPARE_TIMEOUT_S, max_in_flight=1, shutdown="close"),
        "rollout": start(
            "rollout",
            RolloutEngine,
            engine,
            with_index=True,
            timeout_s=config.rollout.timeout_s,
            heartbeat="ready",
            answers_while_busy=True,
            quarantine=True,
            restart_lock=gpus,
            shutdown="shutdown",
        ),
        "reward": start("reward", RewardWorker, reward, timeout_s=config.reward.timeout_s),
    }


def _start_judges(config: RunConfig, placement: Placement) -> list[Any]:
    judge, restarts = config.reward.judge, config.fault.max_restarts
    count = judge.engine.engines if judge.kind == "vllm" else 0
    return [placement.start("judge", JudgeEngine, i, max_restarts=restarts, config=judge) for i in range(count)]


def vision_trains(config: RunConfig) -> bool:
    """Return whether a weight sync may change the vision tower: not if it is frozen or adapters train instead."""
    frozen = any(_TOWER.startswith(prefix) for prefix in config.model.freeze)
    return not frozen and not config.learner.lora.rank
