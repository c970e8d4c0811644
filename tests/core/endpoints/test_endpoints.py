"""The endpoints under `/-/` but for passes: what they take, what they answer, and that every refusal has one shape."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from stagedoor.catalogue import open_catalogue
from stagedoor.core.door import Site
from stagedoor.core.endpoints.arguments import MAX_BODY_BYTES
from stagedoor.core.endpoints.s3objects import MAX_LISTED
from stagedoor.core.errors import CatalogueUnavailable, InvalidContent, StoreRefused, StoreUnavailable
from stagedoor.core.messages import Answered, Content, List, Lookup, Reply, Wish
from stagedoor.core.passes.signer import Signer
from stagedoor.gateway import asgi
from stagedoor.keys.pass_keys import new_pair
from stagedoor.keys.sealing import Seal
from stagedoor.store.memory import MemoryStore
from tests.helpers.serving import SITE as HTTP_SITE
from tests.helpers.serving import (
    InProcess,
    ask,
    bearer_line,
    fresh_token,
    message,
    prepare,
    serving,
    settings_text,
    wire,
)
from tests.helpers.support import NOW, SITE, Visitor, bearer, claims, field, token

ANN = bearer(token(claims(groups=["students"])))
BEN = bearer(token(claims(sub="ben", groups=["teachers"])))
FILES = {
    "public/logo.png": b"logo",
    "courses/a b+c.txt": b"blank",
    "courses/lesson-1.mp4": b"one",
    "courses/lesson-2.mp4": b"two!",
    "courses/drafts/plan.txt": b"secret",
    "users/ann/diary.txt": b"dear",
    "users/ben/diary.txt": b"private",
}
LESSON = Content("lesson-1", "courses/lesson-1.mp4", "Lesson 1", "video/mp4", {"minutes": "12"})


def site(**more: Any) -> Visitor:
    """A site that issues passes, with some files and a catalogue."""
    options = {"signer": Signer("K1", lambda *_: b"signature"), "catalogue": True, **more.pop("api_options", {})}
    visitor = Visitor(api_options=options, **more)
    for key, body in FILES.items():
        visitor.store.put(key, body, modified=NOW)
    visitor.catalogue["lesson-1"] = LESSON
    visitor.catalogue["draft"] = Content("draft", "courses/drafts/plan.txt")
    return visitor


def told(reply: Reply, status: int = 200) -> Any:
    """The JSON document of an answer, which nobody may keep."""
    assert reply.status == status, reply.body
    assert field(reply.headers, "content-type") == "application/json"
    assert field(reply.headers, "cache-control") == "no-store"
    return json.loads(reply.body)


def problem(reply: Reply) -> tuple[int, str]:
    """Status and code of a refusal, which must be problem+json as all of them are (RFC 9457 §3)."""
    assert field(reply.headers, "content-type") == "application/problem+json"
    assert field(reply.headers, "cache-control") == "no-store"
    assert field(reply.headers, "x-content-type-options") == "nosniff"
    said = json.loads(reply.body)
    assert list(said) == ["type", "title", "status", "code", "detail"]
    assert (said["type"], said["title"]) == ("about:blank", HTTPStatus(reply.status).phrase)
    assert said["status"] == reply.status
    assert said["code"] == reply.reason
    assert len(said["detail"]) > 10
    return reply.status, said["code"]


def keys(page: Any) -> list[str]:
    return [one["Key"] for one in page["Contents"]]


# --- listing


def test_a_listing_has_the_names_of_s3() -> None:
    page = told(site().reply("/-/s3objects?prefix=courses/lesson-1", authorization=ANN))
    assert page == {
        "Prefix": "courses/lesson-1",
        "Contents": [
            {
                "Key": "courses/lesson-1.mp4",
                "ETag": '"f97c5d29941bfb1b2fdab0874906ab82"',
                "LastModified": "2023-11-14T22:13:20.000Z",
                "Size": 3,
                "StorageClass": "STANDARD",
            }
        ],
        "CommonPrefixes": [],
        "KeyCount": 1,
        "IsTruncated": False,
    }


def test_each_caller_is_told_what_they_may_read_and_no_more() -> None:
    visitor = site()
    courses = ["courses/a b+c.txt", "courses/lesson-1.mp4", "courses/lesson-2.mp4"]
    whole = "/-/s3objects"
    assert keys(told(visitor.reply(whole, authorization=ANN))) == [*courses, "public/logo.png", "users/ann/diary.txt"]
    assert keys(told(visitor.reply(whole, authorization=BEN))) == [*courses, "public/logo.png", "users/ben/diary.txt"]
    assert keys(told(visitor.reply(whole))) == ["public/logo.png"]
    assert keys(told(visitor.reply(f"{whole}?prefix=users/ben/", authorization=ANN))) == []
    assert keys(told(visitor.reply(f"{whole}?prefix=users/"))) == [], "not even which folders there are rules for"


def test_folders_are_told_with_a_delimiter() -> None:
    page = told(site().reply("/-/s3objects?delimiter=/", authorization=ANN))
    assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["courses/", "public/", "users/"]
    assert (keys(page), page["KeyCount"]) == ([], 3)
    page = told(site().reply("/-/s3objects?delimiter=%2F&prefix=courses%2F", authorization=ANN))
    assert page["CommonPrefixes"] == []  # drafts hold nothing that Ann may see
    assert len(keys(page)) == 3


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, MAX_LISTED])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_pages_put_together_are_the_listing(limit: int, delimiter: str) -> None:
    visitor = site()
    asked = {"delimiter": delimiter, "limit": str(limit)}
    whole = told(visitor.reply(f"/-/s3objects?delimiter={delimiter}", authorization=ANN))
    found, folders, cursor = list[str](), list[str](), ""
    while True:
        more = {"cursor": cursor} if cursor else {}
        page = told(visitor.reply(f"/-/s3objects?{urlencode(asked | more)}", authorization=ANN))
        assert page["KeyCount"] == len(page["Contents"]) + len(page["CommonPrefixes"]) <= limit
        assert page["IsTruncated"] == ("NextCursor" in page)
        found += keys(page)
        folders += [one["Prefix"] for one in page["CommonPrefixes"]]
        if not page["IsTruncated"]:
            break
        cursor = page["NextCursor"]
    assert (found, folders) == (keys(whole), [one["Prefix"] for one in whole["CommonPrefixes"]])


def cursor_of(visitor: Visitor, authorization: str = ANN, query: str = "") -> str:
    cursor: str = told(visitor.reply(f"/-/s3objects?limit=1{query}", authorization=authorization))["NextCursor"]
    return cursor


def test_a_cursor_is_good_for_its_listing_and_its_caller_alone() -> None:
    visitor = site()
    mine = cursor_of(visitor)
    assert keys(told(visitor.reply(f"/-/s3objects?limit=1&cursor={mine}", authorization=ANN))) == [
        "courses/lesson-1.mp4"
    ]
    for query, who in (
        (f"cursor={mine}", BEN),
        (f"cursor={mine}", None),
        (f"prefix=courses/&cursor={mine}", ANN),
        (f"delimiter=/&cursor={mine}", ANN),
        (f"cursor={mine[:-2]}", ANN),
        (f"cursor={mine[:-1]}{'A' if mine[-1] != 'A' else 'B'}", ANN),
        (f"cursor={mine}{mine}", ANN),
        ("cursor=courses/lesson-1.mp4", ANN),
        ("cursor=%00", ANN),
        ("cursor=%C3%BC", ANN),
        ("cursor===", ANN),
        (f"cursor={cursor_of(visitor, ANN, '&prefix=courses/')}", ANN),
        (f"cursor={Seal(b'of another site').seal('a', 'listing ')}", ANN),
    ):
        fields = {} if who is None else {"authorization": who}
        assert problem(visitor.reply(f"/-/s3objects?{query}", **fields)) == (400, "cursor"), query


def test_a_cursor_tells_nobody_where_the_page_ended() -> None:
    visitor = site()
    one, other = cursor_of(visitor), cursor_of(visitor)
    assert one != other
    assert "lesson" not in one
    longer = site()
    longer.store.put("courses/" + "x" * 100, b"")
    assert len(one) == len(cursor_of(longer)), "how long the name is that it holds is nobody's business either"


LISTINGS = {
    "limit=": "query",
    "limit=0": "query",
    "limit=-1": "query",
    "limit=1001": "query",
    "limit=1e3": "query",
    "limit=1.0": "query",
    "limit=0x10": "query",
    "limit=1_0": "query",
    "limit=+1": "query",
    "limit=%201": "query",
    "limit=1%0A": "query",
    "limit=%D9%A3": "query",  # the Arabic digit three
    "limit=%EF%BC%93": "query",  # a full-width three
    "limit=00100999": "query",
    "limit=001" + "0" * 5000: "query",
    "limit=null": "query",
    "limit=1&limit=1": "query",
    "limit=1&li%6Dit=2": "query",
    "limit[]=1&limit=x": "query",
    "prefix=a&prefix=b": "query",
    "prefix=%FF": "query",
    "prefix=%ED%A0%80": "query",  # half a surrogate pair
    "prefix=%C0%AF": "query",  # a slash that is too long
    "delimiter=.": "query",
    "delimiter=//": "query",
    "delimiter=%5C": "query",
    "prefix=%00": "target",
    "prefix=a%0Ab": "target",
    "prefix=%C2%85": "target",
    "prefix=a%5Cb": "target",
    "prefix=a/../b": "target",
    "prefix=./": "target",
    "prefix=//": "target",
    "prefix=" + "a" * 1025: "target",
    "cursor=a&cursor=b": "query",
    "cursor=%FF": "query",
}


@pytest.mark.parametrize("query", LISTINGS)
def test_a_listing_that_is_asked_for_in_a_wrong_way_is_refused(query: str) -> None:
    assert problem(site().reply(f"/-/s3objects?{query}", authorization=ANN)) == (400, LISTINGS[query])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("prefix=", 5),
        ("prefix=/public/", 1),
        ("prefix=courses%2Flesson", 2),
        ("prefix=courses/a+b", 1),
        ("prefix=courses/a%20b%2Bc", 1),
        ("prefix=courses/a+b+c", 0),
        ("prefix=courses/.", 0),
        ("prefix=courses/..", 0),
        ("prefix=courses/a&unknown=1&Prefix=x&limit[]=0", 1),
        ("&&=&prefix=public&", 1),
        ("pre%66ix=public", 1),
        ("limit=005", 5),
        ("cursor=", 5),
    ],
)
def test_a_listing_is_asked_for_as_forms_and_scripts_do(query: str, found: int) -> None:
    page = told(site().reply(f"/-/s3objects?{query}", authorization=ANN))
    assert (page["KeyCount"], page["IsTruncated"]) == (found, False)


def test_without_a_store_there_is_nothing_to_list() -> None:
    visitor = site(api_options={"listing": False})
    assert problem(visitor.reply("/-/s3objects", authorization=ANN)) == (404, "no-store")


# --- content delivery


def test_a_content_id_is_told_with_its_address() -> None:
    visitor = site()
    assert told(visitor.reply("/-/contents/lesson-1", authorization=ANN)) == {
        "id": "lesson-1",
        "title": "Lesson 1",
        "contentType": "video/mp4",
        "attributes": {"minutes": "12"},
        "url": f"{SITE}/courses/lesson-1.mp4",
    }
    assert visitor.serve("/courses/lesson-1.mp4", authorization=ANN).key == "courses/lesson-1.mp4"


def test_an_id_is_one_segment_and_decoded_once() -> None:
    visitor = site()
    for id_ in ("ü 1+1", "a%2Fb", "…", "urn:x:1", "a;b=c", "'"):
        visitor.catalogue[id_] = Content(id_, "public/ü+ 1.png")
        found = told(visitor.reply(f"/-/contents/{quote(id_, safe='')}"))
        assert (found["id"], found["url"]) == (id_, f"{SITE}/public/%C3%BC%2B%201.png")
    for path in ("a%2Fb", "%2e%2e", "..", "%00", "%FF", "a%5Cb", "%"):
        assert problem(visitor.reply(f"/-/contents/{path}", authorization=ANN)) == (400, "target"), path
    for path in ("", "LESSON-1", "lesson-1%20", "none", "x" * 900, "lesson%2D1%20"):
        assert problem(visitor.reply(f"/-/contents/{path}", authorization=ANN)) == (404, "unknown-content"), path
    for path in ("lesson-1/", "a/lesson-1", "/lesson-1"):
        assert problem(visitor.reply(f"/-/contents/{path}", authorization=ANN)) == (404, "not-found"), path


def test_who_may_not_read_the_object_gets_no_address() -> None:
    visitor = site()
    assert problem(visitor.reply("/-/contents/lesson-1")) == (401, "no-credential")
    assert problem(visitor.reply("/-/contents/draft", authorization=ANN)) == (403, "denied")
    refused = visitor.reply("/-/contents/draft?signed", authorization=ANN)
    assert problem(refused) == (403, "denied")
    assert b"drafts" not in refused.body


def test_where_strangers_may_read_nothing_none_makes_the_catalogue_work() -> None:
    visitor = Visitor(({"path": "users/{sub}/**", "allow": "signed-in"},), api_options={"catalogue": True})
    visitor.catalogue = Untouched()
    assert problem(visitor.reply("/-/contents/lesson-1")) == (401, "no-credential")
    with pytest.raises(AssertionError, match="was asked"):
        visitor.reply("/-/contents/lesson-1", authorization=ANN)


class Untouched(dict[str, Content]):
    """A catalogue that must not be asked."""

    def get(self, *_: object) -> Any:
        raise AssertionError("the catalogue was asked")


@pytest.mark.parametrize("query", ["signed", "signed=", "signed=1", "signed=true", "x=1&signed&expires_in=60"])
def test_on_request_the_address_is_signed(query: str) -> None:
    found = told(site().reply(f"/-/contents/lesson-1?{query}", authorization=ANN))
    lifetime = 60 if "expires_in" in query else 12 * 3600
    assert found["expires"] == NOW + lifetime
    assert found["url"].startswith(
        f"{SITE}/courses/lesson-1.mp4?Expires={NOW + lifetime:.0f}&Key-Pair-Id=K1&Signature="
    )


@pytest.mark.parametrize("query", ["", "signed=0", "signed=false", "Signed", "expires_in=60"])
def test_else_it_is_not(query: str) -> None:
    found = told(site().reply(f"/-/contents/lesson-1?{query}", authorization=ANN))
    assert found["url"] == f"{SITE}/courses/lesson-1.mp4"
    assert "expires" not in found


@pytest.mark.parametrize(
    "seconds", ["", "0", "-1", "1.5", "1e3", "%D9%A3", "1234567890123", "1234567890abc", "9" * 5000]
)
def test_a_lifetime_in_the_query_is_a_plain_number(seconds: str) -> None:
    for query in (f"signed&expires_in={seconds}", f"expires_in={seconds}"):
        assert problem(site().reply(f"/-/contents/lesson-1?{query}", authorization=ANN)) == (400, "query")


@pytest.mark.parametrize(("asked", "seconds"), [("1", 1), ("60", 60), ("60.0", 60), ("6e1", 60), ("1e300", 43200)])
def test_a_lifetime_in_a_body_is_a_whole_number_and_cut_down(asked: str, seconds: int) -> None:
    body = f'{{"file":"public/logo.png","expires_in":{asked}}}'.encode()
    assert told(site().post("/-/urls", body), 201)["expires"] == NOW + seconds


@pytest.mark.parametrize("query", ["signed=yes", "signed=2", "signed=%FF", "signed&signed", "signed=1&signed=0"])
def test_what_is_neither_yes_nor_no_is_refused(query: str) -> None:
    assert problem(site().reply(f"/-/contents/lesson-1?{query}", authorization=ANN)) == (400, "query")


def test_a_request_that_is_wrong_uses_up_nothing() -> None:
    visitor = site(api_options={"per_minute": 1})
    for _ in range(3):
        reply = visitor.reply("/-/contents/lesson-1?signed&expires_in=0", authorization=ANN)
        assert problem(reply) == (400, "query")
    told(visitor.reply("/-/contents/lesson-1?signed", authorization=ANN))
    refused = visitor.reply("/-/contents/lesson-1?signed", authorization=ANN)
    assert problem(refused) == (429, "too-many-passes")
    assert field(refused.headers, "retry-after") == "61"
    told(visitor.reply("/-/contents/lesson-1", authorization=ANN))  # an address alone is no pass


def test_where_there_is_no_catalogue_or_no_key_it_says_so() -> None:
    visitor = site(api_options={"catalogue": False})
    assert problem(visitor.reply("/-/contents/lesson-1", authorization=ANN)) == (404, "no-catalogue")
    visitor = site(api_options={"signer": None})
    assert problem(visitor.reply("/-/contents/lesson-1?signed", authorization=ANN)) == (404, "passes-inactive")
    told(visitor.reply("/-/contents/lesson-1", authorization=ANN))


def test_an_entry_of_a_folder_is_decided_as_what_its_address_opens() -> None:
    rules = ({"path": "docs/**", "allow": "anyone"}, {"path": "docs/index.html", "deny": "anyone"})
    visitor = site(rules=rules, site=Site(SITE, index_file="index.html"))
    visitor.catalogue["home"] = Content("home", "docs/")
    assert problem(visitor.reply("/-/contents/home?signed", authorization=ANN)) == (403, "denied")


def test_an_entry_of_our_own_paths_is_none() -> None:
    visitor = site(rules=({"path": "**", "allow": "anyone"},))
    visitor.catalogue["own"] = Content("own", "-/whoami")
    assert problem(visitor.reply("/-/contents/own?signed")) == (404, "unknown-content")


# --- what is outside does not work


class Failing(Visitor):
    """A site whose store and catalogue raise an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(api_options={"catalogue": True})
        self.error = error

    def outside(self, wish: Wish) -> Answered:
        if isinstance(wish, List | Lookup):
            raise self.error
        return super().outside(wish)


@pytest.mark.parametrize("target", ["/-/s3objects", "/-/contents/lesson-1"])
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreUnavailable("bucket s3cr3t is away"), 503, "store-unavailable"),
        (CatalogueUnavailable("table s3cr3t is away"), 503, "catalogue-unavailable"),
        (StoreRefused("key s3cr3t"), 502, "store-refused"),
        (InvalidContent("entry s3cr3t"), 502, "content"),
    ],
)
def test_a_failure_outside_is_ours_and_tells_nothing_of_it(
    target: str, error: Exception, status: int, code: str
) -> None:
    reply = Failing(error).reply(target, authorization=ANN)
    assert problem(reply) == (status, code)
    assert (field(reply.headers, "retry-after") is not None) == (status == 503)
    assert b"s3cr3t" not in reply.body


# --- bodies

BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" ",
    "null": b"null",
    "text": b'"public/logo.png"',
    "list": b'["public/logo.png"]',
    "number": b"1",
    "form": b"file=public/logo.png&prefix=public",
    "half": b'{"file":',
    "twice": b'{"file":"public/logo.png","file":"courses/lesson-1.mp4"}',
    "two objects": b"{}{}",
    "comma": b'{"file":"public/logo.png",}',
    "not UTF-8": b'{"file":"\xff"}',
    "latin-1": '{"file":"ü"}'.encode("latin-1"),
    "UTF-16": '{"file":"a"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"file":"public/logo.png"}',
    "NaN": b'{"file":NaN}',
    "Infinity": b'{"file":"public/logo.png","expires_in":Infinity}',
    "deep lists": b"[" * MAX_BODY_BYTES,
    "deep objects": b'{"file":' * 2000,
    "deep and closed": b'{"file":' + b"[" * 8000 + b"]" * 8000 + b"}",
    "a long number": b'{"file":"public/logo.png","expires_in":' + b"9" * 5000 + b"}",
    "a huge number": b'{"file":"public/logo.png","expires_in":1e999}',
    "fraction": b'{"file":"public/logo.png","expires_in":60.5}',
    "true": b'{"file":"public/logo.png","expires_in":true}',
    "none": b'{"file":"public/logo.png","expires_in":0}',
    "null for a number": b'{"file":"public/logo.png","expires_in":null}',
    "less": b'{"file":"public/logo.png","expires_in":-1}',
    "word": b'{"file":"public/logo.png","expires_in":"60"}',
    "no member": b"{}",
    "other member": b'{"file":"public/logo.png","Expires":1}',
    "odd member": b'{"file":"public/logo.png","\\ud800":1}',
    "other case": b'{"File":"public/logo.png"}',
    "no text": b'{"file":1}',
    "nothing": b'{"file":null}',
    "several": b'{"file":["public/logo.png"]}',
    "object": b'{"file":{"Key":"public/logo.png"}}',
    "the empty key": b'{"file":""}',
    "the site": b'{"file":"/"}',
    "our own": b'{"file":"-/whoami"}',
    "ours with a slash": b'{"file":"/-/whoami"}',
}
TARGETS = {
    "NUL": b'{"file":"public/\\u0000"}',
    "line end": b'{"file":"public/a\\r\\nb"}',
    "dots": b'{"file":"public/../users/ben/diary.txt"}',
    "dot": b'{"file":"./public/logo.png"}',
    "backslash": b'{"file":"public\\\\logo.png"}',
    "two slashes": b'{"file":"//public/logo.png"}',
    "half a pair": b'{"file":"public/\\ud800"}',
    "long": b'{"file":"public/' + b"a" * 1020 + b'"}',
}


@pytest.mark.parametrize("name", [*BODIES, *TARGETS])
def test_a_body_that_is_not_as_it_should_be_is_refused(name: str) -> None:
    visitor = site()
    body = BODIES.get(name) or TARGETS.get(name) or b""
    code = "target" if name in TARGETS else "body"
    refused = visitor.post("/-/urls", body, authorization=ANN)
    assert problem(refused) == (400, code)
    for_cookies = visitor.post("/-/cookies", body.replace(b'"file"', b'"prefix"'), authorization=ANN)
    if name not in ("several", "the empty key", "the site", "other case"):  # what is something else to cookies
        assert problem(for_cookies) == (400, code)


def test_a_refused_body_says_what_to_send() -> None:
    visitor = site()
    said = json.loads(visitor.post("/-/urls", b"file=a", authorization=ANN).body)["detail"]
    assert '{"file": "…"}' in said
    assert "token" not in said
    said = json.loads(visitor.post("/-/cookies", {"prefix": "courses/", "path": 1}, authorization=ANN).body)["detail"]
    assert said == "'path' is not known; the body has: expires_in, prefix"


@pytest.mark.parametrize(
    "type_", ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense", ""]
)
def test_json_is_json_whatever_it_is_called(type_: str) -> None:
    """curl calls it a form, and nothing depends on the name: other origins are refused by their Origin."""
    reply = site().post("/-/urls", {"file": "public/logo.png"}, authorization=ANN, content_type=type_)
    assert told(reply, 201)["signedUrl"].startswith(f"{SITE}/public/logo.png?Expires=")


def test_a_folder_too_deep_for_a_cookie_is_refused() -> None:
    visitor = site(rules=({"path": "**", "allow": "anyone"},))
    fits, too_long = "a" * 1022, "ü" * 171  # /…/ and 6 bytes for each ü
    assert visitor.post("/-/cookies", {"prefix": fits}).status == 204
    assert problem(visitor.post("/-/cookies", {"prefix": too_long})) == (400, "body")


# --- methods, HEAD, OpenAPI

GETS = ("/-/whoami", "/-/explain?key=public/a", "/-/s3objects", "/-/contents/lesson-1", "/-/openapi.json")
POSTS = ("/-/session", "/-/urls", "/-/cookies")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "get", "post"])
@pytest.mark.parametrize("target", [*GETS, *POSTS, "/public/logo.png"])
def test_an_address_takes_its_methods_and_names_them(target: str, method: str) -> None:
    allowed = "POST, OPTIONS" if target in POSTS else "GET, HEAD, OPTIONS"
    reply = site().ask(target, method, authorization=ANN)
    if method in allowed.split(", "):
        assert not isinstance(reply, Reply) or reply.status != 405
        return
    assert isinstance(reply, Reply)
    assert problem(reply) == (405, "method")
    assert field(reply.headers, "allow") == allowed


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize(
    "target",
    [
        "/-/",
        "/-/nothing",
        "/-/urls/",
        "/-/urls/x",
        "/-//urls",
        "/-/URLS",
        "/-/%75rls",
        "/-/openapi.json/x",
        "/-/contents",
    ],
)
def test_there_is_nothing_else_under_our_own_prefix(target: str, method: str) -> None:
    assert problem(site().reply(target, method, authorization=ANN)) == (404, "not-found")


@pytest.mark.parametrize("target", GETS)
def test_head_is_get_without_its_body(target: str) -> None:
    visitor = site()
    for fields in ({}, {"authorization": ANN}, {"authorization": "Bearer x"}):
        head, get = visitor.reply(target, "HEAD", **fields), visitor.reply(target, **fields)
        assert (head.status, head.headers, head.reason) == (get.status, get.headers, get.reason)


@pytest.mark.parametrize("target", [*GETS[:4], "/-/explain"])
def test_a_pass_opens_objects_and_no_endpoint(target: str) -> None:
    joint = "&" if "?" in target else "?"
    reply = site().reply(f"{target}{joint}Expires=1&Signature=x&Key-Pair-Id=K1", authorization=ANN)
    assert (reply.status, reply.reason) == (403, "pass-resource")
    assert field(reply.headers, "content-type") == "text/xml"
    assert b"<Code>AccessDenied</Code>" in reply.body


def test_a_person_at_a_browser_gets_a_page() -> None:
    visitor = site()
    for target, status in (
        ("/-/s3objects?limit=x", 400),
        ("/-/contents/lesson-1", 401),
        ("/-/contents/none", 404),
        ("/-/nothing", 404),
        ("/-/explain", 401),
    ):
        reply = visitor.reply(target, sec_fetch_mode="navigate")
        assert (reply.status, field(reply.headers, "content-type")) == (status, "text/html; charset=utf-8")
        assert reply.reason.encode() in reply.body


# --- over HTTP

PASSES = """
[passes]
key_id = "K1"
private_key = "file:private.pem"

[catalogue]
url = "sqlite:///catalogue.db"
"""


@contextlib.asynccontextmanager
async def served(folder: Path, kind: str = "folder", more: str = "") -> AsyncIterator[InProcess]:
    """A gateway with these objects in a store of this kind, a catalogue in a file, and passes."""
    objects = {**FILES, "team/a.txt": b"team", "team/ü +%.txt": b"odd", "team/secret/x": b"x", "other/x": b"x"}
    prepare(folder, objects if kind == "folder" else {})
    (folder / "private.pem").write_bytes(new_pair("ec").private)
    catalogue = open_catalogue(f"sqlite://{folder / 'catalogue.db'}", create=True)
    catalogue.put([Content("odd", "team/ü +%.txt", "Odd", "text/plain", {"a": "1"}), Content("x", "team/secret/x")])
    catalogue.close()
    store = None
    if kind == "memory":
        store = MemoryStore()
        for key, body in objects.items():
            store.put(key, body)
    async with serving(folder, settings_text(more=PASSES + more), store=store) as here:
        yield here


@pytest.mark.parametrize("kind", ["folder", "memory"])
async def test_what_is_listed_can_be_fetched_and_nothing_else(tmp_path: Path, kind: str) -> None:
    line = bearer_line(fresh_token())
    async with served(tmp_path, kind) as here, wire(here.port) as connection:
        found, cursor = list[dict[str, Any]](), ""
        while True:
            heard = await connection.ask(f"/-/s3objects?limit=2{cursor}", "GET", line)
            assert heard.status == 200, heard.body
            page = json.loads(heard.body)
            found += page["Contents"]
            if not page["IsTruncated"]:
                break
            cursor = f"&cursor={page['NextCursor']}"
        names = [one["Key"] for one in found]
        assert names == ["public/logo.png", "team/a.txt", "team/ü +%.txt", "users/ann/diary.txt"]
        for one in found:
            heard = await connection.ask("/" + quote(one["Key"]), "GET", line)
            assert (heard.status, heard.field("etag"), len(heard.body)) == (200, one["ETag"], one["Size"])
            assert formatdate(datetime.fromisoformat(one["LastModified"]).timestamp(), usegmt=True) == heard.field(
                "last-modified"
            )
        heard = await connection.ask("/-/s3objects?delimiter=/&prefix=users/", "GET", line)
        assert json.loads(heard.body)["CommonPrefixes"] == [{"Prefix": "users/ann/"}]


@pytest.mark.parametrize("kind", ["folder", "memory"])
async def test_a_content_id_leads_to_the_object(tmp_path: Path, kind: str) -> None:
    line = bearer_line(fresh_token())
    async with served(tmp_path, kind) as here, wire(here.port) as connection:
        about = json.loads((await connection.ask("/-/contents/odd", "GET", line)).body)
        target = about["url"].removeprefix(HTTP_SITE)
        assert about == {
            "id": "odd",
            "title": "Odd",
            "contentType": "text/plain",
            "attributes": {"a": "1"},
            "url": f"{HTTP_SITE}/team/%C3%BC%20%2B%25.txt",
        }
        assert (await connection.ask(target, "GET", line)).body == b"odd"
        assert (await connection.ask(target)).status == 401
        before = int(time.time())
        signed = json.loads((await connection.ask("/-/contents/odd?signed&expires_in=60", "GET", line)).body)
        assert before <= signed["expires"] - 60 <= time.time()
        assert (await connection.ask(signed["url"].removeprefix(HTTP_SITE))).body == b"odd"
        heard = await connection.ask("/-/contents/x?signed", "GET", line)
        assert (heard.status, heard.code) == (403, "denied")
        heard = await connection.ask("/-/contents/odd", "HEAD", line)
        assert (heard.status, heard.body) == (200, b"")


async def test_the_address_of_a_file_can_be_had_signed(tmp_path: Path) -> None:
    """Row by row what the article's readers do: list, ask for a URL, open it without anything else."""
    line = bearer_line(fresh_token())
    async with served(tmp_path) as here, wire(here.port) as connection:
        body = b'{"file": "team/a.txt"}'
        heard = await connection.ask("/-/urls", "POST", line, f"Content-Length: {len(body)}", body=body)
        assert heard.status == 201
        assert set(json.loads(heard.body)) == {"signedUrl", "expires"}
        assert (await connection.ask(json.loads(heard.body)["signedUrl"].removeprefix(HTTP_SITE))).body == b"team"


async def test_a_body_that_is_too_long_is_refused_and_none_of_it_is_taken_for_a_request(tmp_path: Path) -> None:
    line = bearer_line(fresh_token())
    smuggled = message("/team/a.txt", "GET", line)
    body = smuggled * (MAX_BODY_BYTES // len(smuggled) + 2)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    async with served(tmp_path) as here:
        for length, sent in ((f"Content-Length: {len(body)}", body), ("Transfer-Encoding: chunked", chunked)):
            async with wire(here.port) as connection:
                heard = await connection.ask("/-/urls", "POST", line, length, body=sent)
                assert (heard.status, heard.code) == (413, "body")
                await connection.send(message("/public/logo.png", "GET", "Connection: close"))
                assert b"team" not in await connection.ended()
        lines = here.lines()
    assert {one["path"] for one in lines} <= {"/-/urls", "/public/logo.png"}


async def test_a_body_may_be_just_as_long_as_it_is_said(tmp_path: Path) -> None:
    line = bearer_line(fresh_token())
    async with served(tmp_path) as here, wire(here.port) as connection:
        for more, status in ((0, 201), (1, 413)):
            body = b'{"file":"team/a.txt"}'.ljust(MAX_BODY_BYTES + more)
            heard = await connection.ask("/-/urls", "POST", line, f"Content-Length: {len(body)}", body=body)
            assert heard.status == status


@pytest.mark.parametrize("length", ["Content-Length: 20", "Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, length: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "BODY_WITHIN", 0.2)
    async with served(tmp_path) as here, wire(here.port) as connection:
        heard = await connection.ask("/-/urls", "POST", length)
        assert (heard.status, heard.code) == (408, "body")


async def test_a_body_in_pieces_is_one(tmp_path: Path) -> None:
    line = bearer_line(fresh_token())
    async with served(tmp_path) as here:
        pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"file":"team/a.txt"}') + b"0\r\n\r\n"
        heard = await ask(here.port, "/-/urls", "POST", line, "Transfer-Encoding: chunked", body=pieces)
        assert heard.status == 201
        packed = gzip.compress(b'{"file":"team/a.txt"}')
        lines = (line, "Content-Encoding: gzip", f"Content-Length: {len(packed)}")
        heard = await ask(here.port, "/-/urls", "POST", *lines, body=packed)
        assert (heard.status, heard.code) == (400, "body")


async def test_every_refusal_over_http_has_one_shape(tmp_path: Path) -> None:
    many = [f"X-{number}: 1" for number in range(101)]
    async with served(tmp_path) as here, wire(here.port) as connection:
        for target, method, lines, status in (
            ("/team/a.txt", "GET", [], 401),
            ("/%00", "GET", [], 400),
            ("/team/a.txt", "DELETE", [], 405),
            ("/-/urls", "POST", ["Content-Length: 0"], 400),
            ("/-/urls", "POST", ["Content-Length: 0", "Origin: https://other.example"], 403),
            ("/-/nothing", "POST", ["Content-Length: 0"], 404),
            ("/-/healthz", "PUT", ["Content-Length: 0"], 405),
            ("/public/none", "GET", [], 404),
            ("/public/logo.png", "GET", ["Range: bytes=99-"], 416),
            ("/public/logo.png", "GET", ['If-Match: "x"'], 412),
            ("/public/logo.png", "GET", many, 431),
        ):
            heard = await connection.ask(target, method, *lines)
            reply = Reply(
                heard.status,
                tuple((name.encode(), value.encode()) for name, value in heard.fields),
                heard.body,
                heard.code,
            )
            assert problem(reply)[0] == status, target
            assert heard.field("content-length") == str(len(heard.body))
