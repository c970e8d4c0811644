"""The functions at CloudFront's edge: the exact zip, with CloudFront's events."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from stagedoor.aws.edge import bundle
from stagedoor.aws.edge.event import write
from stagedoor.core.issuers import Issuer
from stagedoor.core.messages import Reply
from stagedoor.core.session import Sessions, signing_key
from stagedoor.keys.pass_keys import load_signer, new_pair
from stagedoor.settings import parse
from tests.helpers import issuer_server
from tests.helpers.cloudfront import DOMAIN, Edge, Event, check, event, request_of, unpacked
from tests.helpers.issuer_server import IssuerServer
from tests.helpers.support import (
    CLIENT,
    ISSUER,
    NOW,
    SESSION_KEY,
    SITE,
    bearer,
    caller,
    claims,
    ec_signer,
    key_set,
    rsa_signer,
    token,
)

PAIR = new_pair("rsa")
LOGIN = "https://app.example.com/login"
SETTINGS = f"""
[site]
url = "{SITE}"

[[issuers]]
name = "staff"
issuer = "{ISSUER}"
audience = ["{CLIENT}"]

[tokens]
from = ["header", "cookie", "query"]

[[rules]]
path = "public/**"
allow = "anyone"
[[rules]]
path = "users/{{sub}}/**"
allow = "signed-in"
[[rules]]
path = "courses/**"
allow = {{ groups = ["students"] }}
"""
PASSES = '[passes]\npublic_keys = { K1 = "env:PUBLIC" }\n'
SESSIONS = '[login]\nsession_keys = ["env:SESSION"]\n'
ENVIRON = {"PUBLIC": PAIR.public.decode(), "SESSION": SESSION_KEY.decode()}
ENTRY = Issuer(ISSUER, frozenset((CLIENT,)), "staff", claims={"groups": "groups"})
ANN = token()
BROWSER = {"sec_fetch_mode": "navigate", "accept": "text/html"}


def make(folder: Path, text: str = SETTINGS, *, now: float | None = NOW, **options: Any) -> Edge:
    """Load the functions from the zip of these settings."""
    settings = parse(text, None, ENVIRON)
    keys = dict.fromkeys((issuer.url for issuer in settings.issuers), key_set(rsa_signer()))
    return Edge(unpacked(bundle.make(settings, keys, **options).content, folder), now)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Edge:
    return make(tmp_path_factory.mktemp("edge"), SETTINGS + PASSES + SESSIONS)


@pytest.fixture(scope="module")
def with_page(tmp_path_factory: pytest.TempPathFactory) -> Edge:
    cors = '[cors]\norigins = ["https://app.example.com"]\nheaders = ["x-own"]\n'
    text = SETTINGS.replace(f'url = "{SITE}"', f'url = "{SITE}"\nindex = "index.html"')
    return make(tmp_path_factory.mktemp("page"), f'{text}{SESSIONS}page = "{LOGIN}"\n{cors}')


def code(answer: Event) -> str:
    found: str = json.loads(answer["body"])["code"]
    return found


def header(answer: Event, name: str) -> str:
    (one,) = answer["headers"][name]
    value: str = one["value"]
    return value


# --- sent on


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_anyone_may_read_is_sent_on_under_its_canonical_name(edge: Edge, method: str) -> None:
    asked = event("/%70ublic/a+b%20%28c%29%C3%BC.png?x=1&y", method, accept="image/png", range="bytes=0-9")
    answer = edge.objects(asked)
    assert answer["uri"] == "/public/a%2Bb%20%28c%29%C3%BC.png"
    assert answer["querystring"] == ""
    assert answer["headers"] == request_of(asked)["headers"]


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/users/ann/a", {"authorization": bearer(ANN)}),
        ("/users/ann/a", {"cookie": f"a=b; token={ANN}; c=d"}),
        ("/users/ann/a", {"cookie": ["a=b", f"token={ANN}", "c=d"]}),
        (f"/users/ann/a?size=2&token={ANN}", {}),
    ],
    ids=["header", "cookie", "several cookie fields", "query"],
)
def test_no_credential_goes_on_to_the_store(edge: Edge, target: str, fields: Any) -> None:
    answer = edge.objects(event(target, accept="*/*", **fields))
    assert answer["uri"] == "/users/ann/a"
    assert set(answer["headers"]) == {"host", "accept"}
    assert ANN not in json.dumps(answer)


def test_credentials_are_removed_even_where_they_decide_nothing(edge: Edge) -> None:
    answer = edge.objects(event(f"/users/ann/a?token={ANN}", authorization=bearer(ANN), cookie=f"token={ANN}; x=y"))
    assert set(answer["headers"]) == {"host"}
    assert answer["querystring"] == ""


def test_names_in_capitals_are_the_same_names(edge: Edge) -> None:
    asked = event("/users/ann/a")
    request_of(asked)["headers"]["Authorization"] = [{"key": "Authorization", "value": bearer(ANN)}]
    assert set(edge.objects(asked)["headers"]) == {"host"}


def test_a_body_is_not_sent_on(edge: Edge) -> None:
    asked = event()
    request_of(asked)["body"] = {"inputTruncated": False, "action": "read-only", "encoding": "base64", "data": "eA=="}
    assert "body" not in edge.objects(asked)


def test_a_session_that_an_older_key_signed_is_valid_too(tmp_path: Path) -> None:
    """The newest key signs, all verify."""
    newest = "n" * 40
    two = SESSIONS.replace('["env:SESSION"]', '["env:NEWEST", "env:SESSION"]')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENVIRON, "NEWEST", newest)
        edge = make(tmp_path, SETTINGS + two)
    for key in (SESSION_KEY, newest.encode()):
        line = Sessions(SITE, (signing_key(key),), (ENTRY,), (), 3600.0).set_cookie(
            caller(), {"sub": ["ann"]}, b"r" * 16, NOW
        )
        assert edge.objects(event("/users/ann/a", cookie=line.partition(";")[0]))["uri"] == "/users/ann/a"


def test_a_session_opens_what_its_caller_may_read(edge: Edge) -> None:
    made = Sessions(SITE, (signing_key(SESSION_KEY),), (ENTRY,), (), 3600.0)
    cookie = made.set_cookie(caller(), {"sub": "ann"}, b"r" * 16, NOW).partition(";")[0]
    assert edge.objects(event("/users/ann/a", cookie=cookie))["uri"] == "/users/ann/a"
    assert edge.objects(event("/users/ben/a", cookie=cookie))["status"] == "403"
    wrong = cookie[:-4] + ("AAAA" if not cookie.endswith("AAAA") else "BBBB")
    refused = edge.objects(event("/users/ann/a", cookie=wrong))
    assert refused["status"] == "401"
    assert "set-cookie" not in refused["headers"]
    page = edge.objects(event("/users/ann/a", cookie=wrong, **BROWSER))
    assert (page["status"], header(page, "set-cookie")[:19]) == ("401", "__Host-stagedoor=; ")
    assert f'<p class="site">{SITE[8:]}</p>' in page["body"]


def test_stale_claims_open_nothing_at_the_edge_either(edge: Edge) -> None:
    made = Sessions(SITE, (signing_key(SESSION_KEY),), (ENTRY,), (), 86_400.0, renew=3600.0)
    for before, status in ((7000.0, None), (7200.0, "401")):
        line = made.set_cookie(caller(), {"sub": ["ann"]}, b"r" * 16, NOW - before, renews=True)
        answer = edge.objects(event("/users/ann/a", cookie=line.partition(";")[0]))
        assert answer.get("status") == status


def test_an_index_stands_for_its_folder(with_page: Edge) -> None:
    assert with_page.objects(event("/public/docs/"))["uri"] == "/public/docs/index.html"


# --- refused


def test_401_403_405_400_404(edge: Edge) -> None:
    refused = [
        (event("/users/ann/a"), "401", "no-credential"),
        (event("/users/ann/a", authorization="Bearer x"), "401", "token-shape"),
        (event("/users/ann/a", authorization=bearer(token(claims(exp=NOW - 1)))), "401", "token-expired"),
        (event("/users/ben/a", authorization=bearer(ANN)), "403", "denied"),
        (event("/courses/1", authorization=bearer(ANN)), "403", "denied"),
        (event("/public/a", "POST"), "405", "method"),
        (event("/public/../users/ben/a"), "400", "target"),
        (event("/public/%2e%2e/a"), "400", "target"),
        (event("/public%2fa"), "400", "target"),
        (event("//public/a"), "400", "target"),
        (event("/-/whoami"), "404", "not-found"),
        (event("/%2d/whoami"), "404", "not-found"),
        (event("/"), "404", "not-found"),
        (event("/public/" + "a" * 9000), "414", "target-too-long"),
        (event("/public/a?" + "a" * 9000), "414", "target-too-long"),
    ]
    for asked, status, reason in refused:
        answer = edge.objects(asked)
        assert (answer["status"], code(answer)) == (status, reason), request_of(asked)["uri"][:60]
        assert header(answer, "cache-control") == "no-store"
    assert header(edge.objects(event("/users/ann/a")), "www-authenticate") == 'Bearer realm="stagedoor"'


def test_its_own_answers_ask_for_https_alone(edge: Edge) -> None:
    for target in ("/users/ann/a.png", "/%2e%2e/", "/-/x"):
        assert header(edge.objects(event(target)), "strict-transport-security") == "max-age=31536000"


def test_head_has_no_body(edge: Edge) -> None:
    answer = edge.objects(event("/users/ann/a", "HEAD"))
    assert answer["status"] == "401"
    assert "body" not in answer


def test_a_navigation_is_redirected_to_sign_in_with_the_way_back(with_page: Edge) -> None:
    answer = with_page.objects(event("/users/ann/a%20b?x=%2F&token=rubbish", **BROWSER))
    assert answer["status"] == "401", "a bad token is not a reason to sign in again"
    answer = with_page.objects(event("/users/ann/a%20b?x=%2F", **BROWSER))
    assert answer["status"] == "302"
    to = urlsplit(header(answer, "location"))
    assert f"{to.scheme}://{to.netloc}{to.path}" == LOGIN
    assert parse_qs(to.query) == {"next": [f"{SITE}/users/ann/a%20b?x=%2F"]}
    assert with_page.objects(event("/users/ann/a"))["status"] == "401"


def test_a_preflight_is_answered_without_a_credential(with_page: Edge) -> None:
    asked = event("/users/ann/a", "OPTIONS", origin="https://app.example.com", access_control_request_method="GET")
    answer = with_page.objects(asked)
    assert answer["status"] == "204"
    assert header(answer, "access-control-allow-origin") == "https://app.example.com"
    assert header(answer, "access-control-allow-credentials") == "true"
    assert {"traceparent", "x-own"} <= set(str(header(answer, "access-control-allow-headers")).split(", "))
    other = event("/users/ann/a", "OPTIONS", origin="https://evil.example", access_control_request_method="GET")
    assert "access-control-allow-origin" not in with_page.objects(other)["headers"]


@pytest.mark.parametrize("length", [2000, 8000])
def test_no_answer_is_longer_than_cloudfront_takes(with_page: Edge, length: int) -> None:
    """`next` is percent-encoded once more: one byte becomes three."""
    for fields in (BROWSER, {**BROWSER, "authorization": bearer(ANN)}, {}):
        answer = with_page.objects(event("/users/ben/a?" + "%" * length, **fields))
        assert answer["status"] in ("302", "401", "403", "414")


def test_an_answer_that_is_too_long_becomes_one_that_is_not() -> None:
    far = Reply(302, ((b"location", b"https://app.example.com/" + b"x" * 41_000),), b"", "no-credential")
    answer = check(event(), write(far, "GET"))
    assert (answer["status"], code(answer)) == ("414", "target-too-long")


# --- passes


def signer(algorithm: Any = "sha256") -> Any:
    return load_signer("K1", PAIR.private, hash=algorithm)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_signed_url_opens_its_object_and_nothing_else(edge: Edge, algorithm: str) -> None:
    url = signer(algorithm).url(f"{SITE}/users/ben/a%20b?v=1", int(NOW) + 60).removeprefix(SITE)
    answer = edge.objects(event(url))
    assert (answer["uri"], answer["querystring"]) == ("/users/ben/a%20b", "")
    other = edge.objects(event(url.replace("ben", "bob")))
    assert other["status"] == "403"
    assert "<Code>AccessDenied</Code>" in other["body"]
    assert header(other, "content-type") == "text/xml"


def test_a_signed_url_is_for_the_addresses_that_it_names(edge: Edge) -> None:
    url = signer().url(f"{SITE}/users/ben/a", int(NOW) + 60, network="198.51.100.0/24").removeprefix(SITE)
    assert edge.objects(event(url, client="198.51.100.9"))["uri"] == "/users/ben/a"
    assert edge.objects(event(url, client="::ffff:198.51.100.9"))["uri"] == "/users/ben/a"
    for client in ("198.51.101.9", "2001:db8::1", "", "rubbish"):
        assert edge.objects(event(url, client=client))["status"] == "403"


def test_signed_cookies_open_their_folder(edge: Edge) -> None:
    cookies = signer().cookies(f"{SITE}/courses/7/*", int(NOW) + 60)
    line = "; ".join(f"{name}={value}" for name, value in cookies.items())
    assert edge.objects(event("/courses/7/x/y.ts", cookie=line))["uri"] == "/courses/7/x/y.ts"
    assert edge.objects(event("/courses/8/y.ts", cookie=line))["status"] == "403"
    over = signer().cookies(f"{SITE}/courses/7/*", int(NOW) - 1)
    line = "; ".join(f"{name}={value}" for name, value in over.items())
    assert edge.objects(event("/courses/7/x", cookie=line))["status"] == "403"


# --- the API's behaviour


def test_the_api_gets_requests_with_their_credentials(edge: Edge) -> None:
    asked = event("/-/s3objects?prefix=a%2F", authorization=bearer(ANN), cookie="a=b")
    assert edge.api(asked) == request_of(asked)
    assert edge.api(event("/%2d/contents/a%7Eb", "POST"))["uri"] == "/-/contents/a~b"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/public/a", "404"),
        ("/", "404"),
        ("/-", "404"),
        ("/--/x", "404"),
        ("/-/../public/a", "400"),
        ("/-/%2e%2e/a", "400"),
        ("/-%2fwhoami", "400"),
        ("//-/x", "400"),
        ("/-/\\x", "400"),
        ("/-/" + "a" * 2000, "400"),
        ("/-/s3objects?" + "a" * 9000, "414"),
        ("/-/" + "!" * 300 + "?" + "a" * 7500, "414"),  # three times as long in the canonical encoding
    ],
)
def test_nothing_else_is_sent_on_to_the_api(edge: Edge, target: str, status: str) -> None:
    assert edge.api(event(target, authorization=bearer(ANN)))["status"] == status


# --- malformed events


def broken() -> Iterator[tuple[str, object]]:
    yield from (("nothing", None), ("empty", {}), ("a list", []), ("no records", {"Records": []}), ("a text", "x"))
    yield "an S3 event", {"Records": [{"s3": {"bucket": {}}}]}
    yield "a config that is a text", {"Records": [{"cf": {"config": "x", "request": request_of(event())}}]}
    values: tuple[object, ...] = (None, 7, [], {}, "\ud800")
    for name in ("clientIp", "method", "uri", "querystring", "headers"):
        for value in (*values, ...):
            asked = event()
            if value is ...:
                del request_of(asked)[name]
            elif (name == "headers" and value == {}) or (name in ("method", "clientIp") and value == "\ud800"):
                continue
            else:
                request_of(asked)[name] = value
            yield f"{name}: {value!r}", asked
    bad: tuple[object, ...] = (
        None,
        "x",
        [None],
        [{}],
        [{"key": "A"}],
        [{"key": "A", "value": None}],
    )
    for fields in bad:
        asked = event()
        request_of(asked)["headers"]["a"] = fields
        yield f"header {fields!r}", asked
    asked = event()
    request_of(asked)["headers"]["ŵ"] = [{"key": "ŵ", "value": "a"}]
    yield "an invalid header name", asked


@pytest.mark.parametrize(("what", "asked"), [pytest.param(*case, id=case[0]) for case in broken()])
def test_a_malformed_event_gets_an_answer(edge: Edge, what: str, asked: object) -> None:
    for handler in (edge.objects, edge.api):
        answer = handler(asked)
        if what.startswith("clientIp: '"):
            continue
        assert answer["status"] == "400", what


@pytest.mark.parametrize("kind", ["origin-request", "viewer-response", "origin-response", ""])
def test_a_function_at_another_event_sends_nothing_on(edge: Edge, kind: str) -> None:
    """Behind the cache it would see the first caller only."""
    asked = event()
    asked["Records"][0]["cf"]["config"]["eventType"] = kind
    for handler in (edge.objects, edge.api):
        answer = handler(asked)
        assert (answer["status"], code(answer)) == ("400", "event")


def test_an_error_of_ours_opens_nothing_and_reveals_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    edge = make(tmp_path)

    def fail(*_: object) -> None:
        raise RuntimeError(ANN)

    monkeypatch.setattr(edge.functions, "_door", fail)
    answer = edge.objects(event("/public/a"))
    assert (answer["status"], code(answer)) == ("500", "fault")
    assert ANN not in json.dumps(answer) + capsys.readouterr().out


# --- the origin


def test_without_a_domain_of_its_own_the_site_has_the_distributions(tmp_path: Path) -> None:
    edge = make(tmp_path, SETTINGS + PASSES, own_domain=False)
    mine = signer().url(f"https://{DOMAIN}/users/ben/a", int(NOW) + 60).removeprefix(f"https://{DOMAIN}")
    assert edge.objects(event(mine))["uri"] == "/users/ben/a"
    assert edge.objects(event(mine, host="other.example.com"))["uri"] == "/users/ben/a"
    moved = event(mine)
    moved["Records"][0]["cf"]["config"]["distributionDomainName"] = "dother.cloudfront.net"
    assert edge.objects(moved)["status"] == "403"
    assert edge.objects(event(mine))["uri"] == "/users/ben/a"


# --- keys that are not in the zip


@pytest.fixture
def issuer() -> Iterator[IssuerServer]:
    with issuer_server.serving() as server:
        yield server


NEW = rsa_signer(kid="rsa-2")


def asked_with_new_key(issuer: IssuerServer) -> Event:
    return event("/users/ann/a", authorization=bearer(token(claims(iss=issuer.url), NEW)))


def discovery(
    issuer: IssuerServer, keys: bytes = key_set(rsa_signer(), NEW), *, wait: float = 0.0, keys_wait: float = 0.0
) -> None:
    about = json.dumps({"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}).encode()
    issuer.pages = {"/.well-known/openid-configuration": (200, about, wait), "/keys": (200, keys, keys_wait)}


def test_a_new_key_of_the_issuer_is_fetched_once_and_at_once(tmp_path: Path, issuer: IssuerServer) -> None:
    discovery(issuer)
    edge = make(tmp_path, SETTINGS.replace(ISSUER, issuer.url))
    for _ in range(3):
        assert edge.objects(asked_with_new_key(issuer))["uri"] == "/users/ann/a"
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    unknown = bearer(token(claims(iss=issuer.url), NEW, kid="rsa-3"))
    for _ in range(3):
        answer = edge.objects(event("/users/ann/a", authorization=unknown))
        assert (answer["status"], code(answer)) == ("401", "token-key")
    assert len(issuer.asked) == 2, "it cools down"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_issuer_that_does_not_answer_well_opens_nothing(tmp_path: Path, issuer: IssuerServer, status: int) -> None:
    discovery(issuer)
    issuer.pages = {**issuer.pages, "/keys": (status, key_set(NEW), 0), "/elsewhere": (200, key_set(NEW), 0)}
    edge = make(tmp_path, SETTINGS.replace(ISSUER, issuer.url))
    for _ in range(2):
        answer = edge.objects(asked_with_new_key(issuer))
        assert (answer["status"], code(answer)) == ("503", "issuer-unavailable")
        assert header(answer, "retry-after") == "10"
    assert "/elsewhere" not in issuer.asked
    assert issuer.asked.count("/keys") == 1
    good = event("/users/ann/a", authorization=bearer(token(claims(iss=issuer.url))))
    assert edge.objects(good)["uri"] == "/users/ann/a", "keys of the bundle stay valid"


def test_a_slow_issuer_is_waited_for_one_and_a_half_seconds_in_all(tmp_path: Path, issuer: IssuerServer) -> None:
    discovery(issuer, wait=0.75, keys_wait=1.4)  # either alone would be in time
    edge = make(tmp_path, SETTINGS.replace(ISSUER, issuer.url))
    assert edge.objects(asked_with_new_key(issuer))["status"] == "503"
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]
    assert issuer.answered == ["/.well-known/openid-configuration"]


def test_an_endless_key_set_is_not_read(tmp_path: Path, issuer: IssuerServer) -> None:
    discovery(issuer, key_set(rsa_signer(), NEW) + b" " * 1_048_577)
    assert make(tmp_path, SETTINGS.replace(ISSUER, issuer.url)).objects(asked_with_new_key(issuer))["status"] == "503"


def test_a_key_set_that_comes_byte_by_byte_is_not_waited_for_and_leaves_no_thread(
    tmp_path: Path, issuer: IssuerServer
) -> None:
    """Each byte comes in time; all of them would take a minute."""
    discovery(issuer)
    issuer.drips["/keys"] = 0.05
    edge, threads = make(tmp_path, SETTINGS.replace(ISSUER, issuer.url)), set(threading.enumerate())
    assert edge.objects(asked_with_new_key(issuer))["status"] == "503"
    assert issuer.answered == ["/.well-known/openid-configuration"]
    for thread in set(threading.enumerate()) - threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512"])
def test_tokens_are_checked_with_each_hash_of_rsa(tmp_path: Path, algorithm: str) -> None:
    """And with no other that the settings do not name."""
    text = SETTINGS.replace("audience =", f'algorithms = ["{algorithm}"]\naudience =')
    signers = [rsa_signer(name, f"of {name}") for name in ("RS256", "RS384", "RS512")]
    settings = parse(text, None, ENVIRON)
    edge = Edge(unpacked(bundle.make(settings, {ISSUER: key_set(*signers)}).content, tmp_path), NOW)
    for signer in signers:
        answer = edge.objects(event("/users/ann/a", authorization=bearer(token(signer=signer))))
        if signer.algorithm == algorithm:
            assert answer["uri"] == "/users/ann/a"
        else:
            assert code(answer) == "token-algorithm"


@pytest.mark.parametrize("document", [b"", b'{"keys":[]}', b"[[[[", key_set(ec_signer())])
def test_what_is_wrong_with_an_issuers_keys_is_logged_once(
    tmp_path: Path, issuer: IssuerServer, capsys: pytest.CaptureFixture[str], document: bytes
) -> None:
    discovery(issuer, document)
    edge = make(tmp_path, SETTINGS.replace(ISSUER, issuer.url))
    capsys.readouterr()
    for _ in range(3):
        assert edge.objects(asked_with_new_key(issuer))["status"] == "503"
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert line["unanswered"] == issuer.url
    assert line["why"]
    discovery(issuer)
    vars(edge.functions)["time"] = SimpleNamespace(time=lambda: NOW + 30, monotonic=time.monotonic)
    assert edge.objects(asked_with_new_key(issuer))["uri"] == "/users/ann/a"
    assert json.loads(capsys.readouterr().out)["answers"] == issuer.url


def test_no_part_of_a_key_address_that_may_be_secret_is_in_the_log(
    tmp_path: Path, issuer: IssuerServer, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SETTINGS.replace(ISSUER, issuer.url).replace(
        "audience", f'jwks = "{issuer.url}/keys?apikey=s3cret"\naudience'
    )
    assert make(tmp_path, text).objects(asked_with_new_key(issuer))["status"] == "503"
    log = capsys.readouterr().out
    assert json.dumps(f"{issuer.url}/keys?…")[1:-1] in log
    assert "s3cret" not in log


def test_keys_are_fetched_over_https_or_from_this_machine_only(tmp_path: Path, issuer: IssuerServer) -> None:
    discovery(issuer)
    make(tmp_path, SETTINGS.replace(ISSUER, issuer.url))
    config = json.loads((tmp_path / "config.json").read_text())
    config["issuers"][0]["jwks"] = f"http://0.0.0.0:{issuer.server_port}/keys"  # which would answer
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Edge(tmp_path, NOW).objects(asked_with_new_key(issuer))["status"] == "503"
    assert issuer.asked == []


def test_keys_of_a_file_are_in_the_bundle(tmp_path: Path) -> None:
    """There is no issuer to ask, so an unknown key is the token's fault, as at the gateway."""
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_signer()))
    text = SETTINGS.replace("audience", f'jwks = "{tmp_path / "jwks.json"}"\naudience')
    edge = make(tmp_path / "edge", text)
    assert edge.objects(event("/users/ann/a", authorization=bearer(ANN)))["uri"] == "/users/ann/a"
    answer = edge.objects(event("/users/ann/a", authorization=bearer(token(signer=NEW))))
    assert (answer["status"], code(answer)) == ("401", "token-key")


def test_a_cold_start_logs_the_hash_of_its_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path)
    (line,) = capsys.readouterr().out.splitlines()
    logged = json.loads(line)
    assert set(logged) == {"stagedoor", "config"}
    assert len(logged["config"]) == 12


def test_check_refuses_what_cloudfront_would_not_take() -> None:
    """CloudFront would answer 502."""
    good: Event = {"status": "200", "statusDescription": "OK", "headers": {}}
    check(event(), good)
    bad: list[Event] = [
        {**good, "status": 200},
        {**good, "headers": {"X-A": [{"key": "X-A", "value": "1"}]}},
        {**good, "headers": {"x-a": [{"key": "x-b", "value": "1"}]}},
        {**good, "headers": {"x-a": "1"}},
        {**good, "headers": {"via": [{"key": "via", "value": "1"}]}},
        {**good, "headers": {"content-length": [{"key": "content-length", "value": "1"}]}},
        {**good, "headers": {"x-edge-a": [{"key": "x-edge-a", "value": "1"}]}},
        {**good, "headers": {"set-cookie": [{"key": "set-cookie", "value": "a=1, b=2"}]}},
        {**good, "body": "x" * 41_000, "bodyEncoding": "text"},
        {**good, "body": base64.b64encode(b"x").decode()},
        {**request_of(event()), "headers": {}},
        {**request_of(event()), "uri": "/ä"},
        {**request_of(event()), "more": 1},
    ]
    for answer in bad:
        with pytest.raises((AssertionError, KeyError, TypeError)):
            check(event(), answer)


@pytest.mark.parametrize(
    "target", ["/-/%?token=s3cret", "/public/a?token=s3cret&" + "a" * 9000, "/nothing?token=s3cret"]
)
def test_no_answer_lets_the_browser_send_a_credential_as_referrer(edge: Edge, target: str) -> None:
    for answer in (edge.objects(event(target)), edge.api(event(target))):
        assert answer["status"] in ("400", "401", "404", "414")
        assert header(answer, "referrer-policy") == "no-referrer"
