"""Does the thinking lead to the answer, and does it look? Over what a judge found; pure."""

from vrl.reward.accuracy import accuracy, answer_accuracy
from vrl.reward.record import RewardInput
from vrl.tasks.answer import ANSWER_TYPES

_RIGHT = 0.5  # accuracy from which an answer of a graded type counts as right (our definition)


def consistency(given: RewardInput) -> float | None:
    """Video-R2's gate g: 1 where thinking and answer come to the same conclusion, else 0. No thinking: 0."""
    if given.parsed is None or not given.parsed.thinking:
        return 0.0
    agrees = given.judgement.agrees
    return None if agrees is None else float(agrees)


def conclusion_accuracy(given: RewardInput) -> float | None:
    """How right is what the thinking concludes, whatever the answer says? As `accuracy`; no thinking: 0.

    Meant as a term of weight 0.
    """
    if given.sample.answer_type not in ANSWER_TYPES:
        return None
    if given.parsed is None or not given.parsed.thinking:
        return 0.0
    conclusion = given.judgement.conclusion
    return None if conclusion is None else answer_accuracy(given, conclusion)


def think_answer_consistency(given: RewardInput) -> float | None:
    """Of a right answer: is the thinking's conclusion right too? None for a wrong answer.

    Its mean over completions is TP / (TP + FN): what we read Video-R2's TAC to be (x 100). Meant as a term of weight 0.
    """
    if (accuracy(given) or 0.0) < _RIGHT:
        return None
    concluded = conclusion_accuracy(given)
    return None if concluded is None else float(concluded >= _RIGHT)


def visual_evidence(given: RewardInput) -> float | None:
    """How much the thinking claims concrete visual evidence, a judge's 0 to 10 over 10; no thinking: 0.

    Video-R2's VAS is 100 x the mean of it. Meant as a term of weight 0.
    """
    if given.parsed is None or not given.parsed.thinking:
        return 0.0
    return given.judgement.visual


REWARDS = {
    "consistency": consistency,
    "conclusion_accuracy": conclusion_accuracy,
    "think_answer_consistency": think_answer_consistency,
    "visual_evidence": visual_evidence,
}
ASKS = {
    "consistency": ("agrees",),
    "conclusion_accuracy": ("conclusion",),
    "think_answer_consistency": ("conclusion",),
    "visual_evidence": ("visual",),
}
