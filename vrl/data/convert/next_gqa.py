"""NExT-GQA (github.com/doc-doc/NExT-GQA, datasets/nextgqa): val.csv and test.csv, each with its gsub_<split>.json.

CSV: video_id, question, answer (the text of an option), qid, type, a0 .. a4. JSON: {video_id: {location: {qid: [[start,
end], ..]}, ..}}, seconds. If NExT-QA's map_vid_vidorID.json is next to them, clips are in the folders it names.
The row holds the spans too: `data.expand` makes grounding of it.
"""

from collections.abc import Iterator

from vrl.data.rows import Row
from vrl.data.rows.options import letter_of
from vrl.types import Sample

OPTIONS = ("a0", "a1", "a2", "a3", "a4")


def samples(row: Row) -> Iterator[Sample]:
    """One row, one question. Raises RowError."""
    split = row.source.path.stem
    located = row.source.sibling(f"gsub_{split}.json")
    if located is None:
        raise row.error("spans", None, f"gsub_{split}.json next to the CSV file")
    video, qid = row.text("video_id"), row.text("qid")
    options = tuple(row.text(column) for column in OPTIONS)
    spans = located.get(video, {}).get("location", {}).get(qid, [])
    folders = row.source.sibling("map_vid_vidorID.json") or {}
    yield Sample(
        sample_id=f"nextgqa-{split}-{video}-{qid}",
        task="vqa",
        question=row.text("question"),
        answer=letter_of(row, "answer", options),
        answer_type="choice",
        media=(row.media("video", "video_id", f"{folders.get(video, video)}.mp4"),),
        options=options,
        spans=tuple(row.span(f"location.{qid}", span) for span in spans),
        source="next-gqa",
    )
