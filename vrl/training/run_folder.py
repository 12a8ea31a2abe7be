"""Opens a run's folder, checkpoint and samples; writes its configuration and summary."""

import json
import os
from pathlib import Path
from typing import Any

from vrl.checkpoint import Checkpoint, find, require_own
from vrl.config import RunConfig
from vrl.config.load import as_yaml
from vrl.data.dataset import check_media, media_root, read_samples
from vrl.data.expand import expand, repeat
from vrl.errors import DataError
from vrl.reward import add_modules
from vrl.reward.rubric import build_rubric
from vrl.types import Sample


def open_run(config: RunConfig) -> Checkpoint | None:
    """Create the run folder, write the resolved config and return the checkpoint to resume from.

    Raises CheckpointError as `vrl.checkpoint.find` does.
    """
    checkpoints = config.run_dir / "checkpoints"
    found = find(checkpoints, config.resume)
    if found is not None:
        require_own(found.path)
    checkpoints.mkdir(parents=True, exist_ok=True)
    if config.resume == "never":
        (config.run_dir / "bad_media.jsonl").unlink(missing_ok=True)
    (config.run_dir / "config.yaml").write_text(as_yaml(config))
    return found


def write_summary(run_dir: Path, summary: dict[str, Any]) -> None:
    """Write summary.json atomically."""
    tmp = run_dir / "summary.json.tmp"
    tmp.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
    os.replace(tmp, run_dir / "summary.json")


def open_data(config: RunConfig) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return training and validation samples, checked as far as possible without decoding.

    Raises DataError listing all bad rows and media files, ConfigError for a task without rubric or an unknown reward.
    """
    train = repeat(_read(config.data.train, config), config.data.repeat)
    val = _read(config.data.val, config)[: config.val.samples] if config.data.val else ()
    problems = check_media((*train, *val), media_root(config.data))
    if problems:
        more = [f"... and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise DataError("\n".join(problems[:20] + more), reason="media")
    add_modules(config.reward.modules)
    build_rubric(config.tasks, {sample.task for sample in (*train, *val)})
    return train, val


def _read(path: str, config: RunConfig) -> tuple[Sample, ...]:
    return expand(read_samples(Path(path), config.data.tasks), config.data.expand)
