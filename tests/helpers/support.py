"""What the tests of the core share: keys made once, tokens, a web that answers as scripted, and a door to ask."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from stagedoor.core.caller import Caller
from stagedoor.core.door import Door, Endpoint, Site
from stagedoor.core.drivers import run
from stagedoor.core.endpoints import make_endpoints
from stagedoor.core.endpoints.issuing import Issuing
from stagedoor.core.errors import InvalidToken
from stagedoor.core.issuers import Issuer
from stagedoor.core.messages import (
    Answered,
    Content,
    Fetch,
    Fetched,
    Flow,
    Headers,
    List,
    Lookup,
    Pairs,
    Reply,
    Request,
    Serve,
    Wish,
    collect,
)
from stagedoor.core.passes import signer as passes_signer
from stagedoor.core.passes.verify import Passes
from stagedoor.core.policy.decide import Policy, compile_rules
from stagedoor.core.session import Sessions
from stagedoor.core.tokens import REMEMBERED_BYTES, Tokens
from stagedoor.keys import signatures
from stagedoor.keys.pass_keys import new_pair
from stagedoor.keys.sealing import Seal
from stagedoor.store.memory import MemoryStore

T = TypeVar("T")

NOW = 1_700_000_000.0
SITE = "https://assets.example.com"
ISSUER = "https://id.example.com/tenant"
KEYS_URL = "https://id.example.com/keys"
CLIENT = "my-client-id"
SESSION_KEY = b"a session key of more than 32 bytes!"
VECTORS = Path(__file__).parents[1] / "vectors"

_HASH: Mapping[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}

_CURVE: Mapping[str, tuple[ec.EllipticCurve, str]] = {
    "ES256": (ec.SECP256R1(), "P-256"),
    "ES384": (ec.SECP384R1(), "P-384"),
    "ES512": (ec.SECP521R1(), "P-521"),
}


def b64(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8))


class Signer(NamedTuple):
    """A key of an issuer: the JWK that it publishes, and how it signs."""

    algorithm: str
    jwk: dict[str, Any]
    sign: Callable[[bytes], bytes]


@cache
def rsa_signer(algorithm: str = "RS256", kid: str = "rsa-1", bits: int = 2048) -> Signer:
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    public, digest = private.public_key().public_numbers(), _HASH[algorithm[2:]]
    pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
    scheme: padding.AsymmetricPadding = pss if algorithm.startswith("PS") else padding.PKCS1v15()
    jwk = {"kty": "RSA", "kid": kid, "use": "sig", "alg": algorithm, "n": number(public.n), "e": number(public.e)}
    return Signer(algorithm, jwk, lambda message: private.sign(message, scheme, digest))


@cache
def ec_signer(algorithm: str = "ES256", kid: str = "ec-1") -> Signer:
    curve, name = _CURVE[algorithm]
    private = ec.generate_private_key(curve)
    size = (curve.key_size + 7) // 8
    point = private.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": name, "kid": kid, "x": b64(point.x.to_bytes(size)), "y": b64(point.y.to_bytes(size))}

    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(message, ec.ECDSA(_HASH[algorithm[2:]])))
        return r.to_bytes(size) + s.to_bytes(size)

    return Signer(algorithm, jwk, sign)


@cache
def ed_signer(kid: str = "ed-1") -> Signer:
    private = ed25519.Ed25519PrivateKey.generate()
    jwk = {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(private.public_key().public_bytes_raw())}
    return Signer("EdDSA", jwk, private.sign)


def key_set(*signers: Signer | Mapping[str, Any]) -> bytes:
    """A JWKS document of these keys."""
    return json.dumps({"keys": [one.jwk if isinstance(one, Signer) else dict(one) for one in signers]}).encode()


def claims(**more: Any) -> dict[str, Any]:
    """Claims of a good id token; a value of `...` takes the claim away."""
    all_claims = {"iss": ISSUER, "aud": CLIENT, "sub": "ann", "exp": NOW + 600, **more}
    return {name: value for name, value in all_claims.items() if value is not ...}


def token(payload: Mapping[str, Any] | bytes | None = None, signer: Signer | None = None, **header: Any) -> str:
    """A signed token; header members may be given, `...` takes one away."""
    signer = signer or rsa_signer()
    fields = {"alg": signer.algorithm, "kid": signer.jwk["kid"], "typ": "JWT", **header}
    head = json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()
    body = payload if isinstance(payload, bytes) else json.dumps(claims() if payload is None else payload).encode()
    return sealed(head, body, signer.sign)


def sealed(head: bytes, body: bytes, sign: Callable[[bytes], bytes]) -> str:
    """A compact JWS of exactly these bytes."""
    signed = f"{b64(head)}.{b64(body)}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def issuer(**more: Any) -> Issuer:
    fields: dict[str, Any] = {"url": ISSUER, "audience": frozenset((CLIENT,)), "name": "staff", "jwks": KEYS_URL}
    return Issuer(**{**fields, **more})


def caller(name: str = "staff", **claim: Any) -> Caller:
    """A caller whose claims have been verified."""
    return Caller(name, ISSUER, {"sub": "ann", **claim})


class Web:
    """The outside, as scripted: URL -> body; what is not in it cannot be reached. `asked` lists every wish."""

    def __init__(self, pages: Mapping[str, bytes] | None = None) -> None:
        self.pages = dict(pages or {})
        self.asked: list[str] = []

    def __call__(self, wish: Wish) -> Fetched:
        assert isinstance(wish, Fetch)
        self.asked.append(wish.url)
        body = self.pages.get(wish.url)
        return Fetched(b"", "connection refused") if body is None else Fetched(body)

    async def later(self, wish: Wish) -> Fetched:
        return self(wish)


def web(*signers: Signer) -> Web:
    """A web where the usual issuer publishes these keys."""
    return Web({KEYS_URL: key_set(*(signers or (rsa_signer(),)))})


def finish(flow: Flow[T]) -> T:
    """Drive a flow that must not ask for anything."""

    def nothing(wish: Wish) -> Answered:
        raise AssertionError(f"the flow asked for {wish}")

    return run(flow, nothing)


Rules = Sequence[Mapping[str, object]]

RULES: Rules = (
    {"path": "public/**", "allow": "anyone"},
    {"path": "users/{sub}/**", "allow": "signed-in"},
    {"path": "groups/{groups}/**", "allow": "signed-in"},
    {"path": "courses/**", "allow": {"groups": ["students", "teachers"]}},
    {"path": "courses/drafts/**", "deny": "anyone"},
)


class Visitor:
    """A door with a web, a store and a catalogue behind it, asked as a browser or a program would.

    `passes` and `api_options` are what it verifies and issues passes with.
    """

    def __init__(
        self,
        rules: Rules = RULES,
        *,
        site: Site | None = None,
        issuers: Sequence[Issuer] = (issuer(),),
        sessions: bool = True,
        pages: Web | None = None,
        passes: Passes | None = None,
        api_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.web, self.now, self.client = web() if pages is None else pages, NOW, "192.0.2.1"
        self.store, self.catalogue = MemoryStore(), dict[str, Content]()
        self.site = site or Site(SITE)
        tokens = Tokens(tuple(issuers), signatures)
        policy = compile_rules(rules)
        made = Sessions(SITE, (SESSION_KEY,), issuers, policy.rules, 8 * 3600.0) if sessions else None
        endpoints = endpoints_of(policy, **(api_options or {}))
        self.door = Door(self.site, policy, tokens, made, passes, endpoints)

    def ask(self, target: str, method: str = "GET", **fields: str | Sequence[str]) -> Serve | Reply:
        """Ask for a raw request target; header fields as keywords (`sec_fetch_mode="navigate"`)."""
        return self.send(request(target, method, **fields))

    def post(self, target: str, body: object, **fields: str | Sequence[str]) -> Reply:
        """Send a body: bytes as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.send(request(target, "POST", **fields)._replace(body=raw))
        assert isinstance(answer, Reply)
        return answer

    def send(self, asked: Request) -> Serve | Reply:
        return run(self.door.answer(asked._replace(client=self.client), self.now), self.outside)

    def outside(self, wish: Wish) -> Answered:
        """The web, the store's names and the catalogue."""
        if isinstance(wish, List):
            return asyncio.run(self.store.list(wish))
        if isinstance(wish, Lookup):
            return self.catalogue.get(wish.id)
        return self.web(wish)

    def reply(self, target: str, method: str = "GET", **fields: str | Sequence[str]) -> Reply:
        answer = self.ask(target, method, **fields)
        assert isinstance(answer, Reply)
        return answer

    def serve(self, target: str, method: str = "GET", **fields: str | Sequence[str]) -> Serve:
        answer = self.ask(target, method, **fields)
        assert isinstance(answer, Serve)
        return answer


def endpoints_of(
    policy: Policy,
    *,
    signer: passes_signer.Signer | None = None,
    max_lifetime: int = 12 * 3600,
    per_minute: int = 600,
    **more: Any,
) -> Mapping[bytes, Endpoint]:
    """What is under `/-/`; random bytes are all the same."""
    issuing = Issuing(signer, max_lifetime, per_minute) if signer else None
    seal = Seal(SESSION_KEY)
    return make_endpoints(policy, entropy=lambda size: b"r" * size, seal=seal, issuing=issuing, **more)


def request(target: str, method: str = "GET", **fields: str | Sequence[str]) -> Request:
    path, _, query = target.encode("latin-1").partition(b"?")
    return Request(method, path, query, fields_of(**fields))


def fields_of(**fields: str | Sequence[str]) -> Headers:
    """Header fields as a door gets them; several values are several field lines."""
    lines = (
        (name.replace("_", "-").encode(), one.encode("latin-1"))
        for name, value in fields.items()
        for one in ([value] if isinstance(value, str) else value)
    )
    return collect(lines)


def bearer(text: str) -> str:
    return f"Bearer {text}"


def field(pairs: Pairs, name: str) -> str | None:
    """The one header field of this name; several are a fault."""
    values = [value.decode("latin-1") for found, value in pairs if found == name.encode()]
    assert len(values) <= 1, f"{name} came {len(values)} times"
    return values[0] if values else None


def says_nothing_twice(page: str) -> None:
    """Check that no sentence of a page of ours has all the words of another; links repeat what they lead to."""
    texts = re.findall(r"<(?:p|h1)\b[^>]*>([^<]+)</", page)
    said = [set(re.findall(r"\w+", text.lower())) for whole in texts for text in re.split(r"[.;] ", unescape(whole))]
    for number, words in enumerate(said):
        for others in said[:number] + said[number + 1 :]:
            assert not words - _COURTESY <= others, (words, others)


_COURTESY = {"please", "in", "to", "the", "a", "is", "this", "that", "there", "you"}


def put_keys_of_passes(settings: str, folder: Path) -> dict[str, str]:
    """Put one pair of keys wherever settings expect keys of passes, and something wherever they expect a variable.

    Args:
        settings: as in stagedoor.toml.
        folder: where its files belong.

    Returns:
        The environment variables that it names.
    """
    passes, pair = tomllib.loads(settings).get("passes", {}), new_pair("ec")
    keys = dict.fromkeys(passes.get("public_keys", {}).values(), pair.public)
    environ = dict.fromkeys(re.findall(r'"env:(\w+)"', settings), "only for tests, but long enough for a key")
    for place, key in {**keys, passes.get("private_key", ""): pair.private}.items():
        kind, _, name = place.partition(":")
        if kind == "file":
            (folder / name).write_bytes(key)
        elif kind == "env":
            environ[name] = key.decode()
    return environ


class Reader:
    """Tokens of one site with the web behind it."""

    def __init__(self, *issuers: Issuer, pages: Web | None = None, remember: int = REMEMBERED_BYTES) -> None:
        self.web = web() if pages is None else pages
        self.tokens = Tokens(issuers or (issuer(),), signatures, remember=remember)

    def verify(self, text: str, now: float = NOW) -> Caller:
        return run(self.tokens.verify(text, now), self.web)

    def refusal(self, text: str, now: float = NOW) -> str:
        """The code of the refusal."""
        with pytest.raises(InvalidToken) as caught:
            self.verify(text, now)
        signature = text.rpartition(".")[2]
        assert len(signature) < 20 or signature[:20] not in str(caught.value), "the message shows the token"
        return caught.value.code
