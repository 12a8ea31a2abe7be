"""How often an actor may be restarted, and how long to wait before each restart. Starts nothing."""

import random
import time
from collections import deque
from collections.abc import Callable

from vrl.config import FaultConfig

_MAX_PAUSE_S = 60.0


class RestartBudget:
    """At most `fault.max_restarts` restarts within any `fault.window_s` seconds, with exponential backoff.

    Example: `pause_s = budget.spend()`; None if the budget is exhausted, else wait this long and restart.
    """

    def __init__(self, config: FaultConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._spent: deque[float] = deque()

    def spend(self) -> float | None:
        """Return the seconds to wait before the next restart, which counts from now; None if the budget is exhausted.

        Our definition: backoff_s x 2^(restarts in the window), at most a minute, times a random number in [0.5, 1],
        so that actors that died together do not restart together.
        """
        now = self._clock()
        while self._spent and now - self._spent[0] > self._config.window_s:
            self._spent.popleft()
        if len(self._spent) >= self._config.max_restarts:
            return None
        pause_s = min(self._config.backoff_s * 2 ** len(self._spent), _MAX_PAUSE_S)
        self._spent.append(now)
        return pause_s * random.uniform(0.5, 1.0)
