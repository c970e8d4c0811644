"""A provider that breaks one rule, or a stranger who tampers with what comes back: no session begins.

Each row is a class of misbehaviour, most of them named by the OpenID Foundation's conformance suite for relying
parties; the ids of others' lists are in `tests/vectors/oidc_rp`. The gateway is the real one, and so is the network.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import gzip
import hmac
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode

import httpx
import pytest

from stagedoor.core import login
from stagedoor.core.attempts import MAX_STATE
from stagedoor.gateway.app import Gateway
from tests.helpers.hostile_provider import CLIENT, GOOD, GOOD_KEY, Change, Provider, answer, providing, put, same
from tests.helpers.serving import RULES, SITE, eventually, make_gateway, plain_answer, prepare
from tests.helpers.support import Signer, b64, ec_signer, ed_signer, finish, request, rsa_signer, sealed

SETTINGS = """
[site]
url = "%s"
store = "./files"

[[issuers]]
issuer = "$ISSUER"
audience = ["an-api"]
client_id = "$CLIENT"
algorithms = ["RS256", "ES256", "EdDSA"]
%s
"""
SESSION, FILE = "stagedoor-8080", "/team/a.txt"
NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "accept": "text/html"}


class Browser(httpx.AsyncClient):
    """A browser of one person at the gateway; `ahead` are the seconds that the gateway's clock is."""

    def __init__(self, gateway: Gateway, ahead: list[float] | None = None) -> None:
        super().__init__(transport=httpx.ASGITransport(gateway), base_url=SITE, headers=NAVIGATION)
        self.began, self.ahead = False, ahead or [0.0]

    async def go(self, target: str, **fields: str) -> httpx.Response:
        """Ask for an address of the site; whether a session began is noted."""
        heard = await self.get(target, headers=fields)
        self.began |= any(line.startswith(f"{SESSION}=") and "Max-Age=0" not in line for line in set_cookies(heard))
        return heard

    async def login(self, next_: str = FILE) -> httpx.Response:
        return await self.go(f"/-/login?next={quote(next_, safe='')}")

    async def is_signed_in(self) -> bool:
        """Does the site show a file that is for the signed-in alone?"""
        heard = await self.go(FILE, **{"sec-fetch-mode": "cors"})
        assert heard.status_code in (200, 401)
        return heard.status_code == 200


def set_cookies(heard: httpx.Response) -> list[str]:
    return heard.headers.get_list("set-cookie")


def code_of(heard: httpx.Response) -> str:
    """The code on the page of a refusal."""
    found = re.search(r"<code>([^<]*)</code>", heard.text)
    return found[1] if found else ""


def text_of(heard: httpx.Response) -> str:
    return unescape(re.sub(r"<[^>]*>", " ", heard.text))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(tmp_path, {"team/a.txt": b"team"})
    return tmp_path


@contextlib.asynccontextmanager
async def site(
    folder: Path,
    change: Change = GOOD,
    *,
    secret: str = "",
    client: str = CLIENT,
    more: str = "",
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[tuple[Gateway, Provider]]:
    """A gateway whose one provider is this one; `more` are further settings."""
    async with providing(change, secret, client) as provider:
        text = SETTINGS % (SITE, more + RULES)
        text = text.replace("$ISSUER", provider.issuer).replace('"$CLIENT"', json.dumps(client))
        if secret:
            (folder / "secret").write_text(secret)
            text = text.replace("client_id", 'client_secret = "file:secret"\nclient_id')
        gateway = make_gateway(folder, text, clock=clock)
        try:
            yield gateway, provider
        finally:
            await gateway.aclose()


async def sign_in(browser: Browser, provider: Provider) -> httpx.Response:
    """The last answer of the site to a browser that goes the whole way."""
    heard = await browser.login()
    if heard.status_code == 302:
        return await browser.go(f"/-/callback?{provider.authorize(heard.headers['location'])}")
    return heard


# --- the table


class Row(NamedTuple):
    """What one misbehaviour leads to; `code` is "" if the person is signed in all the same."""

    change: Change
    status: int = 302
    code: str = ""


def good(**change: Any) -> Row:
    return Row(Change(**change))


def bad_token(code: str = "login-token", **change: Any) -> Row:
    return Row(Change(**change), 403, code)


def away(**change: Any) -> Row:
    """The provider could not be asked, or did not answer as a provider does."""
    return Row(Change(**change), 503, "issuer-unavailable")


def bad_answer(**change: Any) -> Row:
    return Row(Change(**change), 502, "login-answer")


def claims(**members: Any) -> Row:
    return bad_token(claims=put(**members))


def later(seconds: float) -> float:
    return time.time() + seconds


NEW, STRANGER = rsa_signer("RS256", "new"), rsa_signer("RS256", "stranger")
SHORT = rsa_signer("RS256", "short", 1024)
POSING = Signer("RS256", GOOD_KEY.jwk, STRANGER.sign)
"""A stranger's key that signs under the name of the good one."""
HMAC = Signer("HS256", GOOD_KEY.jwk, lambda signed: hmac.digest(GOOD_KEY.jwk["n"].encode(), signed, "sha256"))
"""The public key, used as a secret."""
NAMELESS, OTHER_NAMELESS = ({k: v for k, v in one.jwk.items() if k != "kid"} for one in (NEW, STRANGER))
HALF = "\ud800"
DISCOVERY = "/.well-known/openid-configuration"


def token(change: Callable[[str], Any]) -> Row:
    return bad_token(token=change)


def resigned(payload: bytes) -> Callable[[str], str]:
    """Well signed nonsense."""
    return lambda _: sealed(json.dumps({"alg": "RS256", "kid": "good"}).encode(), payload, GOOD_KEY.sign)


def unsigned(good_: str) -> str:
    """The same claims by `alg: none`."""
    return f"{b64(json.dumps({'alg': 'none', 'typ': 'JWT'}).encode())}.{good_.split('.')[1]}."


def replies(path: str, *answers: bytes) -> Any:
    return {path: answers}


MOVED = plain_answer("302 Found", b"", "Location: /elsewhere")
HTML = plain_answer("200 OK", b"<!doctype html><title>Please wait</title>", "content-type: text/html")
FAULT = plain_answer("500 Internal Server Error", b"<h1>500</h1>", "content-type: text/html")
BOMB = plain_answer("200 OK", gzip.compress(bytes(9_000_000)), "content-encoding: gzip")
ENDLESS = plain_answer("200 OK", b" " * 1_100_000)
BROKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{"
NO_HTTP = b"220 mail.example.com ESMTP\r\n\r\n"
NOT_JSON = {
    "html": HTML,
    "empty": answer(b""),
    "a list": answer([]),
    "a number": answer(7),
    "null": answer(None),
    "not UTF-8": answer(b'{"a": "\xff"}'),
    "a member twice": answer(
        b'{"issuer": "a", "issuer": "a", "id_token": "a", "id_token": "a", "keys": [], "keys": []}'
    ),
    "NaN": answer(b'{"a": NaN}'),
    "deep": answer(b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "a number of 100,000 digits": answer(b'{"a": ' + b"9" * 100_000 + b"}"),
}
NO_ANSWER = {
    "moved": MOVED,
    "500": FAULT,
    "404": plain_answer("404 Not Found", b"{}"),
    "nothing at all": b"",
    "no HTTP": NO_HTTP,
    "broken off": BROKEN,
    "endless": ENDLESS,
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000,
    "interim answers without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5_000,
    "two answers": answer({}) + answer({}),
    "a part": plain_answer("206 Partial Content", b"{}", "content-range: bytes 0-1/9"),
    "nothing to say": b"HTTP/1.1 204 No Content\r\n\r\n",
    "gzip bomb": BOMB,
    "gzip that is none": plain_answer("200 OK", b"{}", "content-encoding: gzip"),
}
NO_ADDRESSES = {
    "missing": ...,
    "null": None,
    "empty": "",
    "a number": 7,
    "a list": ["https://id.example.com/x"],
    "http elsewhere": "http://id.example.com/x",
    "HTTP elsewhere": "HTTP://id.example.com/x",
    "ftp": "ftp://id.example.com/x",
    "file": "file:///etc/passwd",
    "javascript": "javascript:alert(1)//",
    "relative": "/token",
    "without a scheme": "//id.example.com/x",
    "without a host": "https:///x",
    "with a password": "https://ann:secret@id.example.com/x",
    "with an at sign": "https://@id.example.com/x",
    "with a fragment": "https://id.example.com/x#y",
    "with an empty fragment": "https://id.example.com/x#",
    "with a line end": "https://id.example.com/x\r\nSet-Cookie: a=b",
    "with NUL": "https://id.example.com/\0",
    "with a tab in the host": "https://id.exa\tmple.com/x",
    "with a blank": "https://id.example.com/a b",
    "with a backslash in the host": "https://id.example.com\\@evil.example/x",
    "with directives in the host": "https://id.example.com;script-src/x",
    "with a port beyond all": "https://id.example.com:99999/x",
    "with half a character": f"https://id.example.com/{HALF}",
    "with umlauts": "https://id.exämple.com/x",
}

ID_TOKENS = {
    "RS256": good(),
    "ES256": good(signer=ec_signer, keys=lambda: [ec_signer()], claims=lambda c: {**c}),
    "EdDSA": good(signer=ed_signer, keys=lambda: [ed_signer()], claims=put(at_hash=...)),
    "without typ": good(header=put(typ=...)),
    "typ in small letters": good(header=put(typ="jwt")),
    # signatures
    "alg none": token(unsigned),
    "alg none, and a signature": bad_token(header=put(alg="none")),
    "alg NONE": bad_token(header=put(alg="NONE")),
    "alg missing": bad_token(header=put(alg=...)),
    "alg is a list": bad_token(header=put(alg=["RS256"])),
    "alg that is not accepted": bad_token(header=put(alg="RS512")),
    "invalid signature with RS256": token(lambda good_: good_[:-8] + "AAAAAAAA"),
    "invalid signature with ES256": bad_token(
        signer=lambda: Signer("ES256", ec_signer().jwk, ec_signer("ES256", "ec-2").sign), keys=lambda: [ec_signer()]
    ),
    "HS256 by the public key": bad_token(signer=lambda: HMAC),
    "HS256, called RS256": bad_token(signer=lambda: HMAC._replace(algorithm="RS256")),
    "without a signature": token(lambda good_: good_.rpartition(".")[0] + "."),
    "of two parts": token(lambda good_: good_.rpartition(".")[0]),
    "encrypted": token(lambda good_: f"{good_}.AAAA.AAAA"),
    "a stranger's key": bad_token(signer=lambda: POSING),
    "a stranger's key, brought along": bad_token(signer=lambda: STRANGER, header=put(jwk=STRANGER.jwk)),
    "a stranger's key, at an address": bad_token(
        signer=lambda: STRANGER,
        header=lambda header: {**header, "jku": "https://evil.example/keys", "x5u": "https://evil.example/"},
    ),
    "crit": bad_token(header=put(crit=["exp"])),
    "b64": bad_token(header=put(b64=True)),
    "an access token": bad_token(header=put(typ="at+jwt")),
    "a logout token": bad_token(header=put(typ="logout+jwt")),
    "typ is a number": bad_token(header=put(typ=7)),
    # claims
    "iss wrong": claims(iss="https://other.example.com"),
    "iss with a slash more": bad_token(claims=lambda c: {**c, "iss": c["iss"] + "/"}),
    "iss missing": claims(iss=...),
    "iss is a list": bad_token(claims=lambda c: {**c, "iss": [c["iss"]]}),
    "aud wrong": claims(aud="another-client"),
    "aud is that of bearer tokens": claims(aud="an-api"),
    "aud missing": claims(aud=...),
    "aud empty": claims(aud=[]),
    "aud is an object": claims(aud={CLIENT: True}),
    "aud in another case": claims(aud=CLIENT.upper()),
    "aud is a list of one": good(claims=put(aud=[CLIENT])),
    "several aud without azp": claims(aud=[CLIENT, "another-client"]),
    "several aud, azp another's": claims(aud=[CLIENT, "another-client"], azp="another-client"),
    "several aud, azp ours": good(claims=put(aud=["another-client", CLIENT], azp=CLIENT)),
    "azp another's": claims(azp="another-client"),
    "azp is a list": claims(azp=[CLIENT]),
    "exp missing": claims(exp=...),
    "exp is text": bad_token(claims=lambda c: {**c, "exp": str(c["exp"])}),
    "exp is true": claims(exp=True),
    "exp is null": claims(exp=None),
    "exp beyond all": claims(exp=1e300),
    "expired": bad_token("login-clock", claims=lambda c: {**c, "exp": later(-61), "iat": later(-90)}),
    "expired a moment ago": good(claims=lambda c: {**c, "exp": later(-30), "iat": later(-50)}),
    "nbf in the future": bad_token("login-clock", claims=lambda c: {**c, "nbf": later(90)}),
    "nbf in a moment": good(claims=lambda c: {**c, "nbf": later(30)}),
    "nbf is text": claims(nbf="now"),
    "iat missing": claims(iat=...),
    "iat is text": claims(iat="now"),
    "iat in the future": bad_token("login-clock", claims=lambda c: {**c, "iat": later(90)}),
    "iat in a moment": good(claims=lambda c: {**c, "iat": later(30)}),
    "sub missing": claims(sub=...),
    "sub empty": claims(sub=""),
    "sub is null": claims(sub=None),
    "sub is a list": claims(sub=["ann"]),
    "sub is a number": claims(sub=7),
    "sub is an object": claims(sub={"ann": True}),
    "sub of half a character": claims(sub=f"ann{HALF}"),
    "nonce wrong": claims(nonce="another"),
    "nonce missing": claims(nonce=...),
    "nonce empty": claims(nonce=""),
    "nonce is null": claims(nonce=None),
    "nonce is a list": bad_token(claims=lambda c: {**c, "nonce": [c.get("nonce")]}),
    "nonce of half a character": claims(nonce=HALF),
    "at_hash wrong": claims(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "at_hash is a number": claims(at_hash=7),
    "at_hash missing": good(claims=put(at_hash=...)),
    "at_hash without an access token": bad_token(tokens=put(access_token=...)),
    "an access token of half a character": bad_token(tokens=put(access_token=HALF)),
    "c_hash wrong": claims(c_hash="AAAAAAAAAAAAAAAAAAAAAA"),
    "c_hash missing": good(),
    "auth_time is text": claims(auth_time="today"),
    "auth_time is null": good(claims=put(auth_time=None)),
    "other claims": good(claims=put(name=f"Ann {HALF}", address={"a": [1, None]}, amr=["pwd"], sid="s-1")),
    # forms
    "empty": token(lambda _: ""),
    "not a JWT": token(lambda _: "opaque"),
    "with blanks": token(lambda good_: f" {good_} "),
    "in base64 with padding": token(lambda good_: good_ + "="),
    "in letters beyond ASCII": token(lambda good_: good_ + "ü"),
    "longer than 64 KB": claims(groups=["g" * 70_000]),
    "payload is not JSON": token(resigned(b"ann")),
    "payload is a list": token(resigned(b"[]")),
    "payload is not UTF-8": token(resigned(b'{"sub": "\xff"}')),
    "payload is deep": token(resigned(b'{"sub": ' + b"[" * 5000 + b"]" * 5000 + b"}")),
    "a claim twice": bad_token(claims=lambda c: json.dumps(c).encode()[:-1] + b', "sub": "root"}'),
    "a claim that is NaN": claims(iat=float("nan")),
}

KEYS = {
    "kid absent, one key": good(header=put(kid=...)),
    "kid absent, several keys": good(header=put(kid=...), keys=lambda: [STRANGER, NEW, GOOD_KEY]),
    "kid absent, and in the keys too": good(
        keys=lambda: [OTHER_NAMELESS, NAMELESS], signer=lambda: NEW, header=put(kid=...)
    ),
    "kid, and keys without": good(keys=lambda: [NAMELESS], signer=lambda: NEW),
    "kid absent, and none fits": bad_token(header=put(kid=...), keys=lambda: [STRANGER, NEW]),
    "kid unknown": bad_token(header=put(kid="nobody")),
    "kid is a number": bad_token(header=put(kid=7)),
    "kid is another key's": bad_token(header=put(kid="stranger"), keys=lambda: [GOOD_KEY, STRANGER]),
    "kid leads elsewhere": bad_token(header=put(kid="../../etc/passwd")),
    "one kid, two keys": good(keys=lambda: [{**STRANGER.jwk, "kid": "good"}, GOOD_KEY]),
    "keys that cannot be read beside": good(
        keys=lambda: [{"kty": "RSA", "kid": "x"}, {"kty": "new"}, {}, {**NEW.jwk, "n": "!"}, GOOD_KEY]
    ),
    "a key for encryption": bad_token(keys=lambda: [{**GOOD_KEY.jwk, "use": "enc"}, NEW]),
    "a key for another algorithm": bad_token(keys=lambda: [{**GOOD_KEY.jwk, "alg": "RS512"}, NEW]),
    "keys that can all not be read": away(keys=lambda: [{"kty": "RSA", "kid": "good"}]),
    "no keys": away(keys=list),
    "private keys": away(keys=lambda: [{**GOOD_KEY.jwk, "d": "AQAB"}]),
    "secret keys": away(keys=lambda: [GOOD_KEY, {"kty": "oct", "k": "c2VjcmV0"}]),
    "short keys": away(keys=lambda: [SHORT], signer=lambda: SHORT),
    **{f"keys: {name}": away(replies=replies("/keys", raw)) for name, raw in {**NOT_JSON, **NO_ANSWER}.items()},
}

METADATA = {
    "more than anybody knows": good(metadata=put(unheard_of={"a": [1]}, service_documentation=None)),
    "less than the standard asks": good(
        metadata=put(
            response_types_supported=...,
            subject_types_supported=...,
            id_token_signing_alg_values_supported=...,
            authorization_response_iss_parameter_supported=...,
        )
    ),
    "issuer of somebody else": away(metadata=put(issuer="https://other.example.com")),
    "issuer with a slash more": away(metadata=lambda good_: {**good_, "issuer": good_["issuer"] + "/"}),
    "issuer missing": away(metadata=put(issuer=...)),
    "issuer is a list": away(metadata=lambda good_: {**good_, "issuer": [good_["issuer"]]}),
    "addresses with a query": good(
        metadata=lambda good_: {**good_, "authorization_endpoint": good_["authorization_endpoint"] + "?p=a"}
    ),
    **{f"token_endpoint {what}": away(metadata=put(token_endpoint=address)) for what, address in NO_ADDRESSES.items()},
    **{
        f"{name} {what}": away(metadata=put(**{name: NO_ADDRESSES[what]}))
        for name in ("authorization_endpoint", "jwks_uri", "end_session_endpoint")
        for what in ("http elsewhere", "javascript", "with a password", "with directives in the host")
    },
    **{f"{name} missing": away(metadata=put(**{name: ...})) for name in ("authorization_endpoint", "jwks_uri")},
    **{
        f"methods of clients are {methods!r}": good(metadata=put(token_endpoint_auth_methods_supported=methods))
        for methods in (None, "none", 7, [], ["none"], [7, None], {"client_secret_post": True})
    },
    **{f"discovery: {name}": away(replies=replies(DISCOVERY, raw)) for name, raw in {**NOT_JSON, **NO_ANSWER}.items()},
}


def refused(error: Any, status: str = "400 Bad Request") -> Any:
    return replies("/token", answer({"error": error, "error_description": "<b>no</b>"}, status))


TOKEN_ANSWERS = {
    "more than anybody knows": good(tokens=put(refresh_token="r", scope="openid", unheard_of=[1])),
    "without id token": bad_answer(tokens=put(id_token=...)),
    "id token is a list": bad_answer(token=lambda good_: [good_]),
    "id token is null": bad_answer(token=lambda _: None),
    **{f"token: {name}": bad_answer(replies=replies("/token", raw)) for name, raw in NOT_JSON.items()},
    **{f"token: {name}": away(replies=replies("/token", raw)) for name, raw in NO_ANSWER.items()},
    "the code is refused": bad_token("login-code", replies=refused("invalid_grant")),
    "the code is refused with 200": bad_token("login-code", replies=refused("invalid_grant", "200 OK")),
    "the code is refused with half a character": bad_token("login-code", replies=refused(HALF)),
    "the client is refused": Row(Change(replies=refused("invalid_client", "401 Unauthorized")), 502, "login-client"),
    "the client may not do this": Row(Change(replies=refused("unauthorized_client")), 502, "login-client"),
    "not now": away(replies=refused("temporarily_unavailable", "503 Service Unavailable")),
    "a fault": away(replies=refused("server_error", "500 Internal Server Error")),
    "refused, and nobody knows why": away(replies=refused({"code": 7})),
    "an error beside tokens": bad_token("login-code", tokens=put(error="invalid_grant")),
}


def back(*pairs: tuple[str, str], without: str = "") -> Callable[[list[tuple[str, str]]], list[tuple[str, str]]]:
    """What else the browser brings back, and what not."""
    return lambda good_: [pair for pair in good_ if pair[0] not in without.split()] + list(pairs)


def same_twice(name: str) -> Callable[[list[tuple[str, str]]], list[tuple[str, str]]]:
    return lambda good_: [*good_, *(pair for pair in good_ if pair[0] == name)]


SILENT = put(authorization_response_iss_parameter_supported=...)
RESPONSES = {
    "iss": good(),
    "iss not announced, and not there": good(metadata=SILENT, back=back(without="iss")),
    "iss not announced, and there": good(metadata=SILENT),
    "iss announced, and missing": bad_token("login-issuer", back=back(without="iss")),
    "iss of another issuer": bad_token("login-issuer", back=back(("iss", "https://other.example.com"), without="iss")),
    "iss of another issuer, not announced": bad_token(
        "login-issuer", metadata=SILENT, back=back(("iss", "https://other.example.com"), without="iss")
    ),
    "iss empty": bad_token("login-issuer", back=back(("iss", ""), without="iss")),
    "more than anybody knows": good(back=back(("session_state", "x"), ("scope", "openid"))),
    "neither code nor error": bad_answer(back=back(without="code")),
    "code empty": bad_answer(back=back(("code", ""), without="code")),
    "code forged": bad_token("login-code", back=back(("code", "forged"), without="code")),
    "code oversized": bad_token("login-code", back=back(("code", "c" * 6000), without="code")),
    "code beyond all measure": Row(Change(back=back(("code", "c" * 9000), without="code")), 414, "target-too-long"),
    "refused": bad_token("login-refused", back=back(("error", "access_denied"), without="code")),
    "refused, and a code": bad_token("login-refused", back=back(("error", "access_denied"))),
    "refused without iss": bad_token("login-issuer", back=back(("error", "access_denied"), without="code iss")),
    "refused without state": Row(
        Change(back=back(("error", "access_denied"), without="code state")), 400, "login-state"
    ),
    "state missing": Row(Change(back=back(without="state")), 400, "login-state"),
    "state empty": Row(Change(back=back(("state", ""), without="state")), 400, "login-state"),
    "state forged": Row(Change(back=back(("state", "A" * 300), without="state")), 400, "login-state"),
    "state oversized": Row(Change(back=back(("state", "A" * (MAX_STATE + 1)), without="state")), 400, "login-state"),
    "state not UTF-8": Row(Change(back=lambda _: [("state", "\udcff")]), 400, "query"),
    **{f"{name} twice": Row(Change(back=same_twice(name)), 400, "query") for name in ("code", "state", "iss")},
    "error twice": Row(Change(back=back(("error", "a"), ("error", "b"))), 400, "query"),
}

TABLE = {
    f"{about}: {name}": row
    for about, rows in {
        "id token": ID_TOKENS,
        "keys": KEYS,
        "discovery": METADATA,
        "token answer": TOKEN_ANSWERS,
        "response": RESPONSES,
    }.items()
    for name, row in rows.items()
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
async def test_misbehaviour(folder: Path, row: Row) -> None:
    async with site(folder, row.change) as (gateway, provider), Browser(gateway) as browser:
        heard = await sign_in(browser, provider)
        assert (heard.status_code, code_of(heard)) == (row.status, row.code), text_of(heard)
        is_good = row.code == ""
        assert browser.began == is_good
        assert await browser.is_signed_in() == is_good
        if is_good:
            assert heard.headers["location"] == SITE + FILE


async def test_a_name_that_its_provider_cut_in_half_shows_on_pages_all_the_same(folder: Path) -> None:
    change = Change(claims=put(email=f"ann{HALF}@example.com"))
    rule = '\n[[rules]]\npath = "staff/**"\nallow = { emails = ["@example.com"] }\n'  # so that the session keeps it
    async with site(folder, change, more=rule) as (gateway, provider), Browser(gateway) as browser:
        await sign_in(browser, provider)
        for target, status in (("/team/secret/a.txt", 403), ("/-/logout", 200)):
            heard = await browser.go(target)
            assert heard.status_code == status
            assert "ann?@example.com" in text_of(heard)


# --- rotation

AFTER = {
    "another kid": NEW,
    "the same kid": Signer("RS256", {**NEW.jwk, "kid": "good"}, NEW.sign),
    "no kid": Signer("RS256", NAMELESS, NEW.sign),
}


@pytest.mark.parametrize("after", AFTER.values(), ids=AFTER.keys())
async def test_keys_that_change_between_sign_in_and_signature_are_fetched_at_once(folder: Path, after: Signer) -> None:
    """Also a moment after they were fetched; no other question makes us ask so soon."""
    keys = [GOOD_KEY]

    def rotate() -> None:
        keys[:] = [after]

    change = Change(keys=lambda: keys, signer=lambda: keys[0], once_authorized=rotate)
    async with site(folder, change) as (gateway, provider), Browser(gateway) as browser:
        gateway.start()
        known = gateway.door.tokens.issuers[provider.issuer]
        await eventually(lambda: known.keys, "the first keys are known")
        heard = await sign_in(browser, provider)
        assert (heard.status_code, code_of(heard)) == (302, "")
        assert await browser.is_signed_in()
        assert provider.asked.count("GET /keys") == 2


async def test_a_token_whose_key_does_not_exist_makes_us_ask_once(folder: Path) -> None:
    change = Change(header=put(kid="nobody"))
    async with site(folder, change) as (gateway, provider), Browser(gateway) as browser:
        gateway.start()
        await eventually(lambda: gateway.door.tokens.issuers[provider.issuer].keys, "the first keys are known")
        assert code_of(await sign_in(browser, provider)) == "login-token"
        assert provider.asked.count("GET /keys") == 2
        assert not browser.began


@pytest.mark.parametrize("header", ["jku", "x5u"])
async def test_no_address_in_a_token_is_asked(folder: Path, header: str) -> None:
    change = Change(signer=lambda: STRANGER)
    async with site(folder, change) as (gateway, provider), Browser(gateway) as browser:
        provider.change = change._replace(header=put(**{header: f"{provider.issuer}/theirs"}))
        assert code_of(await sign_in(browser, provider)) == "login-token"
    assert not any("/theirs" in asked for asked in provider.asked)


# --- time


SLOW = [DISCOVERY, "/keys", "/token"]


@pytest.mark.parametrize("path", SLOW)
async def test_a_provider_that_drips_is_waited_for_no_longer_than_the_limit(
    folder: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers never end; `tests/core/test_login.py` has the sum over all of them."""
    monkeypatch.setattr(login, "WITHIN", 0.3)
    async with site(folder, Change(drips=path)) as (gateway, provider), Browser(gateway) as browser:
        heard = await sign_in(browser, provider)
        assert (heard.status_code, code_of(heard)) == (503, "issuer-unavailable")
        assert heard.headers["retry-after"]
        assert not browser.began


async def test_who_hangs_up_while_the_provider_is_asked_does_not_close_sign_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    async with site(folder) as (gateway, provider), Browser(gateway) as hasty, Browser(gateway) as patient:
        answering = provider.handle

        async def held(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await gate.wait()
            await answering(reader, writer)

        monkeypatch.setattr(provider, "handle", held)
        asking = asyncio.create_task(hasty.login())
        for _ in range(20):  # so that it waits for the provider
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        gate.set()
        assert (await sign_in(patient, provider)).status_code == 302
        assert await patient.is_signed_in()


@pytest.mark.parametrize("path", ["/token", "/keys"])
async def test_a_moment_of_the_providers_costs_nothing_but_a_reload(folder: Path, path: str) -> None:
    """What could not be asked is asked again with the same address, because neither cookie nor code was spent."""
    async with site(folder, Change(replies=replies(path, FAULT))) as (gateway, provider), Browser(gateway) as browser:
        address = await begun(browser, provider)
        assert code_of(await browser.go(address)) == "issuer-unavailable"
        assert not browser.began
        provider.change = GOOD
        assert (await browser.go(address)).headers["location"] == SITE + FILE
        assert await browser.is_signed_in()


# --- renewal

RENEW = 20
AS_SCRIPT = {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "sec-fetch-site": "same-origin", "origin": SITE}
RENEWED, LATER, ENDED = (204, "renewed"), (204, "later"), (403, "renewal-person")
NO_ID_TOKEN = (409, "renew-by-navigation")
AT_RENEWAL: Mapping[str, tuple[int, str]] = {
    "login-clock": LATER,
    "login-answer": LATER,
    "login-client": LATER,
    "issuer-unavailable": LATER,
    "login-code": NO_ID_TOKEN,
    "login-token": (403, "login-token"),
    "": RENEWED,
}
"""What a sign-in says about an answer -> what a script hears that renews by such an answer to its refresh token."""
ELSE: Mapping[str, tuple[int, str]] = {
    # an id token that a refresh token brings need not hold them, and we do not keep the first (Core 1.0 §12.2)
    **{f"id token: {name}": RENEWED for name in ID_TOKENS if name.startswith(("nonce ", "c_hash "))},
    **{f"token answer: {name}": NO_ID_TOKEN for name in ("without id token", "id token is a list", "id token is null")},
}
"""Where a renewal goes on otherwise than a sign-in."""
OF_REFRESHES: Mapping[str, tuple[Change, tuple[int, str]]] = {
    "sub of somebody else": (Change(claims=put(sub="ben")), ENDED),
    "sub in another case": (Change(claims=put(sub="Ann")), ENDED),
    "sub with a blank more": (Change(claims=put(sub="ann ")), ENDED),
    "signed by a key that came meanwhile": (Change(keys=lambda: [NEW], signer=lambda: NEW), RENEWED),
    "refresh token not rotated": (Change(tokens=put(refresh_token=...)), RENEWED),
    "refresh token is a list": (Change(tokens=put(refresh_token=["r"])), RENEWED),
    "refresh token empty": (Change(tokens=put(refresh_token="")), RENEWED),
    "refresh token beyond all measure": (Change(tokens=put(refresh_token="r" * 100_000)), RENEWED),
    "refresh token of half a character": (Change(tokens=put(refresh_token=HALF)), RENEWED),
    "claims beyond all measure": (
        Change(claims=put(groups=[f"{number}-{'g' * 90}" for number in range(60)])),
        (422, "session-too-large"),
    ),
}
REFRESHES = {
    **{
        name: (row.change, ELSE.get(name, AT_RENEWAL[row.code]))
        for name, row in TABLE.items()
        if name.startswith(("id token: ", "token answer: "))
    },
    **{f"refresh: {name}": row for name, row in OF_REFRESHES.items()},
}
RENEWING = f"""
[[rules]]
path = "g/{{groups}}/**"
allow = "signed-in"

[login]
renew = "{RENEW}s"
"""


def session_in(browser: Browser) -> dict[str, Any]:
    """What the session holds that a browser keeps; empty if it keeps none."""
    value = browser.cookies.get(SESSION)
    if not value:
        return {}
    payload = value.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


@contextlib.asynccontextmanager
async def due(folder: Path, *, refreshes: bool = True) -> AsyncIterator[tuple[Browser, Provider]]:
    """A browser whose claims are due, at a provider that gives refresh tokens, or does not."""
    ahead = [0.0]
    async with (
        site(folder, more=RENEWING, clock=lambda: time.time() + ahead[0]) as (gateway, provider),
        Browser(gateway, ahead) as browser,
    ):
        provider.refreshes = refreshes
        await sign_in(browser, provider)
        assert browser.began
        assert provider.forms[-1][0]["grant_type"] == "authorization_code"
        ahead[0] = RENEW + 1
        yield browser, provider


async def renew(browser: Browser) -> httpx.Response:
    return await browser.post("/-/renew", headers=AS_SCRIPT)


def check_session(before: dict[str, Any], after: dict[str, Any], expected: tuple[int, str]) -> None:
    """Check what has become of a session: renewed, to be renewed later, over, or just as it was."""
    if expected == ENDED:
        assert not after
        return
    kept = ("sub", "sid", "iat", "exp", "iss", "aud")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    if expected == RENEWED:
        assert after["made"] >= before["made"] + RENEW
    elif expected == LATER:
        assert after == {**before, "renew": after["renew"]}
        assert after["renew"] > before["renew"]
    else:
        assert after == before


@pytest.mark.parametrize(("change", "expected"), REFRESHES.values(), ids=REFRESHES.keys())
async def test_misbehaviour_at_renewal(folder: Path, change: Change, expected: tuple[int, str]) -> None:
    async with due(folder) as (browser, provider):
        before = session_in(browser)
        provider.change = change
        heard = await renew(browser)
        assert provider.asked.count("POST /token") == 2
        status, code = expected
        assert heard.status_code == status, heard.text
        assert status == 204 or heard.json()["code"] == code
        check_session(before, session_in(browser), expected)
        assert await browser.is_signed_in() == (expected != ENDED)
        provider.change = GOOD
        again = await renew(browser)
        if code == "session-too-large":
            assert again.status_code == 204  # the claims fit again, and the token is the one that came last
            return
        assert provider.asked.count("POST /token") == 2  # nothing follows a refused refresh
        if expected == ENDED:
            assert again.status_code == 401
        elif expected in (RENEWED, LATER):
            assert again.status_code == 204
        else:
            assert (again.status_code, again.json()["code"]) == NO_ID_TOKEN


def at_callback(row: Row) -> tuple[int, str]:
    """What comes of a renewal by the issuer, where this comes of a sign-in."""
    if row.code == "login-state":
        return 302, "login-over"  # nobody knows whose it is, and the session is good
    found = AT_RENEWAL.get(row.code)
    return found if found in (RENEWED, LATER) else (row.status, row.code)


AT_CALLBACK = {
    **{
        name: (row.change, at_callback(row))
        for name, row in TABLE.items()
        if name.startswith(("id token: ", "token answer: ", "response: "))
        and row.change.metadata is same  # they are known from the sign-in
    },
    "id token: sub of somebody else": (Change(claims=put(sub="ben")), ENDED),
    "response: server_error": (Change(back=back(("error", "server_error"), without="code")), LATER),
    "response: login_required": (Change(back=back(("error", "login_required"), without="code")), (302, "login")),
}


@pytest.mark.parametrize(("change", "expected"), AT_CALLBACK.values(), ids=AT_CALLBACK.keys())
async def test_misbehaviour_at_renewal_without_a_refresh_token(
    folder: Path, change: Change, expected: tuple[int, str]
) -> None:
    async with due(folder, refreshes=False) as (browser, provider):
        before = session_in(browser)
        way = await browser.post(f"/-/renew?next={FILE}", headers={"origin": SITE})
        assert (way.status_code, "prompt=none" in way.headers["location"]) == (303, True)
        provider.change = change
        heard = await browser.go(f"/-/callback?{provider.authorize(way.headers['location'])}")
        status, code = expected
        if status in (204, 302):
            assert heard.status_code == 302
            assert leads_to_provider(heard, provider) == (code == "login")
        else:
            assert (heard.status_code, code_of(heard)) == expected
        check_session(before, session_in(browser), expected)
        assert await browser.is_signed_in() == (expected != ENDED)


async def test_a_provider_that_drips_at_renewal_is_waited_for_no_longer_than_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with due(folder) as (browser, provider):
        monkeypatch.setattr(login, "WITHIN", 0.3)
        provider.change = Change(drips="/token")
        before = session_in(browser)
        assert (await renew(browser)).status_code == 204
        after = session_in(browser)
        assert after == {**before, "renew": after["renew"]}


async def test_an_answer_that_did_not_reach_the_browser_is_given_to_it_once_more(folder: Path) -> None:
    """As when a person reloads the page that renews: the token that was spent must not end the grant."""
    async with due(folder) as (browser, provider):
        before = list(browser.cookies.jar)
        assert (await renew(browser)).status_code == 204
        browser.cookies.clear()
        for cookie in before:
            browser.cookies.jar.set_cookie(cookie)
        assert (await renew(browser)).status_code == 204
        assert provider.asked.count("POST /token") == 2
        assert session_in(browser)["made"] > time.time()
        browser.ahead[0] *= 2
        assert (await renew(browser)).status_code == 204
        assert [form["grant_type"] for form, _ in provider.forms[1:]] == ["refresh_token"] * 2


async def test_scripts_that_ask_at_once_spend_one_refresh_token(folder: Path) -> None:
    async with due(folder) as (browser, provider):
        heard = await asyncio.gather(*(renew(browser) for _ in range(10)))
        assert {one.status_code for one in heard} == {204}
        assert [form["grant_type"] for form, _ in provider.forms] == ["authorization_code", "refresh_token"]


# --- who the site is


@pytest.mark.parametrize("secret", ["plain", "a b:c+d%41&=/?~*\"'<>"])
@pytest.mark.parametrize("client", [CLIENT, "site:1 a+b%41&=/?ü~*"])
@pytest.mark.parametrize(
    ("methods", "way"),
    [
        (..., "basic"),
        (["client_secret_basic"], "basic"),
        (["client_secret_post"], "post"),
        (["client_secret_basic", "client_secret_post"], "either"),
        (["private_key_jwt"], "basic"),
        ("client_secret_post", "basic"),
    ],
    ids=["unnamed", "basic", "post", "both", "neither", "not a list"],
)
async def test_the_site_proves_who_it_is(folder: Path, secret: str, client: str, methods: Any, way: str) -> None:
    change = Change(metadata=put(token_endpoint_auth_methods_supported=methods))
    async with (
        site(folder, change, secret=secret, client=client) as (gateway, provider),
        Browser(gateway) as browser,
    ):
        heard = await sign_in(browser, provider)
        assert (heard.status_code, code_of(heard)) == (302, "")
        assert await browser.is_signed_in()
        ((form, authorization),) = provider.forms
        by_post = way == "post" or (way == "either" and (client, secret) != (CLIENT, "plain"))
        assert ("client_secret" in form, authorization != "") == (by_post, not by_post)
        assert form["code_verifier"]


async def test_a_public_client_names_itself(folder: Path) -> None:
    async with site(folder) as (gateway, provider), Browser(gateway) as browser:
        await sign_in(browser, provider)
        ((form, authorization),) = provider.forms
    assert (form["client_id"], authorization) == (CLIENT, "")
    assert "client_secret" not in form


async def test_a_wrong_secret_is_the_owners_business_and_shown_to_nobody(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change = Change(metadata=lambda good_: {**good_, "token_endpoint": good_["token_endpoint"] + "?key=private"})
    async with site(folder, change, secret="the right secret") as (gateway, provider), Browser(gateway) as browser:
        provider._secret = "another secret"
        heard = await sign_in(browser, provider)
        assert (heard.status_code, code_of(heard)) == (502, "login-client")
        assert "owner of this site" in text_of(heard)
        ((form, authorization),) = provider.forms
        assert "the answer was 401" in caplog.text
        for secret in ("right secret", authorization.split()[1], "private", form["code"], form["code_verifier"]):
            assert secret not in heard.text + caplog.text
        assert not browser.began


# --- what strangers do with addresses and cookies


async def begun(browser: Browser, provider: Provider, next_: str = FILE) -> str:
    """Begin a sign-in; returns the address with which the browser comes back from the provider."""
    heard = await browser.login(next_)
    return f"/-/callback?{provider.authorize(heard.headers['location'])}"


def leads_to_provider(heard: httpx.Response, provider: Provider) -> bool:
    return heard.status_code == 302 and heard.headers["location"].startswith(f"{provider.issuer}/authorize?")


async def test_two_browsers_that_exchange_their_addresses_get_no_session(folder: Path) -> None:
    """Each begins anew for itself, and ends as whoever signs in there."""
    async with site(folder) as (gateway, provider), Browser(gateway) as ann, Browser(gateway) as bob:
        of_ann, of_bob = await begun(ann, provider), await begun(bob, provider)
        for browser, address in ((ann, of_bob), (bob, of_ann)):
            waits = await browser.go(address)  # for a sign-in of its own, which may be under way in another tab
            assert waits.status_code == 200
            assert leads_to_provider(await browser.go(waits.headers["refresh"].partition("; url=")[2]), provider)
            assert not browser.began
        assert not provider.forms
        assert (await ann.go(of_ann)).headers["location"] == SITE + FILE
        assert ann.began


async def test_an_address_that_was_used_begins_nothing(folder: Path) -> None:
    async with site(folder) as (gateway, provider), Browser(gateway) as browser:
        address = await begun(browser, provider)
        kept = dict(browser.cookies)
        await browser.go(address)
        assert browser.began
        browser.began = False
        assert (await browser.go(address)).headers["location"] == SITE + FILE  # signed in already
        assert not browser.began
        browser.cookies.clear()
        assert leads_to_provider(await browser.go(address), provider)
        async with Browser(gateway) as thief:  # who has both the address and the cookie
            thief.cookies.update(kept)
            assert code_of(await thief.go(address)) == "login-code"
            assert not thief.began


def tampered(value: str) -> dict[str, str]:
    middle = len(value) // 2
    return {
        "a letter changed": value[:middle] + ("A" if value[middle] != "A" else "B") + value[middle + 1 :],
        "cut": value[:-1],
        "longer": value + "A",
        "padded": value + "=",
        "half": value[:middle],
        "empty": "",
        "another kind of ours": "eyJhbGciOiJub25lIn0.e30.",
    }


@pytest.mark.parametrize("how", tampered("12"))
async def test_a_state_or_cookie_that_was_tampered_with_begins_nothing(folder: Path, how: str) -> None:
    async with site(folder) as (gateway, provider):
        async with Browser(gateway) as browser:
            path, _, query = (await begun(browser, provider)).partition("?")
            pairs = dict(parse_qsl(query))
            heard = await browser.go(f"{path}?{urlencode({**pairs, 'state': tampered(pairs['state'])[how]})}")
            assert (heard.status_code, code_of(heard)) == (400, "login-state")
            assert not browser.began
        async with Browser(gateway) as browser:
            address = await begun(browser, provider)
            ((name, value),) = browser.cookies.items()
            browser.cookies.clear()
            browser.cookies.set(name, tampered(value)[how])
            assert leads_to_provider(await browser.go(address), provider)
            assert not browser.began
        assert not provider.forms


async def test_a_state_of_the_same_browsers_other_tab_is_no_good_for_a_code(folder: Path) -> None:
    """PKCE and the nonce bind a code to its own attempt."""
    async with site(folder) as (gateway, provider), Browser(gateway) as browser:
        one, other = [dict(parse_qsl((await begun(browser, provider)).partition("?")[2])) for _ in range(2)]
        swapped = urlencode({**one, "code": other["code"]})
        assert code_of(await browser.go(f"/-/callback?{swapped}")) == "login-code"
        assert not browser.began


async def test_a_sign_in_that_took_too_long_begins_anew(folder: Path) -> None:
    ahead = [0.0]
    async with (
        site(folder, clock=lambda: time.time() + ahead[0]) as (gateway, provider),
        Browser(gateway) as browser,
    ):
        address = await begun(browser, provider)
        ahead[0] = 601.0
        assert leads_to_provider(await browser.go(address), provider)
        assert not browser.began
        assert not provider.forms


async def test_a_cookie_beyond_all_measure_is_refused(folder: Path) -> None:
    async with site(folder) as (gateway, provider), Browser(gateway) as browser:
        address = await begun(browser, provider)
        heard = await browser.go(address, cookie=f"{SESSION}-try-0={'A' * 40_000}")
        assert heard.status_code == 431
        assert not provider.forms


LOOKS = {
    "prefetch": {"sec-purpose": "prefetch"},
    "prerender": {"sec-purpose": "prefetch;prerender"},
    "old prefetch": {"purpose": "prefetch"},
    "iframe": {"sec-fetch-dest": "iframe"},
    "embed": {"sec-fetch-dest": "embed"},
    "object": {"sec-fetch-dest": "object"},
    "office": {"user-agent": "Microsoft Office Word 2014"},
}


@pytest.mark.parametrize("fields", LOOKS.values(), ids=LOOKS.keys())
async def test_who_only_looks_spends_nothing(folder: Path, fields: dict[str, str]) -> None:
    async with site(folder) as (gateway, provider), Browser(gateway) as browser:
        address = await begun(browser, provider)
        heard = await browser.go(address, **fields)
        assert heard.status_code >= 400
        assert not set_cookies(heard)
        assert not provider.forms
        assert (await browser.go(address)).headers["location"] == SITE + FILE
        assert browser.began


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_spend_nothing(folder: Path, method: str) -> None:
    """POST is that of `response_mode=form_post`, which was not asked for."""
    async with site(folder) as (gateway, provider), Browser(gateway) as browser:
        address = await begun(browser, provider)
        path, _, query = address.partition("?")
        for target, content in ((address, b""), (path, query.encode())):
            heard = await browser.request(method, target, content=content)
            assert heard.status_code == {"HEAD": 400, "OPTIONS": 204}.get(method, 405)
            assert not set_cookies(heard)
        assert not provider.forms
        assert (await browser.go(address)).headers["location"] == SITE + FILE
        assert browser.began


async def test_errors_are_shown_escaped_with_a_way_on(folder: Path) -> None:
    says = "<script>alert(1)</script>\x1b[31m\u202e & https://evil.example/ " + "a" * 900
    change = Change(back=back(("error", "<img src=x>"), ("error_description", says), without="code"))
    async with site(folder, change) as (gateway, provider), Browser(gateway) as browser:
        heard = await sign_in(browser, provider)
    assert (heard.status_code, code_of(heard)) == (403, "login-refused")
    assert "<script>" not in heard.text
    assert "<img" not in heard.text
    assert not {"\x1b", "\u202e"} & set(heard.text)
    assert "<script>alert(1)</script>" in text_of(heard)
    assert len(text_of(heard)) < 2000
    assert f'href="{SITE}/-/login?next={quote(FILE, safe="")}"' in heard.text
    assert "evil.example" not in heard.headers["content-security-policy"]


# --- two providers


async def test_an_answer_of_another_provider_is_not_sent_to_the_one_that_was_asked(folder: Path) -> None:
    """The mix-up of RFC 9207 §1: a dishonest provider leads the browser to an honest one, to be brought its code."""
    async with providing(GOOD) as honest, providing(GOOD) as dishonest:
        entry = '\n[[issuers]]\nname = "%s"\nissuer = "%s"\naudience = ["x"]\nclient_id = "%s"\n'
        entries = entry % ("honest", honest.issuer, CLIENT) + entry % ("dishonest", dishonest.issuer, CLIENT)
        gateway = make_gateway(folder, f'[site]\nurl = "{SITE}"\nstore = "./files"\n{entries}{RULES}')
        async with Browser(gateway) as browser:
            heard = await browser.go(f"/-/login?issuer=dishonest&next={FILE}")
            assert heard.headers["location"].startswith(dishonest.issuer)
            heard = await browser.go(f"/-/callback?{honest.authorize(heard.headers['location'])}")
            assert (heard.status_code, code_of(heard)) == (403, "login-issuer")
            assert not browser.began
            assert not honest.forms + dishonest.forms
            heard = await browser.go(f"/-/login?issuer=honest&next={FILE}")
            heard = await browser.go(f"/-/callback?{honest.authorize(heard.headers['location'])}")
            assert heard.headers["location"] == SITE + FILE
        await gateway.aclose()


# --- what stays


async def kept_after(folder: Path, count: int) -> int:
    """Blocks of memory that this many sign-ins leave which nobody ends."""
    async with site(folder) as (gateway, provider), Browser(gateway) as browser:
        assert leads_to_provider(await browser.login(), provider)  # the provider is known from here on

        def abandon(first: int, last: int) -> int:
            for number in range(first, last):
                flow = gateway.door.answer(request(f"/-/login?next=/team/{number}.txt"), time.time())
                assert finish(flow).reason == "login"  # type: ignore[union-attr]
            gc.collect()
            return sys.getallocatedblocks()

        before = abandon(0, 300)  # fills what is remembered of the last requests
        return abandon(300, 300 + count) - before


async def test_sign_ins_that_nobody_ends_leave_nothing_behind(folder: Path) -> None:
    assert await kept_after(folder, 1000) < 300


@pytest.mark.thorough("the same, with more of them")
async def test_ten_thousand_sign_ins_that_nobody_ends_leave_nothing_behind(folder: Path) -> None:
    assert await kept_after(folder, 10_000) < 300
