from dataclasses import replace

import numpy as np
import pytest

from vrl.algo.packing import PatchCost, flatten, pack, to_sft_group, to_training_group
from vrl.algo.positions import PositionRule
from vrl.errors import DataError
from vrl.types import Completion, MicroBatch, Prompt, Reward, Rollout, RolloutGroup, Sample, TrainingGroup, VersionSpan
from vrl.types import VisionGrid as Grid

RULE = PositionRule(family="qwen2_vl", image_token_id=90, video_token_id=91, spatial_merge_size=2)


def group(prompt_length, lengths, *, vision=(), advantage=1.0):
    return TrainingGroup(
        prompt_token_ids=np.arange(prompt_length),
        vision=vision,
        completions=tuple(np.full(length, 50 + g) for g, length in enumerate(lengths)),
        loss_masks=tuple(np.ones(length, dtype=bool) for length in lengths),
        advantages_G=np.full(len(lengths), advantage, dtype=np.float32) * np.arange(1, len(lengths) + 1),
        rollout_logprobs=tuple(np.full(length, -0.1 * (g + 1), dtype=np.float32) for g, length in enumerate(lengths)),
    )


def indices(batch):
    return [[list(micro_batch.group_indices) for micro_batch in rank] for rank in batch.micro_batches]


def test_row_of_two_groups():
    clip = TrainingGroup(
        prompt_token_ids=np.array([7, 91, 91, 8]),
        vision=(Grid(kind="video", grid_thw=(2, 2, 2)),),
        completions=(np.array([20, 21]), np.array([22])),
        loss_masks=(np.array([True, False]), np.array([True])),
        advantages_G=np.array([0.5, -0.5], dtype=np.float32),
        rollout_logprobs=(np.array([-1, -2], dtype=np.float32), np.array([-3], dtype=np.float32)),
    )
    text = group(2, [2], advantage=2.0)
    row = flatten(MicroBatch(groups=(clip, text), group_indices=(0, 1)), RULE)
    assert row.token_ids_N.tolist() == [7, 91, 91, 8, 20, 21, 22, 0, 1, 50, 50]
    # The clip's time axis ends at 2, so text continues at 3; both completions at 4; the second group starts anew.
    assert row.positions_3N[0].tolist() == [0, 1, 2, 3, 4, 5, 4, 0, 1, 2, 3]
    assert row.positions_3N[1].tolist() == [0, 1, 1, 3, 4, 5, 4, 0, 1, 2, 3]
    assert row.vision_slots_V.tolist() == [1, 2]
    assert row.predictors_L.tolist() == [3, 4, 3, 8, 9]  # first tokens are predicted from the prompt's last token
    assert row.targets_L.tolist() == [20, 21, 22, 50, 50]
    assert row.loss_mask_L.tolist() == [True, False, True, True, True]
    assert row.advantages_L.tolist() == [0.5, 0.5, -0.5, 2.0, 2.0]
    assert row.rollout_logprobs_L.tolist() == pytest.approx([-1, -2, -3, -0.1, -0.1])
    assert row.old_logprobs_L is None
    assert row.sequence_ids_L.tolist() == [0, 0, 1, 2, 2]
    assert [(span.start, span.prompt_end, span.end) for span in row.spans] == [(0, 4, 7), (7, 9, 11)]


def test_old_logprobs_follow_the_order_of_the_row():
    first = replace(group(2, [2, 1]), old_logprobs=(np.array([-1.0, -2.0]), np.array([-3.0])))
    second = replace(group(3, [1]), old_logprobs=(np.array([-4.0]),))
    row = flatten(MicroBatch(groups=(second, first), group_indices=(1, 0)), RULE)
    assert row.old_logprobs_L.tolist() == [-4.0, -1.0, -2.0, -3.0]


def test_an_empty_micro_batch_is_one_token_that_does_not_train():
    row = flatten(MicroBatch(groups=(), group_indices=()), RULE)
    assert len(row.targets_L) == 1
    assert not row.loss_mask_L.any()


def test_micro_batches_respect_the_budget_and_never_split_a_group():
    groups = [group(10, [5, 5]), group(4, [3]), group(100, [50]), group(6, [4])]  # 20, 7, 150 and 10 tokens
    batch = pack(groups, ranks=1, micro_batch_tokens=30)
    assert indices(batch) == [[[2], [0, 3], [1]]]
    assert batch.num_tokens == 187
    assert batch.num_unshared_tokens == 197  # the first group's prompt once more
    assert (batch.counts.num_loss_tokens, batch.counts.num_sequences) == (67, 5)


def test_ranks_get_similar_work_and_the_same_number_of_micro_batches():
    heavy = Grid(kind="video", grid_thw=(4, 10, 10))  # 400 patches outweigh the tokens
    groups = [group(10, [5]), group(10, [5], vision=(heavy,)), group(10, [5]), group(10, [5])]
    batch = pack(groups, ranks=2, micro_batch_tokens=15)
    assert indices(batch) == [[[1], [], []], [[0], [2], [3]]]


def test_patches_count_by_their_cost():
    clip = Grid(kind="video", grid_thw=(1, 5, 8))  # 40 patches
    groups = [group(8, [2], vision=(clip,)), group(8, [2], vision=(clip,)), group(20, [5])]  # 10, 10 and 25 tokens
    # Each takes the memory of 10 + 40 x 0.25 = 20 tokens: two clips fit into 40, but not with the text.
    batch = pack(groups, ranks=1, micro_batch_tokens=40, patch_cost=PatchCost(work=0.1, memory=0.25))
    assert indices(batch) == [[[0, 1], [2]]]  # 28 and 25 of work
    # Each is 10 + 40 x 0.1 = 14 of work: the text alone costs more than one clip, and equals neither pair.
    batch = pack(groups, ranks=2, micro_batch_tokens=100, patch_cost=PatchCost(work=0.1, memory=0.25))
    assert indices(batch) == [[[2]], [[0, 1]]]


def test_padding_is_the_fraction_of_work_that_ranks_wait_for():
    # Micro-batches of 30 and 10 on one rank, 20 on the other: in lockstep they take 2 x (30 + 10) for 60 of work.
    batch = pack([group(20, [10]), group(15, [5]), group(8, [2])], ranks=2, micro_batch_tokens=30)
    assert indices(batch) == [[[0]], [[1, 2]]] and batch.pad_frac == 0
    batch = pack([group(20, [10]), group(15, [5]), group(8, [2])], ranks=2, micro_batch_tokens=20)
    assert indices(batch) == [[[0], []], [[1], [2]]]
    assert batch.pad_frac == pytest.approx(1 - 60 / (2 * (30 + 10)))
    assert pack([], ranks=2, micro_batch_tokens=20).pad_frac == 0


def test_a_rank_without_groups_gets_empty_micro_batches():
    batch = pack([group(3, [1])], ranks=3, micro_batch_tokens=100)
    assert indices(batch) == [[[0]], [[]], [[]]]
    assert batch.micro_batches[1][0].groups == ()


def test_a_completion_without_trained_tokens_is_no_sequence():
    silent = TrainingGroup(
        prompt_token_ids=np.arange(2),
        vision=(),
        completions=(np.array([1]), np.array([2])),
        loss_masks=(np.array([True]), np.array([False])),
        advantages_G=np.zeros(2, dtype=np.float32),
    )
    batch = pack([silent], ranks=1, micro_batch_tokens=10)
    assert (batch.counts.num_sequences, batch.counts.num_loss_tokens) == (1, 1)


def rollout_group(*token_lists):
    rollouts = tuple(
        Rollout(
            completion=Completion(
                token_ids=np.array(tokens, dtype=np.int64),
                rollout_logprobs=np.full(len(tokens), -1.0, dtype=np.float32),
                text="",
                finish_reason="stop",
                versions=(VersionSpan(start=0, end=len(tokens), policy_version=3),),
            ),
            reward=Reward(value=1.0),
        )
        for tokens in token_lists
    )
    sample = Sample(sample_id="a", task="vqa", question="?")
    return RolloutGroup(
        group_id=7, prompt=Prompt(sample=sample, token_ids=np.arange(4)), patches=None, ordinal=0, rollouts=rollouts
    )


def test_every_sampled_token_of_a_rollout_trains():
    found = to_training_group(rollout_group([1, 2], [3]), np.array([0.5, -0.5]), [True, True])
    assert [c.tolist() for c in found.completions] == [[1, 2], [3]]
    assert [m.tolist() for m in found.loss_masks] == [[True, True], [True]]
    assert found.advantages_G.dtype == np.float32
    assert found.num_tokens == 7


def test_an_empty_completion_is_refused():
    with pytest.raises(DataError, match="group 7"):
        to_training_group(rollout_group([1], []), np.zeros(2), [True, True])


def test_sft_is_a_group_of_one():
    found = to_sft_group(np.arange(3), (), np.array([8, 9]))
    row = flatten(MicroBatch(groups=(found,), group_indices=(0,)), RULE)
    assert row.predictors_L.tolist() == [2, 3]
    assert row.loss_mask_L.tolist() == [True, True]
    assert row.rollout_logprobs_L.tolist() == [0.0, 0.0]
