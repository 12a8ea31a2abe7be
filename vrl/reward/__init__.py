"""The reward functions, by name. Every module of this package that defines `REWARDS` or `GROUP_REWARDS` is a family of
them: a new reward is a new file (or a new entry in one). Each is a pure function of a RewardInput or GroupInput; `ASKS`
says what a judge has to find before.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from vrl.reward.record import GroupRewardFunction, RewardFunction

_USERS = ("rubric", "worker")  # read REWARDS themselves


def _find() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every family: module name and namespace."""
    for info in pkgutil.iter_modules(__path__):
        if info.name not in _USERS:
            yield info.name, vars(importlib.import_module(f"{__name__}.{info.name}"))


REWARDS: dict[str, RewardFunction] = {}
GROUP_REWARDS: dict[str, GroupRewardFunction] = {}
ASKS: dict[str, tuple[str, ...]] = {}  # reward name -> fields of its Judgement
COUNTS_TOKENS: set[str] = set()  # names of rewards that read num_thinking_tokens

for _name, _family in _find():
    _own = _family.get("REWARDS", {}).keys() | _family.get("GROUP_REWARDS", {}).keys()
    if _twice := sorted(_own & (REWARDS.keys() | GROUP_REWARDS.keys())):
        raise ImportError(f"vrl.reward.{_name}: reward names {_twice} are taken already, wanted new names")
    REWARDS |= _family.get("REWARDS", {})
    GROUP_REWARDS |= _family.get("GROUP_REWARDS", {})
    ASKS |= _family.get("ASKS", {})
    COUNTS_TOKENS |= set(_family.get("COUNTS_TOKENS", ()))
