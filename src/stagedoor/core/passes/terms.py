"""What a pass says, and how its parts are written."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, TypeGuard

from ..errors import InvalidTarget

Hash: TypeAlias = Literal["sha1", "sha256"]
Sign: TypeAlias = Callable[[Hash, bytes], bytes]
"""The private-key operation: RSA with PKCS#1 v1.5 padding, or ECDSA in DER."""
PassCheck: TypeAlias = Callable[[Hash, bytes, bytes], bool]
"""Is this the signature of these bytes? Behind it is one public key."""

_NO_BASE64 = str.maketrans("+=/", "-_~")
_BASE64 = str.maketrans("-_~", "+=/")
_NETWORK = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?\Z")
UNFIT = re.compile(r'[\x00-\x1f\x7f"\\]')
"""What would end the JSON string that a URL stands in, or be read differently by two programs."""
UNSAFE = re.compile(r"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")
"""What no URL may hold."""


class Terms(NamedTuple):
    """What a pass says.

    Attributes:
        resource: URL that it opens; in a custom policy `*` stands for any characters and `?` for one.
        expires: epoch seconds at which it is over.
        starts: epoch seconds until which it is not yet good; None: good at once.
        network: IPv4 network in CIDR notation that it is good for; None: any address.
    """

    resource: str
    expires: int
    starts: int | None = None
    network: str | None = None

    def canned(self) -> str:
        """The text of a canned policy: white space and order are fixed."""
        return (
            f'{{"Statement":[{{"Resource":"{self.resource}",'
            f'"Condition":{{"DateLessThan":{{"AWS:EpochTime":{self.expires}}}}}}}]}}'
        )

    def custom(self) -> str:
        """The text of a custom policy, in the order that AWS's own signer for JavaScript has."""
        condition: dict[str, object] = {"DateLessThan": {"AWS:EpochTime": self.expires}}
        if self.starts is not None:
            condition["DateGreaterThan"] = {"AWS:EpochTime": self.starts}
        if self.network is not None:
            condition["IpAddress"] = {"AWS:SourceIp": cidr(self.network)}
        statement = {"Statement": [{"Resource": self.resource, "Condition": condition}]}
        return json.dumps(statement, separators=(",", ":"), ensure_ascii=False)

    def refusal(self, client: str, now: float) -> str:
        """Code of why it is not good at this moment, for this address; "" if it is."""
        if now >= self.expires:
            return "pass-expired"
        if self.starts is not None and now <= self.starts:
            return "pass-early"
        return "pass-address" if self.network is not None and not is_in(client, self.network) else ""


class Grant(NamedTuple):
    """A pass that was verified: its terms and the id of the key that signed it."""

    terms: Terms
    key_id: str


def is_epoch(moment: object) -> TypeGuard[int]:
    """A whole number of seconds, and not of milliseconds."""
    return type(moment) is int and 0 <= moment < 10**12


def cidr(network: str) -> str:
    parsed = network_of(network)
    if parsed is None:
        raise InvalidTarget(f"{network!r} is no IPv4 address or network; write 192.0.2.0/24")
    return network if "/" in network else f"{network}/32"


def network_of(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text, strict=False) if _NETWORK.match(text) else None
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def is_in(client: str, network: str) -> bool:
    """Is the address in the IPv4 network? An IPv6 address is in none, unless it stands for an IPv4 address."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    parsed = network_of(network)
    return parsed is not None and address in parsed


def armour(raw: bytes) -> str:
    """base64 with the characters that CloudFront wants in URLs."""
    return base64.b64encode(raw).decode().translate(_NO_BASE64)


def disarm(text: str) -> bytes | None:
    """The bytes; None if `armour` would not have written them so."""
    try:
        raw = base64.b64decode(text.translate(_BASE64), validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if armour(raw) == text else None
