"""`GET /-/login`: begins a sign-in, and sends the browser to the issuer.

A site may have several issuers: then a page lets the visitor choose, unless `?issuer=` names one.
"""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple
from urllib.parse import quote

from .. import credentials, replies
from ..attempts import Attempts, tag
from ..door import CHALLENGE, Door, Endpoint
from ..errors import InvalidRequest, StagedoorError
from ..login import Client, Login
from ..messages import Flow, Pairs, Reply, Request
from ..refresh_tokens import RefreshTokens
from ..return_to import return_to
from .arguments import parameter

PASSED_ON = {
    "prompt": re.compile(r"[a-z_]{1,20}(?: [a-z_]{1,20}){0,3}"),
    "identity_provider": re.compile(r"[\w .:@+/-]{1,128}", re.ASCII),
}
"""Parameters that go on to the issuer (OpenID Connect Core 1.0 §3.1.2.1; Cognito "Authorize endpoint")."""


class SignIn(NamedTuple):
    """What the endpoints of sign-in work with.

    Attributes:
        login: asks issuers.
        attempts: sign-ins that have begun.
        refresh_tokens: of those who are signed in.
    """

    login: Login
    attempts: Attempts
    refresh_tokens: RefreshTokens


def endpoint(sign_in: SignIn | None) -> Endpoint:
    return Endpoint(("GET",), partial(_answer, sign_in))


def inactive(door: Door, request: Request) -> Reply:
    """Refuse, because people cannot sign in at this site."""
    return door.problem(request, 404, "login-inactive", "nobody can sign in at this site itself; [login] is not set")


def login_at(door: Door, next_: str) -> str:
    """The address that begins a sign-in for an address of this site."""
    return f"{door.site.url}/-/login?next={quote(next_, safe='')}"


def status_of(failed: StagedoorError) -> int:
    """The status of a page that says why nobody has signed in: whose fault is it?"""
    return 502 if failed.code in ("login-client", "login-answer") else 403


def looks_only(request: Request) -> bool:
    """Does nobody see what is asked for, or only inside another page? Then no attempt may be spent on it."""
    mode = request.headers.get(b"sec-fetch-mode")
    if request.method == "HEAD" or (mode is not None and mode != [b"navigate"]):
        return True
    return not replies.can_sign_in(request.headers)


def begin(
    sign_in: SignIn,
    request: Request,
    client: Client,
    next_: str,
    now: float,
    restarts: int = 0,
    *,
    renews: str = "",
    extra: Pairs = (),
) -> Flow[Reply]:
    """Begin a sign-in, and send the browser to the issuer.

    Args:
        sign_in: of this site.
        request: whose cookies say what has begun already, and whose query what is passed on.
        client: at which issuer.
        next_: where the visitor wants to go (`return_to`).
        now: epoch seconds.
        restarts: how often this sign-in was begun before.
        renews: `sid` of a session that is renewed without a word to the visitor.
        extra: further header fields.
    """
    issuer, passed_on = tag(client.issuer.url), {"prompt": "none"} if renews else _passed_on(request.query)
    attempt, state, fields = sign_in.attempts.begin(request.headers, issuer, next_, now, restarts, renews)
    address = yield from sign_in.login.address(client, attempt, state, passed_on, now)
    return replies.redirect(address, "login", (*extra, *fields))


def _answer(sign_in: SignIn | None, door: Door, request: Request, now: float) -> Flow[Reply]:
    if sign_in is None:
        return inactive(door, request)
    next_, chosen = next_of(door, request), parameter(request.query, "issuer")
    clients = list(sign_in.login.clients.values())
    if chosen is not None:
        clients = [client for client in clients if chosen in (client.issuer.name, client.issuer.url)]
        if not clients:
            raise InvalidRequest("nobody signs in here at an issuer of this name", code="query")
    if replies.is_framed(request.headers):
        return replies.way_out_of_frame(_address(door, next_, chosen), door.name, "login-look", CHALLENGE)
    if looks_only(request):
        detail = "only a browser that shows this address can begin a sign-in with it"
        address = _address(door, next_, chosen)
        return door.problem(request, 401, "login-look", detail, extra=CHALLENGE, sign_in=address)
    if len(clients) > 1:
        return _choice(door, clients, next_, _passed_on(request.query))
    return (yield from begin(sign_in, request, clients[0], next_, now))


def next_of(door: Door, request: Request) -> str:
    """Where the visitor wants to go afterwards, as `return_to` judges it.

    A token or pass in its query is left out, because it would be shown in the address bar for good.
    """
    path, mark, rest = return_to(parameter(request.query, "next"), door.site.url).partition("?")
    query, hash_, fragment = rest.partition("#")
    kept = credentials.strip_query(query.encode(), door.site.sources).decode()
    return path + (mark if kept else "") + kept + hash_ + fragment


def _passed_on(query: bytes) -> dict[str, str]:
    """The parameters of our own address that are the issuer's."""
    found = {name: parameter(query, name) for name in PASSED_ON}
    for name, value in found.items():
        if value is not None and not PASSED_ON[name].fullmatch(value):
            raise InvalidRequest(f"{name} is not what an issuer would understand", code="query")
    return {name: value for name, value in found.items() if value is not None}


def _choice(door: Door, clients: list[Client], next_: str, passed_on: dict[str, str]) -> Reply:
    from ...pages import sign_in as pages  # few sites have several issuers

    names = [client.issuer.name or client.issuer.url for client in clients]
    ways = [(name, _address(door, next_, name, passed_on)) for name in names]
    return replies.html(200, pages.choose(door.name, ways), "login-choice")


def _address(door: Door, next_: str, issuer: str | None, more: dict[str, str] | None = None) -> str:
    """An address of ours that begins a sign-in."""
    parameters = {"issuer": issuer, **(more or {}), "next": next_}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value is not None)
    return f"{door.site.url}/-/login?{query}"
