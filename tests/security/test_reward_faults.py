"""Any failure of one group is its own, dropped with a reason and counted; too many in a row end the run."""

import asyncio
import logging
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.fakes import FakeEngines, FakeRewards

from vrl.config import RewardTermConfig, TaskConfig
from vrl.errors import ConfigError, DataError, LostCallError, RewardError, RolloutError, WorkerError
from vrl.observability.faults import FaultLog
from vrl.reward import REWARDS
from vrl.reward.worker import RewardWorker
from vrl.rollout.buffer import RolloutBuffer
from vrl.rollout.prefetch import PreparedPrompt
from vrl.rollout.runner import Runner
from vrl.rollout.shuffled import ShuffledDraws
from vrl.tasks import TASKS
from vrl.types import Completion, Prompt, Reward, Sample, VersionSpan


class OddError(Exception):
    """An error of a library, with a message of any length, that cannot be sent to another process."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first}{second}" * 100_000)


FAILURES: dict[str, Callable[[], BaseException]] = {
    "ValueError": lambda: ValueError("odd"),
    "KeyError": lambda: KeyError("A"),
    "RecursionError": lambda: RecursionError("deep"),
    "MemoryError": MemoryError,
    "OverflowError": lambda: OverflowError("400 digits"),
    "UnicodeEncodeError": lambda: UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"),
    "StopIteration": StopIteration,
    "AssertionError": AssertionError,
    "OSError": lambda: OSError(28, "No space left on device"),
    "TimeoutError": TimeoutError,
    "ConfigError": lambda: ConfigError("odd"),
    "DataError": lambda: DataError("odd"),
    "odd": lambda: OddError("\x1b[2J", "x"),
}


def prompt(number: int = 0) -> Prompt:
    return Prompt(sample=Sample(sample_id=str(number), task="vqa", question="?", answer="A"), token_ids=np.arange(3))


def completion() -> Completion:
    spans = (VersionSpan(start=0, end=2, policy_version=0),)
    logprobs = np.zeros(2, np.float32)
    return Completion(token_ids=np.arange(2), rollout_logprobs=logprobs, text="A", finish_reason="stop", versions=spans)


def worker(*rewards: str) -> RewardWorker:
    return RewardWorker([TaskConfig(task="vqa", rewards=[RewardTermConfig(reward=name) for name in rewards])])


@pytest.mark.parametrize("name", [*FAILURES, "SystemExit"])
def test_anything_that_a_reward_raises_is_a_reward_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(inputs: Any) -> float:
        raise FAILURES.get(name, SystemExit)()

    monkeypatch.setitem(REWARDS, "broken", broken)
    with pytest.raises(RewardError, match=r"reward broken, sample 0 \(task vqa\)") as caught:
        asyncio.run(worker("broken").score(prompt(), [completion()]))
    assert len(str(caught.value)) < 500 and str(caught.value).isprintable()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("value", ["1", [1.0], {}, float("nan"), float("inf"), 10**400, 1j], ids=repr)
def test_anything_that_a_reward_returns_is_a_number_or_a_reward_error(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REWARDS, "broken", lambda inputs: value)
    with pytest.raises(RewardError, match=r"sample 0") as caught:
        asyncio.run(worker("broken").score(prompt(), [completion()]))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", FAILURES)
def test_anything_that_a_parser_raises_is_a_reward_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def parse(self, text: str) -> Any:
            raise FAILURES[name]()

    rewards = worker("accuracy")
    monkeypatch.setitem(TASKS, "vqa", Broken())  # type: ignore[arg-type]
    with pytest.raises(RewardError, match=r"sample 0 \(task vqa\)"):
        asyncio.run(rewards.score(prompt(), [completion()]))


def test_a_traceback_is_logged_once_a_kind(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    causes = iter([ValueError("one"), ValueError("two"), KeyError("three"), ValueError("four")])

    def broken(inputs: Any) -> float:
        raise next(causes)

    monkeypatch.setitem(REWARDS, "broken", broken)
    rewards = worker("broken")
    for _ in range(4):
        with pytest.raises(RewardError):
            asyncio.run(rewards.score(prompt(), [completion()]))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 4 and ["raise next(causes)" in line for line in lines] == [True, False, True, False]


def test_a_logged_failure_is_short_and_plain(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(logging.getLogger("vrl.test"))
    try:
        try:
            raise OddError("\x1b[2J", "\n")
        except OddError as error:
            raise RuntimeError("y" * 10**6) from error
    except RuntimeError as error:
        error.__context__.__cause__ = error  # type: ignore[union-attr]  # a chain that bites its tail
        faults.add("x", error)
    (record,) = caplog.records
    assert "OddError" in record.getMessage() and len(record.getMessage()) < 4000 and "\x1b" not in record.getMessage()


class Fleet:
    """A runner over fakes, of which one prompt in a wave fails."""

    def __init__(self, engines: Any = None, rewards: Any = None, shape: Any = None) -> None:
        self.buffer = RolloutBuffer(groups_per_step=4, max_policy_age=0, steps=100)
        self.runner = Runner(
            engines or FakeEngines(), rewards or FakeRewards(), self.buffer, shape or (lambda c, r: r), ShuffledDraws()
        )

    async def wave(self, first: int = 0) -> None:
        ids = await self.buffer.reserve(4)
        prepared = [PreparedPrompt(prompt=prompt(first + i), patches=None, ordinal=first + i) for i in range(len(ids))]
        await self.runner.run_wave(prepared, ids)


class OddEngines(FakeEngines):
    """Engines that cannot generate for one sample; `failure` is what they raise."""

    def __init__(self, failure: Callable[[], BaseException], broken: frozenset[str] = frozenset({"2"})) -> None:
        super().__init__()
        self.failure, self.broken = failure, broken

    async def call(self, method: str, *args: Any, **sampling: Any) -> Any:
        if self.broken & {one.sample.sample_id for one in args[0]}:
            raise self.failure()
        return await super().call(method, *args, **sampling)


class OddRewards(FakeRewards):
    """Reward workers that fail for sample 2, or return `value` for it."""

    def __init__(self, failure: Callable[[], BaseException] | None = None, value: Any = None) -> None:
        super().__init__()
        self.failure, self.value = failure, value

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if args[0].sample.sample_id == "2":
            if self.failure is not None:
                raise self.failure()
            return self.value
        return await super().call(method, *args, **kwargs)


@pytest.mark.parametrize("name", FAILURES)
def test_a_group_that_an_engine_fails_on_is_dropped_alone(name: str) -> None:
    fleet = Fleet(engines=OddEngines(FAILURES[name]))
    asyncio.run(fleet.wave())
    assert (fleet.buffer.counts.dropped, fleet.buffer.counts.unfinished) == ({"rollout": 1}, 3)


@pytest.mark.parametrize("name", FAILURES)
def test_a_group_that_a_reward_worker_fails_on_is_dropped_alone(name: str) -> None:
    fleet = Fleet(rewards=OddRewards(FAILURES[name]))
    asyncio.run(fleet.wave())
    assert (fleet.buffer.counts.dropped, fleet.buffer.counts.unfinished) == ({"reward": 1}, 3)


@pytest.mark.parametrize(
    "value",
    [None, (), 7, "1111", (1.0,) * 4, (Reward(value=0.0),) * 3, (Reward(value=float("nan")),) * 4],
    ids=lambda value: f"{str(value)[:20]}",
)
def test_a_group_with_odd_rewards_is_dropped_alone(value: Any) -> None:
    fleet = Fleet(rewards=OddRewards(value=value))
    asyncio.run(fleet.wave())
    assert (fleet.buffer.counts.dropped, fleet.buffer.counts.unfinished) == ({"reward": 1}, 3)


@pytest.mark.parametrize("role", ["rollout", "reward"])
def test_a_lost_call_drops_its_groups(role: str) -> None:
    lost = lambda: LostCallError("lost on two workers")  # noqa: E731
    fleet = Fleet(engines=OddEngines(lost)) if role == "rollout" else Fleet(rewards=OddRewards(lost))
    asyncio.run(fleet.wave())
    assert fleet.buffer.counts.dropped == ({"rollout_lost": 4} if role == "rollout" else {"reward_lost": 1})


@pytest.mark.parametrize("role", ["rollout", "reward"])
def test_dead_workers_end_the_run(role: str) -> None:
    dead = lambda: WorkerError("all workers are dead")  # noqa: E731
    fleet = Fleet(engines=OddEngines(dead)) if role == "rollout" else Fleet(rewards=OddRewards(dead))
    with pytest.raises(WorkerError, match="all workers are dead"):
        asyncio.run(fleet.wave())


def test_a_fault_of_the_driver_ends_the_run() -> None:
    def shape(completion: Completion, reward: Reward) -> Reward:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        asyncio.run(Fleet(shape=shape).wave())


@pytest.mark.parametrize(("role", "kind"), [("rollout", RolloutError), ("reward", RewardError)])
def test_failures_in_a_row_end_the_run_with_their_cause(role: str, kind: type[Exception]) -> None:
    class AllOdd(OddRewards):
        async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
            raise OddError("the cause", "x")

    engines = OddEngines(FAILURES["ValueError"], frozenset(map(str, range(100))))
    fleet = Fleet(engines=engines) if role == "rollout" else Fleet(rewards=AllOdd())

    async def waves() -> None:
        for first in range(0, 100, 4):
            await fleet.wave(first)

    with pytest.raises(kind, match=r"32 groups in a row failed, the last with: (ValueError: odd|OddError: the cause)"):
        asyncio.run(waves())
    assert fleet.buffer.counts.dropped == {role: 32}


def test_failures_that_alternate_with_groups_do_not_end_the_run() -> None:
    async def waves(fleet: Fleet) -> None:
        for _ in range(50):
            ids = await fleet.buffer.reserve(2)
            prepared = [PreparedPrompt(prompt=prompt(1 + i), patches=None, ordinal=i) for i in range(2)]
            await fleet.runner.run_wave(prepared, ids)
            fleet.buffer.account([group for group in [fleet.buffer._outstanding.get(ids[0])] if group], {})
            await fleet.buffer.release()

    fleet = Fleet(rewards=OddRewards(FAILURES["ValueError"]))
    asyncio.run(waves(fleet))
    assert (fleet.buffer.counts.dropped, fleet.buffer.counts.trained) == ({"reward": 50}, 50)
