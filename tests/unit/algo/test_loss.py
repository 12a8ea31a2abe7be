import math

import pytest
import torch

from vrl.algo.loss import cispo, clip, dual_clip, fixed_length, gspo, reinforce, sequence_mean, sft_loss, token_mean

CLIP = {"clip_low": 0.2, "clip_high": 0.28}


def column(*values, grad=False):
    return torch.tensor(values, requires_grad=grad)


def at_ratio(loss, ratio, advantage, **bounds):
    """Return loss and gradient of a token whose log-prob went from -3 to -3 + log ratio, and whether it was cut."""
    logprobs = column(math.log(ratio) - 3.0, grad=True)
    found, acts = loss(logprobs, column(-3.0), column(advantage), **bounds)
    found.sum().backward()
    return found.item(), logprobs.grad.item(), acts.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (1.5, 1.0, -1.28, 0.0, True),  # pushed up too far: 1 + clip_high
        (1.5, -1.0, 1.5, 1.5, False),  # pushed up though bad: never clipped
        (0.5, -1.0, 0.8, 0.0, True),  # pushed down too far: 1 - clip_low
        (0.5, 1.0, -0.5, -0.5, False),
        (1.1, 2.0, -2.2, -2.2, False),  # inside the bounds
        (1.5, 0.0, 0.0, 0.0, False),  # nothing to learn
    ],
)
def test_clip_cuts_only_tokens_that_moved_too_far_in_the_rewarded_direction(ratio, advantage, loss, gradient, clipped):
    assert at_ratio(clip, ratio, advantage, **CLIP) == pytest.approx((loss, gradient, clipped), rel=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient", "clipped"),
    [
        (5.0, -1.0, 3.0, 0.0, True),  # bad and five times likelier: at most 3 |A|
        (2.0, -1.0, 2.0, 2.0, False),
        (5.0, 1.0, -1.28, 0.0, True),  # the bound is for A < 0 alone
        (0.5, -2.0, 1.6, 0.0, True),
    ],
)
def test_dual_clip_bounds_the_loss_of_bad_tokens(ratio, advantage, loss, gradient, clipped):
    found = at_ratio(dual_clip, ratio, advantage, **CLIP, bound=3.0)
    assert found == pytest.approx((loss, gradient, clipped), rel=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "weight", "clipped"),
    [(1.5, 1.0, 1.28, True), (1.5, -1.0, 1.28, True), (0.5, 1.0, 0.8, True), (1.1, -2.0, 1.1, False)],
)
def test_cispo_clips_the_weight_and_keeps_the_gradient(ratio, advantage, weight, clipped):
    loss, gradient, acts = at_ratio(cispo, ratio, advantage, **CLIP)
    assert loss == pytest.approx(-weight * advantage * (math.log(ratio) - 3.0), rel=1e-6)
    assert gradient == pytest.approx(-weight * advantage, rel=1e-6)
    assert acts is clipped


def test_cispo_without_a_lower_bound():
    assert at_ratio(cispo, 0.01, 1.0, clip_low=1.0, clip_high=0.28)[1:] == pytest.approx((-0.01, False), rel=1e-5)


def test_gspo_has_one_ratio_per_completion():
    # Completion 0: log ratios log 2 and log 0.5 cancel: 1. Completion 1: log 4 and 0: the root of 4, clipped at 1.28.
    old = column(-1.0, -1.0, -2.0, -2.0)
    moved = torch.tensor([math.log(2), -math.log(2), math.log(4), 0.0])
    logprobs = (old + moved).requires_grad_()
    advantages, ids = column(3.0, 3.0, 1.0, 1.0), torch.tensor([0, 0, 1, 1])
    loss, clipped = gspo(logprobs, old, advantages, ids, **CLIP)
    assert loss.tolist() == pytest.approx([-3.0, -3.0, -1.28, -1.28], rel=1e-6)
    assert clipped.tolist() == [False, False, True, True]
    sequence_mean(loss, ids, 2).backward()
    # d/d logprob of -3 x ratio / 2 completions is -3 / 2 for the sum over two tokens, each a half; clip would give
    # the first token twice the gradient of a token that did not move.
    assert logprobs.grad.tolist() == pytest.approx([-0.75, -0.75, 0.0, 0.0], rel=1e-6)


def test_reinforce_is_the_weighted_log_likelihood():
    loss, clipped = reinforce(column(-0.5, -2.0), column(2.0, -1.0))
    assert loss.tolist() == [1.0, -2.0] and not clipped.any()


@pytest.mark.parametrize("loss", [clip, cispo])
def test_the_first_update_has_the_gradient_of_the_weighted_log_likelihood(loss):
    logprobs = column(-1.0, -2.0, grad=True)
    found, clipped = loss(logprobs, logprobs.detach(), column(3.0, -5.0), **CLIP)
    found.sum().backward()
    assert logprobs.grad.tolist() == [-3.0, 5.0]
    assert not clipped.any()


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_huge_ratio_stays_finite(advantage):
    logprobs, old = column(-1.0, -500.0, grad=True), column(-500.0, -1.0)
    for loss in (clip, cispo):
        found, _ = loss(logprobs, old, torch.full((2,), advantage), **CLIP)
        assert torch.isfinite(found).all()
        assert torch.isfinite(torch.autograd.grad(found.sum(), logprobs)[0]).all()


def test_a_token_of_probability_zero_is_not_hidden():
    # The sampler cannot have drawn it, so something is broken; the learner stops at non-finite values.
    found, _ = reinforce(column(-math.inf), column(1.0))
    assert token_mean(found, 1).item() == math.inf


def test_sft_is_the_negative_log_likelihood():
    assert sft_loss(column(-0.5, -2.0)).tolist() == [0.5, 2.0]


def test_token_mean_divides_by_the_count_of_the_whole_step():
    assert token_mean(column(1.0, 4.0), 10).item() == pytest.approx(0.5)


def test_sequence_mean_weighs_completions_alike():
    # Completion 0: (1 + 2) / 2; completion 2: (3 + 5 + 1) / 3; over 4 completions of the step.
    loss, ids = column(1.0, 2.0, 3.0, 5.0, 1.0), torch.tensor([0, 0, 2, 2, 2])
    assert sequence_mean(loss, ids, 4).item() == pytest.approx(1.125)


def test_fixed_length_weighs_tokens_alike_and_ignores_their_number():
    assert fixed_length(column(1.0, 2.0, 5.0), 2, 16).item() == pytest.approx(8 / 32)


def test_no_tokens_are_no_loss():
    nothing, ids = column(grad=True), torch.zeros(0, dtype=torch.int64)
    loss, _ = gspo(nothing, column(), column(), ids, **CLIP)
    for total in (token_mean(loss, 5), sequence_mean(loss, ids, 5), fixed_length(loss, 5, 3)):
        assert total.item() == 0.0
        total.backward(retain_graph=True)
