"""A small OpenID Connect provider for the demo: four people, no passwords, this machine only.

It has the part of a real provider that the demo needs, and is strict about it: authorization code with PKCE
(RFC 7636, S256), exact redirect URIs, one-time codes, RS256 tokens, discovery, sign-out. It remembers nobody: each
sign-in asks who it is. Because it asks for no password, it answers only under its own loopback address.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ..core.login import CALLBACK, LOGOUT

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Form: TypeAlias = Mapping[str, str]

CLIENT_ID = "stagedoor-demo"
TOKEN_LIFETIME = 3600
"""Seconds; of id and access tokens."""
CODE_LIFETIME = 60
"""Seconds; RFC 6749 §4.1.2 recommends at most ten minutes."""
MAX_CODES = 1000
SIGN_IN = Path(__file__).with_name("sign_in")
"""The files of the sign-in page."""
MAX_FORM_BYTES = 16_384
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")


class Person(NamedTuple):
    """A user who can sign in with a click."""

    sub: str
    name: str
    groups: tuple[str, ...]
    about: str

    def claims(self) -> dict[str, object]:
        email = f"{self.sub}@example.com"
        return {"sub": self.sub, "name": self.name, "email": email, "email_verified": True, "groups": [*self.groups]}


PEOPLE = (
    Person("ann", "Ann Archer", ("students",), "Student: the course, her group's files and her own"),
    Person("ben", "Ben Baker", ("students",), "Student: the same, but his own files, not Ann's"),
    Person("tess", "Tess Turner", ("teachers",), "Teacher: the drafts and the grades as well"),
    Person("gil", "Gil Gray", (), "Guest, in no group: only what is public, and his own"),
)


class Refused(Exception):
    """An OAuth error (RFC 6749 §4.1.2.1, §5.2): its code and description."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


class Answer(NamedTuple):
    """A complete HTTP answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted with an authorization code, and goes on with refresh tokens."""

    person: Person
    redirect_uri: str
    challenge: str
    nonce: str
    scope: str
    expires: float
    signed_in: int


class Provider:
    """The provider as an ASGI application.

    Args:
        issuer: its own origin, `http://127.0.0.1:PORT`; requests with any other Host are refused.
        site: origin of the demo site.
        clock: epoch seconds.
        callback: path of the site to which people come back.
        others: origins of further sites that sign people in here, at `CALLBACK`.
    """

    def __init__(
        self,
        issuer: str,
        site: str,
        clock: Callable[[], float] = time.time,
        *,
        callback: str = CALLBACK,
        others: Sequence[str] = (),
    ) -> None:
        self.issuer, self.site = issuer, site
        self.redirect_uris = frozenset((site + callback, *(other + CALLBACK for other in others)))
        self.signed_out_uris = frozenset(one + LOGOUT for one in (site, *others))
        self._targets = " ".join(("'self'", site, *others))
        self._host = urlsplit(issuer).netloc
        self._clock = clock
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._kid = secrets.token_hex(8)
        self._codes: dict[str, Grant] = {}
        self._refresh_tokens: dict[str, Grant] = {}
        self._routes: Mapping[tuple[str, str], Callable[[Form], Answer]] = {
            ("GET", "/.well-known/openid-configuration"): lambda _: _json(200, self.discovery()),
            ("GET", "/jwks.json"): lambda _: _json(200, self.jwks()),
            ("GET", "/authorize"): self._choose,
            ("POST", "/authorize"): self._authorize,
            ("POST", "/token"): self._token,
            ("GET", "/logout"): self._sign_out,
            ("OPTIONS", "/token"): lambda _: Answer(204, headers=_PREFLIGHT),
            ("GET", "/signin.css"): lambda _: Answer(200, _file("signin.css"), ((b"content-type", b"text/css"),)),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError("the demo's provider speaks HTTP only")
        answer = self._answer(scope, await _body(receive))
        headers = [*answer.headers, *self._common_headers(scope["path"])]
        if answer.status != 204:  # which may not have it (RFC 9110 §8.6)
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

    def discovery(self) -> dict[str, object]:
        """The discovery document (OpenID Connect Discovery 1.0 §3)."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "end_session_endpoint": f"{self.issuer}/logout",
            "jwks_uri": f"{self.issuer}/jwks.json",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": True,
            "prompt_values_supported": ["none", "login"],
            "scopes_supported": ["openid", "email", "profile"],
        }

    def jwks(self) -> dict[str, object]:
        """The public key (RFC 7517 §5)."""
        numbers = self._key.public_key().public_numbers()
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self._kid}
        return {"keys": [{**key, "n": _b64(numbers.n.to_bytes(256)), "e": _b64(numbers.e.to_bytes(3))}]}

    def access_token(self, person: Person, scope: str = "openid") -> str:
        """An access token, for programs such as curl (RFC 9068)."""
        claims = {**person.claims(), "client_id": CLIENT_ID, "scope": scope, "jti": secrets.token_hex(16)}
        return self._sign("at+jwt", claims)

    def id_token(self, person: Person, nonce: str = "", signed_in: int | None = None) -> str:
        """An id token, for the site that asked for the sign-in (OpenID Connect Core 1.0 §2)."""
        extra = {"nonce": nonce} if nonce else {}
        auth_time = int(self._clock()) if signed_in is None else signed_in
        return self._sign("JWT", {**person.claims(), "auth_time": auth_time, **extra})

    def _sign(self, typ: str, claims: Mapping[str, object]) -> str:
        now = int(self._clock())
        header = {"alg": "RS256", "typ": typ, "kid": self._kid}
        times = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + TOKEN_LIFETIME}
        signed = ".".join(_b64(json.dumps(part).encode()) for part in (header, {**times, **claims}))
        return f"{signed}.{_b64(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    # --- HTTP

    def _answer(self, scope: Scope, body: bytes | None) -> Answer:
        headers = dict(scope["headers"])
        if headers.get(b"host", b"").decode("latin-1") != self._host:  # against DNS rebinding
            return Answer(421, b"this provider answers only under its own address\n")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        route = self._routes.get((method, scope["path"]))
        if route is None:
            return Answer(404, b"not found\n")
        if method == "POST":
            allowed = {"/authorize": self.issuer, "/token": self.site}[scope["path"]]
            if headers.get(b"origin", allowed.encode()) != allowed.encode():
                return Answer(403, b"this origin may not ask\n")
            if not headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded") or body is None:
                return Answer(415, b"send a short form, application/x-www-form-urlencoded\n")
        try:
            return route(_form(body or b"" if method == "POST" else scope["query_string"]))
        except Refused as error:
            return _json(400, {"error": error.code, "error_description": str(error)})

    def _common_headers(self, path: str) -> tuple[tuple[bytes, bytes], ...]:
        policy = f"default-src 'none'; style-src 'self'; form-action {self._targets}; frame-ancestors 'none'"
        fields = (
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
            (b"content-security-policy", f"{policy}; base-uri 'none'".encode()),
        )
        if path != "/token":
            return fields
        return (*fields, (b"vary", b"Origin"), (b"access-control-allow-origin", self.site.encode()))

    # --- authorization endpoint (RFC 6749 §4.1.1)

    def _choose(self, form: Form) -> Answer:
        """Show the users to choose from."""
        refusal = self._refusal(form)
        return refusal or Answer(200, self._sign_in_page(form), _HTML)

    def _authorize(self, form: Form) -> Answer:
        """Redirect to the client with a code for the chosen user."""
        refusal = self._refusal(form)
        if refusal is not None:
            return refusal
        person = next((one for one in PEOPLE if one.sub == form.get("person")), None)
        if person is None:
            return self._back(form, {"error": "access_denied", "error_description": "no user was chosen"})
        now = self._clock()
        self._codes = {code: grant for code, grant in self._codes.items() if grant.expires > now}
        if len(self._codes) >= MAX_CODES:
            return self._back(form, {"error": "temporarily_unavailable"})
        code = secrets.token_urlsafe(32)
        self._codes[code] = Grant(
            person,
            form["redirect_uri"],
            form["code_challenge"],
            form.get("nonce", ""),
            form["scope"],
            now + CODE_LIFETIME,
            int(now),
        )
        return self._back(form, {"code": code})

    def _refusal(self, form: Form) -> Answer | None:
        """The error for a bad authorization request: a redirect to the client, or a page if the client is wrong."""
        if form.get("client_id") != CLIENT_ID or form.get("redirect_uri") not in self.redirect_uris:
            return Answer(400, b"client_id or redirect_uri is not the demo site's, so there is no redirect\n")
        prompt = form.get("prompt", "").split()
        problem = ""
        if form.get("response_type") != "code":
            problem = "unsupported_response_type"
        elif "openid" not in form.get("scope", "").split():
            problem = "invalid_scope"
        elif form.get("code_challenge_method") != "S256" or not _CHALLENGE.match(form.get("code_challenge", "")):
            problem = "invalid_request"
        elif "none" in prompt:  # and nobody is signed in, because nobody is remembered
            problem = "login_required" if prompt == ["none"] else "invalid_request"
        return self._back(form, {"error": problem}) if problem else None

    def _back(self, form: Form, result: Mapping[str, str]) -> Answer:
        """A redirect to the client, with `state` as it came and `iss` (RFC 9207)."""
        state = {"state": form["state"]} if "state" in form else {}
        location = f"{form['redirect_uri']}?{urlencode({**result, **state, 'iss': self.issuer})}"
        return Answer(303, headers=((b"location", location.encode()),))

    def _sign_in_page(self, form: Form) -> bytes:
        kept = "".join(
            f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
            for name, value in form.items()
            if name != "person"
        )
        cards = "".join(_card(person, person.sub == form.get("login_hint")) for person in PEOPLE)
        page, site = Template(_file("signin.html").decode()), "/".join(form["redirect_uri"].split("/")[:3])
        return page.substitute(fields=kept, cards=cards, site=html.escape(site)).encode()

    # --- end session endpoint (OpenID Connect RP-Initiated Logout 1.0 §2)

    def _sign_out(self, form: Form) -> Answer:
        """Redirect back; there is no session here to end."""
        back = form.get("post_logout_redirect_uri", "")
        if form.get("client_id") != CLIENT_ID or back not in self.signed_out_uris:
            return Answer(400, b"client_id or post_logout_redirect_uri is not the demo site's: no redirect\n")
        state = f"?{urlencode({'state': form['state']})}" if "state" in form else ""
        return Answer(303, headers=((b"location", (back + state).encode()),))

    # --- token endpoint (RFC 6749 §4.1.3 and §6, RFC 7636 §4.6)

    def _token(self, form: Form) -> Answer:
        granted = {"authorization_code": self._by_code, "refresh_token": self._by_refresh_token}
        find = granted.get(form.get("grant_type", ""))
        if find is None:
            raise Refused("unsupported_grant_type", f"only {' and '.join(granted)}")
        if form.get("client_id") != CLIENT_ID:
            raise Refused("invalid_client", "no such client")
        grant = find(form)
        tokens = {
            "id_token": self.id_token(grant.person, grant.nonce, grant.signed_in),
            "access_token": self.access_token(grant.person, grant.scope),
            "refresh_token": self._refresh_token(grant),
        }
        return _json(200, {**tokens, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME, "scope": grant.scope})

    def _refresh_token(self, grant: Grant) -> str:
        """A token that counts once; of too many the oldest is forgotten."""
        while len(self._refresh_tokens) >= MAX_CODES:
            del self._refresh_tokens[next(iter(self._refresh_tokens))]
        token = secrets.token_urlsafe(32)
        self._refresh_tokens[token] = grant
        return token

    def _by_refresh_token(self, form: Form) -> Grant:
        grant = self._refresh_tokens.pop(form.get("refresh_token", ""), None)
        if grant is None:
            raise Refused("invalid_grant", "the refresh token is unknown or used")
        return replace(grant, nonce="")

    def _by_code(self, form: Form) -> Grant:
        grant = self._codes.pop(form.get("code", ""), None)  # used up, even if the request fails
        if grant is None or grant.expires <= self._clock():
            raise Refused("invalid_grant", "the code is unknown, used or too old")
        if form.get("redirect_uri") != grant.redirect_uri:
            raise Refused("invalid_grant", "redirect_uri is not the one of the authorization request")
        verifier = form.get("code_verifier", "")
        challenge = _b64(hashlib.sha256(verifier.encode()).digest())
        if not _VERIFIER.match(verifier) or not hmac.compare_digest(challenge, grant.challenge):
            raise Refused("invalid_grant", "code_verifier does not match the code_challenge")
        return grant


_HTML = ((b"content-type", b"text/html; charset=utf-8"),)
_PREFLIGHT = (
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"Content-Type"),
    (b"access-control-max-age", b"600"),
)


def _card(person: Person, hinted: bool) -> str:
    groups = ", ".join(person.groups) or "no group"
    return (
        f'<li><button name="person" value="{person.sub}" data-person="{person.sub}"{" autofocus" if hinted else ""}>'
        f'<span class="face" aria-hidden="true">{person.name[0]}</span><span class="who"><strong>{person.name}</strong>'
        f'<span class="group">{groups}</span><span class="about">{person.about}</span></span></button></li>'
    )


def _file(name: str) -> bytes:
    return SIGN_IN.joinpath(name).read_bytes()


def _json(status: int, content: Mapping[str, object]) -> Answer:
    return Answer(status, json.dumps(content).encode(), ((b"content-type", b"application/json"),))


def _form(raw: bytes) -> Form:
    """Parse parameters; a repeated one is an error (RFC 6749 §3.1)."""
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=30)
    except ValueError:
        raise Refused("invalid_request", "the parameters cannot be read") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Refused("invalid_request", "a parameter is repeated")
    return form


async def _body(receive: Receive) -> bytes | None:
    """The request's body, or None if it is too long for a form."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False) and len(body) <= MAX_FORM_BYTES
    return body if len(body) <= MAX_FORM_BYTES else None


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
