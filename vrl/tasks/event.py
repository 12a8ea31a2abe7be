"""True events of a clip: what an annotation says about times that the clip has."""

from vrl.errors import DataError
from vrl.types import Sample


def clipped(span_s: tuple[float, float], duration_s: float) -> tuple[float, float]:
    """Return the part of a span that lies in a clip, in seconds; empty (start = end) if none does."""
    start_s, end_s = span_s
    return min(max(0.0, start_s), duration_s), min(end_s, duration_s)


def true_spans(sample: Sample, duration_s: float) -> list[tuple[float, float]]:
    """Return the sample's spans, clipped to a clip of `duration_s` seconds.

    Annotations often end after the clip (one in eight of Charades-STA). Raise DataError (spans) if one begins only
    there: then the row names another clip, or another cut of it.
    """
    for start_s, end_s in sample.spans:
        if not 0 <= start_s <= end_s or start_s >= duration_s:
            raise DataError(
                f"sample {sample.sample_id}: got span [{start_s:g}, {end_s:g}] s, wanted 0 <= start <= end and a start "
                f"before the clip's end at {duration_s:.2f} s; correct the span or the media of its row",
                reason="spans",
            )
    return [clipped(span_s, duration_s) for span_s in sample.spans]
