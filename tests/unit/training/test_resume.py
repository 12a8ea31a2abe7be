import asyncio
from pathlib import Path
from typing import Any

import pytest

from vrl.checkpoint import begin, commit
from vrl.config import FaultConfig, RunConfig
from vrl.errors import LearnerLostError, WeightPushError
from vrl.lifecycle import Stop
from vrl.training.resume import resuming


def attempts(tmp_path: Path, outcomes: list[Any], *, save_at: int = 0, signum: int | None = None) -> list[str]:
    """What `resume` said at each attempt; `save_at`: the attempt, from 1, that leaves a checkpoint behind."""
    seen: list[str] = []
    config = RunConfig(name="run", runs_dir=str(tmp_path), fault=FaultConfig(max_resumes=2))

    async def attempt(config: RunConfig, resumes: int) -> None:
        assert resumes == len(seen)
        seen.append(config.resume)
        if len(seen) == save_at:
            tmp = begin(config.run_dir / "checkpoints", 3)
            commit(tmp, {}, keep_last=1)
        outcome = outcomes[len(seen) - 1]
        if outcome is not None:
            raise outcome

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        stop = Stop(task)
        stop.signum = signum
        await resuming(config, stop, attempt)

    try:
        asyncio.run(main())
    except Exception as error:
        seen.append(type(error).__name__)
    return seen


def test_a_lost_learner_resumes_from_its_checkpoint(tmp_path: Path):
    lost = ExceptionGroup("", [ExceptionGroup("", [LearnerLostError("rank 0 died")])])
    assert attempts(tmp_path, [lost, LearnerLostError("again"), None], save_at=1) == ["never", "auto", "auto"]


def test_without_a_checkpoint_it_starts_as_it_did(tmp_path: Path):
    assert attempts(tmp_path, [LearnerLostError("died"), None]) == ["never", "never"]


def test_resumes_are_bounded_and_for_the_learner_only(tmp_path: Path):
    lost = [LearnerLostError("died")] * 4
    assert attempts(tmp_path, lost) == ["never", "never", "never", "LearnerLostError"]
    assert attempts(tmp_path, [WeightPushError("norm")]) == ["never", "WeightPushError"]


@pytest.mark.parametrize("signum", [2, 15])
def test_who_is_asked_to_stop_does_not_come_back(tmp_path: Path, signum: int):
    assert attempts(tmp_path, [LearnerLostError("died"), None], signum=signum) == ["never", "LearnerLostError"]
