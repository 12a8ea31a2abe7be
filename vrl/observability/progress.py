"""Progress through steps or questions: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from contextlib import AbstractContextManager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_EVERY_S = 10.0  # between two plain lines of `advance`


class ProgressBar(AbstractContextManager["ProgressBar"]):
    """Counts items. Example: `with ProgressBar("toy-eval", 100, done=40) as progress: progress.advance()`."""

    def __init__(self, title: str, total: int, *, done: int) -> None:
        self._title, self._total, self._done = title, total, done
        self._started = self._printed = time.monotonic()
        console = Console(stderr=True)
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn())
            line = TextColumn("{task.fields[line]}")
            self._bar = Progress(*columns, line, TimeElapsedColumn(), TimeRemainingColumn(), console=console)
            self._task = self._bar.add_task(title, total=total, completed=done, line="")
            self._bar.start()

    def advance(self) -> None:
        """Count one more item as done."""
        self._done += 1
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif now - self._printed >= _EVERY_S or self._done == self._total:
            self._printed = now
            self.say(f"{self._title}: {self._done}/{self._total}")

    def show(self, done: int, line: str) -> bool:
        """Move the bar to `done` and show `line` next to it. Return False without a terminal."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, line=line)
        return self._bar is not None

    def say(self, message: str) -> None:
        """Print one line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(message, highlight=False, markup=False)
        else:
            print(f"[{time.monotonic() - self._started:7.1f} s] {message}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Stop the bar."""
        if self._bar is not None:
            self._bar.stop()

    def __exit__(self, *_: object) -> None:
        self.close()
