"""The description of the API is valid, complete, and true: of the code, of the settings, and of the docs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from stagedoor.catalogue import entry
from stagedoor.core import replies
from stagedoor.core.credentials import PASS_PARAMETERS, Sources
from stagedoor.core.door import OBJECT_METHODS, Site
from stagedoor.core.endpoints import cookies, login, urls
from stagedoor.core.endpoints.arguments import MAX_BODY_BYTES
from stagedoor.core.endpoints.openapi import describe
from stagedoor.core.endpoints.s3objects import MAX_LISTED
from stagedoor.core.errors import InvalidRequest
from stagedoor.core.passes.verify import MAX_POLICY_CHARACTERS, Passes
from stagedoor.core.paths import MAX_KEY_BYTES, check_key
from stagedoor.gateway import app, asgi
from stagedoor.settings.site import description, openapi_document
from tests.helpers.signing_in import SigningIn
from tests.helpers.support import SITE, Visitor

DOCUMENT = openapi_document()
PATHS: dict[str, dict[str, Any]] = DOCUMENT["paths"]
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
DOCS = Path(__file__).parents[3] / "docs"
METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in PATHS.items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


OPERATIONS = dict(operations())


def resolved(value: Any) -> Any:
    """What a reference stands for."""
    while isinstance(value, Mapping) and "$ref" in value:
        found: Any = DOCUMENT
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def walk(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in it."""
    if isinstance(value, Mapping):
        yield value
        for one in value.values():
            yield from walk(one)
    elif isinstance(value, list):
        for one in value:
            yield from walk(one)


def valid(value: Any, schema: Any) -> bool:
    whole: dict[str, Any] = {"components": DOCUMENT["components"], **schema}
    return bool(OAS31Validator(whole, format_checker=OAS31Validator.FORMAT_CHECKER).is_valid(value))


# --- valid and complete


def test_it_is_valid_openapi() -> None:
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_every_endpoint_is_described_and_nothing_else() -> None:
    endpoints = Visitor().door.endpoints
    described = {path.partition("{")[0].encode(): item for path, item in PATHS.items()}
    assert len(described) == len(PATHS)
    assert set(described) == {*endpoints, *app._HEALTH, b"/"}
    for path, endpoint in endpoints.items():
        assert [method for method in METHODS if method in described[path]] == [
            method.lower() for method in endpoint.methods
        ]
    objects = {method.upper() for method in METHODS if method in described[b"/"]}
    assert {*objects, "OPTIONS"} == set(OBJECT_METHODS.split(", "))


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_says_what_it_is_and_what_can_come_of_it(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    statuses = {int(status) for status in operation["responses"]}
    assert statuses >= {400, 405, 431, 500}
    assert min(statuses) < 300
    public = operation.get("security") == []
    assert public or operation["tags"] == ["sign-in"] or {401, 403, 503} <= statuses
    assert ({408, 413} <= statuses) == name.startswith("POST")
    for status, response in operation["responses"].items():
        content = resolved(response).get("content", {})
        if int(status) >= 400 and name + status != "GET /-/readyz503":
            assert set(content) in ({"text/xml"}, {"application/problem+json"}, {"application/problem+json", *content})


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


def test_every_component_is_used() -> None:
    used = {one["$ref"] for one in walk(DOCUMENT) if "$ref" in one}
    parts = {f"#/components/{kind}/{name}" for kind, found in DOCUMENT["components"].items() for name in found} - {
        f"#/components/securitySchemes/{name}" for name in DOCUMENT["components"]["securitySchemes"]
    }
    assert used == parts
    for one in walk(DOCUMENT):
        resolved(one)


def test_examples_are_what_their_schemas_say() -> None:
    seen = 0
    for one in walk(DOCUMENT):
        schema = one.get("schema", one if "type" in one or "oneOf" in one else None)
        found = [one["example"]] if "example" in one else []
        found += [example["value"] for example in one.get("examples", {}).values()]
        for example in found:
            if schema is not None and schema != {"$ref": "#/components/schemas/PassError"}:
                assert valid(example, schema), example
                seen += 1
    assert seen > 20


# --- true of the code


def codes_by_status() -> dict[int, set[str]]:
    """What the responses say: status -> codes."""
    found: dict[int, set[str]] = {}
    for one in walk(DOCUMENT):
        properties = one.get("properties", {})
        if "const" in properties.get("status", {}):
            found.setdefault(properties["status"]["const"], set()).update(properties["code"]["enum"])
    return found


def codes_in_the_docs() -> dict[int, set[str]]:
    """The same from the page that names every code, which is checked against the source."""
    page = (DOCS / "how-to/find-out-why.md").read_text(encoding="utf-8")
    found: dict[int, set[str]] = {}
    for row in re.findall(r"^\| (\d{3}) \| (.*?) \|", page, re.MULTILINE):
        found.setdefault(int(row[0]), set()).update(re.findall(r"`([^`]+)`", row[1]))
    who = page.partition("### Who are you?")[2].partition("\n### ")[0]
    found[401] = {
        code for row in re.findall(r"^\| (`.*?) \|", who, re.MULTILINE) for code in re.findall(r"`([^`]+)`", row)
    }
    return found


def test_every_code_of_the_docs_is_listed_with_its_status() -> None:
    docs = codes_in_the_docs()
    del docs[499]  # only in the log
    assert docs.pop(505) == {"version"}  # before there is a request
    docs[400].remove("event")  # at CloudFront's edge alone
    docs[403].remove("entrance")  # at API Gateway alone
    assert codes_by_status() == docs
    everything = set().union(*docs.values()) | {"version"}
    assert set(SCHEMAS["Problem"]["properties"]["code"]["enum"]) == everything


def test_limits_are_those_of_the_code() -> None:
    listing = {one["name"]: one["schema"] for one in PATHS["/-/s3objects"]["get"]["parameters"]}
    assert (listing["limit"]["maximum"], listing["limit"]["default"]) == (MAX_LISTED, MAX_LISTED)
    folders = SCHEMAS["CookiesRequest"]["properties"]["prefix"]["oneOf"][1]
    assert folders["maxItems"] == cookies.MAX_PREFIXES
    assert SCHEMAS["Folder"]["maxLength"] == cookies.MAX_PATH - len("//")
    assert SCHEMAS["Key"]["maxLength"] == MAX_KEY_BYTES
    assert PATHS["/-/contents/{id}"]["get"]["parameters"][0]["schema"]["maxLength"] == entry.MAX_ID
    words = {name: one["description"] for name, one in DOCUMENT["components"]["responses"].items()}
    assert f"{MAX_BODY_BYTES:,} bytes" in words["BodyTooLong"]
    assert f"{asgi.BODY_WITHIN:g} seconds" in words["BodyTimeout"]
    assert (
        f"{replies.MAX_HEADER_BYTES // 1024} KB, or more than {replies.MAX_HEADER_NAMES} names"
        in words["HeadersTooLong"]
    )
    described = {one["name"]: one["schema"] for one in PATHS["/{key}"]["parameters"] if one["in"] == "query"}
    assert {name.decode() for name in PASS_PARAMETERS} == set(described) - {"download"}
    assert described["Policy"]["maxLength"] == MAX_POLICY_CHARACTERS // 2, "the rest of the address needs room, too"


TEXTS = st.text(st.sampled_from("a.-/\\ü\0\n\x85 ~*"), max_size=8) | st.text(max_size=20)


@given(TEXTS)
def test_the_pattern_of_keys_is_what_the_code_takes(text: str) -> None:
    def takes() -> bool:
        try:
            urls._object(Visitor().door, text)
        except InvalidRequest:
            return False
        return True

    assert valid(text, SCHEMAS["Key"]) == takes()


@given(TEXTS)
def test_the_pattern_of_folders_is_what_the_code_takes(text: str) -> None:
    def takes() -> bool:
        try:
            cookies.folders_of(text)
        except InvalidRequest:
            return False
        return True

    assert valid(text, SCHEMAS["Folder"]) == takes()


@given(TEXTS)
def test_the_pattern_of_prefixes_is_what_the_code_takes(text: str) -> None:
    def takes() -> bool:
        try:
            check_key(f"{text.removeprefix('/')}x")
        except InvalidRequest:
            return False
        return True

    assert valid(text, PATHS["/-/s3objects"]["get"]["parameters"][0]["schema"]) == takes()


@given(TEXTS)
def test_the_pattern_of_content_ids_is_what_the_catalogue_takes(text: str) -> None:
    assert valid(text, PATHS["/-/contents/{id}"]["get"]["parameters"][0]["schema"]) == entry.is_id(text)


@pytest.mark.parametrize("name", login.PASSED_ON)
@given(text=st.text(st.sampled_from("ab_ :@+/-9\n\u00e4"), max_size=30))
def test_the_patterns_of_what_is_passed_on_are_what_the_code_takes(name: str, text: str) -> None:
    schemas = {one["name"]: one["schema"] for one in PATHS["/-/login"]["get"]["parameters"] if "name" in one}
    assert valid(text, schemas[name]) == bool(login.PASSED_ON[name].fullmatch(text))


# --- true of the settings


def served(**more: Any) -> Any:
    visitor = Visitor(api_options={"description": description}, **more)
    document = json.loads(visitor.reply("/-/openapi.json").body)
    validate(document)
    return document


def test_it_is_served_to_everybody_with_the_sites_address() -> None:
    document = served()
    assert document["servers"] == [{"url": "https://assets.example.com"}]
    for name in ("info", "tags"):
        assert document[name] == DOCUMENT[name]
    assert set(document["paths"]) == set(PATHS)


def kinds(security: Any) -> list[str]:
    return [kind for way in security for kind in way]


def test_credentials_are_those_that_this_site_looks_for() -> None:
    document = served()
    assert kinds(document["security"]) == ["header", "cookie", "session"]
    assert set(document["components"]["securitySchemes"]) == {"header", "cookie", "session"}
    assert kinds(document["paths"]["/{key}"]["get"]["security"]) == ["header", "cookie", "session"]
    assert {} in document["security"]

    site = Site("https://assets.example.com", Sources(("query", "cookie"), "jwt", "t"))
    document = served(site=site, sessions=False, passes=Passes(site.url, {"K1": lambda *_: False}))
    assert kinds(document["security"]) == ["cookie", "query"]
    assert kinds(document["paths"]["/{key}"]["head"]["security"]) == ["signed-url", "cookie", "query", "signed-cookies"]
    assert document["paths"]["/-/session"]["post"]["security"] == [{"header": []}]
    schemes = document["components"]["securitySchemes"]
    assert set(schemes) == {"header", "cookie", "query", "signed-url", "signed-cookies"}
    assert (schemes["cookie"]["name"], schemes["query"]["name"]) == ("jwt", "t")


def test_what_anybody_may_ask_needs_nothing() -> None:
    for name, operation in OPERATIONS.items():
        public = operation.get("security") == []
        assert public == name.endswith(
            ("openapi.json", "healthz", "readyz", "login", "callback", "backchannel-logout")
        ), name


def test_the_credentials_have_the_names_of_the_site() -> None:
    sources = Sources(("header", "cookie", "query"), "jwt", "t", "stagedoor-8080")
    schemes = describe(DOCUMENT, SigningIn(site=Site(SITE, sources)).door)["components"]["securitySchemes"]
    assert {kind: scheme["name"] for kind, scheme in schemes.items() if scheme["type"] == "apiKey"} == {
        "cookie": "jwt",
        "query": "t",
        "session": "stagedoor-8080",
    }
    assert set(schemes) == {"header", "cookie", "query", "session"}, "there are no keys for passes"
