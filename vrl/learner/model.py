"""The learner's forward pass: one packed row and its raw patches in, log-probs of the completion tokens out.

Positions, vision slots and attention are ours (algo/positions, learner/attention); layers, vision tower and weights
come from transformers. Only hidden states that predict a completion token go through the head, in chunks. Does not
know losses or ranks.
Axes: N row tokens, L completion tokens of the row, V vision slots, D hidden size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForImageTextToText, PreTrainedModel

from vrl.algo.packing import PackedRow
from vrl.algo.positions import position_rule
from vrl.config import ModelConfig
from vrl.errors import ConfigError, LearnerError
from vrl.learner.attention import GROUPED, plan_attention
from vrl.learner.features import FeatureCache
from vrl.types import VisionGrid

_LOGIT_CHUNK = 2**26  # logits held at a time: 256 MiB in float32
_BANNED_LOGIT = -1e9  # finite, so that 0 x logit stays 0 in the entropy


class TokenScores(NamedTuple):
    """The policy's scores of a row's completion tokens. A tuple, because ZeRO-3 looks for tensors in tuples."""

    logprobs_L: Tensor  # float32, with gradient, at the sampling temperature
    entropy_L: Tensor  # float32, nats; with gradient only if the policy was built with `entropy_gradient`


def load_hf_model(config: ModelConfig) -> PreTrainedModel:
    """Load the checkpoint with transformers, in the configured dtype, with grouped attention and frozen prefixes."""
    hf = AutoModelForImageTextToText.from_pretrained(
        config.path,
        dtype=getattr(torch, config.dtype),
        trust_remote_code=config.trust_remote_code,
        use_safetensors=True,
        attn_implementation={"text_config": GROUPED, "vision_config": "sdpa"},
    )
    for prefix in config.freeze:
        frozen = [parameter for name, parameter in hf.named_parameters() if name.startswith(prefix)]
        if not frozen:
            raise ConfigError(f"model.freeze: got {prefix!r}, wanted the start of a parameter name")
        for parameter in frozen:
            parameter.requires_grad_(False)
    return hf


class GroupedPolicy(nn.Module):
    """A Hugging Face Qwen-VL model that scores packed rows. `hf` holds every parameter, under its Hugging Face name."""

    pixel_weight: Tensor
    pixel_bias: Tensor

    def __init__(
        self,
        hf: PreTrainedModel,
        *,
        normalisation: tuple[np.ndarray, np.ndarray],
        temperature: float,
        banned_token_ids: Sequence[int] = (),
        entropy_gradient: bool = False,
        features: FeatureCache | None = None,
    ) -> None:
        """`normalisation`: (weight [3], bias [3]) that map a raw channel value to the tower's input.

        `banned_token_ids`: tokens the engine never samples; both sides normalise over the rest.
        `entropy_gradient`: keeps one more chunk of probabilities for the backward pass.
        `features`: caches clips while the tower is frozen.
        Raises ConfigError for an unknown family or a temperature without log-probs.
        """
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"rollout.temperature: got {temperature}, wanted more than 0 to train on log-probs")
        self.rule = position_rule(hf.config)
        self.hf = hf
        self._features = features
        self.head = CompletionHead(hf.lm_head.weight, temperature, banned_token_ids, entropy_gradient)
        for name, values in zip(("pixel_weight", "pixel_bias"), normalisation, strict=True):
            self.register_buffer(
                name, torch.from_numpy(np.asarray(values, dtype=np.float32))[:, None], persistent=False
            )

    def forward(self, row: PackedRow, patches: Tensor) -> TokenScores:
        """Score a row. `patches`: uint8 [num_patches, patch_dim] of all media of the row in order, possibly none."""
        device = self.hf.device
        features, deepstack = self._encode(patches, row.vision)
        embeds = self.hf.get_input_embeddings()(torch.from_numpy(row.token_ids_N).to(device))
        language = {}
        if row.vision:
            slots = torch.from_numpy(row.vision_slots_V).to(device)
            embeds = embeds.index_copy(0, slots, features.to(embeds.dtype))
            if deepstack:
                at_slot = torch.zeros(len(embeds), dtype=torch.bool, device=device).index_fill(0, slots, True)
                language = {"visual_pos_masks": at_slot[None], "deepstack_visual_embeds": deepstack}
        else:  # a pass without effect: a rank without pixels must join the collectives of the other ranks
            embeds = embeds + 0.0 * torch.stack([part.sum() for part in (features, *deepstack)]).sum()
        hidden = self.hf.model.language_model(
            inputs_embeds=embeds[None],
            position_ids=torch.from_numpy(np.ascontiguousarray(row.positions_3N)).to(device)[:, None],
            use_cache=False,
            plan=plan_attention(row.spans, device),
            **language,
        ).last_hidden_state[0]
        predictors, targets = (torch.from_numpy(x).to(device) for x in (row.predictors_L, row.targets_L))
        return self.head(hidden.index_select(0, predictors), targets)

    def _encode(self, patches: Tensor, vision: tuple[VisionGrid, ...]) -> tuple[Tensor, list[Tensor]]:
        """Return features [V, D] and Qwen3-VL's deepstack features of all images and clips, or of one blank square.

        While the tower is frozen, cached clips are not encoded again.
        """
        sizes = [grid.num_patches for grid in vision]
        if len(patches) != sum(sizes):
            raise LearnerError(f"patches: got {len(patches)}, wanted {sum(sizes)} for {vision}")
        grids = [grid.grid_thw for grid in vision]
        frozen = not any(parameter.requires_grad for parameter in self.hf.model.visual.parameters())
        if not (frozen and self._features is not None and vision):
            encoded = self._tower(patches, grids)
        else:
            with torch.no_grad():
                encoded = self._features.encode(patches.split(sizes), grids, self._tower)
        features, *deepstack = (part.to(self.hf.device) for part in encoded)
        return features, deepstack

    def _tower(self, patches: Tensor, grids: list[tuple[int, int, int]]) -> tuple[Tensor, ...]:
        """Return the vision tower's features and deepstack features, [V, D] each; of one blank square without grids."""
        visual = self.hf.model.visual
        patches = patches.to(self.hf.device)
        if not grids:
            side, config = self.rule.spatial_merge_size, self.hf.config.vision_config
            grids = [(1, side, side)]
            patch_dim = config.in_channels * config.temporal_patch_size * config.patch_size**2
            patches = patches.new_zeros((side * side, patch_dim))
        channels = patches.unflatten(1, (len(self.pixel_weight), -1)).float()
        pixels = (channels * self.pixel_weight + self.pixel_bias).flatten(1).to(visual.dtype)
        output = visual(pixels, grid_thw=torch.tensor(grids, device=patches.device))
        return output.pooler_output, *(getattr(output, "deepstack_features", None) or ())


class CompletionHead(nn.Module):
    """Maps hidden states to log-probs while holding the logits of only one chunk of tokens.

    It owns an alias of the head's weight, so that under ZeRO-3 one gather serves all chunks.
    """

    banned: Tensor

    def __init__(
        self,
        weight: nn.Parameter,
        temperature: float,
        banned_token_ids: Sequence[int],
        entropy_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.temperature = temperature
        self.entropy_gradient = entropy_gradient
        self.chunk = max(64, _LOGIT_CHUNK // weight.shape[0])
        self.register_buffer("banned", torch.tensor(list(banned_token_ids), dtype=torch.int64), persistent=False)

    def forward(self, hidden_LD: Tensor, targets_L: Tensor) -> TokenScores:
        chunks = list(zip(hidden_LD.split(self.chunk), targets_L.split(self.chunk), strict=True))
        if len(chunks) == 1:
            scored = [self._score(*chunks[0])]
        else:
            scored = [checkpoint(self._score, *chunk, use_reentrant=False) for chunk in chunks]
        logprobs, entropies = zip(*scored, strict=True)
        return TokenScores(logprobs_L=torch.cat(logprobs), entropy_L=torch.cat(entropies))

    def _score(self, hidden_LD: Tensor, targets_L: Tensor) -> tuple[Tensor, Tensor]:
        logits = functional.linear(hidden_LD, self.weight).float()
        if self.temperature != 1.0:
            logits = logits / self.temperature
        if len(self.banned):
            logits = logits.index_fill(1, self.banned, _BANNED_LOGIT)
        normaliser = torch.logsumexp(logits, dim=-1)
        logprobs = logits.gather(1, targets_L[:, None])[:, 0] - normaliser
        with torch.set_grad_enabled(self.entropy_gradient and torch.is_grad_enabled()):
            entropy = normaliser - (torch.softmax(logits, dim=-1) * logits).sum(-1)
        return logprobs, entropy
