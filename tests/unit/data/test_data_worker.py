import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.clips import FOUR_FRAMES, shade, write_clip

from vrl.config import CacheConfig, DataConfig, ModelConfig
from vrl.data.worker import DataWorker
from vrl.errors import DataError, MediaError
from vrl.types import Media, MediaWork, Prompt, Sample


def test_prepare_gives_the_frames_of_the_clip_as_raw_patches(worker: DataWorker, sample: Sample) -> None:
    prompt, patches = worker.prepare(sample)
    assert prompt.sample == sample
    assert prompt.vision[0].grid_thw == (2, 4, 4)
    pairs = patches.reshape(2, 16, 3, 2, 14 * 14).mean((1, 2, 4))  # grid step, patch, channel, frame of the pair, pixel
    np.testing.assert_allclose(pairs, [[shade(0), shade(4)], [shade(8), shade(12)]], atol=3)
    np.testing.assert_allclose(prompt.timestamps_s, [0.0, 0.5, 1.0, 1.5], atol=1e-4)
    assert prompt.duration_s == pytest.approx(2.0)
    assert 0 < prompt.decode_s < 10
    assert prompt.media_work == MediaWork(decodes=1)


def test_prepare_sft_has_the_same_pixels_and_key_and_a_target(worker: DataWorker, sample: Sample) -> None:
    prompt, patches = worker.prepare(sample)
    sft, sft_patches = worker.prepare_sft(sample)
    np.testing.assert_array_equal(patches, sft_patches)
    assert sft.media_key == prompt.media_key != ""
    whole = [*sft.token_ids, *sft.target_token_ids]
    assert whole[: len(prompt.token_ids)] == prompt.token_ids.tolist()
    assert len(whole) > len(prompt.token_ids)


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
        assert isinstance(caught.value, MediaError) == (reason not in ("task", "too_long"))
    prompt, _ = worker.prepare(sample)
    assert prompt.sample == sample
    assert prompt.media_work == MediaWork(decodes=4)  # text, cut, too long, and this one


@pytest.fixture
def make(checkpoints: dict[str, Path], tmp_path: Path) -> Iterator[Callable[[], DataWorker]]:
    """Return a maker of workers that share a cache."""
    made = []

    def make() -> DataWorker:
        cache = CacheConfig(dir=str(tmp_path / "cache"))
        data = DataConfig(train=str(tmp_path / "train.parquet"), frames=FOUR_FRAMES, cache=cache)
        model = ModelConfig(path=str(checkpoints["qwen2_vl"]), max_context_tokens=256)
        made.append(DataWorker(model, data, max_tokens=16))
        return made[-1]

    yield make
    for worker in made:
        worker.close()


def test_decodes_are_distinct_clips_over_questions_workers_copies_and_epochs(
    make: Callable[[], DataWorker], sample: Sample, tmp_path: Path
) -> None:
    write_clip(tmp_path / "b.mp4", [i / 8 for i in range(24)])
    shutil.copy(tmp_path / "a.mp4", tmp_path / "copy.mp4")
    samples = [sample, replace(sample, question="Why?"), *(with_clip(sample, name) for name in ("b.mp4", "copy.mp4"))]
    first = [make().prepare(sample) for sample in samples]
    worker = make()
    second = [worker.prepare(sample) for sample in samples]
    assert sum((prompt.media_work for prompt, _ in first), MediaWork()) == MediaWork(decodes=2, cache_hits=2)
    assert sum((prompt.media_work for prompt, _ in second), MediaWork()) == MediaWork(cache_hits=4)
    for (decoded, patches), (kept, kept_patches) in zip(first, second, strict=True):
        np.testing.assert_array_equal(patches, kept_patches)
        assert without_work(kept) == without_work(decoded)
    assert len({prompt.media_key for prompt, _ in first}) == 2


def test_workers_that_want_a_clip_concurrently_decode_it_once(make: Callable[[], DataWorker], sample: Sample) -> None:
    workers = [make() for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        prompts = [prompt for prompt, _ in threads.map(lambda worker: worker.prepare(sample), workers)]
    assert sum((prompt.media_work for prompt in prompts), MediaWork()) == MediaWork(decodes=1, cache_hits=2)


def test_a_changed_file_is_decoded_anew(make: Callable[[], DataWorker], sample: Sample, tmp_path: Path) -> None:
    worker = make()
    _, before = worker.prepare(sample)
    write_clip(tmp_path / "a.mp4", [i / 8 for i in range(24)])
    prompt, after = worker.prepare(sample)
    assert prompt.media_work == MediaWork(decodes=1) and len(after) == len(before)
    assert prompt.duration_s == pytest.approx(3.0)


def test_a_corrupt_entry_is_counted_and_decoded_again(
    make: Callable[[], DataWorker], sample: Sample, tmp_path: Path
) -> None:
    worker = make()
    _, patches = worker.prepare(sample)
    (entry,) = (tmp_path / "cache" / "entries").glob("*/*")
    data = bytearray(entry.read_bytes())
    data[-1] ^= 1
    entry.write_bytes(data)
    prompt, again = worker.prepare(sample)
    assert prompt.media_work == MediaWork(decodes=1, corrupt_entries=1)
    np.testing.assert_array_equal(again, patches)
    assert worker.prepare(sample)[0].media_work == MediaWork(cache_hits=1)


def with_clip(sample: Sample, path: str) -> Sample:
    return replace(sample, media=(Media(kind="video", path=path),))


def without_work(prompt: Prompt) -> dict[str, Any]:
    fields = asdict(replace(prompt, decode_s=0.0, media_work=MediaWork()))
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}
