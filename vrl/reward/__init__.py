"""The reward functions, by name. Every module of this package that defines `REWARDS` is a family of them: a new reward
is a new file (or a new entry in one). Each is a pure function of a RewardInput.
"""

import importlib
import pkgutil

from vrl.reward.record import RewardFunction

_USERS = ("rubric", "worker")  # read REWARDS themselves


def _find() -> dict[str, RewardFunction]:
    found: dict[str, RewardFunction] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name in _USERS:
            continue
        family = getattr(importlib.import_module(f"{__name__}.{info.name}"), "REWARDS", {})
        twice = sorted(found.keys() & family.keys())
        if twice:
            raise ImportError(f"vrl.reward.{info.name}: reward names {twice} are taken already, wanted new names")
        found.update(family)
    return found


REWARDS: dict[str, RewardFunction] = _find()
