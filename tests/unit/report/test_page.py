"""The report page: its data, and that text written by a model stays inert."""

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vrl.errors import ConfigError
from vrl.report.page import differences, evenly, render, run_data, write_report
from vrl.report.samples import write_samples
from vrl.types import Completion, Prompt, Reward, Rollout, RolloutGroup, Sample, VersionSpan, VisionGrid

HOSTILE = "</script><script>alert(1)</script><!-- @@page.js@@ \u2028"


def rollout(text: str, reward: float) -> Rollout:
    completion = Completion(
        token_ids=np.arange(2),
        rollout_logprobs=np.zeros(2, np.float32),
        text=text,
        finish_reason="stop",
        versions=(VersionSpan(start=0, end=2, policy_version=0),),
    )
    return Rollout(completion=completion, reward=Reward(value=reward, breakdown={"iou": reward}))


def make_run(run_dir: Path, *, steps: int = 2) -> Path:
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text("name: toy\nsteps: 7\nval:\n  steps: 3\n")
    rows = [{"step": i, "policy_version": i, "reward/mean": i / 10, "loss/policy": 0.0} for i in range(1, steps + 1)]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "rew')
    sample = Sample(sample_id="s1", task="grounding", question="When?", spans=((1.0, 2.0),), answer_type="span")
    prompt = Prompt(
        sample=sample,
        token_ids=np.arange(9),
        vision=(VisionGrid(kind="video", grid_thw=(1, 2, 2)),),
        timestamps_s=(0.0, 2.0),
        duration_s=4.0,
        text=HOSTILE,
    )
    rollouts = (rollout("<|event_start|>[0.25, 0.5]<|event_end|>", 1.0), rollout(HOSTILE, 0.0))
    group = RolloutGroup(group_id=5, prompt=prompt, patches=None, ordinal=0, rollouts=rollouts)
    for step in (1, 2, 3):
        write_samples(run_dir, step, [group], [np.array([1.0, -1.0])], [np.zeros((4, 1176), np.uint8)])
    return run_dir


def data_block(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_page_holds_the_run_and_nothing_the_model_wrote_is_markup(tmp_path: Path) -> None:
    path = write_report(make_run(tmp_path / "toy"))
    assert path == tmp_path / "toy" / "report.html"
    page = path.read_text(encoding="utf-8")
    data = data_block(page)
    assert data == run_data(tmp_path / "toy")
    assert data["groups"][0]["rollouts"][1]["completion"] == HOSTILE
    assert len(re.findall("<script", page)) == 5 and "alert(1)</script>" not in page and "<!-- " not in page
    assert page.count("@@") == 2 * page.count("@@page.js@@") == 2 * 6  # those of the model: ours are filled


def test_the_page_makes_no_network_request(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "toy")).read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    addresses = set(re.findall(r"https?://[\w./]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a namespace, not a request


def test_scripts_never_turn_text_into_markup() -> None:
    for name in ("charts.js", "timeline.js", "samples.js", "page.js"):
        script = (files("vrl.report") / "assets" / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)


def test_the_data_of_the_page(tmp_path: Path) -> None:
    data = run_data(make_run(tmp_path / "toy"))
    assert (data["title"], data["kind"], data["steps"], data["summary"]) == ("toy", "rl", 7, None)
    assert [row["step"] for row in data["rows"]] == [1, 2]  # the torn last line is left out
    assert [(group["step"], group["mean"]) for group in data["groups"]] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    first, second = data["groups"][0]["rollouts"]
    assert (first["spans"], second["spans"]) == ([[1.0, 2.0]], [])
    assert data["groups"][0]["frames"][0].startswith("data:image/jpeg;base64,")
    assert data["groups"][0]["timestamps_s"] == [0.0, 2.0]


def test_a_finished_run_has_its_summary(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "toy")
    (run_dir / "summary.json").write_text(json.dumps({"kind": "sft", "ended": "finished", "steps": 2}))
    data = run_data(run_dir)
    assert data["kind"] == "sft" and data["summary"]["ended"] == "finished"


def test_a_run_without_steps_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: x\nsteps: 1\n")
    data = data_block(write_report(tmp_path).read_text())
    assert data["rows"] == [] and data["groups"] == [] and data["kind"] == ""


def test_long_runs_show_an_even_choice_and_say_how_many_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evenly(9, 3) == [0, 4, 8] and evenly(2, 3) == [0, 1]
    monkeypatch.setattr("vrl.report.page.MAX_GROUPS", 2)
    data = run_data(make_run(tmp_path / "toy"))
    assert [group["step"] for group in data["groups"]] == [1, 3] and data["omitted_groups"] == 1


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.yaml"):
        write_report(tmp_path)


def test_non_finite_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        render({"reward": float("nan")})


def test_the_assets_are_declared_as_package_data() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"]["vrl.report"] == ["assets/*"]


def test_differences_of_two_configurations_by_dotted_key() -> None:
    ours = {"name": "a", "steps": 2, "learner.lr": 0.1, "tasks": []}
    theirs = {"name": "b", "steps": 2, "learner.lr": 0.2, "tasks": [], "val.every": 5}
    assert differences(theirs, ours) == ["learner.lr: 0.2 (here: 0.1)", "val.every: 5 (here: none)"]
