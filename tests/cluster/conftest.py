"""A real Ray head with dashboard, job server and token auth on loopback, for all tests in this folder."""

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

BIN = Path(sys.executable).parent
RAY = str(BIN / "ray")


@dataclass(frozen=True)
class Head:
    """A running Ray head and the environment of its users."""

    address: str  # of the dashboard and the job server
    agent: str  # of the node's agent, which starts jobs for the job server
    gcs: str  # where drivers connect
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
            "--no-wait", "--", "python", "-m", "vrl", "train", "conf/toy/rl.yaml", "ray_address=auto", "resume=auto",
            *overrides,
        )  # fmt: skip

    def wait_for(self, name: str, *statuses: str, timeout_s: float = 240) -> str:
        deadline = time.monotonic() + timeout_s
        while True:
            output = self.job("status", name, code=None)
            if any(status in output.upper() for status in statuses):
                return output
            if time.monotonic() > deadline:
                log = self.job("logs", name, code=None)
                raise AssertionError(f"{name}: not {statuses} in {timeout_s} s:\n{output}\n{log}")
            time.sleep(1)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    token = tmp_path_factory.mktemp("head") / "auth_token"
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
    http = "http://127.0.0.1"
    found = Head(address=f"{http}:{dashboard}", agent=f"{http}:{listen}", gcs=f"127.0.0.1:{gcs}", env=env)
    try:
        deadline = time.monotonic() + 90
        while "No jobs" not in (output := found.job("list", code=None)) and "[]" not in output:
            assert process.poll() is None and time.monotonic() < deadline, output
            time.sleep(1)
        while not listens(listen):  # the node's agent starts later than the job server
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=60)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
