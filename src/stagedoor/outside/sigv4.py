"""AWS Signature Version 4 in header form (IAM User Guide, "Create a signed AWS API request")."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

EMPTY_HASH = sha256(b"").hexdigest()
"""Hash of the payload of a request without a body."""
_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(NamedTuple):
    """What signs. `token` is there for temporary credentials only."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key!r}, …)"


class Scope(NamedTuple):
    """What a signature is good for."""

    region: str
    service: str = "s3"


def authorization(credentials: Credentials, scope: Scope, stamp: str, canonical: str, signed: str) -> str:
    """The value of the `Authorization` header field.

    Args:
        credentials: only its key pair; the token is a header field of its own.
        scope: region and service.
        stamp: the request's `x-amz-date`, for example `20150830T123600Z`.
        canonical: from `canonical_request`.
        signed: names of the signed header fields, sorted, with semicolons.
    """
    day = stamp[:8]
    place = f"{day}/{scope.region}/{scope.service}/aws4_request"
    text = f"{_ALGORITHM}\n{stamp}\n{place}\n{sha256(canonical.encode()).hexdigest()}"
    key = _signing_key(credentials.secret_key, day, scope.region, scope.service)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return f"{_ALGORITHM} Credential={credentials.access_key}/{place}, SignedHeaders={signed}, Signature={signature}"


def canonical_request(
    method: str, path: str, query: str, headers: Iterable[tuple[str, str]], signed: str, payload: str = EMPTY_HASH
) -> str:
    """The text that is signed.

    Args:
        method: in capitals.
        path: as it is sent, encoded once: S3's form, in which nothing is normalised.
        query: from `canonical_query`.
        headers: those that are signed, sorted, names in lower case, values trimmed.
        signed: their names with semicolons.
        payload: SHA-256 of the body in hexadecimal.
    """
    fields = "".join(f"{name}:{value}\n" for name, value in headers)
    return f"{method}\n{path}\n{query}\n{fields}\n{signed}\n{payload}"


def canonical_query(parameters: Iterable[tuple[str, str]]) -> str:
    """Encode and sort query parameters; the request is sent with the very same text."""
    return "&".join(f"{name}={value}" for name, value in sorted((encode(n), encode(v)) for n, v in parameters))


def encode(text: str, also_safe: str = "") -> str:
    """Percent-encode all but unreserved characters (RFC 3986 §2.3)."""
    return quote(text, safe="~" + also_safe)


@lru_cache(maxsize=16)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
