"""The samples of a dataset file as a run uses them, and an account of all the others.

rows -> samples (vrl.data.dataset) -> of data.tasks and data.media -> expanded -> askable
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vrl.config import DataConfig
from vrl.data.dataset import read_dataset
from vrl.data.expand import expand, lacking, shuffle_options
from vrl.data.rows import Reading
from vrl.errors import DataError
from vrl.tasks import TASKS
from vrl.types import Sample

HOW_TO_SKIP = "data.bad_rows=skip leaves them out"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSamples:
    """What a file gave. Samples kept by `reading`, after expansion, are in `samples` or counted in `left_out`."""

    samples: tuple[Sample, ...]
    reading: Reading[Sample]
    left_out: Mapping[str, int]  # reason -> number of good samples that are not used

    def account(self) -> dict[str, Any]:
        """Return the counts as summary.json holds them."""
        return {
            "rows": self.reading.num_rows,
            "bad_rows": dict(self.reading.reasons),
            "left_out": dict(self.left_out),
            "samples": len(self.samples),
        }

    def summary(self) -> str:
        """Return the counts as one line."""
        left_out = "".join(f", {count} left out ({reason})" for reason, count in self.left_out.items())
        return f"{self.reading.summary()}{left_out}: {len(self.samples)} samples"


def load_samples(path: Path, config: DataConfig, seed: int = 0) -> LoadedSamples:
    """Read a file, keep what `config` asks for, expand it, and leave out what its task cannot be asked of.

    Raise DataError as `read_dataset` does, if `expand` does, and if nothing is left; ConfigError for unknown tasks.
    """
    reading = read_dataset(path, bad_rows=config.bad_rows, how_to_skip=HOW_TO_SKIP)
    left_out: Counter[str] = Counter()

    def only(samples: Iterable[Sample], reason: str, good: Callable[[Sample], bool]) -> list[Sample]:
        kept = []
        for sample in samples:
            if good(sample):
                kept.append(sample)
            else:
                left_out[reason.format(task=sample.task)] += 1
        return kept

    samples = only(reading.kept, "not of data.tasks", lambda one: not config.tasks or one.task in config.tasks)
    samples = only(
        samples,
        "not of data.media",
        lambda one: not config.media or all(media.kind in config.media for media in one.media),
    )
    if config.single_span:
        samples = only(samples, "more than one span", lambda one: len(one.spans) < 2)
    if config.shuffle_options:
        samples = [shuffle_options(one, seed) for one in samples]
    samples = only(expand(samples, config.expand), "task {task} cannot be asked of images alone", _askable)
    made = {name for names in config.expand.values() for name in names}
    untrue = [one for one in samples if one.task in made and lacking(one)]
    if untrue and config.bad_rows == "refuse":
        lines = [f"sample {one.sample_id}: got no {', '.join(lacking(one))}" for one in untrue]
        account = f"{len(lines)} of {len(samples)} samples lack what their task needs; {HOW_TO_SKIP}"
        raise DataError("\n".join(["data.expand:", *lines, account]), reason="dataset")
    samples = only(samples, "task {task} without its truth", lambda one: one.task not in made or not lacking(one))
    if not samples:
        present = sorted({sample.task for sample in reading.kept})
        raise DataError(
            f"{path}: got no samples ({reading.summary()}; left out: {dict(left_out)}), wanted some: the file has rows "
            f"of {present}, see data.tasks={config.tasks}, data.media={config.media}, data.expand",
            reason="dataset",
        )
    return LoadedSamples(samples=tuple(samples), reading=reading, left_out=left_out)


def _askable(sample: Sample) -> bool:
    """A clip task needs a clip; a task that is not ours is found later, by its missing rubric."""
    task = TASKS.get(sample.task)
    return task is None or not task.needs_clip or any(media.kind == "video" for media in sample.media)
