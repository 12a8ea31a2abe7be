"""How the learner's group takes what Ray reports of its ranks. Real ranks: tests/integration/test_learner_group.py."""

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ObjectReconstructionFailedError, RayTaskError

from vrl.errors import LearnerError, LearnerLostError
from vrl.learner.group import LearnerGroup

LOST = ObjectReconstructionFailedError("00ff")


class Rank:
    """A handle whose optimizer step ends with this error."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    @property
    def optim_step(self) -> "Rank":
        return self

    def remote(self, *_: Any) -> "asyncio.Future[Any]":
        future = asyncio.get_running_loop().create_future()
        future.set_exception(self._error)
        return future


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (RayTaskError("optim_step", "trace", LOST), LearnerLostError, "given for optim_step was lost"),
        (ActorDiedError(), LearnerLostError, "a learner rank died during optim_step"),
        (RayTaskError("optim_step", "trace", LearnerError("three in a row")), LearnerError, "three in a row"),
    ],
)
def test_what_cannot_be_made_good_takes_the_run_back_and_a_ranks_own_error_ends_it(
    error: Exception, raised: type[Exception], said: str
):
    async def step() -> None:
        await LearnerGroup([Rank(error)], address="", timeout_s=5).optim_step()

    with pytest.raises(raised, match=said) as caught:
        asyncio.run(step())
    assert type(caught.value) is raised
