"""The configuration of inference: media, strategies and their parameters. Reads no file."""

from dataclasses import dataclass
from pathlib import Path

from vrl.config import (
    CacheConfig,
    DataConfig,
    EngineConfig,
    FrameConfig,
    MediaLimitsConfig,
    ModelConfig,
    PromptConfig,
    RewardConfig,
)
from vrl.config.fields import (
    MISSING,
    above_zero,
    at_least,
    fraction,
    key,
    one_of,
    out_of_range,
    path_key,
    run_name,
    section,
)
from vrl.tasks import TASKS


@dataclass(frozen=True)
class MediaConfig:
    """The folder of the clips and how they are read."""

    root: str = path_key("", doc="Folder that media paths are relative to; empty: the folder of the question file.")
    subtitles_root: str = path_key(
        "", doc="Folder of subtitles, at the places of their clips or right in it; empty: next to the clips."
    )
    frames: FrameConfig = section(FrameConfig)
    limits: MediaLimitsConfig = section(MediaLimitsConfig)
    cache: CacheConfig = section(CacheConfig)
    workers: int = at_least(1, 1, doc="Number of decode worker actors.")
    decode_timeout_s: float = above_zero(30.0, doc="Seconds after which a clip fails its question.")


@dataclass(frozen=True)
class MajorityConfig:
    """The answer that most completions give."""

    candidates: int = at_least(1, 3, doc="Completions of one question.")
    temperature: float = above_zero(0.7, doc="Sampling temperature.")


@dataclass(frozen=True)
class ElectionConfig:
    """RLER-Inference. Numbers are from notes on the paper, or ours and marked so."""

    temperatures: list[float] = key([0.2, 0.7, 0.9], doc="Sampling temperatures of the first candidates, one each.")
    crop: float = fraction(
        0.9, doc="Side of the crops that further candidates see, as a fraction of the frame's (ours)."
    )
    crop_temperature: float = above_zero(0.7, doc="Sampling temperature of candidates that see a crop (ours).")
    brightness: list[float] = key([0.9, 1.1], doc="Brightness factors of the crops, in turn; empty: unchanged (ours).")
    max_candidates: int = at_least(1, 8, doc="Most candidates per question.")
    margin: float = fraction(0.08, doc="The election stops only if the leader is ahead by more than this.")
    confidence: float = fraction(0.4, doc="It stops only if the leader's mean confidence exceeds this.")
    overlap_weight: float = at_least(0, 1.0, doc="Weight of the overlap of cited frames; 0: evidence alone (ours).")
    outlier_mads: float = above_zero(2.5, doc="Deviation of evidence, in MADs, beyond which a candidate is out (ours).")
    referee: bool = key(True, doc="Run one more pass that sees only the cited frames.")
    referee_task: str = key("vqa", doc="Task of the referee's yes-or-no question.")
    referee_discount: float = fraction(0.1, doc="Fraction of the leader's weight that remains after a no (ours).")


@dataclass(frozen=True)
class BackfillConfig:
    """Locate, resample, answer. Numbers are those of VideoReasoner's public code if it has them, otherwise ours."""

    encoder: str = path_key("", doc="Folder of a CLIP or SigLIP model; empty: only grounding locates.")
    workers: int = at_least(1, 1, doc="Number of actors that hold the encoder.")
    max_elements: int = at_least(1, 8, doc="Most key elements to search for.")
    retrieval_fps: float = above_zero(1.0, doc="Frames per second that the encoder sees.")
    retrieval_frames: int = at_least(2, 768, doc="Most frames of a clip that the encoder sees; even.")
    segment_frames: int = at_least(1, 8, doc="Frames whose embeddings are averaged into one segment.")
    window_s: float = above_zero(2.0, doc="Seconds to resample from the start of a segment found.")
    dense_share: float = fraction(0.5, doc="Largest fraction of the frame budget inside the located time.")
    dense_fps: float = above_zero(6.0, doc="Most frames per second inside the located time.")
    skip_share: float = fraction(0.7, doc="Located fraction of the clip above which nothing is resampled (ours).")
    answer_task: str = key("vqa", doc="Task of the final question.")


@dataclass(frozen=True)
class StrategyConfig:
    """How a question becomes an answer."""

    name: str = one_of(
        "single", "majority", "election", "backfill", doc="Strategy, see `vrl config --list strategies`."
    )
    temperature: float = at_least(0, 0.0, doc="single, backfill: sampling temperature of the answer; 0: greedy.")
    majority: MajorityConfig = section(MajorityConfig)
    election: ElectionConfig = section(ElectionConfig)
    backfill: BackfillConfig = section(BackfillConfig)


@dataclass(frozen=True)
class AnswerConfig:
    """What `vrl infer`, `vrl eval` and `vrl serve` share: how questions are answered."""

    seed: int = key(0, doc="Seed of everything random.")
    ray_address: str = key("", doc='Ray cluster; empty: a private local Ray, "auto": the cluster of this process.')
    concurrency: int = at_least(1, 32, doc="Questions in flight.")
    model: ModelConfig = section(ModelConfig)
    media: MediaConfig = section(MediaConfig)
    prompt: PromptConfig = section(PromptConfig)
    rollout: EngineConfig = section(EngineConfig, "The vLLM engines; the strategy decides how they sample.")
    reward: RewardConfig = section(RewardConfig, "Parameters of the evidence rewards.")
    strategy: StrategyConfig = section(StrategyConfig)


@dataclass(frozen=True)
class InferConfig(AnswerConfig):
    """Everything that `vrl infer` needs."""

    name: str = run_name()
    runs_dir: str = path_key("runs", doc="Folder of all runs.")
    questions: str = path_key(
        MISSING, doc="Questions, parquet or jsonl, with the columns of a training set; answers optional."
    )
    bad_rows: str = one_of(
        "refuse", "skip", doc="A row that cannot be used ends the command, or is left out and listed."
    )
    task: str = key("", doc="Task of every question; empty: the task of its row.")

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.name


def check_infer(config: InferConfig) -> list[str]:
    """Return every range and cross-field problem, as 'key: got, wanted'."""
    problems = answer_problems(config)
    if config.task and config.task not in TASKS:
        problems.append(f"task: got {config.task!r}, wanted one of {sorted(TASKS)}, or nothing")
    return problems


def answer_problems(config: AnswerConfig) -> list[str]:
    """Return the range problems of a configuration and those between model, frames, engines and strategy."""
    frames, model, rollout = config.media.frames, config.model, config.rollout
    problems = out_of_range(config)
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
    return problems + strategy_problems(config.strategy)


def strategy_problems(config: StrategyConfig) -> list[str]:
    """Return the cross-field problems of a strategy, as 'key: got, wanted'."""
    election = config.election
    problems = []
    if (
        not election.temperatures
        or min(election.temperatures) <= 0
        or len(election.temperatures) > election.max_candidates
    ):
        problems.append(
            f"strategy.election.temperatures: got {election.temperatures}, wanted 1 to max_candidates="
            f"{election.max_candidates} numbers above 0"
        )
    if any(factor <= 0 for factor in election.brightness):
        problems.append(f"strategy.election.brightness: got {election.brightness}, wanted factors above 0")
    if not election.crop:
        problems.append("strategy.election.crop: got 0, wanted a fraction above 0")
    for name, task in (
        ("election.referee_task", election.referee_task),
        ("backfill.answer_task", config.backfill.answer_task),
    ):
        if task not in TASKS:
            problems.append(f"strategy.{name}: got {task!r}, wanted one of {sorted(TASKS)}")
    if config.backfill.retrieval_frames % 2:
        problems.append(
            f"strategy.backfill.retrieval_frames: got {config.backfill.retrieval_frames}, wanted an even number"
        )
    return problems


def data_config(media: MediaConfig, questions: str) -> DataConfig:
    """Return the configuration of the data workers; `questions` is the file of samples."""
    return DataConfig(
        train=questions,
        root=media.root,
        subtitles_root=media.subtitles_root,
        frames=media.frames,
        limits=media.limits,
        cache=media.cache,
        workers=media.workers,
        decode_timeout_s=media.decode_timeout_s,
    )
