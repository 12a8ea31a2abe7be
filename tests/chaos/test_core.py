"""vLLM's core and its shared memory after the process that started it is killed."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.leaks import left_of, shared_memory_of, socket_files_of

from vrl.toyworld.model import build_family

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]
ENGINE = """
import asyncio, sys, time
from vrl.config import ModelConfig, RolloutConfig
from vrl.rollout.engine import RolloutEngine
model = ModelConfig(path=sys.argv[1], dtype="float32", max_context_tokens=256)
engine = RolloutEngine(model, RolloutConfig(max_tokens=4, max_num_seqs=4, kv_cache_gib=0.1))
asyncio.run(engine.ready())
print("ready", flush=True)
time.sleep(3600)
"""


def test_p8_the_core_of_a_killed_engine_exits_and_leaves_no_file(tmp_path: Path):
    build_family(tmp_path, "qwen2_vl", sharp=False)
    command = [sys.executable, "-c", ENGINE, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as engine:
        assert engine.stdout is not None
        try:
            while engine.stdout.readline() not in ("ready\n", ""):
                pass
            family = psutil.Process(engine.pid).children(recursive=True)
            assert any("EngineCore" in " ".join(process.cmdline()) for process in family)
            shared = shared_memory_of([engine.pid, *(process.pid for process in family)])
            sockets = socket_files_of([engine.pid])
            os.kill(engine.pid, signal.SIGKILL)
            _, alive = psutil.wait_procs(family, timeout=30)
            assert alive == []
            assert left_of(shared) == set()  # an engine on one device has none; see test_parent_watchdog
            assert sockets and not any(map(os.path.exists, sockets))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(engine.pid, signal.SIGKILL)
