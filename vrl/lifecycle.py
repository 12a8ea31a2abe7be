"""Runs a command to its end or until a signal, and gives a private Ray its token.

Ctrl-C and SIGTERM ask a run to stop: it finishes the current step, saves a checkpoint, frees everything and exits
with 130 or 143. A second signal cancels immediately. Does not know what kind of run it is.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import Callable, Coroutine
from typing import Any


class Stop:
    """A cooperative shutdown request. Until the run sets `on_request`, a signal cancels it."""

    def __init__(self, main: "asyncio.Task[Any]") -> None:
        self.signum: int | None = None
        self.on_request: Callable[[], None] | None = None
        self._main = main

    def listen(self) -> None:
        """Handle SIGINT and SIGTERM; call again after ray.init, which installs its own SIGTERM handler."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._on_signal, signum)

    def _on_signal(self, signum: int) -> None:
        again = self.signum is not None
        self.signum = signum
        if self.on_request is not None and not again:
            self.on_request()
        else:
            self._main.cancel()


def run_to_end(main: Callable[[Stop], Coroutine[Any, Any, None]]) -> int:
    """Run `main` and return the exit code: 0, or 128 + the signal that ended it. Errors pass through, ungrouped."""

    async def outer() -> int:
        task = asyncio.current_task()
        assert task is not None
        stop = Stop(task)
        stop.listen()
        try:
            await main(stop)
        except asyncio.CancelledError:
            if stop.signum is None:
                raise
        return 0 if stop.signum is None else 128 + stop.signum

    try:
        return asyncio.run(outer())
    except BaseExceptionGroup as group:  # of a TaskGroup: the first cause explains the others
        raise first_cause(group) from group


def first_cause(group: BaseExceptionGroup) -> BaseException:
    """Return the first real error of a nested exception group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def guard_private_ray(ray_address: str) -> None:
    """Give a private Ray a random token that never touches the disk, unless RAY_AUTH_MODE says otherwise.

    An empty variable says nothing. Call before `import ray`, which reads these.
    """
    if not ray_address and not os.environ.get("RAY_AUTH_MODE"):
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
