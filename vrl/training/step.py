"""What a step's groups do to the learner: advantages, one update or several, and what there is to tell of it.

    leave out what cannot train -> score, where asked -> advantages -> pack -> forward, backward, optimizer

Does not push weights, and knows no version and no buffer: vrl.training.driver does. Axes: G rollouts of a group.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vrl.actors.interfaces import Learner
from vrl.algo.advantage import advantages, has_signal
from vrl.algo.objective import step_metrics
from vrl.algo.packing import LIKE_TOKENS, PatchCost, pack, to_training_group
from vrl.algo.shaping import trains
from vrl.config import AlgoConfig, RunConfig
from vrl.observability.run_log import update_metrics
from vrl.types import PackedBatch, RolloutGroup, TrainingGroup

_NO_UPDATE = {"loss/policy": 0.0, "loss/mismatch_kl": 0.0}  # of no tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What the learner made of a step's groups."""

    advantages: list[np.ndarray]  # float32 [G] of every group, in their order
    untrained: dict[int, str]  # groups that did not train, by id, and why
    applied: bool  # whether the weights moved
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scores:
    """Log-probs before the first update: for each group a float32 array [C] for each completion."""

    old: list[tuple[np.ndarray, ...]]
    ref: list[tuple[np.ndarray, ...]] | None  # of the reference policy, where its KL is taken off the reward


async def learn(
    groups: Sequence[RolloutGroup], learner: Learner, config: RunConfig, patch_cost: PatchCost = LIKE_TOKENS
) -> StepResult:
    """Train on a step's groups: algo.epochs passes in algo.mini_batches updates each, packed by `patch_cost`.

    Groups that cannot train count in the baseline of the others and are not scored.
    """
    started = time.monotonic()
    algo = config.algo
    untrained = _left_out(groups, algo)
    useful = [group for group in groups if group.group_id not in untrained]
    patches = [group.patches for group in useful]
    blank = [to_training_group(group, np.zeros(len(group.rollouts)), _trains_G(group, algo)) for group in useful]
    scores = await _score(blank, patches, learner, config, patch_cost)
    credit, kl = _advantages(groups, useful, scores, algo)
    training = [
        replace(group, advantages_G=credit[rollouts.group_id]) for rollouts, group in zip(useful, blank, strict=True)
    ]
    if scores is not None and algo.old_logprobs == "learner" and algo.updates_per_step > 1:
        training = [replace(group, old_logprobs=old) for group, old in zip(training, scores.old, strict=True)]
    batches = _mini_batches(training, config, patch_cost)
    rows, applied = [], False
    for indices, batch in batches * algo.epochs:
        losses = step_metrics(await learner.forward_backward(batch, [patches[i] for i in indices]))
        update = await learner.optim_step()
        rows.append(update_metrics(losses, update))
        applied |= update.applied
    return StepResult(
        advantages=[credit[group.group_id] for group in groups],
        untrained=untrained,
        applied=applied,
        metrics={
            **(_over_updates(rows) if rows else _NO_UPDATE),
            **kl,
            **_work([batch for _, batch in batches], algo.epochs, time.monotonic() - started),
        },
    )


def _left_out(groups: Sequence[RolloutGroup], algo: AlgoConfig) -> dict[int, str]:
    """Groups that cannot train, by id, and why: no signal in their rewards, or no completion that counts.

    The spread is that of the rewards, before any KL is taken off them.
    """
    useful = has_signal([group.rewards_G for group in groups], algo)
    dull = {group.group_id: "zero_spread" for group, use in zip(groups, useful, strict=True) if not use}
    return {group.group_id: "truncated" for group in groups if not any(_trains_G(group, algo))} | dull


def _trains_G(group: RolloutGroup, algo: AlgoConfig) -> list[bool]:
    return [trains(rollout.completion, algo) for rollout in group.rollouts]


async def _score(
    groups: Sequence[TrainingGroup], patches: Sequence[Any], learner: Learner, config: RunConfig, patch_cost: PatchCost
) -> _Scores | None:
    """What the first update would change, where something is measured against it; else None."""
    algo = config.algo
    in_reward = algo.kl_coef > 0 and algo.kl_in == "reward"
    before_updates = algo.old_logprobs == "learner" and algo.updates_per_step > 1
    if not groups or not (in_reward or before_updates):
        return None
    batch = _pack(groups, config, patch_cost)
    old = await learner.logprobs(batch, patches)
    return _Scores(old=old, ref=await learner.ref_logprobs(batch, patches) if in_reward else None)


def _advantages(
    groups: Sequence[RolloutGroup], useful: Sequence[RolloutGroup], scores: _Scores | None, algo: AlgoConfig
) -> tuple[dict[int, np.ndarray], dict[str, float]]:
    """Advantages by group id and, where the KL is taken off the reward, its mean per token.

    A completion loses kl_coef x the sum of its tokens' k1, all of it at each of its tokens (RLOO, arXiv 2402.14740).
    REINFORCE++ charges a token only for those from it on, which is the same gradient in expectation.
    """
    rewards = {group.group_id: group.rewards_G for group in groups}
    metrics = {}
    if scores is not None and scores.ref is not None:
        gaps = [
            [(old - ref).astype(np.float64) for old, ref in zip(*pair, strict=True)]
            for pair in zip(scores.old, scores.ref, strict=True)
        ]
        for group, gaps_G in zip(useful, gaps, strict=True):
            rewards[group.group_id] = group.rewards_G - algo.kl_coef * np.array([gap.sum() for gap in gaps_G])
        metrics["loss/kl"] = float(np.concatenate([gap for gaps_G in gaps for gap in gaps_G]).mean())
    num_tokens = [np.array([len(rollout.completion.token_ids) for rollout in group.rollouts]) for group in groups]
    found = advantages([rewards[group.group_id] for group in groups], num_tokens, algo)
    return {group.group_id: own for group, own in zip(groups, found, strict=True)}, metrics


def _mini_batches(
    groups: Sequence[TrainingGroup], config: RunConfig, patch_cost: PatchCost
) -> list[tuple[list[int], PackedBatch]]:
    """The indices and the work of each update of a pass: near-equal runs of groups, fewer where there are fewer."""
    if not groups:
        return []
    parts = np.array_split(np.arange(len(groups)), min(config.algo.mini_batches, len(groups)))
    return [(part.tolist(), _pack([groups[i] for i in part], config, patch_cost)) for part in parts]


def _pack(groups: Sequence[TrainingGroup], config: RunConfig, patch_cost: PatchCost) -> PackedBatch:
    learner = config.learner
    return pack(groups, ranks=learner.ranks, micro_batch_tokens=learner.micro_batch_tokens, patch_cost=patch_cost)


def _over_updates(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the updates of a step that have the number; what counts or is set shows its last value."""
    names = dict.fromkeys(name for row in rows for name in row)
    means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    return means | {name: rows[-1][name] for name in ("learner/lr", "learner/nonfinite_steps")}


def _work(batches: Sequence[PackedBatch], passes: int, seconds: float) -> dict[str, float]:
    """How much went through the learner, and how fast."""
    num_tokens = sum(batch.num_tokens for batch in batches)
    num_unshared = sum(batch.num_unshared_tokens for batch in batches)
    return {
        "pack/loss_tokens": float(sum(batch.counts.num_loss_tokens for batch in batches)),
        "pack/shared_token_frac": 1 - num_tokens / num_unshared if num_unshared else 0.0,
        "pack/pad_frac": float(np.mean([batch.pad_frac for batch in batches])) if batches else 0.0,
        "learn/seconds": seconds,
        "learner/tokens_per_s": passes * num_tokens / seconds,
    }
