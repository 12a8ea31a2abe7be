"""One run over live fleets: what a cold start and RL have in common around their steps.

Opens data, folder, log and fleets, restores, validates on held-out samples, writes checkpoints and the summary. Does
not know what a step is: vrl.training.rl and vrl.training.sft do.
"""

import logging
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vrl import __version__
from vrl.actors.placement import Placement, roles
from vrl.algo.packing import PatchCost
from vrl.checkpoint import Checkpoint, begin, commit, require_model, resolve_model
from vrl.config import RunConfig
from vrl.data.media_tracker import MediaTracker
from vrl.data.preparer import SamplePreparer
from vrl.data.stream import SampleStream
from vrl.data.wording import read_wording
from vrl.errors import CheckpointError, LostCallError, StorageError, VrlError
from vrl.lifecycle import Stop
from vrl.observability.run_log import RunLog
from vrl.observability.series import set_gauge
from vrl.observability.spans import span
from vrl.observability.telemetry import telemetry_config
from vrl.ownership import require_publishable
from vrl.reward.judge import require_judge
from vrl.rollout.buffer import GroupCounts
from vrl.rollout.prefetch import BadSample, PromptPrefetcher
from vrl.training.added_tokens import with_tokens
from vrl.training.fleets import Fleets, start_fleets
from vrl.training.progress import RunProgress
from vrl.training.run_folder import RunData, open_data, open_run, write_bad_rows, write_summary
from vrl.training.validation import validate
from vrl.types import MediaWork

logger = logging.getLogger(__name__)
VAL_CACHE_BYTES = 2**29  # held-out patches kept between validations, per preparer


@asynccontextmanager
async def open_session(config: RunConfig, stop: Stop, *, kind: str) -> AsyncIterator["Session"]:
    """Check the inputs, start the fleets of an `rl` or `sft` run, and shut them down on exit.

    Raises ConfigError, DataError or CheckpointError before any actor starts.
    """
    read_wording(config.prompt)
    data = open_data(config)
    config = with_steps(config, kind, len(data.train))
    model = resolve_model(config.model.path)
    if config.checkpoint.export:
        require_publishable(model)
    if config.reward.judge.kind == "vllm":
        require_model(config.reward.judge.model, "reward.judge.model")
    checkpoint = open_run(config)
    stored_state(checkpoint)
    tokens = config.sft.add_tokens if kind == "sft" else []
    model_path = str(with_tokens(model, tokens, config.run_dir / "model") if tokens else model)
    await require_judge(config.reward.judge)
    engines = kind == "rl" or (config.sft.generate and bool(data.val))
    first_step = checkpoint.step if checkpoint is not None else 0
    hparams = asdict(config)
    log = RunLog(
        config.run_dir, config.log, steps=config.steps, first_step=first_step, title=config.name, hparams=hparams
    )
    _set_gauges(config)
    write_bad_rows(config.run_dir, data)
    log.say(f"{config.name}: {len(data.train)} training and {len(data.val)} validation samples, model {model_path}")
    if config.epochs:
        log.say(f"{config.epochs:g} epochs are {config.steps} steps")
    for key, loaded in data.files.items():
        if loaded.reading.bad or loaded.left_out:
            log.say(f"{key}: {loaded.summary()}")
    try:
        with Placement(
            config.ray_address,
            lambda gpus: roles(config, gpus=gpus, engines=engines),
            lambda role, index: telemetry_config(config.run_dir, config.log, role, index),
        ) as placement:
            stop.listen()
            updates = config.steps * (config.algo.updates_per_step if kind == "rl" else 1)
            async with start_fleets(config, placement, model_path, total_updates=updates, engines=engines) as fleets:
                cost = await fleets.learner.patch_cost()
                session = Session(config, kind, fleets, log, data, checkpoint, cost)
                try:
                    yield session
                finally:
                    session.prefetcher.close()
    finally:
        log.close()


def with_steps(config: RunConfig, kind: str, num_samples: int) -> RunConfig:
    """Return the configuration with the steps that `epochs` passes over the samples take, rounded down, at least 1."""
    if not config.epochs:
        return config
    per_step = config.algo.groups_per_step if kind == "rl" else config.sft.batch_size
    return replace(config, steps=max(1, int(config.epochs * num_samples / per_step)))


def _set_gauges(config: RunConfig) -> None:
    """Set the gauges that alerts compare a run with."""
    set_gauge("vrl_run_steps", config.steps)
    set_gauge("vrl_run_max_policy_age", config.algo.max_policy_age)
    set_gauge("vrl_run_checkpoint_every_steps", config.checkpoint.every)
    set_gauge("vrl_checkpoint_last_success_timestamp_seconds", time.time())


class Session:
    """A run's place in its data, its record on disk, and the fleets that do the work."""

    def __init__(
        self,
        config: RunConfig,
        kind: str,
        fleets: Fleets,
        log: RunLog,
        data: RunData,
        checkpoint: Checkpoint | None,
        cost: PatchCost,
    ) -> None:
        self.config = config
        self.fleets = fleets
        self.log = log
        self.data = data
        self.patch_cost = cost
        self._kind = kind
        self._checkpoint = checkpoint
        stored = stored_state(checkpoint)
        self.progress = RunProgress(**{**stored["progress"], "earlier": GroupCounts(**stored["progress"]["earlier"])})
        self.vals: dict[str, Any] = dict(stored["vals"])  # results of validations, for the summary
        self._stream = SampleStream(data.train, seed=config.seed, shuffle=config.data.shuffle)
        if checkpoint is not None:
            self._stream.restore(stored["stream"])
        bad_media = Path(config.data.bad_media or config.run_dir / "bad_media.jsonl")
        self.media = MediaTracker(bad_media, work=MediaWork(**stored["media_work"]))
        sft = kind == "sft"
        self.preparer = SamplePreparer(fleets.prepare_sft if sft else fleets.prepare, self.media)
        self.prefetcher = PromptPrefetcher(
            self._stream,
            self.preparer,
            prefetch=max(config.data.prefetch, config.sft.batch_size if sft else 0),
            max_bad_fraction=config.data.max_bad_fraction,
            first_ordinal=self.progress.ordinal,
            bad=[BadSample(**bad) for bad in stored["bad"]],
        )
        self._val_preparer = self._new_val_preparer()
        self._saved_step = checkpoint.step if checkpoint is not None else None
        self._started = time.monotonic()
        self._earlier_wall_s: float = stored["wall_s"]

    @property
    def wall_s(self) -> float:
        """Seconds with live fleets since the first start of the run, resumed or not."""
        return round(self._earlier_wall_s + time.monotonic() - self._started, 3)

    async def restore(self) -> None:
        """Load the learner's state from the checkpoint that the run resumes from, if any."""
        if self._checkpoint is not None:
            await self.fleets.learner.load(self._checkpoint.learner)
            self.log.say(f"resumed at step {self._checkpoint.step} from {self._checkpoint.path}")

    async def validate(self) -> dict[str, float]:
        """Return mean rewards of the held-out samples, as `validate` does; {} without samples or engines."""
        if not (self.data.val and len(self.fleets.engines)):
            return {}
        try:
            return await self._validate()
        except LostCallError as error:
            logger.warning("validation restarts with samples prepared again: %s", error)
            self._val_preparer = self._new_val_preparer()  # cached patches may have been lost with their node
            return await self._validate()

    async def _validate(self) -> dict[str, float]:
        prefetch, wave = self.config.data.prefetch, self.config.rollout.max_num_seqs
        prefetcher = PromptPrefetcher(iter(self.data.val), self._val_preparer, prefetch=prefetch, max_bad_fraction=0.0)
        engines, rewards, temperature = self.fleets.engines, self.fleets.rewards, self.config.val.temperature
        with span("validate"):
            return await validate(prefetcher, engines, rewards, wave=wave, temperature=temperature)

    def _new_val_preparer(self) -> SamplePreparer:
        return SamplePreparer(self.fleets.prepare, self.media, cache_bytes=VAL_CACHE_BYTES)

    async def save_if_due(self, progress: RunProgress) -> None:
        """Save a checkpoint every `checkpoint.every` steps, except at the last step, which `end` saves."""
        every = self.config.checkpoint.every
        if every and progress.step % every == 0 and progress.step < self.config.steps:
            with span("checkpoint"):
                await self._save(progress, export=False)

    async def end(self, progress: RunProgress, *, finished: bool, summary: Mapping[str, Any]) -> None:
        """Save the last checkpoint and write the summary of a run that finished or was stopped."""
        if finished or self._saved_step != progress.step:
            with span("checkpoint"):
                await self._save(progress, export=finished and self.config.checkpoint.export)
        ended = "finished" if finished else "stopped"
        common = {
            "kind": self._kind,
            "ended": ended,
            **self.vals,
            "steps": progress.step,
            "policy_version": progress.policy_version,
            "wall_s": self.wall_s,
            "decodes": self.media.work.decodes,
            "cache_hits": self.media.work.cache_hits,
            "corrupt_cache_entries": self.media.work.corrupt_entries,
            "bad_media": len(self.media.bad),
            "samples_seen": progress.ordinal,
            "data": self.data.account(),
            "samples_dropped": self.prefetcher.bad_by_reason,
            "dropped_samples": [asdict(bad) for bad in self.prefetcher.bad],
        }
        write_summary(self.config.run_dir, common | dict(summary))
        self.log.say(f"{ended} after {progress.step} steps in {self.wall_s} s; see {self.config.run_dir}")

    async def _save(self, progress: RunProgress, *, export: bool) -> None:
        """Save a checkpoint. If that fails, remove the partial one and raise StorageError; older ones stay valid."""
        tmp = begin(self.config.run_dir / "checkpoints", progress.step)
        try:
            await self._write(tmp, progress, export=export)
        except (OSError, RuntimeError) as error:  # RuntimeError: from PyTorch, on a full disk
            free_mib = shutil.disk_usage(tmp.parent).free / 2**20
            shutil.rmtree(tmp, ignore_errors=True)
            raise StorageError(
                f"checkpoint of step {progress.step}: {error} ({free_mib:.0f} MiB free); the older ones in "
                f"{tmp.parent} are valid: make room and resume"
            ) from error

    async def _write(self, tmp: Path, progress: RunProgress, *, export: bool) -> None:
        await self.fleets.learner.save(tmp / "learner")
        if export:
            await self._export(tmp / "hf", progress.step)
        state = {
            "progress": asdict(progress),
            "stream": {**self._stream.state(), "ordinal": progress.ordinal},  # prefetched samples are drawn again
            "bad": [asdict(bad) for bad in self.prefetcher.bad if bad.ordinal < progress.ordinal],
            "vals": self.vals,
            "wall_s": self.wall_s,
            "media_work": asdict(self.media.work),
        }
        commit(tmp, state, keep_last=self.config.checkpoint.keep_last)
        set_gauge("vrl_checkpoint_last_success_timestamp_seconds", time.time())
        self._saved_step = progress.step

    async def _export(self, folder: Path, step: int) -> None:
        """Export the policy. A failure other than of the disk or a rank loses the folder, not the checkpoint."""
        try:
            await self.fleets.learner.export(folder)
        except (OSError, RuntimeError, VrlError):
            raise
        except Exception as error:
            logger.exception("export of step %d", step)
            shutil.rmtree(folder, ignore_errors=True)
            self.log.say(
                f"checkpoint of step {step} has no hf/ folder: {type(error).__name__}: {error}; `vrl export` writes it"
            )


def stored_state(checkpoint: Checkpoint | None) -> Mapping[str, Any]:
    """Return the state to start from, stored or initial. Raises CheckpointError for a checkpoint of another version."""
    if checkpoint is None:
        return _INITIAL
    found, wanted = _keys(checkpoint.driver), _keys({**_INITIAL, "stream": {}})
    if found != wanted:
        raise CheckpointError(
            f"checkpoint {checkpoint.path}: got a state of another version of vrl (missing: {sorted(wanted - found)}, "
            f"unknown: {sorted(found - wanted)}), wanted this one's ({__version__}); start a new run from its weights "
            "(model.path=RUN)"
        )
    return checkpoint.driver


def _keys(state: Mapping[str, Any]) -> set[str]:
    progress = state.get("progress", {})
    earlier = progress.get("earlier", {})
    return {*state, *(f"progress.{key}" for key in progress), *(f"progress.earlier.{key}" for key in earlier)}


_INITIAL: dict[str, Any] = {"progress": asdict(RunProgress()), "bad": [], "vals": {}, "wall_s": 0.0, "media_work": {}}
