"""Models and groups for the learner's benchmarks: random weights in the proportions of real ones. Loads nothing.

`small` keeps the proportions of the released 2B and 3B checkpoints that a step's time depends on (vision tower to
language model, MLP to attention, grouped key heads, head to layers) at a width where matrix products,
not Python, take the time of a CPU.
`7b` is Qwen2-VL-7B's own shape, for a GPU.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import (
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from vrl.algo.positions import position_rule
from vrl.types import TrainingGroup, VisionGrid

_MODELS = {
    "qwen2_vl": (Qwen2VLConfig, Qwen2VLForConditionalGeneration),
    "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
    "qwen3_vl": (Qwen3VLConfig, Qwen3VLForConditionalGeneration),
}
FAMILIES = tuple(_MODELS)
_IDS = {"image_token_id": 1, "video_token_id": 2, "vision_start_token_id": 3, "vision_end_token_id": 4}
_FIRST_WORD = 10  # ids below are special

NORMALISATION = (np.full(3, 1 / 127.5), np.full(3, -1.0))  # raw channel values to [-1, 1]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One group and its patches, uint8 [num_patches, patch_dim]."""

    group: TrainingGroup
    patches: np.ndarray


def build(family: str, shape: str, *, device: str, dtype: torch.dtype, vocab_size: int = 4096) -> PreTrainedModel:
    """Return a model of a family and a shape ("small" or "7b") with random weights, fixed by the arguments."""
    config_type, model_type = _MODELS[family]
    text, vision = _shape_7b() if shape == "7b" else _shape_small(family, vocab_size)
    config = config_type(
        text_config=text, vision_config=vision, tie_word_embeddings=text["tie_word_embeddings"], **_IDS
    )
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return model_type(config)
    finally:
        torch.set_default_dtype(torch.float32)


def make_case(config: Any, *, group_size: int, visual_tokens: int, completion_tokens: int, text_tokens: int) -> Case:
    """Return a group of `group_size` completions of one length about one clip of square frames."""
    rng, rule = np.random.default_rng(0), position_rule(config)
    side = 8  # merged tokens along an edge of a frame
    steps = visual_tokens // side**2
    if steps * side**2 != visual_tokens:
        raise SystemExit(f"visual_tokens={visual_tokens}: wanted a multiple of {side**2}")
    edge = side * rule.spatial_merge_size
    clip = VisionGrid(kind="video", grid_thw=(steps, edge, edge), seconds_per_grid=1.0)

    def words(count: int) -> np.ndarray:
        return rng.integers(_FIRST_WORD, config.text_config.vocab_size, count)

    pieces = [words(text_tokens // 2)]
    for _ in range(steps if rule.family == "qwen3_vl" else 1):  # Qwen3-VL writes a timestamp before every step
        pieces += [words(1), np.full(visual_tokens // (steps if rule.family == "qwen3_vl" else 1), rule.video_token_id)]
    pieces.append(words(text_tokens - text_tokens // 2))
    vision = config.vision_config
    patch_dim = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    group = TrainingGroup(
        prompt_token_ids=np.concatenate(pieces),
        vision=(clip,),
        completions=tuple(words(completion_tokens) for _ in range(group_size)),
        loss_masks=tuple(np.ones(completion_tokens, dtype=bool) for _ in range(group_size)),
        advantages_G=rng.normal(size=group_size).astype(np.float32),
    )
    return Case(group=group, patches=rng.integers(0, 256, (clip.num_patches, patch_dim)).astype(np.uint8))


def _shape_small(family: str, vocab_size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """15 million parameters: 4 layers of 512 before a tower of 4 layers of 256."""
    section = [12, 10, 10] if family == "qwen3_vl" else [8, 12, 12]
    text = {
        "vocab_size": vocab_size,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 32768,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": section,
            "rope_theta": 1e6,
            **({"mrope_interleaved": True} if family == "qwen3_vl" else {}),
        },
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    common = {"depth": 4, "num_heads": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "patch_size": 14}
    if family == "qwen2_vl":
        return text, common | {"embed_dim": 256, "hidden_size": 512, "mlp_ratio": 4, "in_channels": 3}
    common |= {"hidden_size": 256, "intermediate_size": 768, "out_hidden_size": 512}
    if family == "qwen2_5_vl":
        return text, common | {"window_size": 112, "fullatt_block_indexes": [3], "tokens_per_second": 2}
    return text, common | {"patch_size": 16, "num_position_embeddings": 576, "deepstack_visual_indexes": [0, 1, 2]}


def _shape_7b() -> tuple[dict[str, Any], dict[str, Any]]:
    """Qwen2-VL-7B-Instruct's config.json."""
    text = {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6},
        "tie_word_embeddings": False,
    }
    vision = {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16, "mlp_ratio": 4, "in_channels": 3}
    return text, vision | {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
