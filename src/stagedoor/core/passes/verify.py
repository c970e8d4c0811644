"""Verifying passes, with checks by public keys that are passed in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import unquote

from ..credentials import PassFields, without_pass
from ..errors import InvalidPass, InvalidToken
from ..jose import json_object
from ..messages import Request
from .terms import UNFIT, UNSAFE, Grant, Hash, PassCheck, Terms, disarm, is_epoch, network_of
from .wildcards import opens

K = TypeVar("K")
V = TypeVar("V")

MAX_POLICY_CHARACTERS = 8192
"""Bound of a policy as it is sent; CloudFront takes URLs of 8,192 bytes ("Quotas")."""
REMEMBERED = 4096
"""Verified passes that are remembered, of each kind."""
MAX_REMEMBERED_BYTES = 2048
"""Longest signed URL that is remembered: a pass with a wildcard can be written in as many ways as its holder likes."""

_HASHES: Mapping[str, Hash] = {"": "sha1", "SHA1": "sha1", "SHA256": "sha256"}
_EPOCH = re.compile(r"(?:0|[1-9][0-9]{0,11})\Z")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")

MISSING_KEY = ("MissingKey", "Missing Key-Pair-Id query parameter or cookie value")
_UNKNOWN_KEY = ("InvalidKey", "Unknown Key")
_SIGNATURE = ("MalformedSignature", "Could not unencode Signature")
_POLICY = ("MalformedPolicy", "Malformed Policy")
_REFUSALS = {
    "pass-expired": "the pass is over",
    "pass-early": "the pass is not good yet",
    "pass-address": "the pass is for other addresses",
}


class Passes:
    """Verifies passes. What was verified once is remembered; its terms are still asked about each request.

    Args:
        site: origin of the site: the Host header decides nothing.
        keys: key id -> check with that public key; all of them count.
    """

    def __init__(self, site: str, keys: Mapping[str, PassCheck]) -> None:
        self._site, self.keys = site, keys
        self._urls: dict[tuple[bytes, bytes], Grant] = {}
        self._signed: dict[str, tuple[PassFields, Grant]] = {}  # by its signature; all its fields must be the same

    def known_url(self, request: Request, now: float) -> Grant | None:
        """The grant of a signed URL that was verified before; None: not seen yet, or it opens nothing (any more)."""
        grant = self._urls.get((request.path, request.query))
        return grant if grant is not None and not grant.terms.refusal(request.client, now) else None

    def verify_url(self, request: Request, fields: PassFields, now: float) -> Grant:
        """Check a signed URL.

        Args:
            request: for its path, its query with the parameters of the pass, and the client's address.
            fields: those parameters, by name.
            now: epoch seconds.

        Raises:
            InvalidPass: it does not open this URL for this client now.
        """
        grant = self._verify(request.path, without_pass(request.query), fields, request.client, now)
        if len(request.path) + len(request.query) <= MAX_REMEMBERED_BYTES:
            _remember(self._urls, (request.path, request.query), grant)
        return grant

    def verify_cookies(
        self, request: Request, fields: PassFields, now: float, others: Sequence[PassFields] = ()
    ) -> Grant:
        """Check signed cookies; arguments and errors as for `verify_url`.

        Args:
            others: more sets, as browsers send them for nested paths. Each alone may open the URL.
        """
        errors = []
        for one in (fields, *others):
            try:
                return self._verify(request.path, request.query, one, request.client, now)
            except InvalidPass as error:
                errors.append(error)
        raise next((error for error in errors if error.code in _REFUSALS), errors[0])

    def _verify(self, path: bytes, query: bytes, fields: PassFields, client: str, now: float) -> Grant:
        """In stages: the fields, the policy's shape, the signature, and only then what the policy says."""
        grant = self._seen(fields) or self._signed_policy(fields)
        url = f"{self._site}{path.decode('latin-1')}" + (f"?{query.decode('latin-1')}" if query else "")
        if UNFIT.search(url):
            raise InvalidPass("no pass is for a URL with such characters", code="pass-resource")
        if grant is None:
            grant = self._canned(fields, url)
        elif not opens(grant.terms.resource, url):
            raise InvalidPass("the pass is for another resource", code="pass-resource")
        refusal = grant.terms.refusal(client, now)
        if refusal:
            raise InvalidPass(_REFUSALS[refusal], code=refusal)
        return grant

    def _seen(self, fields: PassFields) -> Grant | None:
        """What a custom policy grants whose signature was found to be right before."""
        found = self._signed.get(fields.get("Signature", ""))
        return found[1] if found is not None and found[0] == fields else None

    def _signed_policy(self, fields: PassFields) -> Grant | None:
        """What a custom policy grants, after its signature was checked; None: the policy is canned."""
        key_id, policy = fields.get("Key-Pair-Id", ""), fields.get("Policy")
        if not key_id:
            raise InvalidPass("the pass names no key", code="pass-no-key", aws=MISSING_KEY)
        if key_id not in self.keys:
            raise InvalidPass("the pass names a key that is not known here", code="pass-unknown-key", aws=_UNKNOWN_KEY)
        if (policy is None) == ("Expires" not in fields):
            raise InvalidPass("a pass has either Policy or Expires", code="pass-policy", aws=_POLICY)
        if policy is None:
            return None
        raw = disarm(policy) if len(policy) <= MAX_POLICY_CHARACTERS else None
        if raw is None:
            raise InvalidPass("the policy is not base64", code="pass-policy", aws=_POLICY)
        grant = Grant(_read(raw), key_id)
        if not self._is_signed(raw, fields):
            raise InvalidPass("the signature is not of this policy", code="pass-signature")
        _remember(self._signed, fields["Signature"], (fields, grant))
        return grant

    def _canned(self, fields: PassFields, url: str) -> Grant:
        """What a canned policy grants, which is of this URL or of none."""
        if not _EPOCH.match(fields["Expires"]):
            raise InvalidPass("Expires is no moment in epoch seconds", code="pass-policy", aws=_POLICY)
        for resource in _spellings(url):
            terms = Terms(resource, int(fields["Expires"]))
            if self._is_signed(terms.canned(), fields):
                return Grant(terms, fields["Key-Pair-Id"])
        raise InvalidPass("the signature is not of this URL and end", code="pass-signature")

    def _is_signed(self, text: str | bytes, fields: PassFields) -> bool:
        signature = disarm(fields.get("Signature", ""))
        if not signature:
            raise InvalidPass("the signature is not base64", code="pass-signature", aws=_SIGNATURE)
        hash_ = _HASHES.get(fields.get("Hash-Algorithm", ""))
        if hash_ is None:
            raise InvalidPass("Hash-Algorithm is SHA1 or SHA256", code="pass-hash")
        message = text if isinstance(text, bytes) else text.encode()
        return self.keys[fields["Key-Pair-Id"]](hash_, message, signature)


def _read(raw: bytes) -> Terms:
    """Read a custom policy strictly, because an unknown member might be a condition that is not met."""
    try:
        (statements,) = _exactly(json_object(raw, "policy"), "Statement")
        if not isinstance(statements, list) or len(statements) != 1:
            raise ValueError("there is not one statement")
        resource, condition = _exactly(statements[0], "Resource", "Condition")
        ends, starts, address = _exactly(condition, "DateLessThan", "?DateGreaterThan", "?IpAddress")
        (network,) = _exactly(address, "AWS:SourceIp") if address is not None else (None,)
        if not isinstance(resource, str) or not resource:
            raise ValueError("the resource is no text")
        if network is not None and (not isinstance(network, str) or network_of(network) is None):
            raise ValueError("the address is no IPv4 network")
        terms = Terms(resource, _epoch(ends), None if starts is None else _epoch(starts), network)
    except (InvalidToken, ValueError) as error:
        raise InvalidPass(f"the policy cannot be read: {error}", code="pass-policy", aws=_POLICY) from None
    return terms


def _exactly(value: object, *names: str) -> list[object]:
    """The members of an object that has these and no others; `?` marks one that may be missing (None)."""
    if not isinstance(value, dict):
        raise ValueError("an object is missing")
    if None in value.values():  # it would count as missing, and the condition as met
        raise ValueError("a member is null")
    known = [name.removeprefix("?") for name in names]
    missing = [name for name in names if name not in value and not name.startswith("?")]
    other = sorted(value.keys() - set(known))
    if missing or other:
        raise ValueError(f"{missing[0]} is missing" if missing else f"{other[0]!r} is not known")
    return [value.get(name) for name in known]


def _epoch(value: object) -> int:
    (moment,) = _exactly(value, "AWS:EpochTime")
    if not is_epoch(moment):
        raise ValueError("a date is no moment in epoch seconds")
    return moment


def _spellings(url: str) -> list[str]:
    """Texts that a canned policy may have for a URL: as asked for, and with its path written out.

    Some signers do not percent-encode what cookies are for. The second is taken only where it is no URL itself, and
    could not be read as another one.
    """
    path, mark, query = url.partition("?")
    if not _ESCAPED.search(path):
        return [url]
    plain = unquote(path, errors="replace")
    is_url = UNSAFE.search(plain) is None
    return [url] if is_url or re.search('[%?#"\\\\\x00-\x1f\x7f\ufffd]', plain) else [url, plain + mark + query]


def _remember(where: dict[K, V], key: K, value: V) -> None:
    where[key] = value
    if len(where) > REMEMBERED:
        del where[next(iter(where))]
