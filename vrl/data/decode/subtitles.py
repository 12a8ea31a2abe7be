"""Subtitles of a clip: `clip.srt` next to `clip.mp4`. Reads SubRip text; draws nothing."""

import re
from dataclasses import dataclass
from pathlib import Path

from vrl.errors import DataError

_MAX_BYTES = 2**22  # size limit of a file; a day of speech is less
_TIME = r"(\d{1,3}):([0-5]\d):([0-5]\d)[,.](\d{1,3})"
_TIMES = re.compile(rf"{_TIME} *--> *{_TIME}")
_MARKUP = re.compile(r"<[^<>\n]{0,40}>|\{\\[^{}\n]{0,40}\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """A text shown during [start_s, end_s) of the file."""

    start_s: float
    end_s: float
    text: str  # lines joined by one space, without markup


def subtitle_path(clip: Path) -> Path:
    """Return the path where the subtitles of a clip would be."""
    return clip.with_suffix(".srt")


def read_subtitles(path: Path) -> tuple[Cue, ...]:
    """Return the cues of a SubRip file in its order; none if there is no file.

    Raises DataError (subtitles) for a link, a file that is too large or not UTF-8, and unreadable times of a cue.
    """
    if path.is_symlink():  # it could point outside data.root
        raise DataError(f"{path}: got a link, wanted a plain file of subtitles", reason="subtitles")
    if not path.is_file():
        return ()
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise DataError(f"{path}: got {size} bytes of subtitles, wanted at most {_MAX_BYTES}", reason="subtitles")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: got subtitles that are not UTF-8: {error}", reason="subtitles") from error
    blocks = [lines for block in re.split(r"\n\s*\n", text) if (lines := block.strip().splitlines())]
    return tuple(_cue(path, lines) for lines in blocks)


def _cue(path: Path, lines: list[str]) -> Cue:
    """Parse a block: an optional number, a line of times, lines of text."""
    at = 1 if lines[0].strip().isdigit() and len(lines) > 1 else 0
    times = _TIMES.match(lines[at].strip())
    if times is None:
        raise DataError(
            f"{path}: got {lines[at][:80]!r}, wanted a line like 00:00:01,000 --> 00:00:02,500", reason="subtitles"
        )
    words = _MARKUP.sub("", " ".join(line.strip() for line in lines[at + 1 :]))
    return Cue(start_s=_seconds(times.groups()[:4]), end_s=_seconds(times.groups()[4:]), text=" ".join(words.split()))


def _seconds(parts: tuple[str, ...]) -> float:
    hours, minutes, seconds, fraction = parts
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds) + float(f"0.{fraction}")
