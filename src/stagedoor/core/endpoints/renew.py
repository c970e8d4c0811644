"""`/-/renew`: asks the issuer again who a person is, while their session goes on.

A GET shows a page that sends the POST, one tab at a time, because issuers may take each refresh token once. Where a
refresh token does not help, the browser goes to the issuer, which answers at the callback and shows people nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from .. import replies
from ..attempts import Attempt, tag
from ..caller import Caller
from ..door import Door, Endpoint
from ..errors import (
    InvalidCredential,
    InvalidSession,
    IssuerUnavailable,
    LoginFailed,
    Revoked,
    SessionTooLarge,
    Unavailable,
)
from ..login import PASSING, Client, SignedIn
from ..messages import Flow, Pairs, Reply, Request
from ..session import Sessions
from .arguments import check_origin
from .login import SignIn, begin, inactive, login_at, next_of, status_of
from .logout import MAX_REMEMBERED, forget_person, forget_session, take_back

NOT_ABOUT_THE_PERSON = ("login-client", "login-answer", "login-clock")
"""Failures that are the site's or the issuer's."""
WANTS_THE_VISITOR = ("login_required", "interaction_required", "consent_required", "account_selection_required")
"""What an issuer says that cannot answer by itself (OpenID Connect Core 1.0 §3.1.2.6)."""
OTHER_COOKIES = 2 * MAX_REMEMBERED
"""Bytes that our cookies besides session, attempts and refresh token may have."""


class Renewal(NamedTuple):
    """A session that may go on.

    Attributes:
        sign_in, door, sessions: of the site.
        session: its caller, as `Sessions.read` returned it.
        request: that brings it.
        next: where the visitor wants to go.
        lapsed: why its claims open nothing at this moment; None if they do.
        now: epoch seconds.
    """

    sign_in: SignIn
    door: Door
    sessions: Sessions
    session: Caller
    request: Request
    next: str
    lapsed: InvalidCredential | None
    now: float

    @property
    def sid(self) -> str:
        return str(self.session.claims["sid"])

    @property
    def client(self) -> Client | None:
        """Where the person was signed in; None if people do not sign in there any more."""
        return self.sign_in.login.clients.get(tag(self.session.issuer_url))

    def go_on(self, signed_in: SignedIn) -> Pairs:
        """Go on with the session, with what the issuer says now: the Set-Cookie lines.

        Raises:
            SessionTooLarge: the claims do not fit into a cookie.
        """
        claims = self.door.policy.session_claims(signed_in.caller)
        cookie = self.sessions.renewed(self.session, claims, self.now, signed_in.op_sid)
        kept = self.keep(signed_in, len(cookie))
        others = len(cookie) + OTHER_COOKIES + sum(len(value) for _, value in kept)
        room = self.sign_in.attempts.end(self.request.headers, None, self.now, others)
        return ((b"set-cookie", cookie.encode()), *kept, *room)

    def keep(self, signed_in: SignedIn, session: int = 0) -> Pairs:
        """Keep the refresh token, beside a session cookie of so many bytes: the Set-Cookie line."""
        seconds, others = self.session.expires - self.now, session + OTHER_COOKIES
        return self.sign_in.refresh_tokens.keep(signed_in.refresh_token, self.session, self.sid, seconds, others)

    def is_of(self, signed_in: SignedIn) -> bool:
        """Is it the same person as before?"""
        return bool(self.session.subject) and self.session.subject == signed_in.caller.subject

    def postponed(self) -> Pairs | None:
        """Ask again later: the Set-Cookie line; None if nothing more may be opened by the old claims."""
        if self.lapsed is not None:
            return None
        return ((b"set-cookie", self.sessions.postponed(self.session, self.now).encode()),)

    def end(self) -> Flow[Reply]:
        """End the session, because somebody else is signed in at the issuer by now."""
        yield from take_back(self.door, self.session)
        fields = (*forget_session(self.sign_in, self.door, self.request), *forget_person(self.door, self.request))
        detail = "somebody else is signed in at the issuer in this browser by now"
        return self.problem(403, "renewal-person", detail, fields)

    def problem(self, status: int, code: str, detail: str, extra: Pairs) -> Reply:
        """Say why the session is not renewed, and where to sign in."""
        asked = asking_for(self.request, self.next)
        return self.door.problem(
            asked, status, code, detail, extra=extra, sign_in=login_at(self.door, self.next), caller=self.session.label
        )


def endpoint(sign_in: SignIn | None) -> Endpoint:
    return Endpoint(("GET", "POST"), partial(_answer, sign_in))


def renewal(sign_in: SignIn, door: Door, request: Request, next_: str, now: float) -> Renewal:
    """Find the session that a request wants to go on with.

    Raises:
        InvalidCredential: there is none, or it was taken back.
        StateUnavailable: nobody knows whether it was taken back.
    """
    session, lapsed = door.callers.session_owner(request, now), None
    if session is not None and door.revocations is not None:
        door.revocations.check(session, now)
    try:
        door.callers.session(request, now)
    except InvalidCredential as error:
        lapsed = error
    if session is None or door.sessions is None:
        raise lapsed or InvalidSession("there is no session", code="no-credential")
    return Renewal(sign_in, door, door.sessions, session, request, next_, lapsed, now)


def asking_for(request: Request, next_: str) -> Request:
    """The request as if the visitor had asked for the page that they want; a program's stays as it is."""
    if not replies.is_navigation("GET", request.headers):
        return request
    path, _, query = next_.partition("?")
    return request._replace(method="GET", path=path.encode(), query=query.partition("#")[0].encode())


def _answer(sign_in: SignIn | None, door: Door, request: Request, now: float) -> Flow[Reply]:
    if sign_in is None or door.sessions is None:
        return inactive(door, request)
    next_ = next_of(door, request)
    if request.method == "POST":
        check_origin(door, request)
    try:
        found = renewal(sign_in, door, request, next_, now)
    except InvalidCredential as error:
        error.place = "session"
        return door.unauthorized(asking_for(request, next_), None if error.code == "no-credential" else error)
    if found.lapsed is None and not found.sessions.is_due(found.session, now, early=True):
        return _done(found, (), reason="renewal-early")
    client = found.client
    if client is None:
        nowhere = InvalidSession("people do not sign in at the session's issuer any more", code="session-issuer")
        return door.unauthorized(asking_for(request, next_), nowhere)
    if type(found.session.claims.get("renew")) is not int:  # it was made from a token, and settings have changed
        return door.unauthorized(asking_for(request, next_), found.lapsed)
    if request.method != "POST":
        return _page(found, client)
    return (yield from _renew(found, client))


def by_issuer(
    sign_in: SignIn,
    door: Door,
    request: Request,
    attempt: Attempt,
    said: Mapping[str, str],
    used_up: Pairs,
    now: float,
) -> Flow[Reply]:
    """Answer where the issuer sends the browser back, whose visitor it was not to bother.

    Args:
        sign_in, door: of the site.
        request: to the callback.
        attempt: that came back, with `renews`.
        said: as in `Login.redeem`.
        used_up: Set-Cookie lines that end the attempt.
        now: epoch seconds.
    """
    try:
        found = renewal(sign_in, door, request, attempt.next, now)
    except InvalidCredential:
        found = None
    client = found.client if found else None
    if found is None or client is None or (found.sid, tag(client.issuer.url)) != (attempt.renews, attempt.issuer):
        return replies.redirect(door.site.url + attempt.next, "login-over", used_up)  # they signed out meanwhile
    try:
        signed_in = yield from sign_in.login.redeem(client, attempt, said, now)
        answer = yield from _renewed(found, signed_in)
    except Unavailable:
        answer = _later(found)
    except LoginFailed as error:
        refused = said.get("error", "") if error.code == "login-refused" else ""
        if refused in WANTS_THE_VISITOR:
            asked = request._replace(query=b"")
            return (yield from begin(sign_in, asked, client, attempt.next, now, extra=used_up))
        answer = _later(found) if refused in PASSING and found.lapsed is None else _failed(found, error, ())
    return answer._replace(headers=answer.headers + used_up)


def _done(found: Renewal, fields: Pairs, *, reason: str) -> Reply:
    """Go on: a browser to the page that the visitor wants, a script with what it was about."""
    label = found.session.label
    if found.request.method == "POST" and not replies.is_navigation("GET", found.request.headers):
        return Reply(204, (*replies.base_headers(), *fields), b"", reason, label)
    status = 303 if found.request.method == "POST" else 302
    return replies.redirect(found.door.site.url + found.next, reason, fields, status=status, caller=label)


def _page(found: Renewal, client: Client) -> Reply:
    from ...pages import layout
    from ...pages import sign_in as pages

    issuer = urlsplit(client.issuer.url)
    action = f"/-/renew?next={quote(found.next, safe='')}"
    body = pages.renew(found.door.name, action, found.door.site.url + found.next)
    policy = layout.renewing(pages.RENEW, f"{issuer.scheme}://{issuer.netloc}")
    return replies.html(200, body, "renew-page", policy=policy, caller=found.session.label)


def _renew(found: Renewal, client: Client) -> Flow[Reply]:
    """Ask with the refresh token if there is one, else let the browser ask."""
    forgotten, token = Pairs(), found.sign_in.refresh_tokens.find(found.request.headers, found.session)
    if token:
        try:
            signed_in = yield from found.sign_in.login.renew(client, token, found.now)
        except Unavailable:
            return _later(found)
        except LoginFailed as error:
            return _failed(found, error, found.sign_in.refresh_tokens.forget())
        if signed_in is not None:
            return (yield from _renewed(found, signed_in))
        forgotten = found.sign_in.refresh_tokens.forget()
    if not replies.is_navigation("GET", found.request.headers):
        detail = "the session can be renewed by a navigation to /-/renew?next=… alone"
        return found.problem(409, "renew-by-navigation", detail, forgotten)
    try:
        answer = yield from begin(
            found.sign_in, found.request, client, found.next, found.now, renews=found.sid, extra=forgotten
        )
    except Unavailable:
        return _later(found)
    return answer._replace(status=303)


def _renewed(found: Renewal, signed_in: SignedIn) -> Flow[Reply]:
    if not found.is_of(signed_in):
        return (yield from found.end())
    try:
        if found.door.revocations is not None:  # as at sign-in: it may be of a session there that has been ended
            found.door.revocations.check(signed_in.caller, found.now)
        return _done(found, found.go_on(signed_in), reason="renewed")
    except Revoked as error:
        return found.problem(403, error.code, str(error), found.sign_in.refresh_tokens.forget())
    except SessionTooLarge as error:
        return found.problem(422, error.code, str(error), found.keep(signed_in))


def _failed(found: Renewal, error: LoginFailed, fields: Pairs) -> Reply:
    """Answer where what the issuer says does not count; nothing is taken away for a fault that is not the person's."""
    if error.code in NOT_ABOUT_THE_PERSON and found.lapsed is None:
        return _later(found)
    return found.problem(status_of(error), error.code, str(error), fields)


def _later(found: Renewal) -> Reply:
    """Let the session go on as it is for a while.

    Raises:
        Unavailable: it may not.
    """
    fields = found.postponed()
    if fields is None:
        raise IssuerUnavailable("the issuer cannot be asked who this person is")
    return _done(found, fields, reason="renewal-later")
