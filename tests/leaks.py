"""What a command may not leave behind."""

import os
from contextlib import suppress
from pathlib import Path


def leaked_memory() -> set[str]:
    """Shared memory that no living process has: others on this machine may come and go while a test runs."""
    names, held = set(os.listdir("/dev/shm")), set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):  # it ended while we looked
            held.update(line.split("/dev/shm/", 1)[1].split()[0] for line in maps.open() if "/dev/shm/" in line)
    return names - held
