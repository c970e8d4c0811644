"""What the commands ask of issuers, of the store, of AWS and of the catalogue, in the very way of the gateway.

Heavy to import, so commands do it where they ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import closing
from typing import TypeVar

from ..catalogue import open_catalogue
from ..core import messages
from ..core.caller import Caller
from ..core.drivers import arun
from ..core.errors import StagedoorError
from ..core.issuers import IssuerKeys
from ..core.listing import MAX_NAMES, visible
from ..core.messages import Answered, Fetch, Fetched, Flow, List, Listed, Wish
from ..core.passes import Signer
from ..core.policy.reach import Reach
from ..core.tokens import Tokens
from ..keys import signatures
from ..keys.pass_keys import PublicKey, open_passes, read_private, read_public
from ..outside.fetch_async import Fetcher
from ..settings import Settings
from ..store import open_store

T = TypeVar("T")


def fetch(wish: Fetch) -> Fetched:
    """Ask for one document."""

    return _drive(messages.fetch(wish))[0]


def verify(value: str, settings: Settings, now: float) -> Caller:
    """Verify a token; arguments and errors as for `Tokens.verify`."""
    return _drive(Tokens(settings.issuers, signatures).verify(value, now))[0]


def refresh(settings: Settings, now: float) -> list[IssuerKeys]:
    """Ask every issuer for its keys."""
    sources = list(Tokens(settings.issuers, signatures).issuers.values())
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


def pages(
    settings: Settings, caller: Caller, prefix: str, *, folders: bool = False, limit: int | None = None
) -> Generator[Listed]:
    """List what a caller may see, page by page; no more than one page is in memory.

    Args:
        settings: for the store and the policy.
        caller: for whom.
        prefix, folders: as for `messages.List`.
        limit: names in all; None: as many as there are.

    Raises:
        StoreRefused, Unavailable: the store cannot be asked.
    """
    with asyncio.Runner() as runner:
        store, reach = (
            open_store(settings.store, region=settings.region, endpoint=settings.endpoint),
            Reach(settings.policy),
        )

        async def ask(wish: Wish) -> Answered:
            assert isinstance(wish, List)
            return await store.list(wish)

        try:
            after: str | None = ""
            left = MAX_NAMES if limit is None else limit
            while after is not None and left:
                wish = List(prefix, after, min(left, MAX_NAMES), folders)
                listed = runner.run(arun(visible(reach, caller, wish, settings.index), ask))
                yield listed
                after = listed.resume
                left -= len(listed.found) if limit is not None else 0
        finally:
            runner.run(store.aclose())


def open_signer(settings: Settings) -> Signer | None:
    """The signer of the site's passes; None if the settings name no private key.

    Raises:
        InvalidKey, StoreRefused, Unavailable: as for `open_passes`.
    """
    return open_passes(settings.passes, settings.aws_region)[1]


def present_key(settings: Settings) -> PublicKey:
    """The public half of the key that signs passes now; asks AWS only if AWS keeps it.

    Raises:
        InvalidKey, StoreRefused, Unavailable: as for `open_passes`.
    """
    passes = settings.passes
    assert passes.key_id is not None
    assert passes.private_key is not None
    public = passes.public_keys.get(passes.key_id)
    if isinstance(public, bytes):
        return read_public(public)
    passphrase = None if passes.passphrase is None else _kept(passes.passphrase, settings)
    return read_private(_kept(passes.private_key, settings), passphrase).public_key()


def passes_failure(settings: Settings) -> str:
    """Try to get hold of the keys of passes; say why they cannot be used, or "" if they can."""
    try:
        open_passes(settings.passes, settings.aws_region)
    except StagedoorError as error:
        return str(error)
    return ""


def catalogue_failure(settings: Settings) -> str:
    """Ask the catalogue for an entry; say why it cannot answer, or "" if it can."""
    assert settings.catalogue is not None
    try:
        with closing(open_catalogue(settings.catalogue, region=settings.aws_region)) as catalogue:
            catalogue.find("stagedoor-check")
    except StagedoorError as error:
        return str(error)
    return ""


def _kept(secret: bytes | str, settings: Settings) -> bytes:
    if isinstance(secret, bytes):
        return secret
    from ..outside import aws as aws_secrets  # heavy, and not needed by most

    return aws_secrets.read(secret, settings.aws_region)


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
