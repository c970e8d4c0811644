"""Who is at the other end of a connection: the peer, or what a listed proxy says of it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from ..core.messages import Headers
from ..settings import Network


def client_address(peer: str, headers: Headers, trusted: Sequence[Network]) -> str:
    """Who is at the other end: the peer, or what a listed proxy says of it.

    Args:
        peer: address of the TCP peer.
        headers: only `X-Forwarded-For` is looked at, and only if the peer is listed.
        trusted: networks of the proxies.

    Returns:
        The rightmost address that is not a listed proxy's own. IPv4-mapped addresses count as IPv4. "" if a proxy
        names somebody in a way that cannot be read: that must not pass for the proxy's own address.
    """
    if not trusted:
        return peer
    forwarded = b",".join(headers.get(b"x-forwarded-for", ())).decode("latin-1")
    for hop in [peer, *(part.strip() for part in reversed(forwarded.split(",")) if part.strip())]:
        address = _address(hop)
        if address is None:
            return ""
        peer = str(address)
        if not any(address in network for network in trusted):
            break
    return peer


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as proxies write it, some with a port; None if it is none."""
    with_port = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:  # free text, and it means nothing on another machine
            return None
        return address.ipv4_mapped or address
    return address


_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
