"""T-GRPO's second request: the same prompt with the frames of its clip in another order.

Video-R1 (arXiv 2503.21776) compares accuracy on ordered and on permuted frames; completions on permuted frames are
never trained on. Frames are permuted inside the processed patches, which is exact because every frame is resized
independently: no second decode and no second copy to the engine. Times and token ids do not change. Scores nothing.
"""

from dataclasses import dataclass, replace

import numpy as np

from vrl.config import RunConfig
from vrl.rollout.prefetch import PreparedPrompt
from vrl.types import Prompt, VisionGrid

REWARD = "temporal_order"  # the reward that compares; a task whose rubric contains it needs shuffled draws
_FRAMES_PER_STEP = 2  # merged into one time step of the grid by all three families
_CHANNELS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuffledDraws:
    """Selects the prompts to sample again on permuted frames."""

    tasks: frozenset[str] = frozenset()
    draws: int = 0  # completions on permuted frames
    group_size: int = 0  # completions on ordered ones

    def twin(self, prepared: PreparedPrompt, group_id: int) -> PreparedPrompt | None:
        """Return the prompt with the frames of its first clip permuted; None if its task needs none or it has no clip.

        The order depends only on the group, so that equal runs sample equally, and is never the true order.
        """
        prompt = prepared.prompt
        clip = next((grid for grid in prompt.vision if grid.kind == "video"), None)
        if prompt.sample.task not in self.tasks or clip is None:
            return None
        rng = np.random.default_rng(group_id)
        order = np.arange(_FRAMES_PER_STEP * clip.grid_thw[0])
        while (order == np.sort(order)).all():
            rng.shuffle(order)
        key = f"{prompt.media_key}-shuffled-{group_id}"
        return replace(prepared, prompt=replace(prompt, frame_order=tuple(order.tolist()), media_key=key))


def shuffled_draws(config: RunConfig) -> ShuffledDraws:
    """Return the shuffled draws that the rubrics need."""
    tasks = frozenset(task.task for task in config.tasks if any(term.reward == REWARD for term in task.rewards))
    return ShuffledDraws(tasks=tasks, draws=config.reward.order_draws, group_size=config.rollout.group_size)


def in_order(prompt: Prompt, patches: np.ndarray) -> np.ndarray:
    """Return the patches uint8 [num_patches, patch_dim] of a prompt with its `frame_order` applied."""
    if not prompt.frame_order:
        return patches
    start = 0
    for grid in prompt.vision:
        if grid.kind == "video":
            end = start + grid.num_patches
            clip = _permuted(patches[start:end], grid, prompt.frame_order)
            return np.concatenate([patches[:start], clip, patches[end:]])
        start += grid.num_patches
    raise ValueError(f"sample {prompt.sample.sample_id}: got a frame order but no clip, wanted a clip")


def _permuted(patches: np.ndarray, grid: VisionGrid, order: tuple[int, ...]) -> np.ndarray:
    """Frame i of the result is frame order[i]. A row is [channel, frame of the step, pixels of the patch]."""
    steps, height, width = grid.grid_thw
    rows = patches.reshape(steps, height * width, _CHANNELS, _FRAMES_PER_STEP, -1)
    frames = rows.transpose(0, 3, 1, 2, 4).reshape(steps * _FRAMES_PER_STEP, height * width, _CHANNELS, -1)
    permuted = frames[list(order)].reshape(steps, _FRAMES_PER_STEP, height * width, _CHANNELS, -1)
    return permuted.transpose(0, 2, 3, 1, 4).reshape(patches.shape)
