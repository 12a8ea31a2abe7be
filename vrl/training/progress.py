"""The progress of a run: what a checkpoint stores and a resumed run starts from."""

from dataclasses import dataclass, field

from vrl.rollout.buffer import GroupCounts


@dataclass(kw_only=True, slots=True)
class RunProgress:
    """Finished steps, the version of the weights, and the position in the dataset."""

    step: int = 0
    policy_version: int = 0
    ordinal: int = 0  # of the first sample that no finished step has used
    earlier: GroupCounts = field(default_factory=GroupCounts)  # of the runs before a resume
