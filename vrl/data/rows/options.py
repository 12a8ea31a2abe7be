"""Questions, options and answers as annotation files write them, in our terms. Pure text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from vrl.data.rows.row import Row
from vrl.tasks import tags
from vrl.tasks.answer import choice_letter, number
from vrl.tasks.normal_form import normalise

_LETTERED = re.compile(r"\s*\(?([A-Z])[.):]\)?\s*(.*?)\s*", re.DOTALL)
_LABEL = re.compile(r"(?<![\w.])\(?[A-Z][.):](?!\w)")  # not `U.S.`
_PLACEHOLDERS = re.compile(r"\s*<(?:image|video)>\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A question taken apart."""

    question: str
    options: tuple[str, ...]
    answer: str
    answer_type: str


def without_placeholders(text: str) -> str:
    """The text without `<image>` and `<video>`, which our prompts place themselves."""
    return _PLACEHOLDERS.sub("\n", text).strip()


def block(text: str, tag: str) -> str:
    """Return the content of the last complete block of this tag, as completions are read; '' if there is none."""
    return tags.block(text, tag) or ""


def plain_options(options: Sequence[str]) -> tuple[str, ...]:
    """Options without their letters, where all have theirs: `A. red`, `(B) blue`, `C) ...`; unchanged otherwise."""
    written = [_LETTERED.fullmatch(option) for option in options]
    if all(match is not None and match[1] == chr(65 + i) for i, match in enumerate(written)):
        return tuple(match[2] for match in written if match is not None)
    return tuple(option.strip() for option in options)


def letter_of(row: Row, column: str, options: Sequence[str]) -> str:
    """Return the letter of the first option that is spelled like the text in `column`, perhaps blank.

    Raise RowError for none.
    """
    answer = row.text(column, "")
    texts = [option.strip() for option in options]
    if answer not in texts:
        raise row.error(column, answer, f"the text of one of {texts}")
    return chr(65 + texts.index(answer))


def choice_of(row: Row, column: str, answer: str, options: Sequence[str]) -> str:
    """Return the letter of the option that `answer`, read from `column`, names. Raise RowError for none."""
    letter = stated_letter(answer, tuple(options))
    if letter is None:
        raise row.error(column, answer, f"one of the options {list(options)}")
    return letter


def stated_letter(answer: str, options: tuple[str, ...]) -> str | None:
    """Return the letter that an annotation states: as a completion's is read, or before text that is no option's.

    Annotations shorten and reword their options; a completion may not (`choice_letter`). None for a second letter, and
    for the text of another option.
    """
    letter = choice_letter(answer, options)
    written = _LETTERED.fullmatch(answer)
    if letter is not None or written is None or ord(written[1]) - 65 >= len(options):
        return letter
    other = any(normalise(written[2]) == normalise(option) for option in options)
    return None if other or _LABEL.search(written[2]) else written[1]


def split_options(text: str) -> tuple[str, tuple[str, ...]]:
    """Return question and options of a text that ends in its options, each on a line with its letter.

    A line that does not begin with the next letter belongs to the line before. Without options: the text and ().
    """
    question: list[str] = []
    options: list[str] = []
    for line in text.strip().splitlines():
        written = _LETTERED.fullmatch(line)
        if written is not None and written[1] == chr(65 + len(options)):
            options.append(written[2])
        elif options:
            options[-1] = f"{options[-1]} {line.strip()}".strip()
        else:
            question.append(line)
    return "\n".join(question).strip(), tuple(options)


def take_apart(question: str, answer: str) -> Asked:
    """Split a question from the options in its text, one per line (our definition).

    Two or more lines lettered from A on and an answer that names one of them make a choice; lines behind the options
    are instructions and are left out. Otherwise an answer that is a number makes a number, any other is free text.
    """
    text = without_placeholders(question)
    lines = text.splitlines()
    for first, line in enumerate(lines):
        options = _run_of_options(lines[first:])
        if line.strip() and len(options) > 1:
            letter = stated_letter(answer, options)
            if letter is not None:
                stem = "\n".join(lines[:first]).strip()
                return Asked(question=stem, options=options, answer=letter, answer_type="choice")
    kind = "number" if number(answer) is not None else "free"
    return Asked(question=text, options=(), answer=answer, answer_type=kind)


def _run_of_options(lines: list[str]) -> tuple[str, ...]:
    options = []
    for line in lines:
        written = _LETTERED.fullmatch(line)
        if written is None or written[1] != chr(65 + len(options)):
            break
        options.append(written[2])
    return tuple(options)
