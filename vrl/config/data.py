"""The keys of the data: samples, frames of a clip, and limits of a media file."""

from dataclasses import dataclass

from vrl.config.fields import MISSING, above_zero, at_least, fraction, key, one_of, path_key, section, some_of


@dataclass(frozen=True)
class OverlayConfig:
    """Text drawn into the frames of a clip before they are resized (Video-R2)."""

    time: bool = key(False, doc="Draw HH:MM:SS from the start of the clip, top left.")
    index: bool = key(False, doc="Draw the frame's number, counted from 1, top right.")
    subtitles: bool = key(False, doc="Draw subtitles along the bottom, from the clip's .srt, .vtt or .ass file if any.")
    font: str = path_key("", doc="TrueType file; empty: DejaVu Sans, which lacks Chinese, Japanese and Korean.")


@dataclass(frozen=True)
class FrameConfig:
    """The frames of a clip that the model sees, chosen by time."""

    fps: float = above_zero(2.0, doc="Target frames per second.")
    min_frames: int = at_least(2, 4, doc="Fewest frames of a clip; even, since Qwen merges frames in pairs.")
    max_frames: int = at_least(2, 32, doc="Most frames of a clip; even. Longer clips are sampled more sparsely.")
    min_pixels: int = at_least(1, 128 * 28 * 28, doc="Fewest pixels of a frame after resizing.")
    max_pixels: int = at_least(1, 128 * 28 * 28, doc="Most pixels of a frame after resizing.")
    image_min_pixels: int = at_least(0, 0, doc="Fewest pixels of a still image; 0: min_pixels.")
    image_max_pixels: int = at_least(0, 0, doc="Most pixels of a still image; 0: max_pixels.")
    overlay: OverlayConfig = section(OverlayConfig)


@dataclass(frozen=True)
class MediaLimitsConfig:
    """Limits of one media file; a sample whose file exceeds one is bad."""

    file_gib: float = above_zero(8.0, doc="Size on disk, in GiB.")
    frame_pixels: int = at_least(1, 4096 * 4096, doc="Width x height of a frame as coded.")
    duration_s: float = above_zero(4 * 3600.0, doc="Duration of the whole file, in seconds.")
    memory_gib: float = above_zero(
        4.0, doc="Address space that a decode process may allocate beyond its size at start, in GiB."
    )
    cpu_s: float = at_least(1, 60.0, doc="CPU time of one decode, summed over its threads, in seconds.")


@dataclass(frozen=True)
class CacheConfig:
    """Cache of processed clips and images on disk; workers, runs and restarts may share a folder."""

    dir: str = path_key("", doc="Folder of the cache; empty: no cache, every epoch decodes again.")
    gib: float = above_zero(20.0, doc="Size of the cache in GiB; the least recently used entries are evicted.")


@dataclass(frozen=True)
class DataConfig:
    """The samples, and how their media are read."""

    train: str = path_key(MISSING, doc="Training set, parquet or jsonl.")
    val: str = path_key("", doc="Held-out set; empty: no validation.")
    root: str = path_key("", doc="Folder that media paths are relative to; empty: the folder of the dataset file.")
    subtitles_root: str = path_key(
        "", doc="Folder of subtitles, at the places of their clips or right in it; empty: next to the clips."
    )
    frames: FrameConfig = section(FrameConfig)
    shuffle: bool = key(True, doc="Shuffle the training set every epoch.")
    tasks: list[str] = key([], doc="Keep only rows of these tasks; empty: all.")
    expand: dict[str, list[str]] = key({}, doc="Roll out rows of a task under each of the tasks listed for it.")
    repeat: dict[str, int] = key(
        {}, doc="How often an epoch repeats the training rows of a task; 1 for tasks not named."
    )
    media: list[str] = some_of(("video", "image"), doc="Keep only rows whose media are all of these kinds; empty: all.")
    single_span: bool = key(False, doc="Keep only rows with at most one span (VideoReasoner).")
    shuffle_options: bool = key(
        False, doc="Shuffle the options of each choice by `seed` and sample id; rows with thinking keep their order."
    )
    bad_rows: str = one_of(
        "refuse", "skip", doc="A row that cannot be used ends the command, or is left out, listed and counted."
    )
    workers: int = at_least(1, 1, doc="Number of decode worker actors.")
    prefetch: int = at_least(1, 16, doc="Prompts decoded ahead of the engines.")
    decode_timeout_s: float = above_zero(30.0, doc="Seconds after which a clip is dropped and its decoder killed.")
    limits: MediaLimitsConfig = section(MediaLimitsConfig)
    cache: CacheConfig = section(CacheConfig)
    max_bad_fraction: float = fraction(0.05, doc="Fraction of bad samples among the last 200 above which the run ends.")
    bad_media: str = path_key(
        "", doc="File of failed media, which are not retried; empty: bad_media.jsonl in the run folder."
    )
