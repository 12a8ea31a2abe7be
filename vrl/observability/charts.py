"""Writes a run's rows for two external chart viewers: TensorBoard and Weights & Biases.

Both show only what metrics.jsonl has too, and no run depends on them. Both continue a resumed run from its checkpoint.
W&B gets only numbers and the configuration; its key comes from the environment (WANDB_API_KEY).
"""

import os
import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vrl.config import LogConfig
from vrl.errors import ConfigError


class Charts:
    """The configured chart writers: none, one or both."""

    def __init__(self, run_dir: Path, config: LogConfig, *, first_step: int, hparams: Mapping[str, Any]) -> None:
        """Open the writers. Points after `first_step` are dropped; `hparams` is the run's configuration for W&B.

        Raise ConfigError if W&B is configured but not available.
        """
        self._run = _wandb(run_dir, config, first_step, hparams) if config.wandb else None
        self._board = _tensorboard(run_dir, first_step) if config.tensorboard else None

    def add(self, step: int, row: Mapping[str, float]) -> None:
        """Add the metrics of a finished step."""
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step)
        if self._run is not None:
            self._run.log(dict(row), step=step)

    def close(self) -> None:
        """Flush and close the writers."""
        if self._board is not None:
            self._board.close()
        if self._run is not None:
            self._run.finish()


def _tensorboard(run_dir: Path, first_step: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    # A resumed run uses the same folder; readers drop the points after `first_step` left by the interrupted run.
    return SummaryWriter(str(run_dir / "tensorboard"), purge_step=first_step + 1 if first_step else None)


def _wandb(run_dir: Path, config: LogConfig, first_step: int, hparams: Mapping[str, Any]) -> Any:
    if find_spec("wandb") is None:
        raise ConfigError(f"log.wandb: got {config.wandb!r}, wanted wandb installed: pip install wandb; or ''")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    settings = wandb.Settings(
        console="off", silent=True, disable_git=True, x_disable_machine_info=True, x_save_requirements=False
    )
    file = run_dir / "wandb_id"
    if not (first_step and file.is_file()):  # a run that starts over is a new W&B run
        file.write_text(secrets.token_hex(4))
    try:
        return wandb.init(
            project=config.wandb_project,
            name=run_dir.name,
            id=file.read_text(),
            resume="allow",
            config=dict(hparams),
            allow_val_change=True,  # a resumed run may have other settings
            dir=str(run_dir),
            mode="online" if config.wandb == "online" else "offline",
            settings=settings,
        )
    except wandb.Error as error:
        raise ConfigError(f"log.wandb: got {config.wandb!r}, and W&B failed: {error}; wanted offline, or ''") from error
