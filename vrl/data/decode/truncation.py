"""Detection of files shorter than their container says: a torn download would otherwise pass for a shorter clip.

If the index is at the end of the file, opening fails already. MPEG-TS, MPEG-PS, FLV, ASF and Ogg are streams that may
end anywhere, so they count as complete. Decodes nothing.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from vrl.errors import DataError


def require_complete(path: Path, container: str) -> None:
    """Raise DataError (corrupt) if the file is cut off. `container`: FFmpeg's name of its format."""
    if container not in _CUT_OFF:
        return
    with path.open("rb") as stream:
        if _CUT_OFF[container](stream, path.stat().st_size):
            raise DataError(f"{path}: is cut off: its container promises more than the file holds", reason="corrupt")


def _mp4(stream: BinaryIO, num_bytes: int) -> bool:
    """Return whether an mdat box extends beyond the end; files with a leading index or fragments open even so."""
    at = 0
    while at < num_bytes:
        stream.seek(at)
        head = stream.read(16).ljust(16, b"\0")
        (size,), kind = struct.unpack(">I", head[:4]), head[4:8]
        if size == 1:
            (size,) = struct.unpack(">Q", head[8:])
        if kind == b"mdat" and at + size > num_bytes:
            return True
        if size < 8:  # 0: to the end of the file
            return False
        at += size
    return False


def _matroska(stream: BinaryIO, num_bytes: int) -> bool:
    """Return whether the segment, which follows a header, extends beyond the end; a live recording has no length."""
    end = 0
    for _ in range(2):
        stream.seek(end + 4)  # after the element's id
        size = _matroska_size(stream)
        if size is None:
            return False
        end = stream.tell() + size
    return end > num_bytes


def _matroska_size(stream: BinaryIO) -> int | None:
    """Read a size: leading zeros of its first byte count the bytes that follow; all ones mean unknown (None)."""
    first = stream.read(1)[0]
    extra = 8 - first.bit_length()
    size = int.from_bytes(bytes([first & (0x7F >> extra)]) + stream.read(extra), "big")
    return None if size == (1 << 7 * (extra + 1)) - 1 else size


def _avi(stream: BinaryIO, num_bytes: int) -> bool:
    """Return whether one of its chunks of up to a gigabyte extends beyond the end."""
    at = 0
    while at < num_bytes:
        stream.seek(at)
        kind, size = struct.unpack("<4sI", stream.read(8).ljust(8, b"\0"))
        if kind != b"RIFF":
            return False
        at += 8 + size
    return at > num_bytes


def _gif(stream: BinaryIO, num_bytes: int) -> bool:
    """Return whether the closing semicolon is missing; some writers pad with zeros."""
    stream.seek(max(0, num_bytes - 4096))
    return not stream.read().rstrip(b"\0").endswith(b";")


_CUT_OFF: dict[str, Callable[[BinaryIO, int], bool]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": _mp4,
    "matroska,webm": _matroska,
    "avi": _avi,
    "gif": _gif,
}
