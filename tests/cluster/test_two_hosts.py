"""A run on two hosts: the learner on one, the engine on the other; the link is cut."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cluster.conftest import BIN, RAY
from cluster.hosts import Host, two_hosts

from vrl.files import read_json_lines
from vrl.toyworld.make import make_toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(880)]
PORT = 6379
SMALL = [
    "algo.groups_per_step=4", "rollout.max_num_seqs=32", "rollout.max_tokens=48", "algo.overlong_tokens=48",
    "gate.enabled=false", "val.samples=1", "data.val=''", "log.samples_every=0", "checkpoint.every=2",
    "fault.heartbeat_interval_s=1", "push.timeout_s=60", "learner.threads=4", "rollout.threads=1",
]  # fmt: skip
# There is only one way to place the roles.
LEARNER, REST = 4, 3  # CPUs: a rank of 4 threads fits on one host only; engine, data and reward have 1 each


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Both hosts, not yet booted: first that of head and driver, then the other."""
    token = tmp_path / "auth_token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    env = {
        "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(Path.cwd()),
        "HOME": str(tmp_path),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
    }
    with ExitStack() as stack:
        try:
            pair = stack.enter_context(two_hosts(tmp_path, env))
        except OSError as error:
            pytest.skip(f"no second host can be made here: {error}")
        yield pair


def boot(hosts: tuple[Host, Host], cpus: tuple[int, int]) -> None:
    head = hosts[0]
    start = [RAY, "start", "--block", "--object-store-memory=200000000"]
    own = ["--head", f"--port={PORT}", "--include-dashboard=false"]
    head.boot(*start, *own, f"--node-ip-address={head.address}", f"--num-cpus={cpus[0]}")
    wait_for("the head", lambda: up(head))
    join(hosts, cpus[1])


def join(hosts: tuple[Host, Host], cpus: int) -> None:
    head, other = hosts
    (other.folder / "log").unlink(missing_ok=True)
    other.boot(
        RAY, "start", "--block", "--object-store-memory=200000000", f"--address={head.address}:{PORT}",
        f"--node-ip-address={other.address}", f"--num-cpus={cpus}",
    )  # fmt: skip
    wait_for("the other host", lambda: up(other))


def up(host: Host) -> bool:
    return "Ray runtime started" in (host.folder / "log").read_text()


def wait_for(what: str, ready: Callable[[], bool], timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.5)


def train(hosts: tuple[Host, Host], folder: Path, *overrides: str) -> subprocess.Popen:
    make_toy(folder / "toy", clips=12, difficulty=0, seed=0, workers=2)
    command = [
        sys.executable, "-m", "vrl", "train", "conf/toy/rl.yaml", f"ray_address={hosts[0].address}:{PORT}", "name=two",
        f"runs_dir={folder}/runs", f"model.path={folder}/toy/model", f"data.train={folder}/toy/train_basic.parquet",
        *SMALL, *overrides,
    ]  # fmt: skip
    return hosts[0].start(command, folder / "driver.log")


def rows(folder: Path) -> list[dict]:
    return read_json_lines(folder / "runs" / "two" / "metrics.jsonl")


def wait_for_step(folder: Path, step: int, driver: subprocess.Popen) -> None:
    def done() -> bool:
        assert driver.poll() is None, (folder / "driver.log").read_text()[-4000:]
        return len(rows(folder)) >= step

    wait_for(f"step {step}", done)


def test_learner_here_engine_there_and_a_cut_link_costs_the_engine_only(hosts: tuple[Host, Host], tmp_path: Path):
    head, other = hosts
    boot(hosts, (LEARNER, REST))
    driver = train(hosts, tmp_path, "steps=100000")
    wait_for_step(tmp_path, 3, driver)
    assert len(head.processes("ray::LearnerWorker")) == 1 and not other.processes("ray::LearnerWorker")
    assert len(other.processes("ray::RolloutEngine")) == 1 and not head.processes("ray::RolloutEngine")
    last = rows(tmp_path)[-1]
    weights = last["push/bytes_per_s"] * last["push/seconds"]
    assert last["policy_version"] >= 1 and weights > 1e6
    assert head.sent_bytes() > weights * last["policy_version"]  # every push went over the link
    assert all(abs(row["loss/mismatch_kl"]) < 1e-5 for row in rows(tmp_path) if "loss/mismatch_kl" in row)

    head.set_link("down")
    wait_for("the engine's death", lambda: "rollout worker 0" in (tmp_path / "driver.log").read_text())
    reached = len(rows(tmp_path))
    other.power_off()
    head.set_link("up")
    join(hosts, REST)
    wait_for_step(tmp_path, reached + 3, driver)
    last = rows(tmp_path)[-1]
    assert last["fault/restarts/rollout"] >= 1 and last["fault/resumes"] == 0
    assert all(abs(row["loss/mismatch_kl"]) < 1e-5 for row in rows(tmp_path) if "loss/mismatch_kl" in row)
    driver.kill()


def test_a_learner_that_is_cut_off_ends_the_run_with_the_cause(hosts: tuple[Host, Host], tmp_path: Path):
    head, other = hosts
    boot(hosts, (REST, LEARNER))
    driver = train(hosts, tmp_path, "steps=100000")
    wait_for_step(tmp_path, 2, driver)
    assert len(other.processes("ray::LearnerWorker")) == 1 and len(head.processes("ray::RolloutEngine")) == 1
    head.set_link("down")
    assert driver.wait(300) == 2
    said = (tmp_path / "driver.log").read_text()
    assert "a learner rank died" in said and "asks for 7 CPU" in said and f"the cluster has {REST}" in said
