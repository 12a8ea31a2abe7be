import asyncio
from pathlib import Path

import numpy as np

from vrl.data.media_tracker import MediaTracker
from vrl.data.preparer import SamplePreparer
from vrl.types import Prompt, Sample, VisionGrid

CLIP = (VisionGrid(kind="video", grid_thw=(1, 2, 2)),)  # 4 patches: 6144 bytes at most


def asked_for(folder: Path, vision: tuple[VisionGrid, ...], names: str, *, cache_bytes: int) -> tuple[list[str], list]:
    """Prepare samples with these names in turn; return the names that reached the workers, and the prompts."""
    asked: list[str] = []

    async def prepare(sample: Sample) -> tuple[Prompt, object]:
        asked.append(sample.sample_id)
        return Prompt(sample=sample, token_ids=np.array([1]), vision=vision), object()

    async def scenario() -> list:
        preparer = SamplePreparer(prepare, MediaTracker(folder / "bad.jsonl"), cache_bytes=cache_bytes)
        return [await preparer(Sample(sample_id=name, task="vqa", question="?")) for name in names]

    return asked, asyncio.run(scenario())


def test_cached_prompts_are_prepared_once_as_far_as_there_is_room(tmp_path: Path) -> None:
    asked, found = asked_for(tmp_path, CLIP, "012012", cache_bytes=2 * 6144)
    assert asked == ["0", "1", "2", "2"]
    assert found[:2] == found[3:5] and found[2][1] is not found[5][1]


def test_without_a_cache_nothing_is_kept_however_small(tmp_path: Path) -> None:
    for vision in (CLIP, ()):
        asked, _ = asked_for(tmp_path, vision, "00", cache_bytes=0)
        assert asked == ["0", "0"]


def test_a_cache_keeps_samples_without_media(tmp_path: Path) -> None:
    assert asked_for(tmp_path, (), "00", cache_bytes=1)[0] == ["0"]
