"""CloudFront's own check of signed URLs and cookies, written from its documentation, without code of the product.

Source: CloudFront Developer Guide, "Serve private content with signed URLs and signed cookies".
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
Fields: TypeAlias = dict[str, str]

FIELDS = ("Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm")
_HASHES = {"": hashes.SHA1(), "SHA1": hashes.SHA1(), "SHA256": hashes.SHA256()}


def from_query(query: str) -> tuple[Fields, str]:
    """The pass in a query, and the query without it."""
    parts = [part.partition("=") for part in query.split("&") if part]
    fields = {name: value for name, _, value in parts if name in FIELDS}
    return fields, "&".join("".join(part) for part in parts if part[0] not in FIELDS)


def from_cookies(cookies: str) -> Fields:
    """The pass in a Cookie header."""
    pairs = (cookie.strip().partition("=") for cookie in cookies.split(";"))
    named = {name.removeprefix("CloudFront-"): value for name, _, value in pairs if name.startswith("CloudFront-")}
    return {name: value for name, value in named.items() if name in FIELDS}


def opens(fields: Fields, url: str, keys: Mapping[str, PublicKey], client: str, now: float) -> bool:
    """Does a pass open a URL?

    Args:
        fields: of the pass, by name.
        url: as the client sent it, without the pass.
        keys: of the trusted key groups, by id.
        client: address of the client.
        now: epoch seconds.
    """
    key = keys.get(fields.get("Key-Pair-Id", ""))
    if key is None or not fields.get("Signature") or ("Policy" in fields) == ("Expires" in fields):
        return False
    try:
        if "Policy" in fields:
            text = _disarmed(fields["Policy"])
        else:
            when = f'{{"DateLessThan":{{"AWS:EpochTime":{int(fields["Expires"])}}}}}'
            text = f'{{"Statement":[{{"Resource":"{url}","Condition":{when}}}]}}'.encode()
        _verify(key, _disarmed(fields["Signature"]), text, _HASHES[fields.get("Hash-Algorithm", "")])
        (statement,) = json.loads(text)["Statement"]
        return _holds(statement, url, client, now)
    except (InvalidSignature, ValueError, KeyError, TypeError):
        return False


def _verify(key: PublicKey, signature: bytes, text: bytes, algorithm: hashes.HashAlgorithm) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, text, padding.PKCS1v15(), algorithm)
    else:
        key.verify(signature, text, ec.ECDSA(algorithm))


def _disarmed(text: str) -> bytes:
    return base64.b64decode(text.translate(str.maketrans("-_~", "+=/")), validate=True)


def _holds(statement: Any, url: str, client: str, now: float) -> bool:
    conditions = dict(statement["Condition"])
    pattern = "".join(
        {"*": ".*", "?": ".", "\\?": r"\?"}.get(symbol) or re.escape(symbol)
        for symbol in re.findall(r"\\\?|.", statement["Resource"], re.DOTALL)
    )
    end = conditions.pop("DateLessThan")["AWS:EpochTime"]
    start = conditions.pop("DateGreaterThan", {"AWS:EpochTime": 0})["AWS:EpochTime"]
    network = conditions.pop("IpAddress", {"AWS:SourceIp": "0.0.0.0/0"})["AWS:SourceIp"]
    near = ip_address(client) in ip_network(network)
    return not conditions and type(end) is int and start < now < end and near and bool(re.fullmatch(pattern, url))
