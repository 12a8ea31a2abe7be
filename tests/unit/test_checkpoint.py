import json
from pathlib import Path

import pytest

from vrl import checkpoint
from vrl.errors import CheckpointError


def save(root: Path, step: int, keep_last: int = 2) -> checkpoint.Checkpoint:
    tmp = checkpoint.begin(root, step)
    (tmp / "learner").mkdir()
    (tmp / "learner" / "weights.bin").write_bytes(bytes([step]) * 100)
    return checkpoint.commit(tmp, {"step": step, "ordinal": 10 * step}, keep_last=keep_last)


def test_a_committed_checkpoint_reads_back_and_old_ones_go(tmp_path: Path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    found = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 3 and found.driver["ordinal"] == 30
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step_000002", "step_000003"]
    assert (tmp_path / "latest").read_text() == "step_000003"


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "no manifest", "torn manifest"])
def test_a_damaged_newest_checkpoint_is_skipped(tmp_path: Path, damage: str):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    weights, manifest = newest.learner / "weights.bin", newest.path / "manifest.json"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:50])
    elif damage == "flip":
        weights.write_bytes(b"\xff" + weights.read_bytes()[1:])
    elif damage == "delete":
        weights.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:40])
    found = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 1
    with pytest.raises(CheckpointError):
        checkpoint.read(newest.path)


def test_an_interrupted_save_is_ignored_and_cleaned(tmp_path: Path):
    save(tmp_path, 1)
    tmp = checkpoint.begin(tmp_path, 2)
    (tmp / "half").write_text("x")
    found = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 1
    again = checkpoint.begin(tmp_path, 2)
    assert list(again.iterdir()) == []


def test_what_resume_asks_for(tmp_path: Path):
    assert checkpoint.find(tmp_path, "never") is None
    assert checkpoint.find(tmp_path, "auto") is None
    with pytest.raises(CheckpointError, match="resume=must"):
        checkpoint.find(tmp_path, "must")
    one = save(tmp_path, 1)
    save(tmp_path, 2)
    with pytest.raises(CheckpointError, match="resume=never"):
        checkpoint.find(tmp_path, "never")
    for resume, step in (("auto", 2), ("must", 2), (str(one.path), 1)):
        found = checkpoint.find(tmp_path, resume)
        assert found is not None and found.step == step


def test_a_model_path_may_be_a_run_folder(tmp_path: Path):
    with pytest.raises(CheckpointError, match="wanted a Hugging Face folder"):
        checkpoint.resolve_model(str(tmp_path))
    with pytest.raises(CheckpointError, match="the hub does not give it"):
        checkpoint.resolve_model("nobody/nothing")
    save(tmp_path / "checkpoints", 1)
    with pytest.raises(CheckpointError, match="holds no hf/ folder"):
        checkpoint.resolve_model(str(tmp_path))
    tmp = checkpoint.begin(tmp_path / "checkpoints", 2)
    (tmp / "hf").mkdir()
    (tmp / "hf" / "config.json").write_text(json.dumps({}))
    done = checkpoint.commit(tmp, {}, keep_last=2)
    assert checkpoint.resolve_model(str(tmp_path)) == done.hf
    assert checkpoint.resolve_model(str(done.hf)) == done.hf
