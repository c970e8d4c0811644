"""What commands ask of the services behind a site: its issuers, its store, its catalogue, AWS.

They are asked as the gateway asks them, so that a command says what the site would do. Importing this takes long, so
commands do it where they ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from typing import TypeVar

from ..catalogue import open_catalogue
from ..core import messages
from ..core.caller import Caller
from ..core.drivers import arun
from ..core.errors import StagedoorError
from ..core.issuers import IssuerKeys
from ..core.listing import MAX_NAMES, visible
from ..core.messages import Answered, Fetch, Fetched, Flow, List, Listed, Wish
from ..core.policy.reach import Reach
from ..core.tokens import Tokens
from ..keys import signatures
from ..keys.pass_keys import open_passes
from ..outside.fetch_async import Fetcher
from ..settings import Settings
from ..store import open_store
from ..store.port import Store

T = TypeVar("T")

STORE_WITHIN = 15.0
"""Seconds that the store has to say that it is ready."""


# --- issuers


def fetch(url: str) -> Fetched:
    """Fetch one document."""
    return _drive(messages.fetch(Fetch(url)))[0]


def verify(token: str, settings: Settings, now: float) -> Caller:
    """Verify a token; errors as for `Tokens.verify`."""
    return _drive(Tokens(settings.issuers, signatures).verify(token, now))[0]


def refresh(settings: Settings, now: float) -> list[IssuerKeys]:
    """Ask every issuer for its keys, all at the same time."""
    issuers = list(Tokens(settings.issuers, signatures).issuers.values())
    _drive(*(keys.refresh(now) for keys in issuers))
    return issuers


def _drive(*flows: Flow[T]) -> list[T]:
    async def drive() -> list[T]:
        async with aclosing(Fetcher()) as fetcher:

            async def ask(wish: Wish) -> Answered:
                assert isinstance(wish, Fetch)
                return await fetcher(wish)

            return await asyncio.gather(*(arun(flow, ask) for flow in flows))

    return asyncio.run(drive())


# --- store


async def pages(
    settings: Settings, caller: Caller, prefix: str, *, folders: bool = False, limit: int | None = None
) -> AsyncGenerator[Listed]:
    """List what a caller may read, with one page in memory at a time.

    Args:
        settings: name the store and the rules.
        caller: who would read it.
        prefix, folders: as for `messages.List`.
        limit: number of names; None: all.

    Raises:
        StoreRefused, Unavailable: the store did not answer.
    """
    async with aclosing(_store(settings)) as store:

        async def ask(wish: Wish) -> Answered:
            assert isinstance(wish, List)
            return await store.list(wish)

        reach, after, left = Reach(settings.policy), "", limit
        while left != 0:
            wish = List(prefix, after, MAX_NAMES if left is None else min(left, MAX_NAMES), folders)
            page = await arun(visible(reach, caller, wish, settings.index), ask)
            yield page
            if page.resume is None:
                break
            after = page.resume
            left = None if left is None else left - len(page.found)


def _store(settings: Settings) -> Store:
    return open_store(settings.store, region=settings.region, endpoint=settings.endpoint)


# --- is it there? each returns why not, or "" if it is


def store_failure(settings: Settings) -> str:
    async def ask() -> None:
        async with aclosing(_store(settings)) as store, asyncio.timeout(STORE_WITHIN):
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


def _failure(ask: Callable[[], object]) -> str:
    try:
        ask()
    except (StagedoorError, OSError) as error:
        return str(error) or type(error).__name__
    return ""
