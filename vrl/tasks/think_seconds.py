"""Think, then say when an event happens, in seconds: `<think> ... </think><answer>12.50 to 17.80</answer>` (Time-R1).

Of several times in the answer, the last pair counts, as in the authors' code; words around it are allowed.
"""

import re

from vrl.errors import DataError
from vrl.tasks.event import true_spans
from vrl.tasks.tags import block, is_sequence, refuse_tags, split_thoughts, wrap
from vrl.tasks.task import Clip, Parsed, Task, body
from vrl.tasks.think import TAGS, THINK_FIRST
from vrl.types import Sample

_SECONDS = r"(\d{1,6}(?:\.\d{0,6})?)"
_PAIR = re.compile(rf"(?<![\d.:]){_SECONDS} (?:to|and) {_SECONDS}(?![\d:])", re.IGNORECASE)


def instruction(sample: Sample, clip: Clip) -> str:
    """Return the question and the form of the answer."""
    return f"{sample.question}\n{THINK_FIRST} Answer with its start and end in seconds, as 3.50 to 8.25."


def target(sample: Sample, clip: Clip) -> str:
    """Return thinking and the first true span in seconds, clipped to the clip.

    A sample without its own thinking gets its captions. Raise DataError if it has neither, no span, or one outside the
    clip.
    """
    thoughts = sample.thinking.strip() or " ".join(caption.text for caption in sample.captions)
    spans = true_spans(sample, clip.duration_s)
    if not thoughts or not spans:
        raise DataError(
            f"sample {sample.sample_id}: got {len(spans)} spans and {len(thoughts)} letters of thinking, wanted some "
            f"of both (task {sample.task})",
            reason="spans" if thoughts else "thinking",
        )
    (start_s, end_s), *_ = spans
    return wrap("think", refuse_tags(sample, thoughts, TAGS)) + wrap("answer", f"{start_s:.2f} to {end_s:.2f}")


def parse(text: str) -> Parsed | None:
    """Return the last pair of times of the answer, and the thinking; None without an answer that has a pair."""
    whole = body(text)
    thoughts, rest = split_thoughts(whole)
    pairs = _PAIR.findall(block(rest, "answer") or "")
    if not pairs:
        return None
    start_s, end_s = (float(number) for number in pairs[-1])
    return Parsed(span_seconds=((start_s, end_s),), thinking=thoughts, tidy=is_sequence(whole, TAGS))


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """Return whether the text is just the two blocks, with some thinking and an event that runs forward."""
    return parsed.tidy and bool(parsed.thinking) and all(start < end for start, end in parsed.span_seconds)


TASK = Task(
    name="think_seconds",
    prefix="",
    instruction=instruction,
    target=target,
    parse=parse,
    well_formed=well_formed,
    rewards=("tiou", "format"),
    needs=("spans",),
    needs_clip=True,
    thinks=True,
)
