"""State in Redis or Valkey, for gateways on several machines.

Each change is one script, because a reader must never see a number before a smaller one that is still to come.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.errors import StateUnavailable, without_credentials
from ..core.messages import Entry
from .port import MAX_ENTRIES, PAGE

WAIT = 2.0
"""Seconds for one question."""
_NUMBER, _ORDER, _ENDS, _TEXTS = (f"{{stagedoor}}:{name}" for name in ("number", "order", "ends", "entries"))
"""Keys of one slot, so that a cluster takes the script."""

_PUT = """
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[4], 'LIMIT', 0, 1000)) do
  redis.call('ZREM', KEYS[2], name)
  redis.call('ZREM', KEYS[3], name)
  redis.call('HDEL', KEYS[4], name)
end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) and not redis.call('ZSCORE', KEYS[2], ARGV[1]) then
  return 0
end
local number = redis.call('INCR', KEYS[1])
redis.call('ZADD', KEYS[2], number, ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
return number
"""
_AFTER = """
local found = {}
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for at = 1, #names, 2 do
  table.insert(found, {names[at + 1], names[at], redis.call('HGET', KEYS[2], names[at])})
end
return found
"""


class RedisState:
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

    def put(self, name: str, text: str, ends: float, now: float) -> int:
        kept = json.dumps((text, ends))
        keys = (_NUMBER, _ORDER, _ENDS, _TEXTS)
        with self._explaining_errors():
            number = int(self._redis.eval(_PUT, len(keys), *keys, name, kept, ends, now, MAX_ENTRIES))
        if number == 0:
            raise StateUnavailable(f"{self._shown} is full: it holds {MAX_ENTRIES:,} entries", code="state-full")
        return number

    def after(self, sequence: int) -> Sequence[Entry]:
        with self._explaining_errors():
            found = self._redis.eval(_AFTER, 2, _ORDER, _TEXTS, sequence, PAGE)
            return [Entry(int(number), name, *json.loads(kept)) for number, name, kept in found]

    def close(self) -> None:
        self._redis.close()

    @contextmanager
    def _explaining_errors(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise StateUnavailable(f"{self._shown}: {error}") from error
        except (TypeError, ValueError) as error:
            raise StateUnavailable(f"{self._shown} holds what is no entry of ours") from error
