"""P12: a disk that fills up while a checkpoint is saved: a single save in a small process, and a whole run."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.test_run import require_ended, words
from integration.test_run import Vrl, rows

from vrl.checkpoint import begin, commit, newest
from vrl.toyworld.make import make_toy

SAVE = """
import sys
from pathlib import Path
from vrl.checkpoint import begin, commit
tmp = begin(Path(sys.argv[1]), int(sys.argv[2]))
(tmp / "learner").mkdir()
(tmp / "learner" / "state").write_bytes(bytes(2**20))
commit(tmp, {}, keep_last=1)
"""


def save(root: Path, step: int, *, room: int | None = None) -> subprocess.CompletedProcess[str]:
    """Save a checkpoint of one MiB in a process of its own with a file size limit of `room` bytes."""

    def limit() -> None:
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    return subprocess.run(
        [sys.executable, "-c", SAVE, str(root), str(step)], preexec_fn=limit, capture_output=True, text=True
    )


def test_a_full_disk_leaves_the_older_checkpoint_and_the_next_save_works(tmp_path: Path):
    assert save(tmp_path, 1).returncode == 0
    full = save(tmp_path, 2, room=2**16)
    assert full.returncode == 1 and "OSError" in full.stderr
    found = newest(tmp_path)
    assert found is not None and found.step == 1
    commit(begin(tmp_path, 3), {}, keep_last=1)
    found = newest(tmp_path)
    assert found is not None and found.step == 3
    assert sorted(path.name for path in tmp_path.glob("step_*")) == ["step_000003"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def used_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def resize(disk: Path, num_bytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={num_bytes}", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(880)
def test_p12_a_run_on_a_full_disk_ends_with_the_cause_and_resumes_when_there_is_room(disk: Path, tmp_path: Path):
    make_toy(tmp_path / "toy", clips=12, difficulty=0, seed=0, workers=2)
    run_dir, checkpoints = disk / "run", disk / "run" / "checkpoints"

    def run(steps: int, code: int) -> str:
        command = words(
            "sft", tmp_path / "toy", run_dir, f"steps={steps}", "sft.generate=false", "sft.stop_at_reward=0",
            "sft.batch_size=2", "data.prefetch=2", f"data.cache.dir={tmp_path}/cache", "resume=auto",
        )  # fmt: skip
        return require_ended(Vrl.start(*command), code)

    def require_hint(output: str) -> None:
        assert "make room" in output and output.strip().splitlines()[-1].endswith("resume=auto"), output

    run(steps=2, code=0)
    one = sum(file.stat().st_size for file in (checkpoints / "step_000002").rglob("*") if file.is_file())
    resize(disk, used_bytes(disk) + one * 3 // 2)
    output = run(steps=8, code=1)
    require_hint(output)
    assert "checkpoint of step 6" in output and "MiB free" in output
    assert sorted(path.name for path in checkpoints.iterdir()) == ["latest", "step_000002", "step_000004"]
    found = newest(checkpoints)
    assert found is not None and found.step == 4

    room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "ballast").write_bytes(bytes(room))
    require_hint(run(steps=8, code=1))  # the disk is full: the run does not even start

    resize(disk, 2**30)
    assert "resumed at step 4" in run(steps=8, code=0)
    assert [row["step"] for row in rows(run_dir)] == list(range(1, 9))
    found = newest(checkpoints)
    assert found is not None and found.step == 8
