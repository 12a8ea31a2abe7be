"""Processed clips and images on disk, addressed by content, so that each is decoded once for all runs and workers.

Patches are kept, not frames: engine and learner see patches, they are smaller (resizing comes first), and a hit skips
the processor too. Any number of processes and runs may share a folder. Entries are renamed into place and checked by
CRC-32 when they are read; the least recently used are deleted when the folder exceeds its size. Nothing is fsynced:
the checksum detects what a power cut tears.

    entries/ab/abcd...   one vision      files/ab/abcd...   content digest of a file, by path, size and mtime
    locks/ab             lock to create entries ab...      tmp/   entries that are being written
    lock, bytes          lock on the total size; the total size of all entries
"""

import fcntl
import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from vrl.config import CacheConfig
from vrl.data.vision import Vision, from_bytes, to_bytes

logger = logging.getLogger(__name__)
_KEPT_SHARE = 0.9  # of the limit after an eviction, so that not every new entry causes one
_STALE_TMP_S = 3600.0  # an older file in tmp/ was left by a process that died


class VisionCache:
    """A disk cache of visions by key, at most `data.cache.gib` large.

    Example: `with cache.claim(key): vision = cache.get(key) or make()`. A corrupt entry is a miss, counted in
    `num_corrupt`. If the folder cannot be written (disk full), `put` warns and the run continues without hits.
    """

    def __init__(self, config: CacheConfig) -> None:
        self._root = Path(config.dir)
        self._most_bytes = int(config.gib * 2**30)
        self.num_corrupt = 0
        for name in ("entries", "files", "locks", "tmp"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        with self._locked("lock"):
            self._store_total(self._evict())

    def content(self, path: Path) -> str:
        """Return the SHA-256 of a file's bytes in hex; the file is read once per path, size, mtime and inode."""
        status = path.stat()
        identity = [str(path), status.st_size, status.st_mtime_ns, status.st_ino]
        memo = self._place("files", hashlib.sha256(json.dumps(identity).encode()).hexdigest())
        if memo.is_file() and len(known := memo.read_text()) == 64:
            return known
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if tmp := self._staged(memo, digest.encode()):
            self._renamed(tmp, memo)
        return digest

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Hold a key exclusively: another process that wants it waits, then finds the entry."""
        with self._locked(f"locks/{key[:2]}"):
            yield

    def get(self, key: str) -> Vision | None:
        """Return the vision of a key and mark it as recently used; None if it is missing or corrupt."""
        path = self._place("entries", key)
        try:
            data = np.fromfile(path, dtype=np.uint8)
            os.utime(path)
        except FileNotFoundError:
            return None
        try:
            return from_bytes(data)
        except ValueError as error:
            logger.warning("cache entry %s is corrupt and was deleted: %s", path, error)
            self.num_corrupt += 1
            with self._locked("lock"):
                total = self._total() - _size(path)  # read under the lock: another worker may have replaced the entry
                path.unlink(missing_ok=True)
                self._store_total(total)
            return None

    def put(self, key: str, vision: Vision) -> None:
        """Store a vision under a key, unless it is larger than the whole cache."""
        header, patches = to_bytes(vision)
        size, path = len(header) + len(patches), self._place("entries", key)
        if size > self._most_bytes or (tmp := self._staged(path, header, patches)) is None:
            return
        with self._locked("lock"):
            total = self._total() - _size(path) + size
            if self._renamed(tmp, path):
                self._store_total(total if total <= self._most_bytes else self._evict())

    def _evict(self) -> int:
        """Delete stale files in tmp/ and, above the limit, the least recently used entries. Return the bytes left."""
        for path in (self._root / "tmp").iterdir():
            with suppress(FileNotFoundError):  # its writer has just renamed it
                if time.time() - path.stat().st_mtime > _STALE_TMP_S:
                    path.unlink()
        found = []
        for path in (self._root / "entries").glob("*/*"):
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total > self._most_bytes:
            for _, size, path in sorted(found):
                if total <= self._most_bytes * _KEPT_SHARE:
                    break
                path.unlink(missing_ok=True)
                total -= size
        return total

    def _total(self) -> int:
        try:
            return int((self._root / "bytes").read_text())
        except (FileNotFoundError, ValueError):  # a new folder, or a process died while writing
            return self._evict()

    def _store_total(self, total: int) -> None:
        (self._root / "bytes").write_text(str(total))

    def _staged(self, path: Path, *pieces: bytes | memoryview) -> Path | None:
        """Write a file in tmp/ to be renamed to `path`. Return None and warn on a disk error."""
        tmp = self._root / "tmp" / uuid.uuid4().hex
        try:
            with tmp.open("wb") as stream:
                for piece in pieces:
                    stream.write(piece)
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            logger.warning("data.cache.dir: %s was not kept: %s", path, error)
            tmp.unlink(missing_ok=True)
            return None
        return tmp

    def _renamed(self, tmp: Path, path: Path) -> bool:
        """Rename a staged file into place atomically. Return False and warn on a disk error."""
        try:
            os.replace(tmp, path)
        except OSError as error:
            logger.warning("data.cache.dir: %s was not kept: %s", path, error)
            tmp.unlink(missing_ok=True)
            return False
        return True

    def _place(self, room: str, name: str) -> Path:
        return self._root / room / name[:2] / name

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold an exclusive lock, which is released even if its holder dies."""
        with (self._root / name).open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
