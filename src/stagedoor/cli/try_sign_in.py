"""How far sign-in at an issuer can be tried without a person: discovery, client id, callback URL, client secret.

The authorization endpoint is asked once as a browser would be sent there, with `prompt=none`. A provider that knows
the client and the callback URL sends that back, with the error that nobody is signed in; one that does not shows a
page of its own, because it may not redirect to an address that it does not know (RFC 6749 §4.1.2.1).
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_plus, urljoin, urlsplit

from ..core.attempts import Attempt, tag
from ..core.drivers import run
from ..core.errors import IssuerUnavailable, LoginFailed, Unavailable
from ..core.issuers import discover, is_cognito, is_safe_url
from ..core.login import CALLBACK, Client, Login, read_metadata, shown
from ..core.messages import Answered, Wish
from ..outside.look_sync import Seen

_ID = "login.client_id"
MAX_HOPS = 5
"""Redirects that are followed from the authorization endpoint."""

_NOBODY = ("login_required", "interaction_required", "consent_required", "account_selection_required")
"""OpenID Connect Core 1.0 §3.1.2.6: all is well, but for that nobody is signed in."""
_MENDS = {
    "invalid_scope": ("login.scopes", "ask only for scopes that the client may have"),
    "unauthorized_client": (_ID, "let the client use the authorization code grant, at the provider"),
    "unsupported_response_type": (_ID, "let the client use the authorization code grant, at the provider"),
}
_OF_CALLBACK = re.compile(
    r"redirect[ _]?ur[il]|redirect_mismatch|callback url|AADSTS(?:50011|50017|500113|90102)\b", re.IGNORECASE
)
_OF_CLIENT = re.compile(
    r"client[ _]?id|invalid[ _]client|unauthorized[ _]client|(?:unknown|invalid|no such) client|client not found"
    r"|client(?: application)? (?:is (?:invalid|unknown)|does not exist)|AADSTS(?:700016|7000\d\d|90002|900144)\b",
    re.IGNORECASE,
)
_ERROR_PAGE = re.compile(
    r"(?:redirect_uri|redirect|callback)[_ ]mismatch|invalid_redirect_uri|invalid_client|unauthorized_client"
    r"|AADSTS\d{4,}",
    re.IGNORECASE,
)
"""What only a page about an error says, so that a sign-in page is not taken for one."""


class Found(NamedTuple):
    """What was found out.

    Attributes:
        ok: nothing is wrong, as far as it could be judged.
        detail: in words.
        setting: what has to change, if something is wrong; "" for nothing here.
        mend: what to do.
    """

    ok: bool
    detail: str
    setting: str = ""
    mend: str = ""


def try_client(
    client: Client,
    login: Login,
    site: str,
    ask: Callable[[Wish], Answered],
    look: Callable[[str], Seen],
    now: float,
) -> Iterator[tuple[str, Found]]:
    """Try one client; yields what was tried and what was found out.

    Args:
        client: one of those of `login`.
        login: of the site.
        site: its origin.
        ask: answers the wishes of flows.
        look: looks at a page.
        now: epoch seconds.
    """
    try:
        document = run(discover(client.issuer), ask)
        read_metadata(document, client.issuer)
    except IssuerUnavailable as error:
        no_domain = is_cognito(client.issuer.url) and "authorization_endpoint" in str(error)
        mend = "give the user pool a domain" if no_domain else "until then nobody can sign in there"
        yield "discovery", Found(False, str(error), mend=mend)
        return
    yield "discovery", _of_document(client, document)
    attempt = Attempt(secrets.token_hex(8), secrets.token_urlsafe(32), tag(client.issuer.url), "/", int(now))
    by_token_endpoint = _ask_token_endpoint(client, login, attempt, ask, now)
    url = run(login.address(client, attempt, f"check-{attempt.id}", {"prompt": "none"}, now), ask)
    tried = _Tried(client, site + CALLBACK, accepted=by_token_endpoint.detail in _ACCEPTED)
    yield "client and callback", tried.at(url, look)
    yield "client secret", by_token_endpoint


def _of_document(client: Client, document: Mapping[str, object]) -> Found:
    remarks = []
    methods = document.get("code_challenge_methods_supported")
    if isinstance(methods, list) and "S256" not in methods:
        remarks.append("it does not list PKCE with S256, without which nobody signs in here")
    scopes = document.get("scopes_supported")
    unknown = [scope for scope in client.scopes if isinstance(scopes, list) and scope not in scopes]
    if unknown:
        remarks.append(f"it does not list the scope {' or '.join(unknown)}")
    if not document.get("end_session_endpoint"):
        remarks.append("it names no end_session_endpoint, so sign-out ends the session here, and not at the issuer")
    if isinstance(methods, list) and "S256" in methods:
        return Found(True, "; ".join(["all endpoints and PKCE with S256", *remarks]))
    return Found(True, "; ".join(["all endpoints", *remarks]))


# --- the authorization endpoint


class _Tried(NamedTuple):
    """What the authorization endpoint was asked: for this client to come back to this URL.

    Attributes:
        accepted: the token endpoint has accepted the client.
    """

    client: Client
    callback: str
    accepted: bool

    def at(self, url: str, look: Callable[[str], Seen]) -> Found:
        """Ask it, and follow where it leads until that can be judged."""
        for _ in range(MAX_HOPS):
            seen = look(url)
            if seen.error:
                mend = "has the user pool a domain?" if is_cognito(self.client.issuer.url) else ""
                return Found(False, f"{urlsplit(url).netloc} could not be asked: {seen.error}", mend=mend)
            if not (300 <= seen.status < 400 and seen.location):
                return self._page(seen)
            url = urljoin(url, seen.location)
            if re.split(r"[?#]", url, maxsplit=1)[0] == self.callback:
                return _of_answer(dict(parse_qsl(urlsplit(url).query or urlsplit(url).fragment)))
            named = _in_address(url)
            if _ERROR_PAGE.search(named):
                return self._unknown(named, 0)
            if not is_safe_url(url):
                return _not_judged(f"the provider leads to {shown(url)}")
        return _not_judged("the provider redirects on and on")

    def _page(self, seen: Seen) -> Found:
        if seen.status >= 500 or seen.status == 429:
            return _not_judged(f"the provider answers {seen.status}")
        if seen.status < 400 and not _ERROR_PAGE.search(seen.text):
            return Found(True, "the provider shows a page to sign in, or one that could not be told from it")
        said = bool(_OF_CALLBACK.search(seen.text) or _OF_CLIENT.search(seen.text))
        if seen.status in (401, 403) and not said:
            return _not_judged(f"the provider answers {seen.status} to programs")
        return self._unknown(seen.text, seen.status)

    def _unknown(self, text: str, status: int) -> Found:
        """Name what an error page is about."""
        answers = f", and answers {status}" if status else ""
        of_client, of_callback = bool(_OF_CLIENT.search(text)), bool(_OF_CALLBACK.search(text))
        if of_client == of_callback and self.accepted:
            of_client, of_callback = False, True
        if of_callback and not of_client:
            problem = f"the provider does not know the callback URL {self.callback}{answers}"
            return Found(False, problem, "site.url", "register it there for this client, exactly so")
        if of_client and not of_callback:
            problem = f"the provider does not know the client {self.client.id!r}{answers}"
            return Found(False, problem, _ID, "copy the client id from the provider's page of the app")
        problem = (
            f"the provider does not know the client {self.client.id!r} or the callback URL {self.callback}{answers}"
        )
        return Found(False, problem, _ID, "compare both with what is registered there")


def _of_answer(answer: Mapping[str, str]) -> Found:
    """Judge what came back to the callback URL, which the provider does for no unknown client."""
    error, said = answer.get("error", ""), answer.get("error_description", "")
    known = "the provider knows both"
    if error in _NOBODY or "code" in answer:
        return Found(True, known)
    words = f"{shown(error)}" + (f" ({shown(said)})" if said else "")
    if error in _MENDS:
        setting, mend = _MENDS[error]
        return Found(False, f"{known}, and yet refuses: {words}", setting, mend)
    return Found(True, f"{known}; it answers {words or 'nothing'}, so the rest could not be judged")


def _not_judged(why: str) -> Found:
    return Found(True, f"could not be judged: {why}")


def _in_address(url: str) -> str:
    """The query in plain words; Google packs its error into base64."""
    values = [unquote_plus(value) for _, value in parse_qsl(urlsplit(url).query)]
    for value in tuple(values):
        try:
            values.append(base64.b64decode(value + "=" * (-len(value) % 4), b"-_").decode("utf-8", "replace"))
        except (binascii.Error, ValueError):
            continue
    return " ".join((urlsplit(url).path, *values))


# --- the token endpoint


_ACCEPTED = ("accepted", "none, and the provider wants none")


def _ask_token_endpoint(
    client: Client, login: Login, attempt: Attempt, ask: Callable[[Wish], Answered], now: float
) -> Found:
    """Ask it for the tokens of a made-up code: it says that there is no such code only if it accepts the client."""
    made_up = {"code": secrets.token_urlsafe(32), "iss": client.issuer.url}
    try:
        run(login.redeem(client, attempt, made_up, now), ask)
    except Unavailable as error:
        return Found(False, f"the token endpoint could not be asked: {error}")
    except LoginFailed as error:
        said = re.search(r"\(([^()]*)\)", str(error))
        named = said[1] if said else ""
        if error.code == "login-code" and named == "invalid_grant":
            return Found(True, _ACCEPTED[0 if client.secret else 1])
        if error.code == "login-client" and client.secret:
            mend = "copy client id and secret from the provider's page of the app again"
            return Found(False, f"the provider does not accept it ({named})", "login.client_secret", mend)
        if error.code == "login-client":
            mend = 'if the client has a secret, write where it is: client_secret = "env:NAME"'
            return Found(False, f"without a secret the provider does not accept the client ({named})", _ID, mend)
        return _not_judged(str(error))
    return _not_judged("the token endpoint takes a code that it never issued")
