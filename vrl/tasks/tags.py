"""Blocks between tags, such as `<think> ... </think>`: written, read and checked.

Reading uses plain search, not a pattern that could backtrack, so it is linear in any text.
"""

from collections.abc import Sequence

from vrl.errors import DataError
from vrl.types import Sample


def wrap(tag: str, text: str) -> str:
    """Return `text` as a block."""
    return f"<{tag}>{text}</{tag}>"


def block(text: str, tag: str) -> str | None:
    """Return the content of the first block of this tag, stripped; None if none is opened and closed."""
    _, opened, rest = text.partition(f"<{tag}>")
    inside, closed, _ = rest.partition(f"</{tag}>")
    return inside.strip() if opened and closed else None


def after(text: str, tag: str) -> str:
    """Return the text after the first block of this tag, or the whole text if it is never closed."""
    _, closed, rest = text.partition(f"</{tag}>")
    return rest if closed else text


def is_sequence(text: str, tags: Sequence[str]) -> bool:
    """Return whether the text is these blocks in this order, each once, with only white space between them."""
    if any(text.count(mark) != 1 for tag in tags for mark in (f"<{tag}>", f"</{tag}>")):
        return False
    for tag in tags:
        text = text.strip()
        if not text.startswith(f"<{tag}>"):
            return False
        text = text.partition(f"</{tag}>")[2]
    return not text.strip()


def refuse_tags(sample: Sample, text: str, tags: Sequence[str]) -> str:
    """Return `text`, to be put inside a block. Raises DataError if it contains one of the tags."""
    found = [mark for tag in tags for mark in (f"<{tag}>", f"</{tag}>") if mark in text]
    if found:
        raise DataError(
            f"sample {sample.sample_id}: got {found} inside {text[:80]!r}, wanted text without tags", reason="tags"
        )
    return text
