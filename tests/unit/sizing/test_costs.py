import pytest

from vrl.config import LearnerConfig, LoraConfig, ModelConfig
from vrl.sizing.costs import patch_cost, patch_flops, token_flops
from vrl.sizing.model_shape import model_shape

SEVEN_B = "Qwen/Qwen2-VL-7B-Instruct"


@pytest.fixture(scope="module")
def shape():
    return model_shape(SEVEN_B)


def test_flops_by_hand(shape):
    # A layer: q and o 3584 x 3584, k and v 3584 x 512, three matrices of 3584 x 18944; 28 layers.
    weights = 28 * (2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944)
    assert token_flops(shape, LearnerConfig()) == 6 * weights
    assert token_flops(shape, LearnerConfig(lora=LoraConfig(rank=8))) == 4 * weights
    free, frozen = (
        patch_flops(shape, ModelConfig(path=SEVEN_B, freeze=freeze), LearnerConfig())
        for freeze in ([], ["model.visual"])
    )
    assert free == 3 * frozen


def test_a_patch_is_cheaper_than_a_token_and_even_cheaper_if_the_tower_is_frozen(shape):
    free = patch_cost(shape, ModelConfig(path=SEVEN_B), LearnerConfig())
    frozen = patch_cost(shape, ModelConfig(path=SEVEN_B, freeze=["model.visual"]), LearnerConfig())
    assert 0 < frozen.work < free.work < 1
    assert frozen.memory == pytest.approx(free.memory / 32)  # one layer of its 32 at a time
    # In bytes: 32 layers of (10 x 1280 + 2 x 5120) values and 28 of 4 x 3584 + 3 x 3584 + 3 x 512 + 4 x 18944.
    assert free.memory == pytest.approx(32 * (12800 + 10240) / (28 * (7 * 3584 + 1536 + 75776)))
