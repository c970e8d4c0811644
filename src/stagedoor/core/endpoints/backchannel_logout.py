"""`POST /-/backchannel-logout`: an issuer ends a session, or all of a person.

Source: OpenID Connect Back-Channel Logout 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from urllib.parse import parse_qsl

from .. import replies
from ..caller import Caller
from ..door import Door, Endpoint
from ..errors import InvalidRequest, InvalidToken
from ..jose import json_object, split
from ..login import LEEWAY, Client
from ..messages import Flow, Keep, Reply, Request, keep
from ..revocations import Kind, Revocation, to_text
from ..tokens import check_claims, check_signature, number_of_seconds
from .login import SignIn
from .revocations import revocation

EVENT = "http://schemas.openid.net/event/backchannel-logout"
MAX_AGE = 600.0
"""Seconds that a logout token counts, whatever its exp."""
_TYPES = ("", "jwt", "logout+jwt", "application/logout+jwt")


def endpoint(sign_in: SignIn | None, session: float) -> Endpoint:
    return Endpoint(("POST",), partial(_answer, sign_in, session))


def _answer(sign_in: SignIn | None, session: float, door: Door, request: Request, now: float) -> Flow[Reply]:
    if sign_in is None or door.revocations is None:
        detail = "no issuer ends sessions at this site; that needs [login] and [state]"
        return door.problem(request, 404, "logout-inactive", detail)
    try:
        found = yield from _read(sign_in, session, door, request, now)
    except InvalidToken as error:
        raise InvalidRequest(f"the logout token does not count: {error}", code="logout-token") from error
    yield from keep(Keep(found.name, to_text(found), found.ends))
    return Reply(200, replies.base_headers(), b"", "backchannel-logout")


def _read(sign_in: SignIn, session: float, door: Door, request: Request, now: float) -> Flow[Revocation]:
    """What a logout token takes back (§2.6)."""
    jws = split(_logout_token(request))
    if str(jws.header.get("typ", "")).lower() not in _TYPES:
        raise InvalidToken("its typ is another one", code="token-type")
    claims = json_object(jws.payload, "payload")
    client = next((one for one in sign_in.login.clients.values() if one.issuer.url == claims.get("iss")), None)
    if client is None:
        raise InvalidToken("iss is no issuer where people sign in", code="token-issuer")
    if jws.algorithm not in client.issuer.algorithms:
        raise InvalidToken("its alg is not accepted (algorithms)", code="token-algorithm")
    yield from check_signature(jws, door.tokens.issuers[client.issuer.url], now)
    sid = _check(claims, client, now)
    person = Caller("", "", claims, client.issuer.claims).subject  # as sessions and tokens name them here
    if not (sid or person):
        raise InvalidToken("it has no sid, and not the claim that names people here", code="token-subject")
    kind: Kind = "session" if sid else "person"
    return revocation(kind, client.issuer.url, sid or person, now, session=session)


def _logout_token(request: Request) -> str:
    kind = request.headers.get(b"content-type", (b"",))[0].partition(b";")[0].strip().lower()
    try:
        pairs = parse_qsl(request.body.decode("ascii"), strict_parsing=True, max_num_fields=10)
    except ValueError:
        pairs = []
    found = [value for name, value in pairs if name == "logout_token"]
    if kind != b"application/x-www-form-urlencoded" or len(found) != 1:
        raise InvalidRequest("send a form with one logout_token", code="body")
    return found[0]


def _check(claims: Mapping[str, object], client: Client, now: float) -> str:
    """The `sid` of a logout token whose claims hold; "" if it names a person alone."""
    expiry = claims if "exp" in claims else {**claims, "exp": now + 1}  # older providers leave it out
    here = client.issuer._replace(
        audience=frozenset((client.id,)), token_use=frozenset(), leeway=max(LEEWAY, client.issuer.leeway)
    )
    check_claims(expiry, here, now)
    made = number_of_seconds(claims, "iat")
    if made is None or not -here.leeway <= now - made <= MAX_AGE:
        raise InvalidToken("its iat is missing, or not of now", code="token-early")
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(EVENT), Mapping):
        raise InvalidToken("it names no logout event", code="token-type")
    if "nonce" in claims:
        raise InvalidToken("it has a nonce, as id tokens have", code="token-type")
    if not isinstance(claims.get("jti"), str):
        raise InvalidToken("it has no jti", code="token-type")
    sub, sid = claims.get("sub", ""), claims.get("sid", "")
    if not isinstance(sub, str) or not isinstance(sid, str) or not (sub or sid):
        raise InvalidToken("it names neither a sub nor a sid", code="token-subject")
    return sid
