import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

# Three generations: the engine's process, vLLM's core without a watchdog, and a worker that maps shared memory.
WORKER = """
import mmap, os, time
from vrl.rollout.parent_watchdog import watch_parent
watch_parent()
kept = []
for name in ("psm_", "kept_"):
    with open(f"/dev/shm/{name}{os.getpid()}", "w+b") as file:
        file.truncate(4096)
        kept.append(mmap.mmap(file.fileno(), 4096))
print(os.getpid(), flush=True)
time.sleep(60)
"""
CORE = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {WORKER!r}]); time.sleep(60)"
ENGINE = """
import subprocess, sys
from vrl.rollout.parent_watchdog import watch_parent, record_engine_pid
record_engine_pid()
watch_parent()
subprocess.Popen([sys.executable, "-c", sys.argv[1]]).wait()
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("child", "victim"), [(WORKER, "engine"), (CORE, "engine"), (CORE, "core")], ids=["one", "several", "core"]
)
def test_orphaned_processes_exit_and_remove_their_shared_memory(child: str, victim: str):
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        worker = psutil.Process(int(engine.stdout.readline()))
        family = psutil.Process(engine.pid).children(recursive=True)
        assert worker in family and len(family) == (1 if child == WORKER else 2)
        os.kill(engine.pid if victim == "engine" else worker.ppid(), signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []
        assert (engine.poll() is None) == (victim == "core")
        assert not Path(f"/dev/shm/psm_{worker.pid}").exists()
        Path(f"/dev/shm/kept_{worker.pid}").unlink()  # not named by multiprocessing: left to its owner
        engine.kill()
