"""Evidence drawn into frames: a time stamp, a frame number, the current subtitle. Pure except for a font file.

Video-R2 can train with stamps and subtitles in every frame, off by default (its public code): HH:MM:SS at the top left,
5 % of the short side but 16 to 72 pixels, white on dark or red ground and red elsewhere, with a thin outline; subtitles
of 6 %, 20 to 96 pixels, at most 90 % wide, in a half-transparent box along the bottom, both in DejaVu Sans. The frame
number at the top right is ours, for RLER's citations. Also ours: text shrinks until it fits the frame. Chooses no
frames and reads no clip.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vrl.config import OverlayConfig
from vrl.data.decode.subtitles import Cue
from vrl.errors import DataError
from vrl.types import Frames, Media

_LABEL, _WORDS = (0.05, 16, 72), (0.06, 20, 96)  # text height: fraction of the short side, least and most pixels
_WORDS_WIDTH = 0.9  # of the frame
_TESTED_PX = 16  # size at which a font is asked for a letter
_SHRUNK_PX = 6  # smaller text is unreadable, so longer text is cut off instead
_EDGE_PX = 2  # between a label and the edge of the frame, its outline included
_WHITE, _RED, _BLACK = (255, 255, 255), (255, 0, 0), (0, 0, 0)
_BOX = (0, 0, 0, 140)
_NO_GLYPH = "\U0010ffff"  # a code point that no font has
Font = ImageFont.FreeTypeFont


def burn(frames: Frames, cues: Sequence[Cue], media: Media, config: OverlayConfig) -> Frames:
    """Return the frames of a clip with the configured overlays and `cues` drawn into them; images are unchanged.

    Stamps show the time from the start of the (cut) clip, as spans and captions do; frames count from 1. Raises
    DataError (subtitles) for letters that the font lacks.
    """
    if media.kind != "video" or not (config.time or config.index or cues):
        return frames
    pixels = np.stack(
        [
            _draw(frame, config, time_s, index, _words(cues, media.start_s + time_s))
            for index, (frame, time_s) in enumerate(
                zip(frames.pixels_THWC, frames.timestamps_s.tolist(), strict=True), start=1
            )
        ]
    )
    return Frames(pixels_THWC=pixels, timestamps_s=frames.timestamps_s, duration_s=frames.duration_s)


def stamp(seconds: float) -> str:
    """Return whole seconds, rounded down, as HH:MM:SS."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def _words(cues: Sequence[Cue], time_s: float) -> str:
    return " ".join(cue.text for cue in cues if cue.start_s <= time_s < cue.end_s)


def _draw(frame_HWC: np.ndarray, config: OverlayConfig, time_s: float, index: int, words: str) -> np.ndarray:
    image = Image.fromarray(frame_HWC)
    draw = ImageDraw.Draw(image, "RGBA")
    width = image.width // (config.time + config.index or 1)  # for each of the labels
    if config.time:
        _label(image, draw, stamp(time_s), config.font, 0, width)
    if config.index:
        _label(image, draw, str(index), config.font, image.width, width)
    if words:
        _subtitle(image, draw, words, config.font)
    return np.asarray(image)


def _label(image: Image.Image, draw: ImageDraw.ImageDraw, text: str, font: str, x: int, room: int) -> None:
    """Draw text along the top: starting at `x` if x is 0, else ending at it."""
    size = _size(image, *_LABEL)
    while size > _SHRUNK_PX and _load(font, size).getlength(text) + 2 * _EDGE_PX > room:
        size -= 1
    left = _EDGE_PX if x == 0 else x - _EDGE_PX - math.ceil(_load(font, size).getlength(text))
    ground = np.asarray(image.crop(draw.textbbox((left, 1), text, _load(font, size)))).reshape(-1, 3)
    draw.text((left, 1), text, (*_ink(ground), 255), _load(font, size), stroke_width=1, stroke_fill=_BLACK)


def _ink(ground_N3: np.ndarray) -> tuple[int, int, int]:
    """Return white on a dark or red ground, else red. The thresholds are our definition."""
    red, green, blue = ground_N3.mean(0) if len(ground_N3) else (0.0, 0.0, 0.0)
    is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 96
    is_red = red > 128 and red > 1.5 * max(green, blue)
    return _WHITE if is_dark or is_red else _RED


def _subtitle(image: Image.Image, draw: ImageDraw.ImageDraw, words: str, name: str) -> None:
    font = _load(name, _size(image, *_WORDS))
    missing = sorted({letter for letter in words if letter != " " and _lacks(name, letter)})
    if missing:
        raise DataError(
            f"subtitles: got {''.join(missing[:20])!r}, which the font cannot draw; set data.frames.overlay.font to a "
            "font that can",
            reason="subtitles",
        )
    text = _wrap(words, font, _WORDS_WIDTH * image.width)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font)
    x, y = (image.width - (right - left)) / 2 - left, image.height - 2 - bottom
    draw.rectangle((x + left - 2, y + top - 2, x + right + 2, image.height), fill=_BOX)
    draw.multiline_text((x, y), text, (*_WHITE, 255), font, align="center")


def _wrap(words: str, font: Font, room: float) -> str:
    """Break text into lines that fit; a word longer than a line gets its own."""
    lines: list[str] = []
    for word in words.split():
        longer = f"{lines[-1]} {word}" if lines else ""
        if lines and font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _size(image: Image.Image, fraction: float, least: int, most: int) -> int:
    return round(min(max(fraction * min(image.size), least), most))


@lru_cache(maxsize=64)
def _load(name: str, size: int) -> Font:
    """Load a font file, DejaVu Sans if `name` is empty. Raises DataError (font)."""
    try:
        return ImageFont.truetype(name or _dejavu(), size)
    except OSError as error:
        raise DataError(f"data.frames.overlay.font: got {name!r}, which cannot be loaded: {error}", "font") from error


def _dejavu() -> str:
    """Return the file of DejaVu Sans that matplotlib ships; matplotlib itself is not imported."""
    spec = find_spec("matplotlib")
    assert spec is not None and spec.origin is not None, "matplotlib is a requirement of vrl"
    return str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@lru_cache(maxsize=4096)
def _lacks(name: str, letter: str) -> bool:
    return _image_of(name, letter) == _image_of(name, _NO_GLYPH)


def _image_of(name: str, letter: str) -> bytes:
    image = Image.new("L", (2 * _TESTED_PX, 2 * _TESTED_PX))
    ImageDraw.Draw(image).text((0, 0), letter, 255, _load(name, _TESTED_PX))
    return image.tobytes()
