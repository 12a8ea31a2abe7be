"""The affine map from raw uint8 patches to inputs of the vision tower, read from a checkpoint.

The engine normalises images and clips on its device with the constants of the *image* processor; the learner must use
the same. Reads JSON only; builds no processor.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vrl.errors import ConfigError


def normalisation(model_path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Return (weight_3, bias_3), float32: a pixel of channel c becomes `x * weight[c] + bias[c]`, computed in float32.

    weight = rescale_factor / std and bias = -mean / std, in the arithmetic of vLLM's FusedMMInputNorm, bit for bit.
    Raises ConfigError if the checkpoint has no such constants, does not normalise, or treats clips differently from
    images (an engine would silently use the image's constants for both).
    """
    folder = Path(model_path)
    image = _image_section(folder)
    # transformers' search order; older checkpoints have one file for both
    nested = _json(folder / "processor_config.json").get("video_processor")
    video = nested or _json(folder / "video_preprocessor_config.json") or image
    for key in ("do_rescale", "do_normalize"):
        if image.get(key, True) is not True:
            raise ConfigError(f"model.path {folder}: got image {key}={image[key]}, wanted true")
    differing = [
        f"{key}: image {image.get(key)}, video {video.get(key)}"
        for key in ("image_mean", "image_std", "rescale_factor", "do_rescale", "do_normalize")
        if image.get(key) != video.get(key)
    ]
    if differing:
        raise ConfigError(
            f"model.path {folder}: images and clips are normalised differently ({'; '.join(differing)}), wanted the "
            "same constants in both sections of processor_config.json: the engine uses the image's for both"
        )
    mean = torch.tensor(image["image_mean"], dtype=torch.float32)
    std = torch.tensor(image["image_std"], dtype=torch.float32)
    return (image.get("rescale_factor", 1 / 255) / std).numpy(), (-mean / std).numpy()


def _image_section(folder: Path) -> dict[str, Any]:
    section = _json(folder / "processor_config.json").get("image_processor") or _json(
        folder / "preprocessor_config.json"
    )
    if "image_mean" not in section or "image_std" not in section:
        raise ConfigError(
            f"model.path {folder}: got no image_mean and image_std in processor_config.json or "
            "preprocessor_config.json, wanted a Qwen-VL checkpoint with its processor"
        )
    return section


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}
