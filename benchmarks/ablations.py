"""The papers' training ablations on the toy world: one table with means and spreads over seeds, and one JSON record.

    python benchmarks/ablations.py [--quick] [--jobs 2] [--out runs/ablations]

    a  VideoReasoner   RL on questions and events together against each of them alone: the mean of both skills
    b  RLER            each evidence reward against the run without it: what it names, and accuracy
    c  Video-R2        accuracy and form against the gated temporal reward: consistency of thought and answer (TAC)
    d  VideoReasoner   RL on events against more cold start for as many seconds

Variants are rows of a table below: a name, what to start from, and overrides. Every run is `vrl sft` or `vrl train` in
a process of its own, --jobs of them at a time, half of whose minutes are imports; one that is there already and
finished is not repeated, so an interrupted benchmark goes on. --quick takes one seed and few steps: it shows that all
of it runs, and too little for conclusions.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import emit
from rich.console import Console
from rich.table import Table

from vrl.data.dataset import read_samples, write_parquet
from vrl.data.toy import make_toy

QUIET = ("log.samples_every=0", "log.tensorboard=false", "gate.enabled=false", "val.every=0", "checkpoint.keep_last=1")
EVIDENCE = {"frame_sensitive": 0.2, "think_transparency": 0.3, "anti_repetition": 0.3}
WHEN = {"frame_sensitive": ["accuracy>=0.6", "format>=1"], "think_transparency": ["format>=1"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much of everything."""

    clips: int
    cold_steps: int
    steps: int  # of RL
    seeds: int
    val: int  # held-out samples


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One row: what is trained, and which held-out numbers matter. A number of several names is their mean."""

    question: str  # a, b, c or d
    name: str
    conf: str
    start: str  # the cold start's name
    overrides: tuple[str, ...]
    shows: Mapping[str, tuple[str, ...]]
    in_quick: bool = True


def rubric(task: str, rewards: Mapping[str, float], when: Mapping[str, list[str]]) -> str:
    """An override that replaces the rubric; weight 0 measures only."""
    terms = [{"reward": name, "weight": weight, "when": when.get(name, [])} for name, weight in rewards.items()]
    return f"tasks={json.dumps([{'task': task, 'rewards': terms}])}"


def rler(without: tuple[str, ...]) -> tuple[str, ...]:
    """RLER's rewards, some of them only measured."""
    evidence = {name: 0.0 if name in without else weight for name, weight in EVIDENCE.items()}
    return (rubric("think_keyframes", {"accuracy": 0.1, "format": 0.1, **evidence}, WHEN),)


def video_r2(weight: float) -> tuple[str, ...]:
    """Video-R2's rewards with this weight of the gated temporal one."""
    rewards = {"accuracy": 1.0, "format": 1.0, "temporal": weight}
    return (rubric("think_timestamps", rewards, {"temporal": ["consistency>=1"]}),)


SKILLS = {
    "joint": ("accuracy/vqa", "iou/grounding"),
    "accuracy": ("accuracy/vqa",),
    "iou": ("iou/grounding",),
}
CITED = {name: (f"{name}/think_keyframes",) for name in ("accuracy", *EVIDENCE)}
TIMED = {"tac": ("tac",), "temporal": ("temporal/think_timestamps",), "accuracy": ("accuracy/think_timestamps",)}
COLD_STARTS = {"direct": "conf/toy_videoreasoner_sft.yaml", "thinking": "conf/toy_thinking_sft.yaml"}
DIRECT, CITING, TIMING = "conf/toy_videoreasoner_rl.yaml", "conf/toy_rler.yaml", "conf/toy_video_r2.yaml"


def variants(out: Path) -> tuple[Variant, ...]:
    """The table."""

    def row(
        question: str,
        name: str,
        conf: str,
        overrides: tuple[str, ...],
        shows: Mapping[str, tuple[str, ...]],
        in_quick: bool = True,
    ) -> Variant:
        start = "direct" if conf == DIRECT else "thinking"
        return Variant(
            question=question, name=name, conf=conf, start=start, overrides=overrides, shows=shows, in_quick=in_quick
        )

    def of(task: str) -> tuple[str, ...]:
        return (f"data.train={out}/toy/train_{task}.parquet",)

    return (
        row("a", "questions and events", DIRECT, (), SKILLS),
        row("a", "questions only", DIRECT, of("vqa"), SKILLS),
        row("a", "events only", DIRECT, of("grounding"), SKILLS),
        row("b", "all five rewards", CITING, rler(()), CITED),
        row("b", "without evidence rewards", CITING, rler(tuple(EVIDENCE)), CITED),
        *(row("b", f"without {name}", CITING, rler((name,)), CITED, in_quick=False) for name in EVIDENCE),
        row("c", "gated temporal reward", TIMING, video_r2(1.0), TIMED),
        row("c", "accuracy and form", TIMING, video_r2(0.0), TIMED),
    )


def main(arguments: list[str]) -> None:
    """Run what is not there yet, print the table and the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, few steps")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time; one takes about a core")
    parser.add_argument("--out", type=Path, help="folder of data and runs")
    options = parser.parse_args(arguments)
    quick = options.quick
    out = options.out or Path("runs/ablations-quick" if quick else "runs/ablations")
    size = (
        Size(clips=150, cold_steps=80, steps=8, seeds=1, val=64)
        if quick
        else Size(clips=600, cold_steps=250, steps=60, seeds=3, val=256)
    )
    make_data(out, size)
    rows = [row for row in variants(out) if row.in_quick or not quick]
    with ThreadPoolExecutor(options.jobs) as jobs:
        named = jobs.map(lambda name: (name, cold_start(out, COLD_STARTS[name], name, size)), COLD_STARTS)
        starts = dict(named)
        asked = [(seed, row) for seed in range(size.seeds) for row in rows]
        folders = list(jobs.map(lambda one: train(out, one[1], starts[one[1].start], one[0], size), asked))
        pairs = list(jobs.map(lambda seed: more_cold_start(out, starts["direct"], seed, size), range(size.seeds)))
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for (_, row), folder in zip(asked, folders, strict=True):
        vals = summary(folder)
        found.setdefault((row.question, row.name), []).append(shown(vals["val_after"], row.shows))
        cold = (row.question, f"the cold start ({row.start})")
        found.setdefault(cold, []).append(shown(vals["val_before"], row.shows))
    for rl, more in pairs:
        found.setdefault(("d", "RL on events"), []).append(rl)
        found.setdefault(("d", "cold start on events"), []).append(more)
    report(found, size)


def make_data(out: Path, size: Size) -> None:
    """The toy world, and its training rows by task."""
    toy = out / "toy"
    make_toy(toy, clips=size.clips, difficulty=0, seed=0, workers=2)
    for task in ("vqa", "grounding"):
        write_parquet(read_samples(toy / "train.parquet", [task]), toy / f"train_{task}.parquet")


def cold_start(out: Path, conf: str, name: str, size: Size) -> Path:
    """A cold start of `cold_steps` steps."""
    overrides = [f"model.path={out}/toy/model", "sft.generate=false", "sft.stop_at_reward=0", "data.val=''"]
    return run(out, "sft", conf, f"cold-{name}", [*overrides, f"steps={size.cold_steps}"])


def train(out: Path, row: Variant, start: Path, seed: int, size: Size) -> Path:
    """One RL run of a row."""
    name = f"{row.question}-{row.name.replace(' ', '-')}-{seed}"
    overrides = [f"model.path={start}", f"seed={seed}", f"steps={size.steps}", f"val.samples={size.val}"]
    return run(out, "train", row.conf, name, [*overrides, "checkpoint.export=false", *row.overrides])


def more_cold_start(out: Path, start: Path, seed: int, size: Size) -> tuple[dict[str, float], dict[str, float]]:
    """Events: RL (the row of question a), and supervised steps that take as many seconds as its steps did."""
    shows = {"iou": SKILLS["iou"]}
    rl = out / f"a-events-only-{seed}"
    seconds = sum(row["step/seconds"] for row in steps(rl))
    each = statistics.median(row["step/seconds"] for row in steps(start))
    overrides = [
        f"model.path={start}",
        f"seed={seed}",
        f"steps={max(1, round(seconds / each))}",
        f"val.samples={size.val}",
        f"data.train={out}/toy/train_grounding.parquet",
        "checkpoint.export=false",
    ]
    more = run(out, "sft", "conf/toy_videoreasoner_sft.yaml", f"d-cold-start-on-events-{seed}", overrides)
    return shown(summary(rl)["val_after"], shows), shown(summary(more)["val_after"], shows)


def run(out: Path, command: str, conf: str, name: str, overrides: list[str]) -> Path:
    """The folder of a run that finished; runs it in a process of its own where there is none. Ends the benchmark where
    it fails.
    """
    folder = out / name
    if not (folder / "summary.json").is_file() or summary(folder)["ended"] != "finished":
        data = [f"data.train={out}/toy/train.parquet", f"data.val={out}/toy/val.parquet", f"data.root={out}/toy"]
        asked = [conf, f"name={name}", f"runs_dir={out}", *data, *QUIET, *overrides]
        print(f"{name} ...", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", "vrl", command, *asked], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"vrl {command} {' '.join(asked)}\n{done.stderr[-4000:]}")
    return folder


def summary(folder: Path) -> dict[str, Any]:
    """What a run wrote at its end."""
    return json.loads((folder / "summary.json").read_text())


def steps(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def shown(vals: Mapping[str, float], shows: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """The numbers of a row from a validation; one that does not apply (no right answer: no TAC) is left out."""
    return {
        label: statistics.mean(vals[name] for name in names)
        for label, names in shows.items()
        if all(name in vals for name in names)
    }


def report(found: Mapping[tuple[str, str], list[dict[str, float]]], size: Size) -> None:
    """One table for people, one record for programs: mean and spread (standard deviation) over seeds."""
    table = Table("", "variant", "held out", title=f"{size.seeds} seed(s), {size.steps} RL steps, {size.val} samples")
    metrics: dict[str, dict[str, float]] = {}
    for (question, name), seeds in sorted(found.items()):
        parts = []
        for label in dict.fromkeys(label for one in seeds for label in one):
            values = [one[label] for one in seeds if label in one]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            parts.append(f"{label} {statistics.mean(values):.3f}" + (f" +-{spread:.3f}" if len(values) > 1 else ""))
            metrics.setdefault(f"{question}: {name}", {}).update(
                {f"{label}_mean": statistics.mean(values), f"{label}_std": spread, f"{label}_seeds": len(values)}
            )
        table.add_row(question, name, "  ".join(parts))
    Console(stderr=True, width=120).print(table)
    emit("ablations", {"seeds": size.seeds, "steps": size.steps, "clips": size.clips, "val": size.val}, metrics)


if __name__ == "__main__":
    main(sys.argv[1:])
