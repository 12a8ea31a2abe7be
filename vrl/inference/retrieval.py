"""Text-to-frame retrieval: the segments of a clip that match a few words, by a dual encoder such as CLIP or SigLIP.

As in VideoReasoner: frames at a low rate, their embeddings averaged over fixed segments, the nearest segment for each
key element by cosine. Decodes its own frames; does not decide how the hits are used.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor

from vrl.checkpoint import require_model
from vrl.config import DataConfig
from vrl.data.dataset import media_root, resolve_media
from vrl.data.decode.process import DecodeProcess
from vrl.errors import ConfigError
from vrl.inference.config import BackfillConfig
from vrl.types import Sample

_BATCH = 64  # frames of one pass through the encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """The segment most similar to an element."""

    element: str
    start_s: float
    similarity: float  # cosine


class RetrievalWorker:
    """Embeds clips and searches them. A plain class; its pool makes it an actor.

    Example: `starts_s, embeddings = worker.embed(sample)`, then `worker.search(("red circle",), starts_s, embeddings)`.
    """

    def __init__(self, config: BackfillConfig, data: DataConfig) -> None:
        """Load `config.encoder`.

        Raises ConfigError if the folder holds no dual encoder, CheckpointError if it is missing or holds pickles.
        """
        require_model(config.encoder, "strategy.backfill.encoder")
        model: Any = AutoModel.from_pretrained(config.encoder, trust_remote_code=False, use_safetensors=True)
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise ConfigError(
                f"strategy.backfill.encoder {config.encoder}: got a {type(model).__name__}, wanted a dual encoder of "
                "images and text, such as CLIP or SigLIP"
            )
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.to(device).eval()
        self._device = device
        self._processor: Any = AutoProcessor.from_pretrained(config.encoder, trust_remote_code=False)
        self._segment = config.segment_frames
        self._root = media_root(data)
        frames = replace(data.frames, fps=config.retrieval_fps, max_frames=config.retrieval_frames, min_frames=2)
        self._decoder = DecodeProcess(replace(data, frames=frames))

    def embed(self, sample: Sample) -> tuple[tuple[float, ...], np.ndarray]:
        """Return start in seconds and unit embedding (float32 [S, D]) of every segment of the sample's first clip.

        Raises DataError.
        """
        (media,) = [media for media in sample.media if media.kind == "video"][:1]
        frames = self._decoder.read(resolve_media(self._root, media.path), media)
        rows = [
            self._images(frames.pixels_THWC[start : start + _BATCH])
            for start in range(0, len(frames.pixels_THWC), _BATCH)
        ]
        means = torch.stack([piece.mean(0) for piece in torch.cat(rows).split(self._segment)])
        starts_s = tuple(frames.timestamps_s[:: self._segment].tolist())
        return starts_s, normalize(means, dim=-1).numpy()

    def search(self, elements: Sequence[str], starts_s: Sequence[float], embeddings: np.ndarray) -> tuple[Hit, ...]:
        """Return the best segment for each element, in order."""
        tokens = self._processor.tokenizer(
            list(elements), padding="max_length", truncation=True, return_tensors="pt"
        ).to(self._device)
        with torch.inference_mode():
            texts = normalize(self._model.get_text_features(**tokens).pooler_output.float(), dim=-1).cpu().numpy()
        similarity = texts @ embeddings.T
        return tuple(
            Hit(element=element, start_s=starts_s[int(row.argmax())], similarity=round(float(row.max()), 4))
            for element, row in zip(elements, similarity, strict=True)
        )

    def close(self) -> None:
        """Stop the decode process."""
        self._decoder.close()

    def _images(self, pixels_THWC: np.ndarray) -> torch.Tensor:
        pixels = self._processor.image_processor(images=list(pixels_THWC), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            features = self._model.get_image_features(pixel_values=pixels.to(self._device)).pooler_output
        return normalize(features.float(), dim=-1).cpu()
