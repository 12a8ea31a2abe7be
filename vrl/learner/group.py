"""All learner ranks behind one interface: runs a method on every rank and sums the ranks' shares.

Does not place actors (it takes options for each rank) and does not decide when to step, save or push.
"""

import asyncio
import random
import socket
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util import get_node_ip_address

from vrl.actors.ray_errors import unwrap
from vrl.algo.packing import PatchCost
from vrl.config import AlgoConfig, LearnerConfig, ModelConfig, PushConfig
from vrl.errors import LearnerError, LearnerLostError, VrlError
from vrl.types import PackedBatch, StepCounts, Update

if TYPE_CHECKING:
    from vrl.weights.wire import Digest

_DEATH_S = 10.0  # time for Ray to notice that a process has exited
_PORTS = range(20_000, 32_768)  # above Ray's workers, below the ephemeral ones
_PLACEMENT = ("scheduling_strategy", "resources", "label_selector")  # options that select a node


class LearnerGroup:
    """The learner as the driver sees it. Patches are arrays or object references, one for each group of the batch."""

    def __init__(self, ranks: Sequence[Any], *, address: str, timeout_s: float) -> None:
        """`ranks`: handles of LearnerWorker actors; `address`: the node of rank 0, which other processes connect to."""
        self._ranks = list(ranks)
        self._timeout_s = timeout_s
        self.address = address
        self.version = 0  # of the weights: number of updates and loads, including those in flight
        self.version_changed = asyncio.Condition()

    @classmethod
    async def start(
        cls,
        options: Sequence[dict[str, Any]],
        *,
        model_config: ModelConfig,
        learner_config: LearnerConfig,
        algo_config: AlgoConfig,
        temperature: float,
        total_steps: int,
        seed: int,
    ) -> "LearnerGroup":
        """Start one rank for each entry of `options` (Ray actor options) and wait until all have joined."""
        where = {key: value for key, value in options[0].items() if key in _PLACEMENT}
        address, port = await ray.remote(free_port).options(num_cpus=0, **where).remote()
        from vrl.learner.worker import LearnerWorker  # imported late: the rendezvous task needs no torch

        worker = ray.remote(LearnerWorker)
        shared = (address, port, model_config, learner_config, algo_config, temperature, total_steps, seed)
        ranks = [worker.options(**own).remote(rank, len(options), *shared) for rank, own in enumerate(options)]
        group = cls(ranks, address=address, timeout_s=learner_config.timeout_s)
        try:
            await group._all("__ray_ready__")
        except LearnerLostError as error:  # no progress is lost, and a restart would fail too
            group.close()
            raise LearnerError(f"the learner did not start: {error}") from error
        except BaseException:
            group.close()  # the other ranks wait for the missing one
            raise
        return group

    async def forward_backward(self, batch: PackedBatch, patches: Sequence[Any]) -> dict[str, float]:
        """Accumulate the gradient of a whole update; returns the sums that `objective.step_metrics` takes."""
        return _sum(await self._micro_batches("forward_backward", batch, (batch.counts,), patches))

    async def forward_backward_sft(self, batch: PackedBatch, patches: Sequence[Any]) -> dict[str, float]:
        """Accumulate the gradient of supervised targets; returns loss/sft and loss/entropy."""
        return _sum(await self._micro_batches("forward_backward_sft", batch, (batch.counts,), patches))

    async def sft_loss(self, batch: PackedBatch, patches: Sequence[Any]) -> float:
        """Return the mean negative log-likelihood of the batch's targets, without gradient."""
        return float(sum(await self._micro_batches("sft_loss", batch, (batch.counts,), patches)))

    async def logprobs(self, batch: PackedBatch, patches: Sequence[Any]) -> list[tuple[np.ndarray, ...]]:
        """Return log-probs of every completion, one tuple per group, in the order of the groups before packing."""
        return await self._scores("logprobs", batch, patches)

    async def ref_logprobs(self, batch: PackedBatch, patches: Sequence[Any]) -> list[tuple[np.ndarray, ...]]:
        """Return the log-probs under the reference policy, which exists if algo.kl_coef > 0."""
        return await self._scores("ref_logprobs", batch, patches)

    async def optim_step(self) -> Update:
        """Run one optimizer step on all ranks. `version` counts it from the call on, unless it is dropped."""
        self.version += 1
        update = (await self._all("optim_step"))[0]
        if not update.applied:
            async with self.version_changed:
                self.version -= 1
                self.version_changed.notify_all()
        return update

    async def offload(self) -> None:
        """Free memory for engines on the same GPUs: only the weights stay, to be pushed. Idempotent."""
        await self._all("offload")

    async def reload(self) -> None:
        """Move everything that training needs back to the GPUs, once the engines sleep."""
        await self._all("reload")

    async def save(self, folder: Path) -> None:
        """Write the learner's state into `folder`, created if missing; all ranks must be able to reach it."""
        folder.mkdir(parents=True, exist_ok=True)
        await self._all("save", folder)

    async def load(self, folder: Path) -> int:
        """Restore what `save` wrote; returns its number of updates."""
        self.version += 1
        return (await self._all("load", folder))[0]

    async def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face folder."""
        await self._all("export", folder)

    async def connect_engines(
        self, engines: Sequence[Any], backend: str, config: PushConfig, workers_per_engine: int = 1
    ) -> None:
        """Connect rank 0 to the rollout engines, which are Ray handles."""
        await self._all("connect_engines", list(engines), self.address, backend, config, workers_per_engine)

    async def send_weights(self, policy_version: int) -> int:
        """Send the weights to the connected engines; returns the bytes sent to each."""
        return (await self._all("send_weights", policy_version))[0]

    async def patch_cost(self) -> PatchCost:
        """Return the cost of a vision patch for the learner, in units of a language token."""
        return (await self._all("patch_cost"))[0]

    async def checksums(self) -> "dict[str, Digest]":
        """Return a digest of every full parameter."""
        return (await self._all("checksums"))[0]

    def close(self) -> None:
        """Kill all ranks."""
        for rank in self._ranks:
            ray.kill(rank)
        self._ranks = []

    async def _scores(self, method: str, batch: PackedBatch, patches: Sequence[Any]) -> list[tuple[np.ndarray, ...]]:
        scored = await self._micro_batches(method, batch, (), patches)
        by_group: dict[int, tuple[np.ndarray, ...]] = {}
        for micro_batch, arrays in zip(chain(*batch.micro_batches), scored, strict=True):
            start = 0
            for index, group in zip(micro_batch.group_indices, micro_batch.groups, strict=True):
                by_group[index] = arrays[start : start + len(group.completions)]
                start += len(group.completions)
        return [by_group[index] for index in sorted(by_group)]

    async def _micro_batches(
        self, method: str, batch: PackedBatch, counts: tuple[StepCounts, ...], patches: Sequence[Any]
    ) -> list[Any]:
        """Run `method` on every micro-batch; returns results in rank order.

        References are top-level arguments, because Ray fetches only those.
        """
        refs = [
            getattr(rank, method).remote(micro_batch, *counts, *(patches[i] for i in micro_batch.group_indices))
            for rank, micro_batches in zip(self._ranks, batch.micro_batches, strict=True)
            for micro_batch in micro_batches
        ]
        return await self._gather(method, refs)

    async def _all(self, method: str, *args: Any) -> list[Any]:
        return await self._gather(method, [getattr(rank, method).remote(*args) for rank in self._ranks])

    async def _gather(self, method: str, refs: Sequence[Any]) -> list[Any]:
        """Return all results, or raise the first failure: the other ranks may wait in a collective forever."""
        try:
            return list(await asyncio.wait_for(asyncio.gather(*refs), self._timeout_s))
        except TimeoutError as error:
            raise LearnerLostError(
                f"learner: got no answer to {method} in {self._timeout_s:g} s, wanted one; raise learner.timeout_s"
            ) from error
        except (RayTaskError, RayActorError) as error:
            raised = unwrap(error)
            if raised is None:
                raise LearnerLostError(f"a learner rank died during {method}: {error}") from error
            if isinstance(raised, RayError):  # the step is incomplete and gradients cannot be undone
                raise LearnerLostError(f"an argument of {method} was lost: {raised}") from error
            if isinstance(error, RayTaskError) and not isinstance(raised, VrlError):
                await self._require_all_alive(method, error)
            raise raised from error

    async def _require_all_alive(self, method: str, cause: RayTaskError) -> None:
        """Raise LearnerLostError if a rank died: collectives of other ranks may fail before Ray reports the death."""
        answers = [asyncio.wrap_future(rank.__ray_ready__.remote().future()) for rank in self._ranks]
        done, late = await asyncio.wait(answers, timeout=_DEATH_S)
        for answer in late:
            answer.cancel()
        for error in [answer.exception() for answer in done]:
            if isinstance(error, RayActorError):
                raise LearnerLostError(f"a learner rank died during {method}: {error}; another: {cause}") from error


def free_port() -> tuple[str, int]:
    """Return an address of this node and a port that was free on it a moment ago.

    The port is outside the ephemeral range, from which the system could assign it before we bind it. Raises
    LearnerError if no port is free.
    """
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return get_node_ip_address(), port
    raise LearnerError(f"learner ranks: got no free port among 100 of {_PORTS}, wanted one")


def _sum(shares: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(share[name] for share in shares) for name in shares[0]}
