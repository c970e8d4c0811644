"""Questions about access that was taken back: by sign-out, by an admin, by the provider.

Sign-out is tried with a session that the site makes for the doctor's token, and an admin's token takes back only the
token that was brought to be spent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from time import sleep
from urllib.parse import quote

from . import cookies as set_cookies
from . import forge
from .cross_site import strangers
from .evidence import Evidence, SkipError
from .sign_in import LOGOUT, session_name
from .visit import JSON, Visit, parse_json
from .wire import Answer, Fields

REVOCATIONS, BACKCHANNEL = "/-/revocations", "/-/backchannel-logout"
WAIT = 6.0
"""Seconds until every worker and every gateway has to know."""
PAUSE = 2.0
"""Seconds between two looks."""
TIMES = 6
"""Requests of one look, each on a connection of its own, because several workers may answer."""
_FORM: Fields = (("Content-Type", "application/x-www-form-urlencoded"),)
NOTHING = "nothing can be taken back before it ends"


# --- sessions and tokens


def signed_out_session(visit: Visit) -> Iterator[Evidence]:
    """Sign a session out, and bring a copy of its cookie."""
    assert visit.subject.token is not None
    cookie = _new_session(visit, visit.subject.token)
    if not cookie:
        raise SkipError("the site makes no session from a token")
    if not list(_lets_in(visit, visit.path, cookie, "with a session")):
        raise SkipError("the session that the site makes from the token does not open the object")
    _sign_out(visit, cookie)
    settings = visit.subject.settings
    forgets = settings is not None and settings.state is None
    detail = "with a copy of the cookie of a session that was signed out"
    for one in _left(lambda: _lets_in(visit, visit.path, cookie, detail), 0.0 if forgets else WAIT):
        yield one._replace(got=f"{one.got}: {NOTHING}", sure=False) if forgets else one


def _sign_out(visit: Visit, cookie: Fields) -> None:
    """Sign a session out.

    Raises:
        SkipError: the site has no sign-out.
    """
    own: Fields = (("Origin", str(visit.subject.origin)),)
    for fields in (own, ()):  # behind a proxy the site may know itself by another address
        ask = partial(visit.ask, method="POST", fields=(*fields, *cookie), detail="with a session")
        answer = ask(LOGOUT)
        if 200 <= answer.status < 400 and _is_there(visit, answer, ask):
            return
    raise SkipError(f"nobody can sign out at the site itself: POST {LOGOUT} gets {visit.summary(answer)}")


def revoked_token(visit: Visit) -> Iterator[Evidence]:
    """Have an admin take back a token; bring it again, and the session that was made of it before."""
    spend, admin = visit.subject.spend, visit.subject.admin
    assert spend is not None
    assert admin is not None
    asked = _by_jti(visit, spend)
    session, token = _new_session(visit, spend), visit.carry(spend, visit.sources[0])
    ways = [(*token, "with a token that was taken back")]
    if session:
        ways.append((visit.path, session, "with a session that was made of it before"))
    if not list(_lets_in(visit, *token, "with the token to spend")):
        raise SkipError("the token to spend does not open the object: give one of a caller who may read it")
    fields = (*visit.carry(admin, "header")[1], *JSON)
    ask = partial(visit.ask, method="POST", fields=fields, body=json.dumps(asked).encode())
    answer = ask(REVOCATIONS)
    document = parse_json(answer.body)
    if isinstance(document, dict) and document.get("code") == "revocations-inactive":
        yield visit.evidence(answer, REVOCATIONS, "POST", f"with the admin's token: {NOTHING}")._replace(sure=False)
        return
    if not 200 <= answer.status < 300 or not _is_there(visit, answer, ask):
        raise SkipError(f"nothing was taken back with the admin's token: {visit.summary(answer)}")
    yield from _left(lambda: chain(_once_more(visit, spend), *(_lets_in(visit, *way) for way in ways)))


def _once_more(visit: Visit, token: str) -> Iterator[Evidence]:
    if _new_session(visit, token):
        yield Evidence("POST /-/session, with a token that was taken back", "a new session")


def _left(ask: Callable[[], Iterable[Evidence]], wait: float = WAIT) -> list[Evidence]:
    """Ask until everything is refused; what still opens after `wait` seconds."""
    waited = 0.0
    while True:
        found = [one for _ in range(TIMES) for one in ask()]
        if not found or waited >= wait:
            return found
        sleep(PAUSE)
        waited += PAUSE


def _by_jti(visit: Visit, spend: str) -> dict[str, str]:
    """What names the token to spend, and no other one that was brought.

    Raises:
        SkipError: nothing does.
    """
    claims, subject = forge.claims_of(spend), visit.subject
    jti, issuer = claims.get("jti"), claims.get("iss")
    others = {"--token": subject.token, "--other-token": subject.other, "--admin-token": subject.admin}
    for option, other in others.items():
        if other is not None and (other == spend or (jti is not None and forge.claims_of(other).get("jti") == jti)):
            raise SkipError(f"the token to spend is that of {option}, too, which would be taken back: give another one")
    if not isinstance(jti, str) or not isinstance(issuer, str):
        raise SkipError("the token to spend has no jti, and by that alone a single token is taken back")
    return {"jti": jti, "issuer": issuer}


def _new_session(visit: Visit, token: str) -> Fields:
    """The header field with a new session of a token; () if the site makes none."""
    _, fields = visit.carry(token, "header", "/-/session")
    answer = visit.ask("/-/session", "POST", fields)
    value = set_cookies.named(answer).get(session_name(visit), "")
    if not 200 <= answer.status < 300 or not value:
        return ()
    return (("Cookie", f"{session_name(visit)}={visit.secrets.add(value)}"),)


def _lets_in(visit: Visit, target: str, fields: Fields, detail: str) -> Iterator[Evidence]:
    """Evidence if this request opens the object, or gets a signed URL for it where tokens open nothing."""
    if visit.passes_only:
        yield from visit.try_pass(None, detail, fields)
    else:
        yield from visit.try_open(target, fields=fields, detail=detail)


# --- who may take back


def revocations_open(visit: Visit) -> Iterator[Evidence]:
    """Try to take back a token that nobody has, and to see what was taken back, as no admin does."""
    body = json.dumps({"jti": f"doctor-{visit.nonce}", **_issuer(visit)}).encode()
    answers = []
    for method, who, fields in _no_admins(visit):
        ask = partial(visit.ask, method=method, fields=(*fields, *JSON), body=body if method == "POST" else b"")
        answer = ask(REVOCATIONS)
        answers.append(answer)
        if 200 <= answer.status < 300 and _is_there(visit, answer, ask):
            yield visit.evidence(answer, REVOCATIONS, method, who)
    if all(answer.status in (0, 404, 405, 501) for answer in answers):
        raise SkipError(f"nobody can take access back at {REVOCATIONS}: {visit.summary(answers[0])}")


def _no_admins(visit: Visit) -> Iterator[tuple[str, str, Fields]]:
    """Requests of callers who may not take access back: method, who asks in words, and header fields."""
    other, admin = visit.subject.other, visit.subject.admin
    yield from (("GET", "without a token", ()), ("POST", "without a token", ()))
    if admin is None:
        return  # who is one, is not known
    if other is not None and forge.same_person(other, admin) is False:
        fields = visit.carry(other, "header")[1]
        yield from (
            ("GET", "with the token of another user", fields),
            ("POST", "with the token of another user", fields),
        )
    listed = tuple(visit.subject.settings.origins) if visit.subject.settings else ()
    fields = visit.carry(admin, "header")[1]
    for origin in (*strangers(visit), *listed):
        yield "POST", f"Origin: {origin}, with the admin's token", (*fields, ("Origin", origin))


def _issuer(visit: Visit) -> dict[str, object]:
    issuer = forge.claims_of(visit.subject.admin or visit.subject.token).get("iss")
    return {} if issuer is None else {"issuer": issuer}


def logout_forged(visit: Visit) -> Iterator[Evidence]:
    """Bring logout tokens that the provider did not sign, about a person whom nobody knows."""
    header, claims = visit.claims_to_forge()
    claims = {name: claims[name] for name in ("iss", "aud", "exp") if name in claims} | {
        "sub": f"doctor-{visit.nonce}",
        "iat": int(time.time()),
        "jti": visit.nonce,
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }
    header = {**header, "typ": "logout+jwt"}
    forged = [("any word", "a.b.c"), *islice(forge.unsigned(header, claims), 2)]
    forged += [*forge.other_signatures(header, claims, None), *islice(forge.key_tricks(header, claims), 2)]
    for number, (what, token) in enumerate(forged):
        visit.secrets.add(token)
        body = f"logout_token={quote(token, safe='')}".encode()
        ask = partial(visit.ask, method="POST", fields=_FORM, body=body)
        answer = ask(BACKCHANNEL)
        if number == 0 and answer.status in (0, 404, 405, 501):
            raise SkipError(f"no provider can end sessions at {BACKCHANNEL}: {visit.summary(answer)}")
        if 200 <= answer.status < 300 and _is_there(visit, answer, ask):
            yield visit.evidence(answer, BACKCHANNEL, "POST", f"a logout token: {what}")


def _is_there(visit: Visit, answer: Answer, ask: Callable[[str], Answer]) -> bool:
    """Is it an answer of an address that there is, and not what the same request gets under `/-/` everywhere?"""
    return visit.compare(answer, partial(ask, f"/-/no-such-{visit.nonce}")) == "different"
