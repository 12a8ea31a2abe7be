"""Where a prompt's pictures and clips stand among its tokens, as an engine wants to be told. Pure numpy.

Placeholders in a prompt are expanded already, and patches already stand in media order, so nothing is processed twice.
Axes: P prompt tokens, L tokens of one span.
"""

from dataclasses import dataclass

import numpy as np

from vrl.algo.positions import PositionRule, vision_slots
from vrl.types import Prompt, VisionGrid


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaSpan:
    """One picture or clip of a prompt: the tokens it covers and the patches it owns."""

    grid: VisionGrid
    start: int  # first token
    is_slot_L: np.ndarray  # bool: True where the token is replaced by a vision feature
    first_patch: int


def media_spans(prompt: Prompt, rule: PositionRule) -> tuple[MediaSpan, ...]:
    """The spans of a prompt's media, in prompt order.

    A Qwen3-VL clip is one span from the <|vision_start|> of its first time step to the <|vision_end|> of its last one,
    the time texts between them included; any other span is exactly its placeholder tokens.
    Raises DataError where placeholders and grids do not match.
    """
    slots = vision_slots(prompt.token_ids, prompt.vision, rule)
    spans, slot, patch = [], 0, 0
    for grid in prompt.vision:
        num_slots = grid.num_patches // rule.spatial_merge_size**2
        mine = slots[slot : slot + num_slots]
        framed = rule.family == "qwen3_vl" and grid.kind == "video"
        start, end = int(mine[0]) - framed, int(mine[-1]) + 1 + framed
        is_slot_L = np.zeros(end - start, dtype=bool)
        is_slot_L[mine - start] = True
        spans.append(MediaSpan(grid=grid, start=start, is_slot_L=is_slot_L, first_patch=patch))
        slot, patch = slot + num_slots, patch + grid.num_patches
    return tuple(spans)
