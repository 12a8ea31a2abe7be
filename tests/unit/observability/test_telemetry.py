"""Endpoints: which process serves where, and how Prometheus finds it."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Counter

from vrl.config import LogConfig
from vrl.errors import ConfigError
from vrl.observability.series import count
from vrl.observability.spans import read_spans, span
from vrl.observability.telemetry import (
    Telemetry,
    TelemetryConfig,
    clear_targets,
    start_telemetry,
    telemetry_config,
    telemetry_env,
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


def read(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as reply:
        return reply.read().decode()


def targets(run_dir: Path) -> dict[str, list]:
    folder = run_dir.parent / ".targets"
    return {path.name.removeprefix(f"{run_dir.name}@"): json.loads(path.read_text()) for path in folder.iterdir()}


def test_which_process_serves_where(run_dir: Path):
    on = LogConfig(prometheus_port=9100)
    assert telemetry_config(run_dir, on, "driver", 0).port == 9100
    assert (
        telemetry_config(run_dir, on, "data", 1).port == 0
        and telemetry_config(run_dir, on, "data", 1).host == "127.0.0.1"
    )
    assert telemetry_config(run_dir, LogConfig(), "data", 1).host == ""


def test_telemetry_serves_the_role_and_names_itself(run_dir: Path):
    telemetry = Telemetry(telemetry_config(run_dir, LogConfig(prometheus_port=1), "data", 3))
    try:
        assert telemetry.address.startswith("127.0.0.1:")
        assert targets(run_dir) == {
            "data-3.json": [
                {"targets": [telemetry.address], "labels": {"run": run_dir.name, "role": "data", "rank": "3"}}
            ]
        }
        count("vrl_data_patches_total", 7)
        assert "vrl_data_patches_total 7.0" in read(telemetry.address)
        with span("prepare"):
            pass
    finally:
        telemetry.close()
    with pytest.raises(OSError):
        read(telemetry.address)
    assert [(one.role, one.rank, one.name) for one in read_spans(run_dir)] == [("data", 3, "prepare")]
    neighbour = run_dir.parent / ".targets" / f"{run_dir.name}-2@data-3.json"
    neighbour.write_text("[]")
    clear_targets(run_dir)
    assert list(neighbour.parent.iterdir()) == [neighbour]


def test_a_restarted_process_replaces_its_predecessor(run_dir: Path):
    addresses = []
    for _ in range(2):
        telemetry = Telemetry(
            TelemetryConfig(run_dir=str(run_dir), role="reward", rank=0, spans=False, host="127.0.0.1")
        )
        addresses.append(telemetry.address)
        assert targets(run_dir)["reward-0.json"][0]["targets"] == [telemetry.address]
        telemetry.close()
    assert list(targets(run_dir)) == ["reward-0.json"]


def test_an_actor_reads_its_settings_from_the_environment(run_dir: Path):
    assert start_telemetry() is False  # outside a run
    config = TelemetryConfig(run_dir=str(run_dir), role="learner", rank=1, spans=True, host="127.0.0.1")
    code = "from vrl.observability.telemetry import start_telemetry; from vrl.observability.spans import add_span"
    subprocess.run(
        [sys.executable, "-c", f"{code}; assert start_telemetry(); add_span('push', 1.0, 2.5)"],
        env={**os.environ, **telemetry_env(config)},
        check=True,
    )
    assert list(targets(run_dir)) == ["learner-1.json"]
    (one,) = read_spans(run_dir)
    assert (one.role, one.rank, one.name, one.end_s - one.start_s) == ("learner", 1, "push", 1.5)


def test_a_taken_port_is_a_config_error(run_dir: Path):
    first = Telemetry(telemetry_config(run_dir, LogConfig(prometheus_port=1), "data", 0))
    port = int(first.address.split(":")[1])
    try:
        with pytest.raises(ConfigError, match=rf"log\.prometheus_port: got 127\.0\.0\.1:{port}"):
            Telemetry(telemetry_config(run_dir, LogConfig(prometheus_port=port), "driver", 0))
    finally:
        first.close()


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text;version=1.0.0"])
def test_vllms_own_series_have_one_name_in_every_format(run_dir: Path, accept: str):
    theirs = Counter("vllm:made_up", "as vLLM does", ["engine"])
    theirs.labels("0").inc(3)
    telemetry = Telemetry(TelemetryConfig(run_dir=str(run_dir), role="rollout", rank=0, spans=False, host="127.0.0.1"))
    try:
        request = urllib.request.Request(f"http://{telemetry.address}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as reply:
            lines = reply.read().decode().splitlines()
    finally:
        telemetry.close()
        REGISTRY.unregister(theirs)
    assert 'vllm_made_up_total{engine="0"} 3.0' in lines and not any("vllm:" in line for line in lines)
