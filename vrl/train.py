"""`vrl train`: group-relative RL from a configuration to a run folder.

Checks everything that can be known, starts the fleets, passes the parity gate, hands them to the driver, and keeps the
record: validation, samples, checkpoints, summary. The algorithm is in vrl.driver.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np

from vrl.checkpoint import Checkpoint, begin, commit, resolve_model
from vrl.config import RunConfig
from vrl.data.stream import SampleStream
from vrl.driver import Driver, Progress, val_metrics, validate
from vrl.fleets import Fleets, start_fleets
from vrl.metrics import RunLog
from vrl.parity import run_gate
from vrl.parity_check import CaseReader
from vrl.placement import Placement
from vrl.report.samples import write_samples
from vrl.rollout.buffer import Ledger
from vrl.rollout.feed import VAL_BYTES, PromptFeed, Remembered
from vrl.run import Stop, open_data, open_run, write_summary
from vrl.types import RolloutGroup, Sample


async def train(config: RunConfig, stop: Stop) -> None:
    """Run RL to the end, or until `stop` is asked for; either way the run folder is whole.

    Raises ConfigError, DataError or CheckpointError before any actor starts, ParityError before the first step.
    """
    train_samples, val_samples = open_data(config)
    model_path = str(resolve_model(config.model.path))
    checkpoint = open_run(config)
    progress = _progress(checkpoint)
    log = RunLog(config.run_dir, config.log, steps=config.steps, first_step=progress.step, title=config.name)
    log.say(
        f"{config.name}: {len(train_samples)} training and {len(val_samples)} validation samples, model {model_path}"
    )
    try:
        with Placement(config) as placement:
            stop.listen()
            async with start_fleets(config, placement, model_path) as fleets:
                session = _Session(config, fleets, log, progress, train_samples, val_samples, checkpoint)
                await session.run(stop)
    finally:
        log.close()


def _progress(checkpoint: Checkpoint | None) -> Progress:
    if checkpoint is None:
        return Progress()
    stored = dict(checkpoint.driver["progress"])
    return Progress(**{**stored, "earlier": Ledger(**stored["earlier"])})


class _Session:
    """One run over live fleets: what surrounds the driver's loops."""

    def __init__(
        self,
        config: RunConfig,
        fleets: Fleets,
        log: RunLog,
        progress: Progress,
        train_samples: Sequence[Sample],
        val_samples: Sequence[Sample],
        checkpoint: Checkpoint | None,
    ) -> None:
        self.config = config
        self.fleets = fleets
        self.log = log
        self.progress = progress
        self.checkpoint = checkpoint
        self.train_samples = train_samples
        self.val_samples = val_samples
        self.stream = SampleStream(train_samples, seed=config.seed, shuffle=config.data.shuffle)
        if checkpoint is not None:
            self.stream.restore(checkpoint.driver["stream"])
        self.feed = PromptFeed(
            self.stream,
            fleets.prepare,
            prefetch=config.data.prefetch,
            max_bad_fraction=config.data.max_bad_fraction,
            first_ordinal=progress.ordinal,
        )
        self.driver = Driver(
            config,
            feed=self.feed,
            engines=fleets.engines,
            rewards=fleets.rewards,
            learner=fleets.learner,
            log=log,
            push_weights=fleets.push_weights,
            on_step=self._on_step,
            progress=progress,
        )
        self._prepare_val = Remembered(fleets.prepare, VAL_BYTES)
        self._saved_step = progress.step if checkpoint is not None else -1
        self._started = time.monotonic()
        self._vals: dict[str, Any] = dict(checkpoint.driver["vals"]) if checkpoint is not None else {}

    async def run(self, stop: Stop) -> None:
        """Gate, restore, push, validate, train, validate, save."""
        if self.config.gate.enabled and self.config.gate.prompts:
            await self._gate()
        if self.checkpoint is not None:
            await self.fleets.learner.load(self.checkpoint.learner)
            self.log.say(f"resumed at step {self.progress.step} from {self.checkpoint.path}")
        await self.fleets.push_weights(self.progress.policy_version)
        if "val_before" not in self._vals:
            self._vals["val_before"] = await self._validate()
        stop.when_asked = self.driver.stop_soon
        try:
            await self.driver.run()
        finally:
            self.feed.close()
        finished = self.progress.step == self.config.steps
        if finished:
            self._vals["val_after"] = await self._validate()
        if self._saved_step != self.progress.step or finished:
            await self._save(export=finished and self.config.checkpoint.export)
        self._summarise("finished" if finished else "stopped")

    async def _gate(self) -> None:
        """Compare engine and learner on the first samples. Raises ParityError naming the first tensor that differs."""
        config = self.config
        head = SampleStream(self.train_samples, seed=config.seed, shuffle=config.data.shuffle)
        reader = CaseReader(self.fleets.model, config.data, max_tokens=config.rollout.max_tokens)
        try:
            cases = []
            for sample in islice(head, config.gate.prompts):
                prompt, patches = await self.fleets.prepare(sample)
                cases.append(reader.case(sample.sample_id, prompt, await patches))
        finally:
            reader.close()
        report = await run_gate(
            cases,
            self.fleets.engines,
            self.fleets.learner,
            model=self.fleets.model,
            temperature=config.rollout.temperature,
            ranks=config.learner.ranks,
            max_gap=config.gate.max_logprob_gap,
        )
        report.require()
        self.log.say(f"parity of engine and learner: {str(report).splitlines()[-1].strip()}")

    async def _on_step(
        self, step: int, groups: Sequence[RolloutGroup], advantages: Sequence[np.ndarray]
    ) -> dict[str, float]:
        config, metrics = self.config, {"data/bad_samples": float(len(self.feed.bad))}
        every = config.log.samples_every
        if every and config.log.samples_groups and (step % every == 0 or step in (1, config.steps)):
            shown = list(groups)[: config.log.samples_groups]
            patches = [await group.patches for group in shown]
            write_samples(config.run_dir, step, shown, list(advantages)[: len(shown)], patches)
        if config.val.every and step % config.val.every == 0 and step < config.steps:
            metrics |= val_metrics(await self._validate())
        if config.checkpoint.every and step % config.checkpoint.every == 0 and step < config.steps:
            await self._save(export=False)
        return metrics

    async def _validate(self) -> dict[str, float]:
        if not self.val_samples:
            return {}
        feed = PromptFeed(
            iter(self.val_samples), self._prepare_val, prefetch=self.config.data.prefetch, max_bad_fraction=0.0
        )
        wave = self.config.rollout.max_num_seqs
        result = await validate(
            feed, self.fleets.engines, self.fleets.rewards, wave=wave, temperature=self.config.val.temperature
        )
        self.log.say(
            f"held-out reward at step {self.progress.step}: " + "  ".join(f"{k} {v:.3f}" for k, v in result.items())
        )
        return result

    async def _save(self, *, export: bool) -> None:
        tmp = begin(self.config.run_dir / "checkpoints", self.progress.step)
        await self.fleets.learner.save(tmp / "learner")
        if export:
            await self.fleets.learner.export(tmp / "hf")
        commit(tmp, self._state(), keep_last=self.config.checkpoint.keep_last)
        self._saved_step = self.progress.step

    def _state(self) -> dict[str, Any]:
        """What a resumed run needs. Groups under way are not kept: their samples are drawn again."""
        ledger = self.driver.ledger
        settled = Ledger(started=ledger.started - ledger.unfinished, trained=ledger.trained, dropped=ledger.dropped)
        progress = {**asdict(self.progress), "earlier": asdict(settled)}
        return {
            "progress": progress,
            "stream": {**self.stream.state(), "ordinal": self.progress.ordinal},
            "vals": self._vals,
        }

    def _summarise(self, ended: str) -> None:
        ledger = self.driver.ledger
        summary = {
            "kind": "rl",
            "ended": ended,
            **self._vals,
            "steps": self.progress.step,
            "policy_version": self.progress.policy_version,
            "wall_s": round(time.monotonic() - self._started, 3),
            "decodes": self.feed.decodes,
            "groups_started": ledger.started,
            "groups_trained": ledger.trained,
            "groups_dropped": ledger.dropped,
            "groups_unfinished": ledger.unfinished,
            "samples_seen": self.progress.ordinal,
            "samples_dropped": self.feed.bad_by_reason,
            "dropped_samples": [asdict(bad) for bad in self.feed.bad],
        }
        write_summary(self.config.run_dir, summary)
        self.log.say(f"{ended} after {self.progress.step} steps in {summary['wall_s']} s; see {self.config.run_dir}")
