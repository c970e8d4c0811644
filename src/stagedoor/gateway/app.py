"""The gateway as an ASGI application: under Granian, under uvicorn, or mounted in somebody's own.

A request goes one way: ASGI scope -> `Request` -> the door's flow -> the store -> ASGI messages -> log line.
Whatever goes wrong on that way is an error answer; there is no path around the door.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, TypeAlias

from .. import crypto, replies
from ..door import Door, Site, arun
from ..errors import StagedoorError
from ..messages import Headers, Reply, Request, Serve, collect
from ..session import Sessions
from ..settings import Network, Settings
from ..store import Store, open_store
from ..tokens import Tokens
from .access_log import AccessLog, Entry
from .fetch import Fetcher
from .objects import Answer, answer_object, of_reply

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

MAX_HEADER_BYTES = 32_768
MAX_HEADER_FIELDS = 100
STALLED_AFTER = 60.0
"""Seconds that one piece of a body may take to leave; a client that never reads is let go."""
MAINTAIN_EVERY = 5.0
"""Seconds between two looks at the age of the issuers' keys."""

_log = logging.getLogger("stagedoor")


def make_door(settings: Settings) -> Door:
    """The door that these settings describe, with OpenSSL for signatures."""
    site = Site(
        settings.url,
        settings.places,
        settings.index,
        settings.fallback,
        settings.login_page,
        settings.origins,
    )
    sessions = None
    if settings.session_keys:
        names = {issuer.issuer: issuer.name for issuer in settings.issuers}
        cookie = settings.places.session
        sessions = Sessions(settings.url, settings.session_keys, names, settings.session, cookie, settings.secure)
    return Door(site, settings.policy, Tokens(settings.issuers, crypto), sessions, secrets.token_bytes)


class Gateway:
    """ASGI application that serves the objects of one site.

    Args:
        settings: from `stagedoor.load_settings`.
        store: default: the one that the settings name.
        write_log: takes lines of the access log as bytes and returns how many it took; default: standard output.
        clock: epoch seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store | None = None,
        write_log: Callable[[bytes], int | None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.door = settings, make_door(settings)
        self.store = store or open_store(settings.store, region=settings.region, endpoint=settings.endpoint)
        self._clock, self._fetch = clock, Fetcher()
        self._log = AccessLog(settings.access_log, write_log)
        self._maintenance: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, send)
        else:  # a WebSocket: not accepted
            await send({"type": "websocket.close"})

    async def aclose(self) -> None:
        """Stop background work, let go of connections, write the last lines of the log."""
        if self._maintenance is not None:
            self._maintenance.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._maintenance
        await self._fetch.aclose()
        await self.store.aclose()
        self._log.flush()

    async def _http(self, scope: Scope, send: Send) -> None:
        started, now = time.perf_counter(), self._clock()
        if self._maintenance is None:  # mounted apps get no lifespan messages
            self._maintenance = asyncio.create_task(self._maintain())
        headers = collect(scope["headers"])
        request = Request(scope["method"], _raw_path(scope), scope["query_string"], headers)
        serve = None
        try:
            answer, serve = await self._answer(request, scope["headers"], now)
        except Exception:
            _log.exception("a fault of ours; the request was refused")
            answer = of_reply(replies.problem(500, "fault", "something went wrong here; nothing was served"))
        size = 0
        try:
            size = await _send(answer, send, request.method == "HEAD")
        finally:
            if answer.opened is not None:
                answer.opened.close()
            client = self._client(scope, headers)
            who, rule = (serve.caller, serve.rule) if serve else (answer.caller, "")
            host = self.settings.url.partition("://")[2]
            seconds = time.perf_counter() - started
            entry = Entry(request, client, answer.status, size, seconds, who, rule, answer.reason, host)
            self._log.add(entry, now)

    async def _answer(
        self, request: Request, fields: Sequence[tuple[bytes, bytes]], now: float
    ) -> tuple[Answer, Serve | None]:
        if len(fields) > MAX_HEADER_FIELDS or sum(len(name) + len(value) for name, value in fields) > MAX_HEADER_BYTES:
            return of_reply(replies.problem(431, "headers", f"send less than {MAX_HEADER_BYTES} bytes of header")), None
        if request.path == b"/-/healthz" or request.path == b"/-/readyz":
            return of_reply(await self._health(request)), None
        decision = await arun(self.door.answer(request, now), self._fetch)
        if isinstance(decision, Reply):
            return of_reply(decision), None
        answer = await answer_object(self.store, decision, request, trust_html=self.settings.trust_html)
        return answer, decision

    async def _health(self, request: Request) -> Reply:
        """Alive: this answer. Ready: the store answers and every issuer's keys were had at least once."""
        if request.method not in ("GET", "HEAD"):
            return replies.problem(405, "method", "this address takes GET, HEAD", extra=((b"allow", b"GET, HEAD"),))
        missing = []
        if request.path == b"/-/readyz":
            missing = [f"keys of {keys.issuer.name}" for keys in self.door.tokens.issuers.values() if not keys.keys]
            try:
                await self.store.ready()
            except (StagedoorError, OSError) as error:
                _log.error("not ready: %s", error)
                missing.append("store")
        status = 503 if missing else 200
        return replies.document(status, {"status": "waiting" if missing else "ok", "missing": missing}, "health")

    def _client(self, scope: Scope, headers: Headers) -> str:
        peer = scope.get("client")
        return client_address(peer[0] if peer else "-", headers, self.settings.trusted_proxies)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._maintenance = asyncio.create_task(self._maintain())
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _maintain(self) -> None:
        """Keep the issuers' keys fresh, so that no request has to wait for them and withdrawn keys stop to count."""
        while True:
            try:
                await arun(self.door.tokens.refresh(self._clock()), self._fetch)
                for keys in self.door.tokens.issuers.values():
                    if keys.failure:
                        _log.warning("%s%s", keys.failure, "; the last good keys stay in use" if keys.keys else "")
            except Exception:
                _log.exception("keys could not be refreshed")
            await asyncio.sleep(MAINTAIN_EVERY)


def _raw_path(scope: Scope) -> bytes:
    """The path exactly as it was sent, below the place where the application is mounted.

    A server that tells only the decoded path has lost what the policy must see; such a request names no key.
    """
    raw: bytes = scope.get("raw_path") or b""
    mounted = scope.get("root_path", "").rstrip("/").encode()
    if mounted:
        raw = raw[len(mounted) :] if raw.startswith(mounted + b"/") else b""
    return raw.partition(b"?")[0]


async def _send(answer: Answer, send: Send, bodiless: bool) -> int:
    """Send the answer; return the bytes of body that left. An error here breaks the connection off."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    if answer.opened is None:
        body = b"" if bodiless else answer.body
        async with asyncio.timeout(STALLED_AFTER):
            await send({"type": "http.response.body", "body": body})
        return len(body)
    size = 0
    async for chunk in answer.opened.chunks():
        async with asyncio.timeout(STALLED_AFTER):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        size += len(chunk)
    await send({"type": "http.response.body", "body": b""})
    return size


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """Who is at the other end: the peer, or what a listed proxy says of it.

    Args:
        peer: address of the TCP peer.
        headers: only `X-Forwarded-For` is looked at, and only if the peer is listed.
        trusted: networks of the proxies.

    Returns:
        The rightmost address that is not a listed proxy's own. IPv4-mapped addresses count as IPv4.
    """
    if not trusted:
        return peer
    forwarded = b",".join(headers.get(b"x-forwarded-for", ())).decode("latin-1")
    for hop in [peer, *(part.strip() for part in reversed(forwarded.split(",")) if forwarded)]:
        try:
            address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(hop)
        except ValueError:
            break
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        peer = str(address)
        if not any(address in network for network in trusted):
            break
    return peer
