"""The time of a synchronous RL step: fractions of rollout, reward, learning, push and idle time; samples per second.

    python benchmarks/bench_step.py [key=value ...]

Trains the toy model for some steps with the real fleets and prints one JSON record. Its first steps (compilation, warm
caches) are left out; medians are over the rest. `step_over_parts` is the step's time over the sum of its parts:
1 if only the parts take time. Keys are those of the configuration; a cold start is made if there is none.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from record import emit

from vrl.config import RunConfig
from vrl.config.load import load
from vrl.lifecycle import guard_private_ray, run_to_end
from vrl.toyworld.make import make_toy

PARTS = ("rollout", "reward", "learn", "push")
WARM_UP_STEPS = 3


def main(overrides: list[str]) -> None:
    """Run the benchmark and print its record."""
    with tempfile.TemporaryDirectory(prefix="vrl-bench-") as folder:
        runs = f"runs_dir={folder}"
        make_toy(Path("toy"), clips=0, difficulty=0, seed=0, workers=2)
        cold = load(
            "conf/toy/sft.yaml",
            [runs, "steps=70", "val.every=0", "sft.generate=false", "sft.stop_at_reward=0", "data.val=''"],
        )
        run(cold)
        config = load(
            "conf/toy/rl.yaml",
            [runs, "steps=20", f"model.path={cold.run_dir}", "data.val=''", "log.samples_every=0", *overrides],
        )
        run(config)
        rows = [json.loads(line) for line in (config.run_dir / "metrics.jsonl").read_text().splitlines()]
    report(config, rows[WARM_UP_STEPS:])


def run(config: RunConfig) -> None:
    """Train in this process; a run that fails ends the benchmark."""
    guard_private_ray(config.ray_address)
    from vrl.training.rl import train
    from vrl.training.sft import train_sft

    session = train_sft if config.name.endswith("sft") else train
    code = run_to_end(lambda stop: session(config, stop))
    if code:
        sys.exit(code)


def report(config: RunConfig, rows: list[dict[str, float]]) -> None:
    """Print medians over `rows` and the record."""
    step_s = statistics.median(row["step/seconds"] for row in rows)
    metrics = {f"{part}_share": median_share(rows, part) for part in (*PARTS, "idle")}
    metrics |= {
        "samples_per_s": config.algo.groups_per_step * config.rollout.group_size / step_s,
        "step_over_parts": statistics.median(
            row["step/seconds"] / sum(row[f"{part}/seconds"] for part in PARTS) for row in rows
        ),
        "step_s": step_s,
        "steps": len(rows),
    }
    print("  ".join(f"{name} {value:.3g}" for name, value in metrics.items()), file=sys.stderr)
    chosen = {
        "groups_per_step": config.algo.groups_per_step,
        "group_size": config.rollout.group_size,
        "max_policy_age": config.algo.max_policy_age,
        "engines": config.rollout.engines,
        "ranks": config.learner.ranks,
        "zero_stage": config.learner.zero_stage,
    }
    emit("step", chosen, metrics)


def median_share(rows: list[dict[str, float]], part: str) -> float:
    """Return the median over steps of the part's fraction of the step."""
    return statistics.median(row[f"{part}/seconds"] / row["step/seconds"] for row in rows)


if __name__ == "__main__":
    main(sys.argv[1:])
