from pathlib import Path

import pytest

from vrl import reference
from vrl.cli import main
from vrl.evaluation.config import EvalConfig
from vrl.reward import GROUP_REWARDS, REWARDS
from vrl.tasks import TASKS


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    assert main(["config", *words]) == 0
    return [line.split("\t") for line in capsys.readouterr().out.splitlines()]


def test_the_page_in_docs_is_the_one_that_the_schemas_give():
    text = Path("docs/configuration.md").read_text()
    assert text == reference.page(), "run: python -m vrl.reference > docs/configuration.md"


def test_keys_of_a_section_are_printed_with_type_default_range_and_meaning(capsys: pytest.CaptureFixture[str]):
    head, *rows = printed(capsys, "--keys", "learner")
    assert head == ["key", "type", "default", "range", "meaning"]
    found = {row[0]: row[1:] for row in rows}
    assert found["learner.lr"] == ["float", "1e-06", "at least 0", "Peak learning rate."]
    assert found["learner.lora.targets"][:2] == [
        "list[str]",
        '["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]',
    ]
    assert all(name.startswith("learner.") for name in found)


def test_a_single_key_a_list_section_and_another_schema(capsys: pytest.CaptureFixture[str]):
    assert [row[0] for row in printed(capsys, "--keys", "data.frames.fps")[1:]] == ["data.frames.fps"]
    rows = [row[0] for row in printed(capsys, "--keys", "tasks")[1:]]
    assert rows == [
        "tasks",
        "tasks[].task",
        "tasks[].rewards",
        *(f"tasks[].rewards[].{k}" for k in ("reward", "weight", "when")),
    ]
    assert ["media.root", "str", "required"] in [
        row[:3] for row in printed(capsys, "--keys", "media", "--schema", "serve")
    ]


def test_an_unknown_section_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]):
    assert main(["config", "--keys", "lerner"]) == 2
    assert "--keys: got 'lerner', wanted a key or one of the sections" in capsys.readouterr().err


def test_every_key_of_a_schema_has_a_row():
    rows = [row[0] for row in reference.keys("eval")]
    assert {"name", "benchmark.keep", "media.frames.overlay.time", "bootstrap.level"} <= set(rows)
    assert len(rows) == len(set(rows)) > 80 and EvalConfig().concurrency == 32


def test_rewards_tasks_and_strategies_are_listed_with_what_they_need(capsys: pytest.CaptureFixture[str]):
    rewards = {row[0]: row for row in printed(capsys, "--list", "rewards")[1:]}
    assert rewards.keys() == REWARDS.keys() | GROUP_REWARDS.keys()
    assert rewards["temporal"][1] == "judge: claims" and rewards["length_band"][1] == "the group"
    tasks = {row[0]: row for row in printed(capsys, "--list", "tasks")[1:]}
    assert tasks.keys() == TASKS.keys() and tasks["grounding"][1] == "spans"
    strategies = [row[0] for row in printed(capsys, "--list", "strategies")[1:]]
    assert strategies == ["single", "majority", "election", "backfill"]
    assert all(row[2] for row in [*rewards.values(), *tasks.values()])


def test_a_configuration_of_another_schema_is_printed(capsys: pytest.CaptureFixture[str]):
    assert main(["config", "conf/toy/eval.yaml", "--schema", "eval"]) == 0
    assert "resamples: 2000" in capsys.readouterr().out
