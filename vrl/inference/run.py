"""`vrl infer`: a file of questions in, a folder of answers with their traces out, one JSON object per line.

Resumes a killed run: only questions without an answer on disk are asked. A question whose clip or prompt cannot be used
becomes a line that says so. Does not score (`vrl eval` does).
"""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from vrl.checkpoint import resolve_model
from vrl.config.load import as_yaml
from vrl.data.dataset import check_media, media_root, read_dataset
from vrl.data.wording import prompt_settings
from vrl.errors import DataError
from vrl.inference.batch import answer_missing
from vrl.inference.config import InferConfig, data_config
from vrl.inference.predictions import Prediction, PredictionFile, fingerprint
from vrl.lifecycle import Stop
from vrl.observability.progress import ProgressBar
from vrl.types import Sample

logger = logging.getLogger(__name__)


async def infer(config: InferConfig, stop: Stop) -> None:
    """Answer every question that has no answer yet.

    Raises ConfigError, DataError or CheckpointError before any actor starts, and WorkerError if one dies: earlier
    answers are kept, and the same command resumes.
    """
    samples = questions(config)
    model_path = str(resolve_model(config.model.path))
    with PredictionFile(config.run_dir, _settings(config, samples, model_path)) as file:
        (config.run_dir / "config.yaml").write_text(as_yaml(config))
        with ProgressBar(config.name, len(samples), done=len(file.done)) as progress:
            data = data_config(config.media, config.questions)
            resolved = replace(config, model=replace(config.model, path=model_path))
            await answer_missing(samples, file, resolved, data, progress, stop)
            progress.say(f"{tally(file.done.values())}; see {config.run_dir}")


def questions(config: InferConfig) -> tuple[Sample, ...]:
    """Return the questions of the file, with or without answers. Raise DataError listing rows and files at fault."""
    reading = read_dataset(
        Path(config.questions),
        bad_rows=config.bad_rows,
        answered=False,
        task=config.task,
        how_to_skip="bad_rows=skip leaves them out",
    )
    for bad in reading.bad:
        logger.warning("skipped: %s", bad.error)
    samples = reading.kept
    problems = check_media(samples, media_root(data_config(config.media, config.questions)))
    if problems:
        raise DataError("\n".join(problems), reason="media")
    return samples


def _settings(config: InferConfig, samples: Sequence[Sample], model_path: str) -> dict[str, Any]:
    """Return what answers depend on; earlier answers stay valid while it is unchanged."""
    return {
        "model": model_path,
        "frames": asdict(config.media.frames),
        "strategy": asdict(config.strategy),
        **prompt_settings(config.prompt),
        "evidence": [config.reward.max_cited, config.reward.thinking_tokens, config.reward.repetition_n],
        "max_tokens": config.rollout.max_tokens,
        "questions": fingerprint(samples),
        "seed": config.seed,
    }


def tally(predictions: Collection[Prediction]) -> str:
    """Return a line: answers, failures by reason, and the mean cost of an answer, waiting included.

    A stage that a question skipped counts as 0 s, so that the parts add up to the mean answer.
    """
    answered = [prediction.answer for prediction in predictions if prediction.answer is not None]
    failed = Counter(prediction.failure for prediction in predictions if prediction.failure)
    reasons = "".join(f", {count} failed ({reason})" for reason, count in sorted(failed.items()))
    if not answered:
        return f"0 answered{reasons}"
    stages = dict.fromkeys(name for answer in answered for name in answer.stages_s)
    parts = ", ".join(f"{name} {fmean(one.stages_s.get(name, 0.0) for one in answered):.2f}" for name in stages)
    candidates, latency_s = fmean(one.num_candidates for one in answered), fmean(one.latency_s for one in answered)
    return f"{len(answered)} answered with {candidates:.2f} candidates and {latency_s:.2f} s each ({parts}){reasons}"
