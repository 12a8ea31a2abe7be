"""P18: metrics of a restarted actor: the successor takes over the target file and counts from zero."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import ray
from chaos.world import FAULT, kill

from vrl.actors.pool import ActorPool
from vrl.config import LogConfig
from vrl.observability.series import count
from vrl.observability.telemetry import start_telemetry, telemetry_config, telemetry_env

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light_ray"), pytest.mark.timeout(120)]
SERIES = "vrl_reward_judge_questions_total"


class Counting:
    """A reward worker that only counts its calls."""

    def __init__(self) -> None:
        assert start_telemetry()

    async def pid(self) -> int:
        return os.getpid()

    async def work(self) -> None:
        count(SERIES, outcome="failed")


def test_p18_the_successor_of_a_killed_actor_is_scraped_in_its_place(tmp_path: Path):
    run_dir = tmp_path / "run"
    config = telemetry_config(run_dir, LogConfig(prometheus_port=9000), "reward", 0)
    file = tmp_path / ".targets" / "run@reward-0.json"

    def start(_: int) -> Any:
        env = {"env_vars": telemetry_env(config)}
        return ray.remote(Counting).options(num_cpus=0, max_restarts=0, runtime_env=env).remote()

    def address() -> str:
        return json.loads(file.read_text())[0]["targets"][0]

    def counted() -> float:
        with urllib.request.urlopen(f"http://{address()}/metrics", timeout=20) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{SERIES}{{"))

    async def main() -> None:
        pool = ActorPool("reward", start, 1, timeout_s=60, fault=FAULT)
        await pool.ready()
        for _ in range(3):
            await pool.call("work")
        first = address()
        assert counted() == 3
        kill(await pool.call("pid"), signal.SIGKILL)
        started = time.monotonic()
        while not pool.restarts:
            await asyncio.sleep(0.05)
        assert address() != first and time.monotonic() - started < 50
        await pool.call("work")
        assert counted() == 1  # Prometheus' rate() handles a counter reset
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        await pool.close()

    asyncio.run(main())
