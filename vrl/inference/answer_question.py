"""The entry point of inference: a question in, an answer out, by any strategy.

async with start_inference(config, data) as client:
    answer = await answer_question(sample, client, config.strategy)
"""

from collections.abc import Awaitable, Callable

from vrl.inference.answer import Answer
from vrl.inference.config import StrategyConfig
from vrl.inference.question import InferenceClient, Notify, QuestionContext
from vrl.inference.strategies import backfill, election, majority
from vrl.types import Sample

STRATEGIES: dict[str, Callable[[QuestionContext, StrategyConfig], Awaitable[Answer]]] = {
    "single": majority.single,
    "majority": majority.majority,
    "election": election.election,
    "backfill": backfill.backfill,
}


async def answer_question(
    sample: Sample, client: InferenceClient, strategy: StrategyConfig, notify: Notify = lambda status: None
) -> Answer:
    """Return the answer of the configured strategy, with its trace. `notify` gets the name of each stage as it begins.

    Raises DataError for a question that cannot be prepared (`error.reason` says why), RolloutError for one that the
    engine refuses, and WorkerError if a worker dies.
    """
    return await STRATEGIES[strategy.name](QuestionContext(sample, client, notify), strategy)
