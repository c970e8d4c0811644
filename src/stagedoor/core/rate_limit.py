"""A rate limit for each caller: token buckets that fill steadily."""

from __future__ import annotations

MAX_CALLERS = 10_000
"""Callers that are remembered. The one not seen for longest is forgotten first, and starts again with a full bucket."""


class RateLimit:
    """Token buckets by name.

    Args:
        per_minute: how many things each name may have in a minute, and at once after a minute of rest.
    """

    def __init__(self, per_minute: int) -> None:
        self._size, self._rate = float(per_minute), per_minute / 60
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, name: str, now: float) -> float:
        """Take one; return 0, or the seconds after which the next one is there.

        Args:
            name: whose bucket.
            now: epoch seconds; a clock that is set back refills nothing.
        """
        level, since = self._levels.pop(name, (self._size, now))
        level = min(self._size, level + max(0.0, now - since) * self._rate)
        enough = level >= 1
        self._levels[name] = (level - 1 if enough else level, now)
        if len(self._levels) > MAX_CALLERS:
            del self._levels[next(iter(self._levels))]
        return 0.0 if enough else (1 - level) / self._rate
