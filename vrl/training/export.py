"""`vrl export`: the policy of a run's newest checkpoint as an ordinary Hugging Face folder. Trains nothing.

Copies the folder of a finished run. For any other checkpoint, starts the learner's ranks with the run's settings, which
load their state and write it with merged adapters. The folder appears atomically and never replaces an existing one.
"""

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

from vrl.actors.placement import Placement, Role, roles
from vrl.checkpoint import Checkpoint, newest, require_trusted, resolve_model
from vrl.config import RunConfig
from vrl.errors import CheckpointError
from vrl.learner.group import LearnerGroup
from vrl.ownership import copy_model, require_own_file
from vrl.training.added_tokens import own_model


def export(config: RunConfig, run_dir: Path, out: Path) -> Checkpoint:
    """Write `out`: weights (safetensors), config, tokenizer and processor. Return the exported checkpoint.

    `config` is the run's own. On a cluster all nodes must reach `out`. Raises CheckpointError if `out` exists or
    `run_dir` has no checkpoint that verifies, or the newest could have been written by another user.
    """
    if out.exists():
        raise CheckpointError(f"export: got {out}, which exists, wanted the name of a new folder")
    checkpoint = newest(run_dir / "checkpoints")
    if checkpoint is None:
        raise CheckpointError(f"export: {run_dir} holds no checkpoint that verifies, wanted one (checkpoint.every)")
    require_trusted(checkpoint)
    if (run_dir / "config.yaml").exists():
        require_own_file(run_dir / "config.yaml")  # it may name a model whose code runs
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    if (checkpoint.hf / "config.json").is_file():
        unfinished.mkdir()
        copy_model(checkpoint.hf, unfinished, weights=True)
    else:
        model = own_model(run_dir, resolve_model(config.model.path))
        asyncio.run(_write(config, checkpoint, model, unfinished))
    os.rename(unfinished, out)
    return checkpoint


async def _write(config: RunConfig, checkpoint: Checkpoint, model: Path, folder: Path) -> None:
    """Start only the learner, without a reference policy, and let it write the folder."""

    def learner_alone(gpus: bool) -> tuple[Role, ...]:
        return tuple(role for role in roles(config, gpus=gpus, engines=False) if role.name == "learner")

    with Placement(config.ray_address, learner_alone) as placement:
        learner = await LearnerGroup.start(
            [placement.options("learner", rank) for rank in range(config.learner.ranks)],
            model_config=replace(config.model, path=str(model.resolve())),
            learner_config=config.learner,
            algo_config=replace(config.algo, kl_coef=0.0),
            temperature=config.rollout.temperature,
            total_steps=config.steps,
            seed=config.seed,
        )
        try:
            await learner.load(checkpoint.learner.resolve())
            await learner.export(folder.resolve())
        finally:
            learner.close()
