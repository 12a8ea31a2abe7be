"""P12: a disk that is full while a checkpoint is saved."""

import resource
import subprocess
import sys
from pathlib import Path

from vrl.checkpoint import begin, commit, newest

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
    """Save a checkpoint of one MiB in a process of its own, which may write files of `room` bytes at most."""

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
