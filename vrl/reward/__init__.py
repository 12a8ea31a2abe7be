"""The reward functions, by name. Every module of this package that defines `REWARDS` or `GROUP_REWARDS` is a family of
them, so a new reward is a new file (or a new entry in one). Each is a pure function of a RewardInput or GroupInput;
`ASKS` lists the judgement fields that it reads. A family may also be outside the package, see `add_modules`.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

from vrl.errors import ConfigError
from vrl.reward.inputs import GroupRewardFunction, RewardFunction

_USERS = ("rubric", "worker")  # import REWARDS from here

REWARDS: dict[str, RewardFunction] = {}
GROUP_REWARDS: dict[str, GroupRewardFunction] = {}
ASKS: dict[str, tuple[str, ...]] = {}  # reward name -> fields of its Judgement
COUNTS_TOKENS: set[str] = set()  # names of rewards that read num_thinking_tokens
_registered: set[str] = set()  # modules


def add_modules(names: Iterable[str]) -> None:
    """Register the rewards of modules by import path, like files of this package. Idempotent.

    Raises ConfigError for a module that cannot be imported, has no rewards, or reuses the name of another reward.
    """
    for name in names:
        try:
            family = vars(importlib.import_module(name))
        except Exception as error:  # the user's code may raise anything
            raise ConfigError(
                f"reward.modules: got {name!r}, which cannot be imported ({type(error).__name__}: {error}), wanted a "
                "module that is installed, on PYTHONPATH or in the job's --working-dir, on every node"
            ) from error
        if not _names(family):
            raise ConfigError(f"reward.modules: got {name!r} without REWARDS and GROUP_REWARDS, wanted one of them")
        _add(name, family)


def _add(module: str, family: Mapping[str, Any]) -> None:
    if module in _registered:
        return
    if twice := sorted(_names(family) & (REWARDS.keys() | GROUP_REWARDS.keys())):
        raise ConfigError(f"{module}: got the reward names {twice}, which are taken, wanted new ones")
    _registered.add(module)
    REWARDS.update(family.get("REWARDS", {}))
    GROUP_REWARDS.update(family.get("GROUP_REWARDS", {}))
    ASKS.update(family.get("ASKS", {}))
    COUNTS_TOKENS.update(family.get("COUNTS_TOKENS", ()))


def _names(family: Mapping[str, Any]) -> set[str]:
    return {*family.get("REWARDS", {}), *family.get("GROUP_REWARDS", {})}


for _info in pkgutil.iter_modules(__path__):
    if _info.name not in _USERS:
        _add(f"{__name__}.{_info.name}", vars(importlib.import_module(f"{__name__}.{_info.name}")))
