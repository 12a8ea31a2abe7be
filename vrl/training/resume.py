"""Automatic resume: a run whose learner dies resumes from its last checkpoint, a bounded number of times.

All actors are restarted, because a rank's state exists nowhere else and the other ranks would wait for it forever.
Does not read checkpoints (vrl.checkpoint does).
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from vrl.checkpoint import newest
from vrl.config import RunConfig
from vrl.errors import LearnerLostError
from vrl.lifecycle import Stop, first_cause

logger = logging.getLogger(__name__)


async def resuming(config: RunConfig, stop: Stop, attempt: Callable[[RunConfig, int], Awaitable[None]]) -> None:
    """Run `attempt(config, resumes)`; again, from the newest checkpoint, each time a learner rank is lost.

    At most `fault.max_resumes` times; then, and for any other error, raises what the attempt raised. Without a
    checkpoint in the run folder the run starts as it did the first time.
    """
    resumes = 0
    while True:
        try:
            return await attempt(config, resumes)
        except (LearnerLostError, BaseExceptionGroup) as error:
            cause = first_cause(error) if isinstance(error, BaseExceptionGroup) else error
            if not isinstance(cause, LearnerLostError) or resumes == config.fault.max_resumes or stop.signum:
                raise
            logger.warning("%s; resuming from the last checkpoint", cause)
        resumes += 1
        stop.on_request = None
        if newest(config.run_dir / "checkpoints") is not None:
            config = replace(config, resume="auto")
