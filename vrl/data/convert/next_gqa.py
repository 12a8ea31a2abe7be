"""NExT-GQA (github.com/doc-doc/NExT-GQA, datasets/nextgqa): val.csv and test.csv, each with its gsub_<split>.json.

CSV: video_id, question, answer (the text of an option), qid, type, a0 .. a4. JSON: {video_id: {location: {qid: [[start,
end], ..]}, ..}}, seconds. If NExT-QA's map_vid_vidorID.json is next to them, clips are in the folders it names.
The row holds the spans too: `data.expand` makes grounding of it.
"""

from collections.abc import Iterator

from vrl.data.convert.row import Row
from vrl.types import Sample

_COLUMNS = ("a0", "a1", "a2", "a3", "a4")


def samples(row: Row) -> Iterator[Sample]:
    """One row, one question. Raises DataError."""
    located = row.source.sibling(f"gsub_{row.source.path.stem}.json")
    if located is None:
        raise row.fault("spans", None, f"gsub_{row.source.path.stem}.json next to the CSV file")
    video, qid, answer = row.text("video_id"), row.text("qid"), row.text("answer")
    options = tuple(row.text(column) for column in _COLUMNS)
    if options.count(answer) != 1:
        raise row.fault("answer", answer, f"one of {options}")
    spans = located.get(video, {}).get("location", {}).get(qid, [])
    folders = row.source.sibling("map_vid_vidorID.json") or {}
    yield Sample(
        sample_id=f"nextgqa-{row.source.path.stem}-{video}-{qid}",
        task="vqa",
        question=row.text("question"),
        answer=chr(65 + options.index(answer)),
        answer_type="choice",
        media=(row.media("video", "video_id", f"{folders.get(video, video)}.mp4"),),
        options=options,
        spans=tuple(row.span(f"location.{qid}", span) for span in spans),
        source="next-gqa",
    )
