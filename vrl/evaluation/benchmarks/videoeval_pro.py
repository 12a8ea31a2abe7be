"""VideoEval-Pro: questions of four benchmarks about long clips, each asked twice: openly (the one number), as a choice.

Reads `data/test-*.parquet` (Hugging Face `TIGER-Lab/VideoEval-Pro`), columns video, question, options (`A. ...`),
answer (a letter), answer_text, source, qa_type, qa_subtype. Clips are `videos/<video>`, `videos_filtered/<video>` or
the latter in `videos`. `benchmark.keep={form: [open]}` asks only half as much.

Replies: a judge compares an open answer with the true one, as `tools/gpt4o_judge.py` of `TIGER-AI-Lab/VideoEval-Pro`;
its judge is gpt-4o-2024-08-06, so set reward.judge. A choice is the first letter of the reply, of either case, behind
`the answer is`, `answer:` or `the option is`, by the same file.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vrl.data.rows import Row, shards
from vrl.data.rows.options import plain_options
from vrl.evaluation.item import Benchmark, Groups, choice, open_question
from vrl.evaluation.reading.letters import offered
from vrl.evaluation.reading.rule import ReplyRule
from vrl.types import Media, Sample

_GROUPS = ("source", "qa_type", "qa_subtype")
_COLUMNS = ("video", "question", "options", "answer", "answer_text", *_GROUPS)
_FOLDERS = ("videos", "videos_filtered", "videos/videos_filtered")
_BEHIND = ("the answer is", "answer:", "the option is")


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds `data/` and the clips."""
    return shards(path / "data", "test-*.parquet", _COLUMNS)


def samples(row: Row) -> list[Sample]:
    """The question openly, `<row>-open`, and as a choice, `<row>-choice`; rows count from 0."""
    media, source, number = Media(kind="video", path=row.text("video")), "videoeval_pro", row.number - 1
    options, answer = plain_options(row.texts("options")), row.text("answer")
    return [
        open_question(
            row, sample_id=f"{number}-open", answer="answer_text", answer_type="free", media=media, source=source
        ),
        choice(row, sample_id=f"{number}-choice", options=options, answer=answer, media=media, source=source),
    ]


def groups(row: Row) -> Groups:
    """Benchmark that the question is from, kind of question, and its part."""
    return {key: (row.text(key),) for key in _GROUPS}


def forms(sample: Sample) -> Groups:
    """How it is asked: `open` or `choice`."""
    return {"form": ("choice" if sample.options else "open",)}


def locate(sample: Sample, folder: Path) -> Sample:
    """Return the sample with its clip in the first folder that has it, else in `videos`."""
    (media,) = sample.media
    paths = [f"{name}/{media.path}" for name in _FOLDERS]
    there = next((path for path in (*paths, media.path) if (folder / path).is_file()), paths[0])
    return replace(sample, media=(replace(media, path=there),))


def letter(reply: str, sample: Sample) -> str:
    """Return the letter by the rule above."""
    reply = reply.lower()
    behind = next((phrase for phrase in _BEHIND if phrase in reply), "")
    rest = reply.rpartition(behind)[2] if behind else reply
    return offered(next((char.upper() for char in rest if char.isalpha()), ""), sample)


BENCHMARK = Benchmark(
    name="videoeval_pro", rows=rows, samples=samples, groups=groups, forms=forms, locate=locate,
    among={"form": "open"}, measure="judged_accuracy",
    reply=ReplyRule(source="TIGER-AI-Lab/VideoEval-Pro, tools/gpt4o_judge.py", choice=letter),
)  # fmt: skip
