"""Signed JSON, read strictly: base64url and JSON in one form only, a JWS in its parts, and the port for signatures.

Nothing is trusted here; `tokens` and `session` decide that. The signature check is a port: `keys/signatures.py` asks
OpenSSL, `rsa.py` needs the standard library only.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import NamedTuple, Protocol, TypeAlias

from .errors import InvalidKeySet, InvalidToken

MAX_TOKEN_BYTES = 16_384
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
OTHER_NAMES: Mapping[str, str] = {"Ed25519": "EdDSA"}
"""New name -> name here: with a key on this curve both mean one algorithm (RFC 9864 §2.2, RFC 8037 §3.1)."""
MAX_DEPTH = 128
"""Objects and lists inside one another; Python's own limit differs from version to version."""
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")
_STRING = re.compile(rb'"(?:[^"\\]+|\\.?)*"?', re.DOTALL)
_STEP = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _STEP)

SignatureCheck: TypeAlias = Callable[[str, bytes, bytes], bool]
"""(algorithm, signed bytes, signature) -> is it right? Never raises."""


class SignaturePort(Protocol):
    """How public keys are loaded and signatures checked: the modules `keys.signatures` and `core.rsa`."""

    @property
    def ALGORITHMS(self) -> frozenset[str]: ...  # noqa: N802 - modules are the implementations

    def load(self, jwk: Mapping[str, object], /) -> SignatureCheck:
        """Raise InvalidKeySet if this is not a key that the port can use."""


def algorithm_name(alg: object) -> object:
    """The name in `ALGORITHMS` for one that means the same; any other value as it is."""
    return OTHER_NAMES.get(alg, alg) if isinstance(alg, str) else alg


class Jws(NamedTuple):
    """A compact JWS (RFC 7515 §7.1), split into its parts and not yet trusted."""

    header: Mapping[str, object]
    signed: bytes
    payload: bytes
    signature: bytes

    @property
    def algorithm(self) -> str:
        return str(algorithm_name(self.header["alg"]))

    @property
    def kid(self) -> str | None:
        return None if "kid" not in self.header else str(self.header["kid"])


def split(token: str, limit: int = MAX_TOKEN_BYTES) -> Jws:
    """Split a compact JWS into its parts.

    Args:
        token: as it was sent.
        limit: bytes that it may have.

    Raises:
        InvalidToken: too long, not three base64url parts, or a header that is not plain JSON of known members.
    """
    if len(token) > limit:
        raise InvalidToken(f"the token is longer than {limit} bytes", code="token-too-long")
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidToken("the token is not three parts joined by dots (is it a JWT?)", code="token-shape")
    head, payload, signature = (base64url(part) for part in parts)
    header = json_object(head, "header")
    if not isinstance(header.get("alg"), str):
        raise InvalidToken("the token's header has no alg", code="token-shape")
    if "crit" in header or "b64" in header:
        raise InvalidToken("the token's header asks for extensions (crit) that are not supported", code="token-shape")
    if not isinstance(header.get("kid", ""), str):
        raise InvalidToken("the token's kid is not a string", code="token-shape")
    return Jws(header, f"{parts[0]}.{parts[1]}".encode(), payload, signature)


def base64url(text: str) -> bytes:
    """Decode base64url without padding, in its one canonical form (RFC 7515 §2)."""
    if not _BASE64URL.match(text) or len(text) % 4 == 1:
        raise InvalidToken("a part of the token is not base64url", code="token-shape")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise InvalidToken("a part of the token is not canonical base64url", code="token-shape")
    return raw


def json_object(raw: bytes, what: str) -> dict[str, object]:
    """Parse a JSON object; duplicate members, NaN and more than `MAX_DEPTH` levels are refused."""
    if _depth(raw) > MAX_DEPTH:
        raise InvalidToken(f"the token's {what} has more than {MAX_DEPTH} levels", code="token-shape")
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except ValueError as error:
        raise InvalidToken(f"the token's {what} is not JSON as it should be", code="token-shape") from error
    if not isinstance(value, dict):
        raise InvalidToken(f"the token's {what} is not a JSON object", code="token-shape")
    return value


def _depth(raw: bytes) -> int:
    """How deep a parser can get into this text, before or after something in it is wrong."""
    if raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH:
        return 0
    brackets = _STRING.sub(b"", raw).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _no_constant(name: str) -> object:
    raise ValueError(name)


def octets(jwk: Mapping[str, object], member: str) -> bytes:
    """The bytes of a base64url member of a JWK.

    RFC 7515 §2 leaves the padding out; publishers who write it mean the same number, so it is read over.

    Raises:
        InvalidKeySet: the key lacks the member, or it is not base64url.
    """
    value = jwk.get(member)
    if value is None:
        raise InvalidKeySet(f"the key has no {member}")
    text = value.rstrip("=") if isinstance(value, str) else ""
    if not text or not _BASE64URL.match(text):
        plain = "; it has + or /, so it is base64" if text and set("+/").intersection(text) else ""
        raise InvalidKeySet(f"{member} is not base64url (RFC 7515 §2){plain}")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise InvalidKeySet(f"{member} is not base64url (RFC 7515 §2): it was cut") from None
