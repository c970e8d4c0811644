"""Issuing passes, with a private-key operation that is passed in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ..credentials import COOKIE_PREFIX, without_pass
from ..errors import InvalidTarget
from .terms import UNFIT, UNSAFE, Hash, Sign, Terms, armour, cidr, is_epoch
from .wildcards import before_query

if TYPE_CHECKING:
    from datetime import datetime, timedelta

When: TypeAlias = "datetime | timedelta | int"
"""A moment with its time zone, a length of time from now on, or epoch seconds."""

EARLIEST = 10**9
"""Epoch seconds of the earliest moment that is signed, in 2001: a smaller number is a lifetime put by mistake."""


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
            resource = _as_browsers_write(resource, before_query(resource))
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
        terms = self._terms(_as_browsers_write(resource, before_query(resource)), expires, starts, network)
        return {COOKIE_PREFIX + name: value for name, value in self._fields(terms, custom)}

    def _terms(self, resource: str, expires: When, starts: When | None, network: str | None) -> Terms:
        since = None if starts is None else self._epoch(starts)
        return _checked(Terms(resource, self._epoch(expires), since, network))

    def _epoch(self, when: When) -> int:
        moment = when if isinstance(when, int) else self._seconds(when)
        if not is_epoch(moment):
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
        told = ("Policy", armour(text.encode())) if custom else ("Expires", str(terms.expires))
        signature = armour(self.sign(self.hash, text.encode()))
        fields = [told, ("Key-Pair-Id", self.key_id), ("Signature", signature)]
        return [*fields, ("Hash-Algorithm", "SHA256")] if self.hash == "sha256" else fields


def _as_browsers_write(url: str, path: str | None) -> str:
    """The URL with `%27` for each `'` behind its path, because browsers send queries so (URL standard §1.3)."""
    return url if path is None else path + url[len(path) :].replace("'", "%27")


def _written(url: str) -> str:
    """The URL with every character percent-encoded that no URL may hold (RFC 3986 §2).

    Lone surrogates, which have no bytes, stay for `_checked` to refuse.
    """
    return UNSAFE.sub(lambda match: _percent_encoded(match[0]), url)


def _percent_encoded(character: str) -> str:
    return character if _is_lone(character) else "".join(f"%{byte:02X}" for byte in character.encode())


def _is_lone(character: str) -> bool:
    """A surrogate without its other half, which has no UTF-8. (As a regular expression this costs each cold start.)"""
    return "\ud800" <= character <= "\udfff"


def _checked(terms: Terms) -> Terms:
    resource = terms.resource
    if UNFIT.search(resource.replace("\\?", "")) or any(map(_is_lone, resource)) or "#" in resource or not resource:
        raise InvalidTarget("a pass is for a URL without quote, backslash, control character or fragment, in Unicode")
    if terms.network is not None:
        cidr(terms.network)
    return terms
