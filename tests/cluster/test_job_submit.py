"""`ray job submit` for real: a Ray head with dashboard and token, the toy run as a job, stopped, submitted again."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vrl.checkpoint import newest
from vrl.data.toy import make_toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(590)]
BIN = Path(sys.executable).parent
RAY = str(BIN / "ray")


@dataclass(frozen=True)
class Head:
    """A running Ray head and the environment in which its users work."""

    address: str
    env: dict[str, str]

    def job(self, *arguments: str, code: int | None = 0, **env: str) -> str:
        """Run `ray job ...`; returns its output."""
        command = [RAY, "job", arguments[0], "--address", self.address, *arguments[1:]]
        done = subprocess.run(command, env={**self.env, **env}, capture_output=True, text=True, timeout=300)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def submit(self, name: str, *overrides: str) -> None:
        self.job(
            "submit", "--working-dir", ".", "--runtime-env", "cluster/runtime_env.yaml", "--submission-id", name,
            "--no-wait", "--", "python", "-m", "vrl", "train", "conf/toy.yaml", "ray_address=auto", "resume=auto",
            *overrides,
        )  # fmt: skip

    def wait_for(self, name: str, *statuses: str, timeout_s: float = 240) -> str:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            output = self.job("status", name, code=None)
            if any(status in output.upper() for status in statuses):
                return output
            time.sleep(1)
        raise AssertionError(f"{name}: not {statuses} in {timeout_s} s:\n{output}\n{self.job('logs', name, code=None)}")


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    token = tmp_path / "auth_token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    env = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_JOB_STOP_WAIT_TIME_S": "120",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    gcs, dashboard, client, agent, listen, metrics = free_ports(6)
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # a socket's path is at most 107 characters
    process = subprocess.Popen(
        [
            RAY, "start", "--head", "--block", f"--port={gcs}", "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", f"--metrics-export-port={metrics}",
            f"--dashboard-agent-grpc-port={agent}", f"--dashboard-agent-listen-port={listen}", f"--temp-dir={folder}",
            "--num-cpus=4", "--object-store-memory=300000000", "--include-dashboard=true",
        ],
        env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    found = Head(address=f"http://127.0.0.1:{dashboard}", env=env)
    try:
        deadline = time.monotonic() + 90
        while "No jobs" not in (output := found.job("list", code=None)) and "[]" not in output:
            assert process.poll() is None and time.monotonic() < deadline, output
            time.sleep(1)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=60)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def steps(run_dir: Path) -> list[int]:
    file = run_dir / "metrics.jsonl"
    return [json.loads(line)["step"] for line in file.read_text().splitlines()] if file.is_file() else []


def test_a_job_is_stopped_with_a_checkpoint_and_goes_on_when_submitted_again(head: Head, tmp_path: Path):
    make_toy(tmp_path / "toy", clips=12, difficulty=0, seed=0, workers=2)
    run_dir = tmp_path / "runs" / "job"
    overrides = [
        f"runs_dir={tmp_path}/runs", "name=job", f"model.path={tmp_path}/toy/model",
        f"data.train={tmp_path}/toy/train_basic.parquet", f"data.val={tmp_path}/toy/val_basic.parquet",
        "val.samples=2", "algo.groups_per_step=2", "rollout.group_size=4", "gate.prompts=1",
    ]  # fmt: skip
    refused = head.job("list", code=1, RAY_AUTH_TOKEN_PATH="", RAY_AUTH_MODE="disabled")
    assert "authenticat" in refused.lower() or "unauthorized" in refused.lower()

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
