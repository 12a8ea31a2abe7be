"""MVBench: twenty tasks of two hundred questions; mean over the tasks, which is the pooled accuracy of the whole set.

Reads `json/<task>.json` (Hugging Face `OpenGVLab/MVBench`), each a list of objects with video, question, candidates,
answer (the text of a candidate) and, in four tasks, start and end in seconds. Clips are `video/<folder>/<video>`, the
folder being that of the table, or the one that its authors repaired, `video/data0613/<folder>/<video>`, or the pre-cut
segment of the branch `video`, the second folder of the table, which is shown whole. Episodic reasoning is published as
folders of frames at 3 a second: its clip is `video/tvqa/frames_fps3_hq/<video>.mp4`, which the user makes of them, or
that of the branch. The clips of `nturgbd` were withdrawn; without a copy of them fine-grained pose cannot be asked.

Replies: a letter and a period at the start, else the first A to E of either case that stands alone once punctuation is
taken out, as `mvbench/utils.py` of lmms-eval: the article of `a dog` is option A. Empty replies, which lmms-eval leaves
out of the mean, are wrong.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from vrl.data.rows import Row, Source
from vrl.data.rows.options import letter_of
from vrl.errors import DataError
from vrl.evaluation.item import Benchmark, Groups, choice
from vrl.evaluation.reading.letters import offered
from vrl.evaluation.reading.rule import LMMS_EVAL, ReplyRule
from vrl.types import Media, Sample

_FRAMES = "tvqa/frames_fps3_hq"
FOLDERS = {
    "action_sequence": "star/Charades_v1_480",
    "action_prediction": "star/Charades_v1_480",
    "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "unexpected_action": "FunQA_test/test",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos",
    "moving_direction": "clevrer/video_validation",
    "action_localization": "sta/sta_video",
    "scene_transition": "scene_qa/video",
    "action_count": "perception/videos",
    "moving_count": "clevrer/video_validation",
    "moving_attribute": "clevrer/video_validation",
    "state_change": "perception/videos",
    "fine_grained_pose": "nturgbd",
    "character_order": "perception/videos",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": _FRAMES,
    "counterfactual_inference": "clevrer/video_validation",
}


_SEGMENTS = {  # where the branch `video` differs (lmms-eval's mvbench)
    "star/Charades_v1_480": "star/Charades_segment",
    "sta/sta_video": "sta/sta_video_segment",
    "nturgbd": "nturgbd_convert",
    "ssv2_video": "ssv2_video_mp4",
    _FRAMES: "tvqa/video_fps3_hq_segment",
}
_WITHDRAWN = "nturgbd"

_MARKS = tuple(';/[]"{}()=+\\_-><@`,?!')
_GROUPED = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_MAX_PERIODS = int(re.UNICODE)  # lmms-eval passes this flag where a count belongs
_ALONE = re.compile(r"\b[A-E]\b", re.IGNORECASE)


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds `json/` and `video/`."""
    for task in FOLDERS:
        yield from Source(path / "json" / f"{task}.json")


def samples(row: Row) -> list[Sample]:
    """One question a row. Ids count the rows of a file from 0."""
    task, options = row.source.path.stem, row.texts("candidates")
    suffix = ".mp4" if FOLDERS[task] == _FRAMES else ""
    media = Media(
        kind="video",
        path=f"{FOLDERS[task]}/{row.text('video')}{suffix}",
        start_s=row.number_of("start") if "start" in row else 0.0,
        end_s=row.number_of("end") if "end" in row else None,
    )
    answer, sample_id = letter_of(row, "answer", options), f"{task}-{row.number - 1}"
    return [choice(row, sample_id=sample_id, options=options, answer=answer, media=media, source="mvbench")]


def groups(row: Row) -> Groups:
    """The task."""
    return {"task": (row.source.path.stem,)}


def locate(sample: Sample, folder: Path) -> Sample:
    """Return the sample with the clip of the layout that is there. Raise DataError (withdrawn) for a withdrawn clip."""
    (media,) = sample.media
    original = PurePosixPath(media.path)
    published = str(original.parent)
    repaired = replace(media, path=f"data0613/{original}")
    candidates = [media, repaired]
    if published in _SEGMENTS:
        name = original.name if published != _FRAMES else original.stem
        names = dict.fromkeys([name, f"{PurePosixPath(name).stem}.mp4"])
        candidates += [Media(kind="video", path=f"{_SEGMENTS[published]}/{name}") for name in names]
    for candidate in candidates:
        if (folder / candidate.path).is_file():
            return replace(sample, media=(candidate,))
    if published == _WITHDRAWN:
        raise DataError(f"{media.path}: the clips of {_WITHDRAWN} were withdrawn by their authors", reason="withdrawn")
    return sample


def letter(reply: str, sample: Sample) -> str:
    """Return the letter by the rule above. A mark that stands next to a space vanishes, any other becomes a space."""
    first, text = reply.strip()[:2], reply.strip()[2:].lstrip()
    if first[:1].upper() in tuple("ABCDE") and first[1:] == "." and text and "\n" not in text:
        return offered(first[0].upper(), sample)
    text = reply.replace("\n", " ").replace("\t", " ").strip()
    grouped, original = _GROUPED.search(text) is not None, text
    for mark in _MARKS:
        apart = f"{mark} " in original or f" {mark}" in original or grouped
        text = text.replace(mark, "" if apart else " ")
    alone = _ALONE.search(_PERIOD.sub("", text, count=_MAX_PERIODS))
    return offered(alone[0].upper(), sample) if alone is not None else ""


BENCHMARK = Benchmark(
    name="mvbench", rows=rows, samples=samples, groups=groups, media="video", locate=locate, overall=("task",),
    reply=ReplyRule(source=f"{LMMS_EVAL}/mvbench_think/utils.py", choice=letter),
)  # fmt: skip
