"""The size of a model without its weights: from a folder's config.json, or from a table of published models.

Parameters are counted on a meta device, so the numbers are exact and cost no memory. Loads and downloads no weights.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2_5_VLConfig, Qwen2VLConfig, Qwen3VLConfig

from vrl.algo.positions import FAMILIES
from vrl.config import LoraConfig
from vrl.errors import ConfigError

_TEXT = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
_VISION_2 = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "patch_size": 14}
_VISION_25 = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420}
_VISION_25_LARGE = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3456}
_VISION_3 = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]}
_VISION_3_LARGE = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]}

# Published models: text sizes in the order of _TEXT, vocabulary, tied embeddings, vision tower.
_PUBLISHED: dict[str, tuple[type, tuple[int, ...], int, bool, dict[str, Any]]] = {
    "Qwen/Qwen2-VL-2B-Instruct": (Qwen2VLConfig, (1536, 8960, 28, 12, 2), 151936, True, _VISION_2),
    "Qwen/Qwen2-VL-7B": (Qwen2VLConfig, (3584, 18944, 28, 28, 4), 152064, False, _VISION_2),
    "Qwen/Qwen2-VL-7B-Instruct": (Qwen2VLConfig, (3584, 18944, 28, 28, 4), 152064, False, _VISION_2),
    "Qwen/Qwen2-VL-72B-Instruct": (Qwen2VLConfig, (8192, 29568, 80, 64, 8), 152064, False, _VISION_2),
    "Qwen/Qwen2.5-VL-3B-Instruct": (Qwen2_5_VLConfig, (2048, 11008, 36, 16, 2), 151936, True, _VISION_25),
    "Qwen/Qwen2.5-VL-7B-Instruct": (Qwen2_5_VLConfig, (3584, 18944, 28, 28, 4), 152064, False, _VISION_25),
    "Qwen/Qwen2.5-VL-32B-Instruct": (Qwen2_5_VLConfig, (5120, 27648, 64, 40, 8), 152064, False, _VISION_25_LARGE),
    "Qwen/Qwen2.5-VL-72B-Instruct": (Qwen2_5_VLConfig, (8192, 29568, 80, 64, 8), 152064, False, _VISION_25_LARGE),
    "Qwen/Qwen3-VL-2B-Instruct": (Qwen3VLConfig, (2048, 6144, 28, 16, 8), 151936, True, _VISION_3),
    "Qwen/Qwen3-VL-4B-Instruct": (Qwen3VLConfig, (2560, 9728, 36, 32, 8), 151936, True, _VISION_3),
    "Qwen/Qwen3-VL-8B-Instruct": (Qwen3VLConfig, (4096, 12288, 36, 32, 8), 151936, False, _VISION_3_LARGE),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The sizes that determine memory and token counts."""

    name: str
    family: str
    parameters: dict[str, int]  # Hugging Face name of every parameter -> number of elements; tied ones once
    linears: dict[str, tuple[int, int]]  # (out, in) of every linear of the language model
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    patch: int  # pixels along the side of a vision patch
    merge: int  # patches along the side of a vision token
    frames_per_step: int  # frames merged into one time step
    vision_depth: int
    vision_hidden: int
    vision_intermediate: int

    @property
    def num_parameters(self) -> int:
        return sum(self.parameters.values())

    def num_trained(self, frozen_prefixes: list[str], lora: LoraConfig) -> int:
        """Return the number of trained parameters: those under no frozen prefix, or with LoRA their adapters."""
        frozen = tuple(frozen_prefixes)
        if lora.rank:
            chosen = (n for n in self.linears if n.rsplit(".", 1)[-1] in lora.targets and not n.startswith(frozen))
            return sum(lora.rank * sum(self.linears[name]) for name in chosen)
        return sum(size for name, size in self.parameters.items() if not name.startswith(frozen))


def model_shape(path: str) -> ModelShape:
    """Return the shape of a Hugging Face folder, or of a published model by its hub name. Downloads nothing.

    Raises ConfigError for a name that is neither, or a family that vrl does not train.
    """
    if (Path(path) / "config.json").is_file():
        return _shape(path, AutoConfig.from_pretrained(path, trust_remote_code=False))
    if path in _PUBLISHED:
        return _published(path)
    raise ConfigError(
        f"model.path: got {path}, wanted a run that has finished, a folder with a config.json, or one of "
        f"{', '.join(_PUBLISHED)}"
    )


@lru_cache  # counting billions of parameters takes seconds
def _published(name: str) -> ModelShape:
    family, sizes, vocabulary, tied, vision = _PUBLISHED[name]
    text = dict(zip(_TEXT, sizes, strict=True)) | {"vocab_size": vocabulary}
    width = "hidden_size" if family is Qwen2VLConfig else "out_hidden_size"  # width of the tower's output
    config = family(text_config=text, vision_config={**vision, width: sizes[0]}, tie_word_embeddings=tied)
    return _shape(name, config)


def _shape(path: str, config: Any) -> ModelShape:
    if config.model_type not in FAMILIES:
        raise ConfigError(f"model.path: got model_type {config.model_type!r}, wanted one of {FAMILIES}")
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    text, vision = config.text_config, config.vision_config
    # Qwen2-VL calls the width of its tower embed_dim, and the language model's width hidden_size.
    vision_hidden = vision.embed_dim if config.model_type == "qwen2_vl" else vision.hidden_size
    return ModelShape(
        name=path,
        family=config.model_type,
        parameters={name: parameter.numel() for name, parameter in model.named_parameters()},
        linears={
            name: (module.out_features, module.in_features)
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and name.startswith("model.language_model.")
        },
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        heads=text.num_attention_heads,
        kv_heads=text.num_key_value_heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
        vocabulary=text.vocab_size,
        patch=vision.patch_size,
        merge=vision.spatial_merge_size,
        frames_per_step=vision.temporal_patch_size,
        vision_depth=vision.depth,
        vision_hidden=vision_hidden,
        vision_intermediate=getattr(vision, "intermediate_size", None) or int(vision_hidden * vision.mlp_ratio),
    )
