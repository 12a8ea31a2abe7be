"""Complete runs from the command line, all parts real, whose processes are killed at any time or inside a save."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from integration.test_run import Vrl, rows, summary

from vrl.checkpoint import newest
from vrl.toyworld.make import make_toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(880)]
SMALL = [
    "data.val=''", "gate.enabled=false", "log.tensorboard=false", "checkpoint.every=2", "checkpoint.export=false",
    "fault.heartbeat_interval_s=1", "fault.backoff_s=0.2",
]  # fmt: skip
# An untrained model is never right, but lengths of completions differ, so rewards differ and it learns.
RL = ["algo.groups_per_step=4", "rollout.max_num_seqs=32", "rollout.max_tokens=48", "algo.overlong_tokens=48"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "toy"
    make_toy(out, clips=12, difficulty=0, seed=0, workers=2)
    return out


def words(kind: str, toy: Path, run_dir: Path, *overrides: str) -> list[str]:
    """A command line for the toy world, without validations."""
    config = {"train": "conf/toy/rl.yaml", "sft": "conf/toy/sft.yaml"}[kind]
    where = [f"runs_dir={run_dir.parent}", f"name={run_dir.name}", f"model.path={toy}/model"]
    return [kind, config, *where, f"data.train={toy}/train_basic.parquet", *SMALL, *overrides]


def actors(command: Vrl, name: str) -> list[int]:
    """Return the processes of a role, by the title that Ray gives them."""
    found = []
    for child in psutil.Process(command.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            if " ".join(child.cmdline()).startswith(f"ray::{name}"):
                found.append(child.pid)
    return sorted(found)


def core(command: Vrl) -> int:
    """Return the process in which the only engine's vLLM core runs."""
    (engine,) = actors(command, "RolloutEngine")
    (child,) = [child for child in psutil.Process(engine).children() if "EngineCore" in " ".join(child.cmdline())]
    return child.pid


def at_step(command: Vrl, run_dir: Path, step: int) -> None:
    deadline = time.monotonic() + 400
    while not (run_dir / "metrics.jsonl").is_file() or len(rows(run_dir)) < step:
        assert command.process.poll() is None and time.monotonic() < deadline, command.wait(1)
        time.sleep(0.1)


def require_ended(command: Vrl, code: int) -> str:
    """Wait until it has ended with `code` and, within half a minute, all its processes; returns its output."""
    output = command.wait(500)
    if code == -signal.SIGKILL:
        end_agents(command)
    command.assert_nothing_left()
    assert command.process.returncode == code, output
    return output


def end_agents(command: Vrl) -> None:
    """Kill two of Ray's agents, which would poll a killed Ray for a minute; they hold no resources of the run."""
    for pid in command.alive():
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.cmdline()[:1] in (["ray::DashboardAgent"], ["ray::RuntimeEnvAgent"]):
                process.kill()


def require_complete(run_dir: Path, steps: int) -> dict[str, Any]:
    done = summary(run_dir)
    assert [row["step"] for row in rows(run_dir)] == list(range(1, steps + 1))
    assert done["ended"] == "finished"
    assert done["groups_started"] == (
        done["groups_trained"] + sum(done["groups_dropped"].values()) + done["groups_unfinished"]
    )
    return done


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_p4_p5_p7_a_run_survives_the_death_of_every_role(toy: Path, tmp_path: Path):
    run_dir = tmp_path / "deaths"
    command = Vrl.start(*words("train", toy, run_dir, *RL, "steps=20", "algo.max_policy_age=1"))
    at_step(command, run_dir, 2)
    kill(core(command))  # its actor survives
    at_step(command, run_dir, 6)  # at most four steps' groups existed already
    for role in ("RewardWorker", "DataWorker"):
        kill(actors(command, role)[0])
    at_step(command, run_dir, 10)
    kill(actors(command, "LearnerWorker")[0])
    output = require_ended(command, 0)
    done = require_complete(run_dir, 20)
    assert done["policy_version"] > 10 and max(row["rollout/policy_age_max"] for row in rows(run_dir)) <= 1
    assert "vLLM's core process died" in output and "a learner rank died" in output
    assert rows(run_dir)[5]["fault/restarts/rollout"] == 1 and done["faults"]["fault/resumes"] == 1


def test_p6_a_dead_core_and_no_restarts_end_the_run_with_the_command_to_resume(toy: Path, tmp_path: Path):
    run_dir = tmp_path / "end"
    command = Vrl.start(*words("train", toy, run_dir, *RL, "steps=500", "fault.max_restarts=0"))
    at_step(command, run_dir, 3)
    started = time.monotonic()
    kill(core(command))
    output = require_ended(command, 1)
    assert time.monotonic() - started < 60
    assert "all 1 rollout workers are dead" in output
    assert output.strip().splitlines()[-1].endswith("resume=auto"), output[-500:]
    assert newest(run_dir / "checkpoints") is not None


def test_p8_p10_a_run_killed_inside_a_save_resumes_when_submitted_again(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run_dir = tmp_path / "killed"
    command = words("train", toy, run_dir, *RL, "steps=6", "algo.max_policy_age=1", "resume=auto")
    monkeypatch.setenv("VRL_FAILPOINT", "checkpoint.flushed@4")
    require_ended(Vrl.start(*command), -signal.SIGKILL)
    found = newest(run_dir / "checkpoints")
    assert found is not None and found.step == 2 and len(rows(run_dir)) == 4
    monkeypatch.delenv("VRL_FAILPOINT")
    output = require_ended(Vrl.start(*command), 0)
    assert "resumed at step 2" in output
    require_complete(run_dir, 6)


# Where a save is killed, at which step, and the step from which the next submission resumes; unit tests have the rest.
SAVES = [
    ("checkpoint.begun", 2, 0),
    ("learner.state_written", 2, 0),
    ("checkpoint.renamed", 2, 2),
    ("checkpoint.flushed", 4, 2),
    ("checkpoint.pruning", 4, 4),
]


def test_p10_wherever_a_save_is_killed_the_run_resumes_and_loses_one_interval_at_most(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run_dir, resumed = tmp_path / "saves", 0
    command = words(
        "sft", toy, run_dir, "steps=6", "sft.generate=false", "sft.stop_at_reward=0", "sft.batch_size=2",
        "data.prefetch=2", f"data.cache.dir={tmp_path}/cache", "checkpoint.keep_last=1", "fault.max_resumes=0",
        "resume=auto",
    )  # fmt: skip
    for point, step, kept in SAVES:
        monkeypatch.setenv("VRL_FAILPOINT", f"{point}@{step}")
        output = require_ended(Vrl.start(*command), 1 if point.startswith("learner") else -signal.SIGKILL)
        assert not resumed or f"resumed at step {resumed}" in output, point
        found = newest(run_dir / "checkpoints")
        resumed = 0 if found is None else found.step
        assert resumed == kept >= step - 2, point
        assert [row["step"] for row in rows(run_dir)] == list(range(1, step + 1)), point
    monkeypatch.delenv("VRL_FAILPOINT")
    output = require_ended(Vrl.start(*command), 0)
    assert "resumed at step 4" in output
    assert [row["step"] for row in rows(run_dir)] == list(range(1, 7))
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == ["latest", "step_000006"]
