"""Direct question answering: a letter, a number or a short text right after the prefix (VideoReasoner's)."""

from vrl.tasks.answer import is_answer, question, true_answer
from vrl.tasks.task import Clip, Parsed, Task, body
from vrl.types import Sample


def instruction(sample: Sample, clip: Clip) -> str:
    """The question, its options one a line, and what form the answer takes."""
    return question(sample)


def target(sample: Sample, clip: Clip) -> str:
    """The answer as the dataset has it. Raises DataError where there is none."""
    return f" {true_answer(sample)}"


def parse(text: str) -> Parsed | None:
    """All text before the end token; None where there is none."""
    answer = body(text)
    return Parsed(answer=answer) if answer else None


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """A letter of one of the options, a number, or one line of text, as the sample's answer type asks."""
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
