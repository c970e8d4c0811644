"""A `Fetch` answered in an event loop: with aiohttp, within time and size, and never more than once at a time."""

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

_ASKED = {"accept": "application/json", "accept-encoding": "identity"}  # what is packed could unpack to anything
_LONGEST_FIELD = 65_536
"""Bytes of one header field of an answer; aiohttp's own limit of 8 KB is less than some providers send."""
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class Fetcher:
    """Answers wishes; those for the same URL at the same time share one exchange."""

    def __init__(self) -> None:
        self._under_way: dict[str, asyncio.Task[Fetched]] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, wish: Fetch) -> Fetched:
        task = self._under_way.get(wish.url)
        if task is None:
            task = self._under_way[wish.url] = asyncio.create_task(self._fetch(wish))
            task.add_done_callback(lambda _: self._under_way.pop(wish.url, None))
        # Shielded, so that one caller who hangs up does not end the exchange for the others.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """End what is under way, and close its connections."""
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
            return Fetched(b"", _words(error.__cause__ or error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Fetched(b"", _words(error))

    async def _read(self, wish: Fetch) -> Fetched:
        path = Path(unquote(urlsplit(wish.url).path))
        return _checked(await asyncio.to_thread(path.read_bytes), wish)

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
        return _checked(body, wish)


def _open_session() -> aiohttp.ClientSession:
    """A session that keeps nothing between two exchanges: no cookies, and no connection with bytes left in it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_authorities(), force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_ASKED,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(),  # none, for `_fetch` keeps time
        max_line_size=_LONGEST_FIELD,
        max_field_size=_LONGEST_FIELD,
    )


def _authorities() -> ssl.SSLContext:
    """A TLS context that trusts what SSL_CERT_FILE or SSL_CERT_DIR names, else Mozilla's authorities as in certifi."""
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file:
        return ssl.create_default_context(cafile=file)
    return ssl.create_default_context(capath=folder) if folder else ssl.create_default_context(cafile=certifi.where())


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL. None is asked for what is on this machine.

    aiohttp's own `trust_env` would send passwords from `.netrc` along.
    """
    parts = urlsplit(url)
    if parts.hostname in _THIS_MACHINE or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _exact(url: str) -> URL:
    """A URL that is sent as it is written, if it is written in characters that a request line can hold."""
    return URL(url, encoded=all("!" <= character <= "~" for character in url))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _checked(body: bytes, wish: Fetch) -> Fetched:
    if len(body) > wish.limit:
        return Fetched(b"", f"the answer is longer than {wish.limit} bytes")
    return Fetched(body)
