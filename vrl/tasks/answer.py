"""Answer types, shared by all tasks that end in an answer: their hints, their forms, and how to read them.

    choice      the letter of an option         number      one number, right or wrong
    text        a few words, right or wrong     regression  one number, closer is better
    ocr         words as they are written       free        words, closer is better

The types are Video-R1's and `text` (exact match, our definition). vrl.reward.accuracy decides whether an answer is
right.
"""

import re

from vrl.errors import DataError
from vrl.tasks.normal_form import fold_width, normalise
from vrl.types import Sample

ANSWER_TYPES = ("choice", "number", "text", "ocr", "free", "regression")
_HINTS = {
    "choice": "Answer with the letter of the option.",
    "number": "Answer with a number.",
    "regression": "Answer with a number.",
    "ocr": "Answer with the words as they are written.",
}
_LETTER = re.compile(r"\(?([A-Z])([.):,]{0,2})\s*(.*)", re.DOTALL)
_NUMBER = re.compile(r"([+-]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+))\.?")
_MAX_DIGITS = 64  # a longer number is not read


def question(sample: Sample) -> str:
    """Return the question, its options one per line, and a hint about the form of the answer."""
    hinted = [hint(sample)] if hint(sample) else []
    return "\n".join([sample.question, *option_lines(sample), *hinted])


def option_lines(sample: Sample) -> list[str]:
    """Return the options with their letters: `A. circle`."""
    return [f"{chr(65 + i)}. {option}" for i, option in enumerate(sample.options)]


def hint(sample: Sample) -> str:
    """Return the sentence about the form of the answer; empty for types that need none."""
    return _HINTS.get(sample.answer_type, "")


def true_answer(sample: Sample) -> str:
    """Return the dataset's answer, stripped. Raises DataError if it is empty."""
    if not sample.answer.strip():
        raise DataError(
            f"sample {sample.sample_id}: got an empty answer, wanted one (task {sample.task})", reason="answer"
        )
    return sample.answer.strip()


def is_answer(sample: Sample, answer: str) -> bool:
    """Return whether `answer` is an option, a number, or a line of text, as the sample's answer type requires."""
    if sample.answer_type == "choice":
        return choice_letter(answer, sample.options) is not None
    if sample.answer_type in ("number", "regression"):
        return number(answer) is not None
    return bool(answer.strip()) and (sample.answer_type == "free" or len(answer.splitlines()) == 1)


def choice_letter(answer: str, options: tuple[str, ...]) -> str | None:
    """Return the letter of the option that an answer names and nothing else; None otherwise.

    Forms: `B`, `B.`, `(B)`, `B. red`, and `red`, the option's own text after `normalise`. A letter with any other text
    is no answer: it may name several options, or say that this one is wrong. Strict by choice, because training
    rewards what this accepts.
    """
    written = _LETTER.fullmatch(fold_width(answer))
    if written is not None and (index := ord(written[1]) - 65) < len(options):
        mark, text = written[2], written[3]
        if not text or (mark and normalise(text) == normalise(options[index])):
            return written[1]
    if answer.strip() in (texts := [option.strip() for option in options]):
        return chr(65 + texts.index(answer.strip()))
    form = normalise(answer)
    same = [index for index, option in enumerate(options) if normalise(option) == form]
    return chr(65 + same[0]) if len(same) == 1 else None


def number(answer: str) -> str | None:
    """Return the digits of an answer that is a number and nothing else, without thousands separators and final point.

    None otherwise: words, units and formulas are not read.
    """
    text = fold_width(answer)
    written = _NUMBER.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    return written[1].replace(",", "") if written is not None else None
