"""Think with times, then answer: the form of vrl.tasks.think, with times in the thinking (Video-R2)."""

from vrl.tasks import think
from vrl.tasks.clock import clock_span
from vrl.tasks.task import Clip, Task
from vrl.types import Sample

SAY_WHEN = "In your thoughts, say when you see what, as 00:02 or 00:02-00:04."


def instruction(sample: Sample, clip: Clip) -> str:
    """Return the question and the form of the answer, times included."""
    return f"{think.instruction(sample, clip)} {SAY_WHEN}"


def target(sample: Sample, clip: Clip) -> str:
    """Return thinking with times, then the answer. Raises DataError if either is missing or contains tags.

    A sample without its own thinking gets its captions, each after its time (our definition).
    """
    timed = [f"{clock_span(caption.start_s, caption.end_s)} {caption.text}" for caption in sample.captions]
    return think.blocks(sample, think.thinking(sample, timed))


TASK = Task(
    name="think_timestamps",
    prefix="",
    instruction=instruction,
    target=target,
    parse=think.parse,
    well_formed=think.well_formed,
    rewards=("accuracy", "format"),
    needs=("answer",),
    thinks=True,
)
