"""`ray job submit` with a real head and a token: the toy run is stopped and submitted again."""

import json
import time
from pathlib import Path

import pytest
from cluster.conftest import Head

from vrl.checkpoint import newest
from vrl.toyworld.make import make_toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(590)]


def steps(run_dir: Path) -> list[int]:
    file = run_dir / "metrics.jsonl"
    return [json.loads(line)["step"] for line in file.read_text().splitlines()] if file.is_file() else []


def test_a_job_is_stopped_with_a_checkpoint_and_resumes_when_submitted_again(head: Head, tmp_path: Path):
    make_toy(tmp_path / "toy", clips=12, difficulty=0, seed=0, workers=2)
    run_dir = tmp_path / "runs" / "job"
    overrides = [
        f"runs_dir={tmp_path}/runs", "name=job", f"model.path={tmp_path}/toy/model",
        f"data.train={tmp_path}/toy/train_basic.parquet", f"data.val={tmp_path}/toy/val_basic.parquet",
        "val.samples=2", "algo.groups_per_step=2", "rollout.group_size=4", "gate.prompts=1",
        "rollout.threads=1", "learner.threads=1",
    ]  # fmt: skip
    head.submit("first", *overrides, "steps=100000")
    deadline = time.monotonic() + 240
    while len(steps(run_dir)) < 3:
        assert time.monotonic() < deadline, head.job("logs", "first", code=None)
        time.sleep(0.5)
    assert "step 1/100000" in head.job("logs", "first")
    head.job("stop", "first")
    head.wait_for("first", "STOPPED")
    saved = newest(run_dir / "checkpoints")
    assert saved is not None and saved.step == steps(run_dir)[-1] >= 3

    head.submit("second", *overrides, f"steps={saved.step + 2}")
    head.wait_for("second", "SUCCEEDED", "FAILED")
    assert f"resumed at step {saved.step}" in head.job("logs", "second")
    assert steps(run_dir) == list(range(1, saved.step + 3))
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["ended"] == "finished"
    dropped = sum(summary["groups_dropped"].values())
    assert summary["groups_started"] == summary["groups_trained"] + dropped + summary["groups_unfinished"]
