"""Clock times (`00:02`, `1:02:03`, `00:02-00:05`): written, and found in text."""

import math
import re
from dataclasses import dataclass

_TIME = r"(?:(\d{1,2}):)?(\d{1,3}):([0-5]\d)(?:\.(\d{1,3}))?"
_BEFORE, _BEHIND = r"(?<![\d:.])", r"(?![\d:])"
_RANGE = re.compile(rf"{_BEFORE}{_TIME}(?: ?(?:-|\u2013|\u2014|to) ?{_TIME})?{_BEHIND}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """A moment or range of time that a text names, and its position in the text."""

    start_s: float
    end_s: float  # equals start_s for a moment; a reversed range is swapped
    start: int  # text[start:end] names it
    end: int


def clock(seconds: float) -> str:
    """Return whole seconds, rounded down, as MM:SS, or H:MM:SS from one hour on."""
    minutes, second = divmod(math.floor(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minutes:02d}:{second:02d}"


def clock_span(start_s: float, end_s: float) -> str:
    """Return `00:02-00:05`, or one time if both are written alike."""
    start, end = clock(start_s), clock(end_s)
    return start if start == end else f"{start}-{end}"


def mentions(text: str) -> list[Mention]:
    """Return every time and range of times in a text, in order, in linear time."""
    return [_mention(found) for found in _RANGE.finditer(text)]


def _mention(found: re.Match[str]) -> Mention:
    first = _seconds(found.groups()[:4])
    last = _seconds(found.groups()[4:]) if found[6] is not None else first
    return Mention(start_s=min(first, last), end_s=max(first, last), start=found.start(), end=found.end())


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds or 0) + float(f"0.{fraction or 0}")
