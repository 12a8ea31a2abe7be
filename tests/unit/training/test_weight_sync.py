"""The calls that WeightSync makes, in order: pushes, shared GPUs, engines that restart while the learner trains."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from vrl.config import PushConfig
from vrl.training.weight_sync import WeightSync

PUSHED = ["pause", "connect_engines", "send_weights", "resume"]


class FakeFleet:
    """One engine and a learner that record the calls they get."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.alive: tuple[Any, ...] = ("engine",)
        self.newcomer = asyncio.Event()
        self.version = 0
        self.version_changed = asyncio.Condition()
        self.steps_while_connecting = 0

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
        self.version += self.steps_while_connecting

    async def send_weights(self, _version: int) -> int:
        await self.broadcast("send_weights")
        return 8

    async def reload(self) -> None:
        await self.broadcast("reload")

    async def offload(self) -> None:
        await self.broadcast("offload")


def run(scenario: Callable[[FakeFleet, WeightSync], Awaitable[None]], *, shared_gpus: bool = False) -> None:
    """Run a scenario with `sync_newcomers` as a background task."""

    async def main() -> None:
        fleet: Any = FakeFleet()
        gpus = asyncio.Lock() if shared_gpus else None
        weights = WeightSync(fleet, fleet, backend="ipc", config=PushConfig(), workers_per_engine=1, gpus=gpus)
        newcomers = asyncio.create_task(weights.sync_newcomers())
        try:
            await scenario(fleet, weights)
        finally:
            newcomers.cancel()

    asyncio.run(main())


async def settled() -> None:
    """Let every task run until all of them wait for something that this test has not done yet."""
    for _ in range(100):
        await asyncio.sleep(0)


async def admitted(fleet: FakeFleet) -> None:
    async with asyncio.timeout(5):
        while fleet.newcomer.is_set():
            await asyncio.sleep(0)


def test_engines_sleep_while_the_learner_trains_and_wake_once_its_state_has_left_the_gpu():
    async def scenario(fleet: FakeFleet, weights: WeightSync) -> None:
        async with weights.colocated_training():
            fleet.calls.append("learn")
            await weights.sync(1)
        assert fleet.calls == ["sleep", "reload", "learn", "offload", *PUSHED, "offload", "resume"]
        fleet.calls.clear()
        async with weights.colocated_training():  # a step that applied no update
            fleet.calls.append("learn")
        assert fleet.calls == ["sleep", "reload", "learn", "offload", "resume"]

    run(scenario, shared_gpus=True)


def test_without_shared_gpus_training_takes_no_lock():
    async def scenario(fleet: FakeFleet, weights: WeightSync) -> None:
        async with weights.colocated_training(), weights.colocated_training():
            await weights.sync(1)
        assert fleet.calls == PUSHED

    run(scenario)


def test_a_newcomer_gets_its_weights_after_the_learner_has_trained_not_meanwhile():
    async def scenario(fleet: FakeFleet, weights: WeightSync) -> None:
        async with weights.colocated_training():
            fleet.newcomer.set()
            await settled()
            fleet.calls.append("learn")
        await admitted(fleet)
        assert fleet.calls[:7] == ["sleep", "reload", "learn", "offload", "resume", *PUSHED[:2]]

    run(scenario, shared_gpus=True)


@pytest.mark.parametrize("applied", [True, False])
def test_a_newcomer_waits_while_an_optimizer_step_is_in_flight(applied: bool):
    async def scenario(fleet: FakeFleet, weights: WeightSync) -> None:
        fleet.version = 1
        fleet.newcomer.set()
        await settled()
        assert fleet.calls == [] and (weights.learner_version, weights.pushed_version) == (1, 0)
        if applied:
            await weights.sync(1)
            assert weights.pushed_version == 1 and not fleet.newcomer.is_set()
        else:  # the pushed weights are still the learner's
            async with fleet.version_changed:
                fleet.version = 0
                fleet.version_changed.notify_all()
            await admitted(fleet)
        assert fleet.calls[:3] == PUSHED[:3]

    run(scenario)


def test_a_sync_releases_the_wait_so_that_the_next_newcomer_is_served() -> None:
    async def scenario(fleet: FakeFleet, weights: WeightSync) -> None:
        fleet.version = 1
        fleet.newcomer.set()
        await settled()  # the background task waits for the sync, which serves this newcomer itself
        await weights.sync(1)
        fleet.calls.clear()
        fleet.newcomer.set()
        await admitted(fleet)
        assert fleet.calls[:1] == PUSHED[:1]

    run(scenario)


def test_a_step_that_begins_while_engines_connect_stops_the_push_to_a_newcomer():
    async def scenario(fleet: FakeFleet, weights: WeightSync) -> None:
        fleet.steps_while_connecting = 1
        fleet.newcomer.set()
        await settled()
        assert fleet.calls == ["pause", "connect_engines", "resume"] and fleet.newcomer.is_set()

    run(scenario)


def test_without_live_engines_a_push_sends_nothing_and_counts():
    async def scenario(fleet: FakeFleet, weights: WeightSync) -> None:
        fleet.alive, fleet.version = (), 1
        assert await weights.sync(1) == 0
        assert fleet.calls == [] and weights.pushed_version == 1

    run(scenario)
