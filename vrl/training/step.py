"""One step of learning: from a step's groups to one or several updates of the learner and their metrics.

    select what trains -> score, if needed -> advantages -> pack -> forward, backward, optimizer

Knows neither versions nor the buffer and syncs no weights: vrl.training.driver does. Axes: G rollouts of a group, C
tokens of a completion.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vrl.actors.interfaces import Learner
from vrl.algo.advantage import advantages, has_signal
from vrl.algo.objective import step_metrics
from vrl.algo.packing import LIKE_TOKENS, PatchCost, pack, to_training_group
from vrl.algo.shaping import trains
from vrl.config import AlgoConfig, RunConfig
from vrl.observability.run_log import update_metrics
from vrl.types import PackedBatch, RolloutGroup

_NO_UPDATE = {"loss/policy": 0.0, "loss/mismatch_kl": 0.0}  # of no tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupStep:
    """One group in a step: its rollouts, which of them train, and their advantages."""

    group: RolloutGroup
    trains_G: tuple[bool, ...]  # whether the tokens of each completion train
    untrained: str  # why none of its completions trains; empty if any does
    old_logprobs: tuple[np.ndarray, ...] = ()  # float32 [C] a completion, before the first update; empty if not needed
    ref_logprobs: tuple[np.ndarray, ...] = ()  # same, of the reference policy; only if its KL is in the reward
    advantages_G: np.ndarray  # float32 [G]; zero until they are computed

    @property
    def kl_G(self) -> list[np.ndarray]:
        """k1 of policy and reference at every token, float64 [C] a completion; empty without `ref_logprobs`."""
        pairs = zip(self.old_logprobs, self.ref_logprobs, strict=True) if self.ref_logprobs else ()
        return [(old - ref).astype(np.float64) for old, ref in pairs]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """The result of training on a step's groups."""

    groups: list[GroupStep]  # in the order of the step
    applied: bool  # whether the weights moved
    metrics: dict[str, float]

    @property
    def advantages(self) -> list[np.ndarray]:
        """float32 [G] of every group."""
        return [step.advantages_G for step in self.groups]

    @property
    def untrained(self) -> dict[int, str]:
        """Reasons why groups did not train, by group id."""
        return {step.group.group_id: step.untrained for step in self.groups if step.untrained}


async def learn(
    groups: Sequence[RolloutGroup], learner: Learner, config: RunConfig, patch_cost: PatchCost = LIKE_TOKENS
) -> StepResult:
    """Train on a step's groups: algo.epochs passes in algo.mini_batches updates each, packed by `patch_cost`.

    Groups that cannot train count in the baseline of the others and are not scored.
    """
    started = time.monotonic()
    algo = config.algo
    steps = await _score(_select(groups, algo), learner, config, patch_cost)
    steps = _credit(steps, algo)
    trained = [step for step in steps if not step.untrained]
    batches = _mini_batches(trained, config, patch_cost)
    rows, applied = [], False
    for part, batch in batches * algo.epochs:
        losses = step_metrics(await learner.forward_backward(batch, [step.group.patches for step in part]))
        update = await learner.optim_step()
        rows.append(update_metrics(losses, update))
        applied |= update.applied
    metrics = _over_updates(rows) if rows else dict(_NO_UPDATE)
    if any(step.ref_logprobs for step in trained):
        metrics["loss/kl"] = float(np.concatenate([kl for step in trained for kl in step.kl_G]).mean())
    metrics |= _work([batch for _, batch in batches], algo.epochs, time.monotonic() - started)
    return StepResult(groups=steps, applied=applied, metrics=metrics)


def _select(groups: Sequence[RolloutGroup], algo: AlgoConfig) -> list[GroupStep]:
    """Select the completions that train: none of a group whose rewards, before any KL, have no signal."""
    steps = []
    for group, signal in zip(groups, has_signal(groups, algo), strict=True):
        trains_G = tuple(trains(rollout.completion, algo) for rollout in group.rollouts)
        untrained = "zero_spread" if not signal else "" if any(trains_G) else "truncated"
        zeros = np.zeros(len(group.rollouts), np.float32)
        steps.append(GroupStep(group=group, trains_G=trains_G, untrained=untrained, advantages_G=zeros))
    return steps


async def _score(steps: list[GroupStep], learner: Learner, config: RunConfig, patch_cost: PatchCost) -> list[GroupStep]:
    """Add the log-probs before the first update to the groups that train, if a loss or a reward needs them."""
    algo = config.algo
    in_reward = algo.kl_coef > 0 and algo.kl_in == "reward"
    trained = [step for step in steps if not step.untrained]
    if not trained or not (in_reward or _needs_old(algo)):
        return steps
    batch, patches = _pack(trained, config, patch_cost), [step.group.patches for step in trained]
    old = iter(await learner.logprobs(batch, patches))
    ref = iter(await learner.ref_logprobs(batch, patches) if in_reward else [()] * len(trained))
    return [step if step.untrained else replace(step, old_logprobs=next(old), ref_logprobs=next(ref)) for step in steps]


def _needs_old(algo: AlgoConfig) -> bool:
    """Return whether the ratio needs the learner's log-probs before the step; with one update they are its own."""
    return algo.old_logprobs == "learner" and algo.updates_per_step > 1


def _credit(steps: list[GroupStep], algo: AlgoConfig) -> list[GroupStep]:
    """Add the advantages, also to untrained groups.

    kl_coef x the sum of its tokens' k1 is subtracted from a completion's reward (RLOO, arXiv 2402.14740). REINFORCE++
    charges a token only for itself and later tokens, which has the same gradient in expectation.
    """
    rewards = [
        step.group.rewards_G - algo.kl_coef * np.array([kl.sum() for kl in step.kl_G])
        if step.ref_logprobs
        else step.group.rewards_G
        for step in steps
    ]
    num_tokens = [np.array([len(r.completion.token_ids) for r in step.group.rollouts]) for step in steps]
    found = advantages(rewards, num_tokens, algo)
    return [replace(step, advantages_G=advantages_G) for step, advantages_G in zip(steps, found, strict=True)]


def _mini_batches(
    steps: Sequence[GroupStep], config: RunConfig, patch_cost: PatchCost
) -> list[tuple[Sequence[GroupStep], PackedBatch]]:
    """Split the groups of a pass into near-equal consecutive parts, one per update, each with its packed batch."""
    if not steps:
        return []
    bounds = np.array_split(np.arange(len(steps)), min(config.algo.mini_batches, len(steps)))
    parts = [steps[indices[0] : indices[-1] + 1] for indices in bounds]
    return [(part, _pack(part, config, patch_cost)) for part in parts]


def _pack(steps: Sequence[GroupStep], config: RunConfig, patch_cost: PatchCost) -> PackedBatch:
    learner, keeps_old = config.learner, _needs_old(config.algo)
    groups = [
        to_training_group(step.group, step.advantages_G, step.trains_G, step.old_logprobs if keeps_old else ())
        for step in steps
    ]
    return pack(groups, ranks=learner.ranks, micro_batch_tokens=learner.micro_batch_tokens, patch_cost=patch_cost)


def _over_updates(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Average each metric over the updates that report it; counters and the learning rate take their last value."""
    names = dict.fromkeys(name for row in rows for name in row)
    means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
    return means | {name: rows[-1][name] for name in ("learner/lr", "learner/nonfinite_steps")}


def _work(batches: Sequence[PackedBatch], passes: int, seconds: float) -> dict[str, float]:
    """Return the learner's token counts and throughput."""
    num_tokens = sum(batch.num_tokens for batch in batches)
    num_unshared = sum(batch.num_unshared_tokens for batch in batches)
    return {
        "pack/loss_tokens": float(sum(batch.counts.num_loss_tokens for batch in batches)),
        "pack/shared_token_frac": 1 - num_tokens / num_unshared if num_unshared else 0.0,
        "pack/pad_frac": float(np.mean([batch.pad_frac for batch in batches])) if batches else 0.0,
        "learn/seconds": seconds,
        "learner/tokens_per_s": passes * num_tokens / seconds,
    }
