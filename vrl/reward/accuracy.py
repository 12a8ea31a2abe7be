"""Is the answer right? By the sample's answer type: choice, number or text. Does not look at the answer's form."""

import string
import unicodedata

from vrl.reward.record import RewardInput
from vrl.tasks.vqa import choice_letter, number

_ARTICLES = ("a", "an", "the")


def accuracy(given: RewardInput) -> float | None:
    """1.0 for a right answer, 0.0 for a wrong or unreadable one; None where the truth is spans or elements.

    Choice: same letter. Number: `same_number`. Text: equal after `normalise`.
    """
    sample = given.sample
    if sample.answer_type not in ("choice", "number", "text"):
        return None
    if given.parsed is None:
        return 0.0
    answer = given.parsed.answer
    if sample.answer_type == "choice":
        return float(choice_letter(answer, sample.options) == sample.answer.strip())
    if sample.answer_type == "number":
        return float(same_number(answer, sample.answer))
    return float(normalise(answer) == normalise(sample.answer))


def same_number(answer: str, truth: str) -> bool:
    """Equal after rounding to two decimals, and both or neither written with a decimal point.

    Source: Video-R1's numerical reward (its public training code). `3.0` for `3` is wrong by that rule.
    """
    got, wanted = number(answer), number(truth)
    if got is None or wanted is None:
        return False
    return ("." in got) == ("." in wanted) and round(float(got), 2) == round(float(wanted), 2)


def normalise(text: str) -> str:
    """Text for exact match: NFKC, case folded, punctuation as space, articles a/an/the left out, single spaces.

    Our definition, after the usual one of extractive question answering.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(" " if char in string.punctuation else char for char in folded).split()
    return " ".join(word for word in words if word not in _ARTICLES)


REWARDS = {"accuracy": accuracy}
