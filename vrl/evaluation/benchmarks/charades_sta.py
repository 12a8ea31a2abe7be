"""Charades-STA, test: when does a sentence happen? Mean IoU and the share of IoU >= 0.3, 0.5, 0.7.

Reads `charades_sta_test.txt` (repository `jiyanggao/TALL`), a line a query: `<clip> <start> <end>##<sentence>` in
seconds. Clips are `Charades_v1_480/<clip>.mp4`. An event that is annotated beyond the end of its clip ends with it.
"""

import re
from pathlib import Path

from vrl.errors import DataError
from vrl.evaluation.item import Benchmark, Item
from vrl.types import Media, Sample

_LINE = re.compile(r"(\S+) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)##(.+)")


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `charades_sta_test.txt`."""
    file = path / "charades_sta_test.txt"
    if not file.is_file():
        raise DataError(f"{file}: no such file", reason="dataset")
    lines = file.read_text(encoding="utf-8").splitlines()
    return [_item(file, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _item(file: Path, number: int, line: str) -> Item:
    found = _LINE.fullmatch(line.strip())
    if found is None or float(found[2]) >= float(found[3]):
        raise DataError(
            f"{file} line {number}: got {line!r}, wanted '<clip> <start> <end>##<sentence>' with start < end",
            reason="dataset",
        )
    sample = Sample(
        sample_id=f"{number}-{found[1]}",
        task="grounding",
        question=found[4].strip(),
        answer_type="span",
        spans=((float(found[2]), float(found[3])),),
        media=(Media(kind="video", path=f"{found[1]}.mp4"),),
        source="charades_sta",
    )
    return Item(sample=sample)


BENCHMARK = Benchmark(name="charades_sta", read=read, media="Charades_v1_480")
