"""Accuracy of the answer, by the sample's answer type (vrl.tasks.answer) or by a judge, and of the key elements."""

from vrl.config import RewardConfig
from vrl.reward.inputs import RewardInput
from vrl.reward.text import rouge, word_error_rate
from vrl.tasks.answer import ANSWER_TYPES, choice_letter, number
from vrl.tasks.normal_form import normalise

_MRA_TENTHS = range(10)  # thresholds 0.50, 0.55 .. 0.95


def accuracy(inputs: RewardInput) -> float | None:
    """Accuracy of the answer in [0, 1], 0 if it cannot be parsed. None if the truth is spans or elements.

    Video-R1's five types: choice (same letter), number (`same_number`), ocr (1 - word error rate, at least 0), free
    (`rouge`), regression (`relative_accuracy` or, with reward.regression=mra, `mean_relative_accuracy`). Also text:
    equal after `normalise` (our definition).
    """
    sample = inputs.sample
    if sample.answer_type not in ANSWER_TYPES:
        return None
    return answer_accuracy(inputs, inputs.parsed.answer) if inputs.parsed is not None else 0.0


def answer_accuracy(inputs: RewardInput, answer: str) -> float:
    """Return the accuracy of `answer` in place of the completion's own. The sample must have an answer."""
    sample, config = inputs.sample, inputs.config
    if sample.answer_type == "choice":
        return float(choice_letter(answer, sample.options) == sample.answer.strip())
    if sample.answer_type == "number":
        return float(same_number(answer, sample.answer, config.number_tolerance))
    if sample.answer_type == "regression":
        return _near(answer, sample.answer, config)
    if sample.answer_type == "ocr":
        return max(0.0, 1.0 - word_error_rate(answer, sample.answer, raw=config.wer_words == "raw"))
    if sample.answer_type == "free":
        return rouge(answer, sample.answer, stems=config.rouge_words == "stems")
    return float(normalise(answer) == normalise(sample.answer))


def same_number(answer: str, truth: str, tolerance: float = 0.0) -> bool:
    """Return whether two numbers are equal after rounding to two decimals, and both or neither have a decimal point;
    with a tolerance, whether the relative error is at most the tolerance.

    Source: Video-R1's numerical reward (its public training code), by which `3.0` for `3` is wrong; the tolerance is
    our definition. Not by math-verify: it bounds its time with SIGALRM, which only a main thread can take, and rewards
    run in others; no answer type holds formulas.
    """
    got, wanted = number(answer), number(truth)
    if got is None or wanted is None:
        return False
    if tolerance:
        return relative_error(float(got), float(wanted)) <= tolerance
    return ("." in got) == ("." in wanted) and round(float(got), 2) == round(float(wanted), 2)


def relative_error(got: float, wanted: float) -> float:
    """Return |got - wanted| / |wanted|; if the truth is 0, 0 for 0 and 1 for any other number (our definition)."""
    return abs(got - wanted) / abs(wanted) if wanted else float(got != wanted)


def relative_accuracy(got: float, wanted: float) -> float:
    """Return 1 - relative error, at least 0. Source: Video-R1's regression reward."""
    return max(0.0, 1.0 - relative_error(got, wanted))


def mean_relative_accuracy(got: float, wanted: float, *, inclusive: bool = False) -> float:
    """Return the fraction of thresholds t = 0.50, 0.55 .. 0.95 with relative error < 1 - t (<= 1 - t if inclusive).

    Source: VSI-Bench; inclusive as in its authors' code, strict as in Video-R1's. Compares in percent: 1 - 0.95 in
    binary would accept an error of exactly 5 % in the strict form and reject it in the inclusive one.
    """
    error_percent = round(100 * relative_error(got, wanted), 9)
    allowed = (50 - 5 * i for i in _MRA_TENTHS)
    return sum(error_percent <= most if inclusive else error_percent < most for most in allowed) / len(_MRA_TENTHS)


def _near(answer: str, truth: str, config: RewardConfig) -> float:
    got, wanted = number(answer), number(truth)
    if got is None or wanted is None:
        return 0.0
    if config.regression == "relative":
        return relative_accuracy(float(got), float(wanted))
    return mean_relative_accuracy(float(got), float(wanted), inclusive=config.regression == "mra_inclusive")


def judged_accuracy(inputs: RewardInput) -> float | None:
    """1 if the judge finds the answer equal to the true one, else 0; 0 if it cannot be parsed. For free answers.

    None if the truth is spans or elements, or if the judge gave no usable answer.
    """
    if inputs.sample.answer_type not in ANSWER_TYPES:
        return None
    if inputs.parsed is None or not inputs.parsed.answer:
        return 0.0
    return None if inputs.judgement.same is None else float(inputs.judgement.same)


def element_f1(inputs: RewardInput) -> float | None:
    """F1 of the listed against the true key elements, each counted once after `normalise`; in [0, 1].

    Our definition: VideoReasoner gives key elements no reward. None if the sample has none.
    """
    wanted = {normalise(element) for element in inputs.sample.key_elements}
    if not wanted:
        return None
    got = {normalise(element) for element in inputs.parsed.elements} if inputs.parsed is not None else set()
    return 2 * len(got & wanted) / (len(got) + len(wanted))


REWARDS = {"accuracy": accuracy, "judged_accuracy": judged_accuracy, "element_f1": element_f1}
ASKS = {"judged_accuracy": ("same",)}
