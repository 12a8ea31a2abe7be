"""Similarity of two sentences: by a sentence encoder, or by the words they share, as configured.

Neither is a fallback for the other.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vrl.checkpoint import require_model
from vrl.config import RewardConfig
from vrl.errors import CheckpointError, ConfigError
from vrl.reward.text import words

Similarity = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""(N sentences, M sentences) -> float64 [N, M], 1 for the same meaning."""


def make_similarity(config: RewardConfig) -> Similarity:
    """Return the configured measure. Raises ConfigError if reward.embedding_model cannot be loaded."""
    return lexical if config.similarity == "lexical" else _embedding(config.embedding_model)


def lexical(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Return the cosine of word counts (our definition); 0 for a sentence without words."""
    counts = [[Counter(words(text)) for text in side] for side in (first, second)]
    return np.array([[_cosine(a, b) for b in counts[1]] for a in counts[0]]).reshape(len(first), len(second))


def _cosine(a: Counter[str], b: Counter[str]) -> float:
    dot = sum(count * b[word] for word, count in a.items())
    norms = sum(count * count for count in a.values()) * sum(count * count for count in b.values())
    return dot / math.sqrt(norms) if norms else 0.0


def _embedding(model: str) -> Similarity:
    """Return the cosine of mean-pooled token vectors, as all-MiniLM-L6-v2 is trained, of at most 256 tokens."""
    from transformers import AutoModel, AutoTokenizer  # slow to import; the lexical measure does not need it

    try:
        require_model(model, "reward.embedding_model")
        tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        encoder: Any = AutoModel.from_pretrained(model, trust_remote_code=False, use_safetensors=True).eval()
    except (OSError, ValueError, CheckpointError) as error:
        raise ConfigError(
            f"reward.embedding_model: got {model!r}, which cannot be loaded; wanted a sentence encoder's folder or "
            f"name, or reward.similarity=lexical: {error}"
        ) from error

    def cosine(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        if not first or not second:
            return np.zeros((len(first), len(second)))
        inputs = tokenizer([*first, *second], padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            vectors = encoder(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        pooled = torch.nn.functional.normalize((vectors * mask).sum(1) / mask.sum(1), dim=-1).double().numpy()
        return pooled[: len(first)] @ pooled[len(first) :].T

    return cosine
