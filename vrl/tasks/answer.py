"""Answers by type, for every task that ends in one: what is asked for, what it looks like, how it is read.

    choice      the letter of an option         number      one number, right or wrong
    text        a few words, right or wrong     regression  one number, the nearer the better
    ocr         words as they are written       free        words, the closer the better

The types are Video-R1's, and `text` (exact, our own). Whether an answer is right is for vrl.reward.accuracy.
"""

import re

from vrl.errors import DataError
from vrl.types import Sample

ANSWER_TYPES = ("choice", "number", "text", "ocr", "free", "regression")
_HINTS = {
    "choice": "Answer with the letter of the option.",
    "number": "Answer with a number.",
    "regression": "Answer with a number.",
    "ocr": "Answer with the words as they are written.",
}
_LETTER = re.compile(r"\(?([A-Z])(?:[.):,]|$)")  # not `A dog`: that is an article
_NUMBER = re.compile(r"([+-]?(?:\d+(?:,\d{3})*(?:\.\d*)?|\.\d+))\.?")
_MAX_DIGITS = 64  # of a number that is read; a longer one is none


def question(sample: Sample) -> str:
    """The question, its options one a line, and what form the answer takes."""
    options = [f"{chr(65 + i)}. {option}" for i, option in enumerate(sample.options)]
    hint = _HINTS.get(sample.answer_type)
    return "\n".join([sample.question, *options, *([hint] if hint else [])])


def true_answer(sample: Sample) -> str:
    """The answer as the dataset has it, stripped. Raises DataError where there is none."""
    if not sample.answer.strip():
        raise DataError(
            f"sample {sample.sample_id}: got an empty answer, wanted one (task {sample.task})", reason="answer"
        )
    return sample.answer.strip()


def is_answer(sample: Sample, answer: str) -> bool:
    """A letter of one of the options, a number, or one line of text, as the sample's answer type asks."""
    if sample.answer_type == "choice":
        return choice_letter(answer, sample.options) is not None
    if sample.answer_type in ("number", "regression"):
        return number(answer) is not None
    return bool(answer.strip()) and (sample.answer_type == "free" or "\n" not in answer)


def choice_letter(answer: str, options: tuple[str, ...]) -> str | None:
    """The option that an answer names: `B`, `B.`, `(B)`, `B. red`, or the option's own text; None for no option."""
    written = _LETTER.match(answer)
    if written is not None and ord(written[1]) - 65 < len(options):
        return written[1]
    texts = [option.strip().casefold() for option in options]
    text = answer.strip().casefold()
    return chr(65 + texts.index(text)) if text in texts else None


def number(answer: str) -> str | None:
    """The digits of an answer that is a number and nothing else, without thousands separators; None otherwise."""
    text = answer.strip()
    written = _NUMBER.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    return written[1].replace(",", "") if written is not None else None
