"""`vrl sft`: the cold start. Several tasks, one learner: the prompt is masked, the assistant prefix and target train.

The same samples, prompts, packing and learner as RL; no rollouts, except at validation, where a live engine measures
how often each task's format comes out right.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from vrl.algo.packing import pack, to_sft_group
from vrl.checkpoint import Checkpoint, begin, commit, resolve_model
from vrl.config import RunConfig
from vrl.data.stream import SampleStream
from vrl.driver import val_metrics, validate
from vrl.fleets import Fleets, start_fleets
from vrl.metrics import RunLog
from vrl.placement import Placement
from vrl.rollout.feed import VAL_BYTES, PreparedPrompt, PromptFeed, Remembered
from vrl.run import Stop, open_data, open_run, write_summary
from vrl.types import PackedBatch, Sample


async def train_sft(config: RunConfig, stop: Stop) -> None:
    """Fine-tune to the end, or until `stop` is asked for; either way the run folder is whole.

    Raises ConfigError, DataError or CheckpointError before any actor starts.
    """
    train_samples, val_samples = open_data(config)
    model_path = str(resolve_model(config.model.path))
    checkpoint = open_run(config)
    engines = config.sft.generate and bool(val_samples)
    first_step = checkpoint.step if checkpoint is not None else 0
    log = RunLog(config.run_dir, config.log, steps=config.steps, first_step=first_step, title=config.name)
    log.say(
        f"{config.name}: {len(train_samples)} training and {len(val_samples)} validation samples, model {model_path}"
    )
    try:
        with Placement(config, engines=engines) as placement:
            stop.listen()
            async with start_fleets(config, placement, model_path, engines=engines) as fleets:
                await _Session(config, fleets, log, train_samples, val_samples, checkpoint).run(stop)
    finally:
        log.close()


class _Session:
    """One cold start over live fleets."""

    def __init__(
        self,
        config: RunConfig,
        fleets: Fleets,
        log: RunLog,
        train_samples: Sequence[Sample],
        val_samples: Sequence[Sample],
        checkpoint: Checkpoint | None,
    ) -> None:
        self.config = config
        self.fleets = fleets
        self.log = log
        self.val_samples = val_samples
        self.checkpoint = checkpoint
        self.step = checkpoint.step if checkpoint is not None else 0
        self.ordinal = checkpoint.driver["stream"]["ordinal"] if checkpoint is not None else 0
        self.stream = SampleStream(train_samples, seed=config.seed, shuffle=config.data.shuffle)
        if checkpoint is not None:
            self.stream.restore(checkpoint.driver["stream"])
        self._prepare_val = Remembered(fleets.prepare, VAL_BYTES // 2)
        self._prepare_val_sft = Remembered(fleets.prepare_sft, VAL_BYTES // 2)
        self.feed = self._feed(self.stream, fleets.prepare_sft, config.data.max_bad_fraction, self.ordinal)
        self._saved_step = -1
        self._vals: dict[str, Any] = dict(checkpoint.driver["vals"]) if checkpoint is not None else {}
        self._stopping = False
        self._started = time.monotonic()

    async def run(self, stop: Stop) -> None:
        """Restore, train, validate, save."""
        if self.checkpoint is not None:
            await self.fleets.learner.load(self.checkpoint.learner)
            self.log.say(f"resumed at step {self.step} from {self.checkpoint.path}")
        stop.when_asked = self._stop_soon
        try:
            while not self._done() and not self._stopping:
                await self._one_step()
        finally:
            self.feed.close()
        finished = self._done()
        if self._saved_step != self.step or finished:
            await self._save(export=finished and self.config.checkpoint.export)
        self._summarise("finished" if finished else "stopped")

    def _done(self) -> bool:
        """All steps done, or as good as the configuration wants it before RL goes on."""
        enough = self.config.sft.stop_at_reward
        good = bool(enough) and self._vals.get("val_after", {}).get("mean", 0.0) >= enough
        return self.step == self.config.steps or good

    def _stop_soon(self) -> None:
        self._stopping = True

    async def _one_step(self) -> None:
        started = time.monotonic()
        prepared = [job for _ in range(self.config.sft.batch_size) if (job := await self.feed.next()) is not None]
        batch, patches = self._pack(prepared), [job.patches for job in prepared]
        data_s = time.monotonic() - started
        metrics = await self.fleets.learner.forward_backward_sft(batch, patches)
        update = await self.fleets.learner.optim_step()
        learn_s = time.monotonic() - started - data_s
        self.step += 1
        self.ordinal = prepared[-1].ordinal + 1
        metrics |= {
            "learner/lr": update.lr,
            "learner/grad_norm": update.grad_norm,
            "learn/seconds": learn_s,
            "learner/tokens_per_s": batch.num_tokens / learn_s,
            "data/decode_seconds": sum(job.prompt.decode_s for job in prepared) / len(prepared),
            "data/bad_samples": float(len(self.feed.bad)),
        }
        if self._due(self.config.val.every):
            metrics |= await self._validate()
        if not self._done() and self._due(self.config.checkpoint.every):
            await self._save(export=False)
        metrics["step/seconds"] = time.monotonic() - started
        self.log.log(self.step, {"policy_version": update.policy_version, **metrics})

    def _due(self, every: int) -> bool:
        return self.step == self.config.steps or (every > 0 and self.step % every == 0)

    def _pack(self, prepared: Sequence[PreparedPrompt]) -> PackedBatch:
        groups = [
            to_sft_group(job.prompt.token_ids, job.prompt.vision, job.prompt.target_token_ids) for job in prepared
        ]
        learner = self.config.learner
        return pack(groups, ranks=learner.ranks, micro_batch_tokens=learner.micro_batch_tokens)

    async def _validate(self) -> dict[str, float]:
        """Cross-entropy on held-out targets and, with a live engine, reward and format rate of each task."""
        if not self.val_samples:
            return {}
        metrics = {"val/loss": await self._val_loss()}
        if len(self.fleets.engines):
            await self.fleets.push_weights(self.step)
            feed = PromptFeed(
                iter(self.val_samples), self._prepare_val, prefetch=self.config.data.prefetch, max_bad_fraction=0.0
            )
            wave = self.config.rollout.max_num_seqs
            self._vals["val_after"] = await validate(
                feed, self.fleets.engines, self.fleets.rewards, wave=wave, temperature=self.config.val.temperature
            )
            metrics |= val_metrics(self._vals["val_after"])
        self.log.say(f"held-out at step {self.step}: " + "  ".join(f"{k} {v:.3f}" for k, v in metrics.items()))
        return metrics

    async def _val_loss(self) -> float:
        feed = self._feed(iter(self.val_samples), self._prepare_val_sft, 0.0, 0)
        loss_sum, num_tokens = 0.0, 0
        while prepared := [j for _ in range(self.config.sft.batch_size) if (j := await feed.next()) is not None]:
            batch = self._pack(prepared)
            loss = await self.fleets.learner.sft_loss(batch, [job.patches for job in prepared])
            loss_sum += loss * batch.counts.num_loss_tokens
            num_tokens += batch.counts.num_loss_tokens
        return loss_sum / num_tokens

    def _feed(self, samples: Any, prepare: Any, max_bad_fraction: float, first_ordinal: int) -> PromptFeed:
        return PromptFeed(
            samples,
            prepare,
            prefetch=max(self.config.data.prefetch, self.config.sft.batch_size),
            max_bad_fraction=max_bad_fraction,
            first_ordinal=first_ordinal,
        )

    async def _save(self, *, export: bool) -> None:
        tmp = begin(self.config.run_dir / "checkpoints", self.step)
        await self.fleets.learner.save(tmp / "learner")
        if export:
            await self.fleets.learner.export(tmp / "hf")
        state = {"stream": {**self.stream.state(), "ordinal": self.ordinal}, "vals": self._vals}
        commit(tmp, state, keep_last=self.config.checkpoint.keep_last)
        self._saved_step = self.step

    def _summarise(self, ended: str) -> None:
        summary = {
            "kind": "sft",
            "ended": ended,
            **self._vals,
            "steps": self.step,
            "wall_s": round(time.monotonic() - self._started, 3),
            "decodes": self.feed.decodes,
            "samples_seen": self.ordinal,
            "samples_dropped": self.feed.bad_by_reason,
            "dropped_samples": [asdict(bad) for bad in self.feed.bad],
        }
        write_summary(self.config.run_dir, summary)
        self.log.say(f"{ended} after {self.step} steps in {summary['wall_s']} s; see {self.config.run_dir}")
