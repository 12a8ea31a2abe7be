from pathlib import Path

import numpy as np
import pytest
import torch
from support.learner_cases import MIXED, make_cases

from vrl.algo.packing import flatten
from vrl.config import LoraConfig, ModelConfig
from vrl.data.normalisation import normalisation
from vrl.errors import ConfigError
from vrl.learner.features import FeatureCache
from vrl.learner.lora import add_adapters, weights, without_adapters
from vrl.learner.model import GroupedPolicy, load_hf_model
from vrl.toyworld.model import FAMILIES, build_family

LORA = LoraConfig(rank=3, alpha=6.0, targets=["q_proj", "down_proj"])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sharp")
    for family in FAMILIES:
        build_family(folder / family, family, sharp=True)
    return {family: folder / family for family in FAMILIES}


def load(path, lora=None, features=None, *, dtype="float32", **model):
    hf = load_hf_model(ModelConfig(path=str(path), dtype=dtype, **model))
    if lora is not None:
        add_adapters(hf, lora)
    return GroupedPolicy(hf, normalisation=normalisation(path), temperature=1.0, features=features)


def train_adapters(hf):
    """Set the adapters to values other than zero; `up` starts as zero."""
    generator = torch.Generator().manual_seed(0)
    for weight in weights(hf):
        if weight.adapter is not None:
            torch.nn.init.normal_(weight.adapter[1], std=0.1, generator=generator)


def score(policy, cases):
    return policy(flatten(cases.micro_batch, policy.rule), torch.from_numpy(np.concatenate(cases.patches)))


def test_merged_weight_of_a_small_example():
    from vrl.learner.lora import Weight

    base = torch.nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16))
    down, up = torch.nn.Parameter(torch.tensor([[1.0, 2.0]])), torch.nn.Parameter(torch.tensor([[0.5], [-1.0]]))
    merged = Weight(name="w", base=base, adapter=(down, up), scale=2.0).merged()
    assert merged.tolist() == [[2.0, 4.0], [1.0, 0.0]] and merged.dtype == torch.bfloat16


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_weights_score_like_the_adapters(checkpoints, family):
    plain, adapted = load(checkpoints[family]), load(checkpoints[family], LORA)
    cases = make_cases(plain.hf.config, MIXED)
    before = score(plain, cases).logprobs_L
    torch.testing.assert_close(score(adapted, cases).logprobs_L, before, rtol=0, atol=0)  # adapters start as zero
    train_adapters(adapted.hf)
    after = score(adapted, cases).logprobs_L
    assert (after - before).abs().max() > 0.1
    with without_adapters(adapted.hf):
        torch.testing.assert_close(score(adapted, cases).logprobs_L, before, rtol=0, atol=0)
    torch.testing.assert_close(score(adapted, cases).logprobs_L, after, rtol=0, atol=0)

    merged = {weight.name: weight.merged() for weight in weights(adapted.hf)}
    assert list(merged) == [name for name, _ in plain.hf.named_parameters()]
    plain.hf.load_state_dict(merged, strict=False)
    torch.testing.assert_close(score(plain, cases).logprobs_L, after, rtol=0, atol=2e-5)


def test_only_adapters_train_and_only_on_weights_that_were_trainable(checkpoints):
    policy = load(checkpoints["qwen2_vl"], LORA, freeze=["model.language_model.layers.0."])
    trained = [name for name, parameter in policy.hf.named_parameters() if parameter.requires_grad]
    assert trained and all(".lora_" in name and ".layers.0." not in name for name in trained)
    assert {name.split(".")[-4] for name in trained} == {"q_proj", "down_proj"}


def test_an_unknown_target_raises_and_lists_the_known_ones(checkpoints):
    with pytest.raises(ConfigError, match=r"got 'qkv', wanted linears .*: down_proj, gate_proj, k_proj"):
        load(checkpoints["qwen2_vl"], LoraConfig(rank=1, targets=["qkv"]))  # in the vision tower
    with pytest.raises(ConfigError, match="leaves: none"):
        load(checkpoints["qwen2_vl"], LORA, freeze=["model.language_model."])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clip_is_encoded_once_for_all_passes_of_a_step(checkpoints, family):
    policy = load(checkpoints[family], LORA, FeatureCache(2**20))
    cases = make_cases(policy.hf.config, MIXED)
    seen = []
    policy.hf.model.visual.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    fresh = score(load(checkpoints[family], LORA), cases).logprobs_L
    with torch.no_grad(), without_adapters(policy.hf):
        reference = score(policy, cases).logprobs_L
    scores = score(policy, cases).logprobs_L
    scores.sum().backward()
    blank = policy.rule.spatial_merge_size**2
    assert seen == [sum(map(len, cases.patches)), blank]
    torch.testing.assert_close(reference, fresh, rtol=0, atol=0)
    torch.testing.assert_close(scores, fresh, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in policy.hf.model.visual.parameters())
