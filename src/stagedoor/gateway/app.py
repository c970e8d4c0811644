"""The gateway as an ASGI application: under uvicorn, or mounted in an application of one's own.

A request goes one way: ASGI scope -> `Request` -> the door's flow -> the store -> ASGI messages -> log line.
Whatever goes wrong on that way is an error answer; there is no path around the door.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from ..catalogue import Catalogue, open_catalogue
from ..core import replies
from ..core.drivers import arun
from ..core.endpoints.arguments import MAX_BODY_BYTES
from ..core.errors import CatalogueUnavailable, InvalidRequest, StagedoorError
from ..core.issuers import IssuerKeys, Outages
from ..core.messages import (
    Answered,
    Content,
    Fetch,
    Flow,
    Keep,
    List,
    Recall,
    Recalled,
    Reply,
    Request,
    Serve,
    Wish,
    collect,
)
from ..outside.fetch_async import Fetcher
from ..outside.threads import Threads
from ..outside.trust import tls_context
from ..settings import Settings
from ..settings.site import make_door, make_revocations, make_store
from ..state import open_state
from ..store.port import InstantStore, NotNow, Store
from .access_log import AccessLog, Entry
from .asgi import (
    CONNECTION,
    Connection,
    Receive,
    Scope,
    Send,
    Sent,
    ended_with,
    nothing_more,
    raw_path,
    read_body,
    send_answer,
)
from .clients import client_address
from .memory import Memory
from .objects import Answer, answer_object, answer_object_now, asks_now, of_reply

LOOKUPS = 8
"""Questions to the catalogue at a time."""
MAINTAIN_EVERY = 5.0
"""Seconds between two looks at the age of the issuers' keys."""

READY_FOR = 1.0
READY_WITHIN = 2.0
"""Seconds that the store has to say that it is ready."""
_HEALTH = (b"/-/healthz", b"/-/readyz")

_log = logging.getLogger("stagedoor")


class Begun(NamedTuple):
    """A request on which `Gateway.answer_now` has begun, for `Gateway.finish`.

    Attributes:
        request: `client` is the client's address.
        started, now: when it came, by the process's clock and in epoch seconds.
        flow, wish: the door's flow, and the first wish that waits for an answer.
        serve: the decision, if there is one and only the store has to wait.
    """

    request: Request
    started: float
    now: float
    flow: Flow[Serve | Reply]
    wish: Wish | None
    serve: Serve | None = None


class Gateway:
    """ASGI application that serves the objects of one site.

    Args:
        settings: from `stagedoor.load_settings`.
        store, catalogue: default: those that the settings name.
        write_log: takes lines of the access log as bytes and returns how many it took; default: standard output.
        clock: epoch seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store | None = None,
        catalogue: Catalogue | None = None,
        write_log: Callable[[bytes], int | None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._memory: Memory | None = None
        revocations = make_revocations(settings)
        if settings.state is not None and revocations is not None:
            self._memory = Memory(open_state(settings.state, region=settings.aws_region), revocations, clock)
        self.settings, self.door = settings, make_door(settings, revocations)
        self.store = store or make_store(settings)
        self._catalogue = catalogue
        if catalogue is None and settings.catalogue is not None:
            self._catalogue = open_catalogue(settings.catalogue, region=settings.aws_region)
        self._threads = Threads(LOOKUPS, "catalogue", CatalogueUnavailable)
        self._ask_now = asks_now(self.store) if isinstance(self.store, InstantStore) else None
        self._fetch = Fetcher(partial(tls_context, settings.ca))
        self._host = settings.url.partition("://")[2]
        self.in_flight = 0
        self._probe: asyncio.Task[bool] | None = None
        self._probed = 0.0
        self._log = AccessLog(settings.access_log, write_log)
        self._maintenance: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send, self.start, self.aclose)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # a WebSocket: not accepted
            await send({"type": "websocket.close"})

    def adopt(self, old: Gateway) -> None:
        """Take over what the gateway of earlier settings knows, so that a reload need not wait for it."""
        self.door.tokens.adopt(old.door.tokens)
        if self._memory is not None and old._memory is not None:  # another state is told what it lacks
            self._memory.revocations.adopt(old._memory.revocations)

    def start(self) -> None:
        """Begin to keep the issuers' keys fresh. A mounted app gets no lifespan messages: its first request does it."""
        if self._maintenance is None:
            self._maintenance = asyncio.create_task(self._maintain())
            if self._memory is not None:
                self._following = asyncio.create_task(self._memory.follow())

    async def aclose(self) -> None:
        """Stop background work, let go of connections, write the last lines of the log."""
        for task in (self._maintenance, self._following):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        if self._memory is not None:
            self._memory.close()
        await self._fetch.aclose()
        await self.store.aclose()
        self._threads.close()
        if self._catalogue is not None:
            self._catalogue.close()
        self._log.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, now = time.perf_counter(), self._clock()
        self.start()
        headers = collect(scope["headers"])
        peer = scope.get("client")
        client = client_address(peer[0] if peer else "", headers, self.settings.trusted_proxies)
        request = Request(scope["method"], raw_path(scope), scope["query_string"], headers, b"", client)
        connection: Connection = scope.pop(CONNECTION, None) or Connection()  # taken out, because it leads back here
        answering = self._answer(request, receive, now)
        await self._respond(request, answering, started, now, receive, send, connection)

    async def finish(self, begun: Begun, send: Send, connection: Connection) -> None:
        """Answer the rest of what `answer_now` has begun; arguments as in ASGI, and for `Connection`."""
        answering = self._finished(begun)
        await self._respond(begun.request, answering, begun.started, begun.now, nothing_more, send, connection)

    async def _respond(
        self,
        request: Request,
        answering: Awaitable[tuple[Answer, Serve | None]],
        started: float,
        now: float,
        receive: Receive,
        send: Send,
        connection: Connection,
    ) -> None:
        answer, serve, sent = _BROKEN_OFF, None, Sent()
        self.in_flight += 1
        with ended_with(connection):
            try:
                try:
                    answer, serve = await answering
                except InvalidRequest as error:
                    answer = self._dressed(request, replies.problem(408, error.code, str(error)))
                except Exception:
                    answer = self._dressed(request, _fault())
                await self._send(request, answer, receive, send, connection, sent)
            finally:
                self.in_flight -= 1
                if not sent.whole:
                    answer = answer._replace(reason="broken-off")
                self._note(request, answer, serve, sent.size, started, now)

    async def _send(
        self, request: Request, answer: Answer, receive: Receive, send: Send, connection: Connection, sent: Sent
    ) -> None:
        """Send an answer. If its bytes cannot be had to the end, the client sees the connection break off."""
        try:
            await send_answer(answer, receive, send, connection, request.method == "HEAD", sent)
        except StagedoorError as error:
            _log.error("%s for %r, after %d bytes: %s", error.code, request.path, sent.size, error)
            if connection.break_off is None:
                raise
            connection.break_off()
        finally:
            if answer.opened is not None:
                answer.opened.close()

    def answer_now(self, request: Request) -> Answer | Begun | None:
        """Answer a request at once, and log it, if neither the door nor the store has to wait for anything.

        Args:
            request: `client` is the peer's address.

        Returns:
            The complete answer; else what has been begun.
        """
        started, now = time.perf_counter(), self._clock()
        if request.path in _HEALTH or len(request.headers) > replies.MAX_HEADER_NAMES:
            return None
        trusted = self.settings.trusted_proxies
        if trusted:
            request = request._replace(client=client_address(request.client, request.headers, trusted))
        flow, serve = self.door.answer(request, now), None
        try:
            try:
                return Begun(request, started, now, flow, next(flow))
            except StopIteration as done:
                decision: Serve | Reply = done.value
            if isinstance(decision, Serve):
                serve = decision
                if self._ask_now is None:
                    return Begun(request, started, now, flow, None, serve)
                try:
                    answer = answer_object_now(self._ask_now, serve, request, trust_html=self.settings.trust_html)
                except NotNow:
                    return Begun(request, started, now, flow, None, serve)
                if answer.opened is not None:  # too large for one piece
                    answer.opened.close()
                    return Begun(request, started, now, flow, None, serve)
            else:
                answer = of_reply(decision)
        except Exception:
            answer = self._dressed(request, _fault())
        size = 0 if request.method == "HEAD" else len(answer.body)
        self._note(request, answer, serve, size, started, now)
        return answer

    def note_refused(self, answer: Answer, peer: str) -> None:
        """Log what was refused before it was a request."""
        request = Request("-", b"-", b"", {}, b"", peer)
        self._note(request, answer, None, len(answer.body), time.perf_counter(), self._clock())

    def _note(
        self, request: Request, answer: Answer, serve: Serve | None, size: int, started: float, now: float
    ) -> None:
        who, rule = (serve.caller, serve.rule) if serve else (answer.caller, "")
        seconds = time.perf_counter() - started
        client, reason, cache = request.client or "-", answer.reason, answer.cache
        entry = Entry(request, client, answer.status, size, seconds, who, rule, reason, cache, self._host)
        self._log.add(entry, now)

    async def _answer(self, request: Request, receive: Receive, now: float) -> tuple[Answer, Serve | None]:
        too_large = replies.judge_headers(request.headers)
        if too_large is not None:
            return self._dressed(request, too_large), None
        if request.path in _HEALTH:
            return self._dressed(request, await self._health(request)), None
        if request.method == "POST" and request.path in self.door.endpoints:
            body = await read_body(receive)
            if body is None:
                too_long = replies.problem(413, "body", f"send at most {MAX_BODY_BYTES} bytes")
                return self._dressed(request, too_long), None
            request = request._replace(body=body)
        return await self._finished(Begun(request, 0.0, now, self.door.answer(request, now), None))

    async def _finished(self, begun: Begun) -> tuple[Answer, Serve | None]:
        decision: Serve | Reply | None = begun.serve
        if decision is None:
            decision = await arun(begun.flow, self._asked_since(begun), begun.wish)
        if isinstance(decision, Reply):
            return of_reply(decision), None
        trust_html = self.settings.trust_html
        return await answer_object(self.store, decision, begun.request, trust_html=trust_html), decision

    def _dressed(self, request: Request, reply: Reply) -> Answer:
        """An answer that is not the door's, so that scripts which may read the door's can read it too."""
        return of_reply(reply._replace(headers=self.door.dressed(request, reply.headers)))

    def _asked_since(self, begun: Begun) -> Callable[[Wish], Awaitable[Answered]]:
        """How the wishes of a request are answered, the first of which was made when it came."""
        return lambda wish: self._ask(wish, begun.started if wish is begun.wish else math.inf)

    async def _ask(self, wish: Wish, since: float = math.inf) -> Answered:
        """Answer what the door wishes to know; `since`: when the wish was made, if that was before now."""
        if isinstance(wish, Fetch):
            fetched = await self._fetch(wish, since)
            if fetched.error and wish.form is not None:  # the owner's client secret, or the issuer, needs a look
                _log.error("sign-in: %r: %s", wish, fetched.error)
            return fetched
        if isinstance(wish, Keep | Recall):
            return await self._remember(wish)
        try:
            return await (self.store.list(wish) if isinstance(wish, List) else self._look_up(wish.id))
        except StagedoorError as error:
            _log.error("%s: %s", error.code, error)
            raise

    async def _remember(self, wish: Keep | Recall) -> Recalled | None:
        assert self._memory is not None, "without a state the door has no such wish"
        return await (self._memory.recall(wish) if isinstance(wish, Recall) else self._memory.keep(wish))

    async def _look_up(self, id_: str) -> Content | None:
        return None if self._catalogue is None else await self._threads.call(self._catalogue.find, id_)

    async def _health(self, request: Request) -> Reply:
        """Alive: this answer. Ready: the store answers and every issuer's keys were had at least once."""
        if request.method not in ("GET", "HEAD"):
            return replies.problem(405, "method", "this address takes GET, HEAD", extra=((b"allow", b"GET, HEAD"),))
        missing = []
        if request.path == b"/-/readyz":
            missing = [f"keys of {keys.issuer.name}" for keys in self.door.tokens.issuers.values() if not keys.keys]
            if not await self._store_ready():
                missing.append("store")
            if self._memory is not None and not self._memory.was_read:
                missing.append("state")
        status = 503 if missing else 200
        return replies.document(status, {"status": "waiting" if missing else "ok", "missing": missing}, "health")

    async def _store_ready(self) -> bool:
        """Ask the store at most once in READY_FOR seconds, for anybody may ask us."""
        if self._probe is None or (self._probe.done() and time.monotonic() - self._probed >= READY_FOR):
            self._probed = time.monotonic()
            self._probe = asyncio.create_task(self._ask_store())
        return await asyncio.shield(self._probe)

    async def _ask_store(self) -> bool:
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self.store.ready()
        except TimeoutError:
            _log.error("not ready: the store did not answer within %g s", READY_WITHIN)
            return False
        except (StagedoorError, OSError) as error:
            _log.error("not ready: %s", error)
            return False
        return True

    async def _maintain(self) -> None:
        """Keep the issuers' keys fresh, so that no request has to wait for them and withdrawn keys stop to count."""
        outages = Outages()
        while True:
            try:
                await arun(self.door.tokens.refresh(self._clock()), self._ask)
            except Exception:
                _log.exception("keys could not be refreshed")
            for keys in outages.changes(self.door.tokens.issuers.values()):
                _log_outage(keys)
            await asyncio.sleep(MAINTAIN_EVERY)


def _log_outage(keys: IssuerKeys) -> None:
    if not keys.failure:
        _log.warning("%s", keys.news)
    elif keys.keys:
        _log.warning("%s; the last good keys stay in use", keys.news)
    else:
        _log.warning("%s; its tokens cannot be checked until that changes", keys.news)


async def lifespan(
    receive: Receive, send: Send, start: Callable[[], None], stop: Callable[[], Awaitable[None]]
) -> None:
    """Answer the lifespan messages of an ASGI server."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            start()
            await send({"type": "lifespan.startup.complete"})
        else:
            await stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


_BROKEN_OFF = Answer(499, (), reason="broken-off")
"""What the log says of a request whose task was ended before there was an answer."""


def _fault() -> Reply:
    """The answer where we failed ourselves: nothing is served (invariant 2)."""
    _log.exception("a fault of ours; the request was refused")
    return replies.fault()
