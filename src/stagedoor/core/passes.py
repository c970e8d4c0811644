"""Passes: signed URLs and signed cookies as CloudFront has them, issued and verified off AWS too.

A pass is a small policy in JSON (a resource, an end, perhaps a start and a network) and a signature of its exact
text. A *canned* policy is not sent along: the verifier builds it from the URL and the end. The private-key
operation and the check with a public key are passed in.

Source of the rules: CloudFront Developer Guide, "Serve private content with signed URLs and signed cookies".
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, TypeGuard, TypeVar
from urllib.parse import unquote

from .credentials import COOKIE_PREFIX, PassFields, without_pass
from .errors import InvalidPass, InvalidTarget, InvalidToken
from .jose import json_object
from .messages import Request

if TYPE_CHECKING:
    from datetime import datetime, timedelta

K = TypeVar("K")
V = TypeVar("V")

Hash: TypeAlias = Literal["sha1", "sha256"]
Sign: TypeAlias = Callable[[Hash, bytes], bytes]
"""The private-key operation: RSA with PKCS#1 v1.5 padding, or ECDSA in DER."""
PassCheck: TypeAlias = Callable[[Hash, bytes, bytes], bool]
"""Is this the signature of these bytes? Behind it is one public key."""

When: TypeAlias = "datetime | timedelta | int"
"""A moment with its time zone, a length of time from now on, or epoch seconds."""

EARLIEST = 10**9
"""Epoch seconds of the earliest moment that is signed, in 2001: a smaller number is a lifetime put by mistake."""
MAX_POLICY_CHARACTERS = 8192
"""Bound of a policy as it is sent; CloudFront takes URLs of 8,192 bytes ("Quotas")."""
REMEMBERED = 4096
"""Verified passes that are remembered, of each kind."""
MAX_REMEMBERED_BYTES = 2048
"""Longest signed URL that is remembered: a pass with a wildcard can be written in as many ways as its holder likes."""

_HASHES: Mapping[str, Hash] = {"": "sha1", "SHA1": "sha1", "SHA256": "sha256"}
_NO_BASE64 = str.maketrans("+=/", "-_~")
_BASE64 = str.maketrans("-_~", "+=/")
_EPOCH = re.compile(r"(?:0|[1-9][0-9]{0,11})\Z")
_NETWORK = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?\Z")
# What would end the JSON string that a URL stands in, or read differently by two programs.
_UNFIT = re.compile(r'[\x00-\x1f\x7f"\\]')
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_UNSAFE = re.compile(r"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")

MISSING_KEY = ("MissingKey", "Missing Key-Pair-Id query parameter or cookie value")
_UNKNOWN_KEY = ("InvalidKey", "Unknown Key")
_SIGNATURE = ("MalformedSignature", "Could not unencode Signature")
_POLICY = ("MalformedPolicy", "Malformed Policy")
_REFUSALS = {
    "pass-expired": "the pass is over",
    "pass-early": "the pass is not good yet",
    "pass-address": "the pass is for other addresses",
}


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
            condition["IpAddress"] = {"AWS:SourceIp": _cidr(self.network)}
        statement = {"Statement": [{"Resource": self.resource, "Condition": condition}]}
        return json.dumps(statement, separators=(",", ":"), ensure_ascii=False)

    def refusal(self, client: str, now: float) -> str:
        """Code of why it is not good at this moment, for this address; "" if it is."""
        if now >= self.expires:
            return "pass-expired"
        if self.starts is not None and now <= self.starts:
            return "pass-early"
        return "pass-address" if self.network is not None and not _is_in(client, self.network) else ""


class Grant(NamedTuple):
    """A pass that was verified: its terms and the id of the key that signed it."""

    terms: Terms
    key_id: str


# --- issuing


class Signer:
    """Issues passes.

    Args:
        key_id: id of the public key at CloudFront, or any name that verifiers know the key by.
        sign: the private-key operation.
        hash: `sha256`, or `sha1`, which is all that some old verifiers know.
        clock: epoch seconds now; without one no `timedelta` can be signed.
    """

    def __init__(
        self,
        key_id: str,
        sign: Sign,
        hash: Hash = "sha256",  # noqa: A002 - the setting's name
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.key_id, self.sign, self.hash, self._clock = key_id, sign, hash, clock

    def __repr__(self) -> str:
        return f"Signer({self.key_id!r}, hash={self.hash!r})"

    def url(
        self,
        url: str,
        expires: When,
        *,
        starts: When | None = None,
        network: str | None = None,
        resource: str | None = None,
    ) -> str:
        """Sign a URL.

        Args:
            url: the whole URL, with its query if it has one; what no URL may hold is percent-encoded.
            expires: when it is over: a `datetime` with its time zone, a `timedelta` from now, or epoch seconds.
            starts: until when it is not yet good, in the same forms.
            network: one IPv4 address, or a network in CIDR notation.
            resource: what it opens, with wildcards, if that is more than this URL.

        Returns:
            The URL with the parameters of the pass at its end.

        Raises:
            InvalidTarget: a URL or resource that cannot be signed, a moment or a network that is none, a number of
                seconds that can only be a lifetime.
        """
        url = _written(url)
        url = _as_browsers_write(url, url.partition("?")[0]).removesuffix("?")  # the query begins with the pass
        if "#" in url:
            raise InvalidTarget("the URL has a fragment, which no server sees; leave out '#' and what follows")
        if without_pass(url.partition("?")[2].encode()) != url.partition("?")[2].encode():
            raise InvalidTarget("the URL carries a pass already")
        if not url.startswith(("https://", "http://")):
            raise InvalidTarget("this is no whole URL; write https://, the host and the path")
        if resource is None and "*" in url:  # the same text, sent as a custom policy, opens more than it names
            raise InvalidTarget("the URL holds a '*', which is a wildcard in passes; write %2A, or name a resource")
        custom = starts is not None or network is not None or resource is not None
        if resource is not None:
            resource = _as_browsers_write(resource, _before_query(resource))
        else:  # in a custom policy a bare `?` stands for any one character
            resource = url.replace("?", "\\?") if custom else url
        terms = self._terms(resource, expires, starts, network)
        parameters = "&".join(f"{name}={value}" for name, value in self._fields(terms, custom))
        return f"{url}{'&' if '?' in url else '?'}{parameters}"

    def cookies(
        self, resource: str, expires: When, *, starts: When | None = None, network: str | None = None
    ) -> dict[str, str]:
        """Make the cookies that open a resource: name -> value.

        Args:
            resource: a URL; a `*` in it stands for any characters. Beside one a `?` stands for one character and
                `\\?` for a question mark.
            expires, starts, network: as for `url`.

        Raises:
            InvalidTarget: as for `url`.
        """
        custom = starts is not None or network is not None or "*" in resource or "\\?" in resource
        if custom and not ("*" in resource or "\\?" in resource):  # then it is a URL
            resource = resource.replace("?", "\\?")
        terms = self._terms(_as_browsers_write(resource, _before_query(resource)), expires, starts, network)
        return {COOKIE_PREFIX + name: value for name, value in self._fields(terms, custom)}

    def _terms(self, resource: str, expires: When, starts: When | None, network: str | None) -> Terms:
        since = None if starts is None else self._epoch(starts)
        return _checked(Terms(resource, self._epoch(expires), since, network))

    def _epoch(self, when: When) -> int:
        moment = when if isinstance(when, int) else self._seconds(when)
        if not _is_epoch(moment):
            raise InvalidTarget(f"{when!r} is not a moment in whole epoch seconds")
        if moment < EARLIEST:
            raise InvalidTarget(
                f"{moment} is a moment long ago; write timedelta(seconds={moment}) for a lifetime, "
                "or epoch seconds: int(time()) + 3600"
            )
        return moment

    def _seconds(self, when: datetime | timedelta) -> int | None:
        """Epoch seconds; None for another object. Methods are looked for, because the core imports no `datetime`."""
        if hasattr(when, "total_seconds"):
            if self._clock is None:
                raise InvalidTarget("this signer has no clock; write a moment instead of a timedelta")
            return int(self._clock() + when.total_seconds())
        if not hasattr(when, "timestamp"):
            return None
        if when.utcoffset() is None:
            raise InvalidTarget(f"{when} has no time zone; write datetime.now(UTC) + timedelta(hours=1)")
        return int(when.timestamp())

    def _fields(self, terms: Terms, custom: bool) -> list[tuple[str, str]]:
        text = terms.custom() if custom else terms.canned()
        told = ("Policy", _armour(text.encode())) if custom else ("Expires", str(terms.expires))
        signature = _armour(self.sign(self.hash, text.encode()))
        fields = [told, ("Key-Pair-Id", self.key_id), ("Signature", signature)]
        return [*fields, ("Hash-Algorithm", "SHA256")] if self.hash == "sha256" else fields


def _as_browsers_write(url: str, path: str | None) -> str:
    """The URL with `%27` for each `'` behind its path, because browsers send queries so (URL standard §1.3)."""
    return url if path is None else path + url[len(path) :].replace("'", "%27")


def _written(url: str) -> str:
    """The URL with every character percent-encoded that no URL may hold (RFC 3986 §2).

    Lone surrogates, which have no bytes, stay for `_checked` to refuse.
    """
    return _UNSAFE.sub(lambda match: _percent_encoded(match[0]), url)


def _percent_encoded(character: str) -> str:
    return character if _is_lone(character) else "".join(f"%{byte:02X}" for byte in character.encode())


def _is_lone(character: str) -> bool:
    """A surrogate without its other half, which has no UTF-8. (As a regular expression this costs each cold start.)"""
    return "\ud800" <= character <= "\udfff"


def _checked(terms: Terms) -> Terms:
    resource = terms.resource
    if _UNFIT.search(resource.replace("\\?", "")) or any(map(_is_lone, resource)) or "#" in resource or not resource:
        raise InvalidTarget("a pass is for a URL without quote, backslash, control character or fragment, in Unicode")
    if terms.network is not None:
        _cidr(terms.network)
    return terms


def _cidr(network: str) -> str:
    parsed = _network(network)
    if parsed is None:
        raise InvalidTarget(f"{network!r} is no IPv4 address or network; write 192.0.2.0/24")
    return network if "/" in network else f"{network}/32"


# --- verifying


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
        if _UNFIT.search(url):
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
        raw = _disarm(policy) if len(policy) <= MAX_POLICY_CHARACTERS else None
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
        signature = _disarm(fields.get("Signature", ""))
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
        if network is not None and (not isinstance(network, str) or _network(network) is None):
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
    if not _is_epoch(moment):
        raise ValueError("a date is no moment in epoch seconds")
    return moment


def _is_epoch(moment: object) -> TypeGuard[int]:
    """A whole number of seconds, and not of milliseconds."""
    return type(moment) is int and 0 <= moment < 10**12


def opens(resource: str, url: str) -> bool:
    """Does the resource of a custom policy name this URL, and the object that it is of?

    A `*` stands for any characters, also of a query. But the client writes the query, so `*.jpg` must not match
    `/secret.pdf?.jpg`: the URL up to its query must match as well.
    """
    if not matches(resource, url):
        return False
    path, mark, _ = url.partition("?")
    if not mark or matches(resource, path):
        return True
    named = _before_query(resource)
    return named is not None and matches(named, path)


def _before_query(resource: str) -> str | None:
    """What stands before the resource's own query; None if it has no query.

    That begins at `\\?`. AWS's signers write a bare `?`, which is a wildcard too: behind a `*` or before a slash it is
    only a wildcard, or `img/*?.jpg` would open every object to a client who appends `?x.jpg` to its name. (A `*` for
    the `s` of https names no object.)
    """
    before, mark, _ = resource.partition("\\?")
    bare = re.match(r"((?:http\*://)?[^*?]*)\?[^/]", resource)
    return before if mark else bare[1] if bare else None


def matches(pattern: str, url: str) -> bool:
    """Does the resource of a custom policy name this URL?

    Args:
        pattern: `*` stands for any characters, also none, `?` for exactly one, `\\?` for a question mark.
        url: the whole URL, without the parameters of the pass.

    All positions in the pattern that the URL can have reached are followed at once, as bits of one number, so that the
    time grows with the length of the URL, whatever the pattern.
    """
    start, symbols = _parts(pattern)
    if not symbols:
        return url == start
    if not url.startswith(start):
        return False
    return symbols == ("*",) or _matches_wild(symbols, url[len(start) :])


@lru_cache(maxsize=256)
def _parts(pattern: str) -> tuple[str, tuple[str, ...]]:
    """The plain beginning of a pattern, and the symbols of the rest, which begins with a wildcard."""
    wild = re.search(r"[*?]|\\\?", pattern)
    start = len(pattern) if wild is None else wild.start()
    return pattern[:start], tuple(re.findall(r"\\\?|.", pattern[start:], re.DOTALL))


def _matches_wild(symbols: Sequence[str], text: str) -> bool:
    accepts: dict[str, int] = {}
    anything = stays = position = 0
    for symbol in symbols:
        if symbol == "*":
            stays |= 1 << position
            continue
        if symbol == "?":
            anything |= 1 << position
        else:
            accepts[symbol[-1]] = accepts.get(symbol[-1], 0) | 1 << position
        position += 1
    here = 1
    for character in text:
        here = (here & (accepts.get(character, 0) | anything)) << 1 | here & stays
        if not here:
            return False
    return bool(here >> position & 1)


def _spellings(url: str) -> list[str]:
    """Texts that a canned policy may have for a URL: as asked for, and with its path written out.

    Some signers do not percent-encode what cookies are for. The second is taken only where it is no URL itself, and
    could not be read as another one.
    """
    path, mark, query = url.partition("?")
    if not _ESCAPED.search(path):
        return [url]
    plain = unquote(path, errors="replace")
    is_url = _UNSAFE.search(plain) is None
    return [url] if is_url or re.search('[%?#"\\\\\x00-\x1f\x7f\ufffd]', plain) else [url, plain + mark + query]


def _network(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text, strict=False) if _NETWORK.match(text) else None
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def _is_in(client: str, network: str) -> bool:
    """Is the address in the IPv4 network? An IPv6 address is in none, unless it stands for an IPv4 address."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    parsed = _network(network)
    return parsed is not None and address in parsed


def _armour(raw: bytes) -> str:
    """base64 with the characters that CloudFront wants in URLs."""
    return base64.b64encode(raw).decode().translate(_NO_BASE64)


def _disarm(text: str) -> bytes | None:
    """The bytes; None if `_armour` would not have written them so."""
    try:
        raw = base64.b64decode(text.translate(_BASE64), validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if _armour(raw) == text else None


def _remember(where: dict[K, V], key: K, value: V) -> None:
    where[key] = value
    if len(where) > REMEMBERED:
        del where[next(iter(where))]
