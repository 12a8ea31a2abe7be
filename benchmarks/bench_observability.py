"""The cost of telemetry: steps of one real toy run, with and without metrics, spans and the report's sample files.

    python benchmarks/bench_observability.py [pairs=100] [key=value ...]

The run is the demo's RL from the demo's cold start (`make demo` first, or name another by model.path), with a
frozen policy, so that all steps are alike. Between two steps, while no actor works, telemetry is switched on or off in
every process: series and spans, all outputs of the driver's row, a sample file for every tenth such step. Order
within pairs alternates: on off, off on. The cost of Prometheus' own scrapes is not included. Prints one JSON record:
`overhead_cpu_share` is the mean difference of a pair in CPU seconds of all processes over the mean step without
telemetry, `standard_error` its standard error; wall time is reported as well, but is noise on a busy machine.
"""

import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from record import emit

from vrl.config import RunConfig
from vrl.config.load import load
from vrl.lifecycle import Stop, guard_private_ray, run_to_end
from vrl.observability.series import close_series, open_series
from vrl.observability.spans import close_spans, open_spans
from vrl.types import RolloutGroup

DEMO = ["model.path=runs/toy-sft", "data.cache.dir=runs/cache"]
STILL = ["learner.lr=1e-12", "data.val=''", "gate.enabled=false", "checkpoint.export=false"]
WARM_UP_STEPS = 6
ORDER = (True, False, False, True)
SAMPLES_EVERY = 10  # steps with telemetry, as log.samples_every


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The time of one step."""

    watched: bool
    wall_s: float
    cpu_s: float  # of the driver and all actors


def main(arguments: list[str]) -> None:
    """Run the steps and print the record."""
    pairs = next((int(a.removeprefix("pairs=")) for a in arguments if a.startswith("pairs=")), 100)
    overrides = [argument for argument in arguments if not argument.startswith("pairs=")]
    with tempfile.TemporaryDirectory(prefix="vrl-bench-") as folder:
        own = [f"runs_dir={folder}", f"steps={WARM_UP_STEPS + 2 * pairs}", f"log.prometheus_port={_free_port()}"]
        config = load("conf/toy/rl.yaml", [*DEMO, *own, *STILL, *overrides])
        guard_private_ray(config.ray_address)
        taken: list[Step] = []
        code = run_to_end(lambda stop: train(config, stop, taken))
    if code:
        sys.exit(code)
    report(config, taken[WARM_UP_STEPS:])


async def train(config: RunConfig, stop: Stop, taken: list[Step]) -> None:
    """vrl.training.rl's loop without gate and validation; every step is appended to `taken`."""
    from vrl.report.samples import write_samples
    from vrl.training.driver import Driver
    from vrl.training.session import open_session

    async with open_session(config, stop, kind="rl") as session:
        fleets = session.fleets
        switch = Switch(
            config, [*fleets.data.alive, *fleets.engines.alive, *fleets.rewards.alive, *fleets.learner._ranks]
        )
        await switch.turn(True)

        async def on_step(
            step: int, groups: Sequence[RolloutGroup], advantages: Sequence[np.ndarray]
        ) -> dict[str, float]:
            if switch.on and sum(one.watched for one in taken) % SAMPLES_EVERY == 0:
                patches = [await group.patches for group in groups[:4]]
                write_samples(config.run_dir, step, groups[:4], list(advantages)[:4], patches)
            taken.append(switch.step())
            await switch.turn(ORDER[step % len(ORDER)])
            return {}

        class Log:
            """The session's log, while telemetry is on."""

            def log(self, step: int, metrics: Mapping[str, float]) -> None:
                if switch.on:
                    session.log.log(step, metrics)

        async def after_step() -> None:
            return None

        driver = Driver(
            config,
            prefetcher=session.prefetcher,
            engines=fleets.engines,
            rewards=fleets.rewards,
            learner=fleets.learner,
            log=Log(),  # pyright: ignore[reportArgumentType]
            sync_weights=fleets.weights.sync,
            on_step=on_step,
            after_step=after_step,
            progress=session.progress,
            patch_cost=session.patch_cost,
        )
        await fleets.weights.sync(0)
        await driver.run()


class Switch:
    """Switches telemetry on and off in the driver and every actor, and measures the time between two switches."""

    def __init__(self, config: RunConfig, actors: Sequence[Any]) -> None:
        self.on = False
        self._run_dir = config.run_dir
        self._actors = actors

    async def turn(self, on: bool) -> None:
        pids = [await actor.__ray_call__.remote(_turn, on) for actor in self._actors]
        _turn_this("driver", 0, self._run_dir, on)
        self.on = on
        self._processes = [psutil.Process(pid) for pid in (os.getpid(), *pids)]
        self._since = self._now()

    def step(self) -> Step:
        """Return the time since the last switch."""
        wall_s, cpu_s = (now - then for now, then in zip(self._now(), self._since, strict=True))
        return Step(watched=self.on, wall_s=wall_s, cpu_s=cpu_s)

    def _now(self) -> tuple[float, float]:
        times = [process.cpu_times() for process in self._processes]
        return time.monotonic(), sum(one.user + one.system for one in times)


def _turn(_actor: Any, on: bool) -> int:
    """Switch telemetry in the process of an actor and return its pid."""
    own = json.loads(os.environ["VRL_TELEMETRY"])
    _turn_this(own["role"], own["rank"], Path(own["run_dir"]), on)
    return os.getpid()


def _turn_this(role: str, rank: int, run_dir: Path, on: bool) -> None:
    close_spans()
    close_series()
    if on:
        open_spans(run_dir, role, rank)
        open_series(role)


def report(config: RunConfig, taken: Sequence[Step]) -> None:
    """Print the differences within pairs and the record."""
    pairs = [taken[i : i + 2] for i in range(0, len(taken) - 1, 2)]
    metrics: dict[str, float] = {"pairs": len(pairs)}
    for clock in ("cpu", "wall"):
        on, off = (
            [getattr(next(one for one in pair if one.watched is watched), f"{clock}_s") for pair in pairs]
            for watched in (True, False)
        )
        differences = [a - b for a, b in zip(on, off, strict=True)]
        mean_off = statistics.fmean(off)
        metrics |= {
            f"overhead_{clock}_share": statistics.fmean(differences) / mean_off,
            f"{clock}_standard_error": statistics.stdev(differences) / math.sqrt(len(pairs)) / mean_off,
            f"median_{clock}_share": statistics.median(differences) / statistics.median(off),
            f"unwatched_{clock}_s": mean_off,
        }
    print("  ".join(f"{name} {value:.3g}" for name, value in metrics.items()), file=sys.stderr)
    sizes = {"groups_per_step": config.algo.groups_per_step, "group_size": config.rollout.group_size}
    emit("observability", sizes, metrics)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main(sys.argv[1:])
