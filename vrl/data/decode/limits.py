"""The limits of a media file (`data.limits`), checked before it is read. Reads no pixels."""

from dataclasses import dataclass
from pathlib import Path

from vrl.config import MediaLimitsConfig
from vrl.errors import DataError


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaInfo:
    """The properties of a file whose frames were all decoded without a fault."""

    codec: str
    container: str  # FFmpeg's name of the format; `image` for an image
    width: int  # as coded, before rotation
    height: int
    num_frames: int  # as a player shows them
    duration_s: float


def require_at_most(path: Path, limit: str, got: float, most: float) -> None:
    """Raise DataError (limit) if `got` exceeds `most`, the value of `data.limits.<limit>`."""
    if got > most:
        raise DataError(f"{path}: got {got:g}, wanted at most data.limits.{limit}={most:g}", reason="limit")


def require_size(path: Path, limits: MediaLimitsConfig) -> None:
    """Raise DataError: limit (the file is larger than `data.limits.file_gib`), missing (the file does not exist)."""
    try:
        num_bytes = path.stat().st_size
    except FileNotFoundError as error:
        raise DataError(f"{path}: file not found", reason="missing") from error
    require_at_most(path, "file_gib", num_bytes / 2**30, limits.file_gib)
