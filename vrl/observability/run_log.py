"""Logs the metrics of every step: to metrics.jsonl, the terminal, charts and Prometheus.

`RunLog.log` writes one JSON object per step. Does not compute metrics: roles report numbers, the driver names them.
Series that processes count between steps are in vrl.observability.series.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from vrl.config import LogConfig
from vrl.files import read_json_lines, write_atomically
from vrl.observability.catalogue import Metric, find
from vrl.observability.charts import Charts
from vrl.observability.progress import ProgressBar
from vrl.observability.spans import add_span
from vrl.observability.telemetry import Telemetry, clear_targets, telemetry_config
from vrl.types import Update


def update_metrics(losses: Mapping[str, float], update: Update) -> dict[str, float]:
    """Return the row of an optimizer step. A step that was not applied is counted, without its non-finite values.

    A non-finite value in a step that was applied stays in the row, and `RunLog.log` raises.
    """
    row = {**losses, "learner/lr": update.lr, "learner/grad_norm": update.grad_norm}
    if not update.applied:
        row = {name: value for name, value in row.items() if math.isfinite(value)}
    return row | {"learner/nonfinite_steps": float(update.nonfinite_steps)}


class RowCollector(Collector):
    """Exports the latest value of every metric to Prometheus."""

    def __init__(self) -> None:
        self._values: dict[tuple[Metric, str], float] = {}

    def update(self, row: Mapping[str, float]) -> None:
        """Update the metrics of a step; those not in `row` keep their values. Raise KeyError as `find` does."""
        self._values = self._values | {find(name): value for name, value in row.items()}

    def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
        """Return one family per entry of the catalogue that has a value."""
        made: dict[Metric, GaugeMetricFamily | CounterMetricFamily] = {}
        for (metric, member), value in self._values.items():
            if metric not in made:
                labels = [metric.label] if member else []
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                made[metric] = kind(metric.prometheus_name, f"{metric.meaning} ({metric.unit})", labels=labels)
            made[metric].add_metric([member] if member else [], value)
        return made.values()


class RunLog:
    """The log of one run: metrics.jsonl, a progress line and, if configured, charts and a Prometheus endpoint."""

    def __init__(
        self,
        run_dir: Path,
        config: LogConfig,
        *,
        steps: int,
        first_step: int = 0,
        title: str = "",
        hparams: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the log, and remove the rows after `first_step` that an interrupted run left in metrics.jsonl.

        `hparams` is the configuration that charts show. Raise ConfigError as Charts does.
        """
        self._file = run_dir / "metrics.jsonl"
        self._steps = steps
        _truncate(self._file, first_step)
        self._charts = Charts(run_dir, config, first_step=first_step, hparams=hparams or {})
        self._run_dir = run_dir
        clear_targets(run_dir)
        self._last_row = RowCollector()
        self._telemetry = Telemetry(telemetry_config(run_dir, config, "driver", 0), self._last_row)
        self._progress = ProgressBar(title, steps, done=first_step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a finished step everywhere. `step` and `policy_version` come first in the row."""
        row = {"step": step, **metrics}
        self._last_row.update(row)
        with self._file.open("a") as stream:
            stream.write(json.dumps(row, allow_nan=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._charts.add(step, metrics)
        if "step/seconds" in row:
            now_s = time.time()
            add_span("step", now_s - row["step/seconds"], now_s, step=step)
        self._show(step, row)

    def say(self, message: str) -> None:
        """Print one line to the terminal."""
        self._progress.say(message)

    def close(self) -> None:
        self._progress.close()
        self._charts.close()
        self._telemetry.close()
        clear_targets(self._run_dir)

    def _show(self, step: int, row: Mapping[str, float]) -> None:
        line = "  ".join(f"{label} {row[name]:.3g}" for name, label in _LINE if name in row)
        if not self._progress.show(step, line) and (step <= 3 or step % 10 == 0 or step == self._steps):
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


def _truncate(path: Path, first_step: int) -> None:
    rows = [row for row in read_json_lines(path) if row["step"] <= first_step]
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))
