"""Advantages: how much better each rollout did than its baseline. Pure functions of the rewards of one step.

The baseline is the group's, or the step's (`AlgoConfig.step_wide_baseline`); then a group of equal rewards still has a
signal. Dr. GRPO (arXiv 2503.20783) is `grpo_no_std` with algo.loss_aggregation=fixed_length. Does not shape rewards.
Axes: G rollouts of a group.
"""

from collections.abc import Sequence
from math import comb

import numpy as np

from vrl.config import AlgoConfig
from vrl.errors import RewardError
from vrl.types import SPREAD_TOLERANCE, RolloutGroup


def advantages(rewards: Sequence[np.ndarray], num_tokens: Sequence[np.ndarray], config: AlgoConfig) -> list[np.ndarray]:
    """Return the advantages float32 [G] of every group of a step, by algo.advantage.

    `rewards` [G] and `num_tokens` [G], the sampled tokens of each completion, are in the order of the groups.
    Raises RewardError if a reward is not finite.
    """
    for rewards_G in rewards:
        if not np.isfinite(rewards_G).all():
            raise RewardError(f"rewards of a group: got {rewards_G.tolist()}, wanted finite numbers")
    match config.advantage:
        case "grpo":
            found = [grpo(rewards_G, config.std_eps) for rewards_G in rewards]
        case "grpo_no_std":
            found = [centred(rewards_G) for rewards_G in rewards]
        case "rloo":
            found = [rloo(rewards_G) for rewards_G in rewards]
        case "pass_at_k":
            found = [pass_at_k(rewards_G, config.pass_k, config.std_eps) for rewards_G in rewards]
        case "reinforce_batch":
            found = reinforce_batch(rewards)
        case "reinforce_plus_plus":
            found = normalised(rewards, num_tokens, config.std_eps)
        case _:
            found = normalised([centred(rewards_G) for rewards_G in rewards], num_tokens, config.std_eps)
    return [advantages_G.astype(np.float32) for advantages_G in found]


def has_signal(groups: Sequence[RolloutGroup], config: AlgoConfig) -> list[bool]:
    """Return whether the rewards of each group, or of the whole step if that is the baseline, are unequal.

    Rewards count as equal within SPREAD_TOLERANCE.
    """
    if config.step_wide_baseline:
        rewards = np.concatenate([group.rewards_G for group in groups])
        return [float(np.ptp(rewards)) > SPREAD_TOLERANCE] * len(groups)
    return [not group.zero_spread for group in groups]


def centred(rewards_G: np.ndarray) -> np.ndarray:
    """Return r - mean, [G]: groups of little spread get no extra weight (Dr. GRPO, arXiv 2503.20783)."""
    return rewards_G - rewards_G.mean()


def grpo(rewards_G: np.ndarray, std_eps: float) -> np.ndarray:
    """Return (r - mean) / (std + std_eps), [G] (DeepSeekMath, arXiv 2402.03300).

    std is the sample deviation (divisor G - 1), as torch.std in the trainers of the papers; 0 for G = 1.
    """
    std = rewards_G.std(ddof=1) if len(rewards_G) > 1 else 0.0
    return centred(rewards_G) / (std + std_eps)


def rloo(rewards_G: np.ndarray) -> np.ndarray:
    """Return r - mean of the other rollouts, [G] (REINFORCE leave-one-out, arXiv 2402.14740); 0 for G = 1."""
    return centred(rewards_G) * len(rewards_G) / max(len(rewards_G) - 1, 1)


def pass_at_k(rewards_G: np.ndarray, k: int, std_eps: float) -> np.ndarray:
    """Return how much each rollout improves the best of k, over the spread of the best of k, [G].

    (E[best of k | rollout i is one] - E[best of k]) / (std[best of k] + std_eps) over all draws of k rollouts of the
    group. For rewards 0 and 1 these are the analytic advantages of Pass@k training (Chen et al., arXiv 2508.10751);
    the best reward in place of a success is our extension, so that graded rewards need no threshold. k = 1 is grpo
    with divisor G. Requires k <= G.
    """
    size = len(rewards_G)
    mean = _best_of(rewards_G, k)
    square = _best_of(rewards_G, k, power=2)
    without = np.array([_best_of(np.delete(rewards_G, i), k) for i in range(size)])
    with_it = (comb(size, k) * mean - comb(size - 1, k) * without) / comb(size - 1, k - 1)
    return (with_it - mean) / (np.sqrt(max(square - mean**2, 0.0)) + std_eps)


def reinforce_batch(rewards: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return r - mean over all rollouts of the step: REINFORCE (Williams 1992) with a constant baseline."""
    mean = np.concatenate(rewards).mean()
    return [rewards_G - mean for rewards_G in rewards]


def normalised(values: Sequence[np.ndarray], num_tokens: Sequence[np.ndarray], std_eps: float) -> list[np.ndarray]:
    """Return (v - mean) / (std + std_eps) over all tokens of the step (REINFORCE++, arXiv 2501.03262).

    Each token carries its completion's value. The paper's first variant normalises rewards, its variant with
    baseline (`reinforce_plus_plus_baseline`) rewards centred in their group.
    """
    every, weights = np.concatenate(values), np.concatenate(num_tokens)
    mean = np.average(every, weights=weights)
    std = np.sqrt(np.average((every - mean) ** 2, weights=weights))
    return [(values_G - mean) / (std + std_eps) for values_G in values]


def _best_of(rewards_G: np.ndarray, k: int, power: int = 1) -> float:
    """Return E[max^power] over all draws of k rewards; 0 if there are fewer than k.

    The j-th smallest, counted from 0, is the largest of comb(j, k - 1) draws.
    """
    size = len(rewards_G)
    draws = np.array([comb(j, k - 1) for j in range(size)], dtype=np.float64)
    return float(np.sort(rewards_G) ** power @ draws / max(comb(size, k), 1))
