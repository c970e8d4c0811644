"""Answering a `Fetch` in an event loop with aiohttp: bounded in bytes and seconds, one exchange per URL at a time."""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ..core.issuers import is_safe_url
from ..core.messages import Fetch, Fetched
from .fetch_sync import checked

if TYPE_CHECKING:
    from .http_get import Client


class Fetcher:
    """Answers wishes. Those for the same URL at the same time share one exchange."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[Fetched]] = {}
        self._client: Client | None = None

    async def __call__(self, wish: Fetch) -> Fetched:
        task = self._under_way.get(wish.url)
        if task is None:
            task = self._under_way[wish.url] = asyncio.create_task(self._fetch(wish))
            task.add_done_callback(lambda _: self._under_way.pop(wish.url, None))
        # Shielded, so that a caller who hangs up does not end the exchange for the others.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Cancel exchanges that are under way, and close connections."""
        under_way = tuple(self._under_way.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def _fetch(self, wish: Fetch) -> Fetched:
        try:
            async with asyncio.timeout(wish.timeout):
                return await (self._read(wish) if wish.url.startswith("file:") else self._get(wish))
        except TimeoutError:
            return Fetched(b"", f"no answer within {wish.timeout:g} s")
        except (OSError, ValueError) as error:
            return Fetched(b"", f"{type(error).__name__}: {error}".rstrip(": "))

    async def _read(self, wish: Fetch) -> Fetched:
        path = Path(unquote(urlsplit(wish.url).path))
        return checked(await asyncio.to_thread(path.read_bytes), wish)

    async def _get(self, wish: Fetch) -> Fetched:
        if not is_safe_url(wish.url):
            return Fetched(b"", "this is not an https address")
        if self._client is None:  # imported in a thread, because aiohttp takes a large part of a start
            http_get = await asyncio.to_thread(import_module, ".http_get", __package__)
            self._client = self._client or http_get.Client()
        return await self._client.get(wish)
