"""MVBench: twenty tasks of two hundred questions; mean over the tasks, which is the pooled accuracy of the whole set.

Reads `json/<task>.json` (Hugging Face `OpenGVLab/MVBench`), each a list of objects with video, question, candidates,
answer (the text of a candidate) and, in four tasks, start and end in seconds. Clips are `video/<folder>/<video>`, the
folder being that of the table. Episodic reasoning is published as folders of frames at 3 a second: its clip is
`video/tvqa/frames_fps3_hq/<video>.mp4`, which the user makes of them.
"""

from pathlib import Path

from vrl.evaluation.item import Benchmark, Item, choice, letter_of
from vrl.evaluation.rows import Row, json_rows

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


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `json/` and `video/`."""
    return [
        _item(row, task, number)
        for task in FOLDERS
        for number, row in enumerate(json_rows(path / "json" / f"{task}.json"))
    ]


def _item(row: Row, task: str, number: int) -> Item:
    options = row.texts("candidates")
    suffix = ".mp4" if FOLDERS[task] == _FRAMES else ""
    sample = choice(
        sample_id=f"{task}-{number}",
        question=row.text("question"),
        options=options,
        answer=letter_of(row.text("answer"), options, row.where),
        video=f"{FOLDERS[task]}/{row.text('video')}{suffix}",
        source="mvbench",
        start_s=row.number("start") if "start" in row else 0.0,
        end_s=row.number("end") if "end" in row else None,
    )
    return Item(sample=sample, groups={"task": (task,)})


BENCHMARK = Benchmark(name="mvbench", read=read, media="video", overall=("task",))
