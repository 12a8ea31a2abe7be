"""`vrl train`: group-relative RL from a configuration to a run folder.

Opens a session, runs the parity gate, passes the fleets to the driver, writes samples and validates.
The algorithm is in vrl.training.driver; checkpoints and the summary are in vrl.training.session.
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from vrl.config import RunConfig
from vrl.data.stream import SampleStream
from vrl.lifecycle import Stop
from vrl.observability.spans import span
from vrl.parity.gate import GateCase, run_gate
from vrl.report.samples import write_samples
from vrl.training.driver import Driver
from vrl.training.resume import resuming
from vrl.training.session import Session, open_session
from vrl.training.validation import val_metrics
from vrl.types import RolloutGroup


async def train(config: RunConfig, stop: Stop) -> None:
    """Run RL to the end, or until `stop` is requested; either way the run folder is complete.

    Raises ConfigError, DataError or CheckpointError before any actor starts, ParityError before the first step. A run
    survives the death of a learner rank, see vrl.training.resume.
    """

    async def attempt(config: RunConfig, resumes: int) -> None:
        async with open_session(config, stop, kind="rl") as session:
            await _Run(session, resumes).run(stop)

    await resuming(config, stop, attempt)


class _Run:
    """One RL run, around the driver's loops."""

    def __init__(self, session: Session, resumes: int) -> None:
        self.session = session
        self._resumes = resumes
        self.config = session.config
        self.driver = Driver(
            session.config,
            prefetcher=session.prefetcher,
            engines=session.fleets.engines,
            rewards=session.fleets.rewards,
            learner=session.fleets.learner,
            log=session.log,
            sync_weights=session.fleets.weights.sync,
            colocated_training=session.fleets.weights.colocated_training,
            on_step=self._on_step,
            after_step=self._after_step,
            progress=session.progress,
            patch_cost=session.patch_cost,
        )

    async def run(self, stop: Stop) -> None:
        """Run the gate, restore, sync, validate, train, validate, save."""
        session, progress = self.session, self.driver.progress
        if self.config.gate.enabled and self.config.gate.prompts:
            with span("gate"):
                await self._gate()
        async with session.fleets.weights.colocated_training():
            await session.restore()
            await session.fleets.weights.sync(progress.policy_version)
        if "val_before" not in session.vals:
            session.vals["val_before"] = await self._validate()
        stop.on_request = self.driver.stop_soon
        await self.driver.run()
        finished = progress.step == self.config.steps
        if finished:
            session.vals["val_after"] = await self._validate()
        counts = self.driver.counts
        groups = {
            "groups_started": counts.started,
            "groups_trained": counts.trained,
            "groups_dropped": counts.dropped,
            "groups_unfinished": counts.unfinished,
            "faults": self._faults(),
        }
        await session.end(self.driver.checkpoint_progress, finished=finished, summary=groups)

    async def _gate(self) -> None:
        """Compare engine and learner on the first samples. Raises ParityError naming the first tensor that differs."""
        config, fleets = self.config, self.session.fleets
        head = SampleStream(self.session.data.train, seed=config.seed, shuffle=config.data.shuffle)
        cases = []
        for sample in islice(head, config.gate.prompts):
            prompt, patches = await self.session.preparer(sample)
            raw = await fleets.raw(prompt)
            cases.append(GateCase(name=sample.sample_id, prompt=prompt, patches=await patches, raw=raw))
        report = await run_gate(
            cases,
            fleets.engines,
            fleets,
            model=fleets.model,
            temperature=config.rollout.temperature,
            ranks=config.learner.ranks,
            max_gap=config.gate.max_logprob_gap,
        )
        report.require()
        self.session.log.say(f"parity of engine and learner: {str(report).splitlines()[-1].strip()}")

    async def _on_step(
        self, step: int, groups: Sequence[RolloutGroup], advantages: Sequence[np.ndarray]
    ) -> dict[str, float]:
        config = self.config
        metrics = {"data/bad_samples": float(len(self.session.prefetcher.bad)), **self._faults()}
        every = config.log.samples_every
        if every and config.log.samples_groups and (step % every == 0 or step in (1, config.steps)):
            written = groups[: config.log.samples_groups]
            patches = [await group.patches for group in written]
            write_samples(config.run_dir, step, written, advantages[: len(written)], patches)
        if config.val.due(step) and step < config.steps:
            metrics |= val_metrics(await self._validate())
        return metrics

    def _faults(self) -> dict[str, float]:
        return self.session.fleets.faults() | {"fault/resumes": float(self._resumes)}

    async def _after_step(self) -> None:
        await self.session.save_if_due(self.driver.checkpoint_progress)

    async def _validate(self) -> dict[str, float]:
        result = await self.session.validate()
        if result:
            self.session.log.say(
                f"held-out reward at step {self.driver.progress.step}: "
                + "  ".join(f"{name} {value:.3f}" for name, value in result.items())
            )
        return result
