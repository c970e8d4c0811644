"""What reaches S3, to the byte, and what becomes of every answer that it can give."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from stagedoor.core.errors import StoreRefused, StoreUnavailable, UnusableKey
from stagedoor.store import s3 as module
from stagedoor.store.port import Head, Range
from stagedoor.store.s3 import S3Store
from tests.helpers.serving import (
    Ended,
    InProcess,
    Recorded,
    ask,
    bearer_line,
    fresh_token,
    message,
    plain_answer,
    prepare,
    scripted,
    serving,
    settings_text,
    targets,
    wire,
)
from tests.helpers.stores import FLAT_KEYS, ODD_KEYS, body, client, endpoint, let_in, new_bucket

STORED = ("last-modified: Tue, 14 Nov 2023 22:13:20 GMT", 'etag: "abc"', "content-type: text/plain")
FOUND = plain_answer("200 OK", b"hello", *STORED)


def refusal(status: str, code: str, *lines: str) -> bytes:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>words of {code}</Message></Error>'
    return plain_answer(status, text.encode(), "content-type: application/xml", *lines)


class Script:
    """A store with scripted answers: to HEAD without a body, as every server does."""

    def __init__(self) -> None:
        self.seen: Recorded = []
        self.port = 0
        self.answer: bytes | Callable[[bytes], bytes] = FOUND

    def __call__(self, head: bytes) -> bytes:
        made = self.answer if isinstance(self.answer, bytes) else self.answer(head)
        return made.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head.startswith(b"HEAD ") else made

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials, and a client that asks once; `test_a_store_that_is_busy_is_asked_again` is about the second time."""
    let_in(monkeypatch)
    monkeypatch.setattr(module, "RETRIES", 0)


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    made = Script()
    async with scripted(made, made.seen) as made.port:
        yield made


@contextlib.asynccontextmanager
async def store_at(address: str, prefix: str = "") -> AsyncIterator[S3Store]:
    store = S3Store("bucket", prefix, endpoint=address)
    try:
        yield store
    finally:
        await store.aclose()


@contextlib.asynccontextmanager
async def site_at(
    folder: Path, address: str, bucket: str = "s3://bucket", more: str = 'cache = "0"'
) -> AsyncIterator[InProcess]:
    """The whole gateway in front of this store."""
    prepare(folder)
    async with serving(folder, settings_text(f'store = "{bucket}"\nendpoint = "{address}"\n{more}')) as here:
        yield here


# --- what is asked


async def test_the_request_target_is_the_one_encoding_of_the_key(script: Script) -> None:
    async with store_at(script.endpoint) as store:
        for key in (*ODD_KEYS, *FLAT_KEYS):
            script.seen.clear()
            assert await body(store, key) == b"hello"
            assert targets(script.seen) == [f"/bucket/{quote(key, safe='/~')}".encode()], key


async def test_the_prefix_stands_before_every_key(script: Script) -> None:
    async with store_at(script.endpoint, "some/pre fix") as store:
        for key in ("a", "x//y", "trail/", "..hidden", "some/pre fix/a"):
            script.seen.clear()
            assert await body(store, key) == b"hello"
            assert targets(script.seen) == [f"/bucket/some/pre%20fix/{quote(key)}".encode()]
        script.seen.clear()
        with pytest.raises(UnusableKey):
            await body(store, "x" * 1020)
        assert script.seen == []


async def test_odd_keys_go_all_the_way_from_the_browser_to_the_bucket(script: Script, tmp_path: Path) -> None:
    async with site_at(tmp_path, script.endpoint) as here:
        for key in (*ODD_KEYS, *FLAT_KEYS):
            script.seen.clear()
            path = quote(f"public/{key}", safe="/~")
            assert (await ask(here.port, f"/{path}")).body == b"hello", key
            assert targets(script.seen) == [f"/bucket/{path}".encode()]


async def test_nothing_of_the_visitor_reaches_the_store(script: Script, tmp_path: Path) -> None:
    """But the range; and a condition becomes ours."""
    token = fresh_token()
    async with site_at(tmp_path, script.endpoint) as here:
        for method in ("GET", "HEAD"):
            async with wire(here.port) as connection:
                heard = await connection.ask(
                    f"/users/ann/a.txt?versionId=1&response-content-type=text/html&token={token}&x=visitor",
                    method,
                    f"Cookie: token={token}; other=visitor",
                    bearer_line(token),
                    "X-Amz-Security-Token: visitor",
                    "X-Amz-Server-Side-Encryption-Customer-Key: visitor",
                    "X-Forwarded-For: 203.0.113.9",
                    "Referer: https://visitor.example/",
                    "User-Agent: visitor",
                    "Range: bytes=0-9",
                    'If-None-Match: "visitor"',
                    "Accept-Encoding: visitor",
                    "If-Range: visitor",
                )
                assert heard.status == 200
    assert script.seen
    for head in script.seen:
        assert head.split(b" ")[1] == b"/bucket/users/ann/a.txt"
        lines = head.lower()
        assert token.encode().lower() not in lines
        for foreign in (b"visitor", b"cookie", b"203.0.113.9", b"referer", b"bearer", b"if-range"):
            assert foreign not in lines, foreign
        assert b"\r\nauthorization: aws4-hmac-sha256 credential=akiaexample/" in lines


async def test_the_visitors_range_is_asked_for_and_nothing_more(script: Script) -> None:
    async with store_at(script.endpoint) as store:
        for span, line, sent in (
            (Range(7, None), b"bytes=7-", "7-9"),
            (Range(None, 3), b"bytes=-3", "7-9"),
            (Range(3, 5), b"bytes=3-5", "3-5"),
        ):
            script.answer = plain_answer("206 Partial Content", b"345", *STORED, f"content-range: bytes {sent}/10")
            assert await body(store, "a", span) == b"345"
            assert b"\r\nrange: %s\r\n" % line in script.seen[-1].lower()
        await body(store, "a", Range(3, 5), b'"abc"')
        assert b'\r\nif-match: "abc"\r\n' in script.seen[-1].lower()


# --- redirects


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("code", ["PermanentRedirect", ""])
async def test_redirects_are_never_followed(script: Script, tmp_path: Path, status: str, code: str) -> None:
    """Neither to another host nor to another key; our signature would go with the question."""
    elsewhere: Recorded = []
    async with scripted(lambda _: plain_answer("200 OK", b"not yours", *STORED), elsewhere) as port:
        for location in (f"http://127.0.0.1:{port}/bucket/public/a", "/bucket/private/b"):
            script.seen.clear()
            script.answer = (
                refusal(status, code, f"location: {location}", "x-amz-bucket-region: eu-west-1")
                if code
                else plain_answer(status, b"", f"location: {location}")
            )
            async with site_at(tmp_path, script.endpoint) as here:
                for method in ("GET", "HEAD"):
                    async with wire(here.port) as connection:
                        heard = await connection.ask("/public/a", method)
                    assert heard.status in (502, 503)
                    assert b"not yours" not in heard.body
            assert set(targets(script.seen)) <= {b"/bucket/public/a", b"/bucket"}
            assert len(script.seen) <= 10, "it is not asked again and again"
    assert elsewhere == []


# --- what is not the visitor's fault


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        ("403 Forbidden", "SignatureDoesNotMatch", 502),
        ("403 Forbidden", "RequestTimeTooSkewed", 502),
        ("403 Forbidden", "InvalidAccessKeyId", 502),
        ("400 Bad Request", "ExpiredToken", 502),
        ("400 Bad Request", "InvalidToken", 502),
        ("403 Forbidden", "AllAccessDisabled", 502),
        ("404 Not Found", "NoSuchBucket", 502),
        ("503 Service Unavailable", "SlowDown", 503),
        ("429 Too Many Requests", "TooManyRequests", 503),
        ("400 Bad Request", "RequestTimeout", 503),
        ("503 Service Unavailable", "ServiceUnavailable", 503),
        ("500 Internal Server Error", "InternalError", 503),
        ("502 Bad Gateway", "", 503),
        ("403 Forbidden", "AccessDenied", 404),
        ("404 Not Found", "NoSuchKey", 404),
    ],
)
async def test_each_refusal_has_its_own_error(
    script: Script, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: str, code: str, expected: int
) -> None:
    script.answer = refusal(status, code)
    async with site_at(tmp_path, script.endpoint) as here:
        for method in ("GET", "HEAD"):
            if code == "NoSuchBucket" and method == "HEAD":
                continue  # an answer to HEAD cannot say what there is none of
            caplog.clear()
            async with wire(here.port) as connection:
                heard = await connection.ask("/public/a", method)
            assert heard.status == expected, method
            assert heard.field("cache-control") == "no-store"
            assert (heard.field("retry-after") is not None) == (expected == 503)
            if expected != 404 or code == "AccessDenied":
                level = logging.WARNING if expected == 404 else logging.ERROR
                assert any(record.levelno == level and "public/a" in record.message for record in caplog.records)
            assert b"words of" not in heard.body, "what the store says is for the owner"


async def test_a_store_that_is_busy_is_asked_again(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRIES", 1)

    def second_time(_: bytes) -> bytes:
        return FOUND if len(script.seen) > 1 else refusal("503 Slow Down", "SlowDown")

    script.answer = second_time
    async with store_at(script.endpoint) as store:
        assert await body(store, "a") == b"hello"
    assert len(script.seen) == 2


async def test_without_credentials_the_answer_is_502(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with site_at(tmp_path, script.endpoint) as here:
        heard = await ask(here.port, "/public/a")
        assert (heard.status, heard.code) == (502, "store-refused")
        assert (await ask(here.port, "/-/readyz")).status == 503
    assert script.seen == []


async def test_nobody_at_the_other_end_is_503(tmp_path: Path) -> None:
    async with scripted(lambda _: b"", []) as port:
        pass
    async with site_at(tmp_path, f"http://127.0.0.1:{port}") as here:
        heard = await ask(here.port, "/public/a")
        assert (heard.status, heard.code) == (503, "store-unavailable")
        assert heard.field("retry-after") == "5"
        assert (await ask(here.port, "/-/readyz")).status == 503
        assert (await ask(here.port, "/-/healthz")).status == 200


async def test_a_store_that_closes_without_an_answer_is_503(script: Script) -> None:
    script.answer = b""
    async with store_at(script.endpoint) as store:
        with pytest.raises(StoreUnavailable):
            await body(store, "a")


async def test_a_store_that_never_answers_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_: bytes) -> bytes:
        await asyncio.sleep(30)
        return b""

    monkeypatch.setattr(module, "ANSWER_WITHIN", 0.2)
    async with scripted(silent, []) as port, store_at(f"http://127.0.0.1:{port}") as store:
        with pytest.raises(StoreUnavailable):
            await body(store, "a")
        with pytest.raises(StoreUnavailable):
            await store.ready()


async def test_a_body_that_ends_early_breaks_off(script: Script, tmp_path: Path) -> None:
    """A short one is not sent at all; of a long one the client sees that bytes are missing."""
    async with site_at(tmp_path, script.endpoint) as here:
        script.answer = FOUND[:-2]
        assert (await ask(here.port, "/public/a")).status == 503
        script.answer = plain_answer("200 OK", bytes(1_000_000), *STORED)[:-300_000]
        async with wire(here.port) as connection:
            await connection.send(message("/public/a"))
            with pytest.raises(Ended):
                await connection.answer()
        assert (await ask(here.port, "/-/healthz")).status == 200


async def test_an_object_of_unknown_length_is_sent_only_if_it_is_small(script: Script) -> None:
    head = "\r\n".join(("HTTP/1.1 200 OK", *STORED))
    async with store_at(script.endpoint) as store:
        script.answer = f"{head}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode()
        assert await body(store, "a") == b"hello"
        size = 2_000_000  # more than comes at once
        large = f"{head}\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n".encode() + bytes(size)
        for answer in (large + b"\r\n0\r\n\r\n", f"{head}\r\n\r\nhello".encode()):
            script.answer = answer
            with pytest.raises(StoreRefused, match="how long"):
                await body(store, "a")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: "a"\r\n\r\nhello',
        b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\nlast-modified: yesterday\r\netag: "a"\r\n\r\nhello',
        b"HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\ncontent-range: bytes */9\r\n\r\nhello",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 416 Range Not Satisfiable\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=["no etag", "no date", "odd date", "odd range", "no HTTP", "416 that says nothing"],
)
async def test_a_store_that_speaks_oddly_is_no_open_door(script: Script, tmp_path: Path, answer: bytes) -> None:
    script.answer = answer
    async with site_at(tmp_path, script.endpoint) as here:
        heard = await ask(here.port, "/public/a", "GET", "Range: bytes=2-4")
    assert heard.status in (500, 502, 503)


async def test_a_store_that_does_not_tell_the_size_with_416_is_asked_for_it(script: Script, tmp_path: Path) -> None:
    script.answer = lambda head: FOUND if head.startswith(b"HEAD ") else refusal("416 No", "InvalidRange")
    async with site_at(tmp_path, script.endpoint) as here:
        heard = await ask(here.port, "/public/a", "GET", "Range: bytes=9-")
    assert (heard.status, heard.field("content-range")) == (416, "bytes */5")


async def test_only_known_fields_come_back(script: Script, tmp_path: Path) -> None:
    script.answer = plain_answer(
        "200 OK",
        b"hello",
        *STORED,
        "set-cookie: token=evil",
        "x-amz-meta-owner: somebody",
        "x-amz-request-id: 1",
        "x-amz-version-id: 1",
        "server: AmazonS3",
        "location: https://evil.example/",
        "refresh: 0; url=https://evil.example/",
        "access-control-allow-origin: *",
        "content-security-policy: default-src *",
        "strict-transport-security: max-age=1",
        "www-authenticate: Basic",
        "clear-site-data: *",
        "link: <https://evil.example/a.css>; rel=stylesheet",
    )
    async with site_at(tmp_path, script.endpoint) as here:
        heard = await ask(here.port, "/public/a")
    assert {name for name, _ in heard.fields} == {
        "date",
        "etag",
        "last-modified",
        "accept-ranges",
        "x-content-type-options",
        "referrer-policy",
        "content-length",
        "content-type",
    }


async def test_stored_gzip_is_passed_on_as_it_is(tmp_path: Path) -> None:
    bucket = new_bucket()
    zipped = b"\x1f\x8b\x08not really gzip"
    client().put_object(Bucket=bucket, Key="public/a.css", Body=zipped, ContentEncoding="gzip", ContentType="text/css")
    async with site_at(tmp_path, endpoint(), f"s3://{bucket}") as here:
        heard = await ask(here.port, "/public/a.css")
        assert (heard.body, heard.field("content-encoding")) == (zipped, "gzip")
        assert heard.field("content-length") == str(len(zipped))


async def test_a_missing_bucket_is_the_owners_fault(tmp_path: Path) -> None:
    async with site_at(tmp_path, endpoint(), "s3://no-such-bucket") as here:
        assert (await ask(here.port, "/public/a")).status == 502
        assert (await ask(here.port, "/-/readyz")).status == 503


async def test_ready_means_that_objects_could_be_had(script: Script) -> None:
    async with store_at(script.endpoint) as store:
        for answer in (FOUND, refusal("404 Not Found", "NoSuchKey"), refusal("403 Forbidden", "AccessDenied")):
            script.answer = answer
            await store.ready()
        script.answer = refusal("403 Forbidden", "InvalidAccessKeyId")
        with pytest.raises(StoreRefused):
            await store.ready()


async def test_a_store_that_was_never_asked_can_be_closed() -> None:
    await S3Store("bucket", endpoint="http://127.0.0.1:1").aclose()


async def test_head_asks_for_no_bytes(script: Script) -> None:
    async with store_at(script.endpoint) as store:
        meta = await store.head(Head("a"))
    assert meta is not None
    assert (meta.size, meta.etag) == (5, b'"abc"')
    assert [head.split(b" ")[0] for head in script.seen] == [b"HEAD"]


async def test_an_ordinary_client_sees_an_ordinary_site(tmp_path: Path) -> None:
    bucket = new_bucket()
    client().put_object(Bucket=bucket, Key="site/users/ann/a.txt", Body=b"ann's")
    async with (
        site_at(tmp_path, endpoint(), f"s3://{bucket}/site") as here,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{here.port}") as visitor,
    ):
        mine = {"authorization": f"Bearer {fresh_token()}"}
        assert (await visitor.get("/users/ann/a.txt", headers=mine)).text == "ann's"
        assert (await visitor.get("/users/ann/b.txt", headers=mine)).status_code == 404
        assert (await visitor.get("/users/ben/a.txt", headers=mine)).status_code == 403
        assert (await visitor.get("/users/ann/a.txt")).status_code == 401
        assert (await visitor.get("/-/readyz")).status_code == 200


WIRED = "\u65e5.txt".encode().decode("latin-1")  # the bytes of UTF-8, as a header line carries them


async def test_metadata_in_any_language_goes_out_as_it_is(script: Script, tmp_path: Path) -> None:
    named = f'content-disposition: attachment; filename="{WIRED}"'
    script.answer = plain_answer("200 OK", b"hello", *STORED, named)
    async with site_at(tmp_path, script.endpoint) as here, wire(here.port) as connection:
        await connection.send(message("/public/a"))
        head = await connection.reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert "\u65e5.txt".encode() in head


@pytest.mark.parametrize("missing", ["etag", "last-modified"])
async def test_an_object_of_no_version_is_not_served(script: Script, tmp_path: Path, missing: str) -> None:
    script.answer = plain_answer("200 OK", b"hello", *(line for line in STORED if not line.lower().startswith(missing)))
    async with site_at(tmp_path, script.endpoint) as here, wire(here.port) as connection:
        assert (await connection.ask("/public/a")).status == 502
