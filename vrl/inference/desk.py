"""A desk over live actors: data workers and engines, started together and ended together. No learner, no rewards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from transformers import AutoTokenizer

from vrl.checkpoint import resolve_model
from vrl.config import DataConfig, ModelConfig, RewardConfig, RolloutConfig
from vrl.data.worker import DataWorker
from vrl.inference.config import BackfillConfig, StrategyConfig
from vrl.inference.inquiry import Desk
from vrl.inference.retrieval import RetrievalWorker
from vrl.placement import Placement, Role
from vrl.pool import ActorPool
from vrl.rollout.engine import RolloutEngine

_START_TIMEOUT_S = 1800.0  # loading a large model from a slow disk
_WAITING_S = 60.0  # for a decode worker that serves other questions first


def desk_roles(data: DataConfig, rollout: RolloutConfig, backfill: BackfillConfig, *, gpus: bool) -> tuple[Role, ...]:
    """What a desk asks Ray for. `gpus`: the cluster has any; the retrieval encoder takes none of them."""
    engine_gpus = float(rollout.tensor_parallel) if gpus else 0.0
    found = (
        Role(name="data", count=data.workers, num_cpus=1),
        Role(name="rollout", count=rollout.engines, num_cpus=rollout.threads, num_gpus=engine_gpus),
    )
    return (*found, Role(name="retrieval", count=backfill.workers, num_cpus=1)) if backfill.encoder else found


@asynccontextmanager
async def open_desk(
    model: ModelConfig,
    data: DataConfig,
    rollout: RolloutConfig,
    strategy: StrategyConfig,
    *,
    rules: RewardConfig | None = None,
    ray_address: str = "",
    seed: int = 0,
) -> AsyncIterator[Desk]:
    """Start the actors, wait until all are ready, end them on the way out.

    The retrieval encoder starts where the strategy is to use one. Call `vrl.run.guard_private_ray` before. Raises
    ConfigError where the cluster has no room, CheckpointError for a model that is not there.
    """
    model = replace(model, path=str(resolve_model(model.path)))
    tokenizer = AutoTokenizer.from_pretrained(model.path, trust_remote_code=model.trust_remote_code)
    backfill = strategy.backfill if strategy.name == "backfill" else BackfillConfig()
    with Placement(ray_address, lambda gpus: desk_roles(data, rollout, backfill, gpus=gpus)) as placement:
        workers = placement.start(
            "data", DataWorker, lambda _: {"model": model, "data": data, "max_tokens": rollout.max_tokens}
        )
        engines = placement.start(
            "rollout",
            RolloutEngine,
            lambda index: {"model": model, "rollout": rollout, "seed": seed, "index": index, "raw_logprobs": True},
        )
        finders = (
            placement.start("retrieval", RetrievalWorker, lambda _: {"config": backfill, "data": data})
            if backfill.encoder
            else []
        )
        timeout_s = data.decode_timeout_s * data.prefetch + _WAITING_S
        pools = (
            ActorPool("data", workers, timeout_s=timeout_s),
            ActorPool("rollout", engines, timeout_s=rollout.timeout_s),
            ActorPool("retrieval", finders, timeout_s=timeout_s),
        )
        try:
            await asyncio.gather(*(pool.ready(_START_TIMEOUT_S) for pool in pools))
            yield Desk(pools[0], pools[1], tokenizer, rules or RewardConfig(), pools[2] if finders else None)
        finally:
            goodbyes = ("close", "shutdown", "close")
            await asyncio.gather(*(pool.close(goodbye) for pool, goodbye in zip(pools, goodbyes, strict=True)))
