"""The configuration of the server. Reads no file; what a key can take stands beside it."""

from dataclasses import dataclass, field
from pathlib import Path

from vrl.config import EngineConfig, ModelConfig, RewardConfig
from vrl.config.fields import MISSING, above_zero, at_least, out_of_range
from vrl.inference.config import MediaConfig, StrategyConfig, asking_problems, strategy_problems
from vrl.tasks import TASKS

UPLOADS = ".vrl-uploads"  # folder under media.root, which decode workers can read and paths in requests cannot name


@dataclass(frozen=True)
class ServeConfig:
    """Everything that `vrl serve` needs. `media.root` is the one folder whose clips requests may name."""

    host: str = "127.0.0.1"  # other machines reach it only where this says so
    port: int = at_least(0, 8000)
    token_file: str = "vrl-serve.token"  # holds the bearer token; made, readable by its owner alone, where missing
    task: str = "vqa"  # how a request is asked that names no task
    concurrency: int = at_least(1, 16)  # questions under way at once
    queue: int = at_least(0, 256)  # that wait beyond those; more are refused with 429
    body_mib: float = above_zero(64.0)  # of a request; an upload is a third larger than its file
    timeout_s: float = above_zero(600.0)  # of one question, waiting included; then 504
    seed: int = 0
    ray_address: str = ""  # empty: a private local Ray; "auto": the cluster this process belongs to
    model: ModelConfig = field(default_factory=ModelConfig)
    media: MediaConfig = field(default_factory=lambda: MediaConfig(root=MISSING))
    rollout: EngineConfig = field(default_factory=EngineConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)  # what the formulas of evidence leave open
    strategy: StrategyConfig = field(default_factory=StrategyConfig)  # its name: that of requests that name none


def check_serve(config: ServeConfig) -> list[str]:
    """Every range and cross-field fault, as 'key: got, wanted'."""
    problems = out_of_range(config)
    if config.task not in TASKS:
        problems.append(f"task: got {config.task!r}, wanted one of {sorted(TASKS)}")
    if not Path(config.media.root).is_dir():
        problems.append(f"media.root: got {config.media.root!r}, wanted the folder whose clips requests may name")
    return problems + asking_problems(config.model, config.media, config.rollout) + strategy_problems(config.strategy)
