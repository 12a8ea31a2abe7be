"""Answer types, shared by all tasks that end in an answer: their hints, their forms, and how to read them.

    choice      the letter of an option         number      one number, right or wrong
    text        a few words, right or wrong     regression  one number, closer is better
    ocr         words as they are written       free        words, closer is better

The types are Video-R1's and `text` (exact match, our definition). vrl.reward.accuracy decides whether an answer is
right.
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
_LETTER = re.compile(r"\(?([A-Z])(?:[.):,]|$)")  # not `A dog`, which starts with an article
_NUMBER = re.compile(r"([+-]?(?:\d+(?:,\d{3})*(?:\.\d*)?|\.\d+))\.?")
_MAX_DIGITS = 64  # a longer number is not read


def question(sample: Sample) -> str:
    """Return the question, its options one per line, and a hint about the form of the answer."""
    options = [f"{chr(65 + i)}. {option}" for i, option in enumerate(sample.options)]
    hint = _HINTS.get(sample.answer_type)
    return "\n".join([sample.question, *options, *([hint] if hint else [])])


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
    return bool(answer.strip()) and (sample.answer_type == "free" or "\n" not in answer)


def choice_letter(answer: str, options: tuple[str, ...]) -> str | None:
    """Return the option's letter for `B`, `B.`, `(B)`, `B. red` or the option's text; None for anything else."""
    written = _LETTER.match(answer)
    if written is not None and ord(written[1]) - 65 < len(options):
        return written[1]
    texts = [option.strip().casefold() for option in options]
    text = answer.strip().casefold()
    return chr(65 + texts.index(text)) if text in texts else None


def number(answer: str) -> str | None:
    """Return the number that an answer consists of, without thousands separators; None if it is no number."""
    text = answer.strip()
    written = _NUMBER.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    return written[1].replace(",", "") if written is not None else None
