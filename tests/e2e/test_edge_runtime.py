"""The exact zip as Lambda runs it: in a process of its own, with 128 MB and a small share of a processor."""

from __future__ import annotations

import io
import json
import sys
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from stagedoor.aws import packing
from stagedoor.aws.edge import bundle
from stagedoor.keys.pass_keys import load_signer, new_pair
from stagedoor.settings import parse
from tests.helpers.cloudfront import check, event, request_of
from tests.helpers.lambda_runtime import CPU_SHARE, Function, FunctionFailed
from tests.helpers.serving import fresh_token
from tests.helpers.support import ISSUER, KEYS_URL, SITE, bearer, claims, key_set, rsa_signer, token

PAIR = new_pair("rsa")
SETTINGS = f"""
[site]
url = "{SITE}"
[[issuers]]
issuer = "{ISSUER}"
audience = ["my-client-id"]
jwks = "{KEYS_URL}"
[[rules]]
path = "public/**"
allow = "anyone"
[[rules]]
path = "users/{{sub}}/**"
allow = "signed-in"
[login]
page = "https://app.example.com/login"
[passes]
public_keys = {{ K1 = "env:PUBLIC" }}
"""


@pytest.fixture(scope="module")
def content() -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "RUNTIME", f"{sys.version_info[0]}.{sys.version_info[1]}")  # what runs it here
        settings = parse(SETTINGS, None, {"PUBLIC": PAIR.public.decode()})
        return bundle.make(settings, {ISSUER: key_set(rsa_signer())}).content


@pytest.fixture(scope="module")
def objects(content: bytes) -> Iterator[Function]:
    with Function(content, bundle.OBJECTS) as function:
        yield function


def ask(function: Function, asked: object) -> dict[str, Any]:
    return check(asked, function(asked).value)


def test_it_decides(objects: Function) -> None:
    ann = bearer(fresh_token())
    sent_on = ask(objects, event("/users/ann/a%20b?x=1", authorization=ann, cookie="a=b", accept="*/*"))
    assert sent_on["uri"] == "/users/ann/a%20b"
    assert set(sent_on["headers"]) == {"host", "accept"}
    assert ask(objects, event("/public/a"))["uri"] == "/public/a"
    assert ask(objects, event("/users/ben/a", authorization=ann))["status"] == "403"
    assert ask(objects, event("/users/ann/a"))["status"] == "401"
    assert ask(objects, event("/users/ann/a", sec_fetch_mode="navigate"))["status"] == "302"
    assert ask(objects, event("/users/%2e%2e/a"))["status"] == "400"
    url = load_signer("K1", PAIR.private).url(f"{SITE}/users/ben/a", int(time.time()) + 60).removeprefix(SITE)
    assert ask(objects, event(url))["uri"] == "/users/ben/a"
    assert ask(objects, event(url.replace("ben", "bob")))["status"] == "403"


@pytest.mark.parametrize("asked", [None, {}, [], "x", {"Records": [{}]}, {"Records": [{"cf": {"request": {}}}]}])
def test_every_event_gets_an_answer(objects: Function, asked: object) -> None:
    assert ask(objects, asked)["status"] == "400"


def test_requests_for_the_api_are_sent_on_with_credentials(content: bytes) -> None:
    with Function(content, bundle.API) as api:
        asked = event("/-/whoami?x=1", "POST", authorization="Bearer x", cookie="a=b")
        assert ask(api, asked) == request_of(asked)
        assert ask(api, event("/public/a"))["status"] == "404"


def test_it_logs_its_settings_once_and_no_token(content: bytes) -> None:
    with Function(content, bundle.OBJECTS) as function:
        ann = fresh_token()
        for target in ("/users/ann/a", "/users/ben/a"):
            ask(function, event(target, authorization=bearer(ann)))
        logged = json.loads(function.log.splitlines()[0])
        assert logged["config"] == json.loads(zipfile.ZipFile(io.BytesIO(content)).read("config.json"))["hash"]
        assert ann not in function.log
        assert len(function.log.splitlines()) == 1


def test_an_issuer_that_cannot_be_reached_is_not_waited_for(objects: Function) -> None:
    """There is no network and no such host: the answer comes within the five seconds after which `Function` stops."""
    asked = event("/users/ann/a", authorization=bearer(fresh_token_of_another_key()))
    assert ask(objects, asked)["status"] == "503"


def fresh_token_of_another_key() -> str:
    return token(claims(exp=time.time() + 600), rsa_signer(kid="rsa-9"))


def test_memory_and_time_stay_within_limits(content: bytes, record_property: Any) -> None:
    with Function(content, bundle.OBJECTS, cpu=CPU_SHARE) as function:
        asked = event("/users/ann/a", authorization=bearer(fresh_token()))
        used = [function.cpu_seconds]
        for _ in range(51):
            assert ask(function, asked)["uri"] == "/users/ann/a"
            used.append(function.cpu_seconds)
        first, warm = used[1] - used[0], (used[-1] - used[1]) / 50
        record_property("limits", json.dumps(function.limits))
        record_property("cpu_seconds", json.dumps([used[0], first, warm]))
        assert function.peak_mb < 40
        assert first < 0.05, "at 128 MB there is a fourteenth of a processor"
        assert warm < 0.005


def test_remembered_callers_do_not_use_up_its_memory(content: bytes) -> None:
    """Each token is valid, new and of the greatest length; its claims take seven times its text."""
    groups = [f"group-{number:04}" for number in range(840)]
    with Function(content, bundle.OBJECTS) as function:
        for number in range(700):
            text = token(claims(exp=time.time() + 600, jti=str(number), groups=groups))
            assert function(event("/users/ann/a", authorization=bearer(text))).value["uri"] == "/users/ann/a"
        assert len(text) > 15_000
        assert function.peak_mb < 56


def test_a_zip_that_does_not_start_is_a_failure() -> None:
    """The harness must not take an error for an answer."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("broken.py", "raise RuntimeError('no')")
        archive.writestr("slow.py", "import time\ndef f(e, c): time.sleep(30)")
        archive.writestr("wrong.py", "def f(e, c): raise ValueError('no')")
        archive.writestr("big.py", "def f(e, c): return len(bytearray(600 * 1048576))")
    with pytest.raises(FunctionFailed, match="InitError"):
        Function(raw.getvalue(), "broken.f")
    with Function(raw.getvalue(), "slow.f") as function, pytest.raises(FunctionFailed, match="timed out"):
        function({}, 0.5)
    with Function(raw.getvalue(), "wrong.f") as function, pytest.raises(FunctionFailed, match="ValueError"):
        function({})
    with Function(raw.getvalue(), "big.f") as function, pytest.raises(FunctionFailed):
        function({})
