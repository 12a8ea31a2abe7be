"""Frames out of clips and pictures: the only door to decord and PyAV. Runs in the process that vrl.data.decoder starts.

PyAV reads the container without decoding and gives the true presentation times; frames are chosen by time; decord
decodes them where it can be trusted, PyAV elsewhere. Does not resize (the processor does) and keeps no process alive.
"""

from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import av.logging
import decord
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vrl.config import FrameConfig
from vrl.data.sampling import choose_frames
from vrl.errors import DataError
from vrl.types import Frames, Media

# decord 0.6 bundles FFmpeg 4.1: no AV1, and other codecs were never compared. It gives wrong frames, without a word,
# where an edit list hides packets, and near keyframes with leading pictures (open GOPs, the default of x265): it takes
# a keyframe's place in decoding order for its place in presentation order.
_DECORD_CODECS = ("h264", "hevc", "vp9", "mpeg4")
av.logging.set_level(None)
decord.logging.set_level(decord.logging.QUIET)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoProbe:
    """What the container says of its first video stream, without decoding. Frames stand in presentation order."""

    num_frames: int  # frames that a player shows
    num_hidden: int  # packets that an edit list hides from players
    timestamps_s: np.ndarray  # float64 [N], from the start of the file
    pts: np.ndarray  # int64 [N], the same in stream ticks
    keyframe_pts: np.ndarray  # int64 [K], rising
    closed_gops: bool  # whatever is decoded after a keyframe is also shown after it
    duration_s: float  # to the end of the last frame
    width: int  # as coded, before rotation
    height: int
    codec: str


def probe(path: Path) -> VideoProbe:
    """Read the index of a clip. Raises DataError: corrupt (cannot be read), no_video (no video stream or frame)."""
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            if not container.streams.video:
                raise DataError(f"{path}: got no video stream", reason="no_video")
            stream = container.streams.video[0]
            rows = [
                (packet.pts, packet.duration or 0, packet.is_keyframe, packet.is_discard)
                for packet in container.demux(stream)
                if packet.pts is not None
            ]
            context, tick_s = stream.codec_context, float(stream.time_base or 0)
            origin_s = (container.start_time or 0) / av.time_base
            size = (context.name, context.width, context.height)
    except av.error.FFmpegError as error:
        raise DataError(f"{path}: cannot be read as video: {error}", reason="corrupt") from error
    if all(hidden for *_, hidden in rows):
        raise DataError(f"{path}: got a video stream without frames", reason="no_video")
    return _summarise(rows, tick_s, origin_s, *size)


def _summarise(
    rows: list[tuple[int, int, bool, bool]], tick_s: float, origin_s: float, codec: str, width: int, height: int
) -> VideoProbe:
    """`rows`: (pts, duration in ticks, is a keyframe, is hidden) of every packet in decoding order."""
    pts, ticks, keyframe, hidden = (np.array(column) for column in zip(*rows, strict=True))
    order = np.argsort(pts[~hidden], kind="stable")
    shown_pts = pts[~hidden][order]
    last = ticks[~hidden][order][-1] or (np.median(np.diff(shown_pts)) if len(order) > 1 else 0)
    moved = order != np.arange(len(order))  # decoding order against presentation order
    timestamps_s = shown_pts * tick_s - origin_s
    return VideoProbe(
        num_frames=len(order),
        num_hidden=int(hidden.sum()),
        timestamps_s=timestamps_s,
        pts=shown_pts,
        keyframe_pts=np.sort(pts[keyframe]),
        closed_gops=not np.isin(np.flatnonzero(keyframe[~hidden]), order[moved]).any(),
        duration_s=float(timestamps_s[-1] + last * tick_s),
        width=width,
        height=height,
        codec=codec,
    )


def read(path: Path, media: Media, config: FrameConfig) -> Frames:
    """The chosen frames of a clip or the one of a picture: uint8 RGB, upright, with true times.

    Raises DataError with reason corrupt, no_video or cut.
    """
    if media.kind == "image":
        return _read_image(path)
    clip = probe(path)
    try:
        choice = choose_frames(clip.timestamps_s, clip.duration_s, config, start_s=media.start_s, end_s=media.end_s)
    except ValueError as error:
        raise DataError(f"{path}: {error}", reason="cut") from error
    trusted = clip.codec in _DECORD_CODECS and clip.num_hidden == 0 and clip.closed_gops
    pixels_THWC = _decode_decord(path, clip, choice.indices) if trusted else None
    if pixels_THWC is None:
        pixels_THWC = decode_pyav(path, clip, choice.indices)
    return Frames(pixels_THWC=pixels_THWC, timestamps_s=choice.timestamps_s, duration_s=choice.duration_s)


def _read_image(path: Path) -> Frames:
    try:
        with Image.open(path) as image:
            pixels_HWC = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}", reason="corrupt") from error
    return Frames(pixels_THWC=pixels_HWC[None], timestamps_s=np.zeros(1), duration_s=0.0)


def _decode_decord(path: Path, clip: VideoProbe, indices: np.ndarray) -> np.ndarray | None:
    """uint8 [T,H,W,3], or None where decord counts other frames than players show, or fails: PyAV then decides."""
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        if len(reader) != clip.num_frames:
            return None
        return reader.get_batch(indices.tolist()).asnumpy()
    except (decord.DECORDError, RuntimeError):
        return None


def decode_pyav(path: Path, clip: VideoProbe, indices: np.ndarray) -> np.ndarray:
    """Decode frames by presentation time: uint8 [T,H,W,3]. `indices` [T] never falls. Raises DataError (corrupt)."""
    wanted = clip.pts[np.unique(indices)]
    found: dict[int, np.ndarray] = {}
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"
            position = -1  # pts of the keyframe that decoding goes on from
            frames = iter(())
            for pts in wanted.tolist():
                keyframes = clip.keyframe_pts[clip.keyframe_pts <= pts]
                keyframe = int(keyframes[-1]) if len(keyframes) else int(clip.pts[0])
                if pts not in found and (not found or keyframe > position):
                    container.seek(keyframe, stream=stream, backward=True)
                    frames = container.decode(stream)
                for frame in frames if pts not in found else ():
                    position = frame.pts if frame.pts is not None else position
                    if frame.pts == pts:
                        found[pts] = _upright(frame)
                        break
                if pts not in found:
                    time_s = clip.timestamps_s[np.searchsorted(clip.pts, pts)]
                    raise DataError(f"{path}: the frame at {time_s:.3f} s cannot be decoded", reason="corrupt")
    except av.error.FFmpegError as error:
        raise DataError(f"{path}: cannot be decoded: {error}", reason="corrupt") from error
    return np.stack([found[int(pts)] for pts in clip.pts[indices]])


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """RGB [H,W,3] as a player shows it: the container's rotation, which PyAV leaves to us, is applied."""
    return np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
