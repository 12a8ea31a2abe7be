"""A panel of a dashboard, its queries, and the panels that several dashboards share. Data only: see boards.py.

`$run` is the dashboard's choice of runs; `$__rate_interval` is Grafana's: a window that holds at least four scrapes.
"""

from dataclasses import dataclass

_RUN = 'run=~"$run"'


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One picture. `queries`: (legend, PromQL); `unit` is Grafana's name of it."""

    title: str
    description: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "timeseries"  # or stat


@dataclass(frozen=True, kw_only=True, slots=True)
class Dashboard:
    """One page of panels, three in a row."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]


def latest(*names: str, legend: str = "{{run}}") -> tuple[tuple[str, str], ...]:
    """The metrics as they are; several are told apart by name."""
    return tuple(
        (f"{name.removeprefix('vrl_')} {legend}" if len(names) > 1 else legend, chosen(name)) for name in names
    )


def chosen(name: str, *matchers: str) -> str:
    """The metric of the chosen runs."""
    return f"{name}{{{','.join((_RUN, *matchers))}}}"


def rate_of(name: str, *matchers: str, by: str = "run") -> str:
    """Growth a second of a counter, summed over processes."""
    return f"sum by ({by}) (rate({chosen(name, *matchers)}[$__rate_interval]))"


def quantiles(name: str, *matchers: str, by: str = "run") -> tuple[tuple[str, str], ...]:
    """Median and 95th percentile of a histogram, estimated from its buckets."""
    rates = rate_of(f"{name}_bucket", *matchers, by=f"{by}, le")
    return tuple((f"p{int(q * 100)} {{{{{by}}}}}", f"histogram_quantile({q}, {rates})") for q in (0.5, 0.95))


MISMATCH = Panel(
    title="Engine against learner",
    description="KL between the log-probs of sampling and learning; rounding alone when all is well.",
    queries=latest("vrl_loss_mismatch_kl", "vrl_loss_mismatch_kl_reverse"),
)
AGE = Panel(
    title="Policy age",
    description="Age of the step's oldest token, and the bound on it (algo.max_policy_age).",
    queries=latest("vrl_rollout_policy_age_max", "vrl_run_max_policy_age"),
)
CALLS = Panel(
    title="Work under way",
    description="Calls at work in each role, on average; near its number of actors a role is the bottleneck.",
    queries=(("{{role}} {{run}}", rate_of("vrl_call_seconds_sum", by="role, run")),),
)
