"""Accuracy of the key elements: compares lists of names, regardless of order."""

from vrl.reward.accuracy import normalise
from vrl.reward.inputs import RewardInput


def element_f1(inputs: RewardInput) -> float | None:
    """F1 of the listed against the true key elements, each counted once after `normalise`; in [0, 1].

    Our definition: VideoReasoner gives key elements no reward. None if the sample has none.
    """
    wanted = {normalise(element) for element in inputs.sample.key_elements}
    if not wanted:
        return None
    got = {normalise(element) for element in inputs.parsed.elements} if inputs.parsed is not None else set()
    return 2 * len(got & wanted) / (len(got) + len(wanted))


REWARDS = {"element_f1": element_f1}
