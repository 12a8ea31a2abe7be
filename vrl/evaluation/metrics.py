"""The metrics of an evaluation and the benchmark's overall score, from scored items.

Shares are in [0, 1] here and in results.json; tables show percent. Computes no reward: see vrl.evaluation.score.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vrl.errors import DataError
from vrl.evaluation.config import BootstrapConfig
from vrl.evaluation.interval import Estimate, Node, draw_counts, estimate
from vrl.evaluation.item import Benchmark
from vrl.evaluation.scored import RIGHT, STAGE, Scored, reaches


@dataclass(frozen=True, slots=True)
class ItemMetric:
    """A metric: a mean over the items that have a value."""

    name: str
    unit: str  # "share", or the unit of the value
    meaning: str
    value: Callable[[Scored], float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """All results of a run."""

    overall: Estimate  # of the items' scores, averaged as the benchmark's authors do
    metrics: Mapping[str, Estimate]
    groups: Mapping[str, Mapping[str, Estimate]]  # group key -> group -> mean score


def _of(name: str) -> Callable[[Scored], float | None]:
    return lambda item: item.values.get(name)


def _accuracy(*, regression: bool) -> Callable[[Scored], float | None]:
    return lambda item: item.values.get("accuracy") if (item.answer_type == "regression") == regression else None


def _reaches(name: str, at_least: float) -> Callable[[Scored], float | None]:
    """Return a metric that is 1 for a value >= t, as in R1@t of VideoReasoner and VideoChat-R1; Time-R1 uses > t."""
    return lambda item: None if (value := item.values.get(name)) is None else float(reaches(value, at_least))


def _agreement(item: Scored) -> float | None:
    """Return 1 if answer and thinking are both right or both wrong: (TP + TN) / N of Video-R2's confusion matrix."""
    answer, thinking = item.values.get("accuracy"), item.values.get("conclusion_accuracy")
    if answer is None or thinking is None:
        return None
    return float((answer >= RIGHT) == (thinking >= RIGHT))


def _repetition(item: Scored) -> float | None:
    value = item.values.get("anti_repetition")
    return None if value is None else -value


METRICS = (
    ItemMetric("accuracy", "share", "right answers; ocr and free answers by degree", _accuracy(regression=False)),
    ItemMetric("regression", "share", "nearness of numbers, by reward.regression", _accuracy(regression=True)),
    ItemMetric("judged", "share", "answers that the judge accepts as the true one", _of("judged_accuracy")),
    ItemMetric("wer", "errors a word", "word error rate of answers to ocr questions", _of("wer")),
    ItemMetric("miou", "share", "mean IoU; 0 for a span that cannot be parsed", _of("iou")),
    ItemMetric("r1@0.3", "share", "IoU >= 0.3", _reaches("iou", 0.3)),
    ItemMetric("r1@0.5", "share", "IoU >= 0.5", _reaches("iou", 0.5)),
    ItemMetric("r1@0.7", "share", "IoU >= 0.7", _reaches("iou", 0.7)),
    ItemMetric("best_miou", "share", "mean IoU with the best true moment", _of("best_iou")),
    ItemMetric("miop", "share", "mean share of the predicted time inside the best true moment", _of("best_iop")),
    ItemMetric("iop@0.3", "share", "IoP >= 0.3", _reaches("best_iop", 0.3)),
    ItemMetric("iop@0.5", "share", "IoP >= 0.5", _reaches("best_iop", 0.5)),
    ItemMetric("acc@gqa", "share", "right answers with a found moment, IoP >= 0.5", _of("grounded_accuracy")),
    ItemMetric("element_f1", "share", "F1 of key elements", _of("element_f1")),
    ItemMetric("read", "share", "replies in which the reading finds a letter or number; others are wrong", _of("read")),
    ItemMetric("format", "share", "completions in the required format", _of("format")),
    ItemMetric("tac", "share", "right answers whose thinking is also right", _of("think_answer_consistency")),
    ItemMetric("agreement", "share", "answer and thinking both right or both wrong", _agreement),
    ItemMetric("vas", "share", "visual evidence that the thinking claims", _of("visual_evidence")),
    ItemMetric("egs", "share", "RLER-style: mean frame-sensitive score", _of("frame_sensitive")),
    ItemMetric("ti", "share", "RLER-style: mean think-transparency", _of("think_transparency")),
    ItemMetric("rr", "share", "RLER-style: mean repetition; lower is better", _repetition),
    ItemMetric("cited_evidence", "share", "cited frames inside a true span", _of("cited_evidence")),
    ItemMetric("candidates", "completions", "completions among which the strategy chose", _of("candidates")),
    ItemMetric("calls", "requests", "requests to an engine", _of("calls")),
    ItemMetric("tokens", "tokens", "tokens generated over all calls", _of("tokens")),
    ItemMetric("latency", "s", "from question to answer, including waiting", _of("latency")),
)  # fmt: skip


def metrics_of(scored: Sequence[Scored]) -> tuple[ItemMetric, ...]:
    """Return METRICS and the seconds of every stage that any of these items has (`latency/<stage>`)."""
    stages = dict.fromkeys(name for item in scored for name in item.values if name.startswith(STAGE))
    return METRICS + tuple(ItemMetric(name, "s", "in this stage; stages may overlap", _of(name)) for name in stages)


def summarise(scored: Sequence[Scored], benchmark: Benchmark, bootstrap: BootstrapConfig, seed: int) -> Summary:
    """Return all results with intervals. Items without a score (excluded, or no judge) are left out.

    Raise DataError if no item has a score.
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
    """Return the name of each item's resampling unit."""
    return [item.video if unit == "video" else item.sample_id for item in scored]


def values(scored: Sequence[Scored], value: Callable[[Scored], float | None]) -> np.ndarray:
    """Return one value per item, float64 [N]; NaN if it has none."""
    return np.array([np.nan if (one := value(item)) is None else one for item in scored], dtype=np.float64)


def overall_node(scored: Sequence[Scored], benchmark: Benchmark) -> Node:
    """Return how the overall score averages the items that have a score. Raise DataError if none has."""
    numbers = present(values(scored, lambda item: item.score))
    for key, group in benchmark.among.items():
        numbers = _split(scored, numbers, key).get(group, numbers[:0])
    if not len(numbers):
        raise DataError(f"{benchmark.name}: got no item with a score, wanted at least one", reason="scores")
    return _nested(scored, numbers, benchmark.overall)


def _nested(scored: Sequence[Scored], numbers: np.ndarray, keys: Sequence[str]) -> Node:
    if not keys:
        return numbers
    parts = _split(scored, numbers, keys[0])
    return tuple(_nested(scored, part, keys[1:]) for _, part in sorted(parts.items()))


def _split(scored: Sequence[Scored], numbers: np.ndarray, key: str) -> dict[str, np.ndarray]:
    """Return item numbers by group; an item of several groups is in each."""
    found: dict[str, list[int]] = {}
    for number in numbers.tolist():
        for group in scored[number].groups.get(key, ()):
            found.setdefault(group, []).append(number)
    return {group: np.array(members, dtype=np.int64) for group, members in found.items()}


def present(values_N: np.ndarray) -> np.ndarray:
    """Return the numbers of the items that have a value."""
    return np.flatnonzero(~np.isnan(values_N))
