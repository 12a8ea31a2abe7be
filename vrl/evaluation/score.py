"""Scores predictions with the parsers and reward functions of training. Needs no engine.

Scoring is separate from answering: other measures, another judge or another rule for failures need no new answers.
"""

import asyncio
from collections.abc import Iterable, Sequence

from vrl.config import RewardTermConfig, TaskConfig
from vrl.evaluation.config import EvalConfig
from vrl.evaluation.item import Benchmark, Item
from vrl.evaluation.scored import STAGE, Scored
from vrl.inference.answer import Answer
from vrl.inference.predictions import Prediction
from vrl.reward.inputs import RewardInput, Values
from vrl.reward.text import word_error_rate
from vrl.reward.worker import RewardWorker
from vrl.tasks import TASKS
from vrl.tasks.task import Parsed
from vrl.types import Sample

_SCORES = {"span": "iou", "elements": "element_f1"}  # answer type -> its score; no other type has this reward
_CONCURRENCY = 64  # items in progress at the judge


async def score_items(
    items: Sequence[Item],
    predictions: Sequence[Prediction],
    benchmark: Benchmark,
    config: EvalConfig,
    model_path: str,
) -> list[Scored]:
    """Score every item with its prediction. `model_path`: model whose tokenizer counts thinking tokens.

    A failed item has 0 in every measure of its score, or no values, by config.failures. Raise ConfigError for measures
    that do not exist and RewardError if a reward function fails.
    """
    tasks = sorted({item.sample.task for item in items})
    worker = RewardWorker([_rubric(task, benchmark, config) for task in tasks], config.reward, model_path)
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def one(item: Item, prediction: Prediction) -> Scored:
        async with slots:
            return await _score(item, prediction, benchmark, config, worker)

    pairs = zip(items, predictions, strict=True)
    return benchmark.join(await asyncio.gather(*(one(item, prediction) for item, prediction in pairs)))


def score_name(sample: Sample, benchmark: Benchmark, config: EvalConfig) -> str:
    """Return the reward that is the score of spans, of elements, or of other answers (benchmark.measure first)."""
    if sample.answer_type in _SCORES:
        return _SCORES[sample.answer_type]
    return config.benchmark.measure or benchmark.measure or "accuracy"


def _rubric(task: str, benchmark: Benchmark, config: EvalConfig) -> TaskConfig:
    own = [name for name in (config.benchmark.measure, benchmark.measure) if name]
    names = dict.fromkeys(["accuracy", "iou", "element_f1", "format", *own, *benchmark.measures, *config.measures])
    return TaskConfig(task=task, rewards=[RewardTermConfig(reward=name) for name in names])


async def _score(
    item: Item, prediction: Prediction, benchmark: Benchmark, config: EvalConfig, worker: RewardWorker
) -> Scored:
    sample, answer = item.sample, prediction.answer
    name = score_name(sample, benchmark, config)
    if answer is None:
        counted = config.failures == "wrong"
        extra = benchmark.measures if sample.answer_type == "span" else ()
        values: Values = dict.fromkeys((name, "format", *extra), 0.0) if counted else {}
        score, answer_text = 0.0 if counted else None, ""
    else:
        inputs = _input(sample, answer)
        ((measured, _),) = await worker.measure([inputs])
        asked = {key: value for key, value in measured.items() if key == name or key not in _SCORES.values()}
        values = {**asked, **_costs(answer), "wer": _word_errors(sample, inputs.parsed, config)}
        score = measured[name]
        answer_text = _predicted_spans(inputs) if sample.answer_type == "span" else answer.answer
    return Scored(
        sample_id=sample.sample_id,
        question=sample.question,
        options=sample.options,
        truth=_truth(sample),
        answer_type=sample.answer_type,
        video=sample.media[0].path if sample.media else "",
        groups=item.groups,
        answer=answer_text,
        text=answer.text if answer is not None else "",
        score=score,
        values=values,
        failure=prediction.failure,
        message=prediction.message,
    )


def _input(sample: Sample, answer: Answer) -> RewardInput:
    task = TASKS[sample.task]
    return RewardInput(
        task=task,
        sample=sample,
        duration_s=answer.duration_s,
        timestamps_s=answer.timestamps_s,
        text=answer.text,
        parsed=task.parse(answer.text),
        finish_reason=answer.finish_reason,
        num_tokens=answer.num_tokens,
    )


def _costs(answer: Answer) -> dict[str, float]:
    return {
        "candidates": float(answer.num_candidates),
        "calls": float(answer.num_calls),
        "tokens": float(answer.num_tokens),
        "latency": answer.latency_s,
        **{STAGE + name: seconds for name, seconds in answer.stages_s.items()},
    }


def _word_errors(sample: Sample, parsed: Parsed | None, config: EvalConfig) -> float | None:
    """Return the word error rate of an answer to an ocr question; 1 if the completion cannot be parsed."""
    if sample.answer_type != "ocr":
        return None
    if parsed is None:
        return 1.0
    return word_error_rate(parsed.answer, sample.answer, raw=config.reward.wer_words == "raw")


def _predicted_spans(inputs: RewardInput) -> str:
    """Return the spans that a completion names, in seconds; empty if it cannot be parsed."""
    ratios = inputs.parsed.span_ratios if inputs.parsed is not None else ()
    return _seconds((start * inputs.duration_s, end * inputs.duration_s) for start, end in ratios)


def _seconds(spans: Iterable[tuple[float, float]]) -> str:
    return ", ".join(f"{start_s:.4g}-{end_s:.4g} s" for start_s, end_s in spans)


def _truth(sample: Sample) -> str:
    if sample.answer_type == "span":
        return _seconds(sample.spans)
    return ", ".join(sample.key_elements) if sample.answer_type == "elements" else sample.answer
