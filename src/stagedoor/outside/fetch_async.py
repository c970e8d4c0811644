"""Answering a `Fetch` in an event loop: bounded in bytes and seconds; those that ask for the same share an exchange."""

from __future__ import annotations

import asyncio
import math
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs, quote, unquote, urlsplit

from ..core.errors import InvalidToken
from ..core.issuers import host_to_connect, is_safe_url
from ..core.jose import json_object
from ..core.messages import Fetch, Fetched
from .fetch_sync import checked, form_fields, not_200
from .http import Broken, Connections, Origin
from .proxies import proxy_for
from .trust import tls_context

SHARED_WITHIN = 5.0
"""Seconds that an exchange goes on at least, because others may join it who have more time than the first."""
_SENT_AS_WRITTEN = "".join(map(chr, range(0x21, 0x7F)))


KEPT_FOR = 1.0
"""Seconds that an answer is kept for wishes that were made before it came."""
SPENT_KEPT_FOR = 15.0
"""The same where a refresh token was spent for another: a browser that did not get that one asks with the old again."""


_Wanted: TypeAlias = tuple[str, bytes | None, str]
"""URL, form and authorization: what is the same for those who share an exchange."""


class _Exchange:
    """One that several may wait for; `at` is when the last of them had the answer."""

    def __init__(self, task: asyncio.Task[Fetched]) -> None:
        self.task, self.waiting, self.at = task, 0, -math.inf


class Fetcher:
    """Answers wishes. Those that GET the same URL, or may share a form, at the same time share one exchange.

    Args:
        trust: makes the TLS context when the first https address is asked; default: with the machine's own authorities.
    """

    def __init__(self, trust: Callable[[], ssl.SSLContext] | None = None) -> None:
        self._trust = trust or tls_context
        self._tls: ssl.SSLContext | None = None
        self._under_way: dict[_Wanted, _Exchange] = {}
        self._ended: dict[_Wanted, _Exchange] = {}

    async def __call__(self, wish: Fetch, since: float = math.inf) -> Fetched:
        """Answer a wish.

        Args:
            wish: what to fetch.
            since: when it was made, by `time.perf_counter`, if that was before this call: an exchange that has ended
                since then answers it, too.
        """
        if wish.form is not None and not wish.shared:  # what one client sends is nobody else's
            return await self._fetch(wish)
        wanted = (wish.url, wish.form, wish.authorization)
        ended = self._ended.get(wanted)
        if ended is not None and (since <= ended.at or _is_spent(wish.form, ended.task.result())):
            return ended.task.result()
        exchange = self._under_way.get(wanted) or self._begin(wish, wanted)
        exchange.waiting += 1
        try:
            async with asyncio.timeout(wish.timeout):  # one who has less time than the others leaves earlier
                # Shielded, so that a caller who hangs up does not end the exchange for the others.
                return await asyncio.shield(exchange.task)
        except TimeoutError:
            return _late(wish)
        finally:
            exchange.waiting -= 1
            self._tidy(wanted, exchange)

    def _begin(self, wish: Fetch, wanted: _Wanted) -> _Exchange:
        longer = wish._replace(timeout=max(wish.timeout, SHARED_WITHIN))
        exchange = self._under_way[wanted] = _Exchange(asyncio.create_task(self._fetch(longer)))
        exchange.task.add_done_callback(lambda _: self._tidy(wanted, exchange))
        return exchange

    def _tidy(self, wanted: _Wanted, exchange: _Exchange) -> None:
        """Let others join no more, when the last of those who wait has the answer; until then it is news to some."""
        if exchange.task.done() and not exchange.waiting and self._under_way.get(wanted) is exchange:
            del self._under_way[wanted]
            if not exchange.task.cancelled():
                exchange.at = time.perf_counter()
                self._ended[wanted] = exchange
                spent = _is_spent(wanted[1], exchange.task.result())
                kept_for = SPENT_KEPT_FOR if spent else KEPT_FOR
                asyncio.get_running_loop().call_later(kept_for, self._drop, wanted, exchange)

    def _drop(self, wanted: _Wanted, exchange: _Exchange) -> None:
        if self._ended.get(wanted) is exchange:
            del self._ended[wanted]

    async def aclose(self) -> None:
        """Cancel exchanges that are under way."""
        under_way = tuple(exchange.task for exchange in self._under_way.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _fetch(self, wish: Fetch) -> Fetched:
        try:
            async with asyncio.timeout(wish.timeout):
                return await (self._read(wish) if wish.url.startswith("file:") else self._get(wish))
        except TimeoutError:
            return _late(wish)
        except Broken as error:
            return Fetched(b"", str(error))
        except (OSError, ValueError) as error:
            return Fetched(b"", f"{type(error).__name__}: {error}".rstrip(": "))

    async def _read(self, wish: Fetch) -> Fetched:
        path = Path(unquote(urlsplit(wish.url).path))
        return checked(await asyncio.to_thread(path.read_bytes), wish)

    async def _get(self, wish: Fetch) -> Fetched:
        if not is_safe_url(wish.url):
            return Fetched(b"", "this is not an https address")
        parts = urlsplit(wish.url)
        tls = None
        if parts.scheme == "https":
            tls = self._tls = self._tls or await asyncio.to_thread(self._trust)
        origin = Origin(host_to_connect(wish.url), parts.port or (443 if tls else 80), tls, proxy_for(wish.url))
        connections = Connections(origin, 1)
        try:
            answer = await connections.ask(_request(wish))
            if answer.status != 200 and wish.form is None:
                return Fetched(b"", not_200(answer.status))
            coding = answer.headers.get(b"content-encoding", b"").decode("latin-1")
            return checked(await answer.read(wish.limit + 1), wish, coding, answer.status)
        finally:
            connections.close()


def _is_spent(form: bytes | None, answer: Fetched) -> bool:
    """Does a good answer to a form put another refresh token in the place of the one that was sent?"""
    sent = parse_qs((form or b"").decode()).get("refresh_token")
    if not sent or answer.error:
        return False
    try:
        new = json_object(answer.body, "token answer").get("refresh_token")
    except InvalidToken:
        return False
    return new is not None and new != sent[0]


def _late(wish: Fetch) -> Fetched:
    return Fetched(b"", f"no answer within {wish.timeout:g} s")


def _request(wish: Fetch) -> bytes:
    """A request whose target is sent as it is written, but for what no request line can hold."""
    path = re.sub(r"^[^:]*://[^/?#]*", "", wish.url).partition("#")[0]
    target = quote(path if path.startswith("/") else f"/{path}", safe=_SENT_AS_WRITTEN)
    method, fields, content = ("GET", {}, b"") if wish.form is None else ("POST", form_fields(wish), wish.form)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return (
        f"{method} {target} HTTP/1.1\r\nhost: {urlsplit(wish.url).netloc}\r\naccept: application/json\r\n"
        f"accept-encoding: identity\r\n{lines}connection: close\r\n\r\n"
    ).encode("ascii") + content
