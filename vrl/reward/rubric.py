"""The rubric: the rewards of a task with their weights and conditions, and their combination if values are missing.
Does not compute values and does not touch actors.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vrl.config import RewardTermConfig, TaskConfig
from vrl.errors import ConfigError, RewardError
from vrl.reward import ASKS, COUNTS_TOKENS, GROUP_REWARDS, REWARDS
from vrl.tasks import TASKS
from vrl.types import Reward

DIAGNOSTICS = ("think_answer_consistency", "visual_evidence")  # Video-R2's TAC and VAS, over 100
_CONDITION = re.compile(r"(\w+)>=(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A lower bound on a reward's value."""

    name: str
    at_least: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One reward of a task's rubric."""

    name: str
    weight: float  # 0: logged only
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rubric:
    """The checked terms of every configured task."""

    terms: Mapping[str, tuple[Term, ...]]  # by task

    def names(self, task: str) -> list[str]:
        """Return every reward to compute for a task: its terms, then those that only conditions read."""
        terms = self.terms[task]
        read = [condition.name for term in terms for condition in term.when]
        return list(dict.fromkeys([*(term.name for term in terms), *read]))

    def asks(self, task: str) -> set[str]:
        """Return the judgement fields that the rewards of this task need."""
        return {field for name in self.names(task) for field in ASKS.get(name, ())}

    def counts_tokens(self) -> bool:
        """Return whether any reward reads the length of the thinking."""
        return any(COUNTS_TOKENS & set(self.names(task)) for task in self.terms)

    def with_diagnostics(self) -> "Rubric":
        """Return the same rubric plus, at weight 0, the diagnostics of every task that thinks."""
        extra = tuple(Term(name=name, weight=0.0) for name in DIAGNOSTICS)
        return Rubric(
            terms={
                task: (
                    *terms,
                    *(t for t in extra if TASKS[task].thinks and t.name not in {term.name for term in terms}),
                )
                for task, terms in self.terms.items()
            }
        )

    def combine(self, task: str, values: Mapping[str, float | None]) -> Reward:
        """Return the weighted sum of a task's reward values; the breakdown holds every value after its conditions.

        A term whose condition does not hold is 0. A missing value (None), or one whose condition is missing, stays None
        in the breakdown and is left out of the sum: the others are scaled up to the full weight, so a failed judge is
        not a zero (our definition). Raises RewardError if every value with a weight is missing.
        """
        terms = self.terms[task]
        counted = {term.name: _gated(term, values) for term in terms}
        present = [(term.weight, v) for term in terms if term.weight and (v := counted[term.name]) is not None]
        if not present:
            raise RewardError(f"task {task}: every reward is missing ({', '.join(counted)}), wanted at least one value")
        scale = sum(term.weight for term in terms) / sum(weight for weight, _ in present)
        value = scale * sum(weight * value for weight, value in present)
        return Reward(value=value, breakdown={**values, **counted})


def _gated(term: Term, values: Mapping[str, float | None]) -> float | None:
    met = [None if (v := values[c.name]) is None else v >= c.at_least for c in term.when]
    if False in met:
        return 0.0
    return None if None in met else values[term.name]


def build_rubric(task_configs: Sequence[TaskConfig], dataset_tasks: Iterable[str] = ()) -> Rubric:
    """Return the rubric of a run. Raises ConfigError that lists every fault, see `check_rubric`.

    Without task configs, every task gets its default rewards; so does a task config without rewards.
    """
    problems = check_rubric(task_configs, dataset_tasks)
    if problems:
        raise ConfigError(*problems)
    configs = task_configs or [TaskConfig(task=name) for name in TASKS]
    return Rubric(terms={config.task: _terms(config) for config in configs})


def check_rubric(task_configs: Sequence[TaskConfig], dataset_tasks: Iterable[str] = ()) -> list[str]:
    """Return every fault: an unknown task or reward, a reward twice, a weight below 0, no weight above 0, a condition
    that cannot be parsed, a dataset task without a rubric.
    """
    problems = []
    for i, config in enumerate(task_configs):
        if config.task not in TASKS:
            problems.append(f"tasks[{i}].task: got {config.task!r}, wanted one of {sorted(TASKS)}")
        problems += [f"tasks[{i}].rewards: {problem}" for problem in _check_terms(config.rewards)]
    known = {config.task for config in task_configs} or set(TASKS)
    problems += [
        f"tasks: got task {name!r} in the dataset, wanted one of {sorted(known)}; "
        "give it a rubric in tasks, or exclude its rows with data.tasks"
        for name in sorted(set(dataset_tasks) - known)
    ]
    return problems


def _check_terms(terms: Sequence[RewardTermConfig]) -> list[str]:
    names = [term.reward for term in terms]
    known = sorted(REWARDS.keys() | GROUP_REWARDS.keys())
    problems = [f"got {name!r}, wanted one of {known}" for name in sorted(set(names) - set(known))]
    problems += [f"got {name!r} twice, wanted it once" for name in sorted(set(names)) if names.count(name) > 1]
    problems += [
        f"got weight {term.weight} for {term.reward}, wanted a finite number, at least 0"
        for term in terms
        if not (math.isfinite(term.weight) and term.weight >= 0)
    ]
    if terms and not any(term.weight > 0 for term in terms):
        problems.append("got no weight above 0, wanted at least one term that counts")
    return problems + [problem for term in terms for text in term.when for problem in _check_condition(term, text)]


def _check_condition(term: RewardTermConfig, text: str) -> list[str]:
    written = _CONDITION.fullmatch(text.replace(" ", ""))
    if written is None:
        return [f"got condition {text!r} for {term.reward}, wanted the form reward>=number"]
    if written[1] not in REWARDS:
        return [f"got condition {text!r} for {term.reward}, wanted one on a reward of {sorted(REWARDS)}"]
    return []


def _terms(config: TaskConfig) -> tuple[Term, ...]:
    if not config.rewards:
        return tuple(Term(name=name, weight=1.0) for name in TASKS[config.task].rewards)
    return tuple(
        Term(name=term.reward, weight=term.weight, when=tuple(_condition(text) for text in term.when))
        for term in config.rewards
    )


def _condition(text: str) -> Condition:
    written = _CONDITION.fullmatch(text.replace(" ", ""))
    assert written is not None  # check_rubric has checked it
    return Condition(name=written[1], at_least=float(written[2]))
