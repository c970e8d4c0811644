"""Time for ages: it only goes on, whatever happens to the clock that says when a token expires."""

from __future__ import annotations

import math
from collections.abc import Callable


class SteadyTime:
    """Turns epoch seconds into seconds that never go back.

    A wall clock may be put back, and a monotonic one stands still while the machine sleeps (`CLOCK_MONOTONIC`): this
    goes on with whichever is ahead.

    Args:
        monotonic: seconds that never go back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._ahead = -math.inf  # the most that the wall clock was ever ahead of the monotonic one

    def __call__(self, now: float) -> float:
        """The steady time now.

        Args:
            now: epoch seconds.
        """
        steady = self._monotonic()
        self._ahead = max(self._ahead, now - steady)
        return steady + self._ahead
