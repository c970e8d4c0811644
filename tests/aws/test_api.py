"""The Lambda function behind `/-/*`: it answers API Gateway's events as the gateway answers requests."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import boto3
import pytest

from stagedoor.aws.api import driver, lambda_function
from stagedoor.aws.api.event import ENTRANCE, read, write
from stagedoor.aws.api.lambda_function import Function, handler, start
from stagedoor.catalogue import open_catalogue
from stagedoor.core.errors import InvalidKey, SettingsError, StagedoorError, StateUnavailable
from stagedoor.core.messages import Content, Reply
from stagedoor.core.revocations import Revocation, to_text
from stagedoor.settings import parse
from stagedoor.state.dynamodb import DynamoState
from tests.helpers import issuer_server
from tests.helpers.http_api import PEER, event, pairs
from tests.helpers.servers import free_port
from tests.helpers.serving import SITE, ask, bearer_line, prepare, serving, settings_text
from tests.helpers.stores import client, endpoint, let_in, new_bucket, state_table
from tests.helpers.support import ISSUER, NOW, VECTORS, claims, key_set, rsa_signer, token

REGION = "eu-central-1"
KEYS = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
SESSION_KEY = "a session key of more than 32 bytes!"
MORE = """
[login]
session_keys = ["file:session.key"]
[passes]
key_id = "K1"
private_key = "file:private.pem"
[cors]
origins = ["https://app.example.com"]
"""
OBJECTS = (
    "public/a.txt",
    *("team/100%25.txt", "team/a b.txt", "team/a+b&c.txt", "team/secret/x", "team/ü.txt"),
    *("users/ann/1", "users/ann/2", "users/ben/1"),
)
CONTENTS = (
    Content("one", "team/a b.txt", "One", "text/plain", {"lesson": "1"}),
    Content("café", "users/ann/1", "Coffee"),
    Content("secret", "team/secret/x"),
    Content("a", "users/ann/1", "not what was asked for"),
)


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    let_in(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint())
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)


@pytest.fixture(scope="module")
def bucket() -> str:
    name = new_bucket()
    for key in OBJECTS:
        client().put_object(Bucket=name, Key=f"site/{key}", Body=key.encode())
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(tmp_path)
    (tmp_path / "session.key").write_text(SESSION_KEY)
    (tmp_path / "private.pem").write_text(KEYS["rsa"]["priv"])
    return tmp_path


@pytest.fixture(scope="module")
def table(bucket: str) -> str:
    name = f"contents-{bucket}"
    with pytest.MonkeyPatch.context() as environ:
        let_in(environ)
        environ.setenv("AWS_ENDPOINT_URL", endpoint())
        environ.setenv("AWS_DEFAULT_REGION", REGION)
        with closing(open_catalogue(f"dynamodb://{name}", create=True)) as catalogue:
            catalogue.put(CONTENTS)
    return name


@pytest.fixture
def text(bucket: str, table: str) -> str:
    site = f'store = "s3://{bucket}/site"\nendpoint = "{endpoint()}"'
    return settings_text(site, f'{MORE}\n[catalogue]\nurl = "dynamodb://{table}"')


@pytest.fixture
def function(folder: Path, text: str) -> Iterator[Function]:
    yield from running(folder, text)


def running(folder: Path, text: str, entrance: bytes | None = None) -> Iterator[Function]:
    made = Function(parse(text, folder / "stagedoor.toml"), entrance)
    yield made
    made.outside.close()


def answered(function: Function, *arguments: Any, now: float = NOW, **more: Any) -> dict[str, Any]:
    """The function's answer to a request, as API Gateway gets it; arguments as for `event`."""
    return handled(function, event(*arguments, **more), now)


def handled(function: Function, made: dict[str, Any], now: float = NOW) -> dict[str, Any]:
    incoming = read(made, function.entrance)
    return write(function.answer(incoming, now), incoming.request.method)


def content(answer: dict[str, Any]) -> Any:
    return json.loads(answer["body"])


ANN, BEN, OLD = token(), token(claims(sub="ben")), token(claims(exp=NOW - 600))
FORGED = f"{ANN[:-8]}AAAAAAAA"
JSON = "Content-Type: application/json"

Row = tuple[str, str, tuple[str, ...], bytes | None]
TABLE: tuple[Row, ...] = (
    ("/-/whoami", "GET", (), None),
    ("/-/whoami", "HEAD", (), None),
    ("/-/whoami", "GET", (bearer_line(ANN),), None),
    ("/-/whoami", "GET", (f"Cookie: theme=dark; token={ANN}; x={{[",), None),
    (f"/-/whoami?token={BEN}", "GET", (), None),
    ("/-/whoami", "GET", (bearer_line(OLD),), None),
    ("/-/whoami", "GET", (bearer_line(FORGED),), None),
    ("/-/whoami", "GET", (bearer_line(ANN), bearer_line(BEN)), None),
    ("/-/whoami", "GET", (bearer_line(ANN), bearer_line(ANN)), None),
    ("/-/whoami", "GET", ("Authorization: Basic YTpi",), None),
    ("/-/whoami", "GET", (f"Cookie: token={ANN}", f"Cookie: token={BEN}"), None),
    ("/-/whoami", "GET", (f"Cookie: Cookie: token={ANN}",), None),
    ("/-/whoami", "GET", (bearer_line(OLD), "Sec-Fetch-Mode: navigate", "Accept: text/html"), None),
    ("/-/whoami", "POST", (JSON,), b"{}"),
    ("/-/whoami?Signature=x&Key-Pair-Id=y&Expires=1", "GET", (), None),
    ("/-/whoami", "OPTIONS", ("Origin: https://app.example.com", "Access-Control-Request-Method: GET"), None),
    ("/-/whoami", "GET", ("Origin: https://app.example.com", bearer_line(ANN)), None),
    ("/-/whoami", "GET", ("Origin: https://other.example.com",), None),
    ("/-/nothing", "GET", (), None),
    ("/-/gallery", "GET", (), None),
    ("/-/", "GET", (), None),
    ("/-/openapi.json", "GET", (), None),
    ("/-/explain?key=team/a%20b.txt", "GET", (bearer_line(ANN),), None),
    ("/-/explain?key=team/secret/x", "GET", (bearer_line(ANN),), None),
    ("/-/explain?key=a&key=b", "GET", (bearer_line(ANN),), None),
    ("/-/explain?key=%FF", "GET", (bearer_line(ANN),), None),
    ("/-/explain", "GET", (bearer_line(ANN),), None),
    ("/-/explain?key=a", "GET", (), None),
    ("/-/s3objects", "GET", (), None),
    ("/-/s3objects", "GET", (bearer_line(ANN),), None),
    ("/-/s3objects", "GET", (bearer_line(BEN),), None),
    ("/-/s3objects?prefix=users/&delimiter=/", "GET", (bearer_line(ANN),), None),
    ("/-/s3objects?prefix=team/%C3%BC", "GET", (bearer_line(ANN),), None),
    ("/-/s3objects?prefix=team/a+b", "GET", (bearer_line(ANN),), None),
    ("/-/s3objects?limit=2", "GET", (bearer_line(ANN),), None),
    ("/-/s3objects?limit=0", "GET", (bearer_line(ANN),), None),
    ("/-/s3objects?cursor=nonsense", "GET", (bearer_line(ANN),), None),
    ("/-/s3objects?prefix=../", "GET", (bearer_line(ANN),), None),
    ("/-/urls", "POST", (bearer_line(ANN), JSON), b'{"file": "users/ann/1"}'),
    ("/-/urls", "POST", (bearer_line(ANN), JSON), '{"file": "team/ü.txt", "expires_in": 60}'.encode()),
    ("/-/urls", "POST", (bearer_line(ANN), JSON), b'{"file": "users/ben/1"}'),
    ("/-/urls", "POST", (JSON,), b'{"file": "users/ann/1"}'),
    ("/-/urls", "POST", (JSON,), b'{"file": "public/a.txt"}'),
    ("/-/urls", "POST", (bearer_line(ANN), JSON), b'{"file": 1}'),
    ("/-/urls", "POST", (bearer_line(ANN), JSON), b"{"),
    ("/-/urls", "POST", (bearer_line(ANN), JSON), b""),
    ("/-/urls", "POST", (bearer_line(ANN), JSON), b"x" * 16_385),
    ("/-/nothing", "POST", (JSON,), b"x" * 16_385),
    ("/-/urls", "POST", (bearer_line(ANN), JSON, "Origin: https://evil.example"), b'{"file": "users/ann/1"}'),
    ("/-/urls", "GET", (bearer_line(ANN),), None),
    ("/-/cookies", "POST", (bearer_line(ANN), JSON), b'{"prefix": "users/ann/"}'),
    ("/-/cookies", "POST", (bearer_line(ANN), JSON), b'{"prefix": ["users/ann", "public"]}'),
    ("/-/cookies", "POST", (bearer_line(ANN), JSON), b'{"prefix": "users/"}'),
    ("/-/cookies", "POST", (bearer_line(ANN), JSON), b'{"prefix": ["public", "public/x"]}'),
    ("/-/session", "POST", (bearer_line(ANN),), b""),
    ("/-/session", "POST", (f"Cookie: token={ANN}",), b""),
    ("/-/contents/one", "GET", (bearer_line(ANN),), None),
    ("/-/contents/one?signed", "GET", (bearer_line(ANN),), None),
    ("/-/contents/caf%C3%A9", "GET", (bearer_line(ANN),), None),
    ("/-/contents/caf%c3%a9", "GET", (bearer_line(BEN),), None),
    ("/-/contents/%6fne", "GET", (bearer_line(ANN),), None),
    ("/-/contents/secret", "GET", (bearer_line(ANN),), None),
    ("/-/contents/nothing", "GET", (bearer_line(ANN),), None),
    ("/-/contents/one", "GET", (), None),
    ("/-/contents/", "GET", (bearer_line(ANN),), None),
    ("/-/contents/one/two", "GET", (bearer_line(ANN),), None),
    ("/-/contents/..", "GET", (bearer_line(ANN),), None),
    ("/-/contents/a%5Cb", "GET", (bearer_line(ANN),), None),
    ("/-/contents/a%00b", "GET", (bearer_line(ANN),), None),
)


def without_random_parts(body: str | bytes) -> str:
    """A body with a placeholder for the cursor."""
    text = body.decode() if isinstance(body, bytes) else body
    return re.sub(r'"NextCursor":"[^"]+"', '"NextCursor":"…"', text)


def fields_of_ours(fields: Any) -> list[tuple[str, str]]:
    """Header fields without those that a server adds, with a placeholder for the session."""
    kept = [(name, value) for name, value in fields if name not in ("content-length", "date", "connection", "server")]
    return sorted((name, re.sub(r"^(stagedoor-\d+)=[^;]+", r"\1=…", value)) for name, value in kept)


# --- what was taken back


@pytest.fixture
def remembering(folder: Path, text: str) -> Iterator[tuple[Function, DynamoState]]:
    """The function with a state, and the state as gateways and `stagedoor revoke` have it."""
    name = state_table(boto3.client("dynamodb"))
    more = f'[state]\nurl = "dynamodb://{name}"\n[admin]\nallow = {{ claims = {{ sub = "ben" }} }}'
    with closing(DynamoState(name)) as state:
        for function in running(folder, f"{text}\n{more}"):
            yield function, state


def revoked(state: DynamoState, one: Revocation) -> None:
    state.put(one.name, to_text(one), one.ends, NOW)


def test_what_was_taken_back_gets_nothing_at_the_function_with_the_next_request(
    remembering: tuple[Function, DynamoState],
) -> None:
    function, state = remembering

    def status(now: float = NOW) -> tuple[int, str]:
        line = bearer_line(token(claims(jti="t1", sid="s1")))
        answer = answered(function, "/-/urls", "POST", line, JSON, body=b'{"file": "users/ann/1"}', now=now)
        return answer["statusCode"], content(answer).get("code", "")

    assert status() == (201, "")
    for kind, id_, ends in (("token", "t1", NOW + 5), ("session", "s1", NOW + 9), ("person", "ann", NOW + 20)):
        revoked(state, Revocation(kind, ISSUER, id_, NOW, ends))  # type: ignore[arg-type]
        assert status(ends - 1) == (401, f"revoked-{kind}")
        assert status(ends) == (201, "")
    assert (
        answered(function, "/-/urls", "POST", bearer_line(BEN), JSON, body=b'{"file": "users/ben/1"}')["statusCode"]
        == 201
    )


def test_an_admin_takes_back_and_signing_out_does_at_the_function(remembering: tuple[Function, DynamoState]) -> None:
    function, state = remembering
    made = answered(function, "/-/session", "POST", bearer_line(ANN), body=b"")
    cookie = f"Cookie: {made['cookies'][0].partition(';')[0]}"
    assert answered(function, "/-/whoami", "GET", cookie)["statusCode"] == 200
    assert answered(function, "/-/logout", "POST", cookie, body=b"")["statusCode"] == 200
    assert content(answered(function, "/-/whoami", "GET", cookie))["code"] == "revoked-session"
    refused = answered(function, "/-/revocations", "POST", bearer_line(ANN), JSON, body=b'{"sub": "ann"}')
    assert refused["statusCode"] == 403
    assert (
        answered(function, "/-/revocations", "POST", bearer_line(BEN), JSON, body=b'{"sub": "ann"}')["statusCode"]
        == 201
    )
    assert content(answered(function, "/-/whoami", "GET", bearer_line(ANN)))["code"] == "revoked-person"
    listed = content(answered(function, "/-/revocations", "GET", bearer_line(BEN)))["revocations"]
    assert [one.get("sub") for one in listed] == [None, "ann"]
    assert len(state.after(0)) == 2


def test_without_an_answer_of_the_state_the_function_knows_nobody(
    remembering: tuple[Function, DynamoState], monkeypatch: pytest.MonkeyPatch
) -> None:
    function, state = remembering
    state.put(f"person {ISSUER} ann", '{"of": "a newer version"}', NOW + 60, NOW)
    assert answered(function, "/-/whoami", "GET", bearer_line(ANN))["statusCode"] == 503
    assert answered(function, "/-/whoami", "GET", bearer_line(BEN))["statusCode"] == 200

    def away(*_: object) -> NoReturn:
        raise StateUnavailable("no answer")

    monkeypatch.setattr(DynamoState, "named", away)
    answer = answered(function, "/-/whoami", "GET", bearer_line(BEN))
    assert (answer["statusCode"], content(answer)["code"]) == (503, "state-unavailable")
    assert answered(function, "/-/whoami", "GET")["statusCode"] == 200  # nobody asks, and nothing is looked up


async def test_the_function_answers_as_the_gateway_does(folder: Path, text: str, function: Function) -> None:
    """Status, header fields and body of every row."""
    differ = []
    async with serving(folder, text, clock=lambda: NOW) as gateway:
        for target, method, lines, body in TABLE:
            length = () if body is None else (f"Content-Length: {len(body)}",)
            heard = await ask(gateway.port, target, method, *lines, *length, body=body or b"")
            got = answered(function, target, method, *lines, body=body)
            here = (got["statusCode"], fields_of_ours(pairs(got)), without_random_parts(got["body"]))
            there = (heard.status, fields_of_ours(heard.fields), without_random_parts(heard.body))
            if here != there:
                differ.append((target, method, lines, here, there))
    assert not differ


def test_the_table_holds_every_kind_of_answer(function: Function) -> None:
    """Comparing refusals only would prove little."""
    found = {
        answered(function, target, method, *lines, body=body)["statusCode"] for target, method, lines, body in TABLE
    }
    assert found == {200, 201, 204, 400, 401, 403, 404, 405, 413}


@pytest.mark.parametrize("target", ["/s3objects", "/-/s3objects"])
def test_the_apis_own_url_answers_below_its_stage(function: Function, target: str) -> None:
    line = bearer_line(ANN)
    own = answered(function, f"/v1{target}?prefix=users/", "GET", line, stage="v1")
    assert own == answered(function, "/-/s3objects?prefix=users/", "GET", line)
    assert own["statusCode"] == 200


@pytest.mark.parametrize(
    ("target", "stage"),
    [
        ("/s3objects", "$default"),
        ("/public/a.txt", "$default"),
        ("/", "$default"),
        ("/v1/-/s3objects", "$default"),
        ("/v1", "v1"),
        ("/v1/public/a.txt", "v1"),
        ("/v1/v1/s3objects", "v1"),
        ("/v1/-", "v1"),
    ],
)
def test_nothing_but_the_endpoints_is_answered(function: Function, target: str, stage: str) -> None:
    answer = answered(function, target, "GET", bearer_line(ANN), stage=stage)
    assert (answer["statusCode"], content(answer)["code"]) == (404, "not-found")


def test_a_pass_is_issued_for_the_site_and_not_for_the_apis_url(function: Function) -> None:
    made = answered(
        function, "/v1/urls", "POST", bearer_line(ANN), "Host: evil.example", body=b'{"file":"team/x"}', stage="v1"
    )
    assert content(made)["signedUrl"].startswith(f"{SITE}/team/x?Expires=")


def test_each_cookie_is_a_value_of_its_own(function: Function) -> None:
    made = answered(function, "/-/cookies", "POST", bearer_line(ANN), body=b'{"prefix": "users/ann/"}')
    assert made["statusCode"] == 204
    assert [cookie.partition("=")[0] for cookie in made["cookies"]] == [
        "CloudFront-Policy",
        "CloudFront-Key-Pair-Id",
        "CloudFront-Signature",
        "CloudFront-Hash-Algorithm",
        "stagedoor-8080-paths",
    ]
    assert "set-cookie" not in made["headers"]


def test_a_session_made_by_one_instance_counts_at_another(folder: Path, text: str, function: Function) -> None:
    made = answered(function, "/-/session", "POST", bearer_line(ANN), body=b"")
    cookie = made["cookies"][0].partition(";")[0]
    page = content(answered(function, "/-/s3objects?limit=1", "GET", f"Cookie: {cookie}"))
    for other in running(folder, text):
        who = content(answered(other, "/-/whoami", "GET", f"Cookie: {cookie}"))
        assert (who["sub"], who["credential"]) == ("ann", "session")
        following = content(answered(other, f"/-/s3objects?cursor={page['NextCursor']}", "GET", f"Cookie: {cookie}"))
    keys = [one["Key"] for one in (*page["Contents"], *following["Contents"])]
    assert keys == [key for key in sorted(OBJECTS) if key not in ("team/secret/x", "users/ben/1")]


# --- events of API Gateway


@pytest.mark.parametrize("packed", [True, False])
def test_a_body_is_read_as_text_and_as_base64(function: Function, packed: bool) -> None:
    body = '{"file": "team/ü.txt"}'.encode()
    made = answered(function, "/-/urls", "POST", bearer_line(ANN), body=body, packed=packed)
    assert made["statusCode"] == 201
    assert "/team/%C3%BC.txt?" in content(made)["signedUrl"]


@pytest.mark.parametrize(
    "target",
    [
        "/-/contents/a%3Fb",
        "/-/contents/a%253Fb",
        "/-/contents/100%25",
        "/-/contents/a%20b",
        "/-/contents/%252e%252e",
    ],
)
def test_an_ambiguous_id_is_refused(function: Function, target: str) -> None:
    made = event(target, "GET", bearer_line(ANN))
    if "%3F" in target:
        made["rawPath"] = "/-/contents/a?b"  # from an API Gateway that does not cut it off
    answer = handled(function, made)
    assert (answer["statusCode"], content(answer)["code"]) == (400, "target")
    assert "behind API Gateway" in content(answer)["detail"]


def test_an_answer_about_an_id_that_was_cut_off_names_the_id(function: Function) -> None:
    """API Gateway cuts the path off at an encoded question mark, and the function cannot know."""
    assert content(answered(function, "/-/contents/a%3Fb", "GET", bearer_line(ANN)))["id"] == "a"
    assert answered(function, "/-/contents/a%3Fb", "GET", bearer_line(BEN))["statusCode"] == 403


def test_a_slash_that_was_decoded_names_no_content(function: Function) -> None:
    assert answered(function, "/-/contents/x%2Fone", "GET", bearer_line(ANN))["statusCode"] == 404
    assert answered(function, "/-/contents/..%2Fwhoami", "GET", bearer_line(ANN))["statusCode"] == 400


def spoilt(**changes: Any) -> dict[str, Any]:
    """An event with changed members; `a__b` is member `b` of `a`, and `...` removes it."""
    made = event("/-/whoami", body=b"x", packed=True)
    for path, value in changes.items():
        *outer, name = path.split("__")
        inner = made
        for part in outer:
            inner = inner[part]
        if value is ...:
            del inner[name]
        else:
            inner[name] = value
    return made


@pytest.mark.parametrize(
    "made",
    [
        *(None, [], "text", 1, {}, {"Records": []}),
        spoilt(version="1.0"),
        spoilt(version=...),
        spoilt(rawPath=...),
        spoilt(rawPath=None),
        spoilt(rawPath=""),
        spoilt(rawPath="-/whoami"),
        spoilt(rawPath="//-/whoami"),
        spoilt(rawPath="/-/\ud800"),
        spoilt(rawPath="/-/" + "x" * 1100),
        spoilt(rawPath="/-/a\nb"),
        spoilt(rawQueryString=None),
        spoilt(rawQueryString="key=a b"),
        spoilt(rawQueryString="key=ü"),
        spoilt(headers=...),
        spoilt(headers=[]),
        spoilt(headers__accept=["a"]),
        spoilt(headers__ü="a"),
        spoilt(cookies="token=a"),
        spoilt(cookies=[1]),
        spoilt(body="not base64"),
        spoilt(body="eA"),
        spoilt(body={}),
        spoilt(requestContext=...),
        spoilt(requestContext__stage=...),
        spoilt(requestContext__stage=None),
        spoilt(requestContext__http=...),
        spoilt(requestContext__http__method=None),
        spoilt(requestContext__http__sourceIp=...),
    ],
    ids=lambda made: str(made)[:60] if not isinstance(made, dict) else "",
)
def test_a_malformed_event_gets_an_answer(monkeypatch: pytest.MonkeyPatch, function: Function, made: Any) -> None:
    monkeypatch.setattr(lambda_function._starter, "_function", function)
    answer = handler(made)
    assert answer["statusCode"] == 400
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert content(answer)["status"] == 400


@pytest.mark.parametrize("line", ["Cookie: name=Zo\udceb", "Referer: /fo\ud83d", "X-Name: \ud800"])
def test_half_a_character_in_a_field_of_others_decides_nothing(function: Function, line: str) -> None:
    answer = answered(function, "/-/whoami", "GET", f"Cookie: token={ANN}", line)
    assert content(answer)["claims"]["sub"] == ["ann"]
    assert content(answered(function, "/-/whoami", "GET", line))["signedIn"] is False


def test_half_a_character_makes_no_good_token(function: Function) -> None:
    answer = answered(function, "/-/whoami", "GET", bearer_line(f"{ANN}\udceb"))
    assert (answer["statusCode"], content(answer)["code"]) == (401, "token-shape")


# --- from where a request comes


SECRET = b"known to CloudFront and to us"
FROM_CLOUDFRONT = f"X-Stagedoor-Entrance: {SECRET.decode()}"
VIEWER, EDGE = "198.51.100.7", "130.176.0.1"


@pytest.mark.parametrize(
    ("lines", "peer", "client"),
    [
        ((), VIEWER, VIEWER),
        ((f"X-Forwarded-For: {VIEWER}",), EDGE, EDGE),
        ((f"X-Forwarded-For: {VIEWER}", "X-Stagedoor-Entrance: guessed"), EDGE, EDGE),
        ((f"X-Forwarded-For: {VIEWER}", FROM_CLOUDFRONT), EDGE, VIEWER),
        ((f"X-Forwarded-For: 9.9.9.9, {VIEWER}", FROM_CLOUDFRONT), EDGE, VIEWER),
        ((FROM_CLOUDFRONT,), EDGE, EDGE),
        ((f"X-Forwarded-For: {VIEWER}", *[FROM_CLOUDFRONT] * 2), EDGE, EDGE),
    ],
)
def test_cloudfront_names_the_client_only_with_its_secret(lines: tuple[str, ...], peer: str, client: str) -> None:
    request = read(event("/-/whoami", "GET", *lines, peer=peer), SECRET).request
    assert request.client == client
    assert ENTRANCE not in request.headers


@pytest.mark.parametrize("lines", [(), ("X-Stagedoor-Entrance: guessed",), ("X-Stagedoor-Entrance: ",)])
@pytest.mark.parametrize("target", ["/-/whoami", "/-/s3objects", "/-/%", "/nothing"])
def test_the_sites_entrance_is_closed_to_all_but_cloudfront(folder: Path, target: str, lines: tuple[str, ...]) -> None:
    with contextmanager(running)(folder, settings_text(more=MORE), SECRET) as function:
        answer = answered(function, target, "GET", bearer_line(ANN), *lines)
        assert (answer["statusCode"], content(answer)["code"]) == (403, "entrance")
        through = answered(function, "/-/whoami", "GET", bearer_line(ANN), FROM_CLOUDFRONT)
        own = answered(function, "/v1/whoami", "GET", bearer_line(ANN), stage="v1")
        assert [through["statusCode"], own["statusCode"]] == [200, 200]


def test_without_a_secret_the_peer_is_the_client() -> None:
    lines = (f"X-Forwarded-For: {VIEWER}", "X-Stagedoor-Entrance: ")
    assert read(event("/-/whoami", "GET", *lines, peer=EDGE)).request.client == EDGE


# --- AWS


def test_a_refusal_by_the_store_is_not_a_403(folder: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    gone = re.sub(r's3://[^"]+', "s3://no-such-bucket", text)
    for function in running(folder, gone):
        answer = answered(function, "/-/s3objects", "GET", bearer_line(ANN))
    assert (answer["statusCode"], content(answer)["code"]) == (502, "store-refused")
    assert "no-such-bucket" not in answer["body"]
    assert "no-such-bucket" in caplog.text


@pytest.mark.parametrize(
    ("status", "code", "answered_with"),
    [
        (403, "AccessDenied", (502, "store-refused")),
        (403, "RequestTimeTooSkewed", (502, "store-refused")),
        (503, "SlowDown", (503, "store-unavailable")),
        (500, "InternalError", (503, "store-unavailable")),
    ],
)
def test_each_refusal_of_s3_has_the_status_that_it_has_at_the_gateway(
    function: Function, status: int, code: str, answered_with: tuple[int, str]
) -> None:
    from botocore.stub import Stubber

    stubber = Stubber(function.outside._connected())
    stubber.add_client_error("list_objects_v2", code, "no", status)
    with stubber:
        answer = answered(function, "/-/s3objects", "GET", bearer_line(ANN))
    assert (answer["statusCode"], content(answer)["code"]) == answered_with


def test_a_store_that_cannot_be_reached_is_unavailable(folder: Path, text: str) -> None:
    away = text.replace(f'endpoint = "{endpoint()}"', f'endpoint = "http://127.0.0.1:{free_port()}"')
    for function in running(folder, away):
        answer = answered(function, "/-/s3objects", "GET", bearer_line(ANN))
    assert (answer["statusCode"], content(answer)["code"]) == (503, "store-unavailable")
    assert answer["headers"]["retry-after"] == "5"


def test_a_missing_table_is_named_in_the_log_alone(folder: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    for function in running(folder, re.sub(r"dynamodb://[^\"]+", "dynamodb://no-such-table", text)):
        answer = answered(function, "/-/contents/one", "GET", bearer_line(ANN))
    assert (answer["statusCode"], "no-such-table" in answer["body"]) == (502, False)
    assert "no-such-table" in caplog.text


def test_a_request_that_took_too_long_asks_nothing_more(
    monkeypatch: pytest.MonkeyPatch, folder: Path, text: str
) -> None:
    """API Gateway would answer for a function that has timed out, and not as we do."""
    monkeypatch.setattr(driver, "ASK_WITHIN", -1.0)
    line = bearer_line(ANN)
    for function in running(folder, text):
        function.door.tokens.issuers[ISSUER].install(key_set(rsa_signer()), NOW)
        listing, entry = (
            answered(function, "/-/s3objects", "GET", line),
            answered(function, "/-/contents/one", "GET", line),
        )
    assert (listing["statusCode"], content(listing)["code"]) == (503, "store-unavailable")
    assert (entry["statusCode"], content(entry)["code"]) == (503, "catalogue-unavailable")
    with issuer_server.serving() as issuer:
        issuer.pages = {"/keys": (200, key_set(rsa_signer()), 0.0)}
        for function in running(folder, text.replace("./jwks.json", f"{issuer.url}/keys")):
            who = answered(function, "/-/whoami", "GET", line)
    assert (who["statusCode"], content(who)["code"], issuer.asked) == (503, "issuer-unavailable", [])


def test_an_issuer_that_does_not_answer_is_not_waited_for_longer_than_allowed(
    monkeypatch: pytest.MonkeyPatch, folder: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(driver, "FETCH_WITHIN", 0.2)
    with issuer_server.serving() as issuer:
        issuer.pages = {"/keys": (200, key_set(rsa_signer()), 6.0)}
        for function in running(folder, text.replace("./jwks.json", f"{issuer.url}/keys")):
            who = answered(function, "/-/whoami", "GET", bearer_line(ANN))
        assert (issuer.asked, issuer.answered) == (["/keys"], [])
    assert (who["statusCode"], content(who)["code"]) == (503, "issuer-unavailable")
    assert "no answer in time" in caplog.text


@pytest.mark.parametrize("lines", [["X-Long: " + "a" * 32_768], [f"X-{number}: a" for number in range(101)]])
def test_header_fields_beyond_the_bound_are_refused_unread(function: Function, lines: list[str]) -> None:
    answer = answered(function, "/-/whoami", "GET", bearer_line(ANN), *lines)
    assert (answer["statusCode"], content(answer)["code"]) == (431, "headers")


@pytest.mark.parametrize("target", ["/-/whoami", "/-/none", "/-/urls"])
def test_a_target_over_8_kb_is_414(function: Function, target: str) -> None:
    answer = answered(function, f"{target}?{'a' * 8192}", "GET", bearer_line(ANN))
    assert (answer["statusCode"], content(answer)["code"]) == (414, "target-too-long")


def test_names_are_listed_exactly(function: Function) -> None:
    """botocore asks S3 to percent-encode names, and decodes them unless the caller has asked for it too."""
    page = content(answered(function, "/-/s3objects?prefix=team/", "GET", bearer_line(ANN)))
    assert [one["Key"] for one in page["Contents"]] == [
        "team/100%25.txt",
        "team/a b.txt",
        "team/a+b&c.txt",
        "team/ü.txt",
    ]


# --- start


def save(folder: Path, text: str) -> Path:
    (folder / "stagedoor.toml").write_text(text)
    return folder / "stagedoor.toml"


def no_network(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("a connection was opened")


def test_a_start_with_all_keys_at_hand_opens_no_connection(
    monkeypatch: pytest.MonkeyPatch, folder: Path, text: str
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(socket, "getaddrinfo", no_network)
        cut.setattr(socket.socket, "connect", no_network)
        function = start(save(folder, text), {})
        answer = answered(function, "/-/whoami", "GET", bearer_line(ANN))
    assert content(answer)["sub"] == "ann"
    function.outside.close()


def test_secrets_come_from_aws_and_what_only_the_deployment_knows_from_the_environment(
    folder: Path, bucket: str
) -> None:
    keys = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner", "region_name": REGION}
    ssm = boto3.client("ssm", endpoint_url=endpoint(), **keys)
    for name, value in (("private", KEYS["rsa"]["priv"]), ("session", SESSION_KEY), ("entrance", SECRET.decode())):
        ssm.put_parameter(Name=f"/{bucket}/{name}", Value=value, Type="SecureString", Overwrite=True)
    environ = {
        "STAGEDOOR_SITE_URL": "https://d111111abcdef8.cloudfront.net",
        "STAGEDOOR_SITE_STORE": f"s3://{bucket}/site",
        "STAGEDOOR_LOGIN_SESSION_KEYS": f"ssm:/{bucket}/session",
        "STAGEDOOR_PASSES_KEY_ID": "K2JCJMDEHXQW5F",
        "STAGEDOOR_PASSES_PRIVATE_KEY": f"ssm:/{bucket}/private",
        "ENTRANCE_SECRET": f"ssm:/{bucket}/entrance",
    }
    function = start(save(folder, settings_text('store = "memory:"')), environ)
    lines = (bearer_line(ANN), FROM_CLOUDFRONT)
    made = content(answered(function, "/-/urls", "POST", *lines, body=b'{"file": "team/x"}'))
    assert made["signedUrl"].startswith("https://d111111abcdef8.cloudfront.net/team/x?")
    assert "Key-Pair-Id=K2JCJMDEHXQW5F" in made["signedUrl"]
    assert function.entrance == SECRET
    function.outside.close()


def test_without_a_secret_the_function_does_not_start(folder: Path, text: str) -> None:
    with pytest.raises(InvalidKey, match="does not exist"):
        start(save(folder, text), {"STAGEDOOR_PASSES_PRIVATE_KEY": "ssm:/nothing/there"})


def test_without_a_shared_key_for_cursors_the_function_does_not_start(folder: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"login\.session_keys"):
        start(save(folder, text.replace('session_keys = ["file:session.key"]', "")), {})


def test_a_function_that_cannot_start_logs_the_reason_and_tries_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried: list[str] = []

    def fail(file: Path, environ: object) -> NoReturn:
        tried.append("once")
        raise StagedoorError("the secret /name is away")

    monkeypatch.setattr(lambda_function, "start", fail)
    monkeypatch.setattr(lambda_function, "_starter", lambda_function._Starter())
    answers = [handler(event("/-/whoami")) for _ in range(3)]
    assert {answer["statusCode"] for answer in answers} == {500}
    assert "/name" not in str(answers)
    assert "/name" in caplog.text
    assert tried == ["once"]


def test_a_fault_of_ours_serves_nothing_and_reveals_nothing(
    monkeypatch: pytest.MonkeyPatch, function: Function, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> NoReturn:
        raise RuntimeError("inner detail")

    monkeypatch.setattr(function.door, "answer", broken)
    monkeypatch.setattr(lambda_function._starter, "_function", function)
    answer = handler(event("/-/whoami"))
    assert answer["statusCode"] == 500
    assert "inner" not in str(answer)
    assert "inner detail" in caplog.text


def test_the_log_has_a_line_for_each_request_and_no_credential(
    monkeypatch: pytest.MonkeyPatch, function: Function, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lambda_function._starter, "_function", function)
    handler(event(f"/-/whoami?token={BEN}", "GET", f"Cookie: token={ANN}"))
    out = capsys.readouterr().out
    line = json.loads(out)
    assert (line["path"], line["status"], line["client"], line["request"]) == ("/-/whoami", 401, PEER, "request-1")
    assert not [secret for secret in (ANN, BEN, ANN.rpartition(".")[2]) if secret in out]


def test_a_withdrawn_key_stops_counting(folder: Path, function: Function) -> None:
    assert answered(function, "/-/whoami", "GET", bearer_line(ANN))["statusCode"] == 200
    (folder / "jwks.json").write_bytes(key_set(rsa_signer(kid="other")))
    assert answered(function, "/-/whoami", "GET", bearer_line(ANN), now=NOW + 60)["statusCode"] == 401


def test_header_fields_of_one_name_are_joined_except_cookies() -> None:
    fields = ((b"vary", b"Cookie"), (b"vary", b"Origin"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
    assert write(Reply(200, fields, b"x", "")) == {
        "statusCode": 200,
        "headers": {"vary": "Cookie, Origin"},
        "cookies": ["a=1", "b=2"],
        "body": "x",
        "isBase64Encoded": False,
    }
