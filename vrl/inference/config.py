"""The configuration of answering: media, strategies and their numbers. Reads no file."""

from dataclasses import dataclass, field

from vrl.config import DataConfig, FrameConfig, MediaLimitsConfig
from vrl.fields import above_zero, at_least, one_of


@dataclass(frozen=True)
class MediaConfig:
    """Where the clips of questions lie and how they are read."""

    root: str = ""  # media paths are relative to it; empty: the folder of the question file
    frames: FrameConfig = field(default_factory=FrameConfig)
    limits: MediaLimitsConfig = field(default_factory=MediaLimitsConfig)
    workers: int = at_least(1, 1)  # decode worker actors
    decode_timeout_s: float = above_zero(30.0)  # a clip that takes longer fails its question


@dataclass(frozen=True)
class MajorityConfig:
    """The answer that most completions give."""

    candidates: int = at_least(1, 3)
    temperature: float = above_zero(0.7)


@dataclass(frozen=True)
class StrategyConfig:
    """How a question becomes an answer."""

    name: str = one_of("single", "majority")
    temperature: float = at_least(0, 0.0)  # of `single`; 0: greedy
    majority: MajorityConfig = field(default_factory=MajorityConfig)


def data_config(media: MediaConfig, questions: str) -> DataConfig:
    """The same in the words of the data workers; `questions` is the file that rows come from."""
    return DataConfig(
        train=questions,
        root=media.root,
        frames=media.frames,
        limits=media.limits,
        workers=media.workers,
        decode_timeout_s=media.decode_timeout_s,
    )
