"""One GET with aiohttp, as `fetch_async` needs it: https only, no redirect, bounded in bytes.

It is a module of its own because importing aiohttp takes long: the gateway answers its first requests meanwhile.
"""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import certifi
from yarl import URL

from ..core.messages import Fetch, Fetched
from .fetch_sync import THIS_MACHINE, checked

_ASKED = {"accept": "application/json", "accept-encoding": "identity"}  # a compressed body could unpack to any size
_LONGEST_FIELD = 65_536
"""Bytes of one header field of an answer; aiohttp's own limit of 8 KB is less than some providers send."""


class Client:
    """Keeps neither cookies nor connections from one exchange to the next."""

    def __init__(self) -> None:
        self._session = _open_session()

    async def get(self, wish: Fetch) -> Fetched:
        """Fetch the URL of a wish. The caller limits the time.

        Raises:
            OSError, ValueError: aiohttp lets a few of them through.
        """
        asking = self._session.get(_exact(wish.url), proxy=_proxy_for(wish.url), allow_redirects=False)
        try:
            async with asking as response:
                if response.status != 200:
                    return Fetched(b"", f"the answer was {response.status}, not 200")
                body = b""
                async for part in response.content.iter_any():
                    body += part
                    if len(body) > wish.limit:
                        break
        except aiohttp.ClientConnectorError as error:
            return Fetched(b"", _description(error.__cause__ or error))
        except aiohttp.ClientError as error:
            return Fetched(b"", _description(error))
        return checked(body, wish)

    async def aclose(self) -> None:
        """Close connections."""
        await self._session.close()


def _description(error: BaseException) -> str:
    """The reason for an answer's `error`."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _open_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_authorities(), force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_ASKED,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(),  # none, because `Fetcher` limits the time
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
