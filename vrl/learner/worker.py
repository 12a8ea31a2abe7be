"""One learner rank: takes micro-batches; produces updates, checkpoints and weights for the engines.

All ranks of a group call the same methods in the same order. Combines the objective (algo/objective), the policy
(learner/model) and the optimizer (learner/engine); computes no advantages and packs nothing.
Axes: L completion tokens of a packed row.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vrl.algo import loss as losses
from vrl.algo.objective import objective, trained_tokens
from vrl.algo.packing import PackedRow, PatchCost, flatten
from vrl.algo.vocabulary import banned_token_ids
from vrl.config import AlgoConfig, LearnerConfig, LoraConfig, ModelConfig, PushConfig
from vrl.data.normalisation import normalisation
from vrl.errors import LearnerError
from vrl.learner.engine import LearnerEngine, join_ranks
from vrl.learner.features import FeatureCache
from vrl.learner.lora import add_adapters
from vrl.learner.model import GroupedPolicy, load_hf_model
from vrl.observability.series import count
from vrl.observability.spans import timed
from vrl.observability.telemetry import start_telemetry
from vrl.sizing.costs import patch_cost
from vrl.sizing.model_shape import model_shape
from vrl.types import MicroBatch, StepCounts, Update
from vrl.weights.sender import WeightSender
from vrl.weights.wire import Digest, digest_of


class LearnerWorker:
    """The policy, its optimizer and, if algo.kl_coef > 0, a frozen reference. A plain class; LearnerGroup makes actors.

    The reference is the policy without its adapters or, if full weights are trained, a second model with the weights at
    model.path, unsharded on every rank.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        master_address: str,
        master_port: int,
        model_config: ModelConfig,
        learner_config: LearnerConfig,
        algo_config: AlgoConfig,
        temperature: float,
        total_steps: int,
        seed: int,
    ) -> None:
        """Join the other ranks; returns when all have joined. `temperature`: that of sampling."""
        start_telemetry()
        torch.set_num_threads(learner_config.threads)
        torch.manual_seed(seed)
        join_ranks(rank, world_size, master_address, master_port)
        self._rank = rank
        self._model_config = model_config
        self._learner_config = learner_config
        self._algo = algo_config
        features = FeatureCache(int(learner_config.feature_cache_gib * 2**30))
        self._policy = build_policy(
            model_config,
            temperature,
            lora=learner_config.lora,
            features=features,
            entropy_gradient=bool(algo_config.entropy_coef),
        )
        self._engine = LearnerEngine(self._policy, learner_config, total_steps=total_steps)
        self._reference = None
        if algo_config.kl_coef and not learner_config.lora.rank:
            self._reference = build_policy(model_config, temperature, features=features).requires_grad_(False)
            self._reference.to(self._policy.hf.device)
        self._sender: WeightSender | None = None

    @timed("forward_backward")
    def forward_backward(self, micro_batch: MicroBatch, counts: StepCounts, *patches: np.ndarray) -> dict[str, float]:
        """Add the micro-batch's gradient of the policy objective; `patches`: one uint8 array per group.

        `counts` are those of the update, over all ranks. Returns shares of its metrics, to be summed over micro-batches
        and ranks (see vrl.algo.objective).
        """
        row = flatten(micro_batch, self._policy.rule)
        pixels = _join(patches)
        ref_logprobs = self._ref_logprobs(row, pixels) if self._algo.kl_in == "loss" else None
        scores = self._engine.forward(row, pixels)
        tokens = trained_tokens(row, scores.logprobs_L, scores.entropy_L, ref_logprobs)
        loss, shares = objective(tokens, self._algo, counts)
        self._engine.backward(loss)
        count("vrl_learner_tokens_total", sum(group.num_tokens for group in micro_batch.groups))
        return _numbers(shares)

    @timed("forward_backward")
    def forward_backward_sft(
        self, micro_batch: MicroBatch, counts: StepCounts, *patches: np.ndarray
    ) -> dict[str, float]:
        """Add the micro-batch's gradient of the mean negative log-likelihood of the targets; see `forward_backward`."""
        loss, entropy = self._sft(micro_batch, counts, patches)
        self._engine.backward(loss)
        count("vrl_learner_tokens_total", sum(group.num_tokens for group in micro_batch.groups))
        return _numbers({"loss/sft": loss.detach(), "loss/entropy": entropy.detach()})

    @timed("validate")
    def sft_loss(self, micro_batch: MicroBatch, counts: StepCounts, *patches: np.ndarray) -> float:
        """Return the micro-batch's share of the mean negative log-likelihood, without gradient: for validation."""
        with torch.no_grad():
            loss, _ = self._sft(micro_batch, counts, patches)
        return float(loss)

    @timed("logprobs")
    def logprobs(self, micro_batch: MicroBatch, *patches: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return log-probs float32 [C] of every completion of the micro-batch, in group order, without gradient."""
        row = flatten(micro_batch, self._policy.rule)
        with torch.no_grad():
            scores = self._engine.forward(row, _join(patches))
        return _by_completion(micro_batch, row, scores.logprobs_L)

    def ref_logprobs(self, micro_batch: MicroBatch, *patches: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the log-probs under the reference policy. Raises LearnerError if there is none."""
        row = flatten(micro_batch, self._policy.rule)
        logprobs = self._ref_logprobs(row, _join(patches))
        if logprobs is None:
            raise LearnerError("ref_logprobs: got algo.kl_coef=0, wanted more than 0, which loads a reference policy")
        return _by_completion(micro_batch, row, logprobs)

    @timed("optimizer")
    def optim_step(self) -> Update:
        """Apply the gradients of all micro-batches since the last step, or drop them if any is not finite.

        Raises LearnerError if too many steps in a row were dropped.
        """
        step = self._engine.step()
        count("vrl_learner_updates_total", outcome="applied" if step.applied else "dropped")
        return Update(
            updates=self._engine.steps,
            lr=step.lr,
            grad_norm=step.grad_norm,
            applied=step.applied,
            nonfinite_steps=self._engine.skipped,
        )

    @timed("offload")
    def offload(self) -> None:
        """Keep only the weights on the GPU, which are pushed next; see LearnerEngine."""
        if self._reference is not None:
            self._reference.to("cpu")
        self._engine.offload()

    @timed("reload")
    def reload(self) -> None:
        """Move everything that training needs back to the GPU."""
        self._engine.reload()
        if self._reference is not None:
            self._reference.to(self._policy.hf.device)

    @timed("checkpoint")
    def save(self, folder: Path) -> None:
        """Write everything that a resumed run needs into an existing folder that all ranks can reach."""
        self._engine.save(folder)

    @timed("restore")
    def load(self, folder: Path) -> int:
        """Restore what `save` wrote; returns its number of updates."""
        self._engine.load(folder)
        return self._engine.steps

    @timed("checkpoint")
    def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face folder, with the tokenizer and processor files of model.path."""
        self._engine.export(folder, Path(self._model_config.path))

    def checksums(self) -> dict[str, Digest]:
        """Return a digest of every full parameter; equal on all ranks."""
        return {name: digest_of(tensor) for name, tensor in self._engine.full_parameters()}

    def patch_cost(self) -> PatchCost:
        """Return the cost of a vision patch in language tokens; computed on a rank, which has loaded transformers."""
        return patch_cost(model_shape(self._model_config.path), self._model_config, self._learner_config)

    def connect_engines(
        self, engines: Sequence[Any], address: str, backend: str, config: PushConfig, workers_per_engine: int = 1
    ) -> None:
        """Connect to the rollout engines, which must use the configured dtype; see WeightSender."""
        if self._sender is not None:
            self._sender.close()
        self._sender = WeightSender(
            self._engine,
            engines,
            backend=backend,
            rank=self._rank,
            address=address,
            dtype=getattr(torch, self._model_config.dtype),
            config=config,
            workers_per_engine=workers_per_engine,
        )

    @timed("push")
    def send_weights(self, policy_version: int) -> int:
        """Send the weights to the connected engines as `policy_version`; returns the bytes sent to each."""
        if self._sender is None:
            raise LearnerError("send_weights: got no engines, wanted connect_engines first")
        num_bytes = self._sender.send(policy_version)
        count("vrl_learner_pushed_bytes_total", num_bytes)
        return num_bytes

    def close(self) -> None:
        """Disconnect from the engines and the other ranks."""
        if self._sender is not None:
            self._sender.close()
        torch.distributed.destroy_process_group()

    def _sft(self, micro_batch: MicroBatch, counts: StepCounts, patches: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        row = flatten(micro_batch, self._policy.rule)
        scores = self._engine.forward(row, _join(patches))
        tokens = trained_tokens(row, scores.logprobs_L, scores.entropy_L, None)
        loss = losses.token_mean(losses.sft_loss(tokens.logprobs), counts.num_loss_tokens)
        return loss, losses.token_mean(tokens.entropy, counts.num_loss_tokens)

    def _ref_logprobs(self, row: PackedRow, pixels: Tensor) -> Tensor | None:
        """Return log-probs [L] of the reference policy; None if there is no KL term."""
        if not self._algo.kl_coef:
            return None
        if self._reference is None:
            return self._engine.reference(row, pixels).logprobs_L
        with torch.no_grad():
            return self._reference(row, pixels).logprobs_L


def build_policy(
    config: ModelConfig,
    temperature: float,
    *,
    lora: LoraConfig | None = None,
    features: FeatureCache | None = None,
    entropy_gradient: bool = False,
) -> GroupedPolicy:
    """Load the checkpoint at model.path as a policy, with the checkpoint's pixel constants and banned tokens."""
    hf = load_hf_model(config)
    if lora is not None and lora.rank:
        add_adapters(hf, lora)
    return GroupedPolicy(
        hf,
        normalisation=normalisation(config.path),
        temperature=temperature,
        banned_token_ids=banned_token_ids(hf.config),
        entropy_gradient=entropy_gradient,
        features=features,
    )


def _by_completion(micro_batch: MicroBatch, row: PackedRow, values_L: Tensor) -> tuple[np.ndarray, ...]:
    """Split the values of a row's tokens by completion; empty for the filler row of an empty micro-batch."""
    if not micro_batch.groups:
        return ()
    return tuple(np.split(values_L.cpu().numpy(), np.cumsum(row.completion_lengths)[:-1]))


def _join(patches: Sequence[np.ndarray]) -> Tensor:
    """Concatenate the patches of all groups into a uint8 tensor [num_patches, patch_dim]; groups may have none."""
    present = [array for array in patches if len(array)]
    return torch.from_numpy(np.concatenate(present)) if present else torch.zeros((0, 1), dtype=torch.uint8)


def _numbers(metrics: dict[str, Tensor]) -> dict[str, float]:
    return dict(zip(metrics, torch.stack(list(metrics.values())).tolist(), strict=True))
