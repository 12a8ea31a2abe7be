"""The catalogue of step metrics and what a RunLog writes and serves."""

import json
import socket
import urllib.request
from pathlib import Path

import pytest

from vrl.config import LogConfig
from vrl.observability.catalogue import CATALOGUE, find
from vrl.observability.run_log import RunLog
from vrl.observability.spans import read_spans


def test_names_for_prometheus():
    names = {metric.name: metric.prometheus_name for metric in CATALOGUE}
    assert names["rollout/tokens_per_s"] == "vrl_rollout_tokens_per_second"
    assert names["group/zero_spread_frac"] == "vrl_group_zero_spread_ratio"
    assert names["reward/*"] == "vrl_reward_by_part" and names["reward/task/*"] == "vrl_reward_by_task"
    assert names["learner/nonfinite_steps"] == "vrl_learner_nonfinite_steps_total"


def test_a_metric_of_a_row_finds_its_closest_entry():
    assert [(m.name, member) for m, member in map(find, ("reward/mean", "reward/iou", "reward/task/vqa"))] == [
        ("reward/mean", ""),
        ("reward/*", "iou"),
        ("reward/task/*", "vqa"),
    ]
    assert find("val/accuracy/vqa")[1] == "accuracy/vqa"
    with pytest.raises(KeyError, match="CATALOGUE"):
        find("loss/unheard_of")


def test_a_step_is_a_row_a_span_and_a_page_for_prometheus(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = RunLog(tmp_path, LogConfig(tensorboard=False, prometheus_port=port), steps=2)
    try:
        log.log(1, {"reward/mean": 0.25, "reward/iou": 0.5, "val/reward": 0.75, "step/seconds": 2.0})
        log.log(2, {"reward/mean": 0.5, "learner/nonfinite_steps": 1.0, "step/seconds": 1.0})
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
            page = reply.read().decode()
        assert (tmp_path.parent / ".targets" / f"{tmp_path.name}@driver-0.json").is_file()
    finally:
        log.close()
    for line in (
        "vrl_step 2.0",
        "vrl_reward_mean 0.5",
        'vrl_reward_by_part{part="iou"} 0.5',
        "vrl_val_reward 0.75",  # from the last step that had it
        "vrl_learner_nonfinite_steps_total 1.0",
        "# TYPE vrl_learner_nonfinite_steps_total counter",
    ):
        assert line in page.splitlines()
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    steps = read_spans(tmp_path)
    assert [(one.name, one.detail) for one in steps] == [("step", {"step": 1}), ("step", {"step": 2})]
    assert steps[0].end_s - steps[0].start_s == pytest.approx(2.0, abs=1e-4)
    assert not list((tmp_path.parent / ".targets").iterdir())


def test_a_metric_that_is_not_listed_ends_the_run_at_its_first_step(tmp_path: Path):
    log = RunLog(tmp_path, LogConfig(tensorboard=False), steps=2)
    with pytest.raises(KeyError, match="loss/unheard_of"):
        log.log(1, {"loss/unheard_of": 1.0})
    log.close()
