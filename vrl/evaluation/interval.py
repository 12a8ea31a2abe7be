"""How sure a mean is: bootstrap intervals over items, and the same draws for the difference of two runs. Pure numpy.

Source: Efron 1979, percentile intervals; paired differences by the same draws on both sides; McNemar 1947 in its exact
binomial form. What a "mean" is here may be a mean over groups of means over groups: see `Node`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

Node = np.ndarray | tuple["Node", ...]
"""Item numbers (int64) whose mean is taken, or nodes whose means are averaged with equal weight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its interval, in the unit of the values."""

    value: float
    low: float
    high: float
    count: int  # items it is made of


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Second run minus first."""

    value: float
    low: float
    high: float
    p_value: float  # two-sided, of no difference; paired bootstrap


@dataclass(frozen=True, kw_only=True, slots=True)
class Discordance:
    """Items that only one of two runs gets right."""

    only_first: int
    only_second: int
    p_value: float  # McNemar's exact test, two-sided


def draw_counts(units: Sequence[str], resamples: int, seed: int) -> np.ndarray:
    """How often each of N items is in each resample: int64 [resamples, N].

    Units are drawn with replacement, as many as there are; items of one unit (questions about one clip) come together.
    """
    names, unit_of_item = np.unique(np.asarray(units), return_inverse=True)
    share = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), share, size=resamples)
    return counts[:, unit_of_item]


def means(values_N: np.ndarray, counts_BN: np.ndarray, node: Node) -> np.ndarray:
    """The mean of `node` in every resample, float64 [B]; NaN where a resample holds none of its items.

    A group without items in a resample is left out of the mean over groups.
    """
    if isinstance(node, np.ndarray):
        counts = counts_BN[:, node]
        total = counts.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return counts @ values_N[node] / total
    parts = np.stack([means(values_N, counts_BN, child) for child in node])
    there = ~np.isnan(parts)
    with np.errstate(invalid="ignore"):
        return np.where(there, parts, 0.0).sum(axis=0) / there.sum(axis=0)


def estimate(values_N: np.ndarray, counts_BN: np.ndarray, node: Node, level: float) -> Estimate:
    """Mean and percentile interval. `values_N` has no NaN at the items of `node`, which are one or more."""
    once = np.ones((1, len(values_N)), dtype=np.int64)
    low, high = _interval(means(values_N, counts_BN, node), level)
    return Estimate(value=float(means(values_N, once, node)[0]), low=low, high=high, count=len(items(node)))


def difference(
    first: tuple[np.ndarray, Node], second: tuple[np.ndarray, Node], counts_BN: np.ndarray, level: float
) -> tuple[Difference, tuple[float, float]]:
    """Mean of the second minus mean of the first, and both means. A side is its values [N] and the node to average.

    Both sides are about the same N items, and each resample is taken of both.
    """
    once = np.ones((1, counts_BN.shape[1]), dtype=np.int64)
    a, b = (float(means(values_N, once, node)[0]) for values_N, node in (first, second))
    drawn = means(second[0], counts_BN, second[1]) - means(first[0], counts_BN, first[1])
    drawn = drawn[~np.isnan(drawn)]
    low, high = _interval(drawn, level)
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p_value = min(1.0, (2 * tail + 1) / (len(drawn) + 1))  # one more: no p-value is 0 after finitely many draws
    return Difference(value=b - a, low=low, high=high, p_value=p_value), (a, b)


def mcnemar(first_right_N: np.ndarray, second_right_N: np.ndarray) -> Discordance:
    """Exact two-sided test of equal error rates on the same items; p = 1 if the runs agree on every item."""
    only_first = int((first_right_N & ~second_right_N).sum())
    only_second = int((second_right_N & ~first_right_N).sum())
    total = only_first + only_second
    tail = sum(comb(total, k) for k in range(min(only_first, only_second) + 1))
    return Discordance(
        only_first=only_first, only_second=only_second, p_value=min(1.0, 2 * tail / 2**total) if total else 1.0
    )


def items(node: Node) -> np.ndarray:
    """The item numbers in a node, each once."""
    if isinstance(node, np.ndarray):
        return node
    return np.unique(np.concatenate([items(child) for child in node]))


def _interval(drawn: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
