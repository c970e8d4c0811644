"""One policy, every door: one table of requests, and every door decides each of them alike.

The gateway and the edge functions are the real ones. The native door is a model of what CloudFront does behind a
trusted key group, written from its documentation: a pass alone decides, and the path goes on as it came. For tokens and
sessions it is asked with every pass that the real API gives for them, so what the API gives is what the policy says.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from stagedoor import Gateway
from stagedoor.aws.edge import bundle
from stagedoor.core.caller import Caller
from stagedoor.core.issuers import Issuer
from stagedoor.core.passes.terms import Hash
from stagedoor.core.session import Sessions, signing_key
from stagedoor.keys.pass_keys import load_signer, new_pair, sign_with
from stagedoor.keys.pass_keys import read_private as read_key
from stagedoor.settings import parse
from stagedoor.store.memory import MemoryStore
from tests.helpers import native_passes
from tests.helpers.cloudfront import Edge, event, unpacked
from tests.helpers.support import (
    CLIENT,
    ISSUER,
    NOW,
    SESSION_KEY,
    SITE,
    b64,
    claims,
    key_set,
    rsa_signer,
    sealed,
    token,
)

FOREIGN = "https://id.example.org/other"
HERE = "203.0.113.7"
RULES = """
[[rules]]
path = "public/**"
allow = "anyone"
[[rules]]
path = "users/{sub}/**"
allow = "signed-in"
[[rules]]
path = "groups/{groups}/**"
allow = "signed-in"
[[rules]]
path = "courses/**"
allow = { groups = ["students", "teachers"] }
[[rules]]
path = "courses/drafts/**"
deny = "anyone"
[[rules]]
path = "public/secret/**"
deny = "anyone"
[[rules]]
path = "plans/**"
allow = { claims = { plan = ["pro", "team"] } }
[[rules]]
path = "partners/**"
allow = { emails = ["@example.com"] }
[[rules]]
path = "staff/**"
allow = { issuer = ["staff"] }
[[rules]]
path = "one/*/three"
allow = "signed-in"
[[rules]]
path = "deep/**/end"
allow = "signed-in"
[[rules]]
path = "hashed/{tenant|sha256}/**"
allow = "signed-in"
"""
SETTINGS = f"""
[site]
url = "{SITE}"
store = "memory:"
[[issuers]]
name = "staff"
issuer = "{ISSUER}"
audience = ["{CLIENT}"]
jwks = "staff.json"
[[issuers]]
name = "foreign"
issuer = "{FOREIGN}"
audience = ["{CLIENT}"]
jwks = "foreign.json"
[tokens]
from = ["header", "cookie", "query"]
[login]
session_keys = ["env:SESSION"]
[passes]
key_id = "K1"
private_key = "env:PRIVATE"
per_minute = 6000
[log]
access = "off"
{RULES}
"""


# --- the table


class Row(NamedTuple):
    """One line: a request, what it brings, what is decided (`serve KEY`, `refuse STATUS`, `answer STATUS`)."""

    line: int
    method: str
    target: str
    brings: tuple[tuple[str, str], ...]
    decided: str
    not_for: Mapping[str, str]


def read_table() -> list[Row]:
    rows, text = [], Path(__file__).with_name("one_policy.txt").read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        if line and not line.startswith("#"):
            request, brings, decided, *notes = line.split(" | ")
            method, _, target = request.partition(" ")
            found = re.findall(r"not (gateway|edge|native): (.*?)(?=; not |$)", notes[0]) if notes else []
            pairs = [] if brings == "-" else [tuple(one.split("=", 1)) for one in brings.split(" ")]
            rows.append(Row(number, method, target, tuple((a, b) for a, b in pairs), decided, dict(found)))
    return rows


TABLE = read_table()


# --- what requests bring


def _hs256() -> str:
    """The old trick: the public key as if it were a secret."""
    head, body = (json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "rsa-1", "typ": "JWT"}, claims()))
    secret = json.dumps(rsa_signer().jwk).encode()
    return sealed(head, body, lambda message: hmac.digest(secret, message, "sha256"))


def _tampered() -> str:
    head, _, signature = token().split(".")
    return f"{head}.{b64(json.dumps(claims(groups=['students'])).encode())}.{signature}"


def _twice() -> bytes:
    return json.dumps(claims()).encode()[:-1] + b', "sub": "ann"}'


STRANGER = rsa_signer(kid="rsa-2")
OTHER = rsa_signer(kid="foreign-1")
_THIEF = STRANGER._replace(jwk={**STRANGER.jwk, "kid": "rsa-1"})
_GOOD = {
    "ann": claims(groups=["students", "red"]),
    "ben": claims(sub="ben", groups=["teachers"]),
    "guest": claims(sub="guest"),
    "pat": claims(sub="pat", plan="pro", email="Pat@Example.com", email_verified=True, tenant="acme"),
    "una": claims(sub="una", plan="free", email="una@example.com", email_verified=False),
    "vic": claims(sub="vic", email="eve@example.com.evil.example", email_verified=True, plan=["pro "]),
    "slash": claims(sub="x/a"),
    "dots": claims(sub=".."),
    "star": claims(sub="*"),
    "empty": claims(sub=""),
    "number": claims(sub=7),
    "list": claims(sub=["l1", "l2"]),
    "list-audience": claims(aud=["another", CLIENT]),
    "just-good": claims(exp=NOW + 1, nbf=NOW),
}
TOKENS = {name: token(payload) for name, payload in _GOOD.items()} | {
    "foreign-ann": token(claims(iss=FOREIGN, groups=["students"]), OTHER),
    "no-kid": token(kid=...),
    "upper-typ": token(typ="AT+JWT"),
    "expired": token(claims(exp=NOW - 600)),
    "just-expired": token(claims(exp=NOW)),
    "early": token(claims(nbf=NOW + 60)),
    "other-audience": token(claims(aud="other")),
    "no-audience": token(claims(aud=...)),
    "other-issuer": token(claims(iss="https://evil.example")),
    "issuer-swapped": token(claims(iss=FOREIGN)),
    "forged": token(None, _THIEF),
    "no-kid-forged": token(None, _THIEF, kid=...),
    "none": sealed(b'{"alg":"none"}', json.dumps(claims()).encode(), lambda message: b""),
    "none-signed": token(alg="none"),
    "hs256": _hs256(),
    "unknown-kid": token(None, STRANGER),
    "no-exp": token(claims(exp=...)),
    "text-exp": token(claims(exp=str(int(NOW) + 600))),
    "tampered": _tampered(),
    "cut": token()[:-8],
    "garbage": "garbage",
    "twice-in-json": token(_twice()),
    "crit": token(crit=["x"], x=1),
    "logout": token(typ="logout+jwt"),
    "too-long": token(claims(x="x" * 13_000)),
    "other-algorithm": token(None, rsa_signer("RS512", kid="rsa-1")),
}


def _session(site: str = SITE, key: bytes = SESSION_KEY, issuer: str = ISSUER, now: float = NOW, **claim: Any) -> str:
    entry = Issuer(issuer, frozenset((CLIENT,)), "staff", claims={"groups": "groups"})
    made = Sessions(site, (signing_key(key),), (entry,), (), 3600.0)
    cookie = made.set_cookie(Caller("staff", issuer, claim), claim, b"r" * 16, now)
    return cookie.partition(";")[0].partition("=")[2]


_ANN = _session(sub="ann", groups=["red"])
SESSIONS = {
    "ann": _ANN,
    "ben": _session(sub="ben"),
    "expired": _session(sub="ann", now=NOW - 7200),
    "broken": _ANN[:-6] + "AAAAAA",
    "other-key": _session(key=b"another key of thirty-two bytes!!", sub="ann"),
    "other-site": _session(site="https://other.example.com", sub="ann"),
    "other-issuer": _session(issuer="https://evil.example", sub="ann"),
    "token": TOKENS["ann"],
    "none": "eyJhbGciOiJub25lIn0." + b64(json.dumps(claims(aud=SITE)).encode()) + ".",
}
TOKENS["session-ann"] = _ANN


# --- passes

HASHES: tuple[Hash, ...] = ("sha1", "sha256")
PAIR, STRANGERS_PAIR, CURVE = new_pair("rsa"), new_pair("rsa"), new_pair("ec")
SIGNERS = {name: load_signer("K1", PAIR.private, hash=name) for name in HASHES}
END = int(NOW) + 60
Fields = dict[str, str]


def _armour(raw: bytes) -> str:
    return base64.b64encode(raw).decode().translate(str.maketrans("+=/", "-_~"))


def _signed(url: str, **more: Any) -> Fields:
    """Fields of a good pass for exactly this URL, or for `resource`."""
    hash_, custom = more.pop("hash_", "sha256"), more.pop("custom", False)
    signer, resource = SIGNERS[hash_], more.pop("resource", None)
    if custom:
        resource = url.replace("?", "\\?")
    made = signer.url(url, more.pop("expires", END), resource=resource, **more)
    parameters = made[len(url) + 1 :]
    return dict(part.split("=", 1) for part in parameters.split("&"))


def _by_hand(policy: object, key: bytes = PAIR.private) -> Fields:
    text = json.dumps(policy, separators=(",", ":")).encode()
    signature = _armour(sign_with(read_key(key))("sha256", text))
    return {"Policy": _armour(text), "Signature": signature, "Key-Pair-Id": "K1", "Hash-Algorithm": "SHA256"}


def _statement(url: str, **condition: Any) -> dict[str, Any]:
    return {"Resource": url, "Condition": {"DateLessThan": {"AWS:EpochTime": END}, **condition}}


def _without(fields: Fields, name: str) -> Fields:
    return {key: value for key, value in fields.items() if key != name}


FILE, FOLDER = f"{SITE}/users/ben/a", f"{SITE}/courses/7/*"
PASSES: Mapping[str, Callable[[str], Fields]] = {
    "canned-sha1": lambda url: _signed(url, hash_="sha1"),
    "canned-sha256": _signed,
    "custom-sha1": lambda url: _signed(url, hash_="sha1", custom=True),
    "custom-sha256": lambda url: _signed(url, custom=True),
    "file": lambda url: _signed(FILE),
    "file-sha1": lambda url: _signed(FILE, hash_="sha1"),
    "folder": lambda url: _signed(url, resource=FOLDER),
    "other-folder": lambda url: _signed(url, resource=f"{SITE}/other/*"),
    "everything": lambda url: _signed(url, resource="*"),
    "one": lambda url: _signed(url, resource=f"{SITE}/courses/7/a?b"),
    "over": lambda url: _signed(url, expires=int(NOW) - 1),
    "now": lambda url: _signed(url, expires=int(NOW)),
    "early": lambda url: _signed(url, starts=int(NOW) + 30),
    "here": lambda url: _signed(url, network="203.0.113.0/24"),
    "elsewhere": lambda url: _signed(url, network="198.51.100.0/24"),
    "tampered": lambda url: {**_signed(url), "Expires": str(END + 9999)},
    "other-path": lambda url: _signed(f"{SITE}/users/ben/b"),
    "other-query": lambda url: _signed(f"{url}?x=1"),
    "other-site": lambda url: _signed(url.replace("assets.", "other.")),
    "unknown-key": lambda url: {**_signed(url), "Key-Pair-Id": "K9"},
    "no-key": lambda url: _without(_signed(url), "Key-Pair-Id"),
    "no-signature": lambda url: _without(_signed(url), "Signature"),
    "empty-signature": lambda url: {**_signed(url), "Signature": ""},
    "no-base64": lambda url: {**_signed(url), "Signature": "!!!"},
    "wrong-hash": lambda url: {**_signed(url), "Hash-Algorithm": "SHA1"},
    "hash-sha512": lambda url: {**_signed(url), "Hash-Algorithm": "SHA512"},
    "no-end": lambda url: _without(_signed(url), "Expires"),
    "both": lambda url: {**_signed(url), "Policy": _signed(url, custom=True)["Policy"]},
    "two-statements": lambda url: _by_hand({"Statement": [_statement(url), _statement(url)]}),
    "unknown-condition": lambda url: _by_hand({"Statement": [_statement(url, Color={"is": "red"})]}),
    "null-condition": lambda url: _by_hand({"Statement": [_statement(url, IpAddress=None)]}),
    "text-date": lambda url: _by_hand({"Statement": [_statement(url, DateLessThan={"AWS:EpochTime": str(END)})]}),
    "ec-key": lambda url: _by_hand({"Statement": [_statement(url)]}, CURVE.private),
    "forged": lambda url: _by_hand({"Statement": [_statement(url)]}, STRANGERS_PAIR.private),
}


class Asked(NamedTuple):
    """A row as it is sent: raw target, and header lines in their order."""

    target: str
    lines: list[tuple[str, str]]


def asked(row: Row) -> Asked:
    target, lines, cookies = row.target, list[tuple[str, str]](), list[str]()
    for place, name in row.brings:
        value = TOKENS.get(name, name)
        if place in ("header", "scheme", "lower-scheme", "bare"):
            scheme = {"scheme": "Basic ", "lower-scheme": "bearer ", "bare": ""}.get(place, "Bearer ")
            lines.append(("authorization", scheme + value))
        elif place in ("query", "other-query"):
            target = _with(target, f"{'token' if place == 'query' else 'Token'}={value}")
        elif place == "url":
            fields = PASSES[name](SITE + target)
            target = _with(target, "&".join(f"{field}={text}" for field, text in fields.items()))
        elif place == "pass":
            fields = PASSES[name](SITE + target.partition("?")[0])
            cookies += [f"CloudFront-{field}={text}" for field, text in fields.items()]
        elif place == "session":
            cookies.append(f"__Host-stagedoor={SESSIONS[name]}")
        elif place == "cookie-lines":
            lines += [("cookie", "a=b"), ("cookie", f"token={value}"), ("cookie", "c=d")]
        elif place == "beside-bytes":
            lines += [("referer", "/fo\udceb"), ("x-name", "Zo\udceb")]
            cookies.append(f"name=Zo\udceb; token={value}")
        else:
            cookies.append(_cookie(place, value))
    return Asked(target, lines + [("cookie", "; ".join(cookies))] * bool(cookies))


def _cookie(place: str, value: str) -> str:
    return {
        "cookie": f"token={value}",
        "misnamed": f"Cookie: token={value}",
        "cookie-among": f'x={{"a": "b,[c]"}}; a==; token={value}; =; tokens=1',
        "other-cookie": f"Token={value}",
        "cookies-of-others": f'tokens={value}; my_token={value}; x="token={value}"',
    }[place]


def _with(target: str, parameter: str) -> str:
    return f"{target}{'&' if '?' in target else '?'}{parameter}"


# --- the doors


class Answered(NamedTuple):
    """What a gateway answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


async def ask(gateway: Gateway, method: str, sent: Asked, body: bytes = b"") -> Answered:
    """Ask a whole gateway."""
    path, _, query = sent.target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"assets.example.com"), *_bytes(sent.lines)],
        "client": (HERE, 5),
        "server": ("127.0.0.1", 8080),
    }
    heard: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        heard.append(message)

    await gateway(scope, receive, send)
    return Answered(heard[0]["status"], heard[0]["headers"], b"".join(one.get("body", b"") for one in heard[1:]))


def _bytes(lines: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Fields as they are on the wire, where half a character of the table is one byte."""
    return [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in lines]


def through_gateway(gateway: Gateway, by_length: Mapping[int, str]) -> Callable[[Row, Asked], Any]:
    """Which of its objects came is told by the length, so that HEAD tells it too."""

    async def decide(row: Row, sent: Asked) -> str:
        answer = await ask(gateway, row.method, sent)
        if answer.status == 200:
            length = next(value for name, value in answer.headers if name == b"content-length")
            return f"serve {by_length[int(length)]}"
        return f"{'refuse' if answer.status >= 300 else 'answer'} {answer.status}"

    return decide


def through_edge(edge: Edge) -> Callable[[Row, Asked], Any]:
    async def decide(row: Row, sent: Asked) -> str:
        fields: dict[str, list[str]] = {}
        for name, value in sent.lines:
            fields.setdefault(name, []).append(value)
        answer = edge.objects(event(sent.target, row.method, client=HERE, **fields))
        if "status" in answer:
            return f"{'refuse' if int(answer['status']) >= 300 else 'answer'} {answer['status']}"
        assert not {"cookie", "authorization"} & set(answer["headers"])
        assert answer["querystring"] == ""
        return f"serve {unquote(answer['uri'][1:])}"

    return decide


def through_native(api: Gateway) -> Callable[[Row, Asked], Any]:
    """What CloudFront does behind a trusted key group, which reads no tokens: whoever has one takes it to the API."""

    async def decide(row: Row, sent: Asked) -> str:
        decided = native(sent)
        if {"url", "pass"}.isdisjoint(place for place, _ in row.brings):
            assert decided == "refuse 403", "there is no pass yet"
            async for traded in issued(api, row, sent):
                decided = native(traded)
                if decided.startswith("serve"):
                    break
        return decided

    return decide


async def issued(api: Gateway, row: Row, sent: Asked) -> AsyncIterator[Asked]:
    """The row's request again, with each pass that the API gives for what the row brings: cookies of all folders that
    the object lies in, from the outermost, and the signed URL.
    """
    path, _, query = row.target.partition("?")
    _, _, credential = sent.target.removeprefix(row.target).partition("?" if not query else "&")
    key, wish = unquote(path[1:]), f"?{credential}" if credential else ""
    for end in [0] + [number for number, letter in enumerate(key, 1) if letter == "/"]:
        body = json.dumps({"prefix": key[:end]}).encode()
        answer = await ask(api, "POST", Asked(f"/-/cookies{wish}", sent.lines), body)
        lines = [v.decode() for n, v in answer.headers if n == b"set-cookie" and v.startswith(b"CloudFront-")]
        assert bool(lines) == (answer.status == 204)
        fitting = [line.partition(";")[0] for line in lines if path.startswith(_cookie_path(line))]
        yield Asked(row.target, [("cookie", "; ".join(fitting))])
    answer = await ask(api, "POST", Asked(f"/-/urls{wish}", sent.lines), json.dumps({"file": key}).encode())
    if answer.status == 201:
        url = json.loads(answer.body)["signedUrl"].removeprefix(SITE)
        if _segments(url.partition("?")[0]) == _segments(path):  # an encoded slash is of another object
            yield Asked(url, [])


def _segments(path: str) -> list[str]:
    return [unquote(segment) for segment in path.split("/")]


def _cookie_path(line: str) -> str:
    """Where a browser sends a cookie (RFC 6265 §5.1.4)."""
    (path,) = re.findall("; Path=([^;]*)", line)
    return str(path)


def native(sent: Asked) -> str:
    """What CloudFront says, by its own check."""
    path, _, query = sent.target.partition("?")
    fields, rest = native_passes.from_query(query)
    if not fields:
        fields = native_passes.from_cookies("; ".join(value for name, value in sent.lines if name == "cookie"))
    opened = native_passes.opens(fields, SITE + path + (f"?{rest}" if rest else ""), _TRUSTED, HERE, NOW)
    return f"serve {unquote(path[1:])}" if opened else "refuse 403"


_TRUSTED = {"K1": cast("RSAPublicKey", serialization.load_pem_public_key(PAIR.public))}


# --- all rows, every door

Doors = Mapping[str, Callable[[Row, Asked], Any]]


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Doors:
    folder = tmp_path_factory.mktemp("doors")
    keys = {ISSUER: key_set(rsa_signer()), FOREIGN: key_set(OTHER)}
    (folder / "staff.json").write_bytes(keys[ISSUER])
    (folder / "foreign.json").write_bytes(keys[FOREIGN])
    environ = {"PRIVATE": PAIR.private.decode(), "SESSION": SESSION_KEY.decode()}
    settings = parse(SETTINGS, folder / "stagedoor.toml", environ)
    store, by_length = MemoryStore(), dict[int, str]()
    for row in TABLE:  # everything exists, so that whoever gets through is noticed
        named = row.decided.removeprefix("serve ") if row.decided.startswith("serve") else unquote(row.target[1:])
        by_length[len(by_length) + 1] = named
        store.put(named, b"x" * len(by_length))
    gateway = Gateway(settings, store=store, clock=lambda: NOW)
    made = bundle.make(settings, keys)
    edge = Edge(unpacked(made.content, folder / "edge"), NOW)
    return {
        "gateway": through_gateway(gateway, by_length),
        "edge": through_edge(edge),
        "native": through_native(gateway),
    }


@pytest.mark.asyncio(loop_scope="module")  # the gateway lives in one loop
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"line {row.line}")
async def test_every_door_decides_alike(doors: Doors, row: Row) -> None:
    decided = {name: await door(row, asked(row)) for name, door in doors.items() if name not in row.not_for}
    if "native" in decided and row.decided.startswith("refuse"):
        assert decided.pop("native") == "refuse 403", "CloudFront's own answer"
    assert decided == dict.fromkeys(decided, row.decided)


OWN_FOLDER = "CloudFront takes the path as it came, and it is one in ann's own folder"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.not_for.get("native") == OWN_FOLDER], ids=lambda row: f"line {row.line}"
)
async def test_an_odd_path_leads_out_of_no_folder_at_the_native_door(doors: Doors, row: Row) -> None:
    assert row.brings == (("header", "ann"),)
    assert row.target.startswith("/users/ann/")
    assert row.decided == "refuse 400"
    assert await doors["native"](row, asked(row)) in ("refuse 403", f"serve {unquote(row.target[1:])}")


def test_the_table_is_long_and_says_why_a_row_is_not_for_a_door() -> None:
    assert len(TABLE) >= 300
    assert len({(row.method, row.target, row.brings) for row in TABLE}) == len(TABLE), "no row stands there twice"
    counted = Counter(name for row in TABLE for name in ("gateway", "edge", "native") if name not in row.not_for)
    assert counted["edge"] >= len(TABLE) - 1
    assert counted["gateway"] >= len(TABLE) - 5
    assert counted["native"] >= 480
    assert all(reason for row in TABLE for reason in row.not_for.values())


def test_every_credential_of_the_table_is_used() -> None:
    """A name that nothing uses is a case that nobody tries."""
    used = {name for row in TABLE for _, name in row.brings}
    assert set(TOKENS) <= used
    assert set(PASSES) <= used
    assert set(SESSIONS) <= used


def test_the_hash_in_the_table_is_the_tenants() -> None:
    assert any(hashlib.sha256(b"acme").hexdigest() in row.decided for row in TABLE)
