"""Who has the GPUs that learner and engines share, and when: the order of calls that WeightSync makes."""

import asyncio
from collections.abc import Sequence
from typing import Any

from vrl.config import PushConfig
from vrl.training.weight_sync import WeightSync

PUSHED = ["pause", "connect_engines", "sync_weights", "resume"]


class Fleet:
    """One engine and a learner that note what they are told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.alive: tuple[Any, ...] = ("engine",)
        self.newcomer = asyncio.Event()
        self.pushed = asyncio.Event()
        self.pushed.set()

    async def ask(self, engines: Sequence[Any], method: str) -> None:
        assert engines == self.alive
        await self.broadcast(method)

    async def broadcast(self, method: str) -> None:
        self.calls.append(method)
        await asyncio.sleep(0)

    def admit(self, engines: Sequence[Any]) -> None:
        self.newcomer.clear()

    async def connect_engines(self, *_: Any) -> None:
        self.calls.append("connect_engines")

    async def sync_weights(self, _version: int) -> int:
        await self.broadcast("sync_weights")
        return 8

    async def reload(self) -> None:
        await self.broadcast("reload")

    async def offload(self) -> None:
        await self.broadcast("offload")


def push_of(fleet: Any, gpus: asyncio.Lock | None) -> WeightSync:
    return WeightSync(fleet, fleet, backend="ipc", config=PushConfig(), workers_per_engine=1, gpus=gpus)


def test_in_the_learners_turn_engines_sleep_and_wake_when_its_state_has_left_the_gpu():
    async def go() -> None:
        fleet = Fleet()
        push = push_of(fleet, asyncio.Lock())
        async with push.colocated_training():
            fleet.calls.append("learn")
            await push.to_all(1)
        assert fleet.calls == ["sleep", "reload", "learn", "offload", *PUSHED, "offload", "resume"]
        fleet.calls.clear()
        async with push.colocated_training():  # of a step that moved nothing
            fleet.calls.append("learn")
        assert fleet.calls == ["sleep", "reload", "learn", "offload", "resume"]

    asyncio.run(go())


def test_on_gpus_of_their_own_nobody_waits_for_a_turn():
    async def go() -> None:
        fleet = Fleet()
        push = push_of(fleet, None)
        async with push.colocated_training(), push.colocated_training():
            await push.to_all(1)
        assert fleet.calls == PUSHED

    asyncio.run(go())


def test_a_newcomer_gets_its_weights_after_the_learners_turn_not_in_it():
    async def go() -> None:
        fleet = Fleet()
        push = push_of(fleet, asyncio.Lock())
        newcomers = asyncio.create_task(push.to_newcomers())
        async with push.colocated_training():
            fleet.newcomer.set()
            await asyncio.sleep(0.05)
            fleet.calls.append("learn")
        while fleet.newcomer.is_set():
            await asyncio.sleep(0)
        newcomers.cancel()
        assert fleet.calls[:7] == ["sleep", "reload", "learn", "offload", "resume", *PUSHED[:2]]

    asyncio.run(go())
