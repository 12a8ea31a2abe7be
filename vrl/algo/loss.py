"""Policy losses per token and their aggregation to a scalar. Pure torch functions; they know no model or rank.

Tensors hold one entry per trained token, float32 [T] unless stated otherwise. A loss is summed over tokens and divided
once by a count over the whole step, so that micro-batching, packing and ranks do not change it. Every policy loss also
returns the tokens at which its bounds cut the gradient (or, for cispo, the weight), bool [T].
"""

import torch
from torch import Tensor

_MAX_LOG_RATIO = 20.0  # exp(20) = 5e8: far outside any bound, but exp does not overflow, so no 0 x infinity


def clip(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Return -min(r A, clamp(r, 1 - clip_low, 1 + clip_high) A) with r = policy / old (PPO, arXiv 1707.06347).

    Unequal bounds are clip-higher (DAPO, arXiv 2503.14476).
    """
    return _clipped(ratio(logprobs, old_logprobs), advantages, clip_low, clip_high)


def dual_clip(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float, bound: float
) -> tuple[Tensor, Tensor]:
    """Return the loss of `clip`, limited to -bound A for A < 0, so that no bad but likely token dominates.

    Dual-clip PPO, arXiv 1912.09729; `bound` is its c > 1.
    """
    loss, clipped = clip(logprobs, old_logprobs, advantages, clip_low=clip_low, clip_high=clip_high)
    most = torch.where(advantages < 0, -bound * advantages, torch.inf)
    return torch.minimum(loss, most), clipped | (loss > most)


def gspo(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    sequence_ids: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """Return the loss of `clip` with one ratio per completion, the geometric mean over its tokens.

    GSPO, arXiv 2507.18071. Each token carries its completion's loss; aggregated by sequence_mean, this is the paper's
    objective. The paper's bounds are 3e-4 and 4e-4, because such a ratio hardly moves. `sequence_ids` int64 [T].
    """
    num_tokens = sequence_sums(torch.ones_like(logprobs), sequence_ids)
    log_ratio = sequence_sums(_log_ratio(logprobs, old_logprobs), sequence_ids) / num_tokens
    return _clipped(torch.exp(log_ratio), advantages, clip_low, clip_high)


def cispo(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Return -clamp(r, 1 - clip_low, 1 + clip_high) A log policy, r without gradient: every token keeps a gradient.

    CISPO of MiniMax-M1, arXiv 2506.13585; the paper has no lower bound, which is a clip_low of 1 or more.
    """
    unclipped = ratio(logprobs, old_logprobs).detach()
    weight = torch.clamp(unclipped, 1 - clip_low, 1 + clip_high)
    return -weight * advantages * logprobs, weight != unclipped


def reinforce(logprobs: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor]:
    """Return -A log policy (Williams 1992): for one update per batch, since it has no ratio."""
    return -advantages * logprobs, torch.zeros_like(advantages, dtype=torch.bool)


def ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """Return policy / old per token, [T], bounded so that it stays finite."""
    return torch.exp(_log_ratio(logprobs, old_logprobs))


def sft_loss(logprobs: Tensor) -> Tensor:
    """Return the negative log-likelihood per token [T]."""
    return -logprobs


def token_mean(loss: Tensor, num_loss_tokens: int) -> Tensor:
    """Return the sum over tokens divided by the step's tokens (DAPO, arXiv 2503.14476). Scalar."""
    return loss.sum() / num_loss_tokens


def sequence_mean(loss: Tensor, sequence_ids: Tensor, num_sequences: int) -> Tensor:
    """Return the sum of each completion's mean over its tokens, divided by the step's completions. Scalar.

    GRPO, arXiv 2402.03300. `sequence_ids` int64 [T]: the completion of the row that a token belongs to.
    """
    return (loss / sequence_sums(torch.ones_like(loss), sequence_ids)).sum() / num_sequences


def fixed_length(loss: Tensor, num_sequences: int, length: int) -> Tensor:
    """Return the sum over tokens divided by the step's completions times a constant number of tokens. Scalar.

    The tokens of a long completion weigh no less than those of a short one (Dr. GRPO, arXiv 2503.20783).
    """
    return loss.sum() / (num_sequences * length)


def sequence_sums(values: Tensor, sequence_ids: Tensor) -> Tensor:
    """Return, at each token, the sum over the tokens of its completion: [T]."""
    num_sequences = int(sequence_ids.max()) + 1 if len(sequence_ids) else 0
    return values.new_zeros(num_sequences).index_add(0, sequence_ids, values)[sequence_ids]


def _log_ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    return torch.clamp(logprobs - old_logprobs, -_MAX_LOG_RATIO, _MAX_LOG_RATIO)


def _clipped(weight: Tensor, advantages: Tensor, clip_low: float, clip_high: float) -> tuple[Tensor, Tensor]:
    clipped = torch.clamp(weight, 1 - clip_low, 1 + clip_high)
    loss = -torch.minimum(weight * advantages, clipped * advantages)
    return loss, clipped * advantages < weight * advantages
