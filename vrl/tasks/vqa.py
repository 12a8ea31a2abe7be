"""Direct question answering: a letter, a number or a short text right after the prefix (VideoReasoner)."""

from vrl.tasks.answer import is_answer, question, true_answer
from vrl.tasks.task import Clip, Parsed, Task, body
from vrl.types import Sample


def instruction(sample: Sample, clip: Clip) -> str:
    """Return the question, its options, and the form of the answer."""
    return question(sample)


def target(sample: Sample, clip: Clip) -> str:
    """Return the dataset's answer. Raises DataError if it is empty."""
    return f" {true_answer(sample)}"


def parse(text: str) -> Parsed | None:
    """Return all text before the end token; None if it is empty."""
    answer = body(text)
    return Parsed(answer=answer) if answer else None


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """Return whether the answer has the form of the sample's answer type."""
    return is_answer(sample, parsed.answer)


TASK = Task(
    name="vqa",
    prefix="The answer is:",
    instruction=instruction,
    target=target,
    parse=parse,
    well_formed=well_formed,
    rewards=("accuracy", "format"),
    needs=("answer",),
)
