"""Direct question answering: a letter, a number or a short text right after the prefix (VideoReasoner, section 3.2)."""

import re

from vrl.errors import DataError
from vrl.tasks.task import Parsed, Task, body
from vrl.types import Sample

_HINTS = {"choice": "Answer with the letter of the option.", "number": "Answer with a number."}
_LETTER = re.compile(r"\(?([A-Z])(?:[.):,]|$)")  # not `A dog`: that is an article
_NUMBER = re.compile(r"([+-]?(?:\d+(?:,\d{3})*(?:\.\d*)?|\.\d+))\.?")


def instruction(sample: Sample) -> str:
    """The question, its options one a line, and what form the answer takes."""
    options = [f"{chr(65 + i)}. {option}" for i, option in enumerate(sample.options)]
    hint = _HINTS.get(sample.answer_type)
    return "\n".join([sample.question, *options, *([hint] if hint else [])])


def target(sample: Sample, duration_s: float) -> str:
    """The answer as the dataset has it. Raises DataError where there is none."""
    if not sample.answer.strip():
        raise DataError(f"sample {sample.sample_id}: got an empty answer, wanted one (task vqa)", reason="answer")
    return f" {sample.answer.strip()}"


def parse(text: str) -> Parsed | None:
    """All text before the end token; None where there is none."""
    answer = body(text)
    return Parsed(answer=answer) if answer else None


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """A letter of one of the options, a number, or one line of text, as the sample's answer type asks."""
    if sample.answer_type == "choice":
        return choice_letter(parsed.answer, sample.options) is not None
    if sample.answer_type == "number":
        return number(parsed.answer) is not None
    return "\n" not in parsed.answer


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
    written = _NUMBER.fullmatch(answer.strip())
    return written[1].replace(",", "") if written is not None else None


TASK = Task(
    name="vqa",
    prefix="The answer is:",
    instruction=instruction,
    target=target,
    parse=parse,
    well_formed=well_formed,
    rewards=("accuracy", "format"),
)
