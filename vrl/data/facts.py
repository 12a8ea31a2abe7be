"""What a check finds out about a clip or picture. A record that crosses from the decode process."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaFacts:
    """A file all of whose frames were decoded without a fault."""

    codec: str
    container: str  # FFmpeg's name of the format; Pillow's for a picture
    width: int  # as coded, before rotation
    height: int
    num_frames: int  # that a player shows
    duration_s: float
