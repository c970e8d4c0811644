"""Signature Version 4, against AWS's own cases and against botocore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.outside import sigv4
from stagedoor.outside.sigv4 import Credentials, Scope, Signer, canonical_query, encode_path
from tests.helpers.stores import FLAT_KEYS, ODD_KEYS

VECTORS = Path(__file__).parents[1] / "vectors" / "sigv4" / "v4_header_cases.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())
STAMP = "20150830T123600Z"
REGION = "eu-central-1"


def signer(case: dict[str, Any]) -> Signer:
    """Made of the header fields that the case signs."""
    context, canonical = case["context"], case["header-canonical-request"].split("\n")
    assert context["timestamp"] == "2015-08-30T12:36:00Z"
    given_ = context["credentials"]
    fields = [
        (name, value) for name, _, value in (line.partition(":") for line in canonical[3 : canonical.index("", 3)])
    ]
    credentials = Credentials(given_["access_key_id"], given_["secret_access_key"], given_.get("token"))
    return Signer(credentials, Scope(context["region"], context["service"]), fields, canonical[-1])


def parts(case: dict[str, Any]) -> tuple[str, str, str]:
    method, path, query = case["header-canonical-request"].split("\n")[:3]
    return method, path, query


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_awss_own_cases(case: dict[str, Any]) -> None:
    made, asked = signer(case), parts(case)
    assert made.canonical_request(*asked) == case["header-canonical-request"]
    assert made.string_to_sign(*asked) == case["header-string-to-sign"]
    line = next(line for line in case["header-signed-request"].split("\n") if line.startswith("Authorization:"))
    assert f"Authorization:{made.authorization(*asked)}" == line
    assert made.authorization(*asked).endswith(f"Signature={case['header-signature']}")


@pytest.mark.parametrize("case", [case for case in CASES if not case["context"]["normalize"]], ids=lambda c: c["name"])
def test_a_path_is_encoded_and_not_normalised_as_s3_wants_it(case: dict[str, Any]) -> None:
    raw = case["request"].split("\n")[0].removeprefix("GET ").removesuffix(" HTTP/1.1")
    assert encode_path(raw) == parts(case)[1]


@pytest.mark.parametrize("case", [case for case in CASES if "query" in case["name"]], ids=lambda case: case["name"])
def test_a_query_is_encoded_and_sorted(case: dict[str, Any]) -> None:
    raw = case["request"].split("\n")[0].split(" ")[1].partition("?")[2]
    assert canonical_query(parse_qsl(raw, keep_blank_values=True)) == parts(case)[2]


def botocores(method: str, key: str, query: str, token: str | None) -> str:
    url = f"https://bucket.s3.{REGION}.amazonaws.com/{quote(key, safe='/~')}{'?' + query if query else ''}"
    request = AWSRequest(method, url)
    request.context["timestamp"] = STAMP
    auth = S3SigV4Auth(BotocoreCredentials("AKIAEXAMPLE", "secret", token), "s3", REGION)
    request.headers["X-Amz-Content-SHA256"] = auth.payload(request)
    request.headers["X-Amz-Date"] = STAMP
    if token:
        request.headers["X-Amz-Security-Token"] = token
    text = auth.string_to_sign(request, auth.canonical_request(request))
    auth._inject_signature_to_request(request, auth.signature(text, request))
    return str(request.headers["Authorization"])


def ours(method: str, key: str, query: str, token: str | None) -> str:
    fields = [
        ("host", f"bucket.s3.{REGION}.amazonaws.com"),
        ("x-amz-content-sha256", sigv4.EMPTY_HASH),
        ("x-amz-date", STAMP),
        *([("x-amz-security-token", token)] if token else []),
    ]
    made = Signer(Credentials("AKIAEXAMPLE", "secret", token), Scope(REGION), fields)
    return made.authorization(method, "/" + encode_path(key), query)


@pytest.mark.parametrize("key", [*ODD_KEYS, *FLAT_KEYS, "/lead", "a/./b", "a/../b", "%2e%2e/x"])
@pytest.mark.parametrize("token", [None, "a/token+of=STS"])
def test_botocore_signs_odd_keys_alike(key: str, token: str | None) -> None:
    assert ours("GET", key, "", token) == botocores("GET", key, "", token)


@settings(max_examples=2 * settings().max_examples, deadline=None)
@given(
    st.sampled_from(("GET", "HEAD")),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.lists(st.tuples(st.sampled_from(("prefix", "start-after", "delimiter")), st.text("ab/ +%ü&=", max_size=8))),
)
def test_botocore_signs_all_keys_and_queries_alike(method: str, key: str, query: list[tuple[str, str]]) -> None:
    text = canonical_query(dict(query).items())
    assert ours(method, key, text, None) == botocores(method, key, text, None)


def test_credentials_do_not_show_their_secret() -> None:
    shown = repr(Credentials("AKIAEXAMPLE", "hush", "hush-hush"))
    assert "AKIAEXAMPLE" in shown
    assert "hush" not in shown
