"""Slots for rollout groups: reserved before a clip is decoded, freed after the weights that the group made have landed.

There are (max_policy_age + 1) x groups_per_step slots and groups are taken in order of reservation. A group reserved at
policy version u has fewer than (max_policy_age + 1) x groups_per_step groups before it, so it is trained at version
u + max_policy_age at the latest: the bound on policy age needs no dropping and no clock. max_policy_age = 0 is the
synchronous algorithm. Every reserved group ends trained, dropped with a reason, or unfinished: `ledger` reconciles.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from vrl.types import RolloutGroup


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Where every group went: started = trained + sum(dropped) + unfinished."""

    started: int
    trained: int
    dropped: dict[str, int] = field(default_factory=dict)
    unfinished: int = 0


class RolloutBuffer:
    """Example, one group a step, synchronous:

    `(g,) = await buffer.reserve(1)`; generate; `buffer.put(group)`; `groups = await buffer.take()`; train; push;
    `buffer.settle(groups, dropped={})`; `buffer.release()`. A second `reserve` waits until that release.
    """

    def __init__(self, *, groups_per_step: int, max_policy_age: int, steps: int) -> None:
        """`steps` more steps will be taken: no group is started that none of them would train."""
        self._groups_per_step = groups_per_step
        self._capacity = (max_policy_age + 1) * groups_per_step
        self._wanted = steps * groups_per_step
        self._outstanding: dict[int, RolloutGroup | None] = {}  # in order of reservation; None: still being made
        self._next_id = 0
        self._taken = 0
        self._held = 0  # slots of settled groups that are not free yet
        self._trained = 0
        self._dropped: Counter[str] = Counter()
        self._closed = False
        self._changed = asyncio.Condition()

    async def reserve(self, num_groups: int) -> tuple[int, ...]:
        """Wait for a free slot and take up to `num_groups`; returns their group ids, or () when no more are wanted.

        `release` frees a whole step's slots at once, so a synchronous run gets whole waves; a dropped group frees one.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._room() > 0)
            if self._closed:
                return ()
            num = min(num_groups, self._room())
            ids = tuple(range(self._next_id, self._next_id + num))
            self._next_id += num
            self._outstanding.update(dict.fromkeys(ids))
            return ids

    async def put(self, group: RolloutGroup) -> None:
        """Hand in a finished group for its reserved slot."""
        async with self._changed:
            assert self._outstanding[group.group_id] is None, f"group {group.group_id} was put twice"
            self._outstanding[group.group_id] = group
            self._changed.notify_all()

    async def drop(self, group_id: int, reason: str) -> None:
        """Give a reserved slot back: its group could not be made."""
        async with self._changed:
            del self._outstanding[group_id]
            self._dropped[reason] += 1
            self._changed.notify_all()

    async def take(self) -> list[RolloutGroup]:
        """Wait for the next step's groups, in order of reservation; [] once the buffer is closed.

        The slots stay taken until `settle` and `release`.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._head_is_ready())
            if self._closed:
                return []
            head = [self._outstanding[i] for i in list(self._outstanding)[: self._groups_per_step]]
            return [group for group in head if group is not None]

    def settle(self, groups: list[RolloutGroup], dropped: dict[int, str]) -> None:
        """Account for a step's groups: trained, or left out for the reason in `dropped` (by group id)."""
        for group in groups:
            del self._outstanding[group.group_id]
            reason = dropped.get(group.group_id)
            if reason is None:
                self._trained += 1
            else:
                self._dropped[reason] += 1
        self._taken += len(groups)
        self._held += len(groups)

    async def release(self) -> None:
        """Free the slots of the settled groups: the weights that they made have landed."""
        async with self._changed:
            self._held = 0
            self._changed.notify_all()

    async def close(self) -> None:
        """No more groups: `reserve` returns () and `take` [] from now on."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def ledger(self) -> Ledger:
        return Ledger(
            started=self._next_id, trained=self._trained, dropped=dict(self._dropped), unfinished=len(self._outstanding)
        )

    def _room(self) -> int:
        """Free slots, as far as the steps to come still want groups for them."""
        wanted = self._wanted - self._taken - len(self._outstanding)
        free = self._capacity - len(self._outstanding) - self._held
        return min(wanted, free)

    def _head_is_ready(self) -> bool:
        head = list(self._outstanding.values())[: self._groups_per_step]
        return len(head) == self._groups_per_step and all(group is not None for group in head)
