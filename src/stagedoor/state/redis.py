"""State in Redis or Valkey, for gateways on several machines.

Each change is one script, because a reader must never see a number before a smaller one that is still to come.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.errors import StateUnavailable, without_credentials
from ..core.messages import Entry, Keep
from .port import KEPT, MAX_ENTRIES, PAGE, State

WAIT = 2.0
"""Seconds for one question."""
_NUMBER, _ORDER, _ENDS, _TEXTS = (f"{{stagedoor}}:{name}" for name in ("number", "order", "ends", "entries"))
"""Keys of one slot, so that a cluster takes the script."""

# What is more than there is room for is left out, and counted in the answer. Numbers are formatted, because Lua's own
# way to write them keeps fourteen digits.
_PUT = """
local time = redis.call('TIME')
local own, now = tonumber(time[1]) + tonumber(time[2]) / 1000000, tonumber(ARGV[1])
local over = string.format('%.3f', math.min(own, now) - tonumber(ARGV[3]))
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', over, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', KEYS[2], name)
  redis.call('ZREM', KEYS[3], name)
  redis.call('HDEL', KEYS[4], name)
end
local number = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), math.floor(math.max(own, now) * 1000))
local room, left = tonumber(ARGV[2]) - redis.call('ZCARD', KEYS[2]), 0
for at = 4, #ARGV, 3 do
  local known = redis.call('ZSCORE', KEYS[3], ARGV[at])
  if not known and room <= 0 then
    left = left + 1
  elseif not known or tonumber(known) <= tonumber(ARGV[at + 2]) then
    if not known then room = room - 1 end
    number = number + 1
    local written = string.format('%.0f', number)
    redis.call('SET', KEYS[1], written)
    redis.call('ZADD', KEYS[2], written, ARGV[at])
    redis.call('ZADD', KEYS[3], ARGV[at + 2], ARGV[at])
    redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 1])
  end
end
return {string.format('%.0f', number), left}
"""
_AFTER = """
local found = {}
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for at = 1, #names, 2 do
  table.insert(found, {names[at + 1], names[at], redis.call('HGET', KEYS[2], names[at])})
end
return found
"""


class RedisState(State):
    """Entries in a hash, and their order in a sorted set.

    Args:
        url: `redis://[user:password@]host:port/number`, or `rediss://` with TLS.
    """

    def __init__(self, url: str) -> None:
        self._shown = without_credentials(url)
        try:
            import redis
        except ImportError as error:
            raise StateUnavailable("the package redis is not installed: pip install 'stagedoor[redis]'") from error
        self._errors = (redis.RedisError, OSError)
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=WAIT, socket_connect_timeout=WAIT, decode_responses=True
        )

    def put_all(self, entries: Sequence[Keep], now: float, most: int = MAX_ENTRIES) -> int:
        with self._explaining_errors():
            fields = [
                field for name, text, ends in entries for field in (name, json.dumps((text, float(ends))), float(ends))
            ]
            keys = (_NUMBER, _ORDER, _ENDS, _TEXTS)
            number, left = self._redis.eval(_PUT, len(keys), *keys, now, most, KEPT, *fields)
        if left:
            raise StateUnavailable(f"{self._shown} is full: it holds {most:,} entries", code="state-full")
        return int(number)

    def after(self, sequence: int) -> Sequence[Entry]:
        with self._explaining_errors():
            found = self._redis.eval(_AFTER, 2, _ORDER, _TEXTS, sequence, PAGE)
            return [_entry(*one) for one in found]

    def time(self) -> float:
        with self._explaining_errors():
            seconds, microseconds = self._redis.time()
            return float(seconds + microseconds / 1_000_000)

    def close(self) -> None:
        self._redis.close()

    @contextmanager
    def _explaining_errors(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            code = "state-full" if type(error).__name__ == "OutOfMemoryError" else None
            raise StateUnavailable(f"{self._shown}: {error}", code=code) from error
        except (TypeError, ValueError, RecursionError) as error:
            raise StateUnavailable(f"{self._shown} holds what is no entry of ours") from error


def _entry(number: str, name: str, kept: str) -> Entry:
    text, ends = json.loads(kept)
    if not isinstance(text, str) or not isinstance(ends, float):
        raise ValueError("another type")
    return Entry(int(number), name, text, ends)
