"""Makes an engine's processes exit together, and removes their shared memory.

vLLM's core never exits if the process that started it is killed, for example together with the driver and its Ray.
Shared memory is unlinked by the last process to exit, because its owners are dead by then. Kills no process that the
engine did not start.
"""

import os
import re
import select
import signal
import threading
from pathlib import Path

_ENV = "VRL_ENGINE_PID"
_OURS = re.compile(r" (/dev/shm/(?:sem\.mp-|psm_)\S+)$")  # names given by Python's multiprocessing


def record_engine_pid() -> None:
    """Record this process as the engine's own, before it starts vLLM's processes, so that they can `watch_parent`."""
    os.environ[_ENV] = str(os.getpid())


def watch_parent() -> None:
    """Kill this process as soon as the engine's own process or the parent exits; does nothing in the engine's own.

    With several workers the parent is vLLM's core, which has no watchdog and is killed too.
    """
    engine = int(os.environ.get(_ENV, "0"))
    if engine not in (0, os.getpid()):
        core = os.getppid()
        pidfds = [os.pidfd_open(pid) for pid in {engine, core}]
        threading.Thread(target=_exit_with, args=(pidfds, core), name="parent_watchdog", daemon=True).start()


def _exit_with(pidfds: list[int], core: int) -> None:
    select.select(pidfds, [], [])  # a pidfd becomes readable when its process exits
    for line in Path("/proc/self/maps").read_text().splitlines():
        if found := _OURS.search(line):
            Path(found[1]).unlink(missing_ok=True)
    if os.getppid() == core:  # otherwise it has exited and its pid may be reused
        os.kill(core, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
