"""Sign-in without a network: a site where people sign in, the issuer that they do it at, and browsers with cookies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

from stagedoor.core.attempts import Attempts
from stagedoor.core.door import Door, Site
from stagedoor.core.drivers import run
from stagedoor.core.endpoints import make_endpoints
from stagedoor.core.endpoints.issuing import Issuing
from stagedoor.core.endpoints.login import SignIn
from stagedoor.core.endpoints.revocations import Admins
from stagedoor.core.issuers import Issuer
from stagedoor.core.login import Client, Login
from stagedoor.core.messages import Answered, Fetch, Fetched, Keep, Reply, Serve, Wish
from stagedoor.core.policy.decide import Policy
from stagedoor.core.policy.rules import read_rules
from stagedoor.core.refresh_tokens import RefreshTokens
from stagedoor.core.revocations import Revocations
from stagedoor.core.session import Sessions, signing_key
from stagedoor.core.tokens import Tokens
from stagedoor.keys import signatures
from stagedoor.keys.sealing import Seal
from tests.helpers.support import (
    CLIENT,
    ISSUER,
    NOW,
    RULES,
    SESSION_KEY,
    SITE,
    Rules,
    Web,
    b64,
    claims,
    issuer,
    key_set,
    request,
    rsa_signer,
    token,
)

AUTHORIZE, TOKEN, END = f"{ISSUER}/authorize", f"{ISSUER}/token", f"{ISSUER}/end"


class Idp(Web):
    """An issuer that signs in whoever is `person` at the moment.

    Attributes:
        person: `sub` of the next sign-in.
        claims: more claims of its id tokens; `...` takes one away.
        forms: of every token request, in order.
        refreshes: it gives refresh tokens, and takes each once.
        remembers: False: it signs nobody in without asking them.
        answer: more members of its token answers; `...` takes one away.
        failure: what it answers to every token request; None: what it should.
    """

    def __init__(self, url: str = ISSUER) -> None:
        self.url, self.person, self.now = url, "ann", NOW
        self.claims: dict[str, Any] = {}
        self.forms: list[dict[str, str]] = []
        self.refreshes, self.remembers = False, True
        self.answer: dict[str, Any] = {}
        self.failure: Fetched | None = None
        self._codes: dict[str, dict[str, str]] = {}
        self._refresh_tokens = 0
        metadata = {
            "issuer": url,
            "authorization_endpoint": f"{url}/authorize",
            "token_endpoint": f"{url}/token",
            "end_session_endpoint": f"{url}/end",
            "jwks_uri": f"{url}/keys",
            "authorization_response_iss_parameter_supported": True,
        }
        discovery = f"{url}/.well-known/openid-configuration"
        super().__init__({discovery: json.dumps(metadata).encode(), f"{url}/keys": key_set(rsa_signer())})

    def __call__(self, wish: Wish) -> Fetched:
        if not isinstance(wish, Fetch) or wish.form is None:
            return super().__call__(wish)
        self.asked.append(wish.url)
        form = dict(parse_qsl(wish.form.decode()))
        self.forms.append(form)
        if self.failure is not None:
            return self.failure
        fields: dict[str, Any] = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": self.person,
            "iat": self.now,
            "exp": self.now + 600,
        }
        if form["grant_type"] == "refresh_token":
            good = form["refresh_token"] == f"refresh-{self._refresh_tokens}"
        else:
            asked = self._codes.pop(form["code"], {})
            challenge = b64(hashlib.sha256(form["code_verifier"].encode()).digest())
            said = challenge, form["redirect_uri"]
            good = said == (asked.get("code_challenge"), asked.get("redirect_uri"))
            fields["nonce"] = asked.get("nonce")
        if not good:
            return Fetched(b'{"error": "invalid_grant"}', "the answer was 400, not 200")
        self._refresh_tokens += 1
        id_token = token(claims(**{**fields, **self.claims}))
        more = {"refresh_token": f"refresh-{self._refresh_tokens}"} if self.refreshes else {}
        answer = {"id_token": id_token, "access_token": "at", "token_type": "Bearer", **more, **self.answer}
        return Fetched(json.dumps({name: value for name, value in answer.items() if value is not ...}).encode())

    def sign_in(self, address: str) -> str:
        """What a browser that follows this address is sent to at last: a target of the site."""
        parts = urlsplit(address)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.url}/authorize"
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if asked.get("prompt") == "none" and not self.remembers:
            return f"/-/callback?error=login_required&state={asked['state']}&iss={self.url}"
        code = b64(hashlib.sha256(asked["state"].encode()).digest())
        self._codes[code] = asked
        assert asked["redirect_uri"] == f"{SITE}/-/callback"
        return f"/-/callback?code={code}&state={asked['state']}&iss={self.url}"


class SigningIn:
    """A site where people sign in at one issuer, or at several.

    Attributes:
        idps: the issuers, by URL.
        kept: what it wants to be remembered, in order.
        now: epoch seconds.
    """

    def __init__(
        self,
        rules: Rules = RULES,
        *,
        issuers: Sequence[Issuer] = (issuer(jwks=None),),
        clients: Sequence[Issuer] = (),
        site: Site | None = None,
        lifetime: float = 3600.0,
        renew: float = 86_400.0,
        seconds: float = 0.0,
        state: bool = False,
        admin: Mapping[str, object] | None = None,
        issuing: Issuing | None = None,
    ) -> None:
        self.idps = {one.url: Idp(one.url) for one in issuers}
        self.now, self._random = NOW, 0
        tokens, seal = Tokens(tuple(issuers), signatures), Seal(SESSION_KEY)
        admin_rule = read_rules([admin])[0] if admin else None
        policy = Policy(read_rules(rules), others=(admin_rule,) if admin_rule else ())
        self.kept: list[Keep] = []
        signs_in = [Client(one, CLIENT) for one in (clients or issuers)]
        self.sign_in = SignIn(
            Login(SITE, signs_in, tokens, lambda: seconds),
            Attempts(SITE, seal, self.entropy, "__Host-stagedoor", True),
            RefreshTokens(SITE, seal, "__Host-stagedoor", True),
        )
        sessions = Sessions(SITE, (signing_key(SESSION_KEY),), issuers, policy.rules, lifetime, renew=renew)
        admins = None
        if admin_rule is not None:
            names = {name: one.url for one in issuers for name in (one.name, one.url)}
            admins = Admins(admin_rule.refusal, names, lifetime)
        endpoints = make_endpoints(
            policy,
            entropy=self.entropy,
            seal=seal,
            issuing=issuing,
            sign_in=self.sign_in,
            admins=admins,
            session=lifetime,
        )
        self.revocations = Revocations({one.url: one.leeway for one in issuers}, 300.0)
        listed = self.revocations if state else None
        self.door = Door(site or Site(SITE, signs_in=True), policy, tokens, sessions, None, endpoints, listed)

    @property
    def idp(self) -> Idp:
        return next(iter(self.idps.values()))

    def send(self, target: str, body: bytes, **fields: str) -> Reply:
        """Send a POST as a program does."""
        asked = request(target, "POST", **fields)._replace(body=body)
        answer = run(self.door.answer(asked, self.now), self.outside)
        assert isinstance(answer, Reply)
        return answer

    def entropy(self, size: int) -> bytes:
        """Bytes that never come twice."""
        self._random += 1
        return hashlib.shake_256(str(self._random).encode()).digest(size)

    def outside(self, wish: Wish) -> Answered:
        if isinstance(wish, Keep):
            self.kept.append(wish)
            return None
        assert isinstance(wish, Fetch)
        idp = next(idp for url, idp in self.idps.items() if wish.url.startswith(url))
        idp.now = self.now
        return idp(wish)


class Browser:
    """A browser at a site: it keeps cookies, as RFC 6265 has it, and says that a person navigates.

    Args:
        site: which it visits.
        keeps: False: it takes no cookies.
    """

    def __init__(self, site: SigningIn, *, keeps: bool = True) -> None:
        self.site, self._keeps = site, keeps
        self.cookies: dict[tuple[str, str], str] = {}

    def go(self, target: str, method: str = "GET", **fields: str) -> Reply | Serve:
        """Ask for a target, or an address, of the site."""
        target = target.removeprefix(SITE)
        sent = "; ".join(f"{name}={value}" for (path, name), value in self.cookies.items() if target.startswith(path))
        asked = {"sec_fetch_mode": "navigate", "accept": "text/html", **({"cookie": sent} if sent else {}), **fields}
        answer = run(self.site.door.answer(request(target, method, **asked), self.site.now), self.site.outside)
        for line in set_cookies(answer) if self._keeps else ():
            pair, *attributes = line.split("; ")
            name, _, value = pair.partition("=")
            path = next(one[5:] for one in attributes if one.startswith("Path="))
            if "Max-Age=0" in attributes:
                self.cookies.pop((path, name), None)
            else:
                self.cookies[path, name] = value
        return answer

    def reply(self, target: str, method: str = "GET", **fields: str) -> Reply:
        answer = self.go(target, method, **fields)
        assert isinstance(answer, Reply), answer
        return answer

    def begin(self, target: str) -> str:
        """Ask for an object; return the address at the issuer that this leads to."""
        first = location(self.reply(target))
        assert first.startswith(f"{SITE}/-/login?next="), first
        return location(self.reply(first))

    def begin_again(self, target: str) -> str:
        """Begin another sign-in for an object, whether or not there is a session."""
        return location(self.reply(f"/-/login?next={quote(target, safe='')}"))

    def sign_in(self, target: str) -> Reply | Serve:
        """Ask for an object, sign in on the way, and return what comes of it in the end."""
        answer = self.reply(self.site.idp.sign_in(self.begin(target)))
        return self.go(location(answer))

    @property
    def names(self) -> set[str]:
        """Names of the cookies that it has."""
        return {name for _, name in self.cookies}

    @property
    def signed_in(self) -> bool:
        return "__Host-stagedoor" in self.names


def location(answer: Reply | Serve) -> str:
    assert isinstance(answer, Reply)
    assert answer.status in (302, 303), (answer.status, answer.body[-400:])
    return dict(answer.headers)[b"location"].decode()


def set_cookies(answer: Reply | Serve) -> list[str]:
    return [value.decode() for name, value in answer.headers if name == b"set-cookie"]


def parameters(address: str) -> Mapping[str, str]:
    """The parameters of an address; none may come twice."""
    found = parse_qs(urlsplit(address).query, keep_blank_values=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}
