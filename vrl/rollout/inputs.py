"""Prompts as engine inputs: the tokens and tensors of each image or clip. Starts no engine.

Placeholders in a prompt are already expanded and patches are already in media order, so nothing is processed twice.
Axes: P prompt tokens, L tokens of one span.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vrl.algo.positions import PositionRule, vision_slots
from vrl.types import Completion, Prompt, VisionGrid

_TENSOR_NAMES = {"image": ("pixel_values", "image_grid_thw"), "video": ("pixel_values_videos", "video_grid_thw")}


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaSpan:
    """One image or clip of a prompt and the tokens it covers."""

    grid: VisionGrid
    start: int  # first token
    is_slot_L: np.ndarray  # bool: True if the token is replaced by a vision feature


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """A prompt as the engine's own processor renders it."""

    token_ids: np.ndarray  # int64 [P]
    vision: tuple[VisionGrid, ...]  # in prompt order
    patches: np.ndarray  # uint8 [num_patches, patch_dim], in prompt order


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """The live engine's results for a processed prompt."""

    completions: tuple[Completion, ...]
    positions_3P: np.ndarray  # int64, its rotary positions
    pixel_rows: str  # row_digest of the input of its vision tower


def media_spans(prompt: Prompt, rule: PositionRule) -> tuple[MediaSpan, ...]:
    """Return the spans of a prompt's media, in prompt order.

    A Qwen3-VL clip is one span from the <|vision_start|> of its first time step to the <|vision_end|> of its last one,
    the time texts between them included; any other span is exactly its placeholder tokens.
    Raises DataError if placeholders and grids do not match.
    """
    slots = vision_slots(prompt.token_ids, prompt.vision, rule)
    spans, slot = [], 0
    for grid in prompt.vision:
        num_slots = grid.num_patches // rule.spatial_merge_size**2
        mine = slots[slot : slot + num_slots]
        framed = rule.family == "qwen3_vl" and grid.kind == "video"
        start, end = int(mine[0]) - framed, int(mine[-1]) + 1 + framed
        is_slot_L = np.zeros(end - start, dtype=bool)
        is_slot_L[mine - start] = True
        spans.append(MediaSpan(grid=grid, start=start, is_slot_L=is_slot_L))
        slot += num_slots
    return tuple(spans)


def media_tensors(vision: Sequence[VisionGrid], patches: np.ndarray) -> dict[str, torch.Tensor]:
    """Return grids and patches uint8 [num_patches, patch_dim], in media order, under Hugging Face's names."""
    tensors: dict[str, torch.Tensor] = {}
    rows = dict(enumerate(_tensor(patches).split([grid.num_patches for grid in vision])))
    for kind, (pixels_name, grid_name) in _TENSOR_NAMES.items():
        mine = [i for i, grid in enumerate(vision) if grid.kind == kind]
        if mine:
            tensors[pixels_name] = torch.cat([rows[i] for i in mine])
            tensors[grid_name] = torch.tensor([vision[i].grid_thw for i in mine])
    clips = [grid.seconds_per_grid for grid in vision if grid.kind == "video"]
    if clips:
        tensors["second_per_grid_ts"] = torch.tensor(clips, dtype=torch.float32)
    return tensors


def read_media(kind: str, item: Mapping[str, Any]) -> tuple[VisionGrid, np.ndarray]:
    """Return grid and patches of one image or clip: the inverse of `media_tensors`."""
    pixels_name, grid_name = _TENSOR_NAMES[kind]
    t, h, w = item[grid_name].tolist()
    seconds = float(item["second_per_grid_ts"]) if "second_per_grid_ts" in item else 0.0
    return VisionGrid(kind=kind, grid_thw=(t, h, w), seconds_per_grid=seconds), item[pixels_name].numpy()


def _tensor(array: np.ndarray) -> torch.Tensor:
    """Return a tensor that shares the array's memory. Object-store arrays are read-only; we only read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
