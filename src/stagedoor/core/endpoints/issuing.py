"""Issuing passes over HTTP: how long one may last, how often a caller may ask, and the signed URL of a key."""

from __future__ import annotations

import ipaddress

from .. import paths
from ..caller import Caller
from ..credentials import Credential
from ..door import Door
from ..errors import InvalidRequest, IssuerUnavailable, OutdatedSession
from ..messages import Reply, Request
from ..passes.signer import Signer
from ..rate_limit import RateLimit


class Issuing:
    """Issues passes for the endpoints that hand them out; they share one rate limit.

    Args:
        signer: signs them.
        max_lifetime: seconds that a pass may last; also its lifetime if the client names none.
        per_minute: passes that one caller may have issued in a minute.
    """

    def __init__(self, signer: Signer, max_lifetime: int, per_minute: int) -> None:
        self.signer, self.max_lifetime = signer, max_lifetime
        self._per_minute, self._limit = per_minute, RateLimit(per_minute)

    def url(self, door: Door, key: str, expires: int) -> str:
        """Sign the URL of an object at the site."""
        return self.signer.url(door.site.url + paths.encode(key), expires)

    def lifetime(self, asked: object) -> int:
        """Seconds that a pass lasts, of what the client asked for.

        Raises:
            InvalidRequest: it is not a whole number, or less than 1.
        """
        if isinstance(asked, float) and asked.is_integer():
            asked = int(asked)  # 60.0 is a whole number (JSON Schema, "integer")
        if type(asked) is not int or asked < 1:
            raise InvalidRequest("expires_in is a number of seconds, at least 1", code="body")
        return min(asked, self.max_lifetime)

    def too_many(self, door: Door, request: Request, caller: Caller, now: float) -> Reply | None:
        """Count one pass; 429 for a caller who has had enough of them in the last minute (RFC 6585 §4)."""
        wait = self._limit.take(caller.label or _household(request.client), now)
        if not wait:
            return None
        after = ((b"retry-after", b"%d" % (int(wait) + 1)),)
        detail = f"{self._per_minute} passes a minute are issued to one caller"
        return door.problem(request, 429, "too-many-passes", detail, extra=after, caller=caller.label)


def check_renewed(door: Door, caller: Caller, credential: Credential | None, now: float) -> None:
    """Refuse to issue a pass, which may outlive what is known of the caller, while that is due to be renewed.

    Raises:
        OutdatedSession: it is.
        IssuerUnavailable: it was, until the issuer could not be asked, which a browser may say without its being so.
    """
    if door.is_due(caller, credential, now):
        raise OutdatedSession("passes are issued again after POST /-/renew", code="session-due")
    is_session = credential is not None and credential.kind == "session"
    if is_session and door.sessions is not None and door.sessions.is_postponed(caller, now):
        raise IssuerUnavailable("passes are issued again when the issuer has said who this person is")


def inactive(door: Door, request: Request) -> Reply:
    """The answer of a site that issues no passes."""
    return door.problem(request, 404, "passes-inactive", "this site issues no passes: [passes] names no private key")


def _household(client: str) -> str:
    """An IPv4 address, or the IPv6 network of 64 bits that one customer has for themselves (RFC 6177)."""
    try:
        return str(ipaddress.IPv6Network((client, 64), strict=False))
    except ValueError:
        return client
