"""A tiny dual encoder for frames and phrases of the toy world, trained in seconds and saved as an ordinary CLIP folder.

It learns whether a phrase such as `red circle` or `circle` is true of a frame, and replaces a CLIP or SigLIP checkpoint
in tests. Knows neither whole clips nor questions.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn.functional import binary_cross_entropy_with_logits, normalize
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

from vrl.toyworld.render import render
from vrl.toyworld.scene import FRAMES_PER_TICK, draw_scene
from vrl.toyworld.words import COLOURS, SHAPES

_SIDE = 56  # pixels of a frame as the encoder sees it
_SCENES = 300
_FRAMES = 16  # of a scene, evenly spaced
_BATCH = 64
_STEPS = 300
_LEVELS = 2  # number of difficulties, from which scenes are drawn in turn
PHRASES = (*SHAPES, *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES))


def build_toy_encoder(out: Path, seed: int = 0, steps: int = _STEPS) -> None:
    """Train the encoder and write model, tokenizer and image processor into `out`. Takes seconds on one core."""
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = CLIPModel(_config(tokenizer)).float()
        size = {"height": _SIDE, "width": _SIDE}
        image_processor = CLIPImageProcessor(size=size, crop_size=size, do_center_crop=False)
        processor = CLIPProcessor(image_processor=image_processor, tokenizer=tokenizer)
        _train(model, processor, np.random.default_rng(seed), steps)
    model.save_pretrained(out)
    processor.save_pretrained(out)


def _tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<unk>", "<end>", *COLOURS, *SHAPES]
    words_only = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    words_only.pre_tokenizer = pre_tokenizers.Whitespace()
    words_only.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words_only, pad_token="<pad>", unk_token="<unk>", eos_token="<end>", model_max_length=8
    )


def _config(tokenizer: PreTrainedTokenizerFast) -> CLIPConfig:
    layers = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": tokenizer.eos_token_id}
    return CLIPConfig(
        text_config={**layers, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 8},
        vision_config={**layers, "image_size": _SIDE, "patch_size": 14},
        projection_dim=64,
    )


def _train(model: Any, processor: Any, rng: np.random.Generator, steps: int) -> None:
    """Minimise the binary cross-entropy of (frame, phrase) pairs; the logit is cosine x learned scale + offset."""
    frames, truth = _scenes(rng)
    pixels = processor.image_processor(images=list(frames), return_tensors="pt")["pixel_values"]
    words = processor.tokenizer(list(PHRASES), padding="max_length", return_tensors="pt")
    offset = torch.nn.Parameter(torch.tensor(-5.0))
    optimizer = torch.optim.AdamW([*model.parameters(), offset], lr=2e-3, weight_decay=0.0)
    model.train()
    for _ in range(steps):
        chosen = torch.from_numpy(rng.integers(len(pixels), size=_BATCH))
        seen = normalize(model.get_image_features(pixel_values=pixels[chosen]).pooler_output, dim=-1)
        said = normalize(model.get_text_features(**words).pooler_output, dim=-1)
        logits = seen @ said.T * model.logit_scale.exp() + offset
        loss = binary_cross_entropy_with_logits(logits, truth[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _scenes(rng: np.random.Generator) -> tuple[list[np.ndarray], torch.Tensor]:
    """Return frames, uint8 [H, W, 3], and the phrases that are true of each, float [frames, phrases]."""
    frames, truth = [], []
    for number in range(_SCENES):
        scene = draw_scene(rng, number % _LEVELS)
        drawn = render(scene)
        for index in range(0, scene.num_frames, max(1, scene.num_frames // _FRAMES)):
            colours = [(thing.colour_at(index // FRAMES_PER_TICK), thing.shape) for thing in scene.things]
            there = [(colour, shape) for colour, shape in colours if colour]
            phrases = {f"{colour} {shape}" for colour, shape in there} | {shape for _, shape in there}
            frames.append(drawn[index])
            truth.append([float(phrase in phrases) for phrase in PHRASES])
    return frames, torch.tensor(truth)
