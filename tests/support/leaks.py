"""Resources that a command must not leave behind."""

import os
from collections.abc import Iterable
from contextlib import suppress


def shared_memory_of(pids: Iterable[int]) -> set[str]:
    """Names in /dev/shm that these processes have mapped, as opposed to those of other users of the machine."""
    held: set[str] = set()
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/maps") as maps:  # it may have ended
            held.update(line.split("/dev/shm/", 1)[1].split()[0] for line in maps if "/dev/shm/" in line)
    return held


def left_of(names: set[str]) -> set[str]:
    """Return those that still exist."""
    return names & set(os.listdir("/dev/shm"))


def socket_files_of(pids: Iterable[int]) -> set[str]:
    """Paths of unix sockets that these processes have bound, even if the file is removed; without Ray's own sockets in
    its session folder."""
    inodes: set[str] = set()
    for pid in pids:
        with suppress(OSError):  # it may have ended
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):
                    inodes.add(os.readlink(entry.path))
    with open("/proc/net/unix") as table:
        bound = [line.split() for line in table if "/" in line]
    return {line[-1] for line in bound if f"socket:[{line[-2]}]" in inodes and not line[-1].startswith("/tmp/ray/")}
