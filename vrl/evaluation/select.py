"""Which items of a benchmark are asked, and in which form."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vrl.errors import ConfigError
from vrl.evaluation.config import BenchmarkConfig
from vrl.evaluation.item import Item
from vrl.evaluation.scored import Scored
from vrl.tasks import TASKS
from vrl.tasks.answer import ANSWER_TYPES

Candidate = Item | Scored


def select(candidates: Sequence[Candidate], config: BenchmarkConfig, seed: int) -> list[Candidate]:
    """Select the candidates of benchmark.keep and keep_in, at most benchmark.limit, in their order.

    Raise ConfigError for groups that the benchmark lacks and if nothing is left.
    """
    keep = config.kept
    problems = [problem for key, groups in keep.items() for problem in _unknown(candidates, key, groups)]
    if problems:
        raise ConfigError(*problems)
    kept = [
        one for one in candidates if all(set(groups) & set(one.groups.get(key, ())) for key, groups in keep.items())
    ]
    if not kept:
        raise ConfigError(f"benchmark: got no item of {config.name} after benchmark.keep, wanted some")
    if 0 < config.limit < len(kept):
        drawn = np.random.default_rng(seed).permutation(len(kept))[: config.limit]
        kept = [kept[number] for number in sorted(drawn.tolist())]
    return kept


def asked_as(item: Item, task: str) -> Item:
    """Return the item, asked under `task` if it has what the task asks for, an answer or events."""
    if not task:
        return item
    wanted = ANSWER_TYPES if "answer" in TASKS[task].needs else ("span",)
    if item.sample.answer_type not in wanted:
        return item
    return replace(item, sample=replace(item.sample, task=task))


def _unknown(candidates: Sequence[Candidate], key: str, groups: Sequence[str]) -> list[str]:
    present = sorted({group for one in candidates for group in one.groups.get(key, ())})
    if not present:
        keys = sorted({key for one in candidates for key in one.groups})
        return [f"benchmark.keep: got the key {key!r}, wanted one of {keys}"]
    return [
        f"benchmark.keep.{key}: got {group!r}, wanted some of {present}" for group in groups if group not in present
    ]
