import numpy as np
import pytest

from vrl.algo.positions import PositionRule
from vrl.errors import DataError
from vrl.rollout.inputs import media_spans
from vrl.types import Prompt, Sample, VisionGrid

START, END, IMAGE, VIDEO, TEXT = 9, 10, 12, 13, 50


def rule(family: str) -> PositionRule:
    return PositionRule(family=family, image_token_id=IMAGE, video_token_id=VIDEO, spatial_merge_size=2)


def prompt(tokens: list[int], *vision: VisionGrid) -> Prompt:
    return Prompt(sample=Sample(sample_id="a", task="vqa", question="?"), token_ids=np.array(tokens), vision=vision)


def test_image_then_clip_own_their_tokens_and_patches():
    tokens = [TEXT, START, IMAGE, IMAGE, END, START, VIDEO, VIDEO, VIDEO, VIDEO, END, TEXT]
    image = VisionGrid(kind="image", grid_thw=(1, 2, 4))
    clip = VisionGrid(kind="video", grid_thw=(2, 4, 2))
    first, second = media_spans(prompt(tokens, image, clip), rule("qwen2_vl"))
    assert (first.start, first.is_slot_L.tolist(), first.first_patch) == (2, [True, True], 0)
    assert (second.start, second.is_slot_L.tolist(), second.first_patch) == (6, [True] * 4, 8)


def test_a_qwen3_clip_reaches_from_its_first_frame_mark_to_its_last():
    step = [START, VIDEO, END]
    tokens = [TEXT, START, 60, 61, *step, 60, 62, *step, END, TEXT]
    clip = VisionGrid(kind="video", grid_thw=(2, 2, 2))
    (span,) = media_spans(prompt(tokens, clip), rule("qwen3_vl"))
    assert span.start == 4
    assert span.is_slot_L.tolist() == [False, True, False, False, False, False, True, False]


def test_a_qwen3_clip_of_one_time_step_still_starts_at_its_mark():
    tokens = [START, 60, START, VIDEO, END, END]
    (span,) = media_spans(prompt(tokens, VisionGrid(kind="video", grid_thw=(1, 2, 2))), rule("qwen3_vl"))
    assert (span.start, span.is_slot_L.tolist()) == (2, [False, True, False])


def test_a_missing_placeholder_is_an_error():
    with pytest.raises(DataError, match="do not match"):
        media_spans(prompt([START, VIDEO, END], VisionGrid(kind="video", grid_thw=(1, 2, 4))), rule("qwen2_vl"))


def test_a_text_prompt_has_no_spans():
    assert media_spans(prompt([TEXT, TEXT]), rule("qwen2_vl")) == ()
