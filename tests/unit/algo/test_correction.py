import math

import pytest
import torch

from vrl.algo.correction import correction_weights, effective_share

# Weights old / rollout of four tokens: 4, 0.5 | 1, 0.25; over the two completions 2 and 0.25.
OLD = torch.log(torch.tensor([0.8, 0.1, 0.3, 0.1]))
ROLLOUT = torch.log(torch.tensor([0.2, 0.2, 0.3, 0.4]))
IDS = torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize(
    ("kind", "weights", "cut"),
    [
        ("token_truncate", [1.5, 0.5, 1.0, 0.25], [True, False, False, False]),
        ("token_mask", [0.0, 0.5, 1.0, 0.0], [True, False, False, True]),
        ("sequence_truncate", [1.5, 1.5, 0.25, 0.25], [True, True, False, False]),
        ("sequence_mask", [0.0, 0.0, 0.0, 0.0], [True, True, True, True]),
    ],
)
def test_weights_by_hand(kind, weights, cut):
    found, acts = correction_weights(OLD, ROLLOUT, IDS, kind=kind, low=0.4, high=1.5)
    assert found.tolist() == pytest.approx(weights, rel=1e-5)
    assert acts.tolist() == cut


def test_a_mask_keeps_the_weight_of_what_it_keeps():
    found, acts = correction_weights(OLD, ROLLOUT, IDS, kind="sequence_mask", low=0.0, high=5.0)
    assert found.tolist() == pytest.approx([2.0, 2.0, 0.25, 0.25], rel=1e-5)
    assert not acts.any()


def test_a_truncated_weight_is_unbiased_up_to_its_bound():
    # E_rollout[weight x f] = E_old[f] over all tokens of two distributions while no weight reaches the bound.
    old, rollout, f = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.3, 0.3, 0.4]), torch.tensor([1.0, -2.0, 5.0])
    weight, _ = correction_weights(old.log(), rollout.log(), torch.arange(3), kind="token_truncate", low=0.5, high=2.0)
    assert (rollout * weight * f).sum().item() == pytest.approx((old * f).sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "wanted"), [("token_truncate", [2.0, 0.0]), ("token_mask", [0.0, 0.0]), ("sequence_mask", [0.0, 0.0])]
)
def test_impossible_tokens(kind, wanted):
    # The engine's probability of a token is 1e-300 of the learner's, and vice versa.
    old, rollout = torch.tensor([-1.0, -math.inf]), torch.tensor([-700.0, -1.0])
    found, acts = correction_weights(old, rollout, torch.tensor([0, 1]), kind=kind, low=0.5, high=2.0)
    assert found.tolist() == wanted
    assert acts[0]


def test_weights_carry_no_gradient():
    old = OLD.clone().requires_grad_()
    weight, _ = correction_weights(old, ROLLOUT, IDS, kind="sequence_truncate", low=0.5, high=2.0)
    assert not weight.requires_grad


def test_effective_share_by_hand():
    assert effective_share(1.0, 1.0) == 1.0
    assert effective_share(0.5, 0.5) == 0.5  # half the weights 1, half 0
    assert effective_share(2.5 / 4, (1 + 1 + 0.25) / 4) == pytest.approx(6.25 / 9)  # weights 1, 1, 0.5, 0
    assert effective_share(0.0, 0.0) == 0.0  # everything rejected
