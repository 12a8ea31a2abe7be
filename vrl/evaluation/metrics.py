"""From scored items to numbers: what each metric reads of an item, and the benchmark's one number.

Shares stay in [0, 1] here and in results.json; tables show percent. Computes no reward: vrl.evaluation.score did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vrl.errors import DataError
from vrl.evaluation.config import BootstrapConfig
from vrl.evaluation.interval import Estimate, Node, draw_counts, estimate
from vrl.evaluation.item import Benchmark
from vrl.evaluation.record import RIGHT, STAGE, Scored, reaches


@dataclass(frozen=True, slots=True)
class ItemMetric:
    """A mean over the items that have it."""

    name: str
    unit: str  # "share" or what it counts
    meaning: str
    value: Callable[[Scored], float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Every number of a run."""

    overall: Estimate  # of the items' scores, averaged as the benchmark's authors do
    metrics: Mapping[str, Estimate]
    groups: Mapping[str, Mapping[str, Estimate]]  # group key -> group -> mean score


def _of(name: str) -> Callable[[Scored], float | None]:
    return lambda item: item.values.get(name)


def _accuracy(item: Scored) -> float | None:
    return item.values.get("accuracy") if item.answer_type != "regression" else None


def _regression(item: Scored) -> float | None:
    return item.values.get("accuracy") if item.answer_type == "regression" else None


def _reaches(name: str, at_least: float) -> Callable[[Scored], float | None]:
    """1 where the value is >= t. For R1@t VideoReasoner and VideoChat-R1 compare so; Time-R1 asks for more than t."""
    return lambda item: None if (value := item.values.get(name)) is None else float(reaches(value, at_least))


def _agreement(item: Scored) -> float | None:
    """1 where answer and thinking are both right or both wrong: (TP + TN) / N of Video-R2's confusion."""
    answer, thinking = item.values.get("accuracy"), item.values.get("conclusion_accuracy")
    if answer is None or thinking is None:
        return None
    return float((answer >= RIGHT) == (thinking >= RIGHT))


def _repetition(item: Scored) -> float | None:
    value = item.values.get("anti_repetition")
    return None if value is None else -value


METRICS = (
    ItemMetric("accuracy", "share", "right answers; ocr and free ones by degree", _accuracy),
    ItemMetric("regression", "share", "nearness of numbers, by reward.regression", _regression),
    ItemMetric("judged", "share", "answers that the judge takes for the true one", _of("judged_accuracy")),
    ItemMetric("wer", "errors a word", "word error rate of answers to ocr questions", _of("wer")),
    ItemMetric("miou", "share", "mean IoU; an unreadable interval is 0", _of("iou")),
    ItemMetric("r1@0.3", "share", "IoU >= 0.3", _reaches("iou", 0.3)),
    ItemMetric("r1@0.5", "share", "IoU >= 0.5", _reaches("iou", 0.5)),
    ItemMetric("r1@0.7", "share", "IoU >= 0.7", _reaches("iou", 0.7)),
    ItemMetric("best_miou", "share", "mean IoU with the best of the true moments", _of("best_iou")),
    ItemMetric("miop", "share", "mean of the predicted time's share in the best of the true moments", _of("best_iop")),
    ItemMetric("iop@0.3", "share", "IoP >= 0.3", _reaches("best_iop", 0.3)),
    ItemMetric("iop@0.5", "share", "IoP >= 0.5", _reaches("best_iop", 0.5)),
    ItemMetric("acc@gqa", "share", "right answers whose moment is found too, IoP >= 0.5", _of("grounded_accuracy")),
    ItemMetric("element_f1", "share", "F1 of key elements", _of("element_f1")),
    ItemMetric("format", "share", "completions of the form that was asked for", _of("format")),
    ItemMetric("tac", "share", "right answers whose thinking is right too", _of("think_answer_consistency")),
    ItemMetric("agreement", "share", "answer and thinking both right or both wrong", _agreement),
    ItemMetric("vas", "share", "visual evidence that the thinking claims", _of("visual_evidence")),
    ItemMetric("egs", "share", "RLER-style: mean of the frame-sensitive score", _of("frame_sensitive")),
    ItemMetric("ti", "share", "RLER-style: mean of the think-transparency", _of("think_transparency")),
    ItemMetric("rr", "share", "RLER-style: mean repetition, the less the better", _repetition),
    ItemMetric("cited_evidence", "share", "cited frames that lie in a true span", _of("cited_evidence")),
    ItemMetric("candidates", "completions", "completions that stood for election", _of("candidates")),
    ItemMetric("calls", "requests", "requests to an engine", _of("calls")),
    ItemMetric("tokens", "tokens", "generated, over all calls", _of("tokens")),
    ItemMetric("latency", "s", "from question to answer, waiting included", _of("latency")),
)  # fmt: skip


def metrics_of(scored: Sequence[Scored]) -> tuple[ItemMetric, ...]:
    """METRICS, and the seconds of every stage that any of these items went through (`latency/<stage>`)."""
    stages = dict.fromkeys(name for item in scored for name in item.values if name.startswith(STAGE))
    meaning = "in this stage; stages may overlap"
    return METRICS + tuple(ItemMetric(name, "s", meaning, _of(name)) for name in stages)


def summarise(scored: Sequence[Scored], benchmark: Benchmark, bootstrap: BootstrapConfig, seed: int) -> Summary:
    """All numbers, each with its interval. Items without a score (excluded, or no judge) are left out.

    Raises DataError where no item has a score.
    """
    level = bootstrap.level
    counts = draw_counts(units(scored, bootstrap.unit), bootstrap.resamples, seed)
    scores = values(scored, lambda item: item.score)
    metrics: dict[str, Estimate] = {}
    for metric in metrics_of(scored):
        column = values(scored, metric.value)
        if not np.isnan(column).all():
            metrics[metric.name] = estimate(column, counts, present(column), level)
    groups: dict[str, dict[str, Estimate]] = {}
    for key in sorted({key for item in scored for key in item.groups}):
        for group, node in sorted(_split(scored, present(scores), key).items()):
            groups.setdefault(key, {})[group] = estimate(scores, counts, node, level)
    return Summary(
        overall=estimate(scores, counts, overall_node(scored, benchmark), level), metrics=metrics, groups=groups
    )


def units(scored: Sequence[Scored], unit: str) -> list[str]:
    """The name of each item's unit of resampling."""
    return [item.video if unit == "video" else item.sample_id for item in scored]


def values(scored: Sequence[Scored], value: Callable[[Scored], float | None]) -> np.ndarray:
    """One value an item, float64 [N]; NaN where it has none."""
    return np.array([np.nan if (one := value(item)) is None else one for item in scored], dtype=np.float64)


def overall_node(scored: Sequence[Scored], benchmark: Benchmark) -> Node:
    """How the benchmark's one number is made of the items that have a score. Raises DataError where none has."""
    there = present(values(scored, lambda item: item.score))
    for key, group in benchmark.among.items():
        there = _split(scored, there, key).get(group, there[:0])
    if not len(there):
        raise DataError(f"{benchmark.name}: got no item with a score, wanted at least one", reason="scores")
    return _nested(scored, there, benchmark.overall)


def _nested(scored: Sequence[Scored], numbers: np.ndarray, keys: Sequence[str]) -> Node:
    if not keys:
        return numbers
    parts = _split(scored, numbers, keys[0])
    return tuple(_nested(scored, part, keys[1:]) for _, part in sorted(parts.items()))


def _split(scored: Sequence[Scored], numbers: np.ndarray, key: str) -> dict[str, np.ndarray]:
    """Item numbers by group; an item of several groups is in each."""
    found: dict[str, list[int]] = {}
    for number in numbers.tolist():
        for group in scored[number].groups.get(key, ()):
            found.setdefault(group, []).append(number)
    return {group: np.array(members, dtype=np.int64) for group, members in found.items()}


def present(values_N: np.ndarray) -> np.ndarray:
    """The numbers of the items that have a value."""
    return np.flatnonzero(~np.isnan(values_N))
