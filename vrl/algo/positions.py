"""Vision slots of a prompt and the three-axis rotary position of every token, by the rule of the sampling engine.

The learner never lets transformers choose positions: since 5.3 it continues the text after a clip at start + max(h, w),
while the engine (and the original models) continue at the maximum over all three axes + 1. Slots are searched for in
the prompt only, because a policy may sample a placeholder token. Pure numpy; does not see pixels.
Axes: P prompt tokens, C completion tokens, V vision slots.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vrl.errors import ConfigError, DataError
from vrl.types import VisionGrid

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionRule:
    """A model family's rule for vision slots and their positions."""

    family: str  # one of FAMILIES
    image_token_id: int
    video_token_id: int
    spatial_merge_size: int  # patches merged into one slot along each side
    tokens_per_second: float = 1.0  # position steps per second (Qwen2.5-VL)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """A run of placeholder tokens that shares one position grid."""

    token_id: int
    shape_thw: tuple[int, int, int]  # in slots, after merging
    seconds_step: float  # positions per time step; 1.0: consecutive


def position_rule(hf_config: Any) -> PositionRule:
    """Return the rule of a Hugging Face model configuration. Raises ConfigError for an unknown family."""
    family = hf_config.model_type
    if family not in FAMILIES:
        raise ConfigError(f"model.path: got model_type {family!r}, wanted one of {FAMILIES}")
    vision = hf_config.vision_config
    return PositionRule(
        family=family,
        image_token_id=hf_config.image_token_id,
        video_token_id=hf_config.video_token_id,
        spatial_merge_size=vision.spatial_merge_size,
        tokens_per_second=float(getattr(vision, "tokens_per_second", 1.0)),
    )


def prompt_positions(token_ids: np.ndarray, vision: tuple[VisionGrid, ...], rule: PositionRule) -> np.ndarray:
    """Return rotary positions int64 [3, P] (time, height, width) of a prompt whose placeholders are expanded.

    Text steps by one on all axes, from the maximum so far + 1 (Qwen2-VL, arXiv 2409.12191, section 2.1). Qwen2.5-VL
    spaces time steps by seconds_per_grid x tokens_per_second; Qwen3-VL gives every time step its own block.
    Raises DataError if placeholders and grids do not match.
    """
    pieces, next_position, cursor = [], 0, 0
    for start, block in _located_blocks(token_ids, vision, rule):
        pieces.append(_text(start - cursor, next_position))
        grid_3thw = np.indices(block.shape_thw)
        grid_3thw[0] = (grid_3thw[0] * block.seconds_step).astype(np.int64)  # truncated in double, as the engine does
        grid_3V = grid_3thw.reshape(3, -1) + next_position + start - cursor
        pieces.append(grid_3V)
        next_position = int(grid_3V.max()) + 1
        cursor = start + grid_3V.shape[1]
    pieces.append(_text(len(token_ids) - cursor, next_position))
    return np.concatenate(pieces, axis=1)


def completion_positions(positions_3P: np.ndarray, num_tokens: int) -> np.ndarray:
    """Return rotary positions int64 [3, C] of a completion: text that continues after the whole prompt."""
    return _text(num_tokens, int(positions_3P.max()) + 1)


def vision_slots(token_ids: np.ndarray, vision: tuple[VisionGrid, ...], rule: PositionRule) -> np.ndarray:
    """Return indices int64 [V] of the prompt tokens that carry vision features, in the order of the patch array."""
    blocks = _located_blocks(token_ids, vision, rule)
    runs = [np.arange(start, start + int(np.prod(block.shape_thw))) for start, block in blocks]
    return np.concatenate(runs) if runs else np.zeros(0, dtype=np.int64)


def _located_blocks(
    token_ids: np.ndarray, vision: tuple[VisionGrid, ...], rule: PositionRule
) -> list[tuple[int, _Block]]:
    """Return every block with the index of its first token; check that placeholders and grids match one to one."""
    placeholder = (token_ids == rule.image_token_id) | (token_ids == rule.video_token_id)
    located, cursor = [], 0
    for block in [block for grid in vision for block in _blocks(grid, rule)]:
        ahead = np.flatnonzero(placeholder[cursor:])
        start = cursor + int(ahead[0]) if len(ahead) else len(token_ids)
        end = start + int(np.prod(block.shape_thw))
        if end > len(token_ids) or not (token_ids[start:end] == block.token_id).all():
            raise DataError(
                f"prompt: got {int(placeholder.sum())} placeholder tokens, wanted {block.shape_thw} of id "
                f"{block.token_id} from index {start}: the grids {[grid.grid_thw for grid in vision]} do not match"
            )
        located.append((start, block))
        cursor = end
    if placeholder[cursor:].any():
        raise DataError(
            f"prompt: got {int(placeholder[cursor:].sum())} placeholder tokens after the last of {len(vision)} grids, "
            "wanted none"
        )
    return located


def _blocks(grid: VisionGrid, rule: PositionRule) -> list[_Block]:
    t, h, w = grid.grid_thw
    h, w = h // rule.spatial_merge_size, w // rule.spatial_merge_size
    if grid.kind == "image":
        return [_Block(token_id=rule.image_token_id, shape_thw=(t, h, w), seconds_step=1.0)]
    if rule.family == "qwen3_vl":  # a text with the time separates the time steps
        return [_Block(token_id=rule.video_token_id, shape_thw=(1, h, w), seconds_step=1.0)] * t
    step = 1.0
    if rule.family == "qwen2_5_vl":
        if grid.seconds_per_grid <= 0:
            raise DataError(
                f"clip with grid {grid.grid_thw}: got seconds_per_grid {grid.seconds_per_grid}, wanted more than 0"
            )
        # The engine holds seconds in float32 and multiplies in double: other arithmetic shifts steps at some rates.
        step = float(np.float32(grid.seconds_per_grid)) * rule.tokens_per_second
    return [_Block(token_id=rule.video_token_id, shape_thw=(t, h, w), seconds_step=step)]


def _text(num_tokens: int, first: int) -> np.ndarray:
    return np.broadcast_to(np.arange(first, first + num_tokens), (3, num_tokens))
