"""What providers, browsers and players are known to send, at the edge: the same decisions as at the gateway.

One zip holds an issuer for each way to write keys and claims. Nothing is fetched: each key set is in the zip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import pytest

from stagedoor.aws.edge import bundle
from stagedoor.keys.pass_keys import load_signer, new_pair
from stagedoor.settings import parse
from tests.helpers.cloudfront import Edge, Event, event, unpacked
from tests.helpers.support import CLIENT, NOW, SITE, b64, bearer, claims, ec_signer, key_set, rsa_signer, token

RSA = rsa_signer().jwk
POOL = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Field"
NEW_POOL = "https://issuer-cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Field"
PAIR = new_pair("rsa")

KEY_SETS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "every empty member is null": [
        {**dict.fromkeys(("d", "p", "q", "dp", "dq", "qi", "oth", "k", "crv", "x5u")), **RSA}
    ],
    "alg and use are null": [{**RSA, "alg": None, "use": None, "key_ops": None}],
    "members that nobody knows": [{**RSA, "issuer": "https://x.example.com", "x5t": "abc", "ext": True}],
    "the same entry twice": [RSA, RSA],
    "one key for three algorithms": [{**RSA, "alg": alg} for alg in ("RS512", "RS256", "RS384")],
    "one kid for encryption and signatures": [{**rsa_signer(kid="enc").jwk, "kid": "rsa-1", "use": "enc"}, RSA],
    "a key for encryption first": [{**rsa_signer(kid="enc").jwk, "use": "enc", "alg": "RSA-OAEP"}, RSA],
    "an elliptic curve beside it": [ec_signer().jwk, RSA],
    "an elliptic curve under the same kid": [{**ec_signer().jwk, "kid": "rsa-1"}, RSA],
    "Ed25519 beside it": [{"kty": "OKP", "crv": "Ed25519", "x": b64(b"\1" * 32), "kid": "ed-1", "alg": "Ed25519"}, RSA],
    "Ed25519 under the same kid": [{"kty": "OKP", "crv": "Ed25519", "x": b64(b"\1" * 32), "kid": "rsa-1"}, RSA],
    "a key for RSA-PSS under the same kid": [{**rsa_signer(kid="pss").jwk, "kid": "rsa-1", "alg": "PS256"}, RSA],
    "a key without kty beside it": [{"kid": "x", "n": "AQAB"}, RSA],
    "a key of 1024 bits beside it": [rsa_signer(kid="small", bits=1024).jwk, RSA],
    "e is 1 beside it": [{**rsa_signer(kid="odd").jwk, "e": "AQ"}, RSA],
    "a number as kid beside it": [{**rsa_signer(kid="odd").jwk, "kid": 5}, RSA],
    "a hundred keys": [*({**RSA, "kid": f"old-{number}"} for number in range(99)), RSA],
    "no kid": [{name: value for name, value in RSA.items() if name != "kid"}],
}
"""Key sets as providers write them, all with the one key that signs."""

FROM = "resource_access.com.example.app.roles"
CLAIMS: Mapping[str, tuple[Mapping[str, Any], str, bool]] = {
    "dots in a client's id": ({"resource_access": {"com.example.app": {"roles": ["a"]}}}, "groups/a", True),
    "another client's roles": ({"resource_access": {"account": {"roles": ["a"]}}}, "groups/a", False),
    "a path that leads nowhere": ({"resource_access": "none"}, "groups/a", False),
    "an object of roles": ({"resource_access": {"com.example.app": {"roles": {"a": {"1": "x"}}}}}, "groups/a", True),
    "a scope among others, as text": ({"scope": "openid files.read"}, "scopes", True),
    "a scope among others, as list": ({"scope": ["openid", "files.read"]}, "scopes", True),
    "a longer scope": ({"scope": "openid files.read.none"}, "scopes", False),
    "a list that is written as text": ({"custom:groups": "[students, staff]"}, "custom", False),
    "a number, which counts by its digits": ({"custom:groups": 7}, "custom", True),
    "too many groups, and a pointer": (
        {"_claim_names": {"groups": "s"}, "_claim_sources": {"s": {}}},
        "groups/a",
        False,
    ),
    "an address that nobody verified": ({"email": "ann@example.com"}, "mail", False),
    "an address that is not verified": ({"email": "ann@example.com", "email_verified": False}, "mail", False),
    "verified, as text": ({"email": "ann@example.com", "email_verified": "true"}, "mail", True),
    "verified, in capitals": ({"email": "Ann@EXAMPLE.com", "email_verified": True}, "mail", True),
    "several audiences": ({"aud": ["another", CLIENT]}, "users/ann", True),
    "an empty list of audiences": ({"aud": []}, "users/ann", False),
    "a number as audience": ({"aud": 7}, "users/ann", False),
    "the client as azp alone": ({"aud": "account", "azp": CLIENT}, "users/ann", False),
    "no exp": ({"exp": ...}, "users/ann", False),
    "exp as text": ({"exp": str(int(NOW + 600))}, "users/ann", False),
    "a sub of Auth0": ({"sub": "auth0|5f7c"}, "users/auth0%7C5f7c", True),
    "a sub of Auth0, as browsers write it": ({"sub": "auth0|5f7c"}, "users/auth0|5f7c", True),
    "an address as sub": ({"sub": "a+b@example.com"}, "users/a+b@example.com", True),
    "a letter beyond ASCII": ({"sub": "zoë"}, "users/zo%C3%AB", True),
    "somebody else's sub": ({"sub": "auth0|5f7c"}, "users/auth0|5f7d", False),
    "a slash in the sub": ({"sub": "a/b"}, "users/a/b", False),
    "a star as sub": ({"sub": "*"}, "users/bob", False),
}
"""Claims of a token, a folder, and whether it opens it."""

SETTINGS = f"""
[site]
url = "{SITE}"
[tokens]
from = ["header", "cookie", "query"]
[login]
page = "https://app.example.com/login"
[passes]
public_keys = {{ K1 = "env:PUBLIC" }}
[cors]
origins = ["https://app.example.com"]
[[rules]]
path = "public/**"
allow = "anyone"
[[rules]]
path = "users/{{sub}}/**"
allow = "signed-in"
[[rules]]
path = "groups/a/**"
allow = {{ groups = ["a"] }}
[[rules]]
path = "scopes/**"
allow = {{ claims = {{ scope = ["files.read"] }} }}
[[rules]]
path = "custom/**"
allow = {{ claims = {{ "custom:groups" = ["staff", "7"] }} }}
[[rules]]
path = "mail/**"
allow = {{ emails = ["@example.com"] }}
"""


def issuer_of(what: str) -> str:
    return f"https://id-{[*KEY_SETS].index(what)}.example.com"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Edge:
    keys = {issuer_of(what): key_set(*entries) for what, entries in KEY_SETS.items()}
    keys |= {url: key_set(RSA) for url in (claims()["iss"], "https://accounts.google.com", POOL, NEW_POOL)}
    text = SETTINGS
    for url in keys:
        roles = "" if "cognito" in url else f'claims = {{ groups = "{FROM}" }}\n'
        text += f'[[issuers]]\nissuer = "{url}"\naudience = ["{CLIENT}"]\n{roles}'
    settings = parse(text, None, {"PUBLIC": PAIR.public.decode()})
    return Edge(unpacked(bundle.make(settings, keys).content, tmp_path_factory.mktemp("edge")), NOW)


def opens(answer: Event) -> bool:
    """Is the request sent on? A refusal says that it knows the caller, or not."""
    assert answer.get("status", "200") in ("200", "401", "403"), answer
    return "status" not in answer


@pytest.mark.parametrize("what", KEY_SETS)
def test_key_sets_are_read_as_providers_write_them(edge: Edge, what: str) -> None:
    good = claims(iss=issuer_of(what))
    kid: dict[str, Any] = {"kid": ...} if what == "no kid" else {}
    assert opens(edge.objects(event("/users/ann/a", authorization=bearer(token(good, **kid)))))
    if what == "no kid":
        return  # such a key may have been replaced, so the issuer would be asked
    forged = token(good, **kid).rpartition(".")[0] + "." + b64(b"\1" * 256)
    assert not opens(edge.objects(event("/users/ann/a", authorization=bearer(forged))))


@pytest.mark.parametrize(("brought", "folder", "open_"), CLAIMS.values(), ids=CLAIMS)
def test_claims_count_as_providers_write_them(edge: Edge, brought: Any, folder: str, open_: bool) -> None:
    answer = edge.objects(event(f"/{folder}/a", authorization=bearer(token(claims(**brought)))))
    assert opens(answer) is open_, answer


@pytest.mark.parametrize(
    ("brought", "open_"),
    [
        ({"iss": "accounts.google.com"}, True),
        ({"iss": "https://accounts.google.com"}, True),
        ({"iss": "accounts.google.com.example.net"}, False),
        ({"iss": "https://accounts.google.com/"}, False),
        ({"iss": POOL, "token_use": "id"}, True),
        ({"iss": POOL, "token_use": "access", "client_id": CLIENT, "aud": ...}, True),
        ({"iss": POOL, "token_use": "access", "client_id": "another", "aud": ...}, False),
        ({"iss": POOL, "token_use": "refresh"}, False),
        ({"iss": NEW_POOL, "token_use": "access", "client_id": CLIENT, "aud": ...}, True),
        ({"iss": NEW_POOL.replace("issuer-", "issuer-x-"), "token_use": "id"}, False),
    ],
)
def test_issuers_are_known_by_what_they_write(edge: Edge, brought: Any, open_: bool) -> None:
    answer = edge.objects(event("/users/ann/a", authorization=bearer(token(claims(**brought)))))
    assert opens(answer) is open_, answer


ANN = token()
CREDENTIALS: Mapping[str, tuple[Mapping[str, str], bool]] = {
    "Basic beside a good cookie": ({"authorization": "Basic dTpw", "cookie": f"token={ANN}"}, True),
    "an empty Authorization": ({"authorization": "", "cookie": f"token={ANN}"}, True),
    "an SDK's signature": ({"authorization": "AWS4-HMAC-SHA256 Credential=a/b", "cookie": f"token={ANN}"}, True),
    "Basic alone": ({"authorization": "Basic dTpw"}, False),
    "JWT for Bearer": ({"authorization": f"JWT {ANN}"}, False),
    "BEARER": ({"authorization": f"BEARER {ANN}"}, True),
    "a blank behind it": ({"authorization": f"Bearer {ANN} "}, True),
    "a frontend before sign-in": ({"authorization": "Bearer undefined"}, False),
    "JSON in another cookie": ({"cookie": f'prefs={{"a":[1,2]}}; token={ANN}'}, True),
    "brackets in another's name": ({"cookie": f"keys[0]=1; token={ANN}"}, True),
    "no blank after the semicolon": ({"cookie": f"a=1;token={ANN};b=2"}, True),
    "a cookie without =": ({"cookie": f"flag; token={ANN}"}, True),
    "Latin-1 in another cookie": ({"cookie": f"name=Zoë; token={ANN}"}, True),
    "what was no UTF-8 in another cookie": ({"cookie": f"name=Zo\ufffd; token={ANN}"}, True),
    "half a character in another cookie": ({"cookie": f"name=Zo\udceb; token={ANN}"}, True),
    "half a character in another field": ({"referer": "/fo\ud83d", "cookie": f"token={ANN}"}, True),
    "half a character in an Authorization of others": (
        {"authorization": "Basic Zo\udceb", "cookie": f"token={ANN}"},
        True,
    ),
    "half a character in the token": ({"cookie": f"token={ANN[:-2]}\udceb"}, False),
    "half a character behind Bearer": ({"authorization": f"Bearer {ANN}\udceb"}, False),
    "half a character in the name": ({"cookie": f"tok\udceben=1; token\udceb={ANN}"}, False),
    "a quotation mark that nothing ends": ({"cookie": f'a="x; token={ANN}'}, True),
    "a longer name": ({"cookie": f"xtoken={ANN}"}, False),
    "twice the same": ({"cookie": f"token={ANN}; token={ANN}"}, True),
    "twice, and different": ({"cookie": f"token={ANN}; token={token(claims(sub='ben'))}"}, False),
}
"""Header fields, and whether they show who asks."""


@pytest.mark.parametrize(("fields", "open_"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_credentials_are_found_among_what_others_have_set(edge: Edge, fields: Mapping[str, str], open_: bool) -> None:
    assert opens(edge.objects(event("/users/ann/a", **fields))) is open_
    assert opens(edge.objects(event("/public/a", **fields))), "what anybody may read stays open"
    sent = edge.api(event("/-/whoami", **fields))["headers"]
    assert {name: one[0]["value"] for name, one in sent.items() if name != "host"} == {
        name: re.sub("[\ud800-\udfff]", "?", value) for name, value in fields.items()
    }, "the API gets what can be written"


@pytest.mark.parametrize(
    ("query", "open_"), [("&&token={}", True), ("x&token={}&", True), ("token=", False), ("token={}%23top", False)]
)
def test_a_token_in_the_query_is_found(edge: Edge, query: str, open_: bool) -> None:
    assert opens(edge.objects(event(f"/users/ann/a?{query.format(ANN)}"))) is open_


WRITTEN = {
    "a|b.txt": "a%7Cb.txt",
    "it's%20(1).txt": "it%27s%20%281%29.txt",
    "a,b.txt": "a%2Cb.txt",
    "100%25.txt": "100%25.txt",
}


@pytest.mark.parametrize(("written", "canonical"), WRITTEN.items())
def test_names_go_on_in_one_spelling(edge: Edge, written: str, canonical: str) -> None:
    sent = edge.objects(event(f"/public/{written}"))["uri"]
    assert unquote(sent) == unquote(f"/public/{canonical}")
    assert sent == edge.objects(event(f"/public/{canonical}"))["uri"]


@pytest.mark.parametrize("dest", ["video", "script", "font", "image", "empty", "iframe", "embed"])
def test_only_a_page_of_its_own_is_redirected_to_sign_in(edge: Edge, dest: str) -> None:
    mode = "navigate" if dest in ("iframe", "embed") else "no-cors"
    answer = edge.objects(event("/users/ann/a.pdf", accept="text/html,*/*", sec_fetch_mode=mode, sec_fetch_dest=dest))
    assert answer["status"] == "401"
    page = edge.objects(
        event("/users/ann/a.pdf", accept="text/html,*/*", sec_fetch_mode="navigate", sec_fetch_dest="document")
    )
    assert (page["status"], page["headers"]["location"][0]["value"][:29]) == ("302", "https://app.example.com/login")


@pytest.mark.parametrize("method", ["PROPFIND", "LOCK", "MKCOL", "SEARCH", "DELETE", "TRACE", "PUT", "POST"])
def test_what_explorers_and_scanners_try_is_no_method(edge: Edge, method: str) -> None:
    assert edge.objects(event("/public/a.mp4", method))["status"] == "405"


@pytest.mark.parametrize(
    "fields",
    [
        {"range": "bytes=100-9223372036854775806"},
        {"range": "bytes=18446744073709551616-"},
        {"range": "bytes = 0 - 99", "if_range": '"x"'},
        {"accept_encoding": "identity;q=0"},
        {"referer": "https://app.example.com/fö"},
        {"if_modified_since": "Tue, 05 Mar 2024 12:00:00 GMT; length=300000"},
        {"pragma": "no-cache", "cache_control": "max-age=0"},
    ],
)
def test_what_is_about_the_bytes_goes_on_untouched(edge: Edge, fields: Mapping[str, str]) -> None:
    """CloudFront and S3 answer ranges and conditions."""
    answer = edge.objects(event("/public/a.mp4", **fields))
    kept = {name: one[0]["value"] for name, one in answer["headers"].items() if name != "host"}
    assert kept == {name.replace("_", "-"): value for name, value in fields.items()}


@pytest.mark.parametrize("asked", ["traceparent", "baggage, range", "authorization, range, if-none-match", "if-range"])
def test_preflights_grant_what_tracing_and_players_send(edge: Edge, asked: str) -> None:
    fields = {"access_control_request_method": "GET", "access_control_request_headers": asked}
    answer = edge.objects(event("/users/ann/a", "OPTIONS", origin="https://app.example.com", **fields))
    granted = answer["headers"]["access-control-allow-headers"][0]["value"].lower()
    assert set(asked.split(", ")) <= set(granted.split(", "))
    stranger = edge.objects(event("/users/ann/a", "OPTIONS", origin="https://app.example.net", **fields))
    assert "access-control-allow-origin" not in stranger.get("headers", {})


def test_passes_open_in_browsers_and_no_player_adds_to_them(edge: Edge) -> None:
    signer = load_signer("K1", PAIR.private)
    for name in ("it's.txt", "100%.txt", "a b.txt"):
        path = f"/users/ben/{name}".replace("%", "%25").replace(" ", "%20")
        query = signer.url(f"{SITE}{path}", int(NOW) + 60).partition("?")[2]
        target = f"{path}?{query}"
        assert opens(edge.objects(event(target))), name
        assert opens(edge.objects(event(target, "HEAD"))), name
        assert opens(edge.objects(event(target, cookie=f"token={ANN}"))), "the pass decides, not the token of somebody"
        assert edge.objects(event(f"{target}&session=1"))["status"] == "403"
    assert json.loads(edge.objects(event("/users/ben/a"))["body"])["code"] == "no-credential"
