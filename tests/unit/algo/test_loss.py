import math

import pytest
import torch

from vrl.algo.loss import (
    k3_kl,
    mismatch_kl,
    mismatch_kl_reverse,
    policy_loss,
    sequence_mean,
    sft_loss,
    token_mean,
)

LOG2 = math.log(2)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped"),
    [
        (1.5, 1.0, -1.28, True),  # pushed up too far: 1 + clip_high
        (1.5, -1.0, 1.5, False),  # pushed up though bad: never clipped
        (0.5, -1.0, 0.8, True),  # pushed down too far: 1 - clip_low
        (0.5, 1.0, -0.5, False),
        (1.1, 2.0, -2.2, False),  # inside the bounds
    ],
)
def test_policy_loss_clips_only_what_went_too_far_in_the_wished_direction(ratio, advantage, loss, clipped):
    found, acts = policy_loss(
        torch.tensor([math.log(ratio) - 3.0]),
        torch.tensor([-3.0]),
        torch.tensor([advantage]),
        clip_low=0.2,
        clip_high=0.28,
    )
    assert found.item() == pytest.approx(loss, rel=1e-6)
    assert acts.item() is clipped


def test_the_first_update_has_the_gradient_of_the_weighted_log_likelihood():
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss, _ = policy_loss(logprobs, logprobs.detach(), torch.tensor([3.0, -5.0]), clip_low=0.2, clip_high=0.2)
    loss.sum().backward()
    assert logprobs.grad.tolist() == [-3.0, 5.0]


def test_k3():
    # d = reference - policy = -log 2 and + log 2: e^d - 1 - d.
    found = k3_kl(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0 - LOG2, -1.0 + LOG2]))
    assert found.tolist() == pytest.approx([0.5 - 1 + LOG2, 2 - 1 - LOG2], rel=1e-6)


def test_k3_of_rounding_noise_is_not_rounded_away():
    assert k3_kl(torch.tensor([0.0]), torch.tensor([1e-4])).item() == pytest.approx(5e-9, rel=1e-3)


def test_both_mismatch_directions_are_unbiased():
    # Expectations over the engine's distribution are the exact KL divergences of two distributions of three tokens.
    engine, learner = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.25, 0.25, 0.5])
    forward = (engine * mismatch_kl(engine.log(), learner.log())).sum().item()
    reverse = (engine * mismatch_kl_reverse(engine.log(), learner.log())).sum().item()
    assert forward == pytest.approx(0.5 * math.log(2) + 0.3 * math.log(1.2) + 0.2 * math.log(0.4), rel=1e-5)
    assert reverse == pytest.approx(0.25 * math.log(0.5) + 0.25 * math.log(1 / 1.2) + 0.5 * math.log(2.5), rel=1e-5)


def test_sft_is_the_negative_log_likelihood():
    assert sft_loss(torch.tensor([-0.5, -2.0])).tolist() == [0.5, 2.0]


def test_token_mean_divides_by_the_count_of_the_whole_step():
    loss, mask = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([True, False, True])
    assert token_mean(loss, mask, 10).item() == pytest.approx(0.5)


def test_sequence_mean_weighs_completions_alike():
    loss = torch.tensor([1.0, 2.0, 3.0, 10.0, 5.0])
    mask = torch.tensor([True, True, True, False, True])
    # Completion 0: (1 + 2) / 2; completion 1: (3 + 5) / 2; over 4 completions of the step.
    assert sequence_mean(loss, mask, torch.tensor([0, 0, 1, 1, 1]), 4).item() == pytest.approx(1.375)


def test_a_masked_infinity_stays_out():
    loss, mask = torch.tensor([1.0, math.inf]), torch.tensor([True, False])
    assert token_mean(loss, mask, 1).item() == 1.0
    assert sequence_mean(loss, mask, torch.tensor([0, 1]), 1).item() == 1.0
