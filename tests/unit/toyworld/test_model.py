"""The tiny checkpoints: same seed same bytes, ordinary folders, toy words as single tokens, equal pixel constants."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from vrl.errors import ConfigError
from vrl.tasks import TASKS
from vrl.tasks.task import Clip
from vrl.toyworld.model import FAMILIES, SPECIAL_TOKENS, build_family, build_tokenizer, build_toy_model
from vrl.toyworld.questions import ask
from vrl.toyworld.scene import LEVELS, draw_scene
from vrl.toyworld.words import toy_tasks

THINKING = [task for task in toy_tasks() if task.thinks]


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(123)
    build_toy_model(tmp_path / "a", seed=7)
    torch.manual_seed(456)
    build_toy_model(tmp_path / "b", seed=7)
    build_toy_model(tmp_path / "c", seed=8)
    first, again, other = (_digests(tmp_path / name) for name in "abc")
    assert first == again
    assert {name for name in first if first[name] != other[name]} == {"model.safetensors"}


def test_building_leaves_the_callers_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_family(tmp_path / "model", "qwen2_vl", sharp=True)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sharp", [False, True])
def test_folder_loads_and_its_answer_depends_on_the_pixels(tmp_path: Path, family: str, sharp: bool) -> None:
    build_family(tmp_path / "model", family, sharp=sharp)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    assert model.config.model_type == family
    assert model.dtype == torch.float32
    assert sum(parameter.numel() for parameter in model.parameters()) < 1_500_000
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What color is the square?"}]}
    text = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
    logits = []
    for shade in (0, 255):
        image = np.full((64, 64, 3), shade, dtype=np.uint8)
        with torch.no_grad():
            logits.append(model(**processor(text=[text], images=[image], return_tensors="pt")).logits[0, -1])
    assert (logits[0] - logits[1]).abs().max() > (0.1 if sharp else 1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sharp", [False, True])
def test_images_and_videos_are_normalised_alike(tmp_path: Path, family: str, sharp: bool) -> None:
    build_family(tmp_path / "model", family, sharp=sharp)
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    for constant in ("image_mean", "image_std", "rescale_factor", "patch_size", "merge_size", "temporal_patch_size"):
        assert getattr(processor.image_processor, constant) == getattr(processor.video_processor, constant)


def test_sharp_weights_are_decided_while_plain_ones_are_uniform(tmp_path: Path) -> None:
    highest = {}
    for sharp in (False, True):
        folder = tmp_path / str(sharp)
        build_family(folder, "qwen2_vl", sharp=sharp)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = torch.tensor([tokenizer.encode("What color is the square?")])
        with torch.no_grad():
            logits = AutoModelForImageTextToText.from_pretrained(folder)(input_ids=ids).logits
        highest[sharp] = logits.softmax(-1).max().item()
    assert highest[False] < 0.02 < highest[True]


def test_unknown_family_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"family: got 'qwen9_vl', wanted one of .*qwen3_vl"):
        build_family(tmp_path / "model", "qwen9_vl", sharp=False)
    assert not (tmp_path / "model").exists()


def test_special_tokens_come_first_and_any_text_survives() -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == list(range(len(SPECIAL_TOKENS)))
    text = "Zürich, 東京\t<b>\n  x=1e-5 🎬 red REDDISH 0.125"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_targets_are_short() -> None:
    tokenizer = build_tokenizer()
    assert tokenizer.tokenize(" red") == ["Ġred"]
    assert tokenizer.tokenize(" B") == ["ĠB"]
    assert tokenizer.tokenize("10") == ["1", "0"]
    span = " <|event_start|>[0.12, 1.00]<|event_end|>"
    assert tokenizer.tokenize(span) == ["Ġ", "<|event_start|>", "[0.12,", "Ġ1.00]", "<|event_end|>"]


@pytest.mark.parametrize("difficulty", range(len(LEVELS)))
def test_every_word_of_a_toy_prompt_is_one_token(difficulty: int) -> None:
    tokenizer = build_tokenizer()
    rng = np.random.default_rng(difficulty)
    for clip in range(5):
        scene = draw_scene(rng, difficulty)
        shown = Clip(duration_s=scene.duration_s, timestamps_s=tuple(np.arange(0, scene.duration_s, 0.5).tolist()))
        for sample in ask(scene, clip_id=str(clip), path="x.mp4", rng=rng):
            for task in [TASKS[sample.task], *(THINKING if sample.task == "vqa" else [])]:
                text = f"{task.instruction(sample, shown)} {task.prefix}{task.target(sample, shown)}"
                plain = text.replace("<|event_start|>", " ").replace("<|event_end|>", " ")
                pieces = [token.removeprefix("Ġ") for token in tokenizer.tokenize(plain)]
                words = [piece for piece in pieces if piece.isascii() and piece.isalpha()]
                assert words == re.findall("[A-Za-z]+", plain)
