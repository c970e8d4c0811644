"""What a browser, a player or a cache hears about an object: ranges, conditions, caching, and what does no harm."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import time
from collections.abc import AsyncIterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from stagedoor.core.messages import Request, Serve
from stagedoor.gateway.conditions import http_date
from stagedoor.gateway.objects import SANDBOX, answer_object, attachment, private_cache_control
from stagedoor.store.memory import MemoryStore
from stagedoor.store.port import Head, Meta
from tests.helpers import linting
from tests.helpers.serving import (
    PATIENCE,
    bearer_line,
    fresh_token,
    listening,
    make_gateway,
    message,
    prepare,
    settings_text,
    wire,
)
from tests.helpers.stores import KINDS, Fields, let_in, make
from tests.helpers.support import says_nothing_twice

TEN = b"0123456789"
LARGE = bytes(range(256)) * 2048
OBJECTS = {"public/ten": TEN, "public/empty": b"", "public/large": LARGE, "team/ten": TEN}


class Site(NamedTuple):
    client: httpx.AsyncClient
    etag: str
    modified: int

    async def get(self, path: str, method: str = "GET", **fields: str) -> httpx.Response:
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        return await self.client.request(method, path, headers=headers)


@contextlib.asynccontextmanager
async def site_of(
    kind: str,
    folder: Path,
    objects: Mapping[str, bytes],
    fields: Mapping[str, Fields] | None = None,
    site: str = "",
) -> AsyncIterator[httpx.AsyncClient]:
    prepare(folder)
    gateway = make_gateway(
        folder, settings_text(f'store = "memory:"\n{site}'), store=make(kind, folder, objects, fields)
    )
    async with (
        listening(gateway) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"accept-encoding": "identity"},
            event_hooks=linting.HOOKS,
            timeout=PATIENCE,
        ) as client,
    ):
        yield client


@pytest.fixture(params=KINDS)
async def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    let_in(monkeypatch)
    async with site_of(request.param, tmp_path, OBJECTS) as client:
        answer = await client.get("/public/ten")
        modified = httpx.Headers(answer.headers)["last-modified"]
        yield Site(client, answer.headers["etag"], epoch(modified))


def epoch(date: str) -> int:
    from email.utils import parsedate_to_datetime

    return int(parsedate_to_datetime(date).timestamp())


def date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


# --- ranges (FACTS: "S3 reads, done right"; RFC 9110 §14)


RANGES: Mapping[str, tuple[int, bytes, str | None]] = {
    "bytes=0-": (206, TEN, "bytes 0-9/10"),
    "bytes=0-9": (206, TEN, "bytes 0-9/10"),
    "bytes=0-0": (206, b"0", "bytes 0-0/10"),
    "bytes=3-5": (206, b"345", "bytes 3-5/10"),
    "bytes=9-9": (206, b"9", "bytes 9-9/10"),
    "bytes=9-": (206, b"9", "bytes 9-9/10"),
    "bytes=5-999": (206, b"56789", "bytes 5-9/10"),
    "bytes=0-99999999999999999": (206, TEN, "bytes 0-9/10"),
    "bytes=-3": (206, b"789", "bytes 7-9/10"),
    "bytes=-10": (206, TEN, "bytes 0-9/10"),
    "bytes=-999": (206, TEN, "bytes 0-9/10"),
    "BYTES=3-5": (206, b"345", "bytes 3-5/10"),
    "bytes=10-": (416, b"", "bytes */10"),
    "bytes=10-20": (416, b"", "bytes */10"),
    "bytes=999999999999-": (416, b"", "bytes */10"),
    "bytes=-0": (416, b"", "bytes */10"),
    "bytes=5-3": (200, TEN, None),
    "bytes=-": (200, TEN, None),
    "bytes=": (200, TEN, None),
    "bytes": (200, TEN, None),
    "bytes=a-b": (200, TEN, None),
    "bytes=1-2-3": (200, TEN, None),
    "bytes=--1": (200, TEN, None),
    "bytes=+1-2": (200, TEN, None),
    "bytes=0x1-2": (200, TEN, None),
    "bytes 1-2": (200, TEN, None),
    "items=0-1": (200, TEN, None),
    "bytes=0-1,3-4": (200, TEN, None),
    "bytes=0-1,": (200, TEN, None),
    "bytes=" + "0-," * 500 + "0-": (200, TEN, None),
    "bytes=99999999999999999999999999-": (416, b"", "bytes */10"),
}


async def test_ranges(site: Site) -> None:
    for asked, (status, body, part) in RANGES.items():
        heard = await site.get("/public/ten", range=asked)
        assert (heard.status_code, heard.headers.get("content-range")) == (status, part), asked
        if status == 416:
            assert heard.headers["cache-control"] == "no-store"
            assert heard.json()["code"] == "range"
        else:
            assert heard.content == body, asked
            assert heard.headers["content-length"] == str(len(body)), asked
            assert heard.headers["accept-ranges"] == "bytes"
            assert heard.headers["etag"] == site.etag


async def test_no_range_of_an_empty_object_can_be_had(site: Site) -> None:
    for asked in ("bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=5-9"):
        heard = await site.get("/public/empty", range=asked)
        assert (heard.status_code, heard.headers["content-range"]) == (416, "bytes */0"), asked
    heard = await site.get("/public/empty")
    assert (heard.status_code, heard.content, heard.headers["content-length"]) == (200, b"", "0")


async def test_large_objects_have_ranges_too(site: Site) -> None:
    for asked, start, stop in (
        ("bytes=100000-400000", 100_000, 400_001),
        ("bytes=-300000", len(LARGE) - 300_000, None),
    ):
        heard = await site.get("/public/large", range=asked)
        assert heard.status_code == 206
        assert heard.content == LARGE[start:stop]
    assert (await site.get("/public/large")).content == LARGE


async def test_two_range_lines_get_the_whole(site: Site) -> None:
    heard = await site.client.get("/public/ten", headers=[("range", "bytes=0-1"), ("range", "bytes=3-4")])
    assert (heard.status_code, heard.content) == (200, TEN)


# --- conditions (RFC 9110 §13)


class Case(NamedTuple):
    """Header fields, in which E is the entity tag, O another, N now (as modified), P a second before, L one later."""

    status: int
    fields: Mapping[str, str]


CONDITIONS = (
    Case(200, {"if-match": "E"}),
    Case(200, {"if-match": "*"}),
    Case(200, {"if-match": "O, E"}),
    Case(412, {"if-match": "O"}),
    Case(412, {"if-match": "W/E"}),
    Case(412, {"if-match": "nonsense"}),
    Case(304, {"if-none-match": "E"}),
    Case(304, {"if-none-match": "*"}),
    Case(304, {"if-none-match": "O, E"}),
    Case(304, {"if-none-match": "O,W/E"}),
    Case(304, {"if-none-match": "W/E"}),
    Case(200, {"if-none-match": "O"}),
    Case(200, {"if-none-match": "nonsense"}),
    Case(304, {"if-modified-since": "N"}),
    Case(304, {"if-modified-since": "L"}),
    Case(200, {"if-modified-since": "P"}),
    Case(200, {"if-modified-since": "yesterday"}),
    Case(200, {"if-unmodified-since": "N"}),
    Case(200, {"if-unmodified-since": "L"}),
    Case(412, {"if-unmodified-since": "P"}),
    Case(200, {"if-unmodified-since": "yesterday"}),
    # which of them counts
    Case(200, {"if-match": "E", "if-unmodified-since": "P"}),
    Case(412, {"if-match": "O", "if-unmodified-since": "L"}),
    Case(304, {"if-none-match": "E", "if-modified-since": "P"}),
    Case(200, {"if-none-match": "O", "if-modified-since": "L"}),
    Case(304, {"if-match": "E", "if-none-match": "E"}),
    Case(412, {"if-match": "O", "if-none-match": "E"}),
    Case(412, {"if-unmodified-since": "P", "if-none-match": "E"}),
    Case(304, {"if-unmodified-since": "N", "if-modified-since": "N"}),
    Case(412, {"if-unmodified-since": "P", "if-modified-since": "N"}),
    # conditions come before ranges
    Case(206, {"if-match": "E", "range": "bytes=3-5"}),
    Case(412, {"if-match": "O", "range": "bytes=3-5"}),
    Case(412, {"if-match": "O", "range": "bytes=50-"}),
    Case(304, {"if-none-match": "E", "range": "bytes=3-5"}),
    Case(304, {"if-none-match": "E", "range": "bytes=50-"}),
    Case(206, {"if-none-match": "O", "range": "bytes=3-5"}),
    Case(416, {"if-none-match": "O", "range": "bytes=50-"}),
    # If-Range
    Case(206, {"if-range": "E", "range": "bytes=3-5"}),
    Case(200, {"if-range": "O", "range": "bytes=3-5"}),
    Case(200, {"if-range": "W/E", "range": "bytes=3-5"}),
    Case(206, {"if-range": "N", "range": "bytes=3-5"}),
    Case(200, {"if-range": "P", "range": "bytes=3-5"}),
    Case(200, {"if-range": "L", "range": "bytes=3-5"}),
    Case(200, {"if-range": "nonsense", "range": "bytes=3-5"}),
    Case(200, {"if-range": "O", "range": "bytes=50-"}),
    Case(416, {"if-range": "E", "range": "bytes=50-"}),
    Case(200, {"if-range": "E"}),
    Case(304, {"if-range": "O", "if-none-match": "E", "range": "bytes=3-5"}),
)


async def test_conditions(site: Site) -> None:
    meanings = {"E": site.etag, "O": '"other"', "W/E": f"W/{site.etag}", "O, E": f'"other", {site.etag}'}
    meanings |= {"O,W/E": f'"other",W/{site.etag}'}
    meanings |= {"N": date(site.modified), "P": date(site.modified - 1), "L": date(site.modified + 1)}
    for case in CONDITIONS:
        fields = {name.replace("-", "_"): meanings.get(value, value) for name, value in case.fields.items()}
        heard = await site.get("/public/ten", **fields)
        assert heard.status_code == case.status, case
        expected = {200: TEN, 206: b"345", 304: b""}
        if case.status in expected:
            assert heard.content == expected[case.status], case
            assert heard.headers["etag"] == site.etag
        if case.status == 206:
            assert heard.headers["content-range"] == "bytes 3-5/10"
        # HEAD judges the same conditions; ranges are for GET alone (RFC 9110 §14.2)
        status = {206: 200, 416: 200}.get(case.status, case.status)
        head = await site.get("/public/ten", "HEAD", **fields)
        assert (head.status_code, head.content) == (status, b""), case
        if status == 200:
            assert head.headers["content-length"] == "10"


async def test_not_modified_says_what_a_cache_needs_and_no_more(site: Site) -> None:
    token = {"authorization": f"Bearer {fresh_token()}"}
    etag = (await site.get("/team/ten", **token)).headers["etag"]
    heard = await site.get("/team/ten", if_none_match=etag, **token)
    assert heard.status_code == 304
    assert heard.headers["etag"] == etag
    assert heard.headers["cache-control"] == "private, no-cache"
    assert heard.headers["vary"] == "Cookie, Authorization"
    assert "content-type" not in heard.headers
    assert heard.headers.get("content-length", "10") == "10"


async def test_no_condition_answers_those_who_may_not_read(site: Site) -> None:
    """A 304, 206, 412 or 416 would tell that the object is there, and which version (invariant 3)."""
    for case in CONDITIONS:
        fields = {name.replace("-", "_"): value.replace("E", site.etag) for name, value in case.fields.items()}
        for method in ("GET", "HEAD"):
            assert (await site.get("/team/ten", method, **fields)).status_code == 401
            assert (await site.get("/team/none", method, **fields)).status_code == 401


async def test_a_missing_object_is_404_whatever_was_asked(site: Site) -> None:
    for case in CONDITIONS:
        fields = {name.replace("-", "_"): value for name, value in case.fields.items()}
        heard = await site.get("/public/none", **fields)
        assert (heard.status_code, heard.headers["cache-control"]) == (404, "no-store")
    head = await site.get("/public/none", "HEAD")
    assert (head.status_code, head.content) == (404, b"")


async def test_head_says_what_get_would(site: Site) -> None:
    for path in ("/public/ten", "/public/empty", "/public/large", "/public/none", "/team/ten"):
        get, head = await site.get(path), await site.get(path, "HEAD")
        assert head.status_code == get.status_code
        assert head.content == b""
        skipped = {"date"}
        assert {n: v for n, v in head.headers.items() if n not in skipped} == {
            n: v for n, v in get.headers.items() if n not in skipped
        }


async def test_entity_tags_are_quoted_and_differ_with_the_bytes(site: Site) -> None:
    tags = {(await site.get(path)).headers["etag"] for path in ("/public/ten", "/public/empty", "/public/large")}
    assert len(tags) == 3
    assert all(tag[0] == tag[-1] == '"' and '"' not in tag[1:-1] for tag in tags)


# --- caching


STORED_CACHE = {
    "": ("private, no-cache", None),
    "max-age=60": ("private, max-age=60", "max-age=60"),
    "public, max-age=60": ("private, max-age=60", "public, max-age=60"),
    "Public, MAX-AGE=60, S-MaxAge=9": ("private, MAX-AGE=60", "Public, MAX-AGE=60, S-MaxAge=9"),
    "s-maxage=600": ("private, no-cache", "s-maxage=600"),
    "public": ("private, no-cache", "public"),
    "private, max-age=5": ("private, max-age=5", "private, max-age=5"),
    "max-age=60, immutable, stale-while-revalidate=5": (
        "private, max-age=60, immutable, stale-while-revalidate=5",
        "max-age=60, immutable, stale-while-revalidate=5",
    ),
    "no-store": ("private, no-store", "no-store"),
    "no-cache": ("private, no-cache", "no-cache"),
    "must-revalidate": ("private, must-revalidate, no-cache", "must-revalidate"),
    "proxy-revalidate, max-age=1": ("private, max-age=1", "proxy-revalidate, max-age=1"),
    " , ,max-age=1": ("private, max-age=1", None),
}


@pytest.mark.parametrize("kind", ["memory", "s3"])
async def test_private_things_stay_out_of_shared_caches(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(monkeypatch)
    names = {f"{place}/{number}": stored for number, stored in enumerate(STORED_CACHE) for place in ("public", "team")}
    fields = {key: Fields(CacheControl=stored) for key, stored in names.items()}
    async with site_of(kind, tmp_path, dict.fromkeys(names, b"x"), fields) as client:
        token = {"authorization": f"Bearer {fresh_token()}"}
        for key, stored in names.items():
            private, public = STORED_CACHE[stored]
            for method in ("GET", "HEAD"):
                heard = await client.request(method, f"/{key}", headers=token)
                if key.startswith("team"):
                    assert heard.headers["cache-control"] == private, stored
                    assert heard.headers["vary"] == "Cookie, Authorization"
                    assert "expires" not in heard.headers
                elif public is not None or not stored:
                    assert heard.headers.get("cache-control") == public
                    assert "vary" not in heard.headers


def test_whatever_is_stored_the_answer_is_private() -> None:
    for stored in (b"", b"public", b'private="x, public"', b"PUBLIC,max-age=1", b"s-maxage = 5", b",,,", b"a" * 5000):
        directives = private_cache_control(stored).lower().split(b", ")
        assert directives[0] == b"private"
        assert b"public" not in directives[1:]


async def test_refusals_are_never_stored(site: Site) -> None:
    for path in ("/team/ten", "/public/none", "/-/whoami", "/-/none", "/-/healthz", "/", "/public/a%2fb"):
        heard = await site.get(path)
        assert heard.headers["cache-control"] == "no-store", path
        assert heard.headers["x-content-type-options"] == "nosniff"
        assert heard.headers["referrer-policy"] in ("same-origin", "no-referrer")


async def test_a_token_in_the_url_goes_no_further(site: Site) -> None:
    heard = await site.get(f"/team/ten?token={fresh_token()}")
    assert (heard.status_code, heard.headers["referrer-policy"]) == (200, "no-referrer")
    heard = await site.get(f"/public/ten?token={fresh_token()}")
    assert heard.headers["referrer-policy"] == "no-referrer"
    assert heard.headers["cache-control"] == "private, no-cache"
    assert (await site.get("/public/ten")).headers["referrer-policy"] == "same-origin"


# --- odd objects


async def test_no_object_was_modified_later_than_now(tmp_path: Path) -> None:
    """RFC 9110 §8.8.2.1; a file may have any date."""
    moments = {"public/future": time.time() + 86_400, "public/late": 2.0**40, "public/early": -(2.0**36)}
    async with site_of("folder", tmp_path, dict.fromkeys(moments, b"x")) as client:
        for key, moment in moments.items():
            os.utime(tmp_path / "store" / key, (moment, moment))
            for heard in (await client.get(f"/{key}"), await client.head(f"/{key}")):
                said = epoch(heard.headers["last-modified"])
                assert 0 <= said <= epoch(heard.headers["date"])
                assert said == 0 or time.time() - said < 60
        listed = await client.get("/-/s3objects?prefix=public/")
        assert listed.status_code == 200


@pytest.mark.parametrize("path", ["/public/a", "/team/a"])
async def test_stored_fields_that_are_not_utf8_go_out_as_they_are(path: str, tmp_path: Path) -> None:
    prepare(tmp_path)
    odd = b'inline; filename="caf\xe9.txt"'
    store = MemoryStore()
    fields = ((b"content-disposition", odd), (b"cache-control", b"max-age=60, x=\xff"), (b"content-encoding", b"gzip"))
    store.put(path[1:], gzip.compress(b"hello"), headers=fields)
    gateway = make_gateway(tmp_path, settings_text('store = "memory:"'), store=store)
    token = bearer_line(fresh_token())
    async with listening(gateway) as port, wire(port) as connection:
        for method in ("GET", "HEAD"):
            await connection.send(message(path, method, token))
            status, found = await connection.head()
            named = dict(found)
            if method == "GET":
                await connection.reader.readexactly(int(named["content-length"]))
            assert status == 200
            assert named["content-disposition"].encode("latin-1") == odd
            assert named["content-encoding"] == "gzip", "without it nobody could read the bytes"
            assert "max-age=60" in named["cache-control"]


# --- what could do harm


HARMFUL = (
    "text/html",
    "TEXT/HTML; charset=utf-8",
    "image/svg+xml",
    "application/xhtml+xml",
    "text/xml",
    "application/xml",
    "image/x+xml",
    "image/x+xml ;charset=utf-8",
    "image/x+xml\t; charset=utf-8",
    "audio/a+html",
    "font/x.xml",
    "application/vnd.ms-x+xml",
)
HARMLESS = (
    *("text/plain", "image/png", "application/pdf", "video/mp4", "application/json", "text/css"),
    *("image/vnd.microsoft.icon", "audio/vnd.wave;codec=1", "video/vnd.dlna.mpeg-tts", "application/vnd.ms-excel"),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
)
PARTS = ("multipart/x-mixed-replace;boundary=a", "Multipart/Related", "multipart/form-data")
"""Types whose parts bring header fields of their own."""
NO_TYPE = (*PARTS, "nonsense", "text", "text/html,text/plain", "a/b/c", "text /html", "x")


@pytest.mark.parametrize("kind", ["memory", "s3"])
async def test_what_could_run_scripts_is_sandboxed(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_in(monkeypatch)
    types = dict(enumerate((*HARMFUL, *HARMLESS, *NO_TYPE)))
    objects = {f"public/{number}": b"<script>alert(1)</script>" for number in types}
    fields = {f"public/{number}": Fields(ContentType=type_) for number, type_ in types.items()}
    async with site_of(kind, tmp_path, objects, fields) as client:
        for number, type_ in types.items():
            for heard in (await client.get(f"/public/{number}"), await client.head(f"/public/{number}")):
                assert heard.headers["x-content-type-options"] == "nosniff"
                policy = heard.headers.get("content-security-policy")
                if type_ in HARMFUL:
                    assert policy == SANDBOX.decode(), type_
                    assert heard.headers["content-type"] == type_
                elif type_ in HARMLESS:
                    assert policy is None, type_
                    assert heard.headers["content-type"] == type_
                else:
                    assert heard.headers["content-type"] == "application/octet-stream", type_
            part = await client.get(f"/public/{number}", headers={"range": "bytes=1-6"})
            assert (part.headers.get("content-security-policy") is None) == (policy is None)


async def test_names_that_end_like_pages_are_sandboxed_in_a_folder(tmp_path: Path) -> None:
    names = ("a.html", "a.htm", "a.svg", "a.xhtml", "a.xml", "a.HTML", "a.xsl", "a.rdf", "a.shtml", "a.mht")
    async with site_of("folder", tmp_path, {f"public/{name}": b"<script>" for name in names}) as client:
        for name in names:
            heard = await client.get(f"/public/{name}")
            harmless = heard.headers["content-type"] in ("application/octet-stream", "message/rfc822")
            assert harmless or heard.headers["content-security-policy"] == SANDBOX.decode(), name


async def test_pages_of_a_site_that_trusts_them_run(tmp_path: Path) -> None:
    async with site_of("folder", tmp_path, {"public/a.html": b"<script>"}, site="trust_html = true") as client:
        heard = await client.get("/public/a.html")
        assert "content-security-policy" not in heard.headers
        assert heard.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("kind", ["memory", "s3"])
async def test_visitors_choose_no_header_fields_but_download(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_in(monkeypatch)
    key = 'public/dir/ü "a";b%.txt'
    async with site_of(kind, tmp_path, {key: b"x"}, {key: Fields(ContentType="text/plain")}) as client:
        path = "/public/dir/%C3%BC%20%22a%22%3Bb%25.txt"
        plain = await client.get(path)
        overrides = "response-content-type=text/html&response-cache-control=public&response-content-disposition=inline"
        for query in (
            overrides,
            "versionId=null",
            "partNumber=1",
            "x-id=GetObject",
            "uploads",
            "acl",
            "downloads",
            "Download",
        ):
            heard = await client.get(f"{path}?{query}")
            changed = set(heard.headers.items()) ^ set(plain.headers.items())
            assert {name for name, _ in changed} <= {"date"}, query
        for query in ("download", "download=", "download=1", "a=b&download", "%64ownload"):
            heard = await client.get(f"{path}?{query}")
            disposition = heard.headers["content-disposition"]
            assert disposition == "attachment; filename=\"_ _a_;b_.txt\"; filename*=UTF-8''%C3%BC%20%22a%22%3Bb%25.txt"
            assert heard.headers["content-type"] == "text/plain"


def test_no_name_can_break_out_of_the_disposition() -> None:
    for name in ('a"; filename="b.exe', "a\\", "a\r\nSet-Cookie: a=b", "ü", "🎭", "a%0d%0a", "\x7f", ""):
        value = attachment(name)
        assert value.startswith(b'attachment; filename="')
        assert value.count(b'"') == 2
        assert not set(value) & {0x0D, 0x0A, 0x5C, 0x7F}
        value.decode("ascii")


async def test_a_stored_disposition_is_kept_and_download_is_stronger(tmp_path: Path) -> None:
    fields = {"public/a": Fields(ContentDisposition='inline; filename="x.txt"')}
    async with site_of("memory", tmp_path, {"public/a": b"x"}, fields) as client:
        assert (await client.get("/public/a")).headers["content-disposition"] == 'inline; filename="x.txt"'
        heard = await client.get("/public/a?download")
        assert heard.headers.get_list("content-disposition") == ["attachment; filename=\"a\"; filename*=UTF-8''a"]


async def test_stored_fields_cannot_split_the_answer(tmp_path: Path) -> None:
    values = ("a\r\nSet-Cookie: token=evil", "a\nb: c", "a\x00b", "a\x7f")
    objects = {f"public/{number}": b"x" for number in range(len(values))}
    fields = {
        f"public/{number}": Fields("text/plain\r\nx: y", value, value, value, value, value)
        for number, value in enumerate(values)
    }
    async with site_of("memory", tmp_path, objects, fields) as client:
        for key in objects:
            heard = await client.get(f"/{key}")
            assert heard.status_code == 200
            assert heard.headers["content-type"] == "application/octet-stream"
            assert not {"set-cookie", "b", "x", "cache-control", "content-disposition"} & set(heard.headers)


# --- pages that stand in for others


async def test_index_and_fallback_are_asked_of_the_policy_under_their_own_names(tmp_path: Path) -> None:
    objects = {"public/index.html": b"index", "team/index.html": b"team's", "public/app.html": b"app"}
    site = 'index = "index.html"\nfallback = "public/app.html"\ntrust_html = true'
    page = {"sec-fetch-mode": "navigate"}
    async with site_of("memory", tmp_path, objects, site=site) as client:
        assert (await client.get("/public/")).content == b"index"
        assert (await client.get("/public/route", headers=page)).content == b"app"
        assert (await client.get("/public/route")).status_code == 404
        assert (await client.get("/team/")).status_code == 401
        assert (await client.get("/team/route", headers=page)).status_code == 401
        heard = await client.get("/team/route", headers={**page, "authorization": f"Bearer {fresh_token()}"})
        assert heard.content == b"app"
        assert heard.headers["cache-control"].startswith("private")


async def test_problems_are_pages_for_people_and_json_for_programs(tmp_path: Path) -> None:
    async with site_of("memory", tmp_path, {"public/a": b"x"}, site='index = "index.html"') as client:
        for path, fields in (
            ("/public/none", {}),
            ("/public/", {}),
            ("/public/a", {"if-match": '"o"'}),
            ("/public/a", {"range": "bytes=9-"}),
        ):
            heard = await client.get(path, headers=fields)
            assert heard.headers["content-type"] == "application/problem+json"
            assert json.loads(heard.content)["status"] == heard.status_code
            heard = await client.get(path, headers={**fields, "sec-fetch-mode": "navigate"})
            assert heard.headers["content-type"] == "text/html; charset=utf-8"
            assert "default-src 'none'" in heard.headers["content-security-policy"]
            assert '<p class="site">127.0.0.1:8080</p>' in heard.text
            assert '<a href="/">' in heard.text
            says_nothing_twice(heard.text)


class Replaced(MemoryStore):
    """An object that is replaced between the question what it is and the question for its bytes."""

    async def head(self, wish: Head) -> Meta | None:
        meta = await super().head(wish)
        self.put(wish.key, b"new")
        return meta


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        *(("If-Match", 412), ("If-Unmodified-Since", 412)),
        *(("If-None-Match", 200), ("If-Range", 200), ("If-Modified-Since", 200)),
    ],
)
async def test_an_object_replaced_meanwhile_is_the_new_one_or_a_failed_precondition(
    condition: str, status: int
) -> None:
    store = Replaced()
    store.put("a", b"old")
    meta = await MemoryStore.head(store, Head("a"))
    assert meta is not None
    value = {
        "If-Match": meta.etag,
        "If-Range": meta.etag,
        "If-None-Match": b'"other"',
        "If-Unmodified-Since": http_date(meta.modified),
    }.get(condition, b"Thu, 01 Jan 1970 00:00:00 GMT")
    headers = {condition.lower().encode(): [value], b"range": [b"bytes=0-1"]}
    serve = Serve("a", "rules[0]", "", True)
    answer = await answer_object(store, serve, Request("GET", b"/a", b"", headers), trust_html=False)
    assert answer.status == status
    assert status == 412 or answer.body == b"new"


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        (b"max-age=600", b"private, max-age=60"),
        (b"max-age=5", b"private, max-age=5"),
        (b'MAX-AGE="600"', b"private, max-age=60"),
        (b"max-age=x", b"private, max-age=0"),
        (b"max-age=", b"private, max-age=0"),
        (b"max-age=99999999999999999999", b"private, max-age=60"),
        (b"no-cache, max-age=600", b"private, no-cache, max-age=60"),
        (b"max-age=600, must-revalidate, a=b", b"private, max-age=60, must-revalidate, a=b"),
        (b"max-age=600, immutable, stale-while-revalidate=5, stale-if-error=5", b"private, max-age=60"),
        (b"public, s-maxage=9", b"private, no-cache"),
        (b"", b"private, no-cache"),
        (b"no-store", b"private, no-store"),
    ],
)
def test_no_copy_is_used_longer_than_what_opened_it(stored: bytes, said: bytes) -> None:
    assert private_cache_control(stored, 60) == said
