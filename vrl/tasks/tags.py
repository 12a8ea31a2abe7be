"""Blocks between tags, such as `<think> ... </think>`: written, read and checked.

One rule for all tasks (our definition, after the published graders, which take the last answer): the last complete
block counts, outside the thoughts. A thought that is cut off runs to the end of the text, so what it quotes is no
answer. Reading is by search, never by a pattern that could backtrack: linear in the text for any content.
"""

import re
from collections.abc import Sequence

from vrl.errors import DataError
from vrl.types import Sample

_OPENED, _CLOSED = "<think>", "</think>"
_MARK = re.compile(f"({_OPENED}|{_CLOSED})")


def wrap(tag: str, text: str) -> str:
    """Return `text` as a block."""
    return f"<{tag}>{text}</{tag}>"


def block(text: str, tag: str) -> str | None:
    """Return the content of the last complete block of this tag, stripped; None if there is none.

    Of nested blocks, the innermost counts: a block begins at the last opening tag before its end.
    """
    before, closed, _ = text.rpartition(f"</{tag}>")
    _, opened, inside = before.rpartition(f"<{tag}>")
    return inside.partition(f"</{tag}>")[0].strip() if closed and opened else None


def split_thoughts(text: str) -> tuple[str, str]:
    """Return the thoughts, stripped, one a line, and the text outside them, its pieces one a line.

    A thought runs from `<think>` to the next `</think>`, or to the end of the text. Text that a `</think>` without a
    `<think>` ends is a thought, too.
    """
    pieces = _MARK.split(text)  # text, mark, text, .., text
    thoughts: list[str] = []
    outside: list[str] = []
    inside = _CLOSED in pieces[1:2]
    for piece, mark in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        (thoughts if inside else outside).append(piece)
        inside = mark == _OPENED or (inside and mark != _CLOSED)
    return "\n".join(stripped for piece in thoughts if (stripped := piece.strip())), "\n".join(outside)


def is_sequence(text: str, tags: Sequence[str]) -> bool:
    """Return whether the text is these blocks in this order, each once, with only white space around and between."""
    if any(text.count(mark) != 1 for tag in tags for mark in (f"<{tag}>", f"</{tag}>")):
        return False
    for tag in tags:
        text = text.strip()
        if not text.startswith(f"<{tag}>"):
            return False
        text = text.partition(f"</{tag}>")[2]
    return not text.strip()


def header(text: str, *, thinks: bool) -> str:
    """Return the end of a chat template's text as a task needs it: a thought that it opens stays open only if the task
    `thinks`, and otherwise ends empty, as the templates of such models end it to turn thinking off.
    """
    return text if thinks or not _opens_thought(text) else f"{text.rstrip()}\n\n{_CLOSED}\n\n"


def after_header(prompt: str, target: str) -> str:
    """Return a target without its first `<think>` if the text of the prompt has written it (chat template)."""
    return target.removeprefix(_OPENED) if _opens_thought(prompt) else target


def from_header(prompt: str, completion: str) -> str:
    """Return a completion from the assistant header on: with the `<think>` that the text of the prompt ends with."""
    return _OPENED + completion if _opens_thought(prompt) else completion


def _opens_thought(text: str) -> bool:
    return text.rstrip().endswith(_OPENED)


def refuse_tags(sample: Sample, text: str, tags: Sequence[str]) -> str:
    """Return `text` for use inside a block. Raises DataError if it contains one of the tags."""
    found = [mark for tag in tags for mark in (f"<{tag}>", f"</{tag}>") if mark in text]
    if found:
        raise DataError(
            f"sample {sample.sample_id}: got {found} inside {text[:80]!r}, wanted text without tags", reason="tags"
        )
    return text
