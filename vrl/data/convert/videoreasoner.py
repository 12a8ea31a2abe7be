"""VideoReasoner (github.com/Wang-Xiaodong1899/VideoReasoner): the JSON of its cold start and of its RL stage.

Columns: path, problem, data_type (video | image), problem_type (grounding | qa, among others), options, solution or
answer, data_source; of an event times ([start, end] in seconds), or points (the same as fractions) and duration; of the
cold start response, the reply in full. A row is of the task whose prefix opens its response, else of its problem_type.
"""

from collections.abc import Iterator
from dataclasses import replace

from vrl.data.convert.grounding import grounding_sample
from vrl.data.rows import Row
from vrl.data.rows.options import block, choice_of, plain_options
from vrl.tasks import TASKS
from vrl.types import Sample

_TASKS = {"grounding": "grounding", "qa": "vqa", "multiple choice": "vqa", "key_elements": "key_elements"}


def samples(row: Row) -> Iterator[Sample]:
    """One row, one sample. Raises RowError."""
    task, sample_id = _task(row), f"{row.source.path.stem}-{row.number}"
    media = row.media(row.text("data_type", "video"), "path", row.text("path"))
    source = row.text("data_source", "videoreasoner")
    reply = row.text("response", "").strip().removeprefix(TASKS[task].prefix).strip()
    if task == "grounding":
        yield replace(grounding_sample(sample_id, row.text("problem"), _span(row), media, source), reply=reply)
    elif task == "key_elements":
        elements = row.text("response").removeprefix(TASKS[task].prefix).split(",")
        yield Sample(
            sample_id=sample_id,
            task=task,
            question=row.text("problem"),
            answer_type="elements",
            media=(media,),
            key_elements=tuple(element.strip() for element in elements if element.strip()),
            source=source,
            reply=reply,
        )
    else:
        options = plain_options([str(option) for option in row.list_of("options")])
        written = row.text("solution", "") or row.text("answer", "") or row.text("response")
        answer = block(written, "answer") or written.removeprefix(TASKS[task].prefix).strip()
        yield Sample(
            sample_id=sample_id,
            task=task,
            question=row.text("problem"),
            answer=choice_of(row, "answer", answer, options) if options else answer,
            answer_type="choice" if options else "text",
            media=(media,),
            options=options,
            spans=(_span(row),) if "times" in row or "points" in row else (),
            source=source,
            reply=reply,
        )


def _task(row: Row) -> str:
    response, kind = row.text("response", ""), row.text("problem_type", "")
    for name in set(_TASKS.values()):
        if response.startswith(TASKS[name].prefix):
            return name
    if kind not in _TASKS:
        raise row.error("problem_type", kind, f"one of {list(_TASKS)}, or a response with the prefix of a task")
    return _TASKS[kind]


def _span(row: Row) -> tuple[float, float]:
    if "times" in row:
        return row.span("times", row.columns["times"])
    start, end = row.span("points", row.columns.get("points"))
    duration_s = row.number_of("duration")
    return start * duration_s, end * duration_s
