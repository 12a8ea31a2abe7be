"""Slots for rollout groups: reserved before a clip is decoded, freed after the weights trained on it are pushed.

There are (max_policy_age + 1) x groups_per_step slots and groups are taken in order of reservation. A group reserved at
policy version u has fewer than (max_policy_age + 1) x groups_per_step groups before it, so it is trained at version
u + max_policy_age at the latest: the bound on policy age needs no dropping and no clock. max_policy_age = 0 is the
synchronous algorithm. Every reserved group ends trained, dropped with a reason, or unfinished: see `counts`.

Dynamic sampling (DAPO, arXiv 2503.14476), bounded: up to `max_refills` groups per step whose rewards are all equal are
dropped on arrival. Their slots are free immediately, and `take` returns them too, so that the rollout metrics of a
step are not biased by the selection.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from vrl.types import RolloutGroup


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCounts:
    """Counts of groups by outcome: started = trained + sum(dropped) + unfinished."""

    started: int = 0
    trained: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # by reason
    unfinished: int = 0

    def __add__(self, other: "GroupCounts") -> "GroupCounts":
        return GroupCounts(
            started=self.started + other.started,
            trained=self.trained + other.trained,
            dropped=dict(sorted((Counter(self.dropped) + Counter(other.dropped)).items())),
            unfinished=self.unfinished + other.unfinished,
        )


class RolloutBuffer:
    """Example with one group per step, synchronous:

    `(g,) = await buffer.reserve(1)`; generate; `buffer.put([group])`; `groups, replaced = await buffer.take()`; train;
    push; `buffer.account(groups, dropped={})`; `buffer.release()`. A second `reserve` waits until that release.
    """

    def __init__(self, *, groups_per_step: int, max_policy_age: int, steps: int, max_refills: int = 0) -> None:
        """`steps`: number of steps still to run; groups beyond their need are not started."""
        self._groups_per_step = groups_per_step
        self._capacity = (max_policy_age + 1) * groups_per_step
        self._wanted = steps * groups_per_step
        self._max_refills = max_refills  # between two calls of `take`
        self._replaced: list[RolloutGroup] = []  # since the last `take`
        self._outstanding: dict[int, RolloutGroup | None] = {}  # in order of reservation; None while it is generated
        self._next_id = 0
        self._taken = 0
        self._held = 0  # slots of accounted groups, not yet released
        self._trained = 0
        self._dropped: Counter[str] = Counter()
        self._closed = False
        self._changed = asyncio.Condition()

    async def reserve(self, num_groups: int) -> tuple[int, ...]:
        """Wait for a free slot and reserve up to `num_groups`; returns their group ids, or () if the run needs no more.

        `release` frees all slots of a step together, so a synchronous run gets whole waves; a dropped group frees one.
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

    async def put(self, groups: Sequence[RolloutGroup]) -> None:
        """Store the finished groups of a wave in their slots; the first groups of zero spread are dropped for refills.

        Groups are stored together, so that equal waves leave equal numbers of slots to the next wave.
        """
        async with self._changed:
            for group in sorted(groups, key=lambda group: group.group_id):
                assert self._outstanding[group.group_id] is None, f"group {group.group_id} was put twice"
                if len(self._replaced) < self._max_refills and group.zero_spread:
                    self._replaced.append(group)
                    self._forget(group.group_id, "zero_spread")
                else:
                    self._outstanding[group.group_id] = group
            self._changed.notify_all()

    async def drop(self, group_id: int, reason: str) -> None:
        """Free the slot of a group that failed."""
        async with self._changed:
            self._forget(group_id, reason)
            self._changed.notify_all()

    async def take(self) -> tuple[list[RolloutGroup], list[RolloutGroup]]:
        """Wait for the next step's groups, in order of reservation; none once the buffer is closed.

        The second list has the groups that were dropped for refills since the last call. Slots stay taken until
        `account` and `release`.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._head_is_ready())
            if self._closed:
                return [], []
            head = [self._outstanding[i] for i in list(self._outstanding)[: self._groups_per_step]]
            replaced, self._replaced = self._replaced, []
            return [group for group in head if group is not None], replaced

    def account(self, groups: list[RolloutGroup], dropped: dict[int, str]) -> None:
        """Count a step's groups as trained, or as dropped for the reason in `dropped` (by group id)."""
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
        """Free the slots of the accounted groups, after the push of the weights trained on them."""
        async with self._changed:
            self._held = 0
            self._changed.notify_all()

    async def close(self) -> None:
        """End the run: from now on `reserve` returns () and `take` empty lists."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def counts(self) -> GroupCounts:
        return GroupCounts(
            started=self._next_id, trained=self._trained, dropped=dict(self._dropped), unfinished=len(self._outstanding)
        )

    def _forget(self, group_id: int, reason: str) -> None:
        del self._outstanding[group_id]
        self._dropped[reason] += 1

    def _room(self) -> int:
        """Number of free slots, at most the number of groups that the remaining steps need."""
        wanted = self._wanted - self._taken - len(self._outstanding)
        free = self._capacity - len(self._outstanding) - self._held
        return min(wanted, free)

    def _head_is_ready(self) -> bool:
        head = list(self._outstanding.values())[: self._groups_per_step]
        return len(head) == self._groups_per_step and all(group is not None for group in head)
