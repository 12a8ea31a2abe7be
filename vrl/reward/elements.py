"""Are the key elements right? Compares lists of names; their order does not count."""

from vrl.reward.accuracy import normalise
from vrl.reward.record import RewardInput


def element_f1(given: RewardInput) -> float | None:
    """F1 of the listed against the true key elements, each counted once after `normalise`; in [0, 1].

    Our definition: VideoReasoner gives key elements no reward. None where the sample has none.
    """
    wanted = {normalise(element) for element in given.sample.key_elements}
    if not wanted:
        return None
    got = {normalise(element) for element in given.parsed.elements} if given.parsed is not None else set()
    return 2 * len(got & wanted) / (len(got) + len(wanted))


REWARDS = {"element_f1": element_f1}
