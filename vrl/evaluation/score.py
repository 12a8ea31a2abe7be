"""Scores predictions with the reward functions of training and the benchmark's rule of reading. Needs no engine.

Scoring is separate from answering: other measures, another judge, reading or rule for failures need no new answers.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vrl.config import RewardTermConfig, TaskConfig
from vrl.evaluation.config import EvalConfig
from vrl.evaluation.item import Benchmark, Item
from vrl.evaluation.reading.rule import ReplyRule, reply_of
from vrl.evaluation.scored import STAGE, Scored
from vrl.inference.answer import Answer
from vrl.inference.predictions import Prediction
from vrl.reward.format import format_reward
from vrl.reward.inputs import RewardInput, Values
from vrl.reward.text import word_error_rate
from vrl.reward.worker import RewardWorker
from vrl.tasks import TASKS
from vrl.tasks.answer import ANSWER_TYPES, is_answer
from vrl.tasks.task import Parsed
from vrl.types import Sample

_SCORES = {"span": "iou", "elements": "element_f1"}  # answer type -> its score; no other type has this reward
_EXACT = ("choice", "number", "regression")  # answer types whose answers are never scored in words
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
    """Return the reward that is the score of spans, of elements, or of other answers (benchmark.measure first).

    A benchmark's own measure is for answers in words.
    """
    if sample.answer_type in _SCORES:
        return _SCORES[sample.answer_type]
    own = benchmark.measure if sample.answer_type not in _EXACT else ""
    return config.benchmark.measure or own or "accuracy"


def reply_rule(benchmark: Benchmark, config: EvalConfig) -> ReplyRule | None:
    """Return the rule by which replies are read; None: strictly."""
    return benchmark.reply if config.benchmark.reading == "published" else None


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
        strict = _input(sample, answer)
        inputs, right = _as_read(strict, reply_rule(benchmark, config))
        ((measured, _),) = await worker.measure([inputs])
        form = {"format": format_reward(strict)} if "format" in measured else {}  # strict in any reading
        measured = {**measured, **form} | ({"accuracy": float(right)} if right is not None else {})
        asked = {key: value for key, value in measured.items() if key == name or key not in _SCORES.values()}
        errors = _word_errors(sample, inputs.parsed, config)
        values = {**asked, **_costs(answer), "wer": errors, "read": _found(inputs)}
        score = measured[name]
        read = sample.answer_type in _EXACT and inputs is not strict and inputs.parsed is not None
        found = inputs.parsed.answer if read and inputs.parsed is not None else ""
        answer_text = _predicted_spans(inputs) if sample.answer_type == "span" else found or answer.answer
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


def _as_read(inputs: RewardInput, rule: ReplyRule | None) -> tuple[RewardInput, bool | None]:
    """Return a completion with the answer that `rule` reads in it, and whether that is right where the rule says so.

    Words that the rule finds right become the true answer, so that measures which depend on the answer agree with it.
    """
    sample = inputs.sample
    if rule is None or sample.answer_type not in ANSWER_TYPES:
        return inputs, None
    read = rule.read(reply_of(inputs), sample)
    right = rule.same(read, sample.answer) if rule.same is not None and sample.answer_type not in _EXACT else None
    parsed = inputs.parsed or Parsed(tidy=False)
    return replace(inputs, parsed=replace(parsed, answer=sample.answer if right else read)), right


def _found(inputs: RewardInput) -> float | None:
    """Return whether an answer that takes a form was found; None for words, of which any are an answer."""
    if inputs.sample.answer_type not in _EXACT:
        return None
    return float(inputs.parsed is not None and is_answer(inputs.sample, inputs.parsed.answer))


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
    ratios = inputs.parsed.events(inputs.duration_s) if inputs.parsed is not None else ()
    return _seconds((start * inputs.duration_s, end * inputs.duration_s) for start, end in ratios)


def _seconds(spans: Iterable[tuple[float, float]]) -> str:
    return ", ".join(f"{start_s:.4g}-{end_s:.4g} s" for start_s, end_s in spans)


def _truth(sample: Sample) -> str:
    if sample.answer_type == "span":
        return _seconds(sample.spans)
    return ", ".join(sample.key_elements) if sample.answer_type == "elements" else sample.answer
