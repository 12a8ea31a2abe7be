"""Logs the failures of single items, which a run survives: the first of each kind with its traceback."""

import logging
import traceback
from collections.abc import Iterator

from vrl.errors import excerpt

_MAX_FRAMES = 12  # of a traceback, the innermost
_MAX_REMOTE = 4000  # characters of a traceback from another process, the last


class FaultLog:
    """The failures of one part of the program, on one line each.

    A kind is what failed first, and where: the type of the error at the end of the chain of causes, and its place in
    the code. Example: `faults.add("judge", error)`.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._seen: set[tuple[type, str, int]] = set()

    def add(self, what: str, error: BaseException) -> None:
        """Log a failure, with the traceback if it is the first of its kind. Texts of strangers are cut and escaped."""
        *_, root = _chain(error)
        places = traceback.extract_tb(root.__traceback__)
        kind = (type(root), places[-1].filename if places else "", (places[-1].lineno or 0) if places else 0)
        report = "" if kind in self._seen else _report(error)
        self._seen.add(kind)
        self._logger.warning("%s: %s: %s%s", what, type(error).__name__, excerpt(error, 500), report)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what caused it, and so on."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _report(error: BaseException) -> str:
    """Return the tracebacks of the chain, the first cause last."""
    lines = []
    for link in _chain(error):
        lines += ["\n", *traceback.format_tb(link.__traceback__, limit=-_MAX_FRAMES)]
        lines.append(f"{type(link).__name__}: {excerpt(link, 500)}")
        remote = getattr(link, "traceback_str", "")  # Ray's, of the process that raised it
        lines.append(f"\n{remote[-_MAX_REMOTE:]}" if remote else "")
    return "".join(lines)
