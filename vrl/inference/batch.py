"""Answers to all samples without a prediction, many at a time, by any strategy. Does not score.

A sample whose clip or prompt cannot be used, or that an engine refuses, gets a prediction that says so. The death of a
worker ends the run; earlier predictions are kept.
"""

import asyncio
from collections.abc import Callable, Sequence

from vrl.config import DataConfig
from vrl.errors import DataError, RolloutError
from vrl.inference.answer_question import answer_question
from vrl.inference.client import start_inference
from vrl.inference.config import AnswerConfig, StrategyConfig
from vrl.inference.predictions import Prediction, PredictionFile
from vrl.inference.question import InferenceClient
from vrl.lifecycle import Stop
from vrl.observability.progress import ProgressBar
from vrl.types import Sample


async def answer_missing(
    samples: Sequence[Sample],
    file: PredictionFile,
    config: AnswerConfig,
    data: DataConfig,
    progress: ProgressBar,
    stop: Stop,
) -> None:
    """Answer the samples that `file` lacks; actors start only if there are any.

    Raises ConfigError or CheckpointError as `start_inference` does, and WorkerError if a worker dies.
    """
    progress.say(f"{len(samples)} questions, {len(file.done)} answered already; model {config.model.path}")
    if all(sample.sample_id in file.done for sample in samples):
        return

    def on_done(prediction: Prediction) -> None:
        if prediction.failure:
            progress.say(f"{prediction.sample_id} failed ({prediction.failure}): {prediction.message}")
        progress.advance()

    async with start_inference(config, data) as client:
        stop.listen()
        await ask_samples(samples, file, client, config.strategy, concurrency=config.concurrency, on_done=on_done)


async def ask_samples(
    samples: Sequence[Sample],
    file: PredictionFile,
    client: InferenceClient,
    strategy: StrategyConfig,
    *,
    concurrency: int,
    on_done: Callable[[Prediction], None],
) -> None:
    """Ask the samples that `file` lacks, in order, `concurrency` at a time; each is on disk before `on_done`."""
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
        return Prediction(sample_id=sample.sample_id, answer=await answer_question(sample, client, strategy))
    except DataError as error:
        return Prediction(sample_id=sample.sample_id, failure=error.reason, message=str(error))
    except RolloutError as error:
        return Prediction(sample_id=sample.sample_id, failure="rollout", message=str(error))
