"""An OpenID provider on this machine that keeps to every rule, but for the one that a test has it break."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs, parse_qsl, unquote_plus, urlencode, urlsplit

from tests.helpers.serving import plain_answer, raw_server
from tests.helpers.support import Signer, b64, key_set, rsa_signer, sealed

Json = dict[str, Any]
Pairs = list[tuple[str, str]]
CLIENT = "the-site"
GOOD_KEY = rsa_signer("RS256", "good")


def put(**members: Any) -> Callable[[Json], Json]:
    """A change of an object: these members instead; `...` takes one away."""

    def changed(good: Json) -> Json:
        return {name: value for name, value in {**good, **members}.items() if value is not ...}

    return changed


def same(good: Any) -> Any:
    return good


class Change(NamedTuple):
    """What is wrong with a provider. Each function takes what would be right, and returns what is sent instead.

    Attributes:
        metadata: of the discovery document.
        keys: keys that are published; a callable, because they may change from one question to the next.
        header, claims: of the id token.
        signer: makes the id token's signature.
        token: of the whole id token.
        tokens: of the token answer.
        back: of the query with which the browser comes back.
        replies: path -> complete HTTP answers, one after the other, the last one for good.
        drips: a path whose answer never ends: a byte, and another one in time.
        once_authorized: called when the person has signed in, for what changes only then.
    """

    metadata: Callable[[Json], Any] = same
    keys: Callable[[], Sequence[Signer | Mapping[str, Any]]] = lambda: [GOOD_KEY]
    header: Callable[[Json], Json] = same
    claims: Callable[[Json], Any] = same
    signer: Callable[[], Signer] = lambda: GOOD_KEY
    token: Callable[[str], Any] = same
    tokens: Callable[[Json], Any] = same
    back: Callable[[Pairs], Pairs] = same
    replies: Mapping[str, Sequence[bytes]] = {}
    drips: str = ""
    once_authorized: Callable[[], object] = lambda: None


GOOD = Change()


class Provider:
    """A provider with one client.

    Args:
        port: where it listens.
        change: what is wrong with it.
        secret: of the client; "": a public one.
        client: its id.

    Attributes:
        issuer: its URL.
        asked: method and path of every question.
        forms: what came to the token endpoint: its fields, and the Authorization header.
        refreshes: it gives refresh tokens, and takes each once; one that comes twice ends them all.
    """

    def __init__(self, port: int, change: Change, secret: str = "", client: str = CLIENT) -> None:
        self.issuer, self.change = f"http://127.0.0.1:{port}", change
        self.asked: list[str] = []
        self.forms: list[tuple[dict[str, str], str]] = []
        self._secret, self._client = secret, client
        self.refreshes = False
        self._grants: dict[str, dict[str, str]] = {}
        self._refresh_token, self._spent = "", set[str]()

    def metadata(self) -> Any:
        return self.change.metadata(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "authorization_response_iss_parameter_supported": True,
            }
        )

    def authorize(self, address: str) -> str:
        """Let ann sign in.

        Args:
            address: where the site has sent her browser.

        Returns:
            The query with which she comes back (RFC 6749 §4.1.2).
        """
        asked = {name: value for name, (value,) in parse_qs(urlsplit(address).query).items()}
        assert (asked["response_type"], asked["client_id"]) == ("code", self._client)
        assert (asked["response_mode"], asked["code_challenge_method"]) == ("query", "S256")
        assert re.fullmatch(r"[A-Za-z0-9_-]{43}", asked["code_challenge"])
        assert re.fullmatch(r"[A-Za-z0-9_-]+", asked["state"])
        code = secrets.token_urlsafe(16)
        self._grants[code] = asked
        self.change.once_authorized()
        return urlencode(
            self.change.back([("code", code), ("state", asked["state"]), ("iss", self.issuer)]),
            errors="surrogateescape",
        )

    def grant(self, form: Mapping[str, str], authorization: str) -> tuple[str, Any]:
        """Answer a question for tokens: status and content (RFC 6749 §4.1.4, §5.2)."""
        id_, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization:
            pair = base64.b64decode(authorization.removeprefix("Basic "), validate=True).decode()
            id_, secret = (unquote_plus(part) for part in pair.split(":"))
        if (id_, secret) != (self._client, self._secret):
            return "401 Unauthorized", {"error": "invalid_client"}
        asked = self._asked(form)
        if asked is None:
            return "400 Bad Request", {"error": "invalid_grant"}
        access = secrets.token_urlsafe(16)
        tokens = {"access_token": access, "token_type": "Bearer", "expires_in": 300}
        if self.refreshes:
            self._refresh_token = tokens["refresh_token"] = secrets.token_urlsafe(16)
        return "200 OK", self.change.tokens({**tokens, "id_token": self._id_token(asked, access)})

    def _asked(self, form: Mapping[str, str]) -> Mapping[str, str] | None:
        """What was asked for at sign-in; None if what is brought does not count (RFC 6749 §4.1.3, §6)."""
        if form.get("grant_type") == "refresh_token":
            token = form.get("refresh_token", "")
            if token != self._refresh_token or token in self._spent:
                self._refresh_token = ""
                return None
            self._spent.add(token)
            return {}
        asked = self._grants.pop(form.get("code", ""), None)
        challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or challenge != asked["code_challenge"]
            or form.get("redirect_uri") != asked["redirect_uri"]
        ):
            return None
        return asked

    def _id_token(self, asked: Mapping[str, str], access: str) -> Any:
        now, signer = time.time(), self.change.signer()
        claims = {
            "iss": self.issuer,
            "aud": self._client,
            "sub": "ann",
            "iat": now,
            "exp": now + 300,
            **({"nonce": asked["nonce"]} if "nonce" in asked else {}),
            "at_hash": b64(hashlib.sha256(access.encode()).digest()[:16]),
        }
        header = self.change.header({"alg": signer.algorithm, "kid": signer.jwk.get("kid", ...), "typ": "JWT"})
        kept = {name: value for name, value in header.items() if value is not ...}
        changed = self.change.claims(claims)
        payload = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return self.change.token(sealed(json.dumps(kept).encode(), payload, signer.sign))

    # --- over HTTP

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)\r\ncontent-length: *(\d+)\r\n", head)
        body = (await reader.readexactly(int(length[1]) if length else 0)).decode()
        method, target, _ = head.split(" ", 2)
        self.asked.append(f"{method} {target}")
        if target == self.change.drips:
            await _drip(writer)
        scripted = self.change.replies.get(target)
        if scripted:
            answer = scripted[min(self.asked.count(f"{method} {target}"), len(scripted)) - 1]
        else:
            given = re.search(r"(?i)\r\nauthorization: *([^\r]*)\r\n", head)
            answer = self._answer(target.partition("?")[0], body, given[1] if given else "")
        writer.write(answer)
        await writer.drain()

    def _answer(self, target: str, body: str, authorization: str) -> bytes:
        if target == "/.well-known/openid-configuration":
            return answer(self.metadata())
        if target == "/keys":
            return plain_answer("200 OK", key_set(*self.change.keys()))
        if target != "/token":
            return plain_answer("404 Not Found")
        form = dict(parse_qsl(body, strict_parsing=True))
        self.forms.append((form, authorization))
        status, content = self.grant(form, authorization)
        return answer(content, status)


def answer(content: Any, status: str = "200 OK") -> bytes:
    """A complete HTTP answer; what is not bytes becomes JSON."""
    return plain_answer(status, content if isinstance(content, bytes) else json.dumps(content).encode())


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def providing(change: Change, secret: str = "", client: str = CLIENT) -> AsyncIterator[Provider]:
    """A running one, in this event loop."""
    provider: Provider | None = None

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert provider is not None
        await provider.handle(reader, writer)

    async with raw_server(handle) as port:
        provider = Provider(port, change, secret, client)
        yield provider
