"""The configuration of an evaluation: every key, its default, its meaning and its range. Reads no file."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from vrl.config import EngineConfig, ModelConfig, RewardConfig
from vrl.config.checks import judge_problems
from vrl.config.fields import MISSING, at_least, fraction, one_of, out_of_range
from vrl.errors import ConfigError
from vrl.evaluation.benchmarks import BENCHMARKS
from vrl.inference.config import MediaConfig, StrategyConfig, asking_problems, strategy_problems
from vrl.reward import REWARDS, add_modules
from vrl.tasks import TASKS


@dataclass(frozen=True)
class BenchmarkConfig:
    """Which questions are asked."""

    name: str = one_of("dataset", *(name for name in BENCHMARKS if name != "dataset"))
    path: str = MISSING  # the folder that its authors publish, as the benchmark's module describes; dataset: a file
    keep: dict[str, list[str]] = field(default_factory=dict)  # only items in these groups: {duration: [short, medium]}
    limit: int = at_least(0, 0)  # so many items, drawn by `seed`; 0: all
    measure: str = ""  # reward that is the score of questions with an answer; empty: the benchmark's own


@dataclass(frozen=True)
class BootstrapConfig:
    """The intervals around the numbers."""

    resamples: int = at_least(100, 2000)
    level: float = fraction(0.95)
    unit: str = one_of("question", "video")  # what a resample draws; video: questions about one clip come together


@dataclass(frozen=True)
class EvalConfig:
    """Everything that `vrl eval` needs."""

    name: str = MISSING  # the run folder is runs_dir/name
    runs_dir: str = "runs"
    seed: int = 0
    ray_address: str = ""  # empty: a private local Ray; "auto": the cluster this process belongs to
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    media: MediaConfig = field(default_factory=MediaConfig)
    rollout: EngineConfig = field(default_factory=EngineConfig)  # the engines; the strategy says how they sample
    task: str = ""  # how questions with an answer are asked: a task of vrl.tasks; empty: as the benchmark has it
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    concurrency: int = at_least(1, 32)  # questions under way at once
    failures: str = one_of("wrong", "excluded")  # items that cannot be shown: score 0, or not counted; listed anyway
    measures: list[str] = field(default_factory=list)  # rewards of vrl.reward to report beside the score
    reward: RewardConfig = field(default_factory=RewardConfig)  # what the rewards' formulas leave open, and the judge
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.name


def check_eval(config: EvalConfig) -> list[str]:
    """Every range and cross-field fault, as 'key: got, wanted'."""
    problems = out_of_range(config)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.name):
        problems.append(
            f"name: got {config.name!r}, wanted letters, digits, '.', '_' and '-' (it names the run folder)"
        )
    asking = sorted(name for name, task in TASKS.items() if "answer" in task.needs)
    if config.task and config.task not in asking:
        problems.append(f"task: got {config.task!r}, wanted one of {asking}, or nothing")
    chosen = [("measures", name) for name in config.measures]
    chosen += [("benchmark.measure", config.benchmark.measure)] if config.benchmark.measure else []
    try:
        add_modules(config.reward.modules)
    except ConfigError as error:
        problems += error.problems
    problems += [f"{key}: got {name!r}, wanted one of {sorted(REWARDS)}" for key, name in chosen if name not in REWARDS]
    problems += asking_problems(config.model, config.media, config.rollout) + strategy_problems(config.strategy)
    judge = config.reward.judge
    if judge.kind == "vllm":
        problems.append("reward.judge.kind: got vllm, wanted rules or openai: only training runs have judge engines")
    problems += judge_problems(judge)
    return problems
