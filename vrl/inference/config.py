"""The configuration of answering: media, strategies and their numbers. Reads no file."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from vrl.config import (
    CacheConfig,
    DataConfig,
    EngineConfig,
    FrameConfig,
    MediaLimitsConfig,
    ModelConfig,
    RewardConfig,
)
from vrl.config.fields import MISSING, above_zero, at_least, fraction, one_of, out_of_range
from vrl.tasks import TASKS


@dataclass(frozen=True)
class MediaConfig:
    """Where the clips of questions lie and how they are read."""

    root: str = ""  # media paths are relative to it; empty: the folder of the question file
    frames: FrameConfig = field(default_factory=FrameConfig)
    limits: MediaLimitsConfig = field(default_factory=MediaLimitsConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    workers: int = at_least(1, 1)  # decode worker actors
    decode_timeout_s: float = above_zero(30.0)  # a clip that takes longer fails its question


@dataclass(frozen=True)
class MajorityConfig:
    """The answer that most completions give."""

    candidates: int = at_least(1, 3)
    temperature: float = above_zero(0.7)


@dataclass(frozen=True)
class ElectionConfig:
    """RLER-Inference. Numbers are the paper's where notes on it give them; the others are ours and say so."""

    temperatures: list[float] = field(default_factory=lambda: [0.2, 0.7, 0.9])  # of the first candidates, one each
    crop: float = fraction(0.9)  # side of the crops that further candidates see, as a share of the frame's (ours)
    crop_temperature: float = above_zero(0.7)  # ours
    brightness: list[float] = field(default_factory=lambda: [0.9, 1.1])  # of the crops, in turn; empty: as it is (ours)
    max_candidates: int = at_least(1, 8)
    margin: float = fraction(0.08)  # the leader must be ahead by more than this
    confidence: float = fraction(0.4)  # and its supporters more confident than this, on average
    overlap_weight: float = at_least(0, 1.0)  # of the overlap of cited frames; 0: evidence alone weighs (ours)
    outlier_mads: float = above_zero(
        2.5
    )  # median absolute deviations of evidence beyond which a candidate is out (ours)
    referee: bool = True  # one more pass that sees only the cited frames
    referee_task: str = "vqa"  # how it is asked: yes or no
    referee_discount: float = fraction(0.1)  # of the leader's weights after a no (ours)


@dataclass(frozen=True)
class BackfillConfig:
    """Locate, resample, answer. Numbers are those of VideoReasoner's public code, or ours where it has none."""

    encoder: str = ""  # folder of a CLIP or SigLIP; empty: grounding alone locates
    workers: int = at_least(1, 1)  # actors that hold the encoder
    max_elements: int = at_least(1, 8)  # key elements that are searched for
    retrieval_fps: float = above_zero(1.0)  # at which the encoder sees the clip
    retrieval_frames: int = at_least(2, 768)  # at most
    segment_frames: int = at_least(1, 8)  # whose embeddings are averaged
    window_s: float = above_zero(2.0)  # looked at from the start of a segment that was found
    dense_share: float = fraction(0.5)  # of the frame budget, at most, inside what was located
    dense_fps: float = above_zero(6.0)  # at most
    skip_share: float = fraction(0.7)  # where more of the clip was located, nothing is resampled (ours)
    answer_task: str = "vqa"  # how the question is asked in the end


@dataclass(frozen=True)
class StrategyConfig:
    """How a question becomes an answer."""

    name: str = one_of("single", "majority", "election", "backfill")
    temperature: float = at_least(0, 0.0)  # of the answer, under `single` and `backfill`; 0: greedy
    majority: MajorityConfig = field(default_factory=MajorityConfig)
    election: ElectionConfig = field(default_factory=ElectionConfig)
    backfill: BackfillConfig = field(default_factory=BackfillConfig)


@dataclass(frozen=True)
class InferConfig:
    """Everything that `vrl infer` needs."""

    name: str = MISSING  # the run folder is runs_dir/name
    runs_dir: str = "runs"
    questions: str = MISSING  # parquet or jsonl, rows as in training; answers need not be there
    task: str = ""  # ask every question as this task of vrl.tasks; empty: as its row says
    concurrency: int = at_least(1, 32)  # questions under way at once
    seed: int = 0
    ray_address: str = ""  # empty: a private local Ray; "auto": the cluster this process belongs to
    model: ModelConfig = field(default_factory=ModelConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    rollout: EngineConfig = field(default_factory=EngineConfig)  # the engines; the strategy says how they sample
    reward: RewardConfig = field(default_factory=RewardConfig)  # what the formulas of evidence leave open
    strategy: StrategyConfig = field(default_factory=StrategyConfig)

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.name


def check_infer(config: InferConfig) -> list[str]:
    """Every range and cross-field fault, as 'key: got, wanted'."""
    problems = out_of_range(config)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name):
        problems.append(
            f"name: got {config.name!r}, wanted letters, digits, '.', '_' and '-' (it names the run folder)"
        )
    if config.task and config.task not in TASKS:
        problems.append(f"task: got {config.task!r}, wanted one of {sorted(TASKS)}, or nothing")
    return problems + asking_problems(config.model, config.media, config.rollout) + strategy_problems(config.strategy)


def asking_problems(model: ModelConfig, media: MediaConfig, rollout: EngineConfig) -> list[str]:
    """Where model, frames and engines do not go together."""
    frames, problems = media.frames, []
    if frames.min_frames > frames.max_frames or frames.min_frames % 2 or frames.max_frames % 2:
        problems.append(
            f"media.frames: got min_frames={frames.min_frames}, max_frames={frames.max_frames}, wanted even numbers, "
            "the first at most the second"
        )
    if rollout.max_tokens >= model.max_context_tokens:
        problems.append(
            f"rollout.max_tokens: got {rollout.max_tokens}, wanted less than "
            f"model.max_context_tokens={model.max_context_tokens}"
        )
    return problems


def strategy_problems(config: StrategyConfig) -> list[str]:
    """The cross-field faults of a strategy, as 'key: got, wanted'."""
    rules = config.election
    problems = []
    if not rules.temperatures or min(rules.temperatures) <= 0 or len(rules.temperatures) > rules.max_candidates:
        problems.append(
            f"strategy.election.temperatures: got {rules.temperatures}, wanted 1 to max_candidates="
            f"{rules.max_candidates} numbers above 0"
        )
    if any(factor <= 0 for factor in rules.brightness):
        problems.append(f"strategy.election.brightness: got {rules.brightness}, wanted factors above 0")
    if not rules.crop:
        problems.append("strategy.election.crop: got 0, wanted a share above 0")
    for key, task in (
        ("election.referee_task", rules.referee_task),
        ("backfill.answer_task", config.backfill.answer_task),
    ):
        if task not in TASKS:
            problems.append(f"strategy.{key}: got {task!r}, wanted one of {sorted(TASKS)}")
    if config.backfill.retrieval_frames % 2:
        problems.append(
            f"strategy.backfill.retrieval_frames: got {config.backfill.retrieval_frames}, wanted an even number"
        )
    return problems


def data_config(media: MediaConfig, questions: str) -> DataConfig:
    """The same in the words of the data workers; `questions` is the file that rows come from."""
    return DataConfig(
        train=questions,
        root=media.root,
        frames=media.frames,
        limits=media.limits,
        cache=media.cache,
        workers=media.workers,
        decode_timeout_s=media.decode_timeout_s,
    )
