"""How the gateway answers a `Fetch`: with httpx, within time and size, and never more than once at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from ..core.messages import Fetch, Fetched

_ASKED = {"accept": "application/json", "accept-encoding": "identity"}  # what is packed could unpack to anything


class Fetcher:
    """Answers wishes; those for the same URL at the same time share one exchange."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[Fetched]] = {}
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, wish: Fetch) -> Fetched:
        task = self._under_way.get(wish.url)
        if task is None:
            task = self._under_way[wish.url] = asyncio.create_task(self._fetch(wish))
            task.add_done_callback(lambda _: self._under_way.pop(wish.url, None))
        # Shielded, so that one caller who hangs up does not end the exchange for the others.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _fetch(self, wish: Fetch) -> Fetched:
        try:
            async with asyncio.timeout(wish.timeout):
                return await (self._read(wish) if wish.url.startswith("file:") else self._get(wish))
        except TimeoutError:
            return Fetched(b"", f"no answer within {wish.timeout:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Fetched(b"", f"{type(error).__name__}: {error}".rstrip(": "))

    async def _read(self, wish: Fetch) -> Fetched:
        path = Path(unquote(urlsplit(wish.url).path))
        return _checked(await asyncio.to_thread(path.read_bytes), wish)

    async def _get(self, wish: Fetch) -> Fetched:
        if self._client is None:
            # A proxy from the environment is not asked for what is on this machine.
            local: dict[str, None] = dict.fromkeys(("all://localhost", "all://127.0.0.1", "all://[::1]"))
            self._client = httpx.AsyncClient(follow_redirects=False, timeout=None, mounts=local)  # noqa: S113 - `_fetch` keeps time
        async with self._client.stream("GET", wish.url, headers=_ASKED) as response:
            if response.status_code != 200:
                return Fetched(b"", f"the answer was {response.status_code}, not 200")
            body = b""
            async for part in response.aiter_raw():
                body += part
                if len(body) > wish.limit:
                    break
        return _checked(body, wish)


def _checked(body: bytes, wish: Fetch) -> Fetched:
    if len(body) > wish.limit:
        return Fetched(b"", f"the answer is longer than {wish.limit} bytes")
    return Fetched(body)
