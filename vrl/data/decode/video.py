"""Frames from clips and images, decoded by decord and PyAV.

Runs in the process that vrl.data.decode.process starts. PyAV reads the container without decoding and gives the true
presentation times; frames are chosen by time; decord decodes them if it can be trusted, else PyAV. The type of a
file is recognised by its content, never by its name, and only formats that contain their pixels are opened: no
playlists, no manifests, no protocol except plain files. Does not resize (the processor does) and does not bound time
or memory (vrl.data.decode.process does).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.error
import av.logging
import decord
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from vrl.config import FrameConfig, MediaLimitsConfig
from vrl.data.decode.limits import MediaInfo, require_at_most, require_size
from vrl.data.decode.sampling import CUT_SLACK_S, choose_frames, choose_moments
from vrl.data.decode.truncation import require_complete
from vrl.errors import DataError
from vrl.types import Frames, Media

# decord 0.6 bundles FFmpeg 4.1: no AV1, and other codecs were never compared. It silently returns wrong frames if an
# edit list hides packets, and near keyframes with leading frames (open GOPs, the default of x265), because it mistakes
# a keyframe's place in decoding order for its place in presentation order.
_DECORD_CODECS = ("h264", "hevc", "vp9", "mpeg4")
_INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")  # seeking is exact, unlike in MPEG-TS and AVI
_FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "gif")
_LOCAL = {"protocol_whitelist": "file", "format_whitelist": ",".join(_FORMATS)}
_IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # others run programs or read other files
Image.MAX_IMAGE_PIXELS = None  # data.limits.frame_pixels replaces it
av.logging.set_level(None)
decord.logging.set_level(decord.logging.QUIET)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoProbe:
    """The index of the first video stream of a container, read without decoding. Frames are in presentation order."""

    num_frames: int  # as a player shows them
    num_hidden: int  # packets that an edit list hides from players
    timestamps_s: np.ndarray  # float64 [N], from the start of the file
    pts: np.ndarray  # int64 [N], the same in stream ticks
    keyframe_pts: np.ndarray  # int64 [K], rising; includes the earliest packet
    closed_gops: bool  # every frame decoded after a keyframe is also presented after it
    duration_s: float  # to the end of the last frame
    width: int  # as coded, before rotation
    height: int
    codec: str
    container: str  # FFmpeg's name of the format


def probe(path: Path) -> VideoProbe:
    """Read the index of a clip.

    Raises DataError: format (a playlist, a manifest, an unsupported format), corrupt (unreadable or cut off), no_video
    (no video stream or frame). MemoryError passes through.
    """
    with _open(path) as container:
        if not container.streams.video:
            raise DataError(f"{path}: got no video stream", reason="no_video")
        return _describe(path, container)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a container of a supported format. FFmpeg's errors become DataError; MemoryError passes through."""
    try:
        try:
            container = av.open(str(path), options=_LOCAL)
        except av.error.ArgumentError as error:  # FFmpeg raises it for a format outside the list
            wanted = f"{path}: got a playlist or an unusual format, wanted one of {_FORMATS}"
            raise DataError(wanted, reason="format") from error
        with container:
            yield container
    except MemoryError:  # PyAV's own is also an FFmpegError
        raise
    except av.error.BlockingIOError as error:  # a thread could not get memory
        raise MemoryError from error
    except av.error.FFmpegError as error:
        raise DataError(f"{path}: cannot be read as video: {error}", reason="corrupt") from error


def _describe(path: Path, container: Any) -> VideoProbe:
    require_complete(path, container.format.name)
    stream = container.streams.video[0]
    packets = [
        (packet.pts, packet.duration or 0, packet.is_keyframe, packet.is_discard)
        for packet in container.demux(stream)
        if packet.pts is not None
    ]
    if all(hidden for *_, hidden in packets):
        raise DataError(f"{path}: got a video stream without frames", reason="no_video")
    pts, ticks, keyframe, hidden = (np.array(column) for column in zip(*packets, strict=True))
    order = np.argsort(pts[~hidden], kind="stable")  # place in decoding order of each frame in presentation order
    moved = order[order != np.arange(len(order))]
    shown_pts, tick_s = pts[~hidden][order], float(stream.time_base or 0)
    last_ticks = ticks[~hidden][order][-1] or (np.median(np.diff(shown_pts)) if len(order) > 1 else 0)
    timestamps_s = shown_pts * tick_s - (container.start_time or 0) / av.time_base
    return VideoProbe(
        num_frames=len(order),
        num_hidden=int(hidden.sum()),
        timestamps_s=timestamps_s,
        pts=shown_pts,
        keyframe_pts=np.union1d(pts[keyframe], pts.min()),
        closed_gops=not np.isin(np.flatnonzero(keyframe[~hidden]), moved).any(),
        duration_s=float(timestamps_s[-1] + last_ticks * tick_s),
        width=stream.codec_context.width,
        height=stream.codec_context.height,
        codec=stream.codec_context.name,
        container=container.format.name,
    )


def read(
    path: Path, media: Media, config: FrameConfig, limits: MediaLimitsConfig, moments_s: Sequence[float] = ()
) -> Frames:
    """Return the chosen frames of a clip or the frame of an image: uint8 RGB, upright, with true times.

    `moments_s` of the (cut) clip, if any, replace the configured choice.
    Raises DataError with reason limit (before anything is decoded), format, corrupt, no_video, cut or memory.
    """
    require_size(path, limits)
    try:
        if media.kind == "image":
            return _read_image(path, limits)
        return _read_clip(path, media, config, limits, moments_s)
    except MemoryError as error:
        raise DataError(f"{path}: needs more than data.limits.memory_gib={limits.memory_gib:g}", "memory") from error


def check(path: Path, media: Media, limits: MediaLimitsConfig) -> MediaInfo:
    """Decode every frame of a file, cut or not: slower than `read`, but it finds damage that decord ignores.

    How much damage a decoder detects depends on the codec. Of 25 small clips each with 64 bytes overwritten it detects
    23 in H.264 and all in AV1, but 10 in HEVC and 2 in VP9; of single flipped bits 19, 22, 1 and none.
    Raises DataError as `read` does, and with reason corrupt if any frame is damaged or lost.
    """
    require_size(path, limits)
    try:
        if media.kind == "image":
            _, height, width, _ = _read_image(path, limits).pixels_THWC.shape
            return MediaInfo(codec="", container="image", width=width, height=height, num_frames=1, duration_s=0.0)
        return _check_clip(path, media, limits)
    except MemoryError as error:
        raise DataError(f"{path}: needs more than data.limits.memory_gib={limits.memory_gib:g}", "memory") from error


def _check_clip(path: Path, media: Media, limits: MediaLimitsConfig) -> MediaInfo:
    clip = probe(path)
    _require_limits(path, clip, limits)
    stop_s = clip.duration_s if media.end_s is None else media.end_s
    if media.start_s >= clip.duration_s or stop_s > clip.duration_s + CUT_SLACK_S:
        raise DataError(
            f"{path}: cut: got [{media.start_s:g}, {stop_s:g}] s of a clip of {clip.duration_s:g} s", reason="cut"
        )
    damaged = count = 0
    with _open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        for frame in container.decode(stream):
            count += 1
            damaged += frame.is_corrupt
    if damaged or count != clip.num_frames:
        raise DataError(
            f"{path}: {damaged} of {clip.num_frames} frames are damaged, {count} were decoded", reason="corrupt"
        )
    return MediaInfo(
        codec=clip.codec,
        container=clip.container,
        width=clip.width,
        height=clip.height,
        num_frames=count,
        duration_s=clip.duration_s,
    )


def _require_limits(path: Path, clip: VideoProbe, limits: MediaLimitsConfig) -> None:
    require_at_most(path, "frame_pixels", clip.width * clip.height, limits.frame_pixels)
    require_at_most(path, "duration_s", clip.duration_s, limits.duration_s)


def _read_clip(
    path: Path, media: Media, config: FrameConfig, limits: MediaLimitsConfig, moments_s: Sequence[float]
) -> Frames:
    clip = probe(path)
    _require_limits(path, clip, limits)
    cut = {"start_s": media.start_s, "end_s": media.end_s}
    try:
        if moments_s:
            choice = choose_moments(clip.timestamps_s, clip.duration_s, moments_s, **cut)
        else:
            choice = choose_frames(clip.timestamps_s, clip.duration_s, config, **cut)
    except ValueError as error:
        raise DataError(f"{path}: {error}", reason="cut") from error
    pixels_THWC = _decode_decord(path, clip, choice.indices) if _suits_decord(clip) else None
    if pixels_THWC is None:
        pixels_THWC = decode_pyav(path, clip, choice.indices)
    return Frames(pixels_THWC=pixels_THWC, timestamps_s=choice.timestamps_s, duration_s=choice.duration_s)


def _suits_decord(clip: VideoProbe) -> bool:
    plain = clip.container in _INDEXED and clip.num_hidden == 0 and clip.closed_gops
    return plain and clip.codec in _DECORD_CODECS


def _read_image(path: Path, limits: MediaLimitsConfig) -> Frames:
    try:
        with Image.open(path, formats=_IMAGE_FORMATS) as image:
            require_at_most(path, "frame_pixels", image.width * image.height, limits.frame_pixels)
            pixels_HWC = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}", reason="corrupt") from error
    return Frames(pixels_THWC=pixels_HWC[None], timestamps_s=np.zeros(1), duration_s=0.0)


def _decode_decord(path: Path, clip: VideoProbe, indices: np.ndarray) -> np.ndarray | None:
    """Return uint8 [T,H,W,3], or None if decord fails or its frame count is wrong: PyAV then decodes."""
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        if len(reader) != clip.num_frames:
            return None
        return np.from_dlpack(_Batch(reader.get_batch(indices.tolist())))
    except (decord.DECORDError, RuntimeError):
        return None


class _Batch:
    """A wrapper that gives numpy decord's frames without a copy, which would cost a tenth of the decoding time."""

    def __init__(self, frames: Any) -> None:
        self._frames = frames

    def __dlpack__(self, **_: Any) -> Any:
        return self._frames.to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the CPU


def decode_pyav(path: Path, clip: VideoProbe, indices: np.ndarray) -> np.ndarray:
    """Decode frames by presentation time, or in order if the format cannot seek exactly: uint8 [T,H,W,3].

    `indices` [T] point into the clip's frames. Raises DataError (corrupt) if one of them cannot be decoded.
    """
    wanted = np.unique(indices).tolist()
    walk = _by_time if clip.container in _INDEXED else _in_order
    with _open(path) as container:
        container.streams.video[0].thread_type = "NONE"
        found = {index: _upright(frame) for index, frame in walk(container, clip, wanted)}
    lost = [index for index in wanted if index not in found]
    if lost:
        time_s = clip.timestamps_s[lost[0]]
        raise DataError(f"{path}: {len(lost)} frames from {time_s:.3f} s on cannot be decoded", reason="corrupt")
    shapes = {frame.shape for frame in found.values()}
    if len(shapes) > 1:
        raise DataError(f"{path}: got frames of several shapes {sorted(shapes)}, wanted one", reason="corrupt")
    return np.stack([found[index] for index in indices.tolist()])


def _by_time(container: Any, clip: VideoProbe, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """Decode from the keyframe before each wanted frame; frames after the same keyframe share the decoding."""
    stream, frames, position = container.streams.video[0], iter(()), None
    for index in wanted:
        pts = clip.pts[index]
        keyframe = clip.keyframe_pts[clip.keyframe_pts <= pts][-1]
        if position is None or keyframe > position:
            container.seek(int(keyframe), stream=stream, backward=True)
            frames = container.decode(stream)
        for frame in frames:
            position = frame.pts
            if position == pts:
                if not frame.is_corrupt:
                    yield index, frame
                break


def _in_order(container: Any, clip: VideoProbe, wanted: list[int]) -> Iterator[tuple[int, Any]]:
    """Decode all frames from the start; yield none if their count differs from the index, which makes all uncertain."""
    kept, count = [], 0
    for frame in container.decode(video=0):
        if count in wanted and not frame.is_corrupt:
            kept.append((count, frame))
        count += 1
    yield from kept if count == clip.num_frames else ()


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """Return RGB [H,W,3] with the container's rotation applied, which PyAV does not do."""
    return np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
