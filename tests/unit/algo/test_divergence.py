import math

import pytest
import torch

from vrl.algo.divergence import kl, mismatch_kl, mismatch_kl_reverse

LOG2 = math.log(2)


@pytest.mark.parametrize(
    ("estimator", "wanted"),
    [
        ("k1", [LOG2, -LOG2]),
        ("k2", [LOG2**2 / 2, LOG2**2 / 2]),
        ("k3", [0.5 - 1 + LOG2, 2 - 1 - LOG2]),  # e^d - 1 - d with d = reference - policy = -log 2 and + log 2
    ],
)
def test_estimators_by_hand(estimator, wanted):
    found = kl(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0 - LOG2, -1.0 + LOG2]), estimator)
    assert found.tolist() == pytest.approx(wanted, rel=1e-6)


def test_a_clamped_difference_is_bounded_and_has_no_gradient():
    logprobs = torch.tensor([-13.0, -1.0], requires_grad=True)
    found = kl(logprobs, torch.tensor([-1.0, -1.5]), "k3", clamp=10.0)
    assert found.tolist() == pytest.approx([math.exp(10) - 11, math.exp(-0.5) - 0.5], rel=1e-6)
    found.sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0.0, 1 - math.exp(-0.5)], abs=1e-6)


POLICY, REFERENCE = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.25, 0.25, 0.5])
KL = 0.5 * math.log(2) + 0.3 * math.log(1.2) + 0.2 * math.log(0.4)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator):
    found = (POLICY * kl(POLICY.log(), REFERENCE.log(), estimator)).sum().item()
    assert found == pytest.approx(KL, rel=1e-5)


def test_the_gradient_of_k2_is_that_of_the_divergence():
    # Over all tokens with their probabilities: E[grad k2] = grad KL, while E[grad k1] = 0 for any reference.
    logits = POLICY.log().requires_grad_()
    logprobs = torch.log_softmax(logits, 0)
    wanted = torch.autograd.grad((logprobs.exp() * (logprobs - REFERENCE.log())).sum(), logits, retain_graph=True)[0]
    for estimator, gradient in (("k2", wanted), ("k1", torch.zeros(3))):
        loss = (POLICY * kl(logprobs, REFERENCE.log(), estimator)).sum()
        torch.testing.assert_close(torch.autograd.grad(loss, logits, retain_graph=True)[0], gradient)


def test_k3_of_rounding_noise_is_not_rounded_away():
    assert kl(torch.tensor([0.0]), torch.tensor([1e-4]), "k3").item() == pytest.approx(5e-9, rel=1e-3)


def test_both_mismatch_directions_are_unbiased():
    # Expectations over the engine's distribution are the exact KL divergences of two distributions of three tokens.
    forward = (POLICY * mismatch_kl(POLICY.log(), REFERENCE.log())).sum().item()
    reverse = (POLICY * mismatch_kl_reverse(POLICY.log(), REFERENCE.log())).sum().item()
    assert forward == pytest.approx(KL, rel=1e-5)
    assert reverse == pytest.approx(0.25 * math.log(0.5) + 0.25 * math.log(1 / 1.2) + 0.5 * math.log(2.5), rel=1e-5)
