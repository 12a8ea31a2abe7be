"""Our positions compared with the engine's own functions on random prompts."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vrl.algo.positions import PositionRule, prompt_positions
from vrl.types import VisionGrid

IMAGE, VIDEO, START, END = 90, 91, 92, 93


def random_media(rng):
    media = []
    for _ in range(rng.integers(0, 4)):
        h, w = (int(2 * n) for n in rng.integers(1, 5, 2))
        if rng.random() < 0.4:
            media.append(VisionGrid(kind="image", grid_thw=(1, h, w)))
        else:
            seconds = float(rng.choice([1.0, 0.5, 0.96, 0.7, 2 / 29.97 * 7, rng.random() * 3 + 0.01]))
            media.append(VisionGrid(kind="video", grid_thw=(int(rng.integers(1, 40)), h, w), seconds_per_grid=seconds))
    return tuple(media)


def text(rng, least):
    return list(rng.integers(1, 80, int(rng.integers(least, 6))))


def random_prompt(rng, media, family):
    """Token ids and the media features in the engine's form."""
    tokens, features = text(rng, 0), []
    for grid in media:
        t, h, w = grid.grid_thw
        is_video = grid.kind == "video"
        split = family == "qwen3_vl" and is_video
        tokens.append(START)
        offset = len(tokens)
        for _ in range(t if split else 1):
            steps = 1 if split else t
            block = [VIDEO if is_video else IMAGE] * (steps * h * w // 4)
            tokens += [*text(rng, 1), START, *block, END] if split else block
        tokens += [END, *text(rng, 0)]
        data = {f"{grid.kind}_grid_thw": SimpleNamespace(data=torch.tensor([t, h, w]))}
        if family == "qwen2_5_vl" and is_video:
            data["second_per_grid_ts"] = SimpleNamespace(data=torch.tensor(grid.seconds_per_grid))
        features.append(SimpleNamespace(modality=grid.kind, mm_position=SimpleNamespace(offset=offset), data=data))
    return [int(token) for token in tokens], features


def engine_positions(family, tokens, features, tokens_per_second):
    from vllm.model_executor.models import qwen2_5_vl, qwen2_vl, qwen3_vl

    vision = SimpleNamespace(spatial_merge_size=2)
    if family == "qwen2_5_vl":
        vision.tokens_per_second = tokens_per_second
    config: Any = SimpleNamespace(
        vision_config=vision, video_token_id=VIDEO, vision_start_token_id=START, vision_end_token_id=END
    )
    if family == "qwen3_vl":
        model = qwen3_vl.Qwen3VLForConditionalGeneration
        return model._get_mrope_input_positions(tokens, features, config)[0].numpy()
    model = {
        "qwen2_vl": qwen2_vl.Qwen2VLForConditionalGeneration,
        "qwen2_5_vl": qwen2_5_vl.Qwen2_5_VLForConditionalGeneration,
    }[family]
    instance = SimpleNamespace(config=config)
    instance.iter_mm_grid_thw = lambda found: model.iter_mm_grid_thw(instance, found)
    return model.get_mrope_input_positions(instance, tokens, features)[0].numpy()


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_positions_equal_the_engines(family):
    rng = np.random.default_rng(0)
    for _ in range(200):
        media = random_media(rng)
        tokens_per_second = float(rng.choice([2, 4, 25]))
        tokens, features = random_prompt(rng, media, family)
        rule = PositionRule(
            family=family,
            image_token_id=IMAGE,
            video_token_id=VIDEO,
            spatial_merge_size=2,
            tokens_per_second=tokens_per_second,
        )
        if not tokens:
            continue
        wanted = engine_positions(family, tokens, features, tokens_per_second)
        np.testing.assert_array_equal(prompt_positions(np.array(tokens), media, rule), wanted)
