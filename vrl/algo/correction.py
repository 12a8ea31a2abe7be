"""Importance weights for tokens that another policy sampled than the one that learns. Pure torch functions.

The engine's log-probs belong to the weights that made each token: older ones when max_policy_age > 0, and rounded its
own way always. old_logprobs are the learner's, before the step's first update. weight = old / rollout corrects what the
ratio policy / old does not see: decoupled PPO (arXiv 2110.00641; AReaL, arXiv 2505.24298).
"""

import torch
from torch import Tensor

from vrl.algo.loss import sequence_sums


def correction_weights(
    old_logprobs: Tensor, rollout_logprobs: Tensor, sequence_ids: Tensor, *, kind: str, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """Weights float32 [T] without gradient, and where a weight was cut (bool [T]). `kind` is algo.correction.

    Token kinds weigh a token by its own old / rollout, sequence kinds all tokens of a completion by the product.
    A rejected token keeps its place in the divisor of the loss: rejection makes no other token heavier.
    """
    level, action = kind.split("_")
    log_weight = (old_logprobs - rollout_logprobs).detach()
    if level == "sequence":
        log_weight = sequence_sums(log_weight, sequence_ids)
    weight = torch.exp(log_weight)
    return truncate(weight, high) if action == "truncate" else mask(weight, low, high)


def truncate(weight: Tensor, high: float) -> tuple[Tensor, Tensor]:
    """min(weight, high): less variance for some bias.

    Truncated importance sampling, Ionides 2008; per token as IMPALA's rho (arXiv 1802.01561).
    """
    return weight.clamp(max=high), weight > high


def mask(weight: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """The weight within [low, high], else 0.

    Per token IcePop (arXiv 2510.18855: 0.5 and 5); per completion, with low = 0, masked importance sampling (Liu et al.
    2025, "When Speed Kills Stability").
    """
    kept = (low <= weight) & (weight <= high)
    return torch.where(kept, weight, 0.0), ~kept


def effective_share(weight_mean: float, weight_square_mean: float) -> float:
    """Kish's effective sample size over the number of samples: mean(w)^2 / mean(w^2); 0 where all weights are."""
    return weight_mean**2 / weight_square_mean if weight_square_mean else 0.0
