"""The configuration of an evaluation: every key, its default, its meaning and its range. Reads no file."""

from dataclasses import dataclass
from pathlib import Path

from vrl.config import RewardConfig
from vrl.config.checks import judge_problems
from vrl.config.fields import MISSING, at_least, fraction, key, one_of, path_key, run_name, section
from vrl.errors import ConfigError
from vrl.evaluation.benchmarks import BENCHMARKS
from vrl.inference.config import AnswerConfig, answer_problems
from vrl.reward import REWARDS, add_modules
from vrl.tasks import TASKS


@dataclass(frozen=True)
class BenchmarkConfig:
    """Which questions are asked."""

    name: str = one_of("dataset", *(name for name in BENCHMARKS if name != "dataset"), doc="Benchmark.")
    path: str = path_key(MISSING, doc="Folder as its authors publish it (see the benchmark's module); dataset: a file.")
    keep: dict[str, list[str]] = key({}, doc="Keep only items of these groups, such as {duration: [short, medium]}.")
    keep_in: dict[str, dict[str, list[str]]] = key(
        {}, doc="`keep` of single benchmarks by name, for a preset; `keep` overrides it group by group."
    )
    limit: int = at_least(0, 0, doc="Number of items to sample by `seed`; 0: all.")
    bad_rows: str = one_of(
        "exclude",
        "wrong",
        "fail",
        doc="A row that holds no question (see docs/evaluation.md) is left out, scores 0, or ends the command.",
    )
    reading: str = one_of(
        "published",
        "strict",
        doc="How replies are read: as the benchmark's authors do (see docs/evaluation.md), or as in training.",
    )
    measure: str = key("", doc="Reward that scores questions with an answer; empty: the benchmark's own.")

    @property
    def kept(self) -> dict[str, list[str]]:
        """The groups of which items are kept, by key."""
        return {**self.keep_in.get(self.name, {}), **self.keep}


@dataclass(frozen=True)
class BootstrapConfig:
    """Confidence intervals of the scores."""

    resamples: int = at_least(100, 2000, doc="Number of bootstrap resamples.")
    level: float = fraction(0.95, doc="Confidence level.")
    unit: str = one_of("question", "video", doc="What a resample draws; video: all questions about a clip together.")


@dataclass(frozen=True)
class EvalConfig(AnswerConfig):
    """Everything that `vrl eval` needs."""

    name: str = run_name()
    runs_dir: str = path_key("runs", doc="Folder of all runs.")
    benchmark: BenchmarkConfig = section(BenchmarkConfig)
    task: str = key(
        "", doc="Task of the questions that have its truth, an answer or events; empty: the benchmark's own."
    )
    failures: str = one_of(
        "wrong", "excluded", doc="Unreadable items score 0 or are not counted; listed in both cases."
    )
    measures: list[str] = key([], doc="Rewards to report next to the score.")
    reward: RewardConfig = section(RewardConfig, "Parameters of the reward functions, and the judge.")
    bootstrap: BootstrapConfig = section(BootstrapConfig)

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.name


def check_eval(config: EvalConfig) -> list[str]:
    """Return every range and cross-field fault, as 'key: got, wanted'."""
    problems = answer_problems(config)
    asking = sorted(name for name, task in TASKS.items() if {"answer", "spans"} & set(task.needs))
    if config.task and config.task not in asking:
        problems.append(f"task: got {config.task!r}, wanted one of {asking}, or nothing")
    unknown = sorted(config.benchmark.keep_in.keys() - BENCHMARKS.keys())
    problems += [f"benchmark.keep_in: got {name!r}, wanted one of {sorted(BENCHMARKS)}" for name in unknown]
    chosen = [("measures", name) for name in config.measures]
    chosen += [("benchmark.measure", config.benchmark.measure)] if config.benchmark.measure else []
    try:
        add_modules(config.reward.modules)
    except ConfigError as error:
        problems += error.problems
    problems += [f"{key}: got {name!r}, wanted one of {sorted(REWARDS)}" for key, name in chosen if name not in REWARDS]
    judge = config.reward.judge
    if judge.kind == "vllm":
        problems.append("reward.judge.kind: got vllm, wanted rules or openai: only training runs have judge engines")
    problems += judge_problems(judge)
    return problems
