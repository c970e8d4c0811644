"""Answering a `Fetch` in an event loop with aiohttp: bounded in bytes and seconds, one exchange per URL at a time."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi
from yarl import URL

from ..core.issuers import is_safe_url
from ..core.messages import Fetch, Fetched
from .fetch_sync import THIS_MACHINE, checked

_ASKED = {"accept": "application/json", "accept-encoding": "identity"}  # a compressed body could unpack to any size
_LONGEST_FIELD = 65_536
"""Bytes of one header field of an answer; aiohttp's own limit of 8 KB is less than some providers send."""


class Fetcher:
    """Answers wishes. Those for the same URL at the same time share one exchange."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[Fetched]] = {}
        self._session: aiohttp.ClientSession | None = None

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
        if self._session is not None:
            await self._session.close()

    async def _fetch(self, wish: Fetch) -> Fetched:
        try:
            async with asyncio.timeout(wish.timeout):
                return await (self._read(wish) if wish.url.startswith("file:") else self._get(wish))
        except TimeoutError:
            return Fetched(b"", f"no answer within {wish.timeout:g} s")
        except aiohttp.ClientConnectorError as error:
            return Fetched(b"", _description(error.__cause__ or error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Fetched(b"", _description(error))

    async def _read(self, wish: Fetch) -> Fetched:
        path = Path(unquote(urlsplit(wish.url).path))
        return checked(await asyncio.to_thread(path.read_bytes), wish)

    async def _get(self, wish: Fetch) -> Fetched:
        if not is_safe_url(wish.url):
            return Fetched(b"", "this is not an https address")
        if self._session is None:
            self._session = _open_session()
        asking = self._session.get(_exact(wish.url), proxy=_proxy_for(wish.url), allow_redirects=False)
        async with asking as response:
            if response.status != 200:
                return Fetched(b"", f"the answer was {response.status}, not 200")
            body = b""
            async for part in response.content.iter_any():
                body += part
                if len(body) > wish.limit:
                    break
        return checked(body, wish)


def _open_session() -> aiohttp.ClientSession:
    """A session that keeps neither cookies nor connections from one exchange to the next."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_authorities(), force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_ASKED,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(),  # none, because `_fetch` limits the time
        max_line_size=_LONGEST_FIELD,
        max_field_size=_LONGEST_FIELD,
    )


def _authorities() -> ssl.SSLContext:
    """A TLS context that trusts the authorities of SSL_CERT_FILE or SSL_CERT_DIR, else Mozilla's from certifi."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file:
        return ssl.create_default_context(cafile=file)
    return ssl.create_default_context(capath=folder) if folder else ssl.create_default_context(cafile=certifi.where())


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL; never one for this machine.

    aiohttp's own `trust_env` would also send passwords from `.netrc`.
    """
    parts = urlsplit(url)
    if parts.hostname in THIS_MACHINE or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _exact(url: str) -> URL:
    """A URL that is sent as it is written, if a request line can hold all of its characters."""
    return URL(url, encoded=all("!" <= character <= "~" for character in url))


def _description(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
