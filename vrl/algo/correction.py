"""Importance weights for tokens that were sampled by another policy than the one in training. Pure torch functions.

The engine's log-probs come from the weights that sampled each token, which are older if max_policy_age > 0, and from
the engine's own rounding. old_logprobs are the learner's, before the step's first update. weight = old / rollout
corrects the part that the ratio policy / old misses: decoupled PPO (arXiv 2110.00641; AReaL, arXiv 2505.24298).
"""

import torch
from torch import Tensor

from vrl.algo.loss import sequence_sums


def correction_weights(
    old_logprobs: Tensor, rollout_logprobs: Tensor, sequence_ids: Tensor, *, kind: str, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """Return weights float32 [T] without gradient, and which of them were cut (bool [T]). `kind` is algo.correction.

    Token kinds weight a token by its own old / rollout, sequence kinds all tokens of a completion by the product.
    A rejected token still counts in the divisor of the loss, so rejection makes no other token heavier.
    """
    level, action = kind.split("_")
    log_weight = (old_logprobs - rollout_logprobs).detach()
    if level == "sequence":
        log_weight = sequence_sums(log_weight, sequence_ids)
    weight = torch.exp(log_weight)
    if action == "truncate":  # Ionides 2008; per token as IMPALA's rho (arXiv 1802.01561)
        return weight.clamp(max=high), weight > high
    # Per token this is IcePop (arXiv 2510.18855: 0.5 and 5); per completion, with low = 0, masked importance sampling
    # (Liu et al. 2025, "When Speed Kills Stability").
    kept = (low <= weight) & (weight <= high)
    return torch.where(kept, weight, 0.0), ~kept


def effective_share(weight_mean: float, weight_square_mean: float) -> float:
    """Return Kish's effective sample size as a fraction of the samples: mean(w)^2 / mean(w^2); 0 if all weights are."""
    return weight_mean**2 / weight_square_mean if weight_square_mean else 0.0
