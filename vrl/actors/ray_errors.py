"""Unwraps the errors that Ray raises for actors. Handles none: ActorPool and LearnerGroup do."""

from ray.exceptions import RayActorError, RayTaskError


def unwrap(error: RayTaskError | RayActorError) -> BaseException | None:
    """Return the error that a method or a constructor raised; None if the actor died of another cause."""
    if isinstance(error, RayTaskError):
        return error.cause
    return next((arg.cause for arg in error.args if isinstance(arg, RayTaskError)), None)  # the constructor's
