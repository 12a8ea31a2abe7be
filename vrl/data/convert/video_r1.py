"""Video-R1 (Hugging Face Video-R1/Video-R1-data): Video-R1-260k.json and Video-R1-COT-165k.json.

Columns: problem_id, problem, data_type (video | image), problem_type (multiple choice | numerical | OCR | free-form |
regression), options (["A. ...", ...]), solution ("<answer>..</answer>"), path, data_source; process ("<think>..")
in the file with chains of thought.
"""

from collections.abc import Iterator

from vrl.data.rows import Row
from vrl.data.rows.options import block, plain_options
from vrl.types import Sample

_TYPES = {
    "multiple choice": "choice",
    "numerical": "number",
    "OCR": "ocr",
    "free-form": "free",
    "regression": "regression",
}


def samples(row: Row) -> Iterator[Sample]:
    """One row, one sample. Raises RowError."""
    kind, problem_type, solution = row.text("data_type"), row.text("problem_type"), row.text("solution")
    if kind not in ("video", "image"):
        raise row.error("data_type", kind, "video or image")
    if problem_type not in _TYPES:
        raise row.error("problem_type", problem_type, f"one of {list(_TYPES)}")
    answer = block(solution, "answer")
    if not answer:
        raise row.error("solution", solution, "<answer>..</answer>")
    yield Sample(
        sample_id=f"video-r1-{row.columns.get('problem_id', row.number)}",
        task="vqa",
        question=row.text("problem"),
        answer=answer,
        answer_type=_TYPES[problem_type],
        media=(row.media(kind, "path", row.text("path")),),
        options=plain_options([str(option) for option in row.list_of("options")]),
        thinking=block(row.text("process", ""), "think"),
        source=row.text("data_source", "video-r1"),
    )
