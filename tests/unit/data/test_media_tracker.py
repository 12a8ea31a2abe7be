import asyncio
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vrl.data.media_tracker import MediaTracker, cache_hit_frac
from vrl.data.preparer import SamplePreparer
from vrl.errors import DataError, MediaError
from vrl.types import Media, MediaWork, Prompt, Sample

CLIP = Media(kind="video", path="a.mp4")


def sample(name: str, *media: Media) -> Sample:
    return Sample(sample_id=name, task="vqa", question="?", answer="x", media=media)


class Preparing:
    """A `prepare` that refuses the media of `bad` and records its calls."""

    def __init__(self, bad: dict[str, str]) -> None:
        self.bad = bad
        self.asked: list[str] = []

    async def __call__(self, sample: Sample) -> tuple[Prompt, object]:
        self.asked.append(sample.sample_id)
        await asyncio.sleep(0)
        for media in sample.media:
            if media.path in self.bad:
                raise MediaError(f"{media.path}: broken", self.bad[media.path], media)
        work = MediaWork(decodes=len(sample.media), cache_hits=1)
        return Prompt(sample=sample, token_ids=np.zeros(1, np.int64), media_work=work), "patches"


def ask(tracker: MediaTracker, preparing: Preparing, samples: Sequence[Sample]) -> list[str]:
    """Prepare all concurrently; return the reason of each failure, '' for success."""

    async def scenario() -> list[str]:
        prepare = SamplePreparer(preparing, tracker)
        done = await asyncio.gather(*(prepare(sample) for sample in samples), return_exceptions=True)
        return [result.reason if isinstance(result, DataError) else "" for result in done]

    return asyncio.run(scenario())


def test_bad_media_are_listed_once_and_not_tried_again(tmp_path: Path) -> None:
    tracker, preparing = MediaTracker(tmp_path / "bad.jsonl"), Preparing({"a.mp4": "corrupt"})
    assert ask(tracker, preparing, [sample("1", CLIP), sample("2", CLIP)]) == ["corrupt", "corrupt"]
    later = [sample("3", replace(CLIP, start_s=4.0)), sample("4", Media(kind="video", path="b.mp4"), CLIP)]
    assert ask(tracker, preparing, later) == ["corrupt", "corrupt"]
    assert preparing.asked == ["1", "2"]
    (line,) = (tmp_path / "bad.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "path": "a.mp4",
        "start_s": 0.0,
        "end_s": None,
        "reason": "corrupt",
        "message": "a.mp4: broken",
        "sample_id": "1",
    }


def test_a_bad_cut_spoils_only_itself(tmp_path: Path) -> None:
    tracker, preparing = MediaTracker(tmp_path / "bad.jsonl"), Preparing({"a.mp4": "cut"})
    assert ask(tracker, preparing, [sample("1", replace(CLIP, start_s=99.0))]) == ["cut"]
    preparing.bad = {}
    assert ask(tracker, preparing, [sample("2", replace(CLIP, start_s=99.0)), sample("3", CLIP)]) == ["cut", ""]
    assert preparing.asked == ["1", "3"]


def test_the_list_survives_a_kill_and_a_repaired_file_is_tried_once_its_line_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    preparing = Preparing({"a.mp4": "timeout", "b.mp4": "corrupt"})
    ask(MediaTracker(path), preparing, [sample("1", CLIP), sample("2", Media(kind="video", path="b.mp4"))])
    with path.open("a") as stream:
        stream.write('{"path": "c.m')  # torn by a kill
    preparing.bad = {"d.mp4": "crash"}
    again = MediaTracker(path)
    asked = [sample("3", CLIP), sample("4", Media(kind="video", path="d.mp4"))]
    assert ask(again, preparing, asked) == ["timeout", "crash"]
    assert [bad.path for bad in MediaTracker(path).bad] == ["a.mp4", "b.mp4", "d.mp4"]
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert ask(MediaTracker(path), preparing, [sample("5", CLIP)]) == [""]


def test_faults_of_the_sample_are_not_its_medias(tmp_path: Path) -> None:
    async def too_long(_: Sample) -> tuple[Prompt, object]:
        raise DataError("too many tokens", reason="too_long")

    tracker = MediaTracker(tmp_path / "bad.jsonl")

    async def scenario() -> None:
        await SamplePreparer(too_long, tracker)(sample("1", CLIP))

    with pytest.raises(DataError, match="too many tokens"):
        asyncio.run(scenario())
    assert tracker.bad == []


def test_work_is_counted_on_top_of_what_was_done_before(tmp_path: Path) -> None:
    tracker = MediaTracker(tmp_path / "bad.jsonl", work=MediaWork(decodes=10, corrupt_entries=1))
    ask(tracker, Preparing({}), [sample("1", CLIP), sample("2", CLIP, CLIP)])
    assert tracker.work == MediaWork(decodes=13, cache_hits=2, corrupt_entries=1)


def test_the_share_of_hits_is_over_media_and_not_over_prompts() -> None:
    works = [MediaWork(decodes=3), MediaWork(cache_hits=1), MediaWork()]
    prompts = [Prompt(sample=sample("1"), token_ids=np.zeros(1, np.int64), media_work=work) for work in works]
    assert cache_hit_frac(prompts) == 0.25
    assert cache_hit_frac(prompts[2:]) == 0.0


def test_a_media_error_crosses_processes_whole() -> None:
    error = pickle.loads(pickle.dumps(MediaError("a.mp4: broken", "corrupt", CLIP)))
    assert (str(error), error.reason, error.media) == ("a.mp4: broken", "corrupt", CLIP)
