"""What commands ask of the services behind a site: its issuers, its store, its catalogue, AWS.

Importing this takes long, so commands do it where they ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing

from ..catalogue import open_catalogue
from ..core.caller import Caller
from ..core.drivers import run
from ..core.errors import StagedoorError, StateUnavailable
from ..core.issuers import IssuerKeys
from ..core.listing import MAX_NAMES, visible
from ..core.messages import Answered, Fetch, List, Listed, Wish
from ..core.policy.reach import Reach
from ..core.revocations import from_text
from ..core.tokens import Tokens
from ..keys import signatures
from ..keys.pass_keys import open_passes
from ..outside.fetch_sync import fetch
from ..outside.trust import context_for
from ..settings import Settings
from ..settings.site import make_revocations, make_store
from ..state import open_state

STORE_WITHIN = 15.0
"""Seconds that the store has to say that it is ready."""


# --- issuers


def verify(token: str, settings: Settings, now: float) -> Caller:
    """Verify a token, and look whether it was taken back; errors as for `Tokens.verify` and `check_taken_back`."""
    caller = run(Tokens(settings.issuers, signatures).verify(token, now), fetcher(settings))
    check_taken_back(caller, settings, now)
    return caller


def check_taken_back(caller: Caller, settings: Settings, now: float) -> None:
    """Let a caller pass of whom nothing was taken back, as far as the state knows; without a state everybody.

    Raises:
        Revoked: they were taken out, or what they bring was.
        StateUnavailable: the state cannot be read.
    """
    revocations = make_revocations(settings)
    if settings.state is None or revocations is None:
        return
    after = 0
    with closing(open_state(settings.state, region=settings.aws_region)) as state:
        while page := state.after(after):
            after = page[-1].sequence
            try:
                revocations.add(from_text(entry.text) for entry in page)
            except ValueError as error:
                raise StateUnavailable(f"what was taken back cannot be read: {error}") from error
    revocations.add((), now)
    revocations.check(caller, now)


def refresh(settings: Settings, now: float) -> list[IssuerKeys]:
    """Ask every issuer for its keys, all at the same time."""
    issuers, ask = list(Tokens(settings.issuers, signatures).issuers.values()), fetcher(settings)
    with ThreadPoolExecutor(max(len(issuers), 1)) as threads:
        list(threads.map(lambda keys: run(keys.refresh(now), ask), issuers))
    return issuers


def fetcher(settings: Settings) -> Callable[[Wish], Answered]:
    """What answers a flow's wishes for documents of issuers."""

    def answer(wish: Wish) -> Answered:
        assert isinstance(wish, Fetch)
        return fetch(wish, tls=context_for(settings.ca))

    return answer


# --- store


def pages(
    settings: Settings, caller: Caller, prefix: str, *, folders: bool = False, limit: int | None = None
) -> Generator[Listed]:
    """List what a caller may read, with one page in memory at a time.

    Args:
        settings: name the store and the rules.
        caller: who would read it.
        prefix, folders: as for `messages.List`.
        limit: number of names; None: all.

    Raises:
        StoreRefused, Unavailable: the store did not answer.
    """
    with asyncio.Runner() as runner:
        store = make_store(settings, cached=False)

        def ask(wish: Wish) -> Answered:
            assert isinstance(wish, List)
            return runner.run(store.list(wish))

        reach, after, left = Reach(settings.policy), "", limit
        try:
            while left != 0:
                wish = List(prefix, after, MAX_NAMES if left is None else min(left, MAX_NAMES), folders)
                page = run(visible(reach, caller, wish, settings.index), ask)
                yield page
                if page.resume is None:
                    return
                after = page.resume
                left = None if left is None else left - len(page.found)
        finally:
            runner.run(store.aclose())


# --- does it answer? each of these returns why not, or "" if it does


def store_failure(settings: Settings) -> str:
    async def ask() -> None:
        async with aclosing(make_store(settings, cached=False)) as store, asyncio.timeout(STORE_WITHIN):
            await store.ready()

    return _failure(lambda: asyncio.run(ask()))


def passes_failure(settings: Settings) -> str:
    return _failure(lambda: open_passes(settings.passes, settings.aws_region))


def catalogue_failure(settings: Settings) -> str:
    def ask() -> None:
        assert settings.catalogue is not None
        with closing(open_catalogue(settings.catalogue, region=settings.aws_region)) as catalogue:
            catalogue.find("stagedoor-check")

    return _failure(ask)


def state_failure(settings: Settings) -> str:
    def ask() -> None:
        assert settings.state is not None
        with closing(open_state(settings.state, region=settings.aws_region)) as state:
            state.after(0)

    return _failure(ask)


def _failure(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (StagedoorError, OSError) as error:
        return str(error) or type(error).__name__
    return ""
