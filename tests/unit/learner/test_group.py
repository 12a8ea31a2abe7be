"""How LearnerGroup handles Ray's reports about its ranks. With real ranks: tests/integration/test_learner_group.py."""

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ObjectReconstructionFailedError, RayTaskError

from vrl.errors import LearnerError, LearnerLostError
from vrl.learner.group import LearnerGroup
from vrl.types import Update

LOST = ObjectReconstructionFailedError("00ff")


class Rank:
    """A handle whose optimizer step ends with this result."""

    def __init__(self, result: Exception | Update) -> None:
        self._result = result

    @property
    def optim_step(self) -> "Rank":
        return self

    def remote(self, *_: Any) -> "asyncio.Future[Any]":
        future = asyncio.get_running_loop().create_future()
        if isinstance(self._result, Exception):
            future.set_exception(self._result)
        else:
            future.set_result(self._result)
        return future


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (RayTaskError("optim_step", "trace", LOST), LearnerLostError, "argument of optim_step was lost"),
        (ActorDiedError(), LearnerLostError, "a learner rank died during optim_step"),
        (RayTaskError("optim_step", "trace", LearnerError("three in a row")), LearnerError, "three in a row"),
    ],
)
def test_a_lost_rank_or_argument_is_recoverable_and_an_error_of_a_rank_is_not(
    error: Exception, raised: type[Exception], said: str
):
    async def step() -> None:
        await LearnerGroup([Rank(error)], address="", timeout_s=5).optim_step()

    with pytest.raises(raised, match=said) as caught:
        asyncio.run(step())
    assert type(caught.value) is raised


@pytest.mark.parametrize("applied", [True, False])
def test_the_version_counts_a_step_in_flight_and_takes_a_dropped_one_back(applied: bool):
    async def step() -> None:
        update = Update(updates=1, lr=1e-3, grad_norm=1.0, applied=applied, nonfinite_steps=0)
        group = LearnerGroup([Rank(update)], address="", timeout_s=5)
        stepping = asyncio.create_task(group.optim_step())
        await asyncio.sleep(0)
        assert group.version == 1 and not stepping.done()
        assert await stepping == update and group.version == int(applied)

    asyncio.run(step())


def test_a_dropped_step_is_announced_to_those_who_wait_for_the_version():
    async def step() -> None:
        update = Update(updates=0, lr=1e-3, grad_norm=1.0, applied=False, nonfinite_steps=1)
        group = LearnerGroup([Rank(update)], address="", timeout_s=5)

        async def pushed_again() -> None:
            async with group.version_changed:
                await group.version_changed.wait_for(lambda: group.version == 0)

        stepping = asyncio.create_task(group.optim_step())
        await asyncio.sleep(0)
        assert group.version == 1
        async with asyncio.timeout(5):
            await asyncio.gather(stepping, pushed_again())

    asyncio.run(step())
