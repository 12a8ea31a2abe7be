"""Event grounding: start and end of an event as fractions of the clip's duration, between two event tokens.

The form is VideoReasoner's: `<|event_start|>[0.12, 0.34]<|event_end|>`; its words before the start token are left out.
Several events are several such pairs (our definition; the paper has single events only).
"""

import re

from vrl.errors import DataError
from vrl.tasks.event import true_spans
from vrl.tasks.task import EVENT_END, EVENT_START, Clip, Parsed, Task, body
from vrl.types import Sample

ASK = "When does this happen in the video: {event}"  # of converters and benchmarks alike
_MAX_SPANS = 64  # per completion; bounds the work of comparing them
_NUMBER = r"(\d{1,4}(?:\.\d{0,8})?|\.\d{1,8})"
_INTERVAL = re.compile(rf"(\[?)\s*{_NUMBER}\s*,\s*{_NUMBER}\s*(\]?)")


def event_of(sample: Sample) -> str:
    """Return the sentence that names the event: the question without the words that ask for it."""
    return sample.question.removeprefix(ASK.format(event=""))


def instruction(sample: Sample, clip: Clip) -> str:
    """Return the question and the form of the answer."""
    return f"{sample.question}\nAnswer with the start and the end of the event as fractions of the duration."


def target(sample: Sample, clip: Clip) -> str:
    """Return the true spans as fractions of the clip's duration with two decimals.

    Events are clipped to the clip. One that rounds to nothing is written one hundredth long, because an empty interval
    has no overlap with anything. Raise DataError if there is no span, or one that is empty or outside the clip.
    """
    if not sample.spans:
        raise DataError(
            f"sample {sample.sample_id}: got no spans, wanted at least one (task grounding)", reason="spans"
        )
    spans = true_spans(sample, clip.duration_s)
    if empty := [span_s for span_s in spans if span_s[0] == span_s[1]]:
        raise DataError(
            f"sample {sample.sample_id}: got the spans {empty} s, wanted start < end (task grounding)", reason="spans"
        )
    return " " + " ".join(_interval(start_s / clip.duration_s, end_s / clip.duration_s) for start_s, end_s in spans)


def _interval(start: float, end: float) -> str:
    low = round(100 * min(start, 0.99))
    high = max(low + 1, round(100 * min(end, 1.0)))
    return f"{EVENT_START}[{low / 100:.2f}, {high / 100:.2f}]{EVENT_END}"


def parse(text: str) -> Parsed | None:
    """Return every `start, end` between an event start and the next event end; None if there is none.

    Numbers are taken as written: reversed or beyond 1 is for `well_formed` and the reward to judge. Tidy: the text is
    these intervals and white space between them.
    """
    before, *pieces = body(text).split(EVENT_START)
    tidy = not before and len(pieces) <= _MAX_SPANS
    spans: list[tuple[float, float]] = []
    for piece in pieces[:_MAX_SPANS]:
        inside, end_token, rest = piece.partition(EVENT_END)
        written = _INTERVAL.fullmatch(inside.strip()) if end_token else None
        tidy = tidy and written is not None and bool(written[1]) == bool(written[4]) and not rest.strip()
        if written is not None:
            spans.append((float(written[2]), float(written[3])))
    return Parsed(span_ratios=tuple(spans), tidy=tidy) if spans else None


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """Return whether the completion is intervals and nothing else, each running forward inside the clip."""
    return parsed.tidy and all(0 <= start < end <= 1 for start, end in parsed.span_ratios)


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
