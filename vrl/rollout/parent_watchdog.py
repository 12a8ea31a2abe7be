"""An engine's processes end together, and take their shared memory along.

vLLM's core outlives, for ever, the process that started it, when that is killed and nobody is there to kill the rest:
so it was seen when a driver was killed, and its Ray with it. What they share is unlinked by whoever dies last, since
those who would have done it are dead. Ends nobody whom the engine did not start.
"""

import os
import re
import select
import signal
import threading
from pathlib import Path

_ENV = "VRL_ENGINE_PID"
_OURS = re.compile(r" (/dev/shm/(?:sem\.mp-|psm_)\S+)$")  # how Python's multiprocessing names what it maps


def offer_lifeline() -> None:
    """Called in the engine's own process before it starts vLLM's, which may then `watch_parent`."""
    os.environ[_ENV] = str(os.getpid())


def watch_parent() -> None:
    """End this process as soon as the engine's own or the parent has ended; in the engine's own, do nothing.

    With several workers vLLM's core stands between, and knows nothing of this: it is ended too.
    """
    engine = int(os.environ.get(_ENV, "0"))
    if engine not in (0, os.getpid()):
        core = os.getppid()
        ends = [os.pidfd_open(pid) for pid in {engine, core}]
        threading.Thread(target=_end_with, args=(ends, core), name="lifeline", daemon=True).start()


def _end_with(ends: list[int], core: int) -> None:
    select.select(ends, [], [])  # a pidfd is readable once its process has ended
    for line in Path("/proc/self/maps").read_text().splitlines():
        if found := _OURS.search(line):
            Path(found[1]).unlink(missing_ok=True)
    if os.getppid() == core:  # else it is gone, and the number may be another's
        os.kill(core, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
