"""Checkpoints that are all there or not there at all.

A checkpoint is written into `step_000123.tmp/`, described by a manifest (sizes and SHA-256 of every file), flushed to
disk, renamed to `step_000123/` and only then named in `latest`. A reader trusts a folder only if its manifest verifies.
Inside are `learner/` (DeepSpeed), `driver.json` and `hf/` (an ordinary Hugging Face folder), written by the callers.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from vrl.errors import CheckpointError

logger = logging.getLogger(__name__)
_MANIFEST = "manifest.json"
_LATEST = "latest"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A committed checkpoint."""

    path: Path
    step: int
    driver: Mapping[str, Any]  # what the driver stored

    @property
    def learner(self) -> Path:
        return self.path / "learner"

    @property
    def hf(self) -> Path:
        return self.path / "hf"


def begin(root: Path, step: int) -> Path:
    """An empty folder `root/step_N.tmp` to write into; what an interrupted save left there is removed."""
    tmp = root / f"step_{step:06d}.tmp"
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    return tmp


def commit(tmp: Path, driver: Mapping[str, Any], *, keep_last: int) -> Checkpoint:
    """Turn the folder of `begin` into a checkpoint and delete all but the newest `keep_last`.

    After a crash at any point either the new checkpoint is whole or the older ones are untouched.
    """
    (tmp / "driver.json").write_text(json.dumps(driver, indent=1))
    files = {str(file.relative_to(tmp)): _describe(file) for file in sorted(tmp.rglob("*")) if file.is_file()}
    (tmp / _MANIFEST).write_text(json.dumps({"step": _step(tmp), "files": files}, indent=1))
    for file in tmp.rglob("*"):
        _fsync(file)
    _fsync(tmp)
    final = tmp.with_suffix("")
    shutil.rmtree(final, ignore_errors=True)  # the same step saved twice: on demand and at the end
    os.rename(tmp, final)
    _fsync(final.parent)
    _write_atomically(final.parent / _LATEST, final.name)
    for old in _folders(final.parent)[keep_last:]:
        shutil.rmtree(old)
    return read(final)


def read(path: Path) -> Checkpoint:
    """The checkpoint at `path`. Raises CheckpointError naming the first file that is missing, short or altered."""
    manifest_file = path / _MANIFEST
    if not manifest_file.is_file():
        raise CheckpointError(f"checkpoint {path}: got no {_MANIFEST}, wanted a committed checkpoint folder")
    try:
        manifest = json.loads(manifest_file.read_text())
        files = manifest["files"]
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"checkpoint {path}: {_MANIFEST} cannot be read: {error}") from error
    for name, wanted in files.items():
        file = path / name
        got = _describe(file) if file.is_file() else None
        if got != wanted:
            raise CheckpointError(f"checkpoint {path}: {name}: got {got or 'no such file'}, wanted {wanted}")
    return Checkpoint(path=path, step=manifest["step"], driver=json.loads((path / "driver.json").read_text()))


def newest(root: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies, or None. One that does not verify is passed over with a warning."""
    for folder in _folders(root):
        try:
            return read(folder)
        except CheckpointError as error:
            logger.warning("skipped: %s", error)
    return None


def find(root: Path, resume: str) -> Checkpoint | None:
    """What `resume` asks for: never -> None, auto -> the newest or None, must -> the newest, else the folder it names.

    Raises CheckpointError when `must` finds nothing, when the named folder does not verify, and for `never` when the
    run folder already holds a checkpoint (it would be overwritten).
    """
    if resume == "never":
        if _folders(root):
            raise CheckpointError(
                f"checkpoint: got resume=never, but {root} already holds {_folders(root)[0].name}; "
                "wanted resume=auto to go on, another name=..., or that folder removed"
            )
        return None
    if resume in ("auto", "must"):
        found = newest(root)
        if found is None and resume == "must":
            raise CheckpointError(f"checkpoint: got resume=must, but {root} holds none that verifies")
        return found
    return read(Path(resume))


def resolve_model(path: str) -> Path:
    """The folder of a model path: a Hugging Face folder, a run folder (its newest checkpoint's `hf/`), or a hub name.

    A hub name, as `Qwen/Qwen2.5-VL-7B-Instruct`, is fetched into the Hugging Face cache, which on a cluster must be a
    folder that all nodes share. Raises CheckpointError saying what was found instead.
    """
    folder = Path(path)
    if (folder / "config.json").is_file():
        return folder
    if (folder / "checkpoints").is_dir():
        found = newest(folder / "checkpoints")
        if found is not None and (found.hf / "config.json").is_file():
            return found.hf
        raise CheckpointError(
            f"model.path: {path} is a run folder, but its newest checkpoint ({found.path.name if found else 'none'}) "
            "holds no hf/ folder; wanted one (checkpoint.export=true in that run)"
        )
    if not folder.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", path):
        try:
            return Path(snapshot_download(path))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise CheckpointError(
                f"model.path: {path} is no folder here, and the hub does not give it: {error}"
            ) from error
    raise CheckpointError(
        f"model.path: got {path}, wanted a Hugging Face folder (config.json inside), "
        "a vrl run folder (checkpoints/ inside) or a hub name (owner/model)"
    )


def _folders(root: Path) -> list[Path]:
    """Committed checkpoint folders, newest first."""
    return sorted((p for p in root.glob("step_*") if p.is_dir() and p.suffix != ".tmp"), key=_step, reverse=True)


def _step(folder: Path) -> int:
    return int(folder.with_suffix("").name.removeprefix("step_"))


def _describe(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_atomically(path: Path, text: str) -> None:
    tmp = path.with_name(path.name + ".tmp")
    tmp.write_text(text)
    _fsync(tmp)
    os.replace(tmp, path)
    _fsync(path.parent)
