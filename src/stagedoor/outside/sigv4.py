"""AWS Signature Version 4 in header form (IAM User Guide, "Create a signed AWS API request")."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

EMPTY_HASH = sha256(b"").hexdigest()
"""Hash of the payload of a request without a body."""
_ALGORITHM = "AWS4-HMAC-SHA256"
_PLAIN = re.compile("[A-Za-z0-9_.~-]*")
_PLAIN_PATH = re.compile("[A-Za-z0-9_.~/-]*")


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


class Signer:
    """Signs requests that share their header fields: those to one host in one second.

    Args:
        credentials: of the account that asks.
        scope: region and service.
        headers: the fields that are signed: names in lower case, sorted; values trimmed. One is `x-amz-date`.
        payload: SHA-256 of the body in hexadecimal.
    """

    def __init__(
        self, credentials: Credentials, scope: Scope, headers: Iterable[tuple[str, str]], payload: str = EMPTY_HASH
    ) -> None:
        fields = list(headers)
        stamp = dict(fields)["x-amz-date"]
        day, names = stamp[:8], ";".join(name for name, _ in fields)
        place = f"{day}/{scope.region}/{scope.service}/aws4_request"
        self._rest = "".join(f"{name}:{value}\n" for name, value in fields) + f"\n{names}\n{payload}"
        self._text = f"{_ALGORITHM}\n{stamp}\n{place}\n"
        self._key = _signing_key(credentials.secret_key, day, scope.region, scope.service)
        self._answer = f"{_ALGORITHM} Credential={credentials.access_key}/{place}, SignedHeaders={names}, Signature="

    def canonical_request(self, method: str, path: str, query: str = "") -> str:
        """The text whose hash is signed; arguments as for `authorization`."""
        return f"{method}\n{path}\n{query}\n{self._rest}"

    def string_to_sign(self, method: str, path: str, query: str = "") -> str:
        """The text that is signed; arguments as for `authorization`."""
        return self._text + sha256(self.canonical_request(method, path, query).encode()).hexdigest()

    def authorization(self, method: str, path: str, query: str = "") -> str:
        """The value of the `Authorization` header field.

        Args:
            method: in capitals.
            path: as it is sent, encoded once: S3's form, in which nothing is normalised.
            query: from `canonical_query`.
        """
        text = self.string_to_sign(method, path, query)
        return self._answer + hmac.digest(self._key, text.encode(), "sha256").hex()


def canonical_query(parameters: Iterable[tuple[str, str]]) -> str:
    """Encode and sort query parameters; the request is sent with the very same text."""
    return "&".join(f"{name}={value}" for name, value in sorted((encode(n), encode(v)) for n, v in parameters))


def encode(text: str) -> str:
    """Percent-encode all but unreserved characters (RFC 3986 §2.3)."""
    return text if _PLAIN.fullmatch(text) else quote(text, safe="~")


def encode_path(path: str) -> str:
    """The same for the path of a key, whose slashes stay."""
    return path if _PLAIN_PATH.fullmatch(path) else quote(path, safe="~/")


@lru_cache(maxsize=16)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
