"""Opens a run's folder, checkpoint and samples; writes its configuration and summary."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vrl.checkpoint import Checkpoint, find, require_trusted
from vrl.config import RunConfig
from vrl.config.load import as_yaml
from vrl.data.dataset import check_media, media_root
from vrl.data.expand import repeat
from vrl.data.load import LoadedSamples, load_samples
from vrl.errors import DataError
from vrl.files import write_atomically
from vrl.reward import add_modules
from vrl.reward.rubric import build_rubric
from vrl.types import Sample


def open_run(config: RunConfig) -> Checkpoint | None:
    """Create the run folder, write the resolved config and return the checkpoint to resume from.

    Raises CheckpointError as `vrl.checkpoint.find` does, and for a checkpoint that another user could have written.
    """
    checkpoints = config.run_dir / "checkpoints"
    found = find(checkpoints, config.resume)
    if found is not None:
        require_trusted(found)
    checkpoints.mkdir(mode=0o755, parents=True, exist_ok=True)
    if config.resume == "never":
        (config.run_dir / "bad_media.jsonl").unlink(missing_ok=True)
    (config.run_dir / "config.yaml").write_text(as_yaml(config))
    return found


def write_summary(run_dir: Path, summary: dict[str, Any]) -> None:
    """Write summary.json atomically."""
    write_atomically(run_dir / "summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunData:
    """The samples of a run, and what became of the other rows of its files."""

    train: tuple[Sample, ...]  # repeated as data.repeat says
    val: tuple[Sample, ...]
    files: Mapping[str, LoadedSamples]  # by key: data.train, data.val

    def account(self) -> dict[str, Any]:
        """Return the counts of each file as summary.json holds them."""
        return {key: loaded.account() for key, loaded in self.files.items()}


def open_data(config: RunConfig) -> RunData:
    """Return training and validation samples, checked as far as possible without decoding.

    Raises DataError listing all bad rows and media files, ConfigError for a task without rubric or an unknown reward.
    """
    paths = {"data.train": config.data.train, "data.val": config.data.val}
    files = {key: load_samples(Path(path), config.data, config.seed) for key, path in paths.items() if path}
    train = repeat(files["data.train"].samples, config.data.repeat)
    val = files["data.val"].samples[: config.val.samples] if config.data.val else ()
    problems = check_media((*train, *val), media_root(config.data))
    if problems:
        more = [f"... and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise DataError("\n".join(problems[:20] + more), reason="media")
    add_modules(config.reward.modules)
    build_rubric(config.tasks, {sample.task for sample in (*train, *val)})
    return RunData(train=train, val=val, files=files)


def write_bad_rows(run_dir: Path, data: RunData) -> None:
    """Write bad_rows.jsonl: file, row and faults of every row that was skipped; no file if there is none."""
    path = run_dir / "bad_rows.jsonl"
    path.unlink(missing_ok=True)
    bad = [one for loaded in data.files.values() for one in loaded.reading.bad]
    if bad:
        lines = (
            json.dumps({"file": str(one.row.source.path), "row": one.row.number, "faults": one.error.faults})
            for one in bad
        )
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
