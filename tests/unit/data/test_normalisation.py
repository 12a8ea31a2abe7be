import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from vrl.data.normalisation import normalisation
from vrl.errors import ConfigError

CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


def checkpoint(folder: Path, image: dict[str, Any], video: dict[str, Any]) -> Path:
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": image, "video_processor": video}))
    return folder


def test_constants_are_those_of_the_affine_map(tmp_path: Path) -> None:
    same = {"image_mean": [0.5, 0.5, 0.25], "image_std": [0.5, 0.5, 0.25], "rescale_factor": 1 / 255}
    weight, bias = normalisation(checkpoint(tmp_path, same, same))
    np.testing.assert_allclose(255 * weight + bias, [1.0, 1.0, 3.0], rtol=1e-6)
    assert bias.tolist() == [-1.0, -1.0, -1.0]
    assert weight.dtype == bias.dtype == np.float32


def test_older_checkpoints_have_one_file_for_both(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": CLIP_MEAN, "image_std": CLIP_STD}))
    weight, bias = normalisation(tmp_path)
    np.testing.assert_allclose(weight, 1 / 255 / np.array(CLIP_STD), rtol=1e-6)
    np.testing.assert_allclose(bias, -np.array(CLIP_MEAN) / np.array(CLIP_STD), rtol=1e-6)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_the_map_gives_what_the_processor_would_have_given(checkpoints: dict[str, Path], family: str) -> None:
    processor = AutoProcessor.from_pretrained(checkpoints[family]).video_processor
    clip = np.random.default_rng(0).integers(0, 256, (4, 56, 56, 3), dtype=np.uint8)
    kwargs: Any = {"videos": [clip], "cap_pixels_per_frame": False, "do_sample_frames": False, "return_tensors": "pt"}
    raw = processor(do_rescale=False, do_normalize=False, **kwargs)["pixel_values_videos"]
    weight, bias = (torch.from_numpy(x)[:, None] for x in normalisation(checkpoints[family]))
    ours = (raw.reshape(len(raw), 3, -1) * weight + bias).reshape(raw.shape)
    torch.testing.assert_close(ours, processor(**kwargs)["pixel_values_videos"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("key", "value"), [("image_mean", [0.5] * 3), ("image_std", [0.5] * 3), ("rescale_factor", 1.0)]
)
def test_a_checkpoint_that_treats_clips_otherwise_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    image = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "rescale_factor": 1 / 255}
    with pytest.raises(ConfigError, match=f"{key}: image .* video "):
        normalisation(checkpoint(tmp_path, image, {**image, key: value}))


def test_a_checkpoint_without_constants_or_without_normalisation_is_refused(
    tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    with pytest.raises(ConfigError, match="image_mean"):
        normalisation(tmp_path)
    shutil.copy(checkpoints["qwen2_vl"] / "processor_config.json", tmp_path)
    config = json.loads((tmp_path / "processor_config.json").read_text())
    config["image_processor"]["do_normalize"] = config["video_processor"]["do_normalize"] = False
    with pytest.raises(ConfigError, match="do_normalize=False"):
        normalisation(checkpoint(tmp_path, config["image_processor"], config["video_processor"]))
