"""The objective of a step: one micro-batch's part of the loss, from log-probs to a scalar. Pure torch.

    loss = aggregate(correction weight x policy loss + kl_coef x KL - entropy_coef x entropy)

Losses, divergences and weights are in their own files. Knows no model, rank or optimizer.
Axes: L completion tokens of a packed row, T its trained tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vrl.algo import loss as losses
from vrl.algo.correction import correction_weights, effective_share
from vrl.algo.divergence import kl, mismatch_kl, mismatch_kl_reverse
from vrl.algo.packing import PackedRow
from vrl.config import AlgoConfig
from vrl.types import StepCounts


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """The trained tokens of a row, in its order. Float32 [T] except for the ids."""

    logprobs: Tensor  # of the policy, with gradient
    entropy: Tensor  # with gradient only if algo.entropy_coef > 0
    old_logprobs: Tensor  # the learner's before the step's first update
    rollout_logprobs: Tensor  # the engine's, when the token was sampled
    ref_logprobs: Tensor | None  # of the reference policy; None: no KL in the loss
    advantages: Tensor  # of the token's completion
    sequence_ids: Tensor  # int64: the completion of the row


def trained_tokens(row: PackedRow, logprobs_L: Tensor, entropy_L: Tensor, ref_logprobs_L: Tensor | None) -> Tokens:
    """Return the trained tokens of a scored row. Without stored old log-probs, the current ones are the old ones.

    Selecting tokens, instead of multiplying by a mask, keeps infinities of the others out of the gradient.
    """
    mask_L = torch.from_numpy(row.loss_mask_L).to(logprobs_L.device)

    def take(array_L: Tensor) -> Tensor:
        return array_L.to(mask_L.device)[mask_L]

    logprobs = take(logprobs_L)
    old = logprobs.detach() if row.old_logprobs_L is None else take(torch.from_numpy(row.old_logprobs_L))
    return Tokens(
        logprobs=logprobs,
        entropy=take(entropy_L),
        old_logprobs=old,
        rollout_logprobs=take(torch.from_numpy(row.rollout_logprobs_L)),
        ref_logprobs=None if ref_logprobs_L is None else take(ref_logprobs_L),
        advantages=take(torch.from_numpy(row.advantages_L)),
        sequence_ids=take(torch.from_numpy(row.sequence_ids_L)),
    )


def objective(tokens: Tokens, config: AlgoConfig, counts: StepCounts) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the micro-batch's share of the step's loss (scalar, with gradient) and of its metrics (without).

    `counts` are the step's, over all micro-batches and ranks, so that shares simply add up; `step_metrics` turns
    summed shares of metrics into the step's metrics.
    """
    old = tokens.rollout_logprobs if config.old_logprobs == "rollout" else tokens.old_logprobs
    policy, clipped = policy_loss(tokens, old, config)
    means = {
        "loss/mismatch_kl": mismatch_kl(tokens.rollout_logprobs, tokens.old_logprobs),
        "loss/mismatch_kl_reverse": mismatch_kl_reverse(tokens.rollout_logprobs, tokens.old_logprobs),
        "loss/entropy": tokens.entropy.detach(),
        "loss/clip_frac": clipped.float(),
        "loss/ratio_gap": losses.ratio(tokens.logprobs.detach(), old).sub(1).abs(),
    }
    if config.correction != "none":
        weight, cut = correction_weights(
            old,
            tokens.rollout_logprobs,
            tokens.sequence_ids,
            kind=config.correction,
            low=config.correction_low,
            high=config.correction_high,
        )
        policy = weight * policy
        means |= {"weight": weight, "weight_square": weight.square(), "loss/corrected_frac": cut.float()}
    total = policy
    if tokens.ref_logprobs is not None:
        divergence = kl(tokens.logprobs, tokens.ref_logprobs, config.kl_estimator, config.kl_clamp)
        total = total + config.kl_coef * divergence
        means["loss/kl"] = divergence.detach()
    if config.entropy_coef:
        total = total - config.entropy_coef * tokens.entropy
    metrics = {name: losses.token_mean(values, counts.num_loss_tokens) for name, values in means.items()}
    metrics["loss/policy"] = aggregate(policy.detach(), tokens.sequence_ids, config, counts)
    return aggregate(total, tokens.sequence_ids, config, counts), metrics


def policy_loss(tokens: Tokens, old_logprobs: Tensor, config: AlgoConfig) -> tuple[Tensor, Tensor]:
    """Return the configured policy loss per token and the tokens that its bounds cut; see vrl.algo.loss."""
    bounds = {"clip_low": config.clip_low, "clip_high": config.clip_high}
    arguments = (tokens.logprobs, old_logprobs, tokens.advantages)
    match config.policy_loss:
        case "clip":
            return losses.clip(*arguments, **bounds)
        case "dual_clip":
            return losses.dual_clip(*arguments, **bounds, bound=config.dual_clip)
        case "gspo":
            return losses.gspo(*arguments, tokens.sequence_ids, **bounds)
        case "cispo":
            return losses.cispo(*arguments, **bounds)
        case _:
            return losses.reinforce(tokens.logprobs, tokens.advantages)


def aggregate(loss: Tensor, sequence_ids: Tensor, config: AlgoConfig, counts: StepCounts) -> Tensor:
    """Return the micro-batch's share of the step's scalar from token losses [T], by the configured rule."""
    match config.loss_aggregation:
        case "token_mean":
            return losses.token_mean(loss, counts.num_loss_tokens)
        case "sequence_mean":
            return losses.sequence_mean(loss, sequence_ids, counts.num_sequences)
        case _:
            return losses.fixed_length(loss, counts.num_sequences, config.fixed_length)


def step_metrics(sums: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of an update from the summed shares: the effective sample size is a quotient of sums."""
    metrics = dict(sums)
    if "weight" in metrics:
        metrics["loss/ess_frac"] = effective_share(metrics.pop("weight"), metrics.pop("weight_square"))
    return metrics
