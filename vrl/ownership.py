"""Who could have written a file, what a folder may hold, and where its links may lead.

Asked before pickles are loaded (resume, export), before a secret is read, and before files are published (export).
Judges files and copies them; does not know what is in them.
"""

import logging
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from huggingface_hub import constants

from vrl.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)
_WRITE, _READ_OR_WRITE = 0o022, 0o077  # of the group and of others
_MAX_SECRET = 4096  # bytes
_SECRET = re.compile(r"[!-~]{16,}")  # printable ASCII without spaces, as a header can carry it

# The files of a model folder that an export copies: what transformers and vLLM read, and the licence.
_MODEL_FILES = re.compile(
    r"(generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template"
    r"|preprocessor_config|video_preprocessor_config|processor_config)\.json"
    r"|tokenizer\.model|merges\.txt|vocab\.txt|chat_template\.jinja|(LICENSE|NOTICE)(\.txt|\.md)?"
)
_WEIGHT_FILES = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def fault(path: Path, *, secret: bool = False) -> str | None:
    """Return why another user could have written the file or folder (`secret`: or could read it); None if none could.

    Only the user and root are trusted. A link is a fault: its target belongs to a place of its own.
    """
    return _fault(path.lstat(), secret=secret)


def require_own(folder: Path, listed: Collection[str]) -> None:
    """Refuse a folder that another user could have written, or with files that `listed` (relative names) lacks.

    Loading pickles runs code in them. Raises CheckpointError for a file, folder or parent that another user could
    change, for links, pipes and devices, and for files that the folder's manifest does not name.
    """
    for path in (folder, *_everything(folder)):
        name = path.relative_to(folder) if path != folder else Path(folder.name)
        found = fault(path)
        if found is None and path != folder and not path.is_dir() and str(name) not in listed:
            found = "is not listed in its manifest, wanted it removed or moved elsewhere"
        if found is not None:
            raise CheckpointError(f"checkpoint {folder}: {name} {found}: loading a checkpoint runs code in it")
    for level, parent in enumerate(folder.resolve().parents):
        status = parent.stat()
        swappable = status.st_mode & (_WRITE if level == 0 else stat.S_IWOTH)
        if swappable and not status.st_mode & stat.S_ISVTX:
            wanted = "o-w" if status.st_mode & stat.S_IWOTH else "g-w"
            raise CheckpointError(
                f"checkpoint {folder}: its parent folder {parent} is writable by others, who could exchange it, wanted "
                f"chmod {wanted} {parent}: loading a checkpoint runs code in it"
            )


def restrict(folder: Path) -> None:
    """Take the right to write from group and others in a folder that this process wrote, regardless of its umask."""
    for path in (folder, *_everything(folder)):
        status = path.lstat()
        if status.st_uid == os.getuid() and not path.is_symlink() and status.st_mode & _WRITE:
            path.chmod(stat.S_IMODE(status.st_mode) & ~_WRITE)


def require_own_file(path: Path) -> None:
    """Raise CheckpointError for a file that another user could have written."""
    found = fault(path)
    if found is not None:
        raise CheckpointError(f"{path} {found}")


def make_private(folder: Path) -> None:
    """Create a folder for this user alone, or accept such a folder. Raises PermissionError for any other."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = fault(folder, secret=True) if folder.is_dir() else "is no folder"
    if found is not None:
        raise PermissionError(f"{folder} {found}")


def read_secret(path: Path, what: str) -> str:
    """Return the secret in a file that its owner alone can read.

    Raises ConfigError, which does not repeat the secret, for a file of another user, one that others can read, a link,
    and a text that is no secret: shorter than 16 characters, with spaces, or not ASCII. `what` names the key.
    """
    try:  # the same file is judged and read; a pipe must not block
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        found = "is a link, wanted the file itself" if path.is_symlink() else f"cannot be read: {error.strerror}"
        raise ConfigError(f"{what} {path}: {found}") from error
    try:
        status = os.fstat(descriptor)
        found = _fault(status, secret=True) if stat.S_ISREG(status.st_mode) else "is no regular file"
        if found is not None:
            raise ConfigError(f"{what} {path}: {found}")
        content = os.read(descriptor, _MAX_SECRET + 1)
    finally:
        os.close(descriptor)
    text = content.decode("ascii", "replace").strip()
    if len(content) > _MAX_SECRET or not _SECRET.fullmatch(text):
        got = f"{len(text)} characters" if text else "an empty file"
        raise ConfigError(
            f"{what} {path}: got {got}, wanted at least 16 printable ASCII characters without spaces, or no file to "
            "have one created"
        )
    return text


def require_safetensors(folder: Path, key: str) -> None:
    """Raise CheckpointError for a model folder whose weights are pickles: loading those can run code in them."""
    names = sorted(file.name for file in folder.iterdir())
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        raise CheckpointError(
            f"{key}: {folder} holds {pickles[0]} and no safetensors, wanted weights as safetensors: a pickle can run "
            "code when it is loaded; convert it with the tools of its author, or choose another revision"
        )


def copy_model(source: Path, out: Path, *, weights: bool) -> None:
    """Copy into `out` the files of a Hugging Face model, known by their names; `weights`: also weights and config.json.

    Nothing else is published; a warning names what stays behind. A link may lead to a file of the folder or of the hub
    cache. Raises CheckpointError for any other link.
    """
    left = []
    for file in sorted(source.iterdir()):
        learned = file.name == "config.json" or _WEIGHT_FILES.fullmatch(file.name)
        if not (learned or _MODEL_FILES.fullmatch(file.name)):
            left.append(file.name)
        elif weights or not learned:
            _require_inside(file, source)
            shutil.copyfile(file, out / file.name)
    if left:
        logger.warning("export: not copied from %s: %s: no names of a model's files", source, ", ".join(left[:20]))


def require_publishable(folder: Path) -> None:
    """Raise CheckpointError if `copy_model` would: asked before a run starts, which exports at its first checkpoint."""
    for file in sorted(folder.iterdir()):
        if _MODEL_FILES.fullmatch(file.name):
            _require_inside(file, folder)


def _require_inside(file: Path, folder: Path) -> None:
    """Raise CheckpointError unless `file` is a regular file of `folder` or of the hub cache, links resolved."""
    real, home = Path(os.path.realpath(file)), folder.resolve()  # realpath: a loop of links is no error there
    cache = [home.parents[1] / "blobs"] if home.parent.name == "snapshots" else []
    inside = any(real.is_relative_to(place) for place in (home, *cache, Path(constants.HF_HUB_CACHE).resolve()))
    if not (inside and real.is_file()):
        raise CheckpointError(
            f"export: {file} leads to {real}, wanted a file of {folder} or of the hub cache: an export is published"
        )


def _everything(folder: Path) -> Iterator[Path]:
    """Yield all below a folder, hidden files too, in the order of names, without following links."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _everything(path)


def _fault(status: os.stat_result, *, secret: bool) -> str | None:
    mode, me = status.st_mode, os.getuid()
    if stat.S_ISLNK(mode):
        return "is a link, wanted the file itself"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "is no regular file"
    if status.st_uid not in (me, 0):
        return f"belongs to user {status.st_uid}, wanted your own ({me}); chown it if you trust its author"
    if mode & (_READ_OR_WRITE if secret else _WRITE):
        verb, cure = ("read", "go-rwx") if secret else ("write", "go-w")
        return f"has mode {stat.S_IMODE(mode):o}, which lets others {verb} it, wanted chmod {cure}"
    return None
