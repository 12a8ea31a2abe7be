"""The series that the processes of a run export to Prometheus, each with its kind, unit and meaning.

A series belongs to a role. `open_series(role)` enables those of one role in this process; until then `count`,
`set_gauge` and `observe` check the name and do nothing, so a worker in a test needs no registry. Metrics that the
driver reports once per step are not here: see vrl.observability.run_log.
"""

from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_REWARDS = (-1, -0.5, -0.25, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.5, 2)


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a role. Labels take a few known values, never a sample, a path or free text."""

    role: str  # data | rollout | reward | learner | driver; actors: every process but the driver; all: every process
    kind: Literal["counter", "gauge", "histogram"]
    name: str  # a counter's ends in _total
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds of a histogram


# fmt: off
SERIES = (
    Series("actors", "histogram", "vrl_call_seconds", "s", "duration of a call, time in the actor's queue excluded",
           ("call",), _SECONDS),
    Series("data", "counter", "vrl_data_samples_total", "samples",
           "samples by outcome: prepared, or the reason why they cannot be used", ("outcome",)),
    Series("data", "counter", "vrl_data_patches_total", "patches", "vision patches cut from frames"),
    Series("rollout", "counter", "vrl_rollout_generated_tokens_total", "tokens", "sampled tokens"),
    Series("rollout", "counter", "vrl_rollout_prompt_tokens_total", "tokens",
           "prompt tokens including vision tokens, counted once per group"),
    Series("rollout", "counter", "vrl_rollout_completions_total", "completions",
           "completions by finish reason: stop, length", ("finish",)),
    Series("rollout", "gauge", "vrl_rollout_policy_version", "version", "policy version of the engine's weights"),
    Series("reward", "histogram", "vrl_reward_value", "reward", "rewards of completions by task", ("task",), _REWARDS),
    Series("reward", "counter", "vrl_reward_judge_questions_total", "questions",
           "questions to the judge by outcome: answered, failed", ("outcome",)),
    Series("learner", "counter", "vrl_learner_tokens_total", "tokens", "tokens through forward and backward"),
    Series("learner", "counter", "vrl_learner_updates_total", "updates", "optimizer steps by outcome: applied, dropped",
           ("outcome",)),
    Series("learner", "counter", "vrl_learner_pushed_bytes_total", "bytes", "weight bytes sent to each engine"),
    Series("driver", "gauge", "vrl_run_steps", "steps", "steps that the run is configured to take"),
    Series("driver", "gauge", "vrl_run_max_policy_age", "steps",
           "the bound on vrl_rollout_policy_age_max; 0 is the synchronous algorithm"),
    Series("driver", "gauge", "vrl_run_checkpoint_every_steps", "steps",
           "steps between two checkpoints; 0 saves only at the end"),
    Series("driver", "gauge", "vrl_checkpoint_last_success_timestamp_seconds", "s",
           "Unix time of the last complete checkpoint, or of the start before the first one"),
)

# Series of other libraries, served next to ours: those that the dashboards use.
EXTERNAL = (
    Series("rollout", "gauge", "vllm_num_requests_running", "requests", "sequences being sampled"),
    Series("rollout", "gauge", "vllm_num_requests_waiting", "requests", "queued sequences"),
    Series("rollout", "gauge", "vllm_kv_cache_usage_perc", "fraction", "KV cache blocks in use"),
    Series("rollout", "counter", "vllm_prefix_cache_queries_total", "tokens",
           "prompt tokens looked up in the prefix cache"),
    Series("rollout", "counter", "vllm_prefix_cache_hits_total", "tokens", "prompt tokens found in the prefix cache"),
    Series("rollout", "counter", "vllm_num_preemptions_total", "requests",
           "sequences preempted because the KV cache was full"),
    Series("all", "gauge", "process_resident_memory_bytes", "bytes", "resident memory of the process"),
    Series("all", "counter", "process_cpu_seconds_total", "s", "CPU time of all threads"),
    Series("all", "gauge", "process_open_fds", "files", "open file descriptors"),
)
# fmt: on
_NAMES = {series.name for series in SERIES}
_live: dict[str, Counter | Gauge | Histogram] = {}


def open_series(role: str) -> CollectorRegistry:
    """Return a new registry with the series of `role` at zero, and memory, CPU time and open files of the process."""
    disable_created_metrics()  # they double every counter, and nothing reads them
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    _live.clear()
    for series in SERIES:
        if series.role == role or (series.role == "actors" and role != "driver"):
            _live[series.name] = _made(series, registry)
    return registry


def close_series() -> None:
    """Disable all series of this process."""
    _live.clear()


def count(name: str, amount: float = 1.0, **labels: str) -> None:
    """Add to a counter of SERIES. Raise KeyError if the name is not listed."""
    if (made := _find(name, labels)) is not None:
        made.inc(amount)


def set_gauge(name: str, value: float, **labels: str) -> None:
    """Set a gauge of SERIES."""
    if (made := _find(name, labels)) is not None:
        made.set(value)


def observe(name: str, value: float, **labels: str) -> None:
    """Add a value to a histogram of SERIES."""
    if (made := _find(name, labels)) is not None:
        made.observe(value)


def _made(series: Series, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    text = f"{series.meaning} ({series.unit})"
    if series.kind == "counter":
        return Counter(series.name, text, series.labels, registry=registry)
    if series.kind == "gauge":
        return Gauge(series.name, text, series.labels, registry=registry)
    return Histogram(series.name, text, series.labels, registry=registry, buckets=series.buckets)


def _find(name: str, labels: dict[str, str]) -> Any:
    """Return the series, or its child with these labels; None if another role owns it. Raise KeyError if unlisted."""
    if name not in _NAMES:
        raise KeyError(f"series {name}: wanted it listed in vrl.observability.series.SERIES")
    made = _live.get(name)
    return made.labels(**labels) if made is not None and labels else made
