"""The check of whole datasets: good and bad files are separated, a kill is survived, no file is decoded twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.clips import blank, shorten_edit_list, write_clip, write_sound

from vrl.cli import main
from vrl.data.check import check_dataset, summarise
from vrl.data.dataset import read_samples, write_parquet
from vrl.errors import DataError
from vrl.toyworld.world import generate
from vrl.types import Media, Sample

TIMES_S = [i / 8 for i in range(40)]


def sample(name: str, *media: Media) -> Sample:
    return Sample(sample_id=name, task="vqa", question="?", answer="x", media=media)


def clip(path: str, **cut: float) -> Media:
    return Media(kind="video", path=path, **cut)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Five good media and six bad ones; `two` wants one of each."""
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "good.mp4", TIMES_S)
    write_clip(folder / "vp9.webm", TIMES_S[:8], codec="libvpx-vp9", size=64)
    shorten_edit_list(write_clip(folder / "edit.mp4", TIMES_S), 0.7)
    Image.new("RGB", (40, 30)).save(folder / "image.png")
    blank(write_clip(folder / "rotten.mp4", TIMES_S), 0.3, 0.5)
    write_sound(folder / "sound.mp4")
    (folder / "text.mp4").write_text("hello")
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "out.mp4").symlink_to("/etc/hostname")
    rows = [sample(name, clip(f"clips/{name}")) for name in ("good.mp4", "vp9.webm", "edit.mp4")]
    rows += [sample(name, clip(f"clips/{name}.mp4")) for name in ("rotten", "sound", "text", "empty", "out")]
    rows += [
        sample("image", Media(kind="image", path="clips/image.png")),
        sample("cut", clip("clips/good.mp4", start_s=1.0, end_s=2.0)),
        sample("late", clip("clips/good.mp4", start_s=9.0)),
        sample("two", clip("clips/good.mp4"), clip("clips/text.mp4")),
    ]
    write_parquet(rows, tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def test_good_and_bad_media_are_told_apart(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(dataset)]) == 1
    clean = dataset.with_name("train.clean.parquet")
    assert [row.sample_id for row in read_samples(clean)] == ["good.mp4", "vp9.webm", "edit.mp4", "image", "cut"]
    report = json.loads(dataset.with_name("train.check.json").read_text())
    reasons = {Path(bad["path"]).stem: bad["reason"] for bad in report["bad_media"]}
    wanted = {"rotten": "corrupt", "sound": "no_video", "text": "corrupt", "empty": "empty", "out": "path"}
    assert reasons == {**wanted, "good": "cut"}
    assert (report["media"], report["bad"], report["samples"], report["clean_samples"]) == (11, 6, 12, 5)
    assert report["reasons"]["corrupt"] == 2 and report["codecs"] == {"h264": 3, "vp9": 1}
    assert report["frames"] == {"min": 8, "median": 34, "max": 40}  # 40, 40 (the cut's file), 28 (edit list), 8
    assert "train.clean.parquet: 5 of 12 rows" in capsys.readouterr().out.replace("\n", "")
    assert main(["data", "check", str(clean)]) == 0
    assert main(["data", "check", str(dataset.with_name("gone.parquet"))]) == 2


def test_a_second_check_looks_only_at_what_has_changed(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "elsewhere" / "out"
    first = check_dataset(dataset, out=out)
    assert first.looked_at == 11 and first.clean.parent == out
    journal = out / "train.check.jsonl"
    with journal.open("a") as stream:
        stream.write('{"kind": "vi')  # a kill
    write_clip(tmp_path / "clips" / "text.mp4", TIMES_S)
    second = check_dataset(dataset, out=out)
    assert second.looked_at == 3  # the repaired file, and the two that are not files
    assert {finding.path for finding in second.bad} == {f.path for f in first.bad} - {"clips/text.mp4"}
    assert summarise(second)["clean_samples"] == 7
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_killed_check_resumes_where_it_stopped(tmp_path: Path) -> None:
    names = [f"{index}.mp4" for index in range(30)]
    write_clip(tmp_path / names[0], [i / 8 for i in range(800)])
    for name in names[1:]:
        (tmp_path / name).write_bytes((tmp_path / names[0]).read_bytes())
    write_parquet([sample(name, clip(name)) for name in names], tmp_path / "rows.parquet")
    journal = killed_at(3, tmp_path / "rows.parquet")
    before = journal.read_text().count("\n")
    assert 3 <= before < 30
    report = check_dataset(tmp_path / "rows.parquet")
    assert report.looked_at == 30 - before
    assert len(report.findings) == 30 and not report.bad


WAYS: tuple[Callable[[Path], Any], ...] = (
    lambda path: path.write_bytes(b""),
    lambda path: path.write_text("hello"),
    lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    write_sound,
    lambda path: blank(path, 0.2, 0.6),
)


@pytest.mark.slow
def test_a_dataset_with_twenty_bad_files_is_sorted_though_the_check_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each bad file is named once, however many rows and parts of it are wanted."""
    generate(tmp_path / "toy", train=40, val=1, test=1)
    dataset = tmp_path / "toy" / "train.parquet"
    rows = [row for row in read_samples(dataset) if row.media]
    clips = sorted({row.media[0].path for row in rows})
    for index, path in enumerate(clips[::2]):
        WAYS[index % len(WAYS)](tmp_path / "toy" / path)
    parts = [replace(row, sample_id=f"{row.sample_id}-cut", media=(replace(row.media[0], end_s=1.0),)) for row in rows]
    write_clip(tmp_path / "toy" / "long.mp4", [i / 8 for i in range(800)])
    for index in range(10):  # so that the check is still running when it is killed
        (tmp_path / "toy" / f"{index}.mp4").write_bytes((tmp_path / "toy" / "long.mp4").read_bytes())
    write_parquet([*rows, *parts, *(sample(f"{i}.mp4", clip(f"{i}.mp4")) for i in range(10))], dataset)
    journal = killed_at(5, dataset)
    before = journal.read_text().count("\n")
    assert main(["data", "check", str(dataset)]) == 1
    shown = capsys.readouterr().out.splitlines()
    report = json.loads(dataset.with_name("train.check.json").read_text())
    assert sorted(bad["path"] for bad in report["bad_media"]) == clips[::2] and report["bad"] == 20
    assert set(report["reasons"]) == {"empty", "corrupt", "no_video"}
    assert [sum(path in line for line in shown) for path in clips] == [1, 0] * 20
    seen = [json.loads(line) for line in journal.read_text().splitlines()]
    decoded = [(line["path"], line["end_s"]) for line in seen if line["reason"] != "empty"]
    assert 5 <= before < len(decoded) == len(set(decoded)) == 90 - 2 * 4  # four files are empty, each of two parts
    good = [
        row.sample_id
        for row in read_samples(dataset)
        if row.media[0].path not in clips[::2]
        and not any(row.media[0].end_s == 1.0 <= start_s for start_s, _ in row.spans)  # the part ends before the event
    ]
    assert [row.sample_id for row in read_samples(dataset.with_name("train.clean.parquet"))] == good


def killed_at(num_lines: int, dataset: Path) -> Path:
    """Kill a check once its journal has that number of lines, and return the journal."""
    journal = dataset.with_name(f"{dataset.stem}.check.jsonl")
    child = subprocess.Popen(
        [sys.executable, "-m", "vrl", "data", "check", str(dataset), "--workers", "1"], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (journal.is_file() and journal.read_text().count("\n") >= num_lines):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return journal


def test_a_row_whose_event_is_outside_its_clip_is_not_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "a.mp4", TIMES_S)  # five seconds
    spans = {"inside": ((1.0, 2.0),), "late": ((4.0, 9.0),), "outside": ((1.0, 2.0), (5.0, 6.0)), "cut": ((1.0, 2.0),)}
    rows = [replace(sample(name, clip("a.mp4")), spans=own) for name, own in spans.items()]
    rows[-1] = replace(rows[-1], media=(clip("a.mp4", start_s=1.0, end_s=2.0),))  # one second long
    write_parquet(rows, tmp_path / "train.parquet")
    assert main(["data", "check", str(tmp_path / "train.parquet"), "--workers", "1"]) == 0
    assert [row.sample_id for row in read_samples(tmp_path / "train.clean.parquet")] == ["inside", "late"]
    report = json.loads((tmp_path / "train.check.json").read_text())
    assert (report["bad"], report["spans_outside"], len(report["bad_spans"])) == (0, 2, 2)
    assert "sample outside: got span [5, 6] s" in capsys.readouterr().out.replace("\n", " ")


def test_a_dataset_that_cannot_be_read_is_no_bad_media(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"sample_id": "a"}\n')
    with pytest.raises(DataError, match="row 1: task: missing column"):
        check_dataset(tmp_path / "rows.jsonl")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]
