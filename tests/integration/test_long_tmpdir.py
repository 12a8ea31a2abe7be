"""A private Ray where the folder of temporary files has a name too long for unix sockets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STARTS = """
from vrl.lifecycle import guard_private_ray
guard_private_ray("")
from vrl.actors.placement import Placement, Role
with Placement("", lambda gpus: (Role(name="data", count=1, num_cpus=1),)) as placement:
    print("started", placement.has_gpus)
"""


@pytest.mark.timeout(120)
def test_ray_starts_with_a_temporary_folder_of_eighty_characters(tmp_path: Path):
    long = tmp_path / "x".ljust(80 - len(str(tmp_path)) - 1, "x") if len(str(tmp_path)) < 79 else tmp_path
    long.mkdir(exist_ok=True)
    env = {**os.environ, "TMPDIR": str(long), "PYTHONPATH": os.getcwd()}
    env.pop("RAY_TMPDIR", None)
    done = subprocess.run([sys.executable, "-c", STARTS], env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "started" in done.stdout, done.stderr[-2000:]
