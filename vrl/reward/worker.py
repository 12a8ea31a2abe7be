"""The reward worker: scores the completions of a group. A plain class; the pool makes it an actor."""

import math
from collections.abc import Sequence

from vrl.config import TaskConfig
from vrl.errors import RewardError
from vrl.reward import REWARDS
from vrl.reward.record import RewardInput
from vrl.reward.rubric import build_rubric
from vrl.tasks import TASKS
from vrl.types import Completion, Prompt, Reward


class RewardWorker:
    """Holds the rubric of the run. Rewards are pure functions, so any worker may score any group."""

    def __init__(self, task_configs: Sequence[TaskConfig]) -> None:
        self._rubric = build_rubric(task_configs)

    def score(self, prompt: Prompt, completions: Sequence[Completion]) -> tuple[Reward, ...]:
        """One reward a completion, in order.

        Raises RewardError that names reward, sample and cause where a reward function raises or returns a number that
        is not finite, where every value of a completion is missing, and where the sample's task has no rubric.
        """
        sample = prompt.sample
        if sample.task not in self._rubric.terms:
            raise RewardError(
                f"sample {sample.sample_id}: got task {sample.task!r}, wanted one with a rubric: "
                f"{sorted(self._rubric.terms)}"
            )
        return tuple(self._score_one(prompt, completion) for completion in completions)

    def _score_one(self, prompt: Prompt, completion: Completion) -> Reward:
        task = TASKS[prompt.sample.task]
        given = RewardInput(
            task=task,
            sample=prompt.sample,
            duration_s=prompt.duration_s,
            text=completion.text,
            parsed=task.parse(completion.text),
            finish_reason=completion.finish_reason,
        )
        values = {term.name: _value(term.name, given) for term in self._rubric.terms[task.name]}
        return self._rubric.combine(task.name, values)


def _value(name: str, given: RewardInput) -> float | None:
    where = f"reward {name}, sample {given.sample.sample_id} (task {given.sample.task})"
    try:
        value = REWARDS[name](given)
    except Exception as error:  # whatever a reward may raise: the run must learn which one failed, and on what
        raise RewardError(f"{where}: {type(error).__name__}: {error}") from error
    if value is not None and not math.isfinite(value):
        raise RewardError(f"{where}: got {value}, wanted a finite number, or None for a missing value")
    return value
