"""Tiny Qwen2-VL, Qwen2.5-VL and Qwen3-VL checkpoints with random weights, as ordinary Hugging Face folders.

The plain ones (about a million parameters, float32) can be trained on a laptop. The sharp ones have large weights, so
that a fault in positions or pixels shows in the log-probs, which would otherwise be nearly uniform. Trains nothing; the
vocabulary of the tokenizer comes from the toy world.
"""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from vrl.errors import ConfigError
from vrl.toyworld.words import corpus

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|event_start|>",
    "<|event_end|>",
)

# Words with their space; an edge of an event, "[0.12," or " 0.50]", as one token and so one decision; other digits
# one by one; then the rest.
_PIECES = r" ?\p{L}+|\[[01]\.\d\d,| [01]\.\d\d\]|\.\d\d|\d| ?[^\s\p{L}\p{N}]+|\s+"

_CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_STD = 0.05  # measured: learns the toy world's answer formats in half the steps of the usual 0.02
_SHARP_TEXT_STD = 0.12  # measured: a position fault costs nats, while a rounding of 1e-5 stays 1e-5
_SHARP_VISION_STD = 0.08


def build_toy_model(out: Path, seed: int = 0) -> None:
    """Write the trainable toy policy, a Qwen2-VL, into the folder `out`. Equal seeds give equal bytes."""
    build_family(out, "qwen2_vl", sharp=False, seed=seed)


def build_family(out: Path, family: str, *, sharp: bool, seed: int = 0) -> None:
    """Write a tiny checkpoint of `family` with tokenizer, processor and chat template into the folder `out`.

    Raises ConfigError for a family that is not in FAMILIES.
    """
    if family not in FAMILIES:
        raise ConfigError(f"family: got {family!r}, wanted one of {FAMILIES}")
    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _build_model(family, tokenizer, sharp)
        if sharp:
            _sharpen(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(out)
    _build_processor(family, tokenizer, sharp).save_pretrained(out)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE with one token for every word of the toy world; other text becomes bytes."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8192,  # never reached: training ends when every word of the corpus is one token
        min_frequency=1,
        show_progress=False,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    bpe.train_from_iterator(corpus(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


def _build_model(family: str, tokenizer: PreTrainedTokenizerFast, sharp: bool) -> PreTrainedModel:
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    text = _text_config(family, tokenizer, sharp)
    vision = _vision_config(family, sharp)
    config: dict[str, Any] = {"text_config": text, "vision_config": vision, "tie_word_embeddings": True, **ids}
    if family == "qwen2_vl":
        return Qwen2VLForConditionalGeneration(Qwen2VLConfig(**config)).float()
    if family == "qwen2_5_vl":
        return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config)).float()
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(**config)).float()


def _text_config(family: str, tokenizer: PreTrainedTokenizerFast, sharp: bool) -> dict[str, Any]:
    rope: dict[str, Any] = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    if family == "qwen3_vl":
        rope |= {"mrope_section": [6, 5, 5], "mrope_interleaved": True}
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 4096,
        "rope_parameters": rope,
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
        "initializer_range": _SHARP_TEXT_STD if sharp else _STD,
    }


def _vision_config(family: str, sharp: bool) -> dict[str, Any]:
    common: dict[str, Any] = {
        "num_heads": 4,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "initializer_range": _SHARP_VISION_STD if sharp else _STD,
    }
    if family == "qwen2_vl":
        return common | {"depth": 2, "embed_dim": 64, "hidden_size": 128, "mlp_ratio": 2, "in_channels": 3}
    common |= {"hidden_size": 64, "intermediate_size": 128, "out_hidden_size": 128}
    if family == "qwen2_5_vl":
        window = {"window_size": 56, "fullatt_block_indexes": [1], "tokens_per_second": 2}
        return common | {"depth": 3 if sharp else 2} | window
    if sharp:  # like the published models: patch 16 and three deepstack levels
        return common | {
            "depth": 6,
            "patch_size": 16,
            "num_position_embeddings": 576,
            "deepstack_visual_indexes": [1, 3, 4],
        }
    return common | {"depth": 3, "num_position_embeddings": 256, "deepstack_visual_indexes": [1]}


def _sharpen(model: torch.nn.Module) -> None:
    """Give biases and learned positions, which start at or near zero, weights that matter."""
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 and "norm" not in name:
            parameter.data.normal_(0, 0.05)
        if "pos_embed" in name:
            parameter.data.normal_(0, 0.3)


def _build_processor(
    family: str, tokenizer: PreTrainedTokenizerFast, sharp: bool
) -> Qwen2VLProcessor | Qwen2_5_VLProcessor | Qwen3VLProcessor:
    """Return a processor with equal image and video constants: vLLM normalises videos with the image processor's."""
    side = 112 if sharp else 56
    parts: dict[str, Any] = {"tokenizer": tokenizer, "chat_template": _CHAT_TEMPLATE}
    if family != "qwen3_vl":
        pixels: dict[str, Any] = {"min_pixels": 28 * 28, "max_pixels": side * side}
        kind = Qwen2VLProcessor if family == "qwen2_vl" else Qwen2_5_VLProcessor
        return kind(
            image_processor=Qwen2VLImageProcessor(**pixels), video_processor=Qwen2VLVideoProcessor(**pixels), **parts
        )
    patch = 16 if sharp else 14
    half: dict[str, Any] = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": patch}
    block = (2 * patch) ** 2
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**half, size={"shortest_edge": block, "longest_edge": 16 * block}),
        video_processor=Qwen3VLVideoProcessor(**half, size={"shortest_edge": block, "longest_edge": 16 * 64 * block}),
        **parts,
    )
