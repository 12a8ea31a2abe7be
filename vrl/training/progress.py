"""Where a run is: what a checkpoint stores and a resumed run starts from."""

from dataclasses import dataclass, field

from vrl.rollout.buffer import GroupCounts


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where a run is: what a checkpoint stores and a resumed run starts from."""

    step: int = 0
    policy_version: int = 0
    ordinal: int = 0  # of the first sample that no finished step has used
    earlier: GroupCounts = field(
        default_factory=lambda: GroupCounts(started=0, trained=0)
    )  # of the runs before a resume
