"""`vrl eval`: from a configuration to a folder of predictions, scores, results and a page.

    benchmark files -> items -> (answers that are missing) -> predictions.jsonl -> scores.jsonl -> results, page

Engines start only if answers are missing, so a finished run is rescored in seconds.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vrl.checkpoint import resolve_model
from vrl.config.load import as_yaml
from vrl.data.wording import prompt_settings
from vrl.evaluation.benchmarks import BENCHMARKS
from vrl.evaluation.config import EvalConfig
from vrl.evaluation.item import Item
from vrl.evaluation.metrics import summarise
from vrl.evaluation.read import read_items, unasked
from vrl.evaluation.results import make_results, write_results
from vrl.evaluation.score import score_items
from vrl.evaluation.scored import Scored, write_scores
from vrl.evaluation.select import asked_as, select
from vrl.inference.batch import answer_missing
from vrl.inference.config import MediaConfig, data_config
from vrl.inference.predictions import PredictionFile, fingerprint, in_order
from vrl.lifecycle import Stop
from vrl.observability.progress import ProgressBar
from vrl.report.page import dotted
from vrl.reward.judge import require_judge
from vrl.types import Sample


async def evaluate(config: EvalConfig, stop: Stop) -> None:
    """Answer the questions without an answer, score everything and write the results.

    Raise ConfigError, DataError or CheckpointError before any actor starts, and WorkerError if one dies: the answers so
    far are kept, and the same command resumes.
    """
    benchmark = BENCHMARKS[config.benchmark.name]
    media, bad_rows = _media(config), config.benchmark.bad_rows
    reading = read_items(benchmark, Path(config.benchmark.path), Path(media.root), bad_rows)
    bad = unasked(reading.bad, benchmark, bad_rows)
    counted = select([*reading.kept, *(bad if bad_rows == "wrong" else ())], config.benchmark, config.seed)
    items = [asked_as(one, config.task) for one in counted if isinstance(one, Item)]
    samples = [item.sample for item in items]
    model_path = str(resolve_model(config.model.path))
    await require_judge(config.reward.judge)
    with PredictionFile(config.run_dir, _settings(config, samples, model_path)) as file:
        (config.run_dir / "config.yaml").write_text(as_yaml(config))
        with ProgressBar(config.name, len(items), done=len(file.done)) as progress:
            data = data_config(media, config.benchmark.path)
            resolved = replace(config, model=replace(config.model, path=model_path))
            await answer_missing(samples, file, resolved, data, progress, stop)
            predictions = in_order(file.done, [sample.sample_id for sample in samples])
            progress.say(f"scoring {len(items)} answers")
            scored = await score_items(items, predictions, benchmark, config, model_path)
            scored += [one for one in counted if isinstance(one, Scored)] if bad_rows == "wrong" else bad
            write_scores(config.run_dir, scored)
            summary = summarise(scored, benchmark, config.bootstrap, config.seed)
            results = make_results(config, benchmark, scored, summary, reading)
            write_results(config.run_dir, results, scored)
    print((config.run_dir / "results.md").read_text())


def _media(config: EvalConfig) -> MediaConfig:
    """Set media.root, if empty, to the folder that the benchmark's authors publish, or that of a dataset file."""
    path, folder = Path(config.benchmark.path), BENCHMARKS[config.benchmark.name].media
    published = path.parent if path.is_file() else path / folder
    return replace(config.media, root=config.media.root or str(published))


def _settings(config: EvalConfig, samples: Sequence[Sample], model_path: str) -> dict[str, Any]:
    """Return everything that answers depend on by dotted key; earlier predictions are kept only if it is unchanged."""
    parts: dict[str, Any] = {
        "model": asdict(config.model) | {"path": str(Path(model_path).resolve())},
        "frames": asdict(config.media.frames),
        "strategy": asdict(config.strategy),
        **prompt_settings(config.prompt),
        "rollout": {key: getattr(config.rollout, key) for key in ("max_tokens", "top_p", "top_k")},
        "questions": {"benchmark": config.benchmark.name, "count": len(samples), "fingerprint": fingerprint(samples)},
        "seed": config.seed,
    }
    return dotted(parts)
