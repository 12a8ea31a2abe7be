"""Advantages: how much better each rollout of a group did than the group. Pure functions of the group's rewards.

Groups without spread carry no gradient; the driver counts and leaves them out before it comes here.
"""

import numpy as np

from vrl.config import AlgoConfig
from vrl.errors import ConfigError, RewardError


def advantages(rewards_G: np.ndarray, config: AlgoConfig) -> np.ndarray:
    """Advantages float32 [G] of one group by the configured rule. Raises RewardError if a reward is not finite."""
    if not np.isfinite(rewards_G).all():
        raise RewardError(f"rewards of a group: got {rewards_G.tolist()}, wanted finite numbers")
    match config.advantage:
        case "grpo":
            return grpo(rewards_G, config.std_eps)
        case "grpo_no_std":
            return grpo_no_std(rewards_G)
    raise ConfigError(f"algo.advantage: got {config.advantage!r}, wanted grpo or grpo_no_std")


def grpo(rewards_G: np.ndarray, std_eps: float) -> np.ndarray:
    """(r - mean) / (std + std_eps), float32 [G] (DeepSeekMath, arXiv 2402.03300, section 4.1.2).

    std is the sample deviation (divisor G - 1), as torch.std gives it in the trainers of the papers; 0 for G = 1.
    """
    std = rewards_G.std(ddof=1) if len(rewards_G) > 1 else 0.0
    return ((rewards_G - rewards_G.mean()) / (std + std_eps)).astype(np.float32)


def grpo_no_std(rewards_G: np.ndarray) -> np.ndarray:
    """r - mean, float32 [G]: nothing favours groups of little spread (Dr. GRPO, arXiv 2503.20783)."""
    return (rewards_G - rewards_G.mean()).astype(np.float32)


def is_zero_spread(rewards_G: np.ndarray, tolerance: float = 1e-8) -> bool:
    """Whether all rewards of the group are equal (within `tolerance`), so that the group teaches nothing."""
    return float(rewards_G.max() - rewards_G.min()) <= tolerance
