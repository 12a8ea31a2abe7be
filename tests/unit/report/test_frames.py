"""Images from patches, against the processors that made the patches."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from vrl.report.frames import frames_of, jpeg, unpatchify
from vrl.types import VisionGrid

RAW = {"do_resize": False, "do_rescale": False, "do_normalize": False, "return_tensors": "np"}


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("processor", "side"),
    [(Qwen2VLVideoProcessor(patch_size=14), 14), (Qwen3VLVideoProcessor(patch_size=16), 16)],
)
def test_frames_come_back_from_the_processor_s_patches(processor: Qwen2VLVideoProcessor, side: int) -> None:
    video = noise(6, 2 * side, 4 * side, 3)
    clip = torch.from_numpy(video).permute(0, 3, 1, 2)
    out = processor([clip], do_sample_frames=False, cap_pixels_per_frame=False, **RAW)
    patches = np.asarray(out["pixel_values_videos"]).astype(np.uint8)
    t, h, w = (int(n) for n in out["video_grid_thw"][0])
    assert (t, h, w) == (3, 2, 4)
    assert np.array_equal(unpatchify(patches, (t, h, w)), video)


def test_clips_and_images_of_one_prompt_are_separated() -> None:
    processor = Qwen2VLImageProcessor(patch_size=14)
    still, clip = noise(56, 28, 3), noise(4, 28, 28, 3)
    image = processor([torch.from_numpy(still).permute(2, 0, 1)], **RAW)
    video = Qwen2VLVideoProcessor(patch_size=14)(
        [torch.from_numpy(clip).permute(0, 3, 1, 2)], do_sample_frames=False, cap_pixels_per_frame=False, **RAW
    )
    patches = np.concatenate([np.asarray(image["pixel_values"]), np.asarray(video["pixel_values_videos"])])
    vision = (VisionGrid(kind="image", grid_thw=(1, 4, 2)), VisionGrid(kind="video", grid_thw=(2, 2, 2)))
    first, second = frames_of(patches.astype(np.uint8), vision)
    assert np.array_equal(first, still[None]) and np.array_equal(second, clip)


def test_patches_that_do_not_fill_the_grid_are_refused() -> None:
    with pytest.raises(ValueError, match="patches: got shape"):
        unpatchify(np.zeros((7, 1176), np.uint8), (2, 2, 2))


def test_jpeg_shrinks_to_the_longer_side_and_keeps_colours() -> None:
    frame = np.zeros((100, 400, 3), np.uint8)
    frame[:] = (220, 40, 40)
    shown = np.asarray(Image.open(io.BytesIO(jpeg(frame, 200))))
    assert shown.shape == (50, 200, 3) and np.abs(shown.astype(int) - (220, 40, 40)).max() <= 4
