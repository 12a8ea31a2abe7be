"""`vrl samples`: which rollouts it prints, and that none can control the terminal."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from vrl.cli import main
from vrl.report.samples import read_samples, write_samples
from vrl.report.terminal import choose, show_samples
from vrl.types import Completion, Prompt, Reward, Rollout, RolloutGroup, Sample, VersionSpan

HOSTILE = "[red]\x1b]0;owned\x07\x1b[2J[/red]"


def write(run_dir: Path) -> None:
    sample = Sample(sample_id="s1", task="vqa", question="Which colour?", answer="red", answer_type="text")
    rollouts = tuple(
        Rollout(
            completion=Completion(
                token_ids=np.arange(2),
                rollout_logprobs=np.zeros(2, np.float32),
                text=text,
                finish_reason="stop",
                versions=(VersionSpan(start=0, end=2, policy_version=0),),
            ),
            reward=Reward(value=reward, breakdown={"accuracy": reward, "judged": None}),
        )
        for text, reward in (("blue", 0.25), (HOSTILE, 0.5), ("red", 1.0))
    )
    group = RolloutGroup(group_id=5, prompt=Prompt(sample=sample, token_ids=np.arange(3)), patches=None, ordinal=0,
                         rollouts=rollouts)  # fmt: skip
    write_samples(run_dir, 1, [group], [np.array([-1.0, 0.0, 1.0])], [np.zeros((0, 0), np.uint8)])


def shown(rows) -> str:
    stream = io.StringIO()
    show_samples(rows, Console(file=stream, width=100))
    return stream.getvalue()


def test_the_worst_and_the_best(tmp_path: Path):
    write(tmp_path)
    assert [row.completion for row in choose(tmp_path, 1, best=False)] == ["blue"]
    assert [row.completion for row in choose(tmp_path, 2, best=True)] == ["red", HOSTILE]
    text = shown(choose(tmp_path, 1, best=False))
    for piece in ("Which colour?", "truth: red", "blue", "reward 0.25", "advantage -1", "judged missing"):
        assert piece in text


def test_what_a_model_wrote_reaches_the_terminal_as_text_only(tmp_path: Path):
    write(tmp_path)
    (row,) = [row for row in read_samples(tmp_path) if row.completion == HOSTILE]
    text = shown([replace(row, question=HOSTILE, sample_id=HOSTILE)])
    assert "\x1b" not in text and "\x07" not in text and text.count("[red]") >= 3


def test_a_run_without_samples_is_a_user_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["samples", str(tmp_path)]) == 2
    assert "log.samples_every" in capsys.readouterr().err
