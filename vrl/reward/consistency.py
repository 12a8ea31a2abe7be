"""Consistency of thinking and answer, and visual evidence in the thinking. Pure functions of a judge's findings."""

from vrl.reward.accuracy import accuracy, answer_accuracy
from vrl.reward.inputs import RewardInput
from vrl.tasks.answer import ANSWER_TYPES

_RIGHT = 0.5  # accuracy from which an answer of a graded type counts as right (our definition)


def consistency(inputs: RewardInput) -> float | None:
    """Video-R2's gate g: 1 if thinking and answer reach the same conclusion, else 0. No thinking: 0."""
    if inputs.parsed is None or not inputs.parsed.thinking:
        return 0.0
    agrees = inputs.judgement.agrees
    return None if agrees is None else float(agrees)


def conclusion_accuracy(inputs: RewardInput) -> float | None:
    """Accuracy of the conclusion of the thinking, regardless of the answer. No thinking: 0. Meant for weight 0."""
    if inputs.sample.answer_type not in ANSWER_TYPES:
        return None
    if inputs.parsed is None or not inputs.parsed.thinking:
        return 0.0
    conclusion = inputs.judgement.conclusion
    return None if conclusion is None else answer_accuracy(inputs, conclusion)


def think_answer_consistency(inputs: RewardInput) -> float | None:
    """For a right answer, 1 if the conclusion of the thinking is right too, else 0. None for a wrong answer.

    Its mean over completions is TP / (TP + FN), our reading of Video-R2's TAC (x 100). Meant for weight 0.
    """
    if (accuracy(inputs) or 0.0) < _RIGHT:
        return None
    concluded = conclusion_accuracy(inputs)
    return None if concluded is None else float(concluded >= _RIGHT)


def visual_evidence(inputs: RewardInput) -> float | None:
    """Concrete visual evidence that the thinking claims: a judge's score of 0 to 10, over 10. No thinking: 0.

    Video-R2's VAS is 100 x its mean. Meant for weight 0.
    """
    if inputs.parsed is None or not inputs.parsed.thinking:
        return 0.0
    return inputs.judgement.visual


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
