"""A live toy run, a real Prometheus: every panel has finite data, and everything exported is in the catalogue."""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from vrl.files import read_json_lines
from vrl.observability.boards import PANELS
from vrl.observability.catalogue import CATALOGUE, find
from vrl.observability.series import SERIES
from vrl.toyworld.make import make_toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580)]
SMALL = ["algo.groups_per_step=4", "rollout.max_num_seqs=32", "val.samples=2", "gate.enabled=false"]
# An untrained model is never right, but some of its completions are shorter than others: rewards differ, it learns.
UNTRAINED = ["rollout.max_tokens=48", "algo.overlong_tokens=48", "algo.correction=token_truncate"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as reply:
        return reply.read().decode()


def vrl(*arguments: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, "-m", "vrl", *arguments], env=env, start_new_session=True)


def wait_for(what: str, ready, process: subprocess.Popen[bytes], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert process.poll() is None, f"{what}: the process ended with {process.returncode}"
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a running run, with validations, checkpoints and changing weights."""
    root = tmp_path_factory.mktemp("live")
    make_toy(root / "toy", clips=12, difficulty=0, seed=0, workers=2)
    process = vrl("train", "conf/toy/rl.yaml", f"data.train={root}/toy/train_basic.parquet", *SMALL, *UNTRAINED,
                  f"data.val={root}/toy/val_basic.parquet", f"runs_dir={root}/runs", f"model.path={root}/toy/model",
                  "name=live", "steps=100000", "val.every=2", "checkpoint.every=10", "fault.heartbeat_interval_s=1",
                  f"log.prometheus_port={free_port()}")  # fmt: skip
    run_dir = root / "runs" / "live"
    try:
        wait_for("steps", lambda: len(rows(run_dir)) >= 6 and "loss/policy" in rows(run_dir)[-1], process, 400)
        yield run_dir
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert not list((root / "runs" / ".targets").iterdir())  # a run that has ended has no targets


def rows(run_dir: Path) -> list[dict[str, float]]:
    return read_json_lines(run_dir / "metrics.jsonl")


def targets(run_dir: Path) -> dict[str, str]:
    """Role to address."""
    entries = [json.loads(path.read_text())[0] for path in (run_dir.parent / ".targets").glob("live@*.json")]
    return {entry["labels"]["role"]: entry["targets"][0] for entry in entries}


def test_the_exported_metrics_are_those_of_the_catalogue(live: Path):
    found = targets(live)
    assert set(found) == {"driver", "data", "rollout", "reward", "learner"}
    assert all(address.startswith("127.0.0.1:") for address in found.values())
    steps = {metric.prometheus_name: metric.kind for metric in CATALOGUE}
    for role, address in found.items():
        families = {
            family.name + "_total" * (family.type == "counter"): family
            for family in text_string_to_metric_families(get(f"http://{address}/metrics"))
        }
        ours = {name: family.type for name, family in families.items() if name.startswith("vrl_")}
        listed = {s.name: s.kind for s in SERIES if s.role == role or (s.role == "actors" and role != "driver")}
        assert listed.items() <= ours.items(), role
        assert (ours.items() - listed.items()) <= (steps.items() if role == "driver" else set()), role
        if role == "driver":
            assert {find(name)[0].prometheus_name for name in rows(live)[0]} <= set(ours)
        assert any(name.startswith("vllm_") for name in families) == (role == "rollout")


@pytest.fixture(scope="module")
def prometheus(live: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that has scraped the run for a while, configured as committed."""
    if shutil.which("prometheus") is None:
        if os.environ.get("CI"):
            pytest.fail("prometheus: got none, wanted Debian's package (apt-get install prometheus)")
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load(Path("cluster/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["file_sd_configs"][0]["files"] = [f"{live.parent}/.targets/*.json"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy("cluster/prometheus/alerts.yml", folder)
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--web.listen-address={address}",
         f"--storage.tsdb.path={folder}/data"], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for("scrapes", lambda: scraped(address) >= 20, process, 120)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def scraped(address: str) -> int:
    try:
        found = ask(address, 'count_over_time(vrl_step{run="live"}[5m])')
    except OSError:
        return 0
    return int(found[0]) if found else 0


def ask(address: str, query: str) -> list[float]:
    """The values of an instant query."""
    reply = json.loads(get(f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"))
    assert reply["status"] == "success", query
    return [float(series["value"][1]) for series in reply["data"]["result"]]


def test_every_panel_has_finite_data(live: Path, prometheus: str):
    empty, strange = [], []
    for panel in PANELS:
        for legend, query in panel.queries:
            asked = query.replace("$run", ".*").replace("$__rate_interval", "1m")
            values = ask(prometheus, asked)
            where = f"{panel.board}, {panel.title}, {legend}"
            empty += [where] * (not values)
            strange += [where] * any(not math.isfinite(value) for value in values)
    assert not empty and not strange


def test_every_process_is_up_and_no_alert_fires(live: Path, prometheus: str):
    assert sorted(ask(prometheus, 'up{run="live"}')) == [1.0] * 5
    rules = json.loads(get(f"http://{prometheus}/api/v1/rules"))["data"]["groups"][0]["rules"]
    assert len(rules) >= 9 and {rule["health"] for rule in rules} == {"ok"}
    assert {rule["name"] for rule in rules if rule["state"] == "firing"} == set()


def test_a_replaced_actor_is_found_at_its_new_address_and_counted(live: Path, prometheus: str):
    before = targets(live)["reward"]
    (pid,) = (pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if watches(pid, live, "reward"))
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    replaced = 'vrl_fault_restarts_by_fleet_total{run="live",fleet="reward"}'
    while ask(prometheus, replaced) != [1.0] or ask(prometheus, 'up{run="live",role="reward"}') != [1.0]:
        assert time.monotonic() < deadline, (ask(prometheus, replaced), targets(live))
        time.sleep(1)
    assert targets(live)["reward"] != before
    assert ask(prometheus, 'vrl_fault_lost_actors{run="live"}') == [0.0]


def watches(pid: int, run_dir: Path, role: str) -> bool:
    """Whether the process is this actor of the run."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_text()
    except OSError:
        return False
    return f'"run_dir": "{run_dir}", "role": "{role}"' in environment
