import pytest

from vrl.config import LoraConfig, ModelConfig
from vrl.learner.engine import parameter_groups
from vrl.learner.lora import add_adapters
from vrl.learner.model import load_hf_model
from vrl.toyworld.model import FAMILIES, build_family


@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_decay_and_norms_biases_embeddings_do_not(tmp_path, family):
    build_family(tmp_path, family, sharp=False)
    hf = load_hf_model(ModelConfig(path=str(tmp_path), dtype="float32"))
    names = {id(parameter): name for name, parameter in hf.named_parameters()}
    decayed, plain = ({names[id(p)] for p in group["params"]} for group in parameter_groups(hf, 0.1))
    assert decayed | plain == set(names.values()) and not decayed & plain
    assert "model.language_model.layers.0.self_attn.q_proj.weight" in decayed
    assert "model.visual.patch_embed.proj.weight" in decayed
    assert "model.language_model.embed_tokens.weight" in plain  # and the head, which is tied to it
    assert {name for name in names.values() if "norm" in name or name.endswith(".bias")} <= plain
    assert [group["weight_decay"] for group in parameter_groups(hf, 0.1)] == [0.1, 0.0]


def test_adapters_are_all_matrices(tmp_path):
    build_family(tmp_path, "qwen2_vl", sharp=False)
    hf = load_hf_model(ModelConfig(path=str(tmp_path), dtype="float32"))
    add_adapters(hf, LoraConfig(rank=2, targets=["q_proj"]))
    (group,) = parameter_groups(hf, 0.1)
    assert group["weight_decay"] == 0.1 and len(group["params"]) == 2 * hf.config.text_config.num_hidden_layers
