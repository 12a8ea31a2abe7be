"""`vrl sft`: the cold start. Several tasks, one learner: the prompt is masked, the assistant prefix and target train.

Uses the samples, prompts, packing and learner of RL. Generates only for validation, in which a live engine measures
how often each task's format is right. Checkpoints and the summary are in vrl.training.session.
"""

import time
from collections.abc import Sequence

from vrl.algo.packing import pack, to_sft_group
from vrl.config import RunConfig
from vrl.data.media_tracker import cache_hit_frac
from vrl.data.preparer import SamplePreparer
from vrl.errors import ConfigError
from vrl.lifecycle import Stop
from vrl.observability.run_log import update_metrics
from vrl.rollout.prefetch import PreparedPrompt, PromptPrefetcher
from vrl.training.added_tokens import freezes_embedding
from vrl.training.resume import resuming
from vrl.training.session import VAL_CACHE_BYTES, Session, open_session
from vrl.training.validation import val_metrics
from vrl.types import PackedBatch


async def train_sft(config: RunConfig, stop: Stop) -> None:
    """Fine-tune to the end, or until `stop` is requested; either way the run folder is complete.

    Raises ConfigError, DataError or CheckpointError before any actor starts.
    """
    if config.push.backend == "ipc" and config.sft.generate and config.data.val:
        raise ConfigError(
            "push.backend: got ipc in a cold start that generates, wanted auto, or sft.generate=false: only in RL do "
            "engines and learner take turns on one GPU"
        )
    if config.sft.add_tokens and (config.learner.lora.rank or freezes_embedding(config.model.freeze)):
        raise ConfigError(
            f"sft.add_tokens: got {config.sft.add_tokens} with learner.lora.rank={config.learner.lora.rank} and "
            f"model.freeze={config.model.freeze}, wanted no adapters and no frozen embedding: they would never train"
        )

    async def attempt(config: RunConfig, _resumes: int) -> None:
        async with open_session(config, stop, kind="sft") as session:
            await _Run(session).run(stop)

    await resuming(config, stop, attempt)


class _Run:
    """One cold start."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.config = session.config
        self.learner = session.fleets.learner
        self.progress = session.progress
        self._val_preparer = SamplePreparer(session.fleets.prepare_sft, session.media, cache_bytes=VAL_CACHE_BYTES)
        self._stopping = False

    async def run(self, stop: Stop) -> None:
        """Restore, train, validate, save."""
        await self.session.restore()
        stop.on_request = self._stop_soon
        while not self._done() and not self._stopping:
            await self._one_step()
        await self.session.end(self.progress, finished=self._done(), summary={})

    def _done(self) -> bool:
        """Return whether all steps are done or the held-out reward has reached sft.stop_at_reward."""
        enough = self.config.sft.stop_at_reward
        reached = bool(enough) and self.session.vals.get("val_after", {}).get("mean", 0.0) >= enough
        return reached or self.progress.step == self.config.steps

    def _stop_soon(self) -> None:
        self._stopping = True

    async def _one_step(self) -> None:
        started = time.monotonic()
        prepared = await self._next(self.session.prefetcher)
        batch, patches = self._pack(prepared), [job.patches for job in prepared]
        data_s = time.monotonic() - started
        losses = await self.learner.forward_backward_sft(batch, patches)
        update = await self.learner.optim_step()
        learn_s = time.monotonic() - started - data_s
        self.progress.step += 1
        self.progress.policy_version += update.applied
        self.progress.ordinal = prepared[-1].ordinal + 1
        metrics = update_metrics(losses, update) | {
            "pack/pad_frac": batch.pad_frac,
            "learn/seconds": learn_s,
            "learner/tokens_per_s": batch.num_tokens / learn_s,
            "data/decode_seconds": sum(job.prompt.decode_s for job in prepared) / len(prepared),
            "data/cache_hit_frac": cache_hit_frac(job.prompt for job in prepared),
            "data/bad_samples": float(len(self.session.prefetcher.bad)),
        }
        if self.progress.step == self.config.steps or self.config.val.due(self.progress.step):
            metrics |= await self._validate()
        metrics["step/seconds"] = time.monotonic() - started
        self.session.log.log(self.progress.step, {"policy_version": self.progress.policy_version, **metrics})
        if not self._done():
            await self.session.save_if_due(self.progress)

    async def _next(self, prefetcher: PromptPrefetcher) -> list[PreparedPrompt]:
        """Return the prompts of one step, fewer at the end of the held-out samples."""
        return [job for _ in range(self.config.sft.batch_size) if (job := await prefetcher.next()) is not None]

    def _pack(self, prepared: Sequence[PreparedPrompt]) -> PackedBatch:
        groups = [
            to_sft_group(job.prompt.token_ids, job.prompt.vision, job.prompt.target_token_ids) for job in prepared
        ]
        learner = self.config.learner
        return pack(
            groups,
            ranks=learner.ranks,
            micro_batch_tokens=learner.micro_batch_tokens,
            patch_cost=self.session.patch_cost,
        )

    async def _validate(self) -> dict[str, float]:
        """Return cross-entropy on held-out targets and, with a live engine, reward and format rate of each task."""
        if not self.session.data.val:
            return {}
        metrics = {"val/loss": await self._val_loss()}
        if len(self.session.fleets.engines):
            await self.session.fleets.weights.sync(self.progress.policy_version)
            self.session.vals["val_after"] = await self.session.validate()
            metrics |= val_metrics(self.session.vals["val_after"])
        text = "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        self.session.log.say(f"held-out at step {self.progress.step}: {text}")
        return metrics

    async def _val_loss(self) -> float:
        prefetch = max(self.config.data.prefetch, self.config.sft.batch_size)
        prefetcher = PromptPrefetcher(
            iter(self.session.data.val), self._val_preparer, prefetch=prefetch, max_bad_fraction=0.0
        )
        loss_sum, num_tokens = 0.0, 0
        while prepared := await self._next(prefetcher):
            batch = self._pack(prepared)
            loss = await self.learner.sft_loss(batch, [job.patches for job in prepared])
            loss_sum += loss * batch.counts.num_loss_tokens
            num_tokens += batch.counts.num_loss_tokens
        return loss_sum / num_tokens
