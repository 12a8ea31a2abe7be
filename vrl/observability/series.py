"""The series that the processes of a run count for Prometheus, each named with kind, unit and meaning.

A series belongs to a role. `open_series(role)` makes those of one role live in this process; until then `count`,
`level` and `observe` check the name and do nothing, so a worker in a test needs no registry. What a step of the
driver says is not here: see vrl.observability.run_log.
"""

from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_REWARDS = (-1, -0.5, -0.25, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.5, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One series of a role. Labels hold a few known values, never a sample, a path or a text."""

    name: str  # a counter's ends in _total
    kind: str  # counter | gauge | histogram
    unit: str
    meaning: str
    role: str  # data | rollout | reward | learner | driver; any: every actor
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds of a histogram


SERIES = (
    Series(
        name="vrl_call_seconds",
        kind="histogram",
        unit="s",
        meaning="work of one call, waiting in the actor's queue left out",
        role="any",
        labels=("call",),
        buckets=_SECONDS,
    ),
    Series(
        name="vrl_data_samples_total",
        kind="counter",
        unit="samples",
        meaning="samples by outcome: prepared, or the reason why they cannot be used",
        role="data",
        labels=("outcome",),
    ),
    Series(
        name="vrl_data_patches_total",
        kind="counter",
        unit="patches",
        meaning="vision patches cut from frames",
        role="data",
    ),
    Series(
        name="vrl_rollout_generated_tokens_total",
        kind="counter",
        unit="tokens",
        meaning="sampled tokens",
        role="rollout",
    ),
    Series(
        name="vrl_rollout_prompt_tokens_total",
        kind="counter",
        unit="tokens",
        meaning="prompt tokens, vision slots included, once a group",
        role="rollout",
    ),
    Series(
        name="vrl_rollout_completions_total",
        kind="counter",
        unit="completions",
        meaning="completions by how they ended: stop, length",
        role="rollout",
        labels=("finish",),
    ),
    Series(
        name="vrl_rollout_policy_version",
        kind="gauge",
        unit="version",
        meaning="version of the weights that the engine holds",
        role="rollout",
    ),
    Series(
        name="vrl_reward_value",
        kind="histogram",
        unit="reward",
        meaning="rewards of completions, by task",
        role="reward",
        labels=("task",),
        buckets=_REWARDS,
    ),
    Series(
        name="vrl_reward_judge_questions_total",
        kind="counter",
        unit="questions",
        meaning="questions to the judge by outcome: answered, failed",
        role="reward",
        labels=("outcome",),
    ),
    Series(
        name="vrl_learner_tokens_total",
        kind="counter",
        unit="tokens",
        meaning="tokens through forward and backward",
        role="learner",
    ),
    Series(
        name="vrl_learner_updates_total",
        kind="counter",
        unit="updates",
        meaning="optimizer steps by outcome: applied, dropped",
        role="learner",
        labels=("outcome",),
    ),
    Series(
        name="vrl_learner_pushed_bytes_total",
        kind="counter",
        unit="bytes",
        meaning="weight bytes sent to each engine",
        role="learner",
    ),
    Series(
        name="vrl_run_steps",
        kind="gauge",
        unit="steps",
        meaning="steps that the run will take",
        role="driver",
    ),
    Series(
        name="vrl_run_max_policy_age",
        kind="gauge",
        unit="steps",
        meaning="the bound on vrl_rollout_policy_age_max; 0 is the synchronous algorithm",
        role="driver",
    ),
    Series(
        name="vrl_run_checkpoint_every_steps",
        kind="gauge",
        unit="steps",
        meaning="steps between two checkpoints; 0: only at the end",
        role="driver",
    ),
    Series(
        name="vrl_checkpoint_last_success_timestamp_seconds",
        kind="gauge",
        unit="s",
        meaning="Unix time of the last whole checkpoint, or of the start before there is one",
        role="driver",
    ),
)

# Of others, served beside ours: those that the dashboards use.
EXTERNAL = (
    Series(
        name="vllm_num_requests_running",
        kind="gauge",
        unit="requests",
        meaning="sequences being sampled",
        role="rollout",
    ),
    Series(name="vllm_num_requests_waiting", kind="gauge", unit="requests", meaning="sequences queued", role="rollout"),
    Series(
        name="vllm_kv_cache_usage_perc", kind="gauge", unit="share", meaning="KV cache blocks in use", role="rollout"
    ),
    Series(
        name="vllm_prefix_cache_queries_total",
        kind="counter",
        unit="tokens",
        meaning="prompt tokens looked up in the prefix cache",
        role="rollout",
    ),
    Series(
        name="vllm_prefix_cache_hits_total", kind="counter", unit="tokens", meaning="and found there", role="rollout"
    ),
    Series(
        name="vllm_num_preemptions_total",
        kind="counter",
        unit="requests",
        meaning="sequences put back for want of KV cache",
        role="rollout",
    ),
    Series(
        name="process_resident_memory_bytes", kind="gauge", unit="bytes", meaning="memory of the process", role="all"
    ),
    Series(name="process_cpu_seconds_total", kind="counter", unit="s", meaning="CPU time, all threads", role="all"),
    Series(name="process_open_fds", kind="gauge", unit="files", meaning="open file descriptors", role="all"),
)
_NAMES = {series.name for series in SERIES}
_live: dict[str, Counter | Gauge | Histogram] = {}


def open_series(role: str) -> CollectorRegistry:
    """A new registry with the series of `role`, zero, and the process's own (memory, CPU time, open files)."""
    disable_created_metrics()  # a second series beside every counter, which nothing asks for
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    _live.clear()
    for series in SERIES:
        if series.role == role or (series.role == "any" and role != "driver"):
            _live[series.name] = _made(series, registry)
    return registry


def close_series() -> None:
    """Count nothing any more."""
    _live.clear()


def count(name: str, amount: float = 1.0, **labels: str) -> None:
    """Add to a counter of SERIES. Raises KeyError for a name that is not there."""
    made = _find(name, labels)
    if made is not None:
        made.inc(amount)


def level(name: str, value: float, **labels: str) -> None:
    """Set a gauge of SERIES."""
    made = _find(name, labels)
    if made is not None:
        made.set(value)


def observe(name: str, value: float, **labels: str) -> None:
    """Put a value into a histogram of SERIES."""
    made = _find(name, labels)
    if made is not None:
        made.observe(value)


def _made(series: Series, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    text = f"{series.meaning} ({series.unit})"
    if series.kind == "counter":
        return Counter(series.name, text, series.labels, registry=registry)
    if series.kind == "gauge":
        return Gauge(series.name, text, series.labels, registry=registry)
    return Histogram(series.name, text, series.labels, registry=registry, buckets=series.buckets)


def _find(name: str, labels: dict[str, str]) -> Any:
    """The live series, or its child with these labels; None where it is not of this process. KeyError: unknown."""
    if name not in _NAMES:
        raise KeyError(f"series {name}: wanted it listed in vrl.observability.series.SERIES")
    made = _live.get(name)
    return made.labels(**labels) if made is not None and labels else made
