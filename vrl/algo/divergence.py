"""Divergence of two policies, estimated per token from tokens that one of them sampled. Pure torch functions.

Log-probs are float32 [T], one entry per token. k1, k2 and k3 are named as in Schulman's note "Approximating KL
divergence" (2020). Does not decide whether a divergence enters the loss, the reward or the log.
"""

import torch
from torch import Tensor


def kl(logprobs: Tensor, ref_logprobs: Tensor, estimator: str, clamp: float = 0.0) -> Tensor:
    """Return KL(policy || reference) per token [T] by k1, k2 or k3, from tokens that the policy sampled.

    `clamp` limits reference - policy to +-clamp nats, as in Video-R1's public training code (10); a token beyond the
    limit gets no gradient from the KL.
    """
    if clamp:
        ref_logprobs = logprobs + (ref_logprobs - logprobs).clamp(-clamp, clamp)
    return {"k1": k1, "k2": k2, "k3": k3}[estimator](logprobs, ref_logprobs)


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return log policy - log reference: unbiased, of either sign. Its own gradient does not depend on the reference.

    It is therefore for rewards, where only k1 gives the gradient of the KL, not for losses (arXiv 2506.09477,
    2512.21852).
    """
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return half the squared log-ratio: biased, but its gradient is an unbiased estimate of the token's KL gradient.

    Like every KL in a loss, it ignores a token's effect on the KL of later tokens (arXiv 2506.09477).
    """
    return 0.5 * (logprobs - ref_logprobs).square()


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Return exp(d) - 1 - d with d = reference - policy: never negative, unbiased (GRPO, arXiv 2402.03300)."""
    difference = ref_logprobs - logprobs
    return torch.expm1(difference) - difference


def mismatch_kl(rollout_logprobs: Tensor, logprobs: Tensor) -> Tensor:
    """Return KL(engine || learner) per token [T], on tokens that the engine sampled.

    Since the engine sampled them, k3 with d = learner - engine estimates this direction without bias.
    """
    return k3(rollout_logprobs, logprobs)


def mismatch_kl_reverse(rollout_logprobs: Tensor, logprobs: Tensor) -> Tensor:
    """Return KL(learner || engine) per token [T]: w log w - (w - 1), w = learner / engine, on the engine's tokens.

    Our definition: the k3 estimate of the other direction under the importance weight w.
    """
    difference = logprobs - rollout_logprobs
    return torch.exp(difference) * difference - torch.expm1(difference)
