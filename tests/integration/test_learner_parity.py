"""The learner against plain transformers with one row per completion: packing and sharding must not change results.

Six ragged groups of video, of image and video, and of text only; several per packed row, several rows per rank.
"""

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from support.learner_cases import MIXED, Setting, make_cases, run_ranks, score_and_differentiate
from support.plain_rows import plain_logprobs
from transformers import AutoModelForImageTextToText

from vrl.data.normalisation import normalisation
from vrl.toyworld.model import FAMILIES, build_family

pytestmark = pytest.mark.timeout(300)
FROZEN_TOWER = ("model.visual",)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sharp")
    for family in FAMILIES:
        build_family(folder / family, family, sharp=True)
    return {family: folder / family for family in FAMILIES}


@cache
def reference(path: Path):
    """Log-probs by group and the gradient of their mean over the loss tokens."""
    plain = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)
    cases = make_cases(plain.config, MIXED * 2)
    logprobs = plain_logprobs(plain, cases, normalisation(path))
    mask = torch.from_numpy(np.concatenate([mask for group in cases.groups for mask in group.loss_masks]))
    (logprobs * mask).sum().div(mask.sum()).backward()
    sizes = [sum(map(len, group.completions)) for group in cases.groups]
    gradients = {name: parameter.grad.numpy() for name, parameter in plain.named_parameters()}
    return [part.detach().numpy() for part in logprobs.split(sizes)], gradients


def assert_equal_to_plain_rows(settings, results):
    """`results`: those of every rank, for every setting."""
    for number, setting in enumerate(settings):
        wanted_logprobs, wanted_gradients = reference(setting.path)
        found = {index: part for rank in results for index, part in rank[number][0].items()}
        assert sorted(found) == list(range(len(wanted_logprobs)))
        for index, wanted in enumerate(wanted_logprobs):
            np.testing.assert_allclose(found[index], wanted, rtol=0, atol=1e-4)
        names = {name for name in wanted_gradients if not name.startswith(setting.freeze or "-")}
        for rank in results:
            gradients = rank[number][1]
            assert gradients.keys() == names
            for name in names:
                gap = np.linalg.norm(gradients[name] - wanted_gradients[name])
                assert gap <= 1e-4 * np.linalg.norm(wanted_gradients[name]), (setting, name)


def test_families_on_two_ranks_of_zero_3(checkpoints):
    settings = [Setting(path, 3) for path in checkpoints.values()]
    assert_equal_to_plain_rows(settings, run_ranks(score_and_differentiate, 2, settings))


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_zero_stage_with_a_trained_and_a_frozen_tower(checkpoints, family, world_size):
    settings = [Setting(checkpoints[family], stage, freeze) for stage, freeze in product((0, 2, 3), ((), FROZEN_TOWER))]
    assert_equal_to_plain_rows(settings, run_ranks(score_and_differentiate, world_size, settings))


@pytest.mark.slow
@pytest.mark.parametrize("layouts", [((0, 1, 3, 4), (2, 5)), ((0, 1, 2, 3, 4, 5), ())], ids=["text", "nothing"])
def test_a_rank_without_pixels_joins_the_collectives_of_a_rank_with_pixels(checkpoints, layouts):
    settings = [Setting(checkpoints["qwen3_vl"], 3)]
    results = run_ranks(score_and_differentiate, 2, settings, layouts)  # TimeoutError if a collective is missed
    assert_equal_to_plain_rows(settings, results)
