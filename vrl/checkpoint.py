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
from vrl.ownership import require_own, require_safetensors, restrict

logger = logging.getLogger(__name__)
_MANIFEST = "manifest.json"
_DRIVER = "driver.json"
_LATEST = "latest"
_UNFINISHED = ".tmp"  # a save under way, or a folder that is being deleted
_COMMITTED = re.compile(r"step_\d{6,}(?:\.old)?")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
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
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    tmp.mkdir()
    failpoint("checkpoint.begun", step)
    return tmp


def commit(tmp: Path, driver: Mapping[str, Any], *, keep_last: int) -> Checkpoint:
    """Turn the folder of `begin` into a checkpoint and delete all but the newest `keep_last` up to its step.

    A crash at any point leaves the new checkpoint or all older ones complete. Older ones are deleted only after the new
    one has been read back. Raises CheckpointError, and deletes nothing, if that fails.
    """
    step, final = _step(tmp), tmp.with_suffix("")
    (tmp / _DRIVER).write_text(json.dumps(driver, indent=1))
    failpoint("checkpoint.written", step)
    files = {str(file.relative_to(tmp)): _describe(file) for file in sorted(tmp.rglob("*")) if file.is_file()}
    (tmp / _MANIFEST).write_text(json.dumps({"step": step, "files": files}, indent=1))
    failpoint("checkpoint.described", step)
    restrict(tmp)
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
    if not (path / _MANIFEST).is_file():
        raise CheckpointError(f"checkpoint {path}: got no {_MANIFEST}, wanted a committed checkpoint folder")
    step, files = _manifest(path)
    for name, wanted in files.items():
        try:
            got = _describe(path / name) if (path / name).is_file() else None
        except OSError as error:
            raise CheckpointError(f"checkpoint {path}: {name} cannot be read: {error.strerror}") from error
        if got != wanted:
            raise CheckpointError(f"checkpoint {path}: {name}: got {got or 'no such file'}, wanted {wanted}")
    return Checkpoint(path=path, step=step, driver=_mapping(path, _DRIVER))


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


def require_trusted(found: Checkpoint) -> None:
    """Refuse a checkpoint that another user could have written: DeepSpeed's files are pickles, and loading runs them.

    Raises CheckpointError as `vrl.ownership.require_own` does; the manifest must name every file.
    """
    require_own(found.path, {_MANIFEST, *_manifest(found.path)[1]})


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


def resolve_model(path: str, key: str = "model.path") -> Path:
    """Return the folder of a model: a Hugging Face folder, a run folder (its newest checkpoint's `hf/`), or a hub name.

    A hub name, such as `Qwen/Qwen2.5-VL-7B-Instruct`, is downloaded into the Hugging Face cache, which on a cluster
    must be a folder that all nodes share. Where a folder `Qwen` exists here, that is no hub name but a missing folder.
    Raises CheckpointError, which names `key`, also for weights that are pickles.
    """
    folder = Path(path)
    require_model(path, key)
    if (folder / "config.json").is_file():
        return folder
    if (folder / "checkpoints").is_dir():
        found = newest(folder / "checkpoints")
        if found is not None and (found.hf / "config.json").is_file():
            require_safetensors(found.hf, key)
            return found.hf
        raise CheckpointError(
            f"{key}: {path} is a run folder, but its newest checkpoint ({found.path.name if found else 'none'}) "
            "holds no hf/ folder; wanted one (checkpoint.export=true in that run)"
        )
    if not folder.exists() and _HUB_NAME.fullmatch(path):
        try:
            folder = Path(snapshot_download(path))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
            raise CheckpointError(
                f"{key}: {path} is no local folder, and the hub does not provide it: {error}"
            ) from error
        require_safetensors(folder, key)
        return folder
    raise CheckpointError(
        f"{key}: got {path}, wanted a Hugging Face folder (config.json inside), "
        "a vrl run folder (checkpoints/ inside) or a hub name (owner/model)"
    )


def require_model(path: str, key: str) -> None:
    """Refuse a folder whose weights are pickles, and a missing folder that would be looked for on the hub.

    A name such as `toy/model` is that of a folder if a folder `toy` exists here. Raises CheckpointError.
    """
    folder = Path(path)
    if folder.is_dir():
        require_safetensors(folder, key)
    elif _HUB_NAME.fullmatch(path) and folder.absolute().parent.is_dir():
        raise CheckpointError(
            f"{key}: got {path}, which the folder {folder.absolute().parent} does not hold, wanted an existing folder; "
            "to load that name from the hub, run where no such folder exists, or name the downloaded one"
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


def _manifest(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the step of a checkpoint and the description of each of its files. Raises CheckpointError."""
    manifest = _mapping(path, _MANIFEST)
    step, files = manifest.get("step"), manifest.get("files")
    named = _step(path) if _COMMITTED.fullmatch(path.name) else step
    if type(step) is not int or step < 0 or step != named:
        raise CheckpointError(f"checkpoint {path}: {_MANIFEST}: got step {str(step)[:50]}, wanted that of the folder")
    if not isinstance(files, dict) or _DRIVER not in files:
        raise CheckpointError(f"checkpoint {path}: {_MANIFEST}: got no description of {_DRIVER}, wanted all files")
    outside = [name for name in files if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name]
    if outside:
        raise CheckpointError(f"checkpoint {path}: {_MANIFEST}: got {outside[0][:200]!r}, wanted files of the folder")
    return step, files


def _mapping(path: Path, name: str) -> dict[str, Any]:
    """Return the JSON object in a file of a checkpoint. Raises CheckpointError for anything else."""
    try:
        found = json.loads((path / name).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path}: {name} cannot be read: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"checkpoint {path}: {name}: got a {type(found).__name__}, wanted a JSON object")
    return found


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
