from pathlib import Path

import numpy as np
import pytest
import torch
from support.largest import Largest
from support.learner_cases import MIXED, make_cases, video
from support.plain_rows import plain_logprobs
from transformers import AutoModelForImageTextToText

from vrl.algo.packing import flatten
from vrl.config import ModelConfig
from vrl.data.normalisation import normalisation
from vrl.errors import ConfigError, LearnerError
from vrl.learner.model import CompletionHead, GroupedPolicy, load_hf_model
from vrl.toyworld.model import FAMILIES, build_family
from vrl.types import MicroBatch


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sharp")
    for family in FAMILIES:
        build_family(folder / family, family, sharp=True)
    return {family: folder / family for family in FAMILIES}


def load(path, *, freeze=(), temperature=1.0, **options):
    hf = load_hf_model(ModelConfig(path=str(path), dtype="float32", freeze=list(freeze)))
    return GroupedPolicy(hf, normalisation=normalisation(path), temperature=temperature, **options)


def score(policy, cases):
    row = flatten(cases.micro_batch, policy.rule)
    return policy(row, torch.from_numpy(np.concatenate(cases.patches)))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_packed_row_equals_one_plain_row_for_each_completion(checkpoints, family, checkpointing):
    policy = load(checkpoints[family])
    plain = AutoModelForImageTextToText.from_pretrained(checkpoints[family], dtype=torch.float32)
    if checkpointing:
        policy.hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        policy.train()
    cases = make_cases(plain.config, MIXED)
    found, wanted = score(policy, cases).logprobs_L, plain_logprobs(plain, cases, normalisation(checkpoints[family]))
    assert wanted.std() > 0.5  # sharp enough to expose a fault
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
    weights = torch.randn(len(found), generator=torch.Generator().manual_seed(0))
    (found * weights).sum().backward()
    (wanted * weights).sum().backward()
    for (name, ours), (other, theirs) in zip(policy.hf.named_parameters(), plain.named_parameters(), strict=True):
        assert name == other and ours.grad is not None and theirs.grad is not None
        assert (ours.grad - theirs.grad).norm() <= 2e-5 * theirs.grad.norm(), name


def test_gradient_checkpointing_changes_no_gradient(checkpoints):
    results = []
    for checkpointing in (False, True):
        policy = load(checkpoints["qwen3_vl"]).train()
        if checkpointing:
            policy.hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        scores = score(policy, make_cases(policy.hf.config, MIXED)).logprobs_L
        scores.square().sum().backward()
        results.append((scores, {name: parameter.grad for name, parameter in policy.hf.named_parameters()}))
    (wanted, gradients), (found, others) = results
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    for name, gradient in gradients.items():
        assert (others[name] - gradient).norm() <= 1e-6 * gradient.norm(), name


def test_groups_do_not_attend_to_one_another(checkpoints):
    policy = load(checkpoints["qwen3_vl"])
    cases = make_cases(policy.hf.config, MIXED)
    together = score(policy, cases).logprobs_L
    alone = []
    for group, patches in zip(cases.groups, cases.patches, strict=True):
        row = flatten(MicroBatch(groups=(group,), group_indices=(0,)), policy.rule)
        alone.append(policy(row, torch.from_numpy(patches)).logprobs_L)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=2e-5)


def test_a_sampled_placeholder_is_an_ordinary_token(checkpoints):
    policy = load(checkpoints["qwen2_vl"])
    cases = make_cases(policy.hf.config, [((video(2, 4, 4),), (3, 3))])
    cases.groups[0].completions[0][1] = policy.rule.video_token_id
    assert torch.isfinite(score(policy, cases).logprobs_L).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_inert_row_reaches_every_parameter_and_moves_none(checkpoints, family):
    policy = load(checkpoints[family])
    row = flatten(MicroBatch(groups=(), group_indices=()), policy.rule)
    scores = policy(row, torch.zeros((0, 1), dtype=torch.uint8))
    (scores.logprobs_L * torch.from_numpy(row.loss_mask_L)).sum().backward()
    for name, parameter in policy.hf.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_a_frozen_tower_gets_no_gradient_and_changes_no_result(checkpoints):
    free, frozen = load(checkpoints["qwen2_5_vl"]), load(checkpoints["qwen2_5_vl"], freeze=["model.visual"])
    cases = make_cases(free.hf.config, MIXED)
    wanted, found = score(free, cases).logprobs_L, score(frozen, cases).logprobs_L
    torch.testing.assert_close(found, wanted)
    found.sum().backward()
    assert all(parameter.grad is None for parameter in frozen.hf.model.visual.parameters())
    assert frozen.hf.model.language_model.layers[0].mlp.up_proj.weight.grad.any()


def test_the_head_on_a_small_example():
    # Logits 2, 0 and 1 at temperature 2: 1, 0 and 0.5; the last token is banned.
    head = CompletionHead(torch.nn.Parameter(torch.tensor([[2.0], [0.0], [1.0]])), 2.0, [2])
    scores = head(torch.ones(1, 1), torch.tensor([0]))
    p = np.exp(1) / (np.exp(1) + 1)
    assert scores.logprobs_L.item() == pytest.approx(np.log(p), rel=1e-6)
    assert scores.entropy_L.item() == pytest.approx(-p * np.log(p) - (1 - p) * np.log(1 - p), rel=1e-6)


def test_chunks_of_the_head_change_nothing():
    torch.manual_seed(0)
    weight, hidden, targets = torch.randn(50, 8), torch.randn(10, 8), torch.randint(0, 50, (10,))
    results = []
    for chunk in (1000, 3):
        head = CompletionHead(torch.nn.Parameter(weight.clone()), 1.0, [])
        head.chunk = chunk
        inputs = hidden.clone().requires_grad_()
        scores = head(inputs, targets)
        (scores.logprobs_L * torch.arange(10)).sum().backward()
        results.append((*scores, inputs.grad, head.weight.grad))
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(whole, chunked)


@pytest.mark.parametrize("chunk", [1000, 4])
def test_the_entropy_gradient_equals_that_of_the_dense_form(chunk):
    torch.manual_seed(0)
    weight, hidden, targets = torch.randn(30, 8), torch.randn(10, 8), torch.randint(12, 30, (10,))
    head = CompletionHead(torch.nn.Parameter(weight.clone()), 0.7, [3, 11], entropy_gradient=True)
    head.chunk = chunk
    inputs = hidden.clone().requires_grad_()
    scores = head(inputs, targets)
    (scores.entropy_L * torch.arange(10) - scores.logprobs_L).sum().backward()

    dense_weight, dense_inputs = weight.clone().requires_grad_(), hidden.clone().requires_grad_()
    allowed = [i for i in range(30) if i not in (3, 11)]
    logprobs = torch.log_softmax(dense_inputs @ dense_weight[allowed].T / 0.7, -1)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    sampled = logprobs[torch.arange(10), torch.tensor([allowed.index(int(t)) for t in targets])]
    (entropy * torch.arange(10) - sampled).sum().backward()

    torch.testing.assert_close(scores.entropy_L, entropy, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inputs.grad, dense_inputs.grad, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(head.weight.grad, dense_weight.grad, rtol=1e-5, atol=1e-5)  # 0 for the banned


def test_the_entropy_has_no_gradient_by_default(checkpoints):
    policy = load(checkpoints["qwen2_vl"])
    scores = score(policy, make_cases(policy.hf.config, [((), (3, 3))]))
    assert scores.logprobs_L.requires_grad and not scores.entropy_L.requires_grad


def test_no_tensor_holds_the_logits_of_more_than_a_chunk():
    vocabulary, chunk = 5000, 64
    for tokens in (200, 2000):
        head = CompletionHead(torch.nn.Parameter(torch.randn(vocabulary, 8)), 1.0, [])
        head.chunk = chunk
        hidden = torch.randn(tokens, 8, requires_grad=True)
        with Largest() as largest:
            head(hidden, torch.zeros(tokens, dtype=torch.int64)).logprobs_L.sum().backward()
        assert largest.num_bytes == 4 * chunk * vocabulary


def test_only_predictors_of_completion_tokens_reach_the_head(checkpoints):
    policy = load(checkpoints["qwen2_vl"])
    cases = make_cases(policy.hf.config, MIXED)
    rows = []
    policy.head.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    scored = len(score(policy, cases).logprobs_L)
    assert rows == [scored]
    assert scored < sum(group.num_tokens for group in cases.groups)


def test_missing_patches_raise(checkpoints):
    policy = load(checkpoints["qwen2_vl"])
    cases = make_cases(policy.hf.config, MIXED)
    with pytest.raises(LearnerError, match="got 0, wanted"):
        policy(flatten(cases.micro_batch, policy.rule), torch.zeros((0, 1), dtype=torch.uint8))


def test_temperature_zero_and_an_unknown_prefix_raise(checkpoints):
    with pytest.raises(ConfigError, match=r"rollout\.temperature: got 0"):
        load(checkpoints["qwen2_vl"], temperature=0.0)
    with pytest.raises(ConfigError, match="got 'visual'"):
        load(checkpoints["qwen2_vl"], freeze=["visual"])
