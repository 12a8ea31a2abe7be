"""The errors of vrl. Each says what was found, what was expected and what to change; all survive pickling.

VrlError
  ConfigError       a key, value or combination in the configuration
  DataError         a dataset row, a media file, a prompt that does not fit
    MediaError      an unusable clip or image
  WorkerError       all actors of a role died or did not answer in time, and no restart is left
    LostCallError   a call was lost with its actor, and again on another actor
    LearnerLostError  a learner rank died or hung; the run resumes from its last checkpoint
  RolloutError      an engine could not produce completions for a prompt
  RewardError       a reward function failed
    JudgeError      a judge gave no usable answer: the value is missing
  LearnerError      a learner rank failed, or a loss or gradient is not finite
  WeightPushError   weights did not arrive complete
  CheckpointError   a checkpoint is missing, torn or does not match
  StorageError      a run's files cannot be written, for example because the disk is full
  ParityError       engine and learner disagree
"""

from vrl.types import Media


class VrlError(Exception):
    """Base of all errors that vrl raises deliberately."""


class ConfigError(VrlError):
    """A wrong configuration. Exit code 2. `problems` lists every fault found, not just the first."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


class DataError(VrlError):
    """A dataset row, media file or prompt that cannot be used. `reason` is a short label for metrics."""

    def __init__(self, message: str, reason: str = "data") -> None:
        super().__init__(message, reason)
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        return self.message


class MediaError(DataError):
    """A clip or image that cannot be used by any sample."""

    def __init__(self, message: str, reason: str, media: Media) -> None:
        super().__init__(message, reason)
        self.media = media

    def __reduce__(self) -> tuple[type["MediaError"], tuple[str, str, Media]]:
        return type(self), (self.message, self.reason, self.media)


class WorkerError(VrlError):
    """All actors of a role died or did not answer in time, and no restart is left."""


class LostCallError(WorkerError):
    """A call was lost with its actor, and again on another actor. The group or sample that needed it is dropped."""


class LearnerLostError(WorkerError):
    """A learner rank died or did not answer in time. Its state is lost; the run resumes from its last checkpoint."""


class RolloutError(VrlError):
    """An engine could not produce completions for a prompt."""


class RewardError(VrlError):
    """A reward function failed."""


class JudgeError(RewardError):
    """A judge gave no usable answer in time."""


class LearnerError(VrlError):
    """A learner rank failed, or a loss or gradient is not finite."""


class WeightPushError(VrlError):
    """Weights did not arrive complete on every engine. `engine`: index of the engine at fault, if known."""

    def __init__(self, message: str, engine: int | None = None) -> None:
        super().__init__(message, engine)
        self.message = message
        self.engine = engine

    def __str__(self) -> str:
        return self.message


class CheckpointError(VrlError):
    """A checkpoint is missing, torn or does not match the run."""


class StorageError(VrlError):
    """A file of a run cannot be written, for example because the disk is full. Earlier files are complete."""


class ParityError(VrlError):
    """Engine and learner disagree; the message names the first tensor that differs."""


def excerpt(foreign: object, most: int = 200) -> str:
    """Return a stranger's text as errors and log lines quote it: at most `most` characters on one line, control
    characters escaped."""
    text = str(foreign)
    head = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:most])
    return head if len(text) <= most and len(head) <= most else f"{head[: most - 3]}..."
