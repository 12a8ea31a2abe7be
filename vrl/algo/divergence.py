"""How far apart two policies are, estimated per token from tokens that one of them sampled. Pure torch functions.

Log-probs are float32 [T], one entry for each token. k1, k2 and k3 are named as in Schulman's note "Approximating KL
divergence" (2020). Does not decide where a divergence goes: into the loss, into the reward, or into the log.
"""

import torch
from torch import Tensor


def kl(logprobs: Tensor, ref_logprobs: Tensor, estimator: str, clamp: float = 0.0) -> Tensor:
    """KL(policy || reference) per token [T] by k1, k2 or k3, from tokens that the policy sampled.

    With `clamp`, reference - policy counts within +-clamp nats, as in Video-R1's public training code (10); a token
    beyond it then has no gradient from here.
    """
    if clamp:
        ref_logprobs = logprobs + (ref_logprobs - logprobs).clamp(-clamp, clamp)
    return {"k1": k1, "k2": k2, "k3": k3}[estimator](logprobs, ref_logprobs)


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """log policy - log reference: unbiased, of either sign. Its own gradient does not see the reference.

    So it serves in a reward, where it alone gives the gradient of the KL, and not in a loss (arXiv 2506.09477,
    2512.21852).
    """
    return logprobs - ref_logprobs


def k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """Half the squared log-ratio: biased, but its gradient estimates that of the token's KL without bias.

    As every KL in a loss it does not see what a token does to the KL of those after it (arXiv 2506.09477).
    """
    return 0.5 * (logprobs - ref_logprobs).square()


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """exp(d) - 1 - d with d = reference - policy: never negative, unbiased (GRPO, arXiv 2402.03300)."""
    difference = ref_logprobs - logprobs
    return torch.expm1(difference) - difference


def mismatch_kl(rollout_logprobs: Tensor, logprobs: Tensor) -> Tensor:
    """KL(engine || learner) per token [T]: how far the sampler's distribution is from the learner's on its tokens.

    The tokens were sampled by the engine, so k3 with d = learner - engine estimates this direction without bias.
    """
    return k3(rollout_logprobs, logprobs)


def mismatch_kl_reverse(rollout_logprobs: Tensor, logprobs: Tensor) -> Tensor:
    """KL(learner || engine) per token [T] from tokens that the engine sampled: w log w - (w - 1), w = learner / engine.

    Our definition: the k3 estimate of the other direction under the importance weight w.
    """
    difference = logprobs - rollout_logprobs
    return torch.exp(difference) * difference - torch.expm1(difference)
