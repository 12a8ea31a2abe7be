"""Times as people write them: `00:02`, `1:02:03`, `00:02-00:05`. Writes them and finds them in text."""

import math
import re
from dataclasses import dataclass

_TIME = r"(?:(\d{1,2}):)?(\d{1,3}):([0-5]\d)(?:\.(\d{1,3}))?"
_BEFORE, _BEHIND = r"(?<![\d:.])", r"(?![\d:])"
_RANGE = re.compile(rf"{_BEFORE}{_TIME}(?: ?(?:-|\u2013|\u2014|to) ?{_TIME})?{_BEHIND}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """A moment or a stretch of time that a text names, and where it does."""

    start_s: float
    end_s: float  # equals start_s for a moment; never before it: a reversed range is turned round
    start: int  # text[start:end] names it
    end: int


def clock(seconds: float) -> str:
    """Whole seconds, rounded down, as MM:SS, or H:MM:SS from an hour on."""
    minutes, second = divmod(math.floor(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minutes:02d}:{second:02d}"


def clock_span(start_s: float, end_s: float) -> str:
    """`00:02-00:05`, or one time where both are written alike."""
    start, end = clock(start_s), clock(end_s)
    return start if start == end else f"{start}-{end}"


def mentions(text: str) -> list[Mention]:
    """Every time or range of times in the text, in its order. Linear in the text."""
    return [_mention(found) for found in _RANGE.finditer(text)]


def _mention(found: re.Match[str]) -> Mention:
    first = _seconds(found.groups()[:4])
    last = _seconds(found.groups()[4:]) if found[6] is not None else first
    return Mention(start_s=min(first, last), end_s=max(first, last), start=found.start(), end=found.end())


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0) + float(f"0.{fraction or 0}")
