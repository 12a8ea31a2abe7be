"""Metrics of rollouts under the names of the metric catalogue. Pure functions of scored groups."""

from collections.abc import Sequence

import numpy as np

from vrl.algo.shaping import is_truncated
from vrl.data.media_tracker import cache_hit_frac
from vrl.types import Rollout, RolloutGroup


def describe(groups: Sequence[RolloutGroup], policy_version: int) -> dict[str, float]:
    """Return metrics of a step's rollouts: rewards by part and task, lengths, policy age, throughput."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    num_tokens = sum(len(rollout.completion.token_ids) for rollout in rollouts)
    num_shuffled = sum(group.shuffled_tokens for group in groups)
    sampling_s = covered_s([(group.rollout_start_s, group.rollout_start_s + group.rollout_s) for group in groups])
    by_task: dict[str, list[Rollout]] = {}
    for group in groups:
        by_task.setdefault(group.prompt.sample.task, []).extend(group.rollouts)
    return {
        "reward/mean": mean_reward(rollouts),
        **{f"reward/{name}": value for name, value in mean_parts(rollouts).items()},
        **{f"reward/spread/{name}": value for name, value in part_spreads(groups).items()},
        **{f"reward/missing/{name}": value for name, value in missing_parts(rollouts).items()},
        "judge/failures": float(sum(rollout.reward.judge_failures for rollout in rollouts)),
        **{f"reward/task/{task}": mean_reward(of_task) for task, of_task in sorted(by_task.items())},
        "group/zero_spread_frac": float(np.mean([group.zero_spread for group in groups])),
        "rollout/policy_age_max": float(policy_version - min(group.policy_version for group in groups)),
        "rollout/completion_tokens": num_tokens / len(rollouts),
        "rollout/parse_failure_frac": float(np.mean([not r.reward.parsed for r in rollouts])),
        "rollout/truncated_frac": float(np.mean([is_truncated(r.completion) for r in rollouts])),
        "rollout/seconds": float(np.mean([group.rollout_s for group in groups])),
        "rollout/tokens_per_s": (num_tokens + num_shuffled) / sampling_s,
        "rollout/shuffled_frac": num_shuffled / (num_tokens + num_shuffled),
        "reward/seconds": float(np.mean([group.reward_s for group in groups])),
        "data/decode_seconds": float(np.mean([group.prompt.decode_s for group in groups])),
        "data/cache_hit_frac": cache_hit_frac(group.prompt for group in groups),
    }


def mean_parts(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the mean of every reward part over the rollouts that have it."""
    return {name: float(np.mean(values)) for name, values in sorted(_part_values(rollouts).items())}


def part_spreads(groups: Sequence[RolloutGroup]) -> dict[str, float]:
    """Return the standard deviation of every reward part within a group, averaged over the groups that have it.

    A part of spread 0 has no training signal, no matter what its mean is.
    """
    found: dict[str, list[float]] = {}
    for group in groups:
        for name, values in _part_values(group.rollouts).items():
            found.setdefault(name, []).append(float(np.std(values)))
    return {name: float(np.mean(values)) for name, values in sorted(found.items())}


def _part_values(rollouts: Sequence[Rollout]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for rollout in rollouts:
        for name, value in rollout.reward.breakdown.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return values


def missing_parts(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return the fraction of rollouts whose reward part is None: not applicable, or its judge failed."""
    found: dict[str, list[bool]] = {}
    for rollout in rollouts:
        for name, value in rollout.reward.breakdown.items():
            found.setdefault(name, []).append(value is None)
    return {name: float(np.mean(values)) for name, values in sorted(found.items())}


def mean_reward(rollouts: Sequence[Rollout]) -> float:
    """Return the mean reward over rollouts."""
    return float(np.mean([rollout.reward.value for rollout in rollouts]))


def covered_s(intervals: Sequence[tuple[float, float]]) -> float:
    """Return the seconds covered by the union of the intervals (start, end): wall time of parallel groups."""
    total, reached = 0.0, -np.inf
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
