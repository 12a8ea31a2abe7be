"""Views: crops, brightness, moments, and several questions about the frames of one decode."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.clips import FOUR_FRAMES, shade, shades, write_clip

from vrl.config import MediaLimitsConfig
from vrl.data.decode import video
from vrl.data.decode.sampling import choose_moments
from vrl.data.worker import DataWorker, apply_view
from vrl.errors import DataError
from vrl.types import Frames, Media, Sample, View


def frames(pixels_THWC: np.ndarray) -> Frames:
    return Frames(pixels_THWC=pixels_THWC, timestamps_s=np.arange(len(pixels_THWC)) * 0.5, duration_s=2.0)


def test_a_crop_keeps_the_pixels_of_its_part():
    rows, columns = np.mgrid[:10, :20]
    image = np.stack([rows, columns, rows], axis=-1).astype(np.uint8)[None]
    got = apply_view(frames(image), View(crop=(0.1, 0.5, 0.6, 1.0))).pixels_THWC[0]
    assert got.shape == (5, 10, 3)
    assert got[0, 0].tolist() == [5, 2, 5]
    assert got[-1, -1].tolist() == [9, 11, 9]


def test_a_crop_of_nothing_is_one_pixel():
    got = apply_view(frames(np.zeros((1, 4, 4, 3), np.uint8)), View(crop=(0.99, 0.99, 1.0, 1.0)))
    assert got.pixels_THWC.shape == (1, 1, 1, 3)


def test_brightness_rounds_and_stays_within_a_byte():
    image = np.array([[[[0, 101, 250]]]], dtype=np.uint8)
    assert apply_view(frames(image), View(brightness=1.1)).pixels_THWC.ravel().tolist() == [0, 111, 255]
    assert apply_view(frames(image), View(brightness=0.9)).pixels_THWC.ravel().tolist() == [0, 91, 225]


def test_moments_take_the_nearest_frames_of_the_cut():
    times_s = np.arange(16) / 8
    choice = choose_moments(times_s, 2.0, [0.0, 0.3, 0.31, 1.0], start_s=0.5)
    assert choice.indices.tolist() == [4, 6, 6, 12]
    assert choice.timestamps_s.tolist() == [0.0, 0.25, 0.25, 1.0]
    assert choice.duration_s == 1.5


@pytest.mark.parametrize("moments", [[0.0], [0.5, 0.2], [-0.1, 0.5], [0.5, 2.1]])
def test_moments_that_cannot_be_shown_are_refused(moments: list[float]):
    with pytest.raises(ValueError, match="wanted an even number of them"):
        choose_moments(np.arange(16) / 8, 2.0, moments)


def test_a_clip_is_read_at_its_moments(tmp_path: Path):
    path = write_clip(tmp_path / "a.mp4", [i / 8 for i in range(16)])
    media = Media(kind="video", path="a.mp4")
    got = video.read(path, media, FOUR_FRAMES, MediaLimitsConfig(), (0.25, 1.5))
    np.testing.assert_allclose(shades(got.pixels_THWC), [shade(2), shade(12)], atol=3)
    with pytest.raises(DataError) as caught:
        video.read(path, media, FOUR_FRAMES, MediaLimitsConfig(), (0.25, 9.0))
    assert caught.value.reason == "cut"


def test_several_questions_share_one_decode_and_the_patches(worker: DataWorker, sample: Sample):
    others = [replace(sample, task="grounding"), replace(sample, task="key_elements", question="What is there?")]
    prompts, patches = worker.prepare_views([sample, *others], View())
    assert [prompt.media_work.decodes for prompt in prompts] == [1, 0, 0]
    plain, plain_patches = worker.prepare(sample)
    np.testing.assert_array_equal(patches, plain_patches)
    assert {prompt.media_key for prompt in prompts} == {plain.media_key}
    assert prompts[0].token_ids.tolist() == plain.token_ids.tolist()
    assert [prompt.sample.task for prompt in prompts] == ["vqa", "grounding", "key_elements"]


def test_a_view_has_its_own_key_and_pixels(worker: DataWorker, sample: Sample):
    views = [View(), View(brightness=0.5), View(times_s=(0.25, 1.5)), View(crop=(0.0, 0.0, 0.9, 0.9))]
    shown = [worker.prepare_views([sample], view) for view in views]
    assert len({prompts[0].media_key for prompts, _ in shown}) == 4
    pairs = shown[2][1].reshape(16, 3, 2, 14 * 14).mean((0, 1, 3))  # patch, channel, frame of the pair, pixel
    np.testing.assert_allclose(pairs, [shade(2), shade(12)], atol=3)
    np.testing.assert_allclose(shown[1][1].mean(), shown[0][1].mean() / 2, atol=1)
    assert shown[2][0][0].timestamps_s == pytest.approx((0.25, 1.5))


def test_questions_about_different_media_are_refused(worker: DataWorker, sample: Sample):
    with pytest.raises(DataError, match="different media"):
        worker.prepare_views([sample, replace(sample, media=())], View())
