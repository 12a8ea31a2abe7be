"""From rollout groups to one optimizer step's work, and from a micro-batch to one packed row. Pure numpy.

A group is never split: its prompt (and clip) is computed once for all its completions. The row is
[prompt 1 | completion 11 | .. | completion 1G | prompt 2 | ..]. Does not compute advantages and holds no pixels.
Axes: N row tokens, L completion tokens of the row, G completions of a group, V vision slots.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vrl.algo.positions import PositionRule, completion_positions, prompt_positions, vision_slots
from vrl.errors import DataError
from vrl.types import MicroBatch, PackedBatch, RolloutGroup, StepCounts, TrainingGroup, VisionGrid


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSpan:
    """The place of one group in a packed row."""

    start: int
    prompt_length: int
    completion_lengths: tuple[int, ...]

    @property
    def prompt_end(self) -> int:
        return self.start + self.prompt_length

    @property
    def end(self) -> int:
        return self.prompt_end + sum(self.completion_lengths)


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedRow:
    """A micro-batch as one row; without groups, one inert token, so that its rank still takes part in collectives."""

    token_ids_N: np.ndarray  # int64
    positions_3N: np.ndarray  # int64, rotary: time, height, width
    spans: tuple[GroupSpan, ...]
    vision_slots_V: np.ndarray  # int64, row indices, in the order of the patches
    vision: tuple[VisionGrid, ...]  # in the order of the patches
    predictors_L: np.ndarray  # int64, row index of the hidden state that predicts each completion token
    targets_L: np.ndarray  # int64, the completion tokens
    loss_mask_L: np.ndarray  # bool
    advantages_L: np.ndarray  # float32, the completion's advantage at each of its tokens
    rollout_logprobs_L: np.ndarray  # float32; zeros in SFT
    old_logprobs_L: np.ndarray | None  # float32; None if the row's own log-probs are the old ones
    sequence_ids_L: np.ndarray  # int64, the completion of the row

    @property
    def completion_lengths(self) -> tuple[int, ...]:
        return tuple(length for span in self.spans for length in span.completion_lengths)


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchCost:
    """The cost of a vision patch in language tokens; vrl.sizing.costs computes it for a model."""

    work: float  # arithmetic of a forward and a backward pass
    memory: float  # bytes of activations


LIKE_TOKENS = PatchCost(work=1.0, memory=0.0)  # if the model's shape is unknown: a token's work, and no memory


def to_training_group(
    group: RolloutGroup,
    advantages_G: np.ndarray,
    trains_G: Sequence[bool],
    old_logprobs: tuple[np.ndarray, ...] = (),
) -> TrainingGroup:
    """Return the learner's part of a scored group. Raises DataError for an empty completion.

    `advantages_G`: one number per rollout; `trains_G`: whether all of its tokens train, or none; `old_logprobs`: as in
    TrainingGroup.
    """
    completions = tuple(rollout.completion for rollout in group.rollouts)
    if any(len(completion.token_ids) == 0 for completion in completions):
        raise DataError(f"group {group.group_id}: got a completion without tokens, wanted at least one")
    return TrainingGroup(
        prompt_token_ids=group.prompt.token_ids,
        vision=group.prompt.vision,
        completions=tuple(completion.token_ids for completion in completions),
        loss_masks=tuple(
            np.full(len(completion.token_ids), trains) for completion, trains in zip(completions, trains_G, strict=True)
        ),
        advantages_G=np.asarray(advantages_G, dtype=np.float32),
        rollout_logprobs=tuple(completion.rollout_logprobs for completion in completions),
        old_logprobs=old_logprobs,
    )


def to_sft_group(prompt_token_ids: np.ndarray, vision: tuple[VisionGrid, ...], target_ids: np.ndarray) -> TrainingGroup:
    """Return a group of one whose completion is the target; every target token trains."""
    return TrainingGroup(
        prompt_token_ids=prompt_token_ids,
        vision=vision,
        completions=(target_ids,),
        loss_masks=(np.ones(len(target_ids), dtype=bool),),
        advantages_G=np.ones(1, dtype=np.float32),
    )


def pack(
    groups: Sequence[TrainingGroup], *, ranks: int, micro_batch_tokens: int, patch_cost: PatchCost = LIKE_TOKENS
) -> PackedBatch:
    """Spread groups over ranks and micro-batches, balanced by work, the same number of micro-batches on every rank.

    A micro-batch holds at most `micro_batch_tokens` language tokens; patches count as the tokens whose memory they
    take, and a larger group gets its own. Ranks with fewer micro-batches get empty ones: a forward is a collective.
    Deterministic in the order of `groups`.
    """
    work = [group.num_tokens + patch_cost.work * group.num_patches for group in groups]
    size = [group.num_tokens + patch_cost.memory * group.num_patches for group in groups]
    bins = [_fill(indices, work, size, micro_batch_tokens) for indices in _spread(work, ranks)]
    depth = max(len(rank_bins) for rank_bins in bins)
    layers = [[sum(work[i] for i in b[k]) if k < len(b) else 0 for b in bins] for k in range(depth)]
    lockstep = ranks * sum(max(layer) for layer in layers)
    return PackedBatch(
        micro_batches=tuple(
            tuple(
                MicroBatch(groups=tuple(groups[i] for i in indices), group_indices=tuple(indices))
                for indices in rank_bins + [[]] * (depth - len(rank_bins))
            )
            for rank_bins in bins
        ),
        counts=StepCounts(
            num_loss_tokens=sum(group.num_loss_tokens for group in groups),
            num_sequences=sum(bool(mask.any()) for group in groups for mask in group.loss_masks),
        ),
        num_tokens=sum(group.num_tokens for group in groups),
        num_unshared_tokens=sum(
            group.num_tokens + (len(group.completions) - 1) * len(group.prompt_token_ids) for group in groups
        ),
        pad_frac=1 - sum(work) / lockstep if lockstep else 0.0,
    )


def flatten(micro_batch: MicroBatch, rule: PositionRule) -> PackedRow:
    """Lay a micro-batch out as one row, with positions and vision slots by the family's rule."""
    if not micro_batch.groups:
        return _inert_row()
    spans, tokens, positions, slots, predictors = [], [], [], [], []
    for group in micro_batch.groups:
        start = spans[-1].end if spans else 0
        span = GroupSpan(
            start=start,
            prompt_length=len(group.prompt_token_ids),
            completion_lengths=tuple(len(completion) for completion in group.completions),
        )
        prompt_3P = prompt_positions(group.prompt_token_ids, group.vision, rule)
        spans.append(span)
        tokens += [group.prompt_token_ids, *group.completions]
        positions += [prompt_3P, *(completion_positions(prompt_3P, len(c)) for c in group.completions)]
        slots.append(vision_slots(group.prompt_token_ids, group.vision, rule) + start)
        predictors += _predictors(span)
    old_logprobs = [
        logprobs for group in micro_batch.groups for logprobs in group.old_logprobs
    ]  # of all groups or none
    completions = [completion for group in micro_batch.groups for completion in group.completions]
    lengths = [len(completion) for completion in completions]
    advantages = np.concatenate([group.advantages_G for group in micro_batch.groups])
    return PackedRow(
        token_ids_N=np.concatenate(tokens),
        positions_3N=np.concatenate(positions, axis=1),
        spans=tuple(spans),
        vision_slots_V=np.concatenate(slots),
        vision=tuple(grid for group in micro_batch.groups for grid in group.vision),
        predictors_L=np.concatenate(predictors),
        targets_L=np.concatenate(completions),
        loss_mask_L=np.concatenate([mask for group in micro_batch.groups for mask in group.loss_masks]),
        advantages_L=np.repeat(advantages, lengths).astype(np.float32),
        rollout_logprobs_L=_rollout_logprobs(micro_batch),
        old_logprobs_L=np.concatenate(old_logprobs).astype(np.float32) if old_logprobs else None,
        sequence_ids_L=np.repeat(np.arange(len(lengths)), lengths),
    )


def _spread(work: Sequence[float], ranks: int) -> list[list[int]]:
    """Return the group indices of each rank: the costliest first, each to the rank with the least work so far."""
    loads, indices = [0.0] * ranks, [[] for _ in range(ranks)]
    for i in sorted(range(len(work)), key=lambda i: -work[i]):
        rank = loads.index(min(loads))
        loads[rank] += work[i]
        indices[rank].append(i)
    return indices


def _fill(indices: list[int], work: Sequence[float], size: Sequence[float], most: int) -> list[list[int]]:
    """Pack first fit, then order the costliest first, so that the k-th micro-batches of all ranks have similar work."""
    bins: list[list[int]] = []
    for i in indices:
        fits = (b for b in bins if sum(size[j] for j in b) + size[i] <= most)
        if (target := next(fits, None)) is None:
            bins.append([i])
        else:
            target.append(i)
    bins.sort(key=lambda b: -sum(work[i] for i in b))
    return [sorted(b) for b in bins] or [[]]


def _predictors(span: GroupSpan) -> list[np.ndarray]:
    """Return predictor indices: the prompt's last token for a first token, the token before for the others."""
    found, start = [], span.prompt_end
    for length in span.completion_lengths:
        found.append(np.concatenate([[span.prompt_end - 1], np.arange(start, start + length - 1)]))
        start += length
    return found


def _rollout_logprobs(micro_batch: MicroBatch) -> np.ndarray:
    arrays = [
        group.rollout_logprobs or tuple(np.zeros(len(c), dtype=np.float32) for c in group.completions)
        for group in micro_batch.groups
    ]
    return np.concatenate([array for group in arrays for array in group]).astype(np.float32)


def _inert_row() -> PackedRow:
    """Return a row of one prompt token and one untrained completion token, both with id 0."""
    return PackedRow(
        token_ids_N=np.zeros(2, dtype=np.int64),
        positions_3N=np.broadcast_to(np.arange(2), (3, 2)),
        spans=(GroupSpan(start=0, prompt_length=1, completion_lengths=(1,)),),
        vision_slots_V=np.zeros(0, dtype=np.int64),
        vision=(),
        predictors_L=np.zeros(1, dtype=np.int64),
        targets_L=np.zeros(1, dtype=np.int64),
        loss_mask_L=np.zeros(1, dtype=bool),
        advantages_L=np.zeros(1, dtype=np.float32),
        rollout_logprobs_L=np.zeros(1, dtype=np.float32),
        old_logprobs_L=None,
        sequence_ids_L=np.zeros(1, dtype=np.int64),
    )
