import numpy as np
import pytest

from vrl.algo.positions import PositionRule
from vrl.errors import DataError
from vrl.rollout.inputs import media_spans, media_tensors, read_media
from vrl.types import Prompt, Sample, VisionGrid

START, END, IMAGE, VIDEO, TEXT = 9, 10, 12, 13, 50


def rule(family: str) -> PositionRule:
    return PositionRule(family=family, image_token_id=IMAGE, video_token_id=VIDEO, spatial_merge_size=2)


def prompt(tokens: list[int], *vision: VisionGrid) -> Prompt:
    return Prompt(sample=Sample(sample_id="a", task="vqa", question="?"), token_ids=np.array(tokens), vision=vision)


def test_image_then_clip_cover_their_tokens():
    tokens = [TEXT, START, IMAGE, IMAGE, END, START, VIDEO, VIDEO, VIDEO, VIDEO, END, TEXT]
    image = VisionGrid(kind="image", grid_thw=(1, 2, 4))
    clip = VisionGrid(kind="video", grid_thw=(2, 4, 2))
    first, second = media_spans(prompt(tokens, image, clip), rule("qwen2_vl"))
    assert (first.start, first.is_slot_L.tolist()) == (2, [True, True])
    assert (second.start, second.is_slot_L.tolist()) == (6, [True] * 4)


def test_a_qwen3_clip_spans_from_its_first_vision_start_to_its_last_vision_end():
    step = [START, VIDEO, END]
    tokens = [TEXT, START, 60, 61, *step, 60, 62, *step, END, TEXT]
    clip = VisionGrid(kind="video", grid_thw=(2, 2, 2))
    (span,) = media_spans(prompt(tokens, clip), rule("qwen3_vl"))
    assert span.start == 4
    assert span.is_slot_L.tolist() == [False, True, False, False, False, False, True, False]


def test_a_qwen3_clip_of_one_time_step_also_starts_at_vision_start():
    tokens = [START, 60, START, VIDEO, END, END]
    (span,) = media_spans(prompt(tokens, VisionGrid(kind="video", grid_thw=(1, 2, 2))), rule("qwen3_vl"))
    assert (span.start, span.is_slot_L.tolist()) == (2, [False, True, False])


def test_a_missing_placeholder_is_an_error():
    with pytest.raises(DataError, match="do not match"):
        media_spans(prompt([START, VIDEO, END], VisionGrid(kind="video", grid_thw=(1, 2, 4))), rule("qwen2_vl"))


def test_a_text_prompt_has_no_spans():
    assert media_spans(prompt([TEXT, TEXT]), rule("qwen2_vl")) == ()


def test_patches_are_sorted_by_kind_in_media_order_and_read_back():
    image = VisionGrid(kind="image", grid_thw=(1, 2, 2))
    clip = VisionGrid(kind="video", grid_thw=(2, 2, 2), seconds_per_grid=0.96)
    patches = np.arange(20, dtype=np.uint8)[:, None] + np.zeros((1, 3), dtype=np.uint8)
    tensors = media_tensors((image, clip, clip), patches)
    assert tensors["pixel_values"][:, 0].tolist() == [0, 1, 2, 3]
    assert tensors["pixel_values_videos"][:, 0].tolist() == list(range(4, 20))
    assert tensors["video_grid_thw"].tolist() == [[2, 2, 2], [2, 2, 2]]
    assert tensors["second_per_grid_ts"].tolist() == [float(np.float32(0.96))] * 2
    second = {name: rows[8:] for name, rows in tensors.items() if name == "pixel_values_videos"}
    second |= {"video_grid_thw": tensors["video_grid_thw"][1], "second_per_grid_ts": tensors["second_per_grid_ts"][1]}
    grid, rows = read_media("video", second)
    assert (grid.kind, grid.grid_thw, grid.seconds_per_grid) == ("video", (2, 2, 2), float(np.float32(0.96)))
    assert rows[:, 0].tolist() == list(range(12, 20))
