"""Containers written byte by byte, for cases that small real files do not cover; test_video has those."""

import struct
from pathlib import Path

import pytest

from vrl.data.decode.truncation import require_complete
from vrl.errors import DataError

MP4, MATROSKA = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def riff(body: bytes) -> bytes:
    return struct.pack("<4sI", b"RIFF", len(body)) + body


HEAD = box(b"ftyp", b"isom") + box(b"moov", bytes(20))
EBML = b"\x1a\x45\xdf\xa3\x84abcd\x18\x53\x80\x67"  # a header of four bytes, and the id of a segment
WHOLE = {
    "a large box": (MP4, HEAD + struct.pack(">I4sQ", 1, b"mdat", 16 + 50) + bytes(50)),
    "two fragments": (MP4, HEAD + 2 * (box(b"moof", b"x") + box(b"mdat", bytes(50)))),
    "a box to the end": (MP4, HEAD + struct.pack(">I4s", 0, b"mdat") + bytes(50)),
    "a segment of 50 bytes": (MATROSKA, EBML + b"\xb2" + bytes(50)),
    "a segment with an eight-byte size": (MATROSKA, EBML + b"\x01" + (50).to_bytes(7, "big") + bytes(50)),
    "two chunks of an AVI file": ("avi", riff(bytes(30)) + riff(bytes(50))),
    "an image filled up with zeros": ("gif", b"GIF89a image;" + bytes(9)),
}
NO_END = {"a box to the end", "an image filled up with zeros"}


@pytest.mark.parametrize("case", WHOLE)
def test_a_file_that_lacks_its_last_bytes_is_cut_off(tmp_path: Path, case: str):
    container, data = WHOLE[case]
    path = tmp_path / "clip"
    path.write_bytes(data)
    require_complete(path, container)
    path.write_bytes(data[:-1])
    if case in NO_END:
        require_complete(path, container)
        return
    with pytest.raises(DataError, match="cut off") as caught:
        require_complete(path, container)
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize("size", [b"\xff", b"\x01" + b"\xff" * 7])
def test_a_file_that_does_not_declare_its_end_is_accepted(tmp_path: Path, size: bytes):
    (tmp_path / "live").write_bytes(EBML + size + bytes(50))
    require_complete(tmp_path / "live", MATROSKA)
    (tmp_path / "stream").write_bytes(b"anything")
    require_complete(tmp_path / "stream", "mpegts")
