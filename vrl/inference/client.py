"""The start of an InferenceClient: data workers and engines, started and ended together. No learner, no rewards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from transformers import AutoTokenizer

from vrl.actors.placement import Placement, Role
from vrl.checkpoint import resolve_model
from vrl.config import DataConfig, EngineConfig, FaultConfig, RolloutConfig
from vrl.data.wording import read_wording
from vrl.data.worker import DataWorker
from vrl.inference.config import AnswerConfig, BackfillConfig
from vrl.inference.question import InferenceClient
from vrl.inference.retrieval import RetrievalWorker
from vrl.rollout.engine import RolloutEngine

_QUEUE_S = 60.0  # wait for a decode worker that is busy with other questions


def inference_roles(
    data: DataConfig, rollout: EngineConfig, backfill: BackfillConfig, *, gpus: bool
) -> tuple[Role, ...]:
    """Return the actors to request from Ray. `gpus`: whether the cluster has any; retrieval uses none."""
    engine_gpus = float(rollout.tensor_parallel) if gpus else 0.0
    roles = (
        Role(name="data", count=data.workers, num_cpus=1),
        Role(name="rollout", count=rollout.engines, num_cpus=rollout.threads, num_gpus=engine_gpus),
    )
    return (*roles, Role(name="retrieval", count=backfill.workers, num_cpus=1)) if backfill.encoder else roles


@asynccontextmanager
async def start_inference(config: AnswerConfig, data: DataConfig) -> AsyncIterator[InferenceClient]:
    """Start the actors, wait until all are ready, and end them on exit.

    The retrieval encoder starts if the strategy uses one. Call `vrl.lifecycle.guard_private_ray` first. Raises
    ConfigError for a fault of `prompt` or if the cluster has no room, CheckpointError for a missing model.
    """
    wording = read_wording(config.prompt)
    rollout, strategy = config.rollout, config.strategy
    model = replace(config.model, path=str(resolve_model(config.model.path)))
    tokenizer = AutoTokenizer.from_pretrained(model.path, trust_remote_code=model.trust_remote_code)
    backfill = strategy.backfill if strategy.name == "backfill" else BackfillConfig()
    with Placement(config.ray_address, lambda gpus: inference_roles(data, rollout, backfill, gpus=gpus)) as placement:
        timeout_s, fault = data.decode_timeout_s * data.prefetch + _QUEUE_S, FaultConfig()
        start = partial(placement.start_pool, fault=fault)
        workers = {"model": model, "data": data, "max_tokens": rollout.max_tokens, "wording": wording}
        engines = {"model": model, "rollout": RolloutConfig(**vars(rollout)), "seed": config.seed, "raw_logprobs": True}
        retrieval = {"config": backfill, "data": data}
        pools = (
            start("data", DataWorker, workers, timeout_s=timeout_s, shutdown="close"),
            start(
                "rollout",
                RolloutEngine,
                engines,
                with_index=True,
                timeout_s=rollout.timeout_s,
                heartbeat="ready",
                answers_while_busy=True,
                shutdown="shutdown",
            ),
            start("retrieval", RetrievalWorker, retrieval, timeout_s=timeout_s, shutdown="close"),
        )
        try:
            await asyncio.gather(*(pool.ready() for pool in pools))
            yield InferenceClient(*pools[:2], tokenizer, config.reward, pools[2] if backfill.encoder else None)
        finally:
            await asyncio.gather(*(pool.close() for pool in pools))
