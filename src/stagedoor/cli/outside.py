"""What the commands ask of issuers and of the store, in the very way of the gateway.

Heavy to import, so commands do it where they ask.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from .. import crypto, messages
from ..door import arun
from ..errors import StagedoorError
from ..gateway.fetch import Fetcher
from ..messages import Answered, Fetch, Fetched, Flow, Wish
from ..settings import Settings
from ..store import open_store
from ..tokens import Caller, IssuerKeys, Tokens

T = TypeVar("T")


def fetch(wish: Fetch) -> Fetched:
    """Ask for one document."""

    return _drive(messages.fetch(wish))[0]


def verify(value: str, settings: Settings, now: float) -> Caller:
    """Verify a token; arguments and errors as for `Tokens.verify`."""
    return _drive(Tokens(settings.issuers, crypto).verify(value, now))[0]


def refresh(settings: Settings, now: float) -> list[IssuerKeys]:
    """Ask every issuer for its keys."""
    sources = list(Tokens(settings.issuers, crypto).issuers.values())
    _drive(*(source.refresh(now) for source in sources))
    return sources


def store_failure(settings: Settings) -> str:
    """Ask the store whether it is ready; say why not, or "" if it is."""

    async def ask() -> None:
        store = open_store(settings.store, region=settings.region, endpoint=settings.endpoint)
        try:
            async with asyncio.timeout(15):
                await store.ready()
        finally:
            await store.aclose()

    try:
        asyncio.run(ask())
    except (StagedoorError, OSError) as error:
        return str(error) or type(error).__name__
    return ""


def _drive(*flows: Flow[T]) -> list[T]:
    """Drive flows to their ends, side by side."""

    async def together() -> list[T]:
        fetcher = Fetcher()

        async def ask(wish: Wish) -> Answered:
            assert isinstance(wish, Fetch)
            return await fetcher(wish)

        try:
            return await asyncio.gather(*(arun(flow, ask) for flow in flows))
        finally:
            await fetcher.aclose()

    return asyncio.run(together())
