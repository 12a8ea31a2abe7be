"""The papers' training ablations on the toy world: one table with means and spreads over seeds, and one JSON record.

    python benchmarks/ablations.py [--quick] [--only abcde] [--jobs 2] [--out runs/ablations]

    a  VideoReasoner   RL on questions and events together against each of them alone: the mean of both skills
    b  RLER            each evidence reward against the run without it: the measure it names, and accuracy
    c  Video-R2        accuracy and format against the gated temporal reward: think-answer consistency (TAC)
    d  VideoReasoner   RL on events against a longer cold start of equal duration, with true labels and with half of the
                       labels taken from other rows
    e  ours            asynchronous RL, corrected, against synchronous: the mean of both skills, and seconds of training

Questions a, d and e start from the demo's cold start and train like it; timings are meaningful only with --jobs 1.
Variants are rows of the table below: a name, a starting point, and overrides. Every run is `vrl sft` or `vrl train` in
its own process, --jobs at a time; half of their time is imports. A finished run is not repeated, so an interrupted
benchmark resumes. --quick takes one seed and few steps: it shows that all of it runs, too small for conclusions.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from record import emit
from rich.console import Console
from rich.table import Table

from vrl.data.dataset import read_samples, write_parquet
from vrl.toyworld.make import make_toy
from vrl.types import Sample

QUIET = ("log.samples_every=0", "log.tensorboard=false", "gate.enabled=false", "checkpoint.keep_last=1")
EVIDENCE = {"frame_sensitive": 0.2, "think_transparency": 0.3, "anti_repetition": 0.3}
MANY = "val.samples=384"  # held-out questions, enough for the mean of a rare event
WHEN = {"frame_sensitive": ["accuracy>=0.6", "format>=1"], "think_transparency": ["format>=1"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """Sizes of the benchmark; an empty field keeps the value of the configuration."""

    clips: int  # 0 keeps the demo's
    seeds: int
    cold: tuple[str, ...] = ()  # overrides of a cold start
    rl: tuple[str, ...] = ()  # overrides of RL, and of the cold start continued for the same time


QUICK = Size(
    clips=150,
    seeds=1,
    cold=("steps=80", "sft.generate=false", "sft.stop_at_reward=0", "val.every=0"),
    rl=("steps=8", "val.samples=64"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One row: what is trained, and which held-out numbers matter. A number with several names is their mean."""

    question: str  # a to e
    name: str
    folder: str  # of its runs, without the seed: rows of two questions may be one run
    conf: str
    start: str  # the cold start's name
    overrides: tuple[str, ...]
    shows: Mapping[str, tuple[str, ...]]
    in_quick: bool = True


def rubric(task: str, rewards: Mapping[str, float], when: Mapping[str, list[str]]) -> str:
    """Return an override that replaces the rubric; a part of weight 0 is only measured."""
    terms = [{"reward": name, "weight": weight, "when": when.get(name, [])} for name, weight in rewards.items()]
    return f"tasks={json.dumps([{'task': task, 'rewards': terms}])}"


def rler(without: tuple[str, ...]) -> tuple[str, ...]:
    """Return RLER's rewards, some of them only measured."""
    evidence = {name: 0.0 if name in without else weight for name, weight in EVIDENCE.items()}
    return (rubric("think_keyframes", {"accuracy": 0.1, "format": 0.1, **evidence}, WHEN), MANY)


def video_r2(weight: float) -> tuple[str, ...]:
    """Return Video-R2's rewards with the given weight for the gated temporal reward."""
    rewards = {"accuracy": 1.0, "format": 1.0, "temporal": weight}
    return (rubric("think_timestamps", rewards, {"temporal": ["consistency>=1"]}), MANY)


SKILLS = {
    "joint": ("accuracy/vqa", "iou/grounding"),
    "accuracy": ("accuracy/vqa",),
    "iou": ("iou/grounding",),
}
CITED = {name: (f"{name}/think_keyframes",) for name in ("accuracy", *EVIDENCE)}
TIMED = {"tac": ("tac",), "temporal": ("temporal/think_timestamps",), "accuracy": ("accuracy/think_timestamps",)}
EVENTS = {"iou": SKILLS["iou"]}
TRAINED = {**SKILLS, "train_s": ()}  # and the seconds of all steps
# Taking turns, as in the demo's configuration, engine and learner have both cores; in parallel each has one.
ONE_THREAD = ("rollout.threads=1", "learner.threads=1")
ASYNCHRONOUS = ("algo.max_policy_age=2", "algo.correction=token_truncate", *ONE_THREAD)
COLD_STARTS = {"direct": "conf/toy/sft.yaml", "thinking": "conf/toy/thinking_sft.yaml"}
DIRECT, CITING, TIMING = "conf/toy/rl.yaml", "conf/toy/rler.yaml", "conf/toy/video_r2_rl.yaml"
ROWS = {"direct": "_basic", "thinking": ""}  # which rows of the world are asked


def variants(out: Path) -> tuple[Variant, ...]:
    """Return the rows of the table."""

    def row(
        question: str,
        name: str,
        conf: str,
        overrides: tuple[str, ...],
        shows: Mapping[str, tuple[str, ...]],
        in_quick: bool = True,
        same_as: str = "",
    ) -> Variant:
        return Variant(
            question=question,
            name=name,
            folder=same_as or f"{question}-{name.replace(' ', '-')}",
            conf=conf,
            start="direct" if conf == DIRECT else "thinking",
            overrides=overrides,
            shows=shows,
            in_quick=in_quick,
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
        row("d", "RL on events", DIRECT, of("grounding"), EVENTS, same_as="a-events-only"),
        row(
            "d",
            "RL, half of the labels wrong",
            DIRECT,
            of("half_wrong"),
            EVENTS,
            in_quick=False,
            same_as="d-half-wrong",
        ),
        row("e", "synchronous", DIRECT, (), TRAINED, same_as="a-questions-and-events"),
        row("e", "asynchronous", DIRECT, ASYNCHRONOUS, TRAINED),
    )


def main(arguments: list[str]) -> None:
    """Run what is missing, then print the table and the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, few steps")
    parser.add_argument("--only", default="abcde", help="the questions to ask")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time; one takes about a core")
    parser.add_argument("--out", type=Path, help="folder of data and runs")
    options = parser.parse_args(arguments)
    quick, only = options.quick, options.only
    out = options.out or Path("runs/ablations-quick" if quick else "runs/ablations")
    size = QUICK if quick else Size(clips=0, seeds=3)
    if options.jobs > 1:
        size = replace(size, rl=(*size.rl, *ONE_THREAD))
    make_data(out, size)
    rows = [row for row in variants(out) if row.question in only and (row.in_quick or not quick)]
    with ThreadPoolExecutor(options.jobs) as jobs:
        named = sorted({row.start for row in rows})
        starts = dict(zip(named, jobs.map(lambda name: cold_start(out, name, size), named), strict=True))
        asked = {(row.folder, seed): row for seed in range(size.seeds) for row in rows}
        done = jobs.map(lambda one: train(out, one[1], starts[one[1].start], one[0][1], size), asked.items())
        folders = dict(zip(asked, done, strict=True))
        rivals = [(row, seed) for row in rows if row.question == "d" for seed in range(size.seeds)]
        longer = list(jobs.map(lambda one: more_cold_start(out, one[0], starts[one[0].start], one[1], size), rivals))
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {}  # by question and row, then by seed
    for seed in range(size.seeds):
        for row in rows:
            before, after = results(folders[row.folder, seed], row.shows)
            found.setdefault((row.question, f"the cold start ({row.start})"), {})[seed] = before
            found.setdefault((row.question, row.name), {})[seed] = after
    for (row, seed), folder in zip(rivals, longer, strict=True):
        found.setdefault(("d", row.name.replace("RL", "more cold start")), {})[seed] = results(folder, row.shows)[1]
    report(found, size)


def make_data(out: Path, size: Size) -> None:
    """Make the toy world, and split its basic training rows by task."""
    toy = out / "toy"
    make_toy(toy, clips=size.clips, difficulty=0, seed=0, workers=2)
    rows = {task: read_samples(toy / "train_basic.parquet", [task]) for task in ("vqa", "grounding")}
    rows["half_wrong"] = half_wrong(rows["grounding"])
    for name, samples in rows.items():
        write_parquet(samples, toy / f"train_{name}.parquet")


def half_wrong(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Give every second row the span of another row, drawn at random; some are correct by chance."""
    wrong = samples[::2]
    others = random.Random(0).sample(wrong, len(wrong))
    spans_by_id = {to.sample_id: other.spans for to, other in zip(wrong, others, strict=True)}
    return tuple(replace(sample, spans=spans_by_id.get(sample.sample_id, sample.spans)) for sample in samples)


def cold_start(out: Path, name: str, size: Size) -> Path:
    """Return the cold start that RL begins from, the same for all seeds."""
    return run(out, "sft", name, COLD_STARTS[name], f"cold-{name}", [f"model.path={out}/toy/model", *size.cold])


def train(out: Path, row: Variant, start: Path, seed: int, size: Size) -> Path:
    """Return one RL run of a row."""
    overrides = [f"model.path={start}", f"seed={seed}", "checkpoint.export=false", *row.overrides, *size.rl]
    return run(out, "train", row.start, row.conf, f"{row.folder}-{seed}", overrides)


def more_cold_start(out: Path, row: Variant, start: Path, seed: int, size: Size) -> Path:
    """Run supervised steps on the same data for as long as the finished RL run of the row took."""
    rl = f"{row.folder}-{seed}"
    each = statistics.median(step["step/seconds"] for step in steps(start))
    overrides = [
        f"model.path={start}",
        f"seed={seed}",
        "sft.stop_at_reward=0",
        "val.every=0",
        "val.samples=192",
        "checkpoint.export=false",
        *row.overrides,
        *size.rl,
        f"steps={max(1, round(train_seconds(out / rl) / each))}",
    ]
    return run(out, "sft", "direct", COLD_STARTS["direct"], f"d-more-cold-start-after-{rl}", overrides)


def run(out: Path, command: str, rows: str, conf: str, name: str, overrides: list[str]) -> Path:
    """Return the folder of a finished run, running it in its own process if needed. Exit if it fails."""
    folder = out / name
    if not (folder / "summary.json").is_file() or summary(folder)["ended"] != "finished":
        kinds = {kind: f"{out}/toy/{kind}{ROWS[rows]}.parquet" for kind in ("train", "val")}
        data = [f"data.train={kinds['train']}", f"data.val={kinds['val']}", f"data.cache.dir={out}/cache"]
        asked = [conf, f"name={name}", f"runs_dir={out}", "resume=auto", *data, *QUIET, *overrides]
        print(f"{name} ...", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", "vrl", command, *asked], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"vrl {command} {' '.join(asked)}\n{done.stderr[-4000:]}")
    return folder


def summary(folder: Path) -> dict[str, Any]:
    """Return the summary of a run."""
    return json.loads((folder / "summary.json").read_text())


def steps(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's metrics."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def train_seconds(folder: Path) -> float:
    """Wall time of a run's steps."""
    return sum(row["step/seconds"] for row in steps(folder))


def results(folder: Path, shows: Mapping[str, tuple[str, ...]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the numbers of a row before and after a run: means of held-out metrics and, if requested, its seconds.

    A number that does not apply (no TAC without a correct answer) is left out.
    """
    vals = summary(folder)
    before, after = (shown(vals.get(when, {}), shows) for when in ("val_before", "val_after"))
    return before, after | ({"train_s": train_seconds(folder)} if "train_s" in shows else {})


def shown(vals: Mapping[str, float], shows: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """Return the mean over the names of each number."""
    return {
        label: statistics.mean(vals[name] for name in names)
        for label, names in shows.items()
        if names and all(name in vals for name in names)
    }


def report(found: Mapping[tuple[str, str], Mapping[int, dict[str, float]]], size: Size) -> None:
    """Print one table for people and one record for programs: mean and spread (standard deviation) over seeds."""
    table = Table("", "variant", "numbers", title=f"held out, mean and spread over {size.seeds} seed(s)")
    metrics: dict[str, dict[str, float]] = {}
    for (question, name), seeds in sorted(found.items()):
        parts = []
        for label in dict.fromkeys(label for one in seeds.values() for label in one):
            values = [one[label] for one in seeds.values() if label in one]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            parts.append(f"{label} {statistics.mean(values):.3f}" + (f" +-{spread:.3f}" if len(values) > 1 else ""))
            metrics.setdefault(f"{question}: {name}", {}).update(
                {f"{label}_mean": statistics.mean(values), f"{label}_std": spread, f"{label}_seeds": len(values)}
            )
        table.add_row(question, name, "  ".join(parts))
    Console(stderr=True, width=120).print(table)
    emit("ablations", asdict(size), metrics)


if __name__ == "__main__":
    main(sys.argv[1:])
