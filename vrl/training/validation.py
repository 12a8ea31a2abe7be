"""The held-out reward: one completion for every validation sample, scored as in training."""

import asyncio

from vrl.actors.interfaces import Workers
from vrl.rollout.describe import mean_parts, mean_reward
from vrl.rollout.prefetch import PreparedPrompt, PromptPrefetcher
from vrl.rollout.runner import generate
from vrl.types import Rollout

_DIAGNOSTICS = {"tac": "think_answer_consistency", "vas": "visual_evidence"}  # name in a validation: reward part


async def validate(
    prefetcher: PromptPrefetcher, engines: Workers, rewards: Workers, *, wave: int, temperature: float
) -> dict[str, float]:
    """Return the mean reward of one completion per sample: {"mean": ..., "<task>": ..., "format/<task>": ...}.

    If a task thinks, also {"tac": ..., "vas": ...}: Video-R2's consistency and visual evidence, in [0, 100].
    The mean is over samples, not over tasks. Raises what generation or scoring raises: there is no partial validation.
    """
    by_task: dict[str, list[Rollout]] = {}
    while prepared := [job for _ in range(wave) if (job := await prefetcher.next()) is not None]:
        completions = await generate(engines, prepared, group_size=1, temperature=temperature)
        scored = await asyncio.gather(
            *(
                rewards.call("score", job.prompt, done, diagnose=True)
                for job, done in zip(prepared, completions, strict=True)
            )
        )
        _collect(by_task, prepared, completions, scored)
    everything = [rollout for rollouts in by_task.values() for rollout in rollouts]
    result = {"mean": mean_reward(everything)}
    for task, rollouts in sorted(by_task.items()):
        result[task] = mean_reward(rollouts)
        result |= {f"{part}/{task}": value for part, value in mean_parts(rollouts).items()}
    parts = mean_parts(everything)
    return result | {name: 100 * parts[part] for name, part in _DIAGNOSTICS.items() if part in parts}


def val_metrics(result: dict[str, float]) -> dict[str, float]:
    """Return the result of `validate` under the names of the metric catalogue."""
    names = {"mean": "val/reward"} | {name: f"val/{name}" for name in _DIAGNOSTICS}
    names |= {key: f"val/{key}" if "/" in key else f"val/reward/{key}" for key in result if key not in names}
    return {names[key]: value for key, value in result.items()}


def _collect(
    by_task: dict[str, list[Rollout]], prepared: list[PreparedPrompt], completions: list, scored: list
) -> None:
    for job, done, rewards in zip(prepared, completions, scored, strict=True):
        rollouts = [Rollout(completion=c, reward=r) for c, r in zip(done, rewards, strict=True)]
        by_task.setdefault(job.prompt.sample.task, []).extend(rollouts)
