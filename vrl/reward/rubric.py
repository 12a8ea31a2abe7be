"""The rubric: which rewards a task has, their weights, and their sum. Does not call them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vrl.config import RewardTermConfig, TaskConfig
from vrl.errors import ConfigError, RewardError
from vrl.reward import REWARDS
from vrl.tasks import TASKS
from vrl.types import Reward


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One reward of a task's rubric."""

    name: str
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rubric:
    """The terms of every configured task, checked."""

    terms: Mapping[str, tuple[Term, ...]]  # by task

    def combine(self, task: str, values: Mapping[str, float | None]) -> Reward:
        """The weighted sum of a task's reward values.

        A missing value (None) stays None in the breakdown and leaves the sum: the others are scaled up to the full
        weight, so that a judge that failed does not act as a zero (our definition). Raises RewardError where every
        value is missing.
        """
        terms = self.terms[task]
        present = [(term.weight, value) for term in terms if (value := values[term.name]) is not None]
        if not present:
            raise RewardError(f"task {task}: every reward is missing ({', '.join(values)}), wanted at least one value")
        scale = sum(term.weight for term in terms) / sum(weight for weight, _ in present)
        return Reward(value=scale * sum(weight * value for weight, value in present), breakdown=dict(values))


def build_rubric(task_configs: Sequence[TaskConfig], dataset_tasks: Iterable[str] = ()) -> Rubric:
    """The rubric of a run. Raises ConfigError that lists every problem: see `check_rubric`.

    No task configs at all: every task with its own default rewards. A task config without rewards: likewise for it.
    """
    problems = check_rubric(task_configs, dataset_tasks)
    if problems:
        raise ConfigError(*problems)
    configs = task_configs or [TaskConfig(task=name) for name in TASKS]
    return Rubric(terms={config.task: _terms(config) for config in configs})


def check_rubric(task_configs: Sequence[TaskConfig], dataset_tasks: Iterable[str] = ()) -> list[str]:
    """Every fault: unknown task or reward, a reward twice, a weight not above 0, a dataset task without rubric."""
    problems = []
    for i, config in enumerate(task_configs):
        if config.task not in TASKS:
            problems.append(f"tasks[{i}].task: got {config.task!r}, wanted one of {sorted(TASKS)}")
        problems += [f"tasks[{i}].rewards: {problem}" for problem in _check_terms(config.rewards)]
    known = {config.task for config in task_configs} or set(TASKS)
    problems += [
        f"tasks: got task {name!r} in the dataset, wanted one of {sorted(known)}; "
        "give it a rubric in tasks, or leave its rows out by data.tasks"
        for name in sorted(set(dataset_tasks) - known)
    ]
    return problems


def _check_terms(terms: Sequence[RewardTermConfig]) -> list[str]:
    names = [term.reward for term in terms]
    unknown = [f"got {name!r}, wanted one of {sorted(REWARDS)}" for name in sorted(set(names) - REWARDS.keys())]
    twice = [f"got {name!r} twice, wanted it once" for name in sorted(set(names)) if names.count(name) > 1]
    weights = [
        f"got weight {term.weight} for {term.reward}, wanted a finite number above 0"
        for term in terms
        if not (math.isfinite(term.weight) and term.weight > 0)
    ]
    return unknown + twice + weights


def _terms(config: TaskConfig) -> tuple[Term, ...]:
    if config.rewards:
        return tuple(Term(name=term.reward, weight=term.weight) for term in config.rewards)
    return tuple(Term(name=name, weight=1.0) for name in TASKS[config.task].rewards)
