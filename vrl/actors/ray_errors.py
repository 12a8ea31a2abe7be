"""What an actor raised, out of what Ray makes of it. Decides nothing: pools and the learner's group do."""

from ray.exceptions import RayActorError, RayTaskError


def unwrap(error: RayTaskError | RayActorError) -> BaseException | None:
    """The error that a method or a constructor raised; None where the actor died otherwise."""
    if isinstance(error, RayTaskError):
        return error.cause
    return next((arg.cause for arg in error.args if isinstance(arg, RayTaskError)), None)  # the constructor's
