"""Task mixtures: rows used for several tasks (multi-task GRPO), and rows repeated within an epoch.

Works on samples before they are prepared; every copy is decoded separately, though their media keys are equal.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vrl.errors import ConfigError
from vrl.tasks import TASKS
from vrl.types import Sample


def expand(samples: Sequence[Sample], tasks: Mapping[str, Sequence[str]]) -> tuple[Sample, ...]:
    """Replace each row of a task in `tasks` by one copy for each task it maps to; keep the other rows.

    A copy's id is `id#task`: stable, and unique as long as ids are. Raise ConfigError for an unknown task.
    """
    unknown = sorted({name for names in tasks.values() for name in names} - TASKS.keys())
    if unknown:
        raise ConfigError(f"data.expand: got the tasks {unknown}, wanted some of {sorted(TASKS)}")
    expanded: list[Sample] = []
    for sample in samples:
        if sample.task not in tasks:
            expanded.append(sample)
            continue
        for name in dict.fromkeys(tasks[sample.task]):
            expanded.append(replace(sample, sample_id=f"{sample.sample_id}#{name}", task=name))
    return tuple(expanded)


def shuffle_options(sample: Sample, seed: int) -> Sample:
    """Return a choice with its options in an order that (seed, sample_id) gives, and the letter that follows.

    Thinking may name letters, so a sample with thinking is returned unchanged, like one that is no choice.
    """
    if sample.answer_type != "choice" or sample.thinking:
        return sample
    digest = hashlib.blake2b(f"{seed} {sample.sample_id}".encode(), digest_size=8).digest()
    order = np.random.default_rng(int.from_bytes(digest)).permutation(len(sample.options)).tolist()
    letter = chr(65 + order.index(ord(sample.answer) - 65))
    return replace(sample, options=tuple(sample.options[old] for old in order), answer=letter)


def lacking(sample: Sample) -> list[str]:
    """Return the fields without which the sample's task has no truth, such as spans for grounding."""
    return [name for name in TASKS[sample.task].needs if not getattr(sample, name)]


def repeat(samples: Sequence[Sample], times: Mapping[str, int]) -> tuple[Sample, ...]:
    """Repeat the rows of each task that `times` names, in place, so that an epoch uses them that often.

    Raises ConfigError for a task without rows and for a number below one (use `data.tasks` to leave tasks out).
    """
    present = {sample.task for sample in samples}
    wrong = [f"{task}: {number}" for task, number in times.items() if task not in present or number < 1]
    if wrong:
        raise ConfigError(f"data.repeat: got {', '.join(wrong)}, wanted 1 or more for some of {sorted(present)}")
    return tuple(sample for sample in samples for _ in range(times.get(sample.task, 1)))
