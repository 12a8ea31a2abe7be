"""Whole runs by the command line, all parts real, whose processes are killed from outside."""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from integration.test_run import Vrl, rows, summary, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]
FAULT = ["fault.heartbeat_s=1", "fault.backoff_s=0.2", "gate.enabled=false", "val.samples=4", "checkpoint.every=2"]


def actors(command: Vrl, name: str) -> list[int]:
    """Processes of a role, by the title that Ray gives them."""
    found = []
    for child in psutil.Process(command.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended while we looked
            if " ".join(child.cmdline()).startswith(f"ray::{name}"):
                found.append(child.pid)
    return sorted(found)


def at_step(command: Vrl, run_dir: Path, step: int) -> None:
    deadline = time.monotonic() + 280
    while not (run_dir / "metrics.jsonl").is_file() or len(rows(run_dir)) < step:
        assert command.process.poll() is None and time.monotonic() < deadline, command.wait(1)
        time.sleep(0.1)


def require_whole(run_dir: Path, steps: int) -> dict:
    done = summary(run_dir)
    assert [row["step"] for row in rows(run_dir)] == list(range(1, steps + 1))
    assert done["ended"] == "finished"
    assert done["groups_started"] == (
        done["groups_trained"] + sum(done["groups_dropped"].values()) + done["groups_unfinished"]
    )
    return done


def test_p1_p5_p7_a_run_survives_the_death_of_every_role(cold: Path, data: list[str]):
    run_dir = cold.parent / "deaths"
    overrides = ["steps=14", "algo.max_policy_age=1", "rollout.engines=2"]
    command = Vrl.start(*train(cold, data, "deaths", *FAULT, *overrides))
    at_step(command, run_dir, 2)
    for role in ("RolloutEngine", "RewardWorker", "DataWorker"):
        os.kill(actors(command, role)[0], signal.SIGKILL)
    at_step(command, run_dir, 4)
    before = len(actors(command, "RolloutEngine"))
    os.kill(actors(command, "LearnerWorker")[0], signal.SIGKILL)
    output = command.wait(500)
    assert command.process.returncode == 0, output
    command.assert_nothing_left()
    done = require_whole(run_dir, 14)
    assert done["faults"]["fault/resumes"] == 1 and "a learner rank died" in output
    assert "rollout worker" in output and before >= 1


def test_p4_p6_a_dead_core_and_no_restarts_end_the_run_with_the_command_that_goes_on(cold: Path, data: list[str]):
    run_dir = cold.parent / "end"
    command = Vrl.start(*train(cold, data, "end", *FAULT, "steps=500", "fault.max_restarts=0"))
    at_step(command, run_dir, 2)
    (engine,) = actors(command, "RolloutEngine")
    cores = psutil.Process(engine).children(recursive=True)
    started = time.monotonic()
    os.kill(cores[0].pid, signal.SIGKILL)
    output = command.wait(200)
    assert time.monotonic() - started < 60
    command.assert_nothing_left()
    assert command.process.returncode == 1 and "all 1 rollout workers are dead" in output
    assert output.strip().splitlines()[-1].endswith("resume=auto"), output[-500:]
    assert (run_dir / "checkpoints" / "latest").is_file()
