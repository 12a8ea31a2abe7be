"""`vrl data check`: decode every frame of every clip of a dataset once; write a clean dataset and a report.

Findings are written file by file, so a killed check resumes where it stopped, and a second check decodes only files
that have changed. Decodes in processes that can be killed, as training does. Repairs nothing.
"""

import json
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from vrl.config import DataConfig, MediaLimitsConfig
from vrl.data.dataset import read_samples, resolve_media, write_parquet
from vrl.data.decode.process import DecodeProcess
from vrl.errors import ConfigError, DataError
from vrl.tasks.event import true_spans
from vrl.types import Media, Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One clip or image of the dataset, as it was when it was checked."""

    kind: str
    path: str
    start_s: float
    end_s: float | None
    num_bytes: int = 0
    mtime_ns: int = 0
    reason: str = ""  # why it is bad; empty if it is good
    message: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    num_frames: int = 0
    duration_s: float = 0.0

    @property
    def media(self) -> Media:
        return Media(kind=self.kind, path=self.path, start_s=self.start_s, end_s=self.end_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """The findings of a check and the files it wrote."""

    samples: int
    clean_samples: int
    looked_at: int  # files decoded in this call; the others are known from an earlier one
    outside: tuple[str, ...]  # why rows are not clean whose media are: a span is outside the clip
    findings: tuple[Finding, ...]
    clean: Path
    report: Path

    @property
    def bad(self) -> tuple[Finding, ...]:
        """Bad files, each listed once, and cuts that good files do not contain."""
        found: dict[tuple[str, Media | None], Finding] = {}
        for finding in self.findings:
            if finding.reason:
                found.setdefault((finding.path, finding.media if finding.reason == "cut" else None), finding)
        return tuple(found.values())


def check_dataset(
    dataset: Path, *, root: Path | None = None, out: Path | None = None, workers: int = 2, timeout_s: float = 600.0
) -> CheckReport:
    """Check all media of a dataset NAME.* and write three files into `out` (default: the dataset's folder).

    NAME.clean.parquet holds the rows whose media are all good and contain their spans, NAME.check.json the report, and
    NAME.check.jsonl the findings, from which a later call resumes. `timeout_s` bounds the wall and CPU time to decode
    one file.
    Raises DataError if the dataset cannot be read.
    """
    if workers < 1 or timeout_s <= 0:
        raise ConfigError(f"got --workers {workers} and --timeout-s {timeout_s:g}, wanted at least 1 and more than 0")
    samples = read_samples(dataset)
    root, stem = root or dataset.parent, (out or dataset.parent) / dataset.stem
    stem.parent.mkdir(parents=True, exist_ok=True)
    journal = stem.with_name(f"{stem.name}.check.jsonl")
    wanted = list(dict.fromkeys(media for sample in samples for media in sample.media))
    known = {finding.media: finding for finding in _read(journal) if _unchanged(root, finding)}
    todo = [media for media in wanted if media not in known]
    with journal.open("a") as stream:
        for finding in _check_files(root, todo, workers, timeout_s):
            stream.write(json.dumps(asdict(finding)) + "\n")
            stream.flush()
            known[finding.media] = finding
    findings = tuple(known[media] for media in wanted)
    whole = [sample for sample in samples if not any(known[media].reason for media in sample.media)]
    wrong = {sample.sample_id: fault for sample in whole if (fault := _span_fault(sample, known))}
    clean = [sample for sample in whole if sample.sample_id not in wrong]
    report = CheckReport(
        samples=len(samples),
        clean_samples=len(clean),
        looked_at=len(todo),
        outside=tuple(wrong.values()),
        findings=findings,
        clean=stem.with_name(f"{stem.name}.clean.parquet"),
        report=stem.with_name(f"{stem.name}.check.json"),
    )
    _write(report, clean)
    return report


def print_report(report: CheckReport, console: Console) -> None:
    """Print the report as tables."""
    table = Table(box=SIMPLE_HEAD, show_header=False)
    for name, value in summarise(report).items():
        if isinstance(value, dict):
            value = "  ".join(f"{key} {number:g}" for key, number in value.items())
        table.add_row(name.replace("_", " "), str(value))
    console.print(table)
    faults = [(finding.reason, finding.message) for finding in report.bad]
    faults += [("spans", fault) for fault in report.outside]
    for reason, message in faults[:20]:
        console.print(f"[red]{reason}[/] {message}", highlight=False, soft_wrap=True)
    if len(faults) > 20:
        console.print(f"... and {len(faults) - 20} more in {report.report}", highlight=False)
    console.print(f"{report.clean}: {report.clean_samples} of {report.samples} rows", highlight=False)


def summarise(report: CheckReport) -> dict[str, int | dict[str, int] | dict[str, float]]:
    """Return counts, reasons, codecs, and the minimum, median and maximum of durations and sizes of the good files."""
    good = [finding for finding in report.findings if not finding.reason]
    return {
        "media": len(report.findings),
        "bad": len(report.bad),
        "samples": report.samples,
        "clean_samples": report.clean_samples,
        "spans_outside": len(report.outside),
        "reasons": dict(Counter(finding.reason for finding in report.bad).most_common()),
        "codecs": dict(Counter(finding.codec for finding in good if finding.codec).most_common()),
        "duration_s": _spread([finding.duration_s for finding in good if finding.kind == "video"]),
        "frames": _spread([finding.num_frames for finding in good if finding.kind == "video"]),
        "short_side_pixels": _spread([min(finding.width, finding.height) for finding in good]),
        "megabytes": _spread([finding.num_bytes / 1e6 for finding in good]),
    }


def _span_fault(sample: Sample, known: Mapping[Media, Finding]) -> str:
    """Return why training would refuse the sample's spans for its first clip, which is good; empty if it would not."""
    clip = next((media for media in sample.media if media.kind == "video"), None)
    try:
        if clip is not None:
            file_s = known[clip].duration_s
            true_spans(sample, min(file_s, file_s if clip.end_s is None else clip.end_s) - clip.start_s)
    except DataError as error:
        return error.message
    return ""


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _check_files(root: Path, todo: Sequence[Media], workers: int, timeout_s: float) -> Iterator[Finding]:
    """Yield findings as they complete. Each thread drives its own decode process."""
    if not todo:
        return
    limits = MediaLimitsConfig(cpu_s=timeout_s)
    data = DataConfig(train="", root=str(root), decode_timeout_s=timeout_s, limits=limits)
    decoders = [DecodeProcess(data) for _ in range(min(workers, len(todo)))]
    idle: SimpleQueue[DecodeProcess] = SimpleQueue()
    for decoder in decoders:
        idle.put(decoder)
    threads = ThreadPoolExecutor(len(decoders))
    try:
        with Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("clips", total=len(todo))
            for done in as_completed([threads.submit(_check_file, root, media, idle) for media in todo]):
                progress.advance(bar)
                yield done.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for decoder in decoders:
            decoder.close()


def _check_file(root: Path, media: Media, idle: "SimpleQueue[DecodeProcess]") -> Finding:
    finding = Finding(kind=media.kind, path=media.path, start_s=media.start_s, end_s=media.end_s)
    decoder = idle.get()
    try:
        path = resolve_media(root, media.path)
        status = path.stat()
        finding = replace(finding, num_bytes=status.st_size, mtime_ns=status.st_mtime_ns)
        info = decoder.check(path, media)
    except DataError as error:
        return replace(finding, reason=error.reason, message=error.message)
    finally:
        idle.put(decoder)
    return replace(
        finding,
        codec=info.codec,
        width=info.width,
        height=info.height,
        num_frames=info.num_frames,
        duration_s=info.duration_s,
    )


def _unchanged(root: Path, finding: Finding) -> bool:
    """Return whether the finding still holds; a missing file and one that timed out are always checked again."""
    try:
        status = resolve_media(root, finding.path).stat()
    except DataError:
        return False
    return (status.st_size, status.st_mtime_ns) == (finding.num_bytes, finding.mtime_ns) and finding.reason != "timeout"


def _read(journal: Path) -> list[Finding]:
    """Return the findings of earlier calls. Truncates the file before a last line torn by a kill."""
    lines = journal.read_text().splitlines(keepends=True) if journal.is_file() else []
    if lines and not lines[-1].endswith("\n"):
        journal.write_text("".join(lines := lines[:-1]))
    return [Finding(**json.loads(line)) for line in lines]


def _write(report: CheckReport, clean: Sequence[Sample]) -> None:
    write_parquet(clean, report.clean)
    bad = [asdict(finding) for finding in report.bad]
    lists = {"bad_media": bad, "bad_spans": report.outside}
    report.report.write_text(json.dumps(summarise(report) | lists, indent=1) + "\n")
