"""Tokens that a cold start adds: tokenizer, embedding and configuration grow together, all else stays."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from vrl.config import ModelConfig
from vrl.errors import ConfigError
from vrl.learner.model import load_hf_model
from vrl.toyworld.model import FAMILIES, build_family
from vrl.training.added_tokens import freezes_embedding, own_model, with_tokens

NEW = ["<|keyframe_start|>", "<|keyframe_end|>"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    build_family(tmp_path / "m", "qwen2_vl", sharp=True)
    return tmp_path / "m"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_grows_by_the_new_tokens(tmp_path: Path, family: str):
    build_family(tmp_path / "m", family, sharp=True)
    grown = with_tokens(tmp_path / "m", [*NEW, "<|event_start|>"], tmp_path / "run" / "model")  # the last one is known
    before, after = (AutoProcessor.from_pretrained(folder) for folder in (tmp_path / "m", grown))
    old, new = before.tokenizer, after.tokenizer
    assert len(new) == len(old) + 2
    assert new.convert_tokens_to_ids(NEW) == [len(old), len(old) + 1]
    text = "red <|keyframe_start|> [0.12, <|event_start|>"
    assert new.decode(new(text)["input_ids"]) == text and len(old) in new(text)["input_ids"]
    assert new("Which shape is red?")["input_ids"] == old("Which shape is red?")["input_ids"]
    assert all(new.added_tokens_decoder[index].special for index in (len(old), len(old) + 1))
    assert after.apply_chat_template([{"role": "user", "content": "a"}]) == before.apply_chat_template(
        [{"role": "user", "content": "a"}]
    )
    first: Any = AutoModelForImageTextToText.from_pretrained(tmp_path / "m").eval()
    second: Any = load_hf_model(ModelConfig(path=str(grown), dtype="float32")).eval()
    table = first.get_input_embeddings().weight
    assert second.get_input_embeddings().weight.shape == (len(old) + 2, table.shape[1])
    assert torch.equal(second.get_input_embeddings().weight[: len(old)], table)
    torch.testing.assert_close(second.get_input_embeddings().weight[len(old) :], table.mean(0).expand(2, -1))
    assert second.get_output_embeddings().weight is second.get_input_embeddings().weight  # tied as before
    assert second.config.text_config.vocab_size == len(old) + 2


def test_spare_rows_are_used_before_rows_are_added_and_other_files_are_links(model: Path, tmp_path: Path):
    """A published model has more rows than tokens, an output embedding of its own and several files."""
    tensors = load_file(model / "model.safetensors")
    (name,) = [name for name in tensors if name.endswith("embed_tokens.weight")]
    table = tensors.pop(name)
    rows = len(table)
    padded = torch.cat([table, torch.full((5, table.shape[1]), 7.0)])
    save_file({name: padded, "lm_head.weight": 2 * padded}, model / "a.safetensors", metadata={"format": "pt"})
    save_file(tensors, model / "b.safetensors", metadata={"format": "pt"})
    (model / "model.safetensors").unlink()
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["vocab_size"] = rows + 5
    (model / "config.json").write_text(json.dumps(config))
    grown = with_tokens(model, NEW, tmp_path / "grown")
    found = load_file(grown / "a.safetensors")
    for key, factor in ((name, 1), ("lm_head.weight", 2)):
        assert len(found[key]) == rows + 5  # of which two are new tokens
        torch.testing.assert_close(found[key][rows : rows + 2], (factor * table).mean(0).expand(2, -1))
        assert torch.equal(found[key][rows + 2 :], factor * padded[rows + 2 :])
    assert (grown / "b.safetensors").is_symlink() and not (grown / "a.safetensors").is_symlink()
    assert json.loads((grown / "config.json").read_text())["text_config"]["vocab_size"] == rows + 5


def test_a_model_that_has_all_tokens_stays_and_a_made_folder_is_kept(model: Path, tmp_path: Path):
    assert with_tokens(model, ["<|event_start|>"], tmp_path / "grown") == model
    assert own_model(tmp_path, model) == model
    grown = with_tokens(model, NEW, tmp_path / "model")
    time = (grown / "model.safetensors").stat().st_mtime_ns
    assert with_tokens(model, NEW, tmp_path / "model") == grown == own_model(tmp_path, model)
    assert (grown / "model.safetensors").stat().st_mtime_ns == time
    with_tokens(model, NEW[:1], grown)
    assert NEW[1] not in (grown / "tokenizer.json").read_text()


def test_tokens_that_cannot_be_added_are_refused(model: Path, tmp_path: Path):
    for tokens in (["a b"], [""], ["<|x|>", "<|x|>"]):
        with pytest.raises(ConfigError, match=r"sft\.add_tokens: got .* wanted different tokens without white space"):
            with_tokens(model, tokens, tmp_path / "grown")
    (model / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"got no \*\.safetensors"):
        with_tokens(model, NEW, tmp_path / "grown")


def test_a_frozen_embedding_is_seen():
    assert freezes_embedding(["model.visual", "model.language"]) and freezes_embedding(["lm_head"])
    assert not freezes_embedding(["model.visual"])
