"""The short way for programs: who brings this token, and may they read this key?

Between two wishes a flow of the core must be alone with what it shares with others. An event loop sees to that by
itself. Here threads share one door, so a lock does: each step of a flow holds it, and no wait for an answer does.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ..core.caller import Caller
from ..core.drivers import arun, run
from ..core.errors import StateUnavailable
from ..core.messages import Fetch, Fetched, Flow, Keep, Reply, Request, Serve, Wish
from ..core.policy.decide import Allow, Deny
from ..outside.exchanges import Exchange, Exchanges
from ..state import open_state
from . import Settings
from .following import Following
from .site import make_door, make_revocations

T = TypeVar("T")

_log = logging.getLogger("stagedoor")


def _follow(settings: Settings, clock: Callable[[], float]) -> Following | None:
    revocations = make_revocations(settings)
    if settings.state is None or revocations is None:
        return None
    return Following(open_state(settings.state, region=settings.aws_region), revocations, clock)


class Guard:
    """Verifies tokens and decides who may read what, inside a program; threads and tasks may share it.

    The issuers' keys are fetched when a token needs them first, kept, and fetched again from time to time.

    With a `[state]` it obeys what was taken back, within five seconds, as a gateway does. It takes nothing back itself:
    signing out through `answer` ends the cookie alone.

    Args:
        settings: from `stagedoor.load_settings`. Store and catalogue are not opened: the program has its own.
        clock: epoch seconds.

    Raises:
        StagedoorError: the keys of `[passes]` cannot be read.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self.settings, self._clock = settings, clock
        self._following = _follow(settings, clock)
        self._door = make_door(replace(settings, store=None, catalogue=None, admin=None), self._following)
        self._exchanges, self._lock = Exchanges(settings.ca), threading.Lock()
        self._renewal: threading.Thread | None = None
        self._failures: dict[str, str] = {}

    def verify(self, token: str) -> Caller:
        """Find out who brings this token. Waits for an issuer's answer if its keys are not known yet.

        Args:
            token: a JWT as it was sent, without `Bearer `.

        Returns:
            The caller, who is that until `expires`: verify the token of each request; verified ones are remembered.

        Raises:
            InvalidToken: it proves nothing, or was taken back (`Revoked`); `code` says why. The answer is 401.
            Unavailable: the issuer or the state did not answer, so it could not be checked. The answer is 503.
        """
        now = self._clock()
        return self._run(self._door.callers.verify(token, now), now)

    async def averify(self, token: str) -> Caller:
        """Do the same without blocking the event loop."""
        now = self._clock()
        return await self._arun(self._door.callers.verify(token, now), now)

    def may_read(self, caller: Caller, key: str) -> Allow | Deny:
        """Decide whether a caller may read a key; asks nothing and nobody.

        Args:
            caller: from `verify`, or `ANONYMOUS` for a request without a token.
            key: the name of an object: percent-decoded, without a leading slash.

        Returns:
            Allow, which is true, or Deny, which is false; each with its `reason`.
        """
        return self.settings.policy.decide(caller, key)

    def answer(self, request: Request) -> Serve | Reply:
        """Decide about a whole HTTP request, for a door of your own; finds the credential where `[tokens]` says.

        Args:
            request: as it was received, with its path still encoded.

        Returns:
            Serve: send exactly the object `key`, and nothing else; Reply: the complete answer.
        """
        now = self._clock()
        return self._run(self._door.answer(request, now), now)

    async def aanswer(self, request: Request) -> Serve | Reply:
        """Do the same without blocking the event loop."""
        now = self._clock()
        return await self._arun(self._door.answer(request, now), now)

    # --- flows

    def _run(self, flow: Flow[T], now: float) -> T:
        self._renew_beside(now)
        if self._following is not None and not self._following.is_ready():
            self._following.wait()
        return run(self._stepwise(self._after_renewal(flow, now)), self._exchanges.wait)

    async def _arun(self, flow: Flow[T], now: float) -> T:
        self._renew_beside(now)
        if self._following is not None and not self._following.is_ready():
            await asyncio.to_thread(self._following.wait)
        return await arun(self._stepwise(self._after_renewal(flow, now)), self._exchanges.later)

    def _stepwise(self, flow: Flow[T]) -> Generator[Exchange, Fetched, T]:
        """The same flow, each step of which is taken alone; it yields what is under way, to be waited for."""
        step: Callable[[], Wish] = partial(next, flow)
        try:
            while True:
                try:
                    with self._lock:
                        wish = step()
                    if isinstance(wish, Keep):
                        step = partial(flow.throw, StateUnavailable("a guard remembers nothing; a gateway does"))
                        continue
                    exchange = self._begin(wish)
                except StopIteration as done:
                    result: T = done.value
                    return result
                try:
                    answer = yield exchange
                except Exception as error:
                    step = partial(flow.throw, error)
                else:
                    step = partial(flow.send, answer)
        finally:
            with self._lock:
                flow.close()
                self._log_failures()

    def _begin(self, wish: Wish) -> Exchange:
        assert isinstance(wish, Fetch), "its door has no store, catalogue or admins to ask for"
        return self._exchanges.begin(wish)

    # --- the issuers' keys

    def _after_renewal(self, flow: Flow[T], now: float) -> Flow[T]:
        """The flow, after keys were fetched that are too old to be used meanwhile: the program has slept."""
        for keys in self._door.tokens.issuers.values():
            if keys.overdue(now):
                yield from keys.refresh(now)
        return (yield from flow)

    def _renew_beside(self, now: float) -> None:
        """Fetch keys that are due in a thread, so that no request waits for them."""
        issuers = self._door.tokens.issuers.values()
        if not any(keys.keys and keys.stale(now) and not keys.overdue(now) for keys in issuers):
            return
        with self._lock:
            if self._renewal is None or not self._renewal.is_alive():
                flow = self._stepwise(self._door.tokens.refresh(now))
                self._renewal = threading.Thread(target=run, args=(flow, self._exchanges.wait), daemon=True)
                self._renewal.start()

    def _log_failures(self) -> None:
        """Say that an issuer's keys could not be had, or are here again: once for each change."""
        for url, keys in self._door.tokens.issuers.items():
            if keys.failure != self._failures.get(url, ""):
                self._failures[url] = keys.failure
                _log.warning("%s", keys.failure or f"keys of issuer {url}: they are here again")
