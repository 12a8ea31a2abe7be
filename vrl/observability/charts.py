"""A run's rows for two viewers of charts that are not ours: TensorBoard and Weights & Biases.

What they show is in metrics.jsonl too; nothing of a run depends on them. Both take up a resumed run where its
checkpoint left it. Only numbers and the configuration go to W&B; its key comes from the environment (WANDB_API_KEY).
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
    """What of the two is asked for, as one."""

    def __init__(self, run_dir: Path, config: LogConfig, *, first_step: int, hparams: Mapping[str, Any]) -> None:
        """`first_step`: the last step whose row stays; `hparams`: of the run's configuration, for W&B.

        Raises ConfigError where W&B is not to be had.
        """
        self._run = _wandb(run_dir, config, first_step, hparams) if config.wandb else None
        self._board = _tensorboard(run_dir, first_step) if config.tensorboard else None

    def add(self, step: int, row: Mapping[str, float]) -> None:
        """Show the metrics of a finished step."""
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, step)
        if self._run is not None:
            self._run.log(dict(row), step=step)

    def close(self) -> None:
        """Write what is under way."""
        if self._board is not None:
            self._board.close()
        if self._run is not None:
            self._run.finish()


def _tensorboard(run_dir: Path, first_step: int) -> Any:
    if find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    # The run's folder goes on; readers drop the points after `first_step` that an interrupted run left there.
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
    if not (first_step and file.is_file()):  # a run from the start is another one
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
        raise ConfigError(f"log.wandb: got {config.wandb!r}, and W&B says: {error}; wanted offline, or ''") from error
