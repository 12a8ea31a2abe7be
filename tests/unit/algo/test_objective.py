"""Every objective with a linear policy as model: the cut of a step must not change its loss or gradient."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from vrl.algo.advantage import advantages
from vrl.algo.objective import objective, step_metrics, trained_tokens
from vrl.algo.packing import flatten, pack
from vrl.algo.positions import PositionRule
from vrl.config import AlgoConfig
from vrl.types import MicroBatch, StepCounts, TrainingGroup

RULE = PositionRule(family="qwen2_vl", image_token_id=90, video_token_id=91, spatial_merge_size=2)
VOCABULARY, WIDTH = 20, 6


def make_groups(seed=0):
    """Return ragged groups with masked tokens, a completion that does not train, and log-probs far apart."""
    rng = np.random.default_rng(seed)
    groups = []
    for prompt_length, lengths in ((3, (5, 2, 7)), (6, (1, 4, 3)), (2, (6, 6, 2)), (4, (3, 9, 1)), (5, (2, 2, 8))):
        masks = tuple(rng.random(n) < 0.8 for n in lengths)
        masks[2][:] = masks[2] & (prompt_length != 2)
        groups.append(
            TrainingGroup(
                prompt_token_ids=rng.integers(0, VOCABULARY, prompt_length),
                vision=(),
                completions=tuple(rng.integers(0, VOCABULARY, n) for n in lengths),
                loss_masks=masks,
                advantages_G=rng.normal(size=3).astype(np.float32),
                rollout_logprobs=tuple(rng.normal(-3, 0.5, n).astype(np.float32) for n in lengths),
                old_logprobs=tuple(rng.normal(-3, 0.5, n).astype(np.float32) for n in lengths),
            )
        )
    return groups


class LinearPolicy:
    """A policy whose logits are a linear map of the last token's embedding; a second map is the reference."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.embedding = torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=torch.float64)
        self.reference = 0.5 * torch.randn(WIDTH, VOCABULARY, generator=generator, dtype=torch.float64)
        self.weight = (0.5 * torch.randn(WIDTH, VOCABULARY, generator=generator, dtype=torch.float64)).requires_grad_()

    def tokens(self, row):
        (logprobs, entropy), (ref_logprobs, _) = self._score(row, self.weight), self._score(row, self.reference)
        return trained_tokens(row, logprobs, entropy, ref_logprobs)

    def _score(self, row, weight):
        last = torch.from_numpy(row.token_ids_N)[torch.from_numpy(row.predictors_L)]
        all_logprobs = torch.log_softmax(self.embedding[last] @ weight, -1)
        targets = torch.from_numpy(row.targets_L)
        return all_logprobs.gather(1, targets[:, None])[:, 0], -(all_logprobs.exp() * all_logprobs).sum(-1)


def update(groups, config, *, ranks=1, micro_batch_tokens=10_000):
    """Return loss, gradient and metrics of one update, computed separately for each micro-batch of each rank."""
    policy = LinearPolicy()
    batch = pack(groups, ranks=ranks, micro_batch_tokens=micro_batch_tokens)
    loss, sums = 0.0, {}
    for micro_batch in itertools.chain(*batch.micro_batches):
        share, metrics = objective(policy.tokens(flatten(micro_batch, RULE)), config, batch.counts)
        share.backward()
        loss += share.item()
        sums = {name: sums.get(name, 0.0) + value.item() for name, value in metrics.items()}
    return loss, policy.weight.grad, step_metrics(sums)


CASES = [
    AlgoConfig(policy_loss=loss, loss_aggregation=aggregation, correction=correction, clip_low=0.3, clip_high=0.4)
    for loss, correction in [
        ("clip", "token_truncate"),
        ("clip", "sequence_truncate"),
        ("dual_clip", "token_mask"),
        ("gspo", "sequence_mask"),
        ("gspo", "none"),
        ("cispo", "token_mask"),
        ("reinforce", "sequence_truncate"),
        ("reinforce", "none"),
    ]
    for aggregation in ("token_mean", "sequence_mean", "fixed_length")
] + [
    AlgoConfig(kl_coef=0.3, kl_estimator="k2", entropy_coef=0.2, loss_aggregation="sequence_mean"),
    AlgoConfig(kl_coef=0.3, kl_estimator="k3", entropy_coef=0.2, old_logprobs="rollout"),
]


@pytest.mark.parametrize(
    "config", CASES, ids=lambda c: f"{c.policy_loss}-{c.correction}-{c.loss_aggregation}-kl{c.kl_coef:g}"
)
def test_the_cut_of_a_step_changes_neither_loss_nor_gradient_nor_metrics(config):
    config = replace(config, dual_clip=1.5, correction_high=1.5, fixed_length=8)
    groups = make_groups()
    loss, gradient, metrics = update(groups, config)
    assert abs(loss) > 1e-3 and gradient.norm() > 1e-3
    assert 0 < metrics["loss/clip_frac"] < 1 or config.policy_loss == "reinforce"
    if config.correction != "none":
        assert 0 < metrics["loss/corrected_frac"] < 1 and 0 < metrics["loss/ess_frac"] < 1
    for order, ranks, micro_batch_tokens in (
        ([0, 1, 2, 3, 4], 1, 1),  # every group separately
        ([4, 2, 0, 3, 1], 1, 40),
        ([1, 0, 3, 2, 4], 2, 30),
        ([3, 4, 1, 2, 0], 8, 10_000),  # more ranks than groups: some have no token
    ):
        cut = update([groups[i] for i in order], config, ranks=ranks, micro_batch_tokens=micro_batch_tokens)
        assert cut[0] == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(cut[1], gradient, rtol=1e-5, atol=1e-7)
        assert cut[2] == pytest.approx(metrics, rel=1e-5)


@pytest.mark.parametrize(
    "advantage",
    [
        "grpo",
        "grpo_no_std",
        "rloo",
        "pass_at_k",
        "reinforce_batch",
        "reinforce_plus_plus",
        "reinforce_plus_plus_baseline",
    ],
)
def test_neither_cut_nor_order_of_a_step_changes_an_objective_from_rewards_on(advantage):
    config = AlgoConfig(advantage=advantage, clip_low=0.3, clip_high=0.4)
    rewards = np.random.default_rng(3).normal(size=(5, 3)).round(1)

    def from_rewards(order, **cut):
        groups = [make_groups()[i] for i in order]
        num_tokens = [np.array([len(completion) for completion in group.completions]) for group in groups]
        credit = advantages([rewards[i] for i in order], num_tokens, config)
        return update([replace(g, advantages_G=a) for g, a in zip(groups, credit, strict=True)], config, **cut)

    loss, gradient, metrics = from_rewards(range(5))
    assert abs(loss) > 1e-3 and gradient.norm() > 1e-3
    for order, ranks, micro_batch_tokens in (([4, 2, 0, 3, 1], 1, 1), ([1, 0, 3, 2, 4], 2, 30)):
        cut = from_rewards(order, ranks=ranks, micro_batch_tokens=micro_batch_tokens)
        assert cut[0] == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(cut[1], gradient, rtol=1e-5, atol=1e-6)
        assert cut[2] == pytest.approx(metrics, rel=1e-5)


def one_token(**change):
    """Return one group of two completions, of two tokens and one, and the policy's log-probs of them."""
    group = TrainingGroup(
        prompt_token_ids=np.array([1]),
        vision=(),
        completions=(np.array([2, 3]), np.array([4])),
        loss_masks=(np.array([True, True]), np.array([True])),
        advantages_G=np.array([2.0, -1.0], dtype=np.float32),
        rollout_logprobs=(np.log([0.5, 0.25]).astype(np.float32), np.log([0.5]).astype(np.float32)),
    )
    return flatten(MicroBatch(groups=(replace(group, **change),), group_indices=(0,)), RULE)


COUNTS = StepCounts(num_loss_tokens=3, num_sequences=2)


def scored(row, *, probabilities=(0.5, 0.5, 0.25), entropy=(1.0, 2.0, 3.0), reference=None):
    logprobs = torch.log(torch.tensor(probabilities)).requires_grad_()
    ref = None if reference is None else torch.log(torch.tensor(reference))
    return logprobs, trained_tokens(row, logprobs, torch.tensor(entropy), ref)


def test_the_only_update_of_a_step_is_policy_gradient_and_the_engine_affects_metrics_only():
    logprobs, tokens = scored(one_token())
    loss, metrics = objective(tokens, AlgoConfig(), COUNTS)
    loss.backward()
    assert loss.item() == pytest.approx((-2 - 2 + 1) / 3)  # the ratio is 1
    assert logprobs.grad.tolist() == pytest.approx([-2 / 3, -2 / 3, 1 / 3])
    assert metrics["loss/clip_frac"] == 0
    # Learner over engine 1, 2 and 0.5: k3 of log 1, log 2, log 0.5 with d = learner - engine.
    assert metrics["loss/mismatch_kl"].item() == pytest.approx((2 - 1 - math.log(2) + 0.5 - 1 + math.log(2)) / 3)


def test_the_correction_weighs_the_policy_loss_by_learner_over_engine():
    logprobs, tokens = scored(one_token())
    loss, metrics = objective(tokens, AlgoConfig(correction="token_truncate", correction_high=1.5), COUNTS)
    loss.backward()
    assert logprobs.grad.tolist() == pytest.approx([-2 / 3, -3 / 3, 0.5 / 3])  # weights 1, 2 cut to 1.5, 0.5
    found = step_metrics({name: value.item() for name, value in metrics.items()})
    assert found["loss/corrected_frac"] == pytest.approx(1 / 3)
    assert found["loss/ess_frac"] == pytest.approx(3.0**2 / (3 * (1 + 2.25 + 0.25)))
    assert "weight" not in found


def test_decoupled_ppo_clips_against_the_old_policy_and_corrects_from_the_old_to_the_engine():
    # Ratios policy / old 1, 2 (clipped at 1.2) and 0.5 (A < 0: clipped at 0.8); weights old / engine 1, 1 and 1.
    old = (np.log([0.5, 0.25]).astype(np.float32), np.log([0.5]).astype(np.float32))
    logprobs, tokens = scored(one_token(old_logprobs=old))
    loss, _ = objective(tokens, AlgoConfig(correction="token_truncate"), COUNTS)
    loss.backward()
    assert loss.item() == pytest.approx((-2 - 2.4 + 0.8) / 3)
    assert logprobs.grad.tolist() == pytest.approx([-2 / 3, 0, 0])


def test_the_engines_log_probs_as_old_ones():
    _, tokens = scored(one_token())
    loss, metrics = objective(tokens, AlgoConfig(old_logprobs="rollout"), COUNTS)
    assert loss.item() == pytest.approx((-2 - 2.4 + 0.8) / 3)
    assert metrics["loss/clip_frac"].item() == pytest.approx(2 / 3)


def test_kl_and_entropy_join_the_loss():
    _, tokens = scored(one_token(), reference=(0.25, 0.5, 0.25))
    config = AlgoConfig(kl_coef=0.1, kl_estimator="k2", entropy_coef=0.5)
    loss, metrics = objective(tokens, config, COUNTS)
    kl = math.log(2) ** 2 / 2 / 3
    assert metrics["loss/kl"].item() == pytest.approx(kl)
    assert loss.item() == pytest.approx(-1.0 + 0.1 * kl - 0.5 * 2.0)
    assert metrics["loss/policy"].item() == pytest.approx(-1.0)


def test_an_infinity_outside_the_loss_mask_stays_out_of_the_gradient():
    row = one_token(loss_masks=(np.array([True, False]), np.array([True])))
    logprobs = torch.tensor([-1.0, -math.inf, -1.0], requires_grad=True)
    tokens = trained_tokens(row, logprobs * 1.0, torch.tensor([1.0, math.nan, 1.0]), None)
    loss, _ = objective(tokens, AlgoConfig(policy_loss="reinforce"), COUNTS)
    loss.backward()
    assert torch.isfinite(loss) and logprobs.grad.tolist() == pytest.approx([-2 / 3, 0, 1 / 3])
