"""Actors that are killed, stopped or hang: what a pool promises its callers. Light actors, real Ray."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import ray

from vrl.actors.pool import ActorPool
from vrl.config import FaultConfig
from vrl.errors import LostCallError, RewardError, WorkerError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("light_ray"), pytest.mark.timeout(120)]
FAULT = FaultConfig(heartbeat_interval_s=0.3, heartbeat_timeout_s=1.5, max_restarts=3, backoff_s=0.1)


class Worker:
    """Answers, sleeps, or dies."""

    def __init__(self, index: int, born: str = "") -> None:
        self.index = index
        if born and os.path.exists(born):
            raise ValueError("no room")

    async def pid(self, pause_s: float = 0.0) -> int:
        await asyncio.sleep(pause_s)
        return os.getpid()

    async def keep(self) -> list[Any]:
        return [ray.put(bytes(10**6))]  # owned by this actor: lost with it

    async def take(self, what: bytes) -> int:
        return len(what)

    async def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def die_once(self, flag: str) -> int:
        if not os.path.exists(flag):
            open(flag, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.index

    async def fail(self) -> None:
        raise RewardError("judge is down")


def run(scenario: Callable[[ActorPool], Awaitable[None]], count: int = 2, **options: Any) -> None:
    async def main() -> None:
        born = options.pop("born", "")
        start = lambda index: ray.remote(Worker).options(num_cpus=0, max_restarts=0).remote(index, born)  # noqa: E731
        settings = {"timeout_s": 5.0, "fault": FAULT, "answers_while_busy": True} | options
        pool = ActorPool("reward", start, count, **settings)
        try:
            await pool.ready()
            await scenario(pool)
        finally:
            await pool.close()

    asyncio.run(main())


async def pids(pool: ActorPool) -> set[int]:
    return set(await pool.ask(pool.alive, "pid"))


async def until(true: Callable[[], bool], timeout_s: float = 15.0) -> float:
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < timeout_s
        await asyncio.sleep(0.05)
    return time.monotonic() - started


def gone(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")


def test_calls_lost_with_an_actor_are_retried_on_another():
    async def scenario(pool: ActorPool) -> None:
        victim, other = await pids(pool)
        calls = [asyncio.ensure_future(pool.call("pid", 1.0)) for _ in range(4)]
        await until(lambda: [worker.in_flight for worker in pool._workers] == [2, 2])
        os.kill(victim, signal.SIGKILL)
        answered = await asyncio.gather(*calls)
        assert victim not in answered and other in answered
        assert pool.lost_calls == 2
        await until(lambda: pool.restarts == 1 and len(pool.alive) == 2)
        assert len(await pids(pool) - {victim, other}) == 1

    run(scenario)


def test_a_call_that_kills_two_workers_is_given_up():
    async def scenario(pool: ActorPool) -> None:
        with pytest.raises(LostCallError, match="failed on 2 workers, giving up"):
            await pool.call("die")
        assert pool.lost_calls == 2
        assert await pool.call("pid") > 0
        await until(lambda: pool.restarts == 2)

    run(scenario)


def test_a_call_outlives_the_only_actor(tmp_path):
    async def scenario(pool: ActorPool) -> None:
        assert await pool.call("die_once", str(tmp_path / "flag")) == 0
        assert pool.restarts == 1 and pool.lost_calls == 1

    run(scenario, count=1)


def test_a_stopped_actor_is_detected_by_heartbeat_and_killed():
    async def scenario(pool: ActorPool) -> None:
        (victim,) = await pids(pool)
        os.kill(victim, signal.SIGSTOP)
        took_s = await until(lambda: pool.restarts == 1)
        assert FAULT.heartbeat_timeout_s <= took_s < 12
        assert await pool.call("pid") != victim
        await until(lambda: gone(victim))

    run(scenario, count=1, timeout_s=60.0)


def test_a_stopped_actor_is_detected_by_the_timeout_of_its_call():
    """A busy actor that cannot answer heartbeats is only limited by the timeout of its calls."""

    async def scenario(pool: ActorPool) -> None:
        victim, _ = await pids(pool)
        os.kill(victim, signal.SIGSTOP)
        started = time.monotonic()
        answered = await asyncio.wait_for(asyncio.gather(*(pool.call("pid") for _ in range(2))), 60)
        assert victim not in answered and 2.0 <= time.monotonic() - started < 20
        assert pool.lost_calls == 1

    run(scenario, timeout_s=2.0, answers_while_busy=False)


def test_the_death_of_an_idle_actor_is_noticed_before_the_next_call():
    async def scenario(pool: ActorPool) -> None:
        victim, _ = await pids(pool)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: pool.restarts == 1)
        assert pool.lost_calls == 0

    run(scenario)


def test_an_argument_lost_with_its_node_fails_the_call_but_no_actor():
    async def scenario(pool: ActorPool) -> None:
        (ref,) = await pool.call("keep")
        assert await pool.call("take", ref) == 10**6
        os.kill((await pids(pool)).pop(), signal.SIGKILL)
        await until(lambda: pool.restarts == 1)
        with pytest.raises(LostCallError, match="an argument was lost"):
            await pool.call("take", ref)
        assert (pool.restarts, pool.num_lost) == (1, 0) and await pool.call("pid") > 0

    run(scenario, count=1)


def test_an_error_raised_by_a_method_replaces_no_actor():
    async def scenario(pool: ActorPool) -> None:
        with pytest.raises(RewardError, match="judge is down"):
            await pool.call("fail")
        assert (pool.lost_calls, pool.restarts) == (0, 0)

    run(scenario, count=1)


def test_without_restarts_the_last_death_fails_all_calls_immediately():
    async def scenario(pool: ActorPool) -> None:
        waiting = asyncio.ensure_future(pool.call("pid", 60.0))
        started = time.monotonic()
        for pid in await pids(pool):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"all 2 reward workers are dead .*max_restarts=0"):
            await waiting
        with pytest.raises(WorkerError):
            await pool.call("pid")
        assert time.monotonic() - started < 10 and pool.num_lost == 2

    run(scenario, fault=FaultConfig(max_restarts=0, heartbeat_interval_s=0.3), timeout_s=100.0)


def test_actors_that_fail_to_start_again_exhaust_the_restart_budget(tmp_path):
    flag = tmp_path / "full"

    async def scenario(pool: ActorPool) -> None:
        flag.touch()
        with pytest.raises(WorkerError, match=r"did not start: .*no room"):
            await pool.call("die")
        assert pool.restarts == 0

    run(scenario, count=1, born=str(flag))


def test_a_newcomer_gets_no_call_before_it_is_admitted():
    async def scenario(pool: ActorPool) -> None:
        (victim,) = await pids(pool)
        os.kill(victim, signal.SIGKILL)
        await asyncio.wait_for(pool.newcomer.wait(), 15)
        call = asyncio.ensure_future(pool.call("pid"))
        await asyncio.sleep(0.5)
        assert not call.done()
        pool.admit(pool.alive)
        assert await call != victim and not pool.newcomer.is_set()

    run(scenario, count=1, quarantine=True)


def test_calls_wait_for_a_free_actor_and_affinity_holds():
    async def scenario(pool: ActorPool) -> None:
        running = [asyncio.ensure_future(pool.call("pid", 0.3)) for _ in range(6)]
        await until(lambda: [worker.in_flight for worker in pool._workers] == [1, 1, 1])
        await asyncio.gather(*running)
        homes = {key: {await pool.call("pid", affinity=key) for _ in range(5)} for key in "abcdefgh"}
        assert all(len(home) == 1 for home in homes.values())
        assert len(set.union(*homes.values())) > 1

    run(scenario, count=3, max_in_flight=1)


def test_affinity_yields_to_load():
    async def scenario(pool: ActorPool) -> None:
        answered = await asyncio.gather(*(pool.call("pid", 0.3, affinity="one clip") for _ in range(8)))
        shares = sorted(answered.count(pid) for pid in set(answered))
        assert shares == [4, 4]

    run(scenario, count=2)
