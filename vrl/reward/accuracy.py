"""Is the answer right? By the sample's answer type (vrl.tasks.answer). Does not look at the answer's form."""

import string
import unicodedata

from vrl.config import RewardConfig
from vrl.reward.record import RewardInput
from vrl.reward.text import rouge, word_error_rate
from vrl.tasks.answer import ANSWER_TYPES, choice_letter, number

_ARTICLES = ("a", "an", "the")
_MRA_TENTHS = range(10)  # thresholds 0.50, 0.55 .. 0.95


def accuracy(given: RewardInput) -> float | None:
    """How right the answer is, in [0, 1]; an unreadable one is 0. None where the truth is spans or elements.

    Video-R1's five types: choice (same letter), number (`same_number`), ocr (1 - word error rate, at least 0), free
    (`rouge`), regression (`relative_accuracy` or, with reward.regression=mra, `mean_relative_accuracy`). And text:
    equal after `normalise` (our definition).
    """
    sample = given.sample
    if sample.answer_type not in ANSWER_TYPES:
        return None
    return answer_accuracy(given, given.parsed.answer) if given.parsed is not None else 0.0


def answer_accuracy(given: RewardInput, answer: str) -> float:
    """`accuracy` of these words in place of the completion's answer. The sample must have an answer."""
    sample, rules = given.sample, given.rules
    if sample.answer_type == "choice":
        return float(choice_letter(answer, sample.options) == sample.answer.strip())
    if sample.answer_type == "number":
        return float(same_number(answer, sample.answer, rules.number_tolerance))
    if sample.answer_type == "regression":
        return _near(answer, sample.answer, rules)
    if sample.answer_type == "ocr":
        return max(0.0, 1.0 - word_error_rate(answer, sample.answer))
    if sample.answer_type == "free":
        return rouge(answer, sample.answer)
    return float(normalise(answer) == normalise(sample.answer))


def same_number(answer: str, truth: str, tolerance: float = 0.0) -> bool:
    """Equal after rounding to two decimals, and both or neither written with a decimal point; or, with a tolerance,
    no further from the truth than that share of it.

    Source: Video-R1's numerical reward (its public training code). `3.0` for `3` is wrong by that rule; the tolerance
    is our definition.
    """
    got, wanted = number(answer), number(truth)
    if got is None or wanted is None:
        return False
    if tolerance:
        return relative_error(float(got), float(wanted)) <= tolerance
    return ("." in got) == ("." in wanted) and round(float(got), 2) == round(float(wanted), 2)


def relative_error(got: float, wanted: float) -> float:
    """|got - wanted| / |wanted|; where the truth is 0, 0 for a 0 and 1 for anything else (our definition)."""
    return abs(got - wanted) / abs(wanted) if wanted else float(got != wanted)


def relative_accuracy(got: float, wanted: float) -> float:
    """1 - relative error, at least 0. Source: Video-R1's regression reward."""
    return max(0.0, 1.0 - relative_error(got, wanted))


def mean_relative_accuracy(got: float, wanted: float, *, inclusive: bool = False) -> float:
    """Share of the thresholds t = 0.50, 0.55 .. 0.95 with relative error < 1 - t, or <= 1 - t where inclusive.

    Source: VSI-Bench; inclusive as its authors' code, strict as Video-R1's. Compared in percent: 1 - 0.95 in binary
    would let an error of exactly 5 % through the strict one, and keep it from the other.
    """
    error_percent = round(100 * relative_error(got, wanted), 9)
    allowed = (50 - 5 * i for i in _MRA_TENTHS)
    return sum(error_percent <= most if inclusive else error_percent < most for most in allowed) / len(_MRA_TENTHS)


def _near(answer: str, truth: str, rules: RewardConfig) -> float:
    got, wanted = number(answer), number(truth)
    if got is None or wanted is None:
        return 0.0
    if rules.regression == "relative":
        return relative_accuracy(float(got), float(wanted))
    return mean_relative_accuracy(float(got), float(wanted), inclusive=rules.regression == "mra_inclusive")


def normalise(text: str) -> str:
    """Text for exact match: NFKC, case folded, punctuation as space, articles a/an/the left out, single spaces.

    Our definition, after the usual one of extractive question answering.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(" " if char in string.punctuation else char for char in folded).split()
    return " ".join(word for word in words if word not in _ARTICLES)


REWARDS = {"accuracy": accuracy}
