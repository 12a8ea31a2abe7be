"""Progress through the questions of a file: a bar on a terminal, otherwise a plain line every ten seconds."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_EVERY_S = 10.0  # between two plain lines


class ProgressBar:
    """Counts items. Example: `with ProgressBar("toy-eval", 100, done=40) as progress: progress.advance()`."""

    def __init__(self, title: str, total: int, *, done: int) -> None:
        self._title, self._total, self._done = title, total, done
        self._started = self._printed = time.monotonic()
        console = Console(stderr=True)
        self._bar: Bar | None = None
        if console.is_terminal:
            columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn())
            self._bar = Bar(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)
            self._task = self._bar.add_task(title, total=total, completed=done)

    def advance(self) -> None:
        """Count one more item as done."""
        self._done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif now - self._printed >= _EVERY_S or self._done == self._total:
            self._printed = now
            self.say(f"{self._title}: {self._done}/{self._total}")

    def say(self, message: str) -> None:
        """Print one line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(message, highlight=False, markup=False)
        else:
            print(f"[{time.monotonic() - self._started:7.1f} s] {message}", file=sys.stderr, flush=True)

    def __enter__(self) -> "ProgressBar":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
