import numpy as np
import pytest

from vrl.algo.positions import PositionRule, completion_positions, position_rule, prompt_positions, vision_slots
from vrl.errors import ConfigError, DataError
from vrl.types import VisionGrid

IMAGE, VIDEO = 90, 91


def rule(family, tokens_per_second=1.0):
    return PositionRule(
        family=family,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        spatial_merge_size=2,
        tokens_per_second=tokens_per_second,
    )


def video(t, h, w, seconds=1.0):
    return VisionGrid(kind="video", grid_thw=(t, h, w), seconds_per_grid=seconds)


def test_text_counts_up_on_all_axes():
    positions = prompt_positions(np.array([5, 6, 7]), (), rule("qwen2_vl"))
    assert positions.tolist() == [[0, 1, 2]] * 3
    assert completion_positions(positions, 2).tolist() == [[3, 4]] * 3


def test_a_clip_is_a_grid_and_text_continues_after_its_largest_axis():
    # Four time steps of one slot each: the time axis (2..5) is the largest, so text continues at 6, not at 2 + 1.
    positions = prompt_positions(np.array([1, 2] + [VIDEO] * 4 + [3]), (video(4, 2, 2),), rule("qwen2_vl"))
    assert positions.tolist() == [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 2, 2, 2, 6], [0, 1, 2, 2, 2, 2, 6]]
    assert completion_positions(positions, 1).tolist() == [[7]] * 3


def test_an_image_counts_rows_and_columns():
    positions = prompt_positions(
        np.array([1] + [IMAGE] * 6 + [2]), (VisionGrid(kind="image", grid_thw=(1, 4, 6)),), rule("qwen2_5_vl", 2.0)
    )
    assert positions[0].tolist() == [0, 1, 1, 1, 1, 1, 1, 4]
    assert positions[1].tolist() == [0, 1, 1, 1, 2, 2, 2, 4]
    assert positions[2].tolist() == [0, 1, 2, 3, 1, 2, 3, 4]


def test_seconds_pass_through_float32_and_multiply_in_double():
    # Every 12th frame at 25 fps: 0.96 s. float32(0.96) x 2 x 25 is just below 48; plain double arithmetic gives 48.
    positions = prompt_positions(np.full(32, VIDEO), (video(32, 2, 2, 0.96),), rule("qwen2_5_vl", 2.0))
    assert positions[0, :4].tolist() == [0, 1, 3, 5]
    assert positions[0, 25] == 47


def test_qwen2_ignores_seconds():
    positions = prompt_positions(np.full(3, VIDEO), (video(3, 2, 2, 5.0),), rule("qwen2_vl"))
    assert positions[0].tolist() == [0, 1, 2]


def test_qwen3_gives_each_time_step_its_own_block_between_texts():
    tokens = [1, VIDEO, VIDEO, 2, 3, VIDEO, VIDEO, 4]  # 1 and 2, 3 are the texts with the time
    positions = prompt_positions(np.array(tokens), (video(2, 2, 4),), rule("qwen3_vl"))
    assert positions[0].tolist() == [0, 1, 1, 3, 4, 5, 5, 7]
    assert positions[1].tolist() == [0, 1, 1, 3, 4, 5, 5, 7]
    assert positions[2].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert vision_slots(np.array(tokens), (video(2, 2, 4),), rule("qwen3_vl")).tolist() == [1, 2, 5, 6]


def test_slots_follow_the_order_of_media():
    tokens = np.array([1, VIDEO, VIDEO, 2, IMAGE, 3])
    media = (video(2, 2, 2), VisionGrid(kind="image", grid_thw=(1, 2, 2)))
    assert vision_slots(tokens, media, rule("qwen2_vl")).tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("tokens", "media", "said"),
    [
        ([1, VIDEO], (video(2, 2, 2),), "do not match"),  # too few placeholders
        ([VIDEO, VIDEO, VIDEO], (video(2, 2, 2),), "got 1 placeholder tokens after"),
        ([1, IMAGE], (video(1, 2, 2),), "do not match"),  # of the other kind
        ([1, VIDEO], (), "after the last of 0 grids"),
    ],
)
def test_placeholders_that_do_not_match_the_grids_are_refused(tokens, media, said):
    with pytest.raises(DataError, match=said):
        prompt_positions(np.array(tokens), media, rule("qwen2_vl"))


def test_a_clip_without_seconds_is_refused_if_seconds_matter():
    with pytest.raises(DataError, match="seconds_per_grid 0"):
        prompt_positions(np.full(2, VIDEO), (video(2, 2, 2, 0.0),), rule("qwen2_5_vl", 2.0))


def test_an_unknown_family_is_refused():
    class Config:
        model_type = "llava"

    with pytest.raises(ConfigError, match="llava"):
        position_rule(Config())
