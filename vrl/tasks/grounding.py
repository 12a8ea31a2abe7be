"""Event grounding: start and end of an event as fractions of the clip's duration, between two event tokens.

The form is VideoReasoner's: `<|event_start|>[0.12, 0.34]<|event_end|>`; its words before the start token are left out.
Several events are several such pairs (our definition; the paper has single events only).
"""

import re

from vrl.errors import DataError
from vrl.tasks.task import EVENT_END, EVENT_START, Clip, Parsed, Task, body
from vrl.types import Sample

_MAX_SPANS = 64  # per completion; bounds the work of comparing them
_SLACK_S = 0.5  # annotations may end a little after the last frame
_NUMBER = r"(\d{1,4}(?:\.\d{0,8})?|\.\d{1,8})"
_INTERVAL = re.compile(rf"\[?\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\]?")


def instruction(sample: Sample, clip: Clip) -> str:
    """Return the question and the form of the answer."""
    return f"{sample.question}\nAnswer with the start and the end of the event as fractions of the duration."


def target(sample: Sample, clip: Clip) -> str:
    """Return the true spans as fractions of the clip's duration with two decimals.

    An event that rounds to zero length is written 0.01 long, because an empty interval overlaps with nothing.
    Raises DataError if the sample has no span, or one that does not lie inside the clip.
    """
    if not sample.spans:
        raise DataError(
            f"sample {sample.sample_id}: got no spans, wanted at least one (task grounding)", reason="spans"
        )
    duration_s = clip.duration_s
    for start_s, end_s in sample.spans:
        if not 0 <= start_s < end_s <= duration_s + _SLACK_S:
            raise DataError(
                f"sample {sample.sample_id}: got span [{start_s}, {end_s}] s, wanted 0 <= start < end <= duration "
                f"({duration_s:.2f} s)",
                reason="spans",
            )
    return " " + " ".join(_interval(start_s / duration_s, end_s / duration_s) for start_s, end_s in sample.spans)


def _interval(start: float, end: float) -> str:
    low = round(100 * min(start, 0.99))
    high = max(low + 1, round(100 * min(end, 1.0)))
    return f"{EVENT_START}[{low / 100:.2f}, {high / 100:.2f}]{EVENT_END}"


def parse(text: str) -> Parsed | None:
    """Return every `start, end` between an event start and the next event end; None if there is none.

    Numbers are kept as written; `well_formed` and the reward judge reversed intervals and values beyond 1.
    """
    spans: list[tuple[float, float]] = []
    for piece in body(text).split(EVENT_START)[1 : _MAX_SPANS + 1]:
        inside, end_token, _ = piece.partition(EVENT_END)
        written = _INTERVAL.fullmatch(inside.strip()) if end_token else None
        if written is not None:
            spans.append((float(written[1]), float(written[2])))
    return Parsed(span_ratios=tuple(spans)) if spans else None


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """Return whether every interval runs forward inside the clip."""
    return all(0 <= start < end <= 1 for start, end in parsed.span_ratios)


TASK = Task(
    name="grounding",
    prefix="I want to locate the key event in the video.",
    instruction=instruction,
    target=target,
    parse=parse,
    well_formed=well_formed,
    rewards=("iou", "format"),
    needs_clip=True,
    needs=("spans",),
)
