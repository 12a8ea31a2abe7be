"""The `vrl` command. Parses arguments, calls one function and turns errors into exit codes.

Exit codes: 0 success, 1 the run failed, 2 wrong configuration or data, 130 and 143 ended by Ctrl-C and SIGTERM.
"""

import argparse
import errno
import logging
import os
import shlex
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from vrl import __version__
from vrl.errors import CheckpointError, ConfigError, DataError, StorageError, VrlError

_LAYOUTS = (
    "video-r1", "video-r2", "videoreasoner", "llava-video", "charades-sta", "next-gqa", "time-r1", "verl", "easyr1",
    "jsonl",
)  # fmt: skip
_DESCRIPTION = "Reinforcement learning for models that reason over video: Ray, vLLM rollouts, a DeepSpeed learner."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `vrl` command and return its exit code."""
    parser = _parser()
    args, overrides = parser.parse_known_args(arguments)
    if overrides and "config" not in vars(args):
        parser.error(f"unrecognized arguments: {' '.join(overrides)}")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    console = Console(stderr=True)
    try:
        if "config" in vars(args):
            args.overrides = [*args.overrides, *overrides]
        return args.run(args)
    except (ConfigError, DataError, CheckpointError) as error:
        _explain(console, error)
        return 2
    except VrlError as error:
        return _failed(console, args, error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _failed(console, args, StorageError(f"{error}; make room"))


def _failed(console: Console, args: argparse.Namespace, error: VrlError) -> int:
    """Print why a command failed and how to resume a training run; return the exit code."""
    _explain(console, error)
    if args.run in (_sft, _train):
        kept = [word for word in args.overrides if not word.lstrip("-").startswith("resume=")]
        command = ["vrl", "sft" if args.run is _sft else "train", args.config, *kept, "resume=auto"]
        console.print(f"  resume with: {shlex.join(command)}", highlight=False, markup=False, soft_wrap=True)
    return 1


def _explain(console: Console, error: VrlError) -> None:
    console.print(f"[bold red]{type(error).__name__}[/]", highlight=False)
    for line in str(error).splitlines():
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vrl", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"vrl {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    toy = commands.add_parser("toy", help="create the toy world: real clips, questions, a tiny model")
    toy.add_argument("out", type=Path, help="output folder")
    toy.add_argument("--clips", type=int, default=0, help="number of training clips; 0: enough for the demo")
    toy.add_argument("--difficulty", type=int, default=0, choices=range(5), help="4: short events in long clips")
    toy.add_argument("--seed", type=int, default=0)
    toy.add_argument("--workers", type=int, default=2)
    toy.add_argument("--encoder", action="store_true", help="also train a dual encoder, for locate-and-back-fill")
    toy.set_defaults(run=_toy)

    def configured(name: str, run: Callable[[argparse.Namespace], int], text: str, nargs: str | None = None) -> Any:
        command = commands.add_parser(name, help=text)
        command.add_argument("config", nargs=nargs, help="YAML file")
        command.add_argument("overrides", nargs="*", help="key=value, such as learner.lr=1e-4, or more YAML files")
        command.set_defaults(run=run)
        return command

    configured("serve", _serve, "answer questions over HTTP, in the OpenAI protocol, until stopped")
    configured("infer", _infer, "answer a file of questions with any strategy, traces included")
    configured("sft", _sft, "cold start: supervised fine-tuning on several tasks")
    configured("train", _train, "group-relative reinforcement learning")

    config = configured("config", _config, "print and check the resolved configuration, or describe all keys", "?")
    config.add_argument("--schema", choices=("run", "eval", "infer", "serve"), default="run", help="whose keys")
    config.add_argument("--keys", nargs="?", const="", metavar="SECTION", help="describe the keys, such as data.frames")
    config.add_argument(
        "--list", choices=("rewards", "tasks", "strategies"), help="describe rewards, tasks, strategies"
    )

    config.add_argument("--prompt", metavar="TASK", help="print a question's words and SHA-256; TASK/TYPE: of a type")

    plan = configured("plan", _plan, "estimate a run's tokens, memory and actors; starts nothing")
    plan.add_argument("--gpu-gib", type=float, default=80.0, help="memory of one GPU; 0: plan for CPUs")

    evaluation = configured("eval", _eval, "evaluate on a benchmark, or compare two such runs", "?")
    evaluation.add_argument("--compare", nargs=2, type=Path, metavar="RUN", help="two finished runs on the same items")

    export = commands.add_parser("export", help="export a run's newest checkpoint as a Hugging Face folder")
    export.add_argument("run_dir", type=Path)
    export.add_argument("out", type=Path, help="output folder")
    export.set_defaults(run=_export)

    _add_data(commands)

    report = commands.add_parser("report", help="write a self-contained HTML page of one run, or several side by side")
    report.add_argument("run_dirs", type=Path, nargs="+", metavar="run_dir")
    report.set_defaults(run=_report)

    samples = commands.add_parser("samples", help="show rollouts of a run in the terminal")
    samples.add_argument("run_dir", type=Path)
    order = samples.add_mutually_exclusive_group()
    order.add_argument("--worst", type=int, metavar="N", help="the N rollouts of lowest reward (default: 10)")
    order.add_argument("--best", type=int, metavar="N", help="the N rollouts of highest reward")
    samples.add_argument("--task", default="", help="only of this task")
    samples.set_defaults(run=_samples)

    trace = commands.add_parser("trace", help="show how a run spent its time and write trace.json for Perfetto")
    trace.add_argument("run_dir", type=Path)
    trace.set_defaults(run=_trace)

    doctor = commands.add_parser("doctor", help="check this machine, or a checkpoint's engine/learner parity")
    doctor.add_argument("--parity", metavar="CHECKPOINT", help="compare vLLM with the learner on real clips")
    doctor.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="for --parity")
    doctor.add_argument("--runs-dir", type=Path, default=Path("runs"))
    doctor.set_defaults(run=_doctor)
    return parser


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="convert published datasets, check the clips of one")
    tools = data.add_subparsers(required=True, metavar="TOOL")
    convert = tools.add_parser("convert", help="convert a published dataset to our schema")
    convert.add_argument("--from", dest="layout", required=True, choices=_LAYOUTS)
    convert.add_argument("source", type=Path, metavar="SRC", help="annotation file")
    convert.add_argument("out", type=Path, metavar="OUT", help="parquet file to write")
    convert.add_argument("--root", type=Path, help="folder of the media, if SRC has absolute paths")
    convert.add_argument(
        "--skip-bad", action="store_true", help="leave bad rows out and list them, instead of refusing"
    )
    convert.set_defaults(run=_data_convert)

    check = tools.add_parser("check", help="decode every clip; exit code 1 if any is bad")
    check.add_argument("dataset", type=Path, help="parquet or jsonl")
    check.add_argument("--root", type=Path, help="folder of the media; default: the dataset's")
    check.add_argument("--out", type=Path, help="folder of the clean dataset and report; default: the dataset's")
    check.add_argument("--workers", type=int, default=2, help="decode processes")
    check.add_argument("--timeout-s", type=float, default=600.0, help="seconds to decode all frames of one file")
    check.set_defaults(run=_data_check)


def _data_convert(args: argparse.Namespace) -> int:
    from vrl.data.convert import convert

    bad_rows = "skip" if args.skip_bad else "refuse"
    reading = convert(args.layout, args.source, args.out, root=args.root, bad_rows=bad_rows)
    for bad in reading.bad:
        print(f"skipped: {bad.error}", file=sys.stderr)
    print(f"{args.out}: {len(reading.kept)} samples; {reading.summary()}")
    return 0


def _data_check(args: argparse.Namespace) -> int:
    from vrl.data.check import check_dataset, print_report

    report = check_dataset(args.dataset, root=args.root, out=args.out, workers=args.workers, timeout_s=args.timeout_s)
    print_report(report, Console())
    return 1 if report.bad else 0


def _toy(args: argparse.Namespace) -> int:
    from vrl.toyworld.make import make_toy

    make_toy(args.out, clips=args.clips, difficulty=args.difficulty, seed=args.seed, workers=args.workers)
    if args.encoder and not (args.out / "encoder" / "config.json").is_file():
        from vrl.toyworld.encoder import build_toy_encoder

        build_toy_encoder(args.out / "encoder", args.seed)
    return 0


def _load(file: str | Path, *overrides: str, **schema: Any) -> Any:
    """Load the configuration and secure a private Ray. Call before an import of Ray, which reads its settings then."""
    from vrl.config.load import load
    from vrl.lifecycle import guard_private_ray

    config = load(file, overrides, **schema)
    guard_private_ray(config.ray_address)
    return config


def _run(main: Callable[[Any, Any], Coroutine[Any, Any, None]], config: Any) -> int:
    from vrl.lifecycle import run_to_end

    return run_to_end(lambda stop: main(config, stop))


def _sft(args: argparse.Namespace) -> int:
    config = _load(args.config, *args.overrides)
    from vrl.training.sft import train_sft

    return _run(train_sft, config)


def _train(args: argparse.Namespace) -> int:
    config = _load(args.config, *args.overrides)
    from vrl.training.rl import train

    return _run(train, config)


def _infer(args: argparse.Namespace) -> int:
    from vrl.inference.config import InferConfig, check_infer

    config = _load(args.config, *args.overrides, schema=InferConfig, check=check_infer)
    from vrl.inference.run import infer

    return _run(infer, config)


def _serve(args: argparse.Namespace) -> int:
    from vrl.serve.config import ServeConfig, check_serve

    config = _load(args.config, *args.overrides, schema=ServeConfig, check=check_serve)
    from vrl.serve.run import serve_questions

    return _run(serve_questions, config)


def _eval(args: argparse.Namespace) -> int:
    if args.compare:
        from vrl.evaluation.compare import as_markdown, compare

        print(as_markdown(compare(*args.compare)), end="")
        return 0
    from vrl.evaluation.config import EvalConfig, check_eval

    config = _load(args.config, *args.overrides, schema=EvalConfig, check=check_eval)
    from vrl.evaluation.run import evaluate

    return _run(evaluate, config)


def _config(args: argparse.Namespace) -> int:
    from vrl import reference
    from vrl.config.load import as_yaml, load

    if args.list:
        reference.print_rows(reference.LIST_COLUMNS, reference.names(args.list), Console())
    elif args.keys is not None:
        reference.print_rows(reference.KEY_COLUMNS, reference.keys(args.schema, args.keys), Console())
    else:
        schema, check = reference.SCHEMAS[args.schema]
        loaded: Any = load(args.config, args.overrides, schema=schema, check=check)
        if args.prompt:
            from vrl.data.wording import describe, read_wording

            print(describe(read_wording(loaded.prompt), args.prompt))
        else:
            print(as_yaml(loaded), end="")
    return 0


def _plan(args: argparse.Namespace) -> int:
    from vrl.config.load import load
    from vrl.sizing.plan import GIB, plan, print_plan

    found = plan(load(args.config, args.overrides), gpu_bytes=args.gpu_gib * GIB)
    print_plan(found, Console())
    return 1 if found.problems else 0


def _export(args: argparse.Namespace) -> int:
    config = _load(args.run_dir / "config.yaml")
    from vrl.training.export import export

    print(export(config, args.run_dir, args.out).path)
    return 0


def _report(args: argparse.Namespace) -> int:
    from vrl.report.page import write_report

    print(write_report(*args.run_dirs))
    return 0


def _samples(args: argparse.Namespace) -> int:
    from vrl.report.terminal import choose, show_samples

    count = args.best or args.worst or 10
    show_samples(choose(args.run_dir, count, best=bool(args.best), task=args.task), Console())
    return 0


def _trace(args: argparse.Namespace) -> int:
    from vrl.observability.spans import read_spans
    from vrl.observability.trace import print_utilization, utilization, write_trace

    found = utilization(read_spans(args.run_dir))
    print_utilization(found, Console())
    print(write_trace(args.run_dir))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    if args.parity:
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # show the report only
        from vrl.checkpoint import resolve_model
        from vrl.parity.checkpoint import check_checkpoint

        report = check_checkpoint(str(resolve_model(args.parity)), dtype=args.dtype)
        print(report)
        return 0 if report.passed else 1
    from vrl.doctor import run_doctor

    return run_doctor(args.runs_dir)


if __name__ == "__main__":
    sys.exit(main())
