from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clips import shade, write_clip

from vrl.config import DataConfig, FrameConfig, ModelConfig
from vrl.data.worker import DataWorker
from vrl.errors import DataError
from vrl.types import Media, Sample

FRAMES = FrameConfig(fps=2.0, min_frames=4, max_frames=4, min_pixels=28 * 28, max_pixels=56 * 56)


@pytest.fixture
def worker(checkpoints: dict[str, Path], tmp_path: Path) -> Iterator[DataWorker]:
    worker = DataWorker(
        ModelConfig(path=str(checkpoints["qwen2_vl"]), max_context_tokens=256),
        DataConfig(train=str(tmp_path / "train.parquet"), frames=FRAMES),
        max_tokens=16,
    )
    yield worker
    worker.close()


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    write_clip(tmp_path / "a.mp4", [i / 8 for i in range(16)])
    return Sample(sample_id="s", task="vqa", question="How?", answer="red", media=(Media(kind="video", path="a.mp4"),))


def test_prepare_gives_the_frames_of_the_clip_as_raw_patches(worker: DataWorker, sample: Sample) -> None:
    prompt, patches = worker.prepare(sample)
    assert prompt.sample == sample
    assert prompt.vision[0].grid_thw == (2, 4, 4)
    pairs = patches.reshape(2, 16, 3, 2, 14 * 14).mean((1, 2, 4))  # grid step, patch, channel, frame of the pair, pixel
    np.testing.assert_allclose(pairs, [[shade(0), shade(4)], [shade(8), shade(12)]], atol=3)
    np.testing.assert_allclose(prompt.timestamps_s, [0.0, 0.5, 1.0, 1.5], atol=1e-4)
    assert prompt.duration_s == pytest.approx(2.0)
    assert 0 < prompt.decode_s < 10
    assert worker.num_decodes() == 1


def test_prepare_sft_has_the_same_pixels_and_key_and_a_target(worker: DataWorker, sample: Sample) -> None:
    prompt, patches = worker.prepare(sample)
    sft, sft_patches = worker.prepare_sft(sample)
    np.testing.assert_array_equal(patches, sft_patches)
    assert sft.media_key == prompt.media_key != ""
    whole = [*sft.token_ids, *sft.target_token_ids]
    assert whole[: len(prompt.token_ids)] == prompt.token_ids.tolist()
    assert len(whole) > len(prompt.token_ids)
    assert worker.num_decodes() == 2


def test_bad_samples_are_data_errors_and_do_not_hurt_the_next(
    worker: DataWorker, sample: Sample, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    for bad, reason in [
        (replace(sample, task="tap dance"), "task"),
        (replace(sample, media=(Media(kind="video", path="gone.mp4"),)), "missing"),
        (replace(sample, media=(Media(kind="video", path="text.mp4"),)), "corrupt"),
        (replace(sample, media=(Media(kind="video", path="../a.mp4"),)), "path"),
        (replace(sample, media=(Media(kind="video", path="a.mp4", start_s=5.0),)), "cut"),
        (replace(sample, question="long " * 300), "too_long"),
    ]:
        with pytest.raises(DataError) as caught:
            worker.prepare(bad)
        assert caught.value.reason == reason
    assert worker.prepare(sample)[0].sample == sample
