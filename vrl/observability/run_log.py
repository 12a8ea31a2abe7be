"""What a run tells at every step: the catalogue of metrics, metrics.jsonl, the terminal, charts and Prometheus.

`RunLog.log` writes one JSON object a step. Nothing here computes a metric: roles report numbers, the driver names them.
What the processes count between steps is in vrl.observability.series.
"""

import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vrl.config import LogConfig
from vrl.observability.charts import Charts
from vrl.observability.spans import record
from vrl.observability.watch import Window, clear_targets, watch_of
from vrl.types import Update


@dataclass(frozen=True, slots=True)
class Metric:
    """One series of the catalogue. A name ending in /* stands for a family, whose members differ in `label`."""

    name: str
    unit: str
    meaning: str
    label: str = "part"
    kind: str = "gauge"  # or counter: grows from the start of the run on

    @property
    def prometheus_name(self) -> str:
        """`rollout/tokens_per_s` -> `vrl_rollout_tokens_per_second`, `reward/task/*` -> `vrl_reward_by_task`."""
        name = self.name
        if name.endswith("/*"):
            name = f"{name.removesuffix('/*').removesuffix(f'/{self.label}')}_by_{self.label}"
        for short, full in (("_per_s", "_per_second"), ("_frac", "_ratio")):
            if name.endswith(short):
                name = name.removesuffix(short) + full
        return "vrl_" + name.replace("/", "_").replace("-", "_") + "_total" * (self.kind == "counter")


CATALOGUE = (
    Metric("step", "steps", "steps done; losses and gradient norm are means over the updates of a step"),
    Metric("policy_version", "version", "version of the learner's weights; one more a step that moved them"),
    Metric("reward/mean", "reward", "mean reward of the step's rollouts, zero-spread and replaced groups included"),
    Metric("reward/*", "reward", "mean of one part of the reward over the rollouts to which it applies"),
    Metric("reward/spread/*", "reward", "standard deviation of one part within a group, mean over groups"),
    Metric("reward/missing/*", "share", "rollouts without a value of one part: it does not apply, or a judge failed"),
    Metric("judge/failures", "questions", "questions of the step to which the judge gave no usable answer"),
    Metric("reward/task/*", "reward", "mean reward of one task's rollouts", label="task"),
    Metric("reward/seconds", "s", "scoring, per wave"),
    Metric("loss/policy", "nats", "policy loss by algo.policy_loss, corrected and aggregated"),
    Metric("loss/sft", "nats", "cross-entropy per target token"),
    Metric("loss/kl", "nats", "KL to the reference policy per token, by algo.kl_estimator"),
    Metric("loss/mismatch_kl", "nats", "k3 KL between engine and learner per token; rounding alone when all is well"),
    Metric("loss/clip_frac", "share", "tokens whose ratio was clipped"),
    Metric("loss/ratio_gap", "1", "mean distance of the ratio policy / old from 1: how far the step's updates went"),
    Metric("loss/corrected_frac", "share", "tokens whose old / engine weight algo.correction truncated or rejected"),
    Metric("loss/ess_frac", "share", "effective sample size of those weights over the tokens that train"),
    Metric("loss/entropy", "nats", "mean entropy of the policy at the sampled tokens"),
    Metric("learner/lr", "1", "learning rate of the step"),
    Metric("learner/grad_norm", "1", "global gradient norm before clipping"),
    Metric("learner/nonfinite_steps", "steps", "updates dropped: a loss or gradient was not finite", kind="counter"),
    Metric("learner/tokens_per_s", "tokens/s", "tokens through the learner over its seconds"),
    Metric("learn/seconds", "s", "forward, backward and optimizer"),
    Metric("rollout/tokens_per_s", "tokens/s", "the step's sampled tokens over the seconds in which any were sampled"),
    Metric("rollout/shuffled_frac", "share", "sampled tokens on permuted frames: what T-GRPO costs, never trained on"),
    Metric("rollout/seconds", "s", "from dispatch to the last completion, mean over the step's groups"),
    Metric("rollout/completion_tokens", "tokens", "mean length of a completion"),
    Metric("rollout/unreadable_frac", "share", "completions that their task could not parse"),
    Metric("rollout/truncated_frac", "share", "completions that ran into max_tokens"),
    Metric("rollout/policy_age_max", "steps", "age of the step's oldest token"),
    Metric(
        "group/zero_spread_frac",
        "share",
        "groups whose rewards are all equal; left out where the baseline is the group's",
    ),
    Metric("group/refills", "groups", "zero-spread groups that were replaced (algo.max_refills)"),
    Metric("loss/mismatch_kl_reverse", "nats", "the same divergence, learner against engine"),
    Metric("pack/loss_tokens", "tokens", "tokens that trained in the step"),
    Metric("pack/shared_token_frac", "share", "tokens saved by computing each prompt once per group"),
    Metric(
        "pack/pad_frac", "share", "learner time in which ranks wait for the one with the dearest micro-batch, by work"
    ),
    Metric("push/seconds", "s", "pause, send, verify, resume"),
    Metric("push/bytes_per_s", "bytes/s", "weight bytes over push/seconds"),
    Metric("step/seconds", "s", "wall time of the step"),
    Metric("idle/seconds", "s", "step time in which no part of it was under way"),
    Metric("data/decode_seconds", "s", "decode and processor, mean over the step's prompts"),
    Metric("data/bad_samples", "samples", "samples left out", kind="counter"),
    Metric("data/cache_hit_frac", "share", "clips and pictures of the step's prompts that data.cache had"),
    Metric("fault/restarts/*", "actors", "actors replaced since the run was started or resumed", "fleet", "counter"),
    Metric("fault/lost_actors", "actors", "actors that stay dead: restarts used up, or no node with room"),
    Metric(
        "fault/lost_calls",
        "calls",
        "calls that were lost with an actor, and given to another or dropped",
        kind="counter",
    ),
    Metric(
        "fault/resumes",
        "resumes",
        "times that the run went on from its last checkpoint after a learner rank died",
        kind="counter",
    ),
    Metric("fault/failed_pushes", "pushes", "weight pushes that failed and were repeated", kind="counter"),
    Metric("val/reward", "reward", "mean reward on held-out samples"),
    Metric("val/reward/*", "reward", "the same, one task", label="task"),
    Metric("val/*", "reward", "mean of one part of the reward on held-out samples of one task: val/<part>/<task>"),
    Metric("val/tac", "percent", "think-answer consistency: of right answers, those whose thinking concludes so too"),
    Metric("val/vas", "percent", "how much the thinking claims visual evidence, by the judge's word"),
    Metric("val/loss", "nats", "cross-entropy on held-out targets"),
)


def update_metrics(losses: Mapping[str, float], update: Update) -> dict[str, float]:
    """The row of an optimizer step. A step that was not applied is counted, and its row lacks what is not finite.

    A value that is not finite in a step that was applied stays, and `RunLog.log` raises.
    """
    row = {**losses, "learner/lr": update.lr, "learner/grad_norm": update.grad_norm}
    if not update.applied:
        row = {name: value for name, value in row.items() if math.isfinite(value)}
    return row | {"learner/nonfinite_steps": float(update.nonfinite_steps)}


def find(name: str) -> tuple[Metric, str]:
    """The entry of CATALOGUE for a metric of a row, and the member of its family, "" where it stands for itself.

    Raises KeyError for a metric that is not listed.
    """
    if name in _SINGLE:
        return _SINGLE[name], ""
    for metric in _FAMILIES:
        if name.startswith(metric.name[:-1]):
            return metric, name[len(metric.name) - 1 :]
    raise KeyError(f"metric {name}: wanted it listed in vrl.observability.run_log.CATALOGUE with its unit and meaning")


_SINGLE = {metric.name: metric for metric in CATALOGUE if not metric.name.endswith("/*")}
_FAMILIES = sorted((m for m in CATALOGUE if m.name.endswith("/*")), key=lambda m: -len(m.name))  # the closest first


class RowCollector(Collector):
    """The last known value of every metric of the rows, as Prometheus sees them."""

    def __init__(self) -> None:
        self._values: dict[tuple[Metric, str], float] = {}

    def update(self, row: Mapping[str, float]) -> None:
        """Take over the metrics of a step; those it lacks stay. Raises KeyError as `find` does."""
        self._values = self._values | {find(name): value for name, value in row.items()}

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """One family an entry of the catalogue, those without a value yet left out."""
        made: dict[Metric, GaugeMetricFamily | CounterMetricFamily] = {}
        for (metric, member), value in self._values.items():
            if metric not in made:
                labels = [metric.label] if member else []
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                made[metric] = kind(metric.prometheus_name, f"{metric.meaning} ({metric.unit})", labels=labels)
            made[metric].add_metric([member] if member else [], value)
        return made.values()


class RunLog:
    """The record of one run: metrics.jsonl, a progress line, charts and a Prometheus endpoint where asked."""

    def __init__(
        self,
        run_dir: Path,
        config: LogConfig,
        *,
        steps: int,
        first_step: int = 0,
        title: str = "",
        told: Mapping[str, Any] | None = None,
    ) -> None:
        """Rows after `first_step` that an interrupted run left in metrics.jsonl are removed.

        `told`: what charts say of the run's configuration. Raises ConfigError as Charts does.
        """
        self._file = run_dir / "metrics.jsonl"
        self._steps = steps
        _truncate(self._file, first_step)
        self._console = Console(stderr=True)
        self._started = time.monotonic()
        self._charts = Charts(run_dir, config, first_step=first_step, told=told or {})
        self._run_dir = run_dir
        clear_targets(run_dir)
        self._last_row = RowCollector()
        self._window = Window(watch_of(run_dir, config, "driver", 0), self._last_row)
        self._progress: Progress | None = None
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[line]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._progress.add_task(title, total=steps, completed=first_step, line="")
            self._progress.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of a finished step everywhere. `step` and `policy_version` come first in the row."""
        row = {"step": step, **metrics}
        self._last_row.update(row)
        with self._file.open("a") as stream:
            stream.write(json.dumps(row, allow_nan=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._charts.add(step, metrics)
        if "step/seconds" in row:
            now_s = time.time()
            record("step", now_s - row["step/seconds"], now_s, step=step)
        self._show(step, row)

    def say(self, message: str) -> None:
        """One line for the person who watches."""
        if self._progress is not None:
            self._progress.console.print(message, highlight=False)
        else:
            elapsed = time.monotonic() - self._started
            print(f"[{elapsed:7.1f} s] {message}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._charts.close()
        self._window.close()
        clear_targets(self._run_dir)

    def _show(self, step: int, row: Mapping[str, float]) -> None:
        line = "  ".join(f"{label} {row[name]:.3g}" for name, label in _LINE if name in row)
        if self._progress is not None:
            self._progress.update(self._task, completed=step, line=line)
        elif step <= 3 or step % 10 == 0 or step == self._steps:
            self.say(f"step {step}/{self._steps}  {line}")


_LINE = (
    ("reward/mean", "reward"),
    ("loss/sft", "loss"),
    ("val/loss", "val loss"),
    ("val/reward", "val reward"),
    ("loss/mismatch_kl", "mismatch"),
    ("rollout/tokens_per_s", "rollout tok/s"),
    ("learner/tokens_per_s", "learner tok/s"),
    ("step/seconds", "s/step"),
)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, a torn last line left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _truncate(path: Path, first_step: int) -> None:
    rows = [row for row in read_rows(path) if row["step"] <= first_step]
    tmp = path.with_suffix(".tmp")
    tmp.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(tmp, path)
