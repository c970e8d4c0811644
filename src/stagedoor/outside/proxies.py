"""HTTP proxies that the environment names: which one to ask, and the tunnel through it (RFC 9110 §9.3.6)."""

from __future__ import annotations

import asyncio
import base64
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from .fetch_sync import THIS_MACHINE

MAX_HEAD = 65_536
"""Bytes of a proxy's answer."""


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an https URL; never one for this machine."""
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.hostname in THIS_MACHINE or proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get("https") or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


async def open_tunnel(proxy: str, host: str, port: int) -> asyncio.Transport:
    """Have a proxy connect to another host.

    Raises:
        OSError: it cannot be reached, or refuses.
    """
    parts = urlsplit(proxy)
    if parts.scheme != "http":
        raise OSError(f"a proxy of the kind {parts.scheme}: is not supported")
    loop = asyncio.get_running_loop()
    transport, answer = await loop.create_connection(_Answer, parts.hostname or "", parts.port or 80)
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    password = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        password = f"proxy-authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
    try:
        transport.write(f"CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{password}\r\n".encode())
        status = await answer.came
    except BaseException:
        transport.abort()
        raise
    if status != 200:
        transport.abort()
        raise OSError(f"the proxy answered {status}")
    return transport


class _Answer(asyncio.Protocol):
    def __init__(self) -> None:
        self.came: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        head, ends, rest = self._head.partition(b"\r\n\r\n")
        if self.came.done():
            return
        if rest or len(self._head) > MAX_HEAD:
            self.came.set_exception(OSError("the proxy's answer cannot be understood"))
        elif ends:
            status = head[9:12]
            self.came.set_result(int(status) if head.startswith(b"HTTP/1.") and status.isdigit() else 0)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.came.done():
            self.came.set_exception(OSError(f"the proxy closed the connection{f': {error}' if error else ''}"))
