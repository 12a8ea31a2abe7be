"""Bootstrap intervals of a mean over items, and of the difference of two runs. Pure numpy.

Sources: Efron 1979, percentile intervals; McNemar 1947 in its exact binomial form. Paired differences use the same
draws on both sides. A mean may be nested, over groups of groups: see `Node`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

Node = np.ndarray | tuple["Node", ...]
"""Item numbers (int64) to average, or nodes whose means are averaged with equal weight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its interval, in the unit of the values."""

    value: float
    low: float
    high: float
    count: int  # items averaged


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The mean of the second run minus that of the first."""

    value: float
    low: float
    high: float
    p_value: float  # two-sided, by paired bootstrap


@dataclass(frozen=True, kw_only=True, slots=True)
class Discordance:
    """Items that only one of two runs gets right."""

    only_first: int
    only_second: int
    p_value: float  # McNemar's exact test, two-sided


def draw_counts(units: Sequence[str], resamples: int, seed: int) -> np.ndarray:
    """Return how often each of N items is in each resample, int64 [resamples, N].

    All units are drawn with replacement; items of one unit (questions about one clip) are drawn together.
    """
    names, unit_of_item = np.unique(np.asarray(units), return_inverse=True)
    share = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), share, size=resamples)
    return counts[:, unit_of_item]


def means(values_N: np.ndarray, counts_BN: np.ndarray, node: Node) -> np.ndarray:
    """Return the mean of `node` in every resample, float64 [B]; NaN for a resample without any of its items.

    A group without items in a resample is left out of the mean over groups.
    """
    if isinstance(node, np.ndarray):
        counts = counts_BN[:, node]
        total = counts.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return counts @ values_N[node] / total
    parts = np.stack([means(values_N, counts_BN, child) for child in node])
    exists = ~np.isnan(parts)
    with np.errstate(invalid="ignore"):
        return np.where(exists, parts, 0.0).sum(axis=0) / exists.sum(axis=0)


def estimate(values_N: np.ndarray, counts_BN: np.ndarray, node: Node, level: float) -> Estimate:
    """Return mean and percentile interval. `node` has at least one item, and `values_N` no NaN at its items."""
    once = np.ones((1, len(values_N)), dtype=np.int64)
    low, high = _interval(means(values_N, counts_BN, node), level)
    return Estimate(value=float(means(values_N, once, node)[0]), low=low, high=high, count=len(items(node)))


def difference(
    first: tuple[np.ndarray, Node], second: tuple[np.ndarray, Node], counts_BN: np.ndarray, level: float
) -> tuple[Difference, tuple[float, float]]:
    """Return the mean of the second minus that of the first, and both means.

    A side is its values [N] and the node to average. Both sides have the same N items and use the same resamples.
    """
    once = np.ones((1, counts_BN.shape[1]), dtype=np.int64)
    a, b = (float(means(values_N, once, node)[0]) for values_N, node in (first, second))
    drawn = means(second[0], counts_BN, second[1]) - means(first[0], counts_BN, first[1])
    drawn = drawn[~np.isnan(drawn)]
    low, high = _interval(drawn, level)
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p_value = min(1.0, (2 * tail + 1) / (len(drawn) + 1))  # + 1: finitely many draws cannot give p = 0
    return Difference(value=b - a, low=low, high=high, p_value=p_value), (a, b)


def mcnemar(first_right_N: np.ndarray, second_right_N: np.ndarray) -> Discordance:
    """Test exactly, two-sided, for equal error rates on the same items; p = 1 if the runs agree on every item."""
    only_first = int((first_right_N & ~second_right_N).sum())
    only_second = int((second_right_N & ~first_right_N).sum())
    total = only_first + only_second
    tail = sum(comb(total, k) for k in range(min(only_first, only_second) + 1))
    return Discordance(
        only_first=only_first, only_second=only_second, p_value=min(1.0, 2 * tail / 2**total) if total else 1.0
    )


def items(node: Node) -> np.ndarray:
    """Return the item numbers in a node, each once."""
    if isinstance(node, np.ndarray):
        return node
    return np.unique(np.concatenate([items(child) for child in node]))


def _interval(drawn: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
