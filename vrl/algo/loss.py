"""Losses per token, and how they become one number. Pure torch functions; they know no model, rank or micro-batch.

All token tensors are float32 [L], one entry for each completion token of a packed row. A loss is summed over the tokens
that train and divided once by a count over the whole step, so that micro-batching, packing and ranks do not change it.
"""

import torch
from torch import Tensor


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip_low: float, clip_high: float
) -> tuple[Tensor, Tensor]:
    """Clipped ratio loss and where the clip acts (bool), both [L] (PPO, arXiv 1707.06347, equation 7, negated).

    The bounds are 1 - clip_low and 1 + clip_high; unequal bounds are clip-higher (DAPO, arXiv 2503.14476, section 3.1).
    """
    ratio = torch.exp(logprobs - old_logprobs)
    clipped = torch.clamp(ratio, 1 - clip_low, 1 + clip_high)
    loss = -torch.minimum(ratio * advantages, clipped * advantages)
    return loss, clipped * advantages < ratio * advantages


def k3_kl(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """KL(policy || reference) per token [L], from tokens that the policy sampled (GRPO, arXiv 2402.03300, equation 4).

    exp(d) - 1 - d with d = reference - policy: never negative, unbiased, of low variance ("k3" in Schulman's note
    "Approximating KL divergence").
    """
    difference = ref_logprobs - logprobs
    return torch.expm1(difference) - difference


def mismatch_kl(rollout_logprobs: Tensor, logprobs: Tensor) -> Tensor:
    """KL(engine || learner) per token [L]: how far the sampler's distribution is from the learner's on its tokens.

    The tokens were sampled by the engine, so k3 with d = learner - engine estimates this direction without bias.
    """
    difference = logprobs - rollout_logprobs
    return torch.expm1(difference) - difference


def mismatch_kl_reverse(rollout_logprobs: Tensor, logprobs: Tensor) -> Tensor:
    """KL(learner || engine) per token [L] from tokens that the engine sampled: w log w - (w - 1), w = learner / engine.

    Our definition: the k3 estimate of the other direction under the importance weight w.
    """
    difference = logprobs - rollout_logprobs
    return torch.exp(difference) * difference - torch.expm1(difference)


def sft_loss(logprobs: Tensor) -> Tensor:
    """Negative log-likelihood per token [L]."""
    return -logprobs


def token_mean(loss: Tensor, loss_mask: Tensor, num_loss_tokens: int) -> Tensor:
    """Sum over trained tokens over the step's count of them (DAPO, arXiv 2503.14476, section 3.3). Scalar."""
    return _masked(loss, loss_mask).sum() / num_loss_tokens


def sequence_mean(loss: Tensor, loss_mask: Tensor, sequence_ids: Tensor, num_sequences: int) -> Tensor:
    """Mean over each completion's trained tokens, summed, over the step's count of completions. Scalar.

    GRPO, arXiv 2402.03300, equation 3. `sequence_ids` int64 [L] says which completion of the row a token belongs to.
    """
    tokens = torch.bincount(sequence_ids, weights=loss_mask.to(loss.dtype))
    return (_masked(loss, loss_mask) / tokens.clamp(min=1)[sequence_ids]).sum() / num_sequences


def _masked(loss: Tensor, loss_mask: Tensor) -> Tensor:
    return torch.where(loss_mask, loss, torch.zeros_like(loss))  # a product would turn a masked infinity into NaN
