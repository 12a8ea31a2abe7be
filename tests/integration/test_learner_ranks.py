"""Real DeepSpeed ranks in processes of their own: results must not depend on micro-batches, ranks and ZeRO stage."""

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from support.learner_cases import accumulate, interrupt, move_a_little, resume, run_ranks, train
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from vrl.config import LoraConfig
from vrl.toyworld.model import build_family

pytestmark = pytest.mark.timeout(300)
WHOLE = 10_000  # tokens of a micro-batch: all groups together
SPLIT = 100  # one or two groups


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sharp") / "qwen3_vl"
    build_family(folder, "qwen3_vl", sharp=True)
    return folder


@pytest.fixture(scope="module")
def trained(checkpoint, tmp_path_factory):
    """A cached function that trains with given settings and returns the results of all ranks and the saved folder."""

    @cache
    def run(world_size: int, zero_stage: int, micro_batch_tokens: int, *switches: str):
        folder = tmp_path_factory.mktemp("state")
        settings = {
            "zero_stage": zero_stage,
            "micro_batch_tokens": micro_batch_tokens,
            "gradient_checkpointing": "checkpointing" in switches,
            "offload": "offload" in switches,
            "lora": LoraConfig(rank=4 if "lora" in switches else 0),
        }
        return run_ranks(train, world_size, checkpoint, settings, folder, "turns" in switches), folder

    return run


@pytest.mark.parametrize(
    "settings",
    [
        (1, 0, SPLIT),
        (2, 2, SPLIT),
        (2, 3, SPLIT),
        pytest.param((1, 3, SPLIT, "checkpointing"), marks=pytest.mark.slow),
        pytest.param((1, 2, SPLIT), marks=pytest.mark.slow),
        pytest.param((2, 2, SPLIT, "offload"), marks=pytest.mark.slow),
        pytest.param((1, 3, SPLIT, "offload"), marks=pytest.mark.slow),
        pytest.param((2, 2, SPLIT, "turns"), marks=pytest.mark.slow),
        pytest.param((1, 3, SPLIT, "offload", "turns"), marks=pytest.mark.slow),
        pytest.param((2, 0, SPLIT), marks=pytest.mark.slow),
        pytest.param((2, 1, SPLIT), marks=pytest.mark.slow),
        pytest.param((2, 3, WHOLE), marks=pytest.mark.slow),
    ],
    ids=lambda settings: "-".join(map(str, settings)),
)
def test_updates_do_not_depend_on_how_the_work_is_split(trained, settings):
    [(wanted_steps, wanted_norms, *_)], _ = trained(1, 0, WHOLE)
    ranks, _ = trained(*settings)
    for step, (wanted, tolerance) in enumerate(zip(wanted_steps, (1e-5, 1e-4), strict=True)):
        found = {name: sum(shares[step][name] for shares, *_ in ranks) for name in wanted}
        assert found == pytest.approx(wanted, rel=tolerance, abs=1e-6)
    assert wanted_steps[1]["loss/kl"] > 0  # the first update moved the policy away from the reference
    for _, norms, moved, restored in ranks:
        assert norms == pytest.approx(wanted_norms, rel=1e-4)
        assert moved
        assert restored


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_bfloat16_weights_have_float32_masters_that_keep_small_updates(checkpoint, zero_stage):
    settings = {"zero_stage": zero_stage, "micro_batch_tokens": WHOLE, "lr": 1e-6}
    ((master, weight),) = run_ranks(move_a_little, 1, checkpoint, settings)
    assert master == pytest.approx(1e-6, rel=0.15)  # Adam's first step; a float32 near 1 has steps of 1.2e-7
    assert weight == 0


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_bfloat16_gradients_add_up_in_float32(checkpoint, zero_stage):
    settings = {"zero_stage": zero_stage, "micro_batch_tokens": SPLIT, "lr": 0.0}
    for whole, with_small_ones in run_ranks(accumulate, 1, checkpoint, settings):
        assert with_small_ones == pytest.approx(whole * (1 + 32 / 512), rel=0.01)  # bfloat16 would lose them


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [(2, 0, SPLIT), (2, 2, SPLIT), (2, 3, SPLIT), (1, 3, SPLIT, "checkpointing")], ids=str
)
def test_adapters_do_not_depend_on_how_the_work_is_split(trained, settings):
    """Reference passes use the same sharded model, whose tower encodes each clip once."""
    [(wanted_steps, wanted_norms, *_)], _ = trained(1, 0, WHOLE, "lora")
    ranks, folder = trained(*settings, "lora")
    for step, (wanted, tolerance) in enumerate(zip(wanted_steps, (1e-5, 1e-4), strict=True)):
        found = {name: sum(shares[step][name] for shares, *_ in ranks) for name in wanted}
        assert found == pytest.approx(wanted, rel=tolerance, abs=1e-6)
    assert wanted_steps[0]["loss/kl"] == 0 < wanted_steps[1]["loss/kl"]
    for _, norms, moved, restored in ranks:
        assert norms == pytest.approx(wanted_norms, rel=1e-4)
        assert moved and restored
    stored = sum(file.stat().st_size for file in folder.glob("state/*"))
    assert stored < 0.5 * (folder / "hf" / "model.safetensors").stat().st_size  # frozen weights are not stored


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "zero_stage", "dtype", "switch"),
    [
        (1, 0, "float32", ""),
        (2, 1, "bfloat16", ""),
        (2, 2, "bfloat16", "offload"),
        (2, 3, "bfloat16", ""),
        (2, 2, "float32", "lora"),
    ],
)
def test_a_resumed_learner_continues_as_if_never_stopped(checkpoint, tmp_path, ranks, zero_stage, dtype, switch):
    settings = {
        "zero_stage": zero_stage,
        "micro_batch_tokens": SPLIT,
        "offload": switch == "offload",
        "lora": LoraConfig(rank=4 if switch == "lora" else 0, dropout=0.5),  # dropout uses the random state
    }
    uninterrupted = run_ranks(interrupt, ranks, checkpoint, settings, tmp_path, dtype)
    for wanted, (found, loaded) in zip(
        uninterrupted, run_ranks(resume, ranks, checkpoint, settings, tmp_path, dtype), strict=True
    ):
        assert found == wanted != loaded


def test_an_export_is_an_ordinary_checkpoint_with_the_trained_weights(trained, checkpoint):
    _, folder = trained(2, 3, SPLIT)
    start = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    end = AutoModelForImageTextToText.from_pretrained(folder / "hf", dtype=torch.float32)
    moves = [
        (a - b).abs().max().item() for a, b in zip(start.state_dict().values(), end.state_dict().values(), strict=True)
    ]
    assert 1e-5 < max(moves) < 1e-3  # two steps of 1e-4 each
    question = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]}
    texts = [AutoProcessor.from_pretrained(p).apply_chat_template([question]) for p in (checkpoint, folder / "hf")]
    assert texts[0] == texts[1]


def test_a_generation_config_that_transformers_loads_but_does_not_save_is_copied(checkpoint, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(checkpoint, model)
    generation = {"do_sample": False, "temperature": 0.7, "eos_token_id": 1}
    (model / "generation_config.json").write_text(json.dumps(generation))
    with pytest.raises(ValueError, match="do_sample"):
        GenerationConfig.from_pretrained(model).save_pretrained(tmp_path / "refused")
    run_ranks(train, 1, model, {"zero_stage": 0, "micro_batch_tokens": SPLIT}, tmp_path, False)
    assert json.loads((tmp_path / "hf" / "generation_config.json").read_text()) == generation
    AutoModelForImageTextToText.from_pretrained(tmp_path / "hf")
