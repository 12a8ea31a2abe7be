"""Checkpoints that are complete or invisible.

A checkpoint is written into `step_000123.tmp/`, described by a manifest (size and SHA-256 of every file), flushed to
disk, renamed to `step_000123/` and only then named in `latest`. A reader trusts a folder only if its manifest verifies.
Inside are `learner/` (DeepSpeed), `driver.json` and `hf/` (an ordinary Hugging Face folder), written by the callers.

Tests set the environment variable VRL_FAILPOINT=<name>@<step>, which kills the process when it reaches the point:
checkpoint.begun, learner.state_written, checkpoint.written, .described, .flushed, .moved_aside, .renamed, .pointed,
.pruning, .pruned.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import signal
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
_UNFINISHED = ".tmp"  # a save under way, or a folder that is being deleted
_COMMITTED = re.compile(r"step_\d{6,}(?:\.old)?")
_REPLACED = ".old"  # a complete checkpoint, until its replacement is in place


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
    """Return a new folder `root/step_N.tmp` to write into; remove what interrupted saves left in `root`."""
    for stale in root.glob(f"step_*{_UNFINISHED}"):
        shutil.rmtree(stale)
    tmp = root / f"step_{step:06d}{_UNFINISHED}"
    tmp.mkdir(parents=True)
    failpoint("checkpoint.begun", step)
    return tmp


def commit(tmp: Path, driver: Mapping[str, Any], *, keep_last: int) -> Checkpoint:
    """Turn the folder of `begin` into a checkpoint and delete all but the newest `keep_last` up to its step.

    A crash at any point leaves the new checkpoint or all older ones complete. Older ones are deleted only after the new
    one has been read back. Raises CheckpointError, and deletes nothing, if that fails.
    """
    step, final = _step(tmp), tmp.with_suffix("")
    (tmp / "driver.json").write_text(json.dumps(driver, indent=1))
    failpoint("checkpoint.written", step)
    files = {str(file.relative_to(tmp)): _describe(file) for file in sorted(tmp.rglob("*")) if file.is_file()}
    (tmp / _MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1))
    failpoint("checkpoint.described", step)
    for file in tmp.rglob("*"):
        _fsync(file)
    _fsync(tmp)
    failpoint("checkpoint.flushed", step)
    if final.exists():  # the same step saved twice: during the run and at its end
        aside = final.with_suffix(_REPLACED)
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(final, aside)
        failpoint("checkpoint.moved_aside", step)
    os.rename(tmp, final)
    _fsync(final.parent)
    failpoint("checkpoint.renamed", step)
    _write_atomically(final.parent / _LATEST, final.name)
    failpoint("checkpoint.pointed", step)
    done = read(final)
    _prune(final.parent, step, keep_last)
    failpoint("checkpoint.pruned", step)
    return done


def failpoint(name: str, step: int) -> None:
    """Kill this process, as a power cut would, if VRL_FAILPOINT names this point and step."""
    if os.environ.get("VRL_FAILPOINT") == f"{name}@{step}":
        os.kill(os.getpid(), signal.SIGKILL)


def read(path: Path) -> Checkpoint:
    """Return the checkpoint at `path`. Raises CheckpointError naming the first file that is missing or altered."""
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
    """Return the newest checkpoint that verifies, or None; warn about those that do not."""
    for folder in root.glob("step_*"):
        if not (_COMMITTED.fullmatch(folder.name) or folder.name.endswith(_UNFINISHED)):
            logger.warning("ignored: %s is no name of a checkpoint (step_ and six or more digits)", folder)
    for folder in _folders(root):
        try:
            return read(folder)
        except CheckpointError as error:
            logger.warning("skipped: %s", error)
    return None


def require_own(path: Path) -> None:
    """Refuse a checkpoint that another user could have written: DeepSpeed's files are pickles, and loading runs them.

    Raises CheckpointError for a world-writable file or one of another user; root is trusted.
    """
    for file in (path, *path.rglob("*")):
        status = file.lstat()
        if status.st_uid not in (os.getuid(), 0):
            raise CheckpointError(
                f"checkpoint {path}: {file.name} belongs to user {status.st_uid}, wanted your own ({os.getuid()}): "
                "loading a checkpoint runs code in it; chown it if you trust its author"
            )
        if status.st_mode & 0o002 and not file.is_symlink():
            raise CheckpointError(
                f"checkpoint {path}: {file.name} is writable by everybody, wanted chmod -R o-w: loading a "
                "checkpoint runs code in it"
            )


def find(root: Path, resume: str) -> Checkpoint | None:
    """Return the checkpoint for `resume`: never: None; auto: the newest or None; must: the newest; else that folder.

    Raises CheckpointError if `must` finds none, if the named folder does not verify or is not the run's last, and for
    `never` if the run folder already holds a checkpoint, which would be overwritten.
    """
    if resume == "never":
        if _folders(root):
            raise CheckpointError(
                f"checkpoint: got resume=never, but {root} already holds {_folders(root)[0].name}; "
                "wanted resume=auto to continue, another name=..., or that folder removed"
            )
        return None
    if resume in ("auto", "must"):
        found = newest(root)
        if found is None and resume == "must":
            raise CheckpointError(f"checkpoint: got resume=must, but {root} holds none that verifies")
        return found
    found = read(Path(resume))
    ours = found.path.resolve().parent == root.resolve()
    later = [folder.name for folder in _folders(root) if _step(folder) > found.step]
    if ours and later:
        raise CheckpointError(
            f"checkpoint: got resume={resume}, but {root} also holds {later[0]}; wanted another name=... to resume "
            f"from step {found.step} in a run of its own, or the later ones ({', '.join(later)}) removed"
        )
    return found


def resolve_model(path: str) -> Path:
    """Return the folder of a model: a Hugging Face folder, a run folder (its newest checkpoint's `hf/`), or a hub name.

    A hub name, such as `Qwen/Qwen2.5-VL-7B-Instruct`, is downloaded into the Hugging Face cache, which on a cluster
    must be a folder that all nodes share. Raises CheckpointError.
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
                f"model.path: {path} is no local folder, and the hub does not provide it: {error}"
            ) from error
    raise CheckpointError(
        f"model.path: got {path}, wanted a Hugging Face folder (config.json inside), "
        "a vrl run folder (checkpoints/ inside) or a hub name (owner/model)"
    )


def _prune(root: Path, step: int, keep_last: int) -> None:
    """Delete what the checkpoint of `step` replaces. Later ones belong to an abandoned branch and are not counted."""
    replaced = [folder for folder in _folders(root) if folder.suffix == _REPLACED]
    older = [folder for folder in _folders(root) if folder not in replaced and _step(folder) <= step]
    for folder in (*replaced, *older[keep_last:]):
        doomed = folder.with_name(f"{folder.name}{_UNFINISHED}")
        os.rename(folder, doomed)  # a partial folder must not look like a damaged checkpoint
        failpoint("checkpoint.pruning", step)
        shutil.rmtree(doomed)


def _folders(root: Path) -> list[Path]:
    """Return committed checkpoint folders, newest first; of two for the same step the replacement first.

    A folder with another name is not ours, such as a copy that a user made: it is neither read nor deleted.
    """
    found = (p for p in root.glob("step_*") if p.is_dir() and _COMMITTED.fullmatch(p.name))
    return sorted(found, key=lambda folder: (_step(folder), folder.suffix != _REPLACED), reverse=True)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step_").split(".")[0])


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
