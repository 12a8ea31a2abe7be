import pytest

from vrl.config import LearnerConfig, LoraConfig, ModelConfig, RunConfig
from vrl.training.fleets import vision_trains


@pytest.mark.parametrize(
    ("freeze", "rank", "trains"),
    [
        ([], 0, True),
        (["model.visual"], 0, False),
        (["model.visual.blocks"], 0, True),  # the merger still trains
        (["model.language_model", "model.vis"], 0, False),
        ([], 8, False),  # adapters are on the language model only
    ],
)
def test_features_survive_a_push_only_if_the_whole_tower_is_frozen(freeze: list[str], rank: int, trains: bool):
    model, learner = ModelConfig(freeze=freeze), LearnerConfig(lora=LoraConfig(rank=rank))
    assert vision_trains(RunConfig(model=model, learner=learner)) is trains
