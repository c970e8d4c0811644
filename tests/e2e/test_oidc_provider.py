"""A certified OpenID provider, found by discovery: its tokens, its keys when they change, and its absence."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest

from tests.helpers.oidc import AUDIENCE, Issued, Provider
from tests.helpers.servers import Gateway, poll

pytestmark = pytest.mark.needs("oidc-provider")

SETTINGS = """
[site]
url = "$SITE"
store = "./files"

[[issuers]]
name = "staff"
issuer = "$ISSUER"
audience = ["web", "$AUDIENCE"]

[tokens]
from = ["header", "cookie"$QUERY]

[[rules]]
path = "public/**"
allow = "anyone"

[[rules]]
path = "users/{sub}/**"
allow = "signed-in"

[[rules]]
path = "courses/**"
allow = { groups = ["students", "teachers"] }

[[rules]]
path = "groups/{groups}/**"
allow = "signed-in"
"""
FILES = ("public/logo.txt", "users/ann/essay.txt", "users/ben/essay.txt", "courses/one.txt", "groups/teachers/a.txt")

MakeGateway = Callable[..., Gateway]


@pytest.fixture(scope="module")
def make_gateway(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[MakeGateway]:
    folder, made = tmp_path_factory.mktemp("site"), list[Gateway]()
    for name in FILES:
        (folder / "files" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / name).write_text(name, encoding="utf-8")

    def make(query: bool = False) -> Gateway:
        text = SETTINGS.replace("$ISSUER", provider.issuer).replace("$AUDIENCE", AUDIENCE)
        made.append(Gateway(folder, text.replace("$QUERY", ', "query"' if query else "")))
        return made[-1]

    yield make
    for gateway in made:
        gateway.stop()


@pytest.fixture(scope="module")
def gateway(make_gateway: MakeGateway) -> Gateway:
    return make_gateway()


@pytest.fixture(scope="module")
def ann(provider: Provider) -> Issued:
    return provider.sign_in("ann")


def code(answer: httpx.Response) -> str:
    """The stable code of a refusal."""
    assert answer.headers["content-type"] == "application/problem+json"
    found: str = answer.json()["code"]
    return found


def claims(token: str) -> dict[str, object]:
    part = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def opens(gateway: Gateway, token: str) -> bool:
    return gateway.bearer("/users/ann/essay.txt", token).status_code == 200


def says(gateway: Gateway, text: str) -> bool:
    return text in gateway.err


@pytest.mark.parametrize("which", ["id_token", "access_token"])
def test_a_token_opens_what_is_its_callers_and_nothing_else(gateway: Gateway, ann: Issued, which: str) -> None:
    token: str = getattr(ann, which)
    for carried in ({"authorization": f"Bearer {token}"}, {"cookie": f"theme=dark; token={token}"}):
        opened = gateway.get("/users/ann/essay.txt", carried)
        assert (opened.status_code, opened.text) == (200, "users/ann/essay.txt")
        assert opened.headers["cache-control"] == "private, no-cache"
        assert gateway.get("/courses/one.txt", carried).status_code == 200
        assert code(gateway.get("/users/ben/essay.txt", carried)) == "denied"
        assert code(gateway.get("/groups/teachers/a.txt", carried)) == "denied"
    about = gateway.bearer("/-/whoami", token).json()
    assert (about["issuer"], about["sub"], about["groups"]) == ("staff", "ann", ["students"])


def test_another_person_has_other_files(gateway: Gateway, provider: Provider) -> None:
    tess = provider.sign_in("tess").access_token
    assert gateway.bearer("/groups/teachers/a.txt", tess).status_code == 200
    assert gateway.bearer("/users/ann/essay.txt", tess).status_code == 403


def test_nobody_gets_only_what_is_public(gateway: Gateway) -> None:
    assert gateway.get("/public/logo.txt").status_code == 200
    refused = gateway.get("/users/ann/essay.txt")
    assert (refused.status_code, code(refused)) == (401, "no-credential")
    assert refused.headers["www-authenticate"] == 'Bearer realm="stagedoor"'


def test_a_token_in_the_url_counts_where_the_settings_say_so(
    gateway: Gateway, make_gateway: MakeGateway, ann: Issued
) -> None:
    target = f"/users/ann/essay.txt?token={ann.access_token}"
    assert code(gateway.get(target)) == "no-credential"
    willing = make_gateway(query=True)
    opened = willing.get(target)
    assert (opened.status_code, opened.headers["referrer-policy"]) == (200, "no-referrer")
    poll(lambda: "/users/ann/essay.txt" in willing.out, 5, "a line of the access log")
    assert ann.access_token not in willing.out + willing.err


@pytest.mark.parametrize("which", ["id_token", "access_token"])
def test_a_token_for_another_audience_is_refused(gateway: Gateway, provider: Provider, which: str) -> None:
    elsewhere = provider.sign_in("ann", client="other", resource="https://other.example.com")
    refused = gateway.bearer("/users/ann/essay.txt", getattr(elsewhere, which))
    assert (refused.status_code, code(refused)) == (401, "token-audience")


def test_a_token_that_was_changed_is_refused(gateway: Gateway, ann: Issued) -> None:
    head, payload, signature = ann.access_token.split(".")
    forged = base64.urlsafe_b64encode(json.dumps({**claims(ann.access_token), "sub": "ben"}).encode())
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT","kid":"key-1"}')
    changed = signature[:9] + ("A" if signature[9] != "A" else "B") + signature[10:]
    for token, why in (
        (f"{head}.{forged.decode().rstrip('=')}.{signature}", "token-signature"),
        (f"{head}.{payload}.{changed}", "token-signature"),
        (f"{head}.{payload}.", "token-signature"),
        (f"{unsigned.decode().rstrip('=')}.{payload}.", "token-algorithm"),
        (f"{head}.{payload}", "token-shape"),
    ):
        refused = gateway.bearer("/users/ann/essay.txt", token)
        assert (refused.status_code, code(refused)) == (401, why)
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]


def test_a_token_stops_to_count_when_it_expires(gateway: Gateway, provider: Provider) -> None:
    token = provider.sign_in("ann", resource=f"urn:{AUDIENCE}:5").access_token
    expires = claims(token)["exp"]
    assert isinstance(expires, int)
    assert gateway.bearer("/users/ann/essay.txt", token).status_code == 200
    poll(lambda: not opens(gateway, token), 15, "an end")
    assert time.time() >= expires
    refused = gateway.bearer("/users/ann/essay.txt", token)
    assert (refused.status_code, code(refused)) == (401, "token-expired")


@pytest.mark.thorough("33 s, most of it cool-downs, which core/test_issuers.py goes through with a clock of its own")
def test_a_new_key_is_found_after_the_cool_down_and_the_old_one_forgotten(
    make_gateway: MakeGateway, provider: Provider
) -> None:
    """One test for the provider's whole life, for each step needs the one before, and time to cool down."""
    gateway, old = make_gateway(), provider.sign_in("ann").access_token
    assert gateway.bearer("/users/ann/essay.txt", old).status_code == 200

    provider.stop()
    provider.start("key-2")
    token = provider.sign_in("ann").access_token
    for _ in range(20):  # whatever arrives, the issuer is asked once
        assert gateway.bearer("/users/ann/essay.txt", token).status_code in (200, 401)
    poll(partial(opens, gateway, token), 20, "the new key", every=0.25)
    assert provider.asked_for_keys() <= 2  # at most once before it was ready for us, and once after
    assert code(gateway.bearer("/users/ann/essay.txt", old)) == "token-key"

    provider.stop()
    provider.start("key-3")
    unknown = provider.sign_in("ann").access_token
    provider.stop()
    late = make_gateway()  # knows no key at all
    refused = late.bearer("/users/ann/essay.txt", unknown)
    assert (refused.status_code, code(refused)) == (503, "issuer-unavailable")
    assert int(refused.headers["retry-after"]) > 0
    assert late.get("/-/readyz").json()["missing"] == ["keys of staff"]
    assert late.get("/public/logo.txt").status_code == 200

    def refused_as_unknown() -> httpx.Response | None:
        assert gateway.bearer("/users/ann/essay.txt", token).status_code == 200  # known callers go on
        answer = gateway.bearer("/users/ann/essay.txt", unknown)
        return answer if answer.status_code == 503 else None

    assert code(poll(refused_as_unknown, 20, "a refusal for want of keys", every=0.25)) == "issuer-unavailable"
    for waiting in (late, gateway):
        poll(partial(says, waiting, f"keys of issuer {provider.issuer}: "), 10, "a line in the log", every=0.25)
    assert unknown not in gateway.err + gateway.out + late.err + late.out

    provider.start("key-3")
    for waiting in (late, gateway):
        poll(partial(opens, waiting, unknown), 25, "keys again", every=0.25)
    assert late.get("/-/readyz").status_code == 200
