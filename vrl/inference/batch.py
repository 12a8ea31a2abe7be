"""Asks every item that has no prediction yet, many at a time, by any strategy. Does not score.

An item whose clip or prompt cannot be used, or that an engine refuses, becomes a prediction that says so; the death of
a worker ends the run, and what was answered before stays.
"""

import asyncio
from collections.abc import Callable, Sequence

from vrl.errors import DataError, RolloutError
from vrl.inference.answer import answer_question
from vrl.inference.config import StrategyConfig
from vrl.inference.predictions import Prediction, PredictionFile
from vrl.inference.question import InferenceClient
from vrl.types import Sample


async def ask_samples(
    samples: Sequence[Sample],
    file: PredictionFile,
    client: InferenceClient,
    strategy: StrategyConfig,
    *,
    concurrency: int,
    on_done: Callable[[Prediction], None],
) -> None:
    """Ask the samples that `file` lacks, `concurrency` at once, in their order; each is on the disk before the next."""
    waiting = iter([sample for sample in samples if sample.sample_id not in file.done])

    async def work() -> None:
        for sample in waiting:
            prediction = await _ask(sample, client, strategy)
            file.add(prediction)
            on_done(prediction)

    async with asyncio.TaskGroup() as tasks:
        for number in range(concurrency):
            tasks.create_task(work(), name=f"ask_{number}")


async def _ask(sample: Sample, client: InferenceClient, strategy: StrategyConfig) -> Prediction:
    try:
        said = await answer_question(sample, client, strategy)
    except DataError as error:
        return Prediction(sample_id=sample.sample_id, failure=error.reason, message=str(error))
    except RolloutError as error:
        return Prediction(sample_id=sample.sample_id, failure="rollout", message=str(error))
    return Prediction(
        sample_id=sample.sample_id,
        answer=said.answer,
        text=said.text,
        finish_reason=said.finish_reason,
        duration_s=said.duration_s,
        timestamps_s=said.timestamps_s,
        num_candidates=said.num_candidates,
        num_calls=said.num_calls,
        num_tokens=said.num_tokens,
        latency_s=said.latency_s,
        trace=said.trace,
    )
