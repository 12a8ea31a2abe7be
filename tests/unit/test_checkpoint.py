import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from vrl import checkpoint
from vrl.errors import CheckpointError


def save(root: Path, step: int, keep_last: int = 2, content: int | None = None) -> checkpoint.Checkpoint:
    tmp = checkpoint.begin(root, step)
    (tmp / "learner").mkdir()
    (tmp / "learner" / "weights.bin").write_bytes(bytes([step if content is None else content]) * 100)
    return checkpoint.commit(tmp, {"step": step, "ordinal": 10 * step}, keep_last=keep_last)


def test_a_committed_checkpoint_reads_back_and_old_ones_are_deleted(tmp_path: Path):
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


@pytest.mark.parametrize("name", ["step_000010_good", "step_7", "step_000009.bak", "step_000009 (copy)", "step_abc"])
def test_folders_with_other_names_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("x")
    for step in (1, 2, 3, 20):
        save(tmp_path, step)
    found = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 20 and name in caplog.text
    assert checkpoint.find(tmp_path, "auto") == found
    assert (tmp_path / name / "mine").read_text() == "x"
    with pytest.raises(CheckpointError, match="already holds step_000020"):
        checkpoint.find(tmp_path, "never")


STAGES = ["begun", "written", "described", "flushed", "renamed", "pointed", "pruning", "pruned"]


@pytest.mark.parametrize(
    ("stage", "again"), [(stage, again) for stage in STAGES for again in (False, True)] + [("moved_aside", True)]
)
def test_a_save_killed_anywhere_leaves_a_whole_checkpoint(tmp_path: Path, stage: str, again: bool):
    """`again`: the step being saved already has a checkpoint."""
    for step in (1, 2):
        save(tmp_path, step, content=7)
    step = 2 if again else 3
    process = multiprocessing.get_context("fork").Process(target=die, args=(tmp_path, step, stage))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    late = stage in ("renamed", "pointed", "pruning", "pruned")
    found = checkpoint.newest(tmp_path)
    assert found is not None and found.step == (step if late else 2)
    assert (found.learner / "weights.bin").read_bytes() == bytes([9 if late else 7]) * 100
    if stage not in ("pruning", "pruned"):
        assert checkpoint.read(tmp_path / "step_000001").step == 1  # deletes come after `latest` is written

    save(tmp_path, step, content=8)  # as the resumed run does
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", f"step_{step - 1:06d}", f"step_{step:06d}"]
    found = checkpoint.newest(tmp_path)
    assert found is not None and (found.learner / "weights.bin").read_bytes() == bytes([8]) * 100


def die(root: Path, step: int, stage: str) -> None:
    os.environ["VRL_FAILPOINT"] = f"checkpoint.{stage}@{step}"
    save(root, step, content=9)


def test_checkpoints_left_from_later_steps_do_not_evict_a_new_one(tmp_path: Path):
    for step in (5, 6):
        save(tmp_path, step)
    (tmp_path / "step_000006" / "manifest.json").unlink()
    save(tmp_path, 3, keep_last=1)
    assert {p.name for p in tmp_path.iterdir()} == {"latest", "step_000003", "step_000005", "step_000006"}


def test_nothing_is_deleted_for_a_checkpoint_that_does_not_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path, 1)
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda tmp, final: (tmp / "driver.json").unlink() or rename(tmp, final))
    with pytest.raises(CheckpointError, match=r"driver\.json"):
        save(tmp_path, 2, keep_last=1)
    found = checkpoint.newest(tmp_path)
    assert found is not None and found.step == 1


def test_each_resume_setting_finds_its_checkpoint_or_is_refused(tmp_path: Path):
    assert checkpoint.find(tmp_path, "never") is None
    assert checkpoint.find(tmp_path, "auto") is None
    with pytest.raises(CheckpointError, match="resume=must"):
        checkpoint.find(tmp_path, "must")
    one = save(tmp_path, 1)
    found = checkpoint.find(tmp_path, str(one.path))
    assert found is not None and found.step == 1
    save(tmp_path, 2)
    with pytest.raises(CheckpointError, match="resume=never"):
        checkpoint.find(tmp_path, "never")
    with pytest.raises(CheckpointError, match="also holds step_000002; wanted another name"):
        checkpoint.find(tmp_path, str(one.path))
    for root, resume, step in ((tmp_path, "auto", 2), (tmp_path, "must", 2), (tmp_path / "other", str(one.path), 1)):
        found = checkpoint.find(root, resume)
        assert found is not None and found.step == step


def test_a_model_path_may_be_a_run_folder(tmp_path: Path):
    with pytest.raises(CheckpointError, match="wanted a Hugging Face folder"):
        checkpoint.resolve_model(str(tmp_path))
    with pytest.raises(CheckpointError, match="the hub does not provide it"):
        checkpoint.resolve_model("no-owner/no-model")
    save(tmp_path / "checkpoints", 1)
    with pytest.raises(CheckpointError, match="holds no hf/ folder"):
        checkpoint.resolve_model(str(tmp_path))
    tmp = checkpoint.begin(tmp_path / "checkpoints", 2)
    (tmp / "hf").mkdir()
    (tmp / "hf" / "config.json").write_text(json.dumps({}))
    done = checkpoint.commit(tmp, {}, keep_last=2)
    assert checkpoint.resolve_model(str(tmp_path)) == done.hf
    assert checkpoint.resolve_model(str(done.hf)) == done.hf
