"""`POST /-/logout`: ends the session, here and at the issuer. A GET shows the button, or that nobody is signed in."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator
from functools import partial
from urllib.parse import urlsplit

from .. import cookies, replies
from ..attempts import tag
from ..caller import Caller
from ..credentials import PASS_COOKIES
from ..door import Door, Endpoint, who
from ..errors import Revoked, StateUnavailable
from ..login import LOGOUT
from ..messages import Flow, Keep, Pairs, Reply, Request, keep
from ..revocations import Revocation, to_text
from .arguments import check_origin
from .login import SignIn, looks_only

MAX_REMEMBERED = 1024
"""Bytes of the cookie that remembers for which paths signed cookies were issued; the oldest are forgotten."""

CLEAR_CACHE: Pairs = ((b"clear-site-data", b'"cache"'),)
"""What the back button would show goes, too; WebKit obeys it on pages alone, not on redirects."""


def endpoint(sign_in: SignIn | None) -> Endpoint:
    return Endpoint(("GET", "POST"), partial(_answer, sign_in))


def _answer(sign_in: SignIn | None, door: Door, request: Request, now: float) -> Flow[Reply]:
    caller = door.callers.session_owner(request, now)  # what cannot be read is ended by its cookie's end
    if request.method != "POST":
        return (yield from _show(sign_in, door, request, caller, now))
    check_origin(door, request)
    refresh_token = _refresh_token(sign_in, door, request, caller, now)
    yield from take_back(door, caller)
    fields = (*forget_session(sign_in, door, request), *forget_person(door, request))
    elsewhere = yield from _at_issuer(sign_in, caller, now, refresh_token)
    label = caller.label if caller else ""
    if not _is_form(request):
        reply = replies.document(200, {"continue": elsewhere or None}, "signed-out", caller=label)
        return reply._replace(headers=reply.headers + fields)
    return replies.redirect(elsewhere or door.site.url + LOGOUT, "signed-out", fields, status=303, caller=label)


def _refresh_token(sign_in: SignIn | None, door: Door, request: Request, caller: Caller | None, now: float) -> str:
    """The refresh token to spend for a hint, which is a new id token: none for what was taken back."""
    if sign_in is None or caller is None:
        return ""
    try:
        if door.revocations is not None:
            door.revocations.check(caller, now)
    except (Revoked, StateUnavailable):
        return ""
    return sign_in.refresh_tokens.find(request.headers, caller)


def take_back(door: Door, caller: Caller | None) -> Flow[None]:
    """Take a session back, so that a copy of its cookie opens nothing. If that fails the driver logs it.

    Args:
        door: of the site.
        caller: of the session, as `Sessions.read` returned it; None: there is nothing to take back.
    """
    sid = caller.claims.get("sid") if caller else None
    if door.revocations is None or caller is None or not isinstance(sid, str):
        return
    found = Revocation("session", "", sid, 0.0, caller.expires)
    with contextlib.suppress(StateUnavailable):
        yield from keep(Keep(found.name, to_text(found), found.ends))


def _show(sign_in: SignIn | None, door: Door, request: Request, caller: Caller | None, now: float) -> Flow[Reply]:
    from ...pages import layout
    from ...pages import sign_in as pages

    home = "/" if door.site.index_file else ""
    if caller is None:
        again = f"{door.site.url}/-/login" if sign_in else door.site.login_page or ""
        shown = _is_form(request) and not looks_only(request)  # no picture or frame elsewhere empties the cache
        extra = CLEAR_CACHE if shown else ()
        return replies.html(200, pages.signed_out(door.name, "", again, home), "logout-page", extra)
    policy = layout.CONTENT_SECURITY_POLICY
    elsewhere = yield from _at_issuer(sign_in, caller, now)
    if elsewhere:
        parts = urlsplit(elsewhere)
        policy = layout.posting_to(f"{parts.scheme}://{parts.netloc}")
    page = pages.sign_out(door.name, who(caller), LOGOUT, home)
    return replies.html(200, page, "logout-page", policy=policy, caller=caller.label)


def _at_issuer(sign_in: SignIn | None, caller: Caller | None, now: float, refresh_token: str = "") -> Flow[str]:
    """Where the session at the issuer is ended; "" if that is not possible."""
    client = sign_in.login.clients.get(tag(caller.issuer_url)) if sign_in and caller else None
    if sign_in is None or client is None:
        return ""
    return (yield from sign_in.login.end_session(client, now, refresh_token=refresh_token))


def _is_form(request: Request) -> bool:
    """Does a page's form ask, so that the browser goes where the answer leads?"""
    return replies.is_navigation("GET", request.headers)


# --- what is forgotten


def forget_session(sign_in: SignIn | None, door: Door, request: Request) -> Pairs:
    """Remove from a browser what signs somebody in: session, refresh token, and sign-ins that have begun."""
    fields = (*sign_in.attempts.end_all(request.headers), *sign_in.refresh_tokens.forget()) if sign_in else ()
    if door.sessions is not None:
        fields += ((b"set-cookie", door.sessions.clear_cookie().encode()),)
    return (*fields, *_count_anew(door, request))


def _count_anew(door: Door, request: Request) -> Iterator[tuple[bytes, bytes]]:
    """Sign-ins before this sign-out are no circle (`callback`); whose the last one was stays known."""
    name, secure = f"{door.site.sources.session}-done", door.site.url.startswith("https:")
    for _, value in cookies.read(request.headers.get(b"cookie", ()), frozenset((name.encode(),))):
        person = re.match(rb"[0-9a-f]{6}", value)
        if person:
            yield b"set-cookie", cookies.write(name, person[0].decode(), 60, secure=secure).encode()


def forget_person(door: Door, request: Request) -> Pairs:
    """Remove from a browser what the person before left there besides the session: token, passes, cached objects."""
    return (*door.token_removal, *_remove_passes(door, request), *CLEAR_CACHE)


def _paths_cookie(door: Door) -> str:
    return f"{door.site.sources.session}-paths"


def remember_paths(door: Door, request: Request, paths: list[str]) -> Pairs:
    """Set the cookie by which sign-out knows the paths of signed cookies.

    Args:
        door: of the site.
        request: whose own cookie of that kind is continued.
        paths: for which cookies are issued now.
    """
    known = list(dict.fromkeys((*_remembered(door, request), *paths)))
    while len(value := _encoded(known)) > MAX_REMEMBERED:
        known.pop(0)
    secure = door.site.url.startswith("https:")
    return ((b"set-cookie", cookies.write(_paths_cookie(door), value, 31_536_000, secure=secure).encode()),)


def _remembered(door: Door, request: Request) -> Iterator[str]:
    name = _paths_cookie(door).encode()
    for _, value in cookies.read(request.headers.get(b"cookie", ()), frozenset((name,))):
        try:
            text = base64.b64decode(value + b"==", b"-_", validate=True).decode("ascii")
        except ValueError:
            continue
        yield from (path for path in text.split(" ") if path.startswith("/") and path.isprintable() and ";" not in path)


def _encoded(paths: list[str]) -> str:
    return base64.urlsafe_b64encode(" ".join(paths).encode("ascii")).decode().rstrip("=")


def _remove_passes(door: Door, request: Request) -> Pairs:
    secure = door.site.url.startswith("https:")
    remembered = list(_remembered(door, request))
    lines = [
        cookies.write(name.decode(), "", 0, secure=secure, path=path)
        for path in remembered
        for name in sorted(PASS_COOKIES)
    ]
    if remembered:
        lines.append(cookies.write(_paths_cookie(door), "", 0, secure=secure))
    return tuple((b"set-cookie", line.encode()) for line in lines)
