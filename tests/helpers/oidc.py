"""The OpenID provider of the tests, and a person who signs in there with a browser."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.helpers.servers import HOST, Server, environment, free_port
from tests.helpers.support import b64, number

HERE = Path(__file__).parents[1] / "e2e"
AUDIENCE = "https://assets.example.com"
CLIENTS = {"web": "http://127.0.0.1:9/callback", "other": "http://127.0.0.1:9/other"}


class Issued(NamedTuple):
    id_token: str
    access_token: str


class Provider:
    """npm's `oidc-provider` in a process that can be ended and started again, with the same or another key."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._server: Server | None = None
        self._starts = 0
        self.issuer = f"http://{HOST}:{self._port}"

    def start(self, kid: str) -> None:
        """Begin to sign with, and publish, this key alone; it is made when first asked for."""
        key = self._folder / f"{kid}.json"
        if not key.exists():
            key.write_text(json.dumps(private_key(kid)), encoding="utf-8")
        node = shutil.which("node")
        assert node
        self._starts += 1
        clients = {client: [callback] for client, callback in CLIENTS.items()}
        env = environment(
            self._folder, PORT=str(self._port), KEY=str(key), CLIENTS=json.dumps(clients), AUDIENCE=AUDIENCE
        )
        server = Server([node, str(HERE / "provider.mjs")], self._folder, env, f"provider-{self._starts}")
        server.until(lambda: "ready" in server.out)
        self._server = server

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def asked_for_keys(self) -> int:
        """How often this process was asked for its keys."""
        assert self._server is not None
        return self._server.out.count("GET /jwks\n")

    def sign_in(self, person: str, *, client: str = "web", resource: str = "") -> Issued:
        """Sign in as somebody with a browser would, and let the client get its tokens (RFC 6749 §4.1, RFC 7636).

        Args:
            person: their `sub`; `provider.mjs` knows their groups.
            client: client id.
            resource: whom the access token is for (RFC 8707); default: AUDIENCE.
        """
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(16)
        for_whom = {"resource": resource} if resource else {}
        question = {
            "client_id": client,
            "redirect_uri": CLIENTS[client],
            "response_type": "code",
            "scope": "openid groups",
            "state": state,
            "code_challenge": b64(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
            **for_whom,
        }
        with httpx.Client(trust_env=False, timeout=30) as browser:
            answer = browser.get(f"{self.issuer}/auth", params=question)
            while not (target := answer.headers.get("location", "")).startswith(CLIENTS[client]):
                if target:
                    answer = browser.get(urljoin(str(answer.url), target))
                else:
                    form = Form(answer.text)
                    typed = {"login": person, "password": "any"} if "login" in form.empty else {}
                    answer = browser.post(urljoin(str(answer.url), form.action), data={**form.hidden, **typed})
                assert answer.status_code < 400, answer.text
        came_back = parse_qs(urlsplit(target).query)
        assert came_back["state"] == [state]
        assert came_back["iss"] == [self.issuer]
        exchange = {
            "grant_type": "authorization_code",
            "code": came_back["code"][0],
            "redirect_uri": CLIENTS[client],
            "client_id": client,
            "code_verifier": verifier,
            **for_whom,
        }
        answer = httpx.post(f"{self.issuer}/token", data=exchange, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        issued = answer.json()
        return Issued(issued["id_token"], issued["access_token"])


class Form(HTMLParser):
    """The first form of a page: where it goes, its hidden fields and those to be filled in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.hidden: dict[str, str] = {}
        self.empty: set[str] = set()
        self.feed(page)
        assert self.action, f"there is no form in: {page}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form" and not self.action:
            self.action = found["action"]
        elif tag == "input" and found.get("type") == "hidden":
            self.hidden[found["name"]] = found["value"]
        elif tag == "input" and "name" in found:
            self.empty.add(found["name"])


def private_key(kid: str) -> dict[str, str]:
    """A new key as a JWK (RFC 7517), the private half included."""
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_numbers()
    public = numbers.public_numbers
    more = {"d": numbers.d, "p": numbers.p, "q": numbers.q, "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
    values = {name: number(value) for name, value in {"n": public.n, "e": public.e, **more}.items()}
    return {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", **values}
