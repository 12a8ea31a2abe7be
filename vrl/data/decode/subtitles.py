"""Subtitles of a clip, in a file of its name: SubRip, WebVTT or SubStation Alpha, read by pysubs2. Draws nothing."""

import re
from dataclasses import dataclass
from pathlib import Path

import pysubs2

from vrl.errors import DataError

SUFFIXES = (".srt", ".vtt", ".ass")
_MAX_BYTES = 2**22  # size limit of a file; a day of speech is less
_BLANK = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_TIMED = "-->"  # in the line of times of a SubRip or WebVTT cue


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """A text shown during [start_s, end_s) of the file."""

    start_s: float
    end_s: float
    text: str  # lines joined by one space, without markup


def subtitle_path(clip: Path, media_root: Path, subtitles_root: Path | None) -> Path | None:
    """Return the file of a clip's subtitles: next to it, or at the same place below `subtitles_root` or right in it.

    None if there is none. Raise DataError (subtitles) for a link: it could point outside the folder.
    """
    names = [clip.with_suffix(suffix) for suffix in SUFFIXES]
    if subtitles_root is not None:
        below = [subtitles_root / name.relative_to(media_root.resolve()) for name in names]
        names = [*below, *(subtitles_root / name.name for name in names)]
    found = next((name for name in names if name.is_file()), None)
    if found is not None and found.is_symlink():
        raise DataError(f"{found}: got a link, wanted a plain file of subtitles", reason="subtitles")
    return found


def read_subtitles(path: Path) -> tuple[tuple[Cue, ...], int]:
    """Return the cues of a file in its order, and the number of cues that were skipped because they cannot be read.

    A skipped cue has no times, or ends before it starts. Raise DataError (subtitles) for a file that is too large, not
    UTF-8, or without any cue.
    """
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise DataError(f"{path}: got {size} bytes of subtitles, wanted at most {_MAX_BYTES}", reason="subtitles")
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: got subtitles that are not UTF-8: {error}", reason="subtitles") from error
    blocks = [text] if path.suffix == ".ass" else _blocks(text)
    cues, skipped = [], 0
    for block in blocks:
        try:
            events = list(pysubs2.SSAFile.from_string(block, format_=path.suffix[1:]))
        except pysubs2.exceptions.Pysubs2Error:
            events = []
        good = [event for event in events if event.end >= event.start]
        skipped += len(events) - len(good) if events else 1
        cues += [
            Cue(start_s=event.start / 1000, end_s=event.end / 1000, text=" ".join(event.plaintext.split()))
            for event in good
        ]
    if skipped and not cues:
        raise DataError(f"{path}: got {skipped} cues, none with times that can be read", reason="subtitles")
    return tuple(cues), skipped


def _blocks(text: str) -> list[str]:
    """Split SubRip or WebVTT into its cues: pysubs2 would read a cue without times as text of the one before.

    A piece without a line of times continues the cue before it, whose text holds an empty line. Headers and notes of
    WebVTT are left out.
    """
    blocks: list[str] = []
    for piece in _BLANK.split(text):
        if _TIMED in piece:
            blocks.append(piece)
        elif blocks and not piece.startswith(("NOTE", "STYLE", "REGION")):
            blocks[-1] += f"\n{piece}"
    return blocks if blocks or not text else [text]
