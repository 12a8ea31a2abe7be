"""Weights & Biases offline: the contents of its file after a run was interrupted and resumed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vrl.config import LogConfig
from vrl.errors import ConfigError
from vrl.observability.run_log import RunLog

OFFLINE = LogConfig(tensorboard=False, wandb="offline")


def records(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    data, at, parts = file.read_bytes(), 7, []
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts.append(data[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):  # a complete record, or its last part
            yield b"".join(parts)
            parts = []


def rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a run that has ended; W&B's own process keeps writing for a moment."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]: protobuf makes it on import

    deadline = time.monotonic() + 60
    while not (found := [Record.FromString(data) for data in records(file)]) or not found[-1].HasField("exit"):
        assert time.monotonic() < deadline, f"{file} has no end record"
        time.sleep(0.05)
    return [
        {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        for record in found
        if record.HasField("history")
    ]


def log_steps(run_dir: Path, first_step: int, last_step: int) -> None:
    run_dir.mkdir(exist_ok=True)
    log = RunLog(run_dir, OFFLINE, steps=9, first_step=first_step, hparams={"seed": 3, "algo": {"clip_low": 0.2}})
    for step in range(first_step + 1, last_step + 1):
        log.log(step, {"reward/mean": step / 8, "step/seconds": 1.0})
    log.close()


def test_a_resumed_run_continues_the_same_wandb_run_after_its_last_checkpoint(tmp_path: Path):
    log_steps(tmp_path / "run", 0, 3)
    log_steps(tmp_path / "run", 2, 4)
    first, second = sorted((tmp_path / "run").glob("wandb/offline-run-*/*.wandb"))
    assert first.name == second.name == f"run-{(tmp_path / 'run' / 'wandb_id').read_text()}.wandb"
    for file, steps in ((first, (1, 2, 3)), (second, (3, 4))):
        found = rows(file)
        assert [int(row["_step"]) for row in found] == list(steps)
        assert [float(row["reward/mean"]) for row in found] == [step / 8 for step in steps]
    log_steps(tmp_path / "run", 0, 1)  # a run that starts over is a new W&B run
    assert len({file.name for file in (tmp_path / "run").glob("wandb/offline-run-*/*.wandb")}) == 2


def test_a_missing_wandb_is_reported_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vrl.observability.charts.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        RunLog(tmp_path, OFFLINE, steps=1)
