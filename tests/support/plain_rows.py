"""The reference for the learner: transformers' own forward pass, one row per completion."""

from typing import Any

import numpy as np
import torch
from support.learner_cases import Cases
from torch import Tensor
from transformers import PreTrainedModel

from vrl.algo.positions import completion_positions, position_rule, prompt_positions
from vrl.types import VisionGrid


def plain_logprobs(plain: PreTrainedModel, cases: Cases, normalisation: tuple[np.ndarray, np.ndarray]) -> Tensor:
    """Log-probs [L] of all completions, with gradient, in the order of the groups; positions are given explicitly."""
    rule = position_rule(plain.config)
    found = []
    for group, patches in zip(cases.groups, cases.patches, strict=True):
        positions = prompt_positions(group.prompt_token_ids, group.vision, rule)
        for completion in group.completions:
            ids = torch.from_numpy(np.concatenate([group.prompt_token_ids, completion]))[None]
            row = np.concatenate([positions, completion_positions(positions, len(completion))], axis=1)
            logits = plain(
                input_ids=ids,
                position_ids=torch.from_numpy(row)[:, None],
                mm_token_type_ids=(ids == rule.image_token_id) + 2 * (ids == rule.video_token_id),
                **_pixels(group.vision, patches, *normalisation),
            ).logits[0, -len(completion) - 1 : -1]
            found.append(torch.log_softmax(logits, -1).gather(1, torch.from_numpy(completion)[:, None])[:, 0])
    return torch.cat(found)


def _pixels(
    vision: tuple[VisionGrid, ...], patches: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> dict[str, Any]:
    values = torch.from_numpy(patches).float().unflatten(1, (3, patches.shape[1] // 3))
    scale, shift = (torch.from_numpy(np.asarray(x, dtype=np.float32))[:, None] for x in (weight, bias))
    values = (values * scale + shift).flatten(1)
    clips = dict(zip(vision, values.split([grid.num_patches for grid in vision]), strict=True)) if vision else {}
    inputs = {}
    for kind, pixels, grids in (("image", "pixel_values", "image"), ("video", "pixel_values_videos", "video")):
        if of_kind := [grid for grid in vision if grid.kind == kind]:
            inputs[pixels] = torch.cat([clips[grid] for grid in of_kind])
            inputs[f"{grids}_grid_thw"] = torch.tensor([grid.grid_thw for grid in of_kind])
    return inputs
