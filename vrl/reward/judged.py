"""Is the answer right, in the eyes of a judge? For free answers, which no rule compares well."""

from vrl.reward.record import RewardInput
from vrl.tasks.answer import ANSWER_TYPES


def judged_accuracy(given: RewardInput) -> float | None:
    """1 where the judge takes the answer for the true one, else 0; an unreadable answer is 0.

    None where the truth is spans or elements, and where the judge gave no usable answer.
    """
    if given.sample.answer_type not in ANSWER_TYPES:
        return None
    if given.parsed is None or not given.parsed.answer:
        return 0.0
    return None if given.judgement.same is None else float(given.judgement.same)


REWARDS = {"judged_accuracy": judged_accuracy}
ASKS = {"judged_accuracy": ("same",)}
