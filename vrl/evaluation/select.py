"""Which items of a benchmark are asked, and in which form."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vrl.errors import ConfigError, DataError
from vrl.evaluation.config import EvalConfig
from vrl.evaluation.item import Item
from vrl.tasks.answer import ANSWER_TYPES


def select(items: Sequence[Item], config: EvalConfig) -> list[Item]:
    """Select the items of benchmark.keep, at most benchmark.limit; ask questions with an answer under config.task.

    Raises ConfigError for groups that the benchmark lacks and where nothing is left, DataError for ids seen twice.
    """
    twice = [name for name, count in Counter(item.sample.sample_id for item in items).items() if count > 1]
    if twice:
        raise DataError(f"{config.benchmark.name}: got ids more than once: {twice[:5]}, wanted unique ids", "dataset")
    problems = [problem for key, groups in config.benchmark.keep.items() for problem in _unknown(items, key, groups)]
    if problems:
        raise ConfigError(*problems)
    kept = [item for item in items if _is_kept(item, config)]
    if not kept:
        raise ConfigError(f"benchmark: got no item of {config.benchmark.name} after benchmark.keep, wanted some")
    if 0 < config.benchmark.limit < len(kept):
        drawn = np.random.default_rng(config.seed).permutation(len(kept))[: config.benchmark.limit]
        kept = [kept[number] for number in sorted(drawn.tolist())]
    return [_asked_as(item, config.task) for item in kept]


def _unknown(items: Sequence[Item], key: str, groups: Sequence[str]) -> list[str]:
    present = sorted({group for item in items for group in item.groups.get(key, ())})
    if not present:
        keys = sorted({key for item in items for key in item.groups})
        return [f"benchmark.keep: got the key {key!r}, wanted one of {keys}"]
    return [
        f"benchmark.keep.{key}: got {group!r}, wanted some of {present}" for group in groups if group not in present
    ]


def _is_kept(item: Item, config: EvalConfig) -> bool:
    return all(set(groups) & set(item.groups.get(key, ())) for key, groups in config.benchmark.keep.items())


def _asked_as(item: Item, task: str) -> Item:
    if not task or item.sample.answer_type not in ANSWER_TYPES:
        return item
    return replace(item, sample=replace(item.sample, task=task))
