"""A store that is sick, in part or as a whole: what hangs stays a part, and nothing wrong gets out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from pathlib import Path

import pytest

from stagedoor.core.errors import StoreRefused, StoreUnavailable
from stagedoor.gateway import app
from stagedoor.outside import aws, aws_credentials, http
from stagedoor.outside.aws_credentials import Found
from stagedoor.outside.sigv4 import Credentials
from stagedoor.store import s3 as module
from stagedoor.store import turns
from stagedoor.store.port import Changed, Head, Open, Range
from stagedoor.store.s3 import S3Store
from stagedoor.store.s3_address import at_aws, at_endpoint
from tests.helpers.serving import (
    Ended,
    InProcess,
    ask,
    eventually,
    message,
    prepare,
    raw_server,
    serving,
    settings_text,
    wire,
)
from tests.helpers.stores import body, let_in

STORED = b'last-modified: Tue, 14 Nov 2023 22:13:20 GMT\r\netag: "abc"\r\ncontent-type: text/plain\r\n'
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


def found(content: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s%s\r\n%s" % (len(content), STORED, more, content)


def refusal(status: str, code: str, more: str = "", fields: str = "") -> bytes:
    text = f"<Error><Code>{code}</Code>{more}</Error>"
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(text)}\r\n{fields}\r\n{text}".encode()


Answer = Callable[[str, bytes, asyncio.StreamWriter], Awaitable[bytes | None]]
"""Returns None to say no more."""


class Store:
    """A store whose answers a test makes, by key; it counts questions and open connections."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.open = 0
        self.port = 0
        self.answers: dict[str, bytes | Answer] = {}

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                asked = re.match(rb"(GET|HEAD) /bucket/?([^ ]*) ", head)
                assert asked is not None, head
                key = asked[2].decode()
                self.asked.append(key)
                self.heads.append(head)
                made: bytes | Answer | None = self.answers.get(key, self.answers.get("*", NOT_FOUND))
                if callable(made):
                    made = await made(key, head, writer)
                if made is None:
                    await reader.read()
                    return
                writer.write(made.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if asked[1] == b"HEAD" else made)
                await writer.drain()
        finally:
            self.open -= 1
            writer.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
async def store(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    let_in(monkeypatch)
    made = Store()
    async with raw_server(made.handle) as made.port:
        yield made


@contextlib.asynccontextmanager
async def site(store: Store, folder: Path, more: str = 'cache = "0"') -> AsyncIterator[InProcess]:
    prepare(folder)
    async with serving(folder, settings_text(f'store = "s3://bucket"\nendpoint = "{store.endpoint}"\n{more}')) as here:
        yield here


@contextlib.asynccontextmanager
async def bucket(store: Store, **more: str) -> AsyncIterator[S3Store]:
    made = S3Store("bucket", endpoint=store.endpoint, **more)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.aclose()


async def hang(*_: object) -> None:
    return


# --- a sick part stays a part


@pytest.mark.parametrize("keys", [1, 600], ids=["one key", "many keys"])
async def test_keys_that_hang_lock_no_others_out(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: int
) -> None:
    monkeypatch.setattr(turns, "SLOW_AFTER", 0.2)
    store.answers = {"public/good": found(b"hello"), "*": hang}
    async with site(store, tmp_path) as here:
        hanging = [asyncio.create_task(ask(here.port, f"/public/sick{n % keys}")) for n in range(600)]
        await eventually(lambda: here.gateway.in_flight == 600, "they wait")
        for _ in range(20):
            good = asyncio.create_task(ask(here.port, "/public/good"))
            for _ in range(150):  # turns of 50 ms, so that a machine that stands still takes no time
                if not good.done():
                    await asyncio.sleep(0.05)
            assert good.done(), "it takes as long as one that hangs"
            assert good.result().body == b"hello", good.result()
        assert store.open <= turns.MOST + 10
        if keys == 1:
            assert store.open <= turns.PER_KEY + 10
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        await eventually(lambda: here.gateway.in_flight == 0, "callers who have gone are let go")
        await eventually(lambda: store.open <= 10, "and so is the store")


async def test_small_objects_that_drip_end(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(_: str, __: bytes, writer: asyncio.StreamWriter) -> bytes:
        whole = found(bytes(1000))
        for start in range(len(whole)):
            writer.write(whole[start : start + 1])
            await writer.drain()
            await asyncio.sleep(0.2)
        return b""

    monkeypatch.setattr(module, "ANSWER_WITHIN", 4.0)
    monkeypatch.setattr(turns, "SLOW_AFTER", 0.1)
    store.answers = {"public/good": found(b"hello"), "*": drip}
    async with site(store, tmp_path, "") as here:
        dripping = [asyncio.create_task(ask(here.port, f"/public/{n}")) for n in range(300)]
        await eventually(lambda: here.gateway.in_flight == 300, "they wait")
        assert (await ask(here.port, "/public/good")).body == b"hello"
        heard = await asyncio.gather(*dripping)
        assert {(one.status, one.field("retry-after")) for one in heard} == {(503, "5")}


async def test_a_large_object_that_stalls_breaks_off_and_the_log_has_its_bytes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def stall(_: str, __: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(found(bytes(1_000_000))[:-400_000])

    monkeypatch.setattr(http, "PIECE_WITHIN", 0.2)
    store.answers = {"*": stall}
    async with site(store, tmp_path) as here:
        async with wire(here.port) as connection:
            await connection.send(message("/public/a"))
            with pytest.raises(Ended):
                await connection.answer()
        await eventually(lambda: here.gateway.in_flight == 0 and here.gateway._log._lines, "it is over")
        (line,) = here.lines()
        assert (line["status"], line["reason"]) == (200, "broken-off")
        assert line["bytes"] == 600_000
        (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
        assert "after 600000 bytes" in record.getMessage()
        assert record.exc_info is None
        assert here.gateway.store._streams == 0  # type: ignore[attr-defined]


@pytest.mark.thorough("9 s, most of it for 200 connections that fill their buffers")
async def test_slow_readers_of_large_objects_leave_small_ones_alone(store: Store, tmp_path: Path) -> None:
    async def large(_key: str, _head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(found(b"").replace(b"length: 0", b"length: 20000000"))
        for _ in range(200):
            writer.write(bytes(100_000))
            await writer.drain()

    store.answers = {"public/large": large, "public/small": found(b"hello")}
    async with site(store, tmp_path) as here, contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            reader = await stack.enter_async_context(wire(here.port, receive_buffer=4096))
            await reader.send(message("/public/large"))
        s3 = here.gateway.store
        await eventually(lambda: s3._streams == 200, "all are being read")  # type: ignore[attr-defined]
        for _ in range(50):
            async with asyncio.timeout(5):
                assert (await ask(here.port, "/public/small")).body == b"hello"


async def test_a_reader_who_goes_away_frees_everything(store: Store, tmp_path: Path) -> None:
    store.answers = {"*": found(bytes(50_000_000))}
    async with site(store, tmp_path) as here:
        for number in range(5):
            async with wire(here.port, receive_buffer=4096) as connection:
                await connection.send(message(f"/public/{number}"))
                await connection.head()
        s3 = here.gateway.store
        await eventually(lambda: (s3._streams, here.gateway.in_flight) == (0, 0), "it is let go", within=1.0)  # type: ignore[attr-defined]
        await eventually(lambda: store.open == 0, "and so is the store")
        assert {line["reason"] for line in here.lines()} == {"broken-off"}


async def test_only_so_many_large_objects_are_read_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STREAMS", 2)
    store.answers = {"*": found(bytes(1_000_000)), "small": found(b"hello")}
    async with bucket(store) as s3:
        first, second = await s3.open(Open("a")), await s3.open(Open("b"))
        with pytest.raises(StoreUnavailable, match="large objects"):
            await s3.open(Open("c"))
        assert await body(s3, "small") == b"hello"
        assert first is not None
        assert second is not None
        first.close()
        first.close()
        assert await body(s3, "c") == bytes(1_000_000)
        second.close()
        assert s3._streams == 0


async def test_readiness_gives_up_soon(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "READY_WITHIN", 0.2)
    monkeypatch.setattr(app, "READY_FOR", 0.0)
    store.answers = {"*": hang}
    async with site(store, tmp_path) as here:
        for _ in range(3):
            async with asyncio.timeout(5):
                assert (await ask(here.port, "/-/readyz")).status == 503
        store.answers = {}
        assert (await ask(here.port, "/-/readyz")).status == 200


# --- asking again


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"no HTTP\r\n\r\n",
        found(b"hello") + found(b"other"),
        found(b"hello")[:-1],
        refusal("500 Internal Server Error", "InternalError"),
        refusal("503 Slow Down", "SlowDown"),
        refusal("429 Too Many Requests", "TooManyRequests"),
    ],
    ids=["nothing", "no HTTP", "two answers", "cut off", "500", "503", "429"],
)
async def test_a_question_without_a_good_answer_is_asked_once_more(store: Store, first: bytes) -> None:
    async def second_time(_: str, __: bytes, writer: asyncio.StreamWriter) -> bytes:
        if len(store.asked) > 1:
            return found(b"hello")
        writer.write(first)
        if len(first) == len(found(b"hello")) - 1 or not first:
            writer.close()
        return b""

    store.answers = {"*": second_time}
    async with bucket(store) as s3:
        assert await body(s3, "a") == b"hello"
    assert len(store.asked) == 2


async def test_and_only_once_more_in_all(store: Store) -> None:
    store.answers = {"*": refusal("503 Slow Down", "SlowDown")}
    async with bucket(store) as s3:
        with pytest.raises(StoreUnavailable, match="SlowDown"):
            await body(s3, "a")
    assert len(store.asked) == 2


async def test_a_store_that_is_well_again_is_asked_at_once(store: Store, tmp_path: Path) -> None:
    port = store.port
    async with site(store, tmp_path) as here:
        assert (await ask(here.port, "/public/a")).status == 404
        store.answers = {"*": refusal("500 Internal Server Error", "InternalError")}
        heard = await ask(here.port, "/public/a")
        assert (heard.status, heard.field("retry-after")) == (503, "5")
        store.answers = {"*": found(b"hello")}
        assert (await ask(here.port, "/public/a")).body == b"hello"
    assert port == store.port


async def test_small_objects_go_on_from_the_cache_while_they_are_fresh(store: Store, tmp_path: Path) -> None:
    store.answers = {"*": found(b"hello")}
    async with site(store, tmp_path, 'fresh = "1h"') as here:
        assert (await ask(here.port, "/public/a")).body == b"hello"
        store.answers = {"*": refusal("500 Internal Server Error", "InternalError")}
        assert (await ask(here.port, "/public/a")).body == b"hello"
        assert (await ask(here.port, "/public/b")).status == 503
        assert [(line["status"], line["cache"]) for line in here.lines()] == [(200, "miss"), (200, "hit"), (503, "")]


# --- what the answer must fit


@pytest.mark.parametrize(
    ("span", "sent"),
    [
        (Range(3, 5), b"content-range: bytes 2-4/10\r\n"),
        (Range(3, 5), b"content-range: bytes 3-5/9999999999999999999999\r\n"),
        (Range(3, 5), b"content-range: bytes 3-4/10\r\n"),
        (Range(3, 5), b"content-range: items 3-5/10\r\n"),
        (Range(3, 5), b""),
        (Range(None, 3), b"content-range: bytes 0-2/10\r\n"),
        (None, b"content-range: bytes 3-5/10\r\n"),
    ],
)
async def test_a_part_that_was_not_asked_for_is_not_passed_on(store: Store, span: Range | None, sent: bytes) -> None:
    store.answers = {"*": found(b"345", sent).replace(b"200 OK", b"206 Partial Content")}
    async with bucket(store) as s3:
        with pytest.raises(StoreUnavailable, match="part"):
            await body(s3, "a", span)


async def test_a_part_is_one_whatever_its_status(store: Store) -> None:
    store.answers = {"*": found(b"345", b"content-range: bytes 3-5/10\r\n")}
    async with bucket(store) as s3:
        opened = await s3.open(Open("a", Range(3, 5)))
        assert opened is not None
        assert (opened.start, opened.stop, opened.meta.size, opened.whole) == (3, 6, 10, b"345")


async def test_another_version_than_the_one_asked_for_is_not_passed_on(store: Store) -> None:
    """Some stores do not understand If-Match."""
    store.answers = {"*": found(b"hello")}
    async with bucket(store) as s3:
        assert await body(s3, "a", None, b'"abc"') == b"hello"
        with pytest.raises(Changed):
            await body(s3, "a", None, b'"other"')


# --- clock, region, credentials


async def test_the_clock_is_corrected_once_and_named(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    theirs = time.time() + 3600

    async def judge(_: str, head: bytes, __: asyncio.StreamWriter) -> bytes:
        stamp = re.search(rb"x-amz-date: (\S+)", head)
        assert stamp is not None
        if abs(time.mktime(time.strptime(stamp[1].decode(), "%Y%m%dT%H%M%SZ")) - time.timezone - theirs) < 900:
            return found(b"hello")
        return refusal("403 Forbidden", "RequestTimeTooSkewed", fields=f"date: {formatdate(theirs, usegmt=True)}\r\n")

    store.answers = {"*": judge}
    async with bucket(store) as s3:
        for _ in range(3):
            assert await body(s3, "a") == b"hello"
    assert len(store.asked) == 4
    (record,) = [one for one in caplog.records if "clock" in one.getMessage()]
    assert "-3600 s" in record.getMessage() or "-3599 s" in record.getMessage()


@pytest.mark.parametrize("status", ["400 Bad Request", "301 Moved Permanently", "307 Temporary Redirect"])
async def test_the_region_is_learned_once_and_no_redirect_is_followed(store: Store, status: str) -> None:
    async def judge(_: str, head: bytes, __: asyncio.StreamWriter) -> bytes:
        if b"/eu-north-1/s3/aws4_request" in head:
            return found(b"hello")
        return refusal(
            status, "AuthorizationHeaderMalformed", "<Region>eu-north-1</Region>", "location: /elsewhere\r\n"
        )

    store.answers = {"*": judge}
    async with bucket(store) as s3:
        for _ in range(3):
            assert await body(s3, "a") == b"hello"
    assert store.asked == ["a"] * 4


@pytest.mark.parametrize("region", ["evil.example/", "a b", "", "eu-north-1.evil", "x" * 40])
async def test_a_region_that_is_none_changes_nothing(store: Store, region: str) -> None:
    store.answers = {"*": refusal("400 Bad Request", "AuthorizationHeaderMalformed", f"<Region>{region}</Region>")}
    async with bucket(store) as s3:
        with pytest.raises(StoreRefused):
            await body(s3, "a")
        assert s3._address is not None
        assert s3._address.region == "us-east-1"


async def test_credentials_that_ended_are_looked_for_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def find() -> Found:
        nonlocal made
        made += 1
        return Found(Credentials(f"AKIA{made}", "secret", f"token{made}"), None, None, False, False)

    async def judge(_: str, head: bytes, __: asyncio.StreamWriter) -> bytes:
        assert b"x-amz-security-token: token" in head
        return found(b"hello") if b"Credential=AKIA2/" in head else refusal("400 Bad Request", "ExpiredToken")

    monkeypatch.setattr(aws_credentials, "_find", find)
    store.answers = {"*": judge}
    async with bucket(store) as s3:
        for _ in range(3):
            assert await body(s3, "a") == b"hello"
    assert (made, len(store.asked)) == (2, 4)


async def test_credentials_are_looked_for_again_before_they_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And meanwhile nobody waits, whatever becomes of it."""
    made = 0

    def find() -> Found:
        nonlocal made
        made += 1
        if made == 2:
            time.sleep(0.3)
            raise StoreUnavailable("away")
        return Found(Credentials(f"AKIA{made}", "secret"), None, None, False, False)

    monkeypatch.setattr(aws_credentials, "_find", find)
    monkeypatch.setattr(aws_credentials, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(aws_credentials, "LOOK_AGAIN", 0.05)
    store.answers = {"*": found(b"hello")}
    async with bucket(store) as s3:
        assert await body(s3, "a") == b"hello"
        await asyncio.sleep(0.1)
        async with asyncio.timeout(0.25):
            assert await body(s3, "a") == b"hello"

        def signed_by() -> bytes:
            match = re.search(rb"Credential=(\w+)/", store.heads[-1])
            assert match is not None
            return match[1]

        assert signed_by() == b"AKIA1"
        while signed_by() != b"AKIA3":
            await asyncio.sleep(0.05)
            await body(s3, "a")


async def test_credentials_with_a_line_end_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA\r\nx-amz-evil: 1")
    aws.forget_session()
    async with bucket(store) as s3:
        with pytest.raises(StoreRefused, match="line end"):
            await body(s3, "a")
    assert store.asked == []
    aws.forget_session()


# --- addresses


@pytest.mark.parametrize(
    ("name", "region", "addressing", "host", "path"),
    [
        ("bucket", "eu-central-1", "auto", "bucket.s3.eu-central-1.amazonaws.com", "/"),
        ("my.bucket", "eu-central-1", "auto", "s3.eu-central-1.amazonaws.com", "/my.bucket/"),
        ("My_Bucket", "us-east-1", "auto", "s3.us-east-1.amazonaws.com", "/My_Bucket/"),
        ("bucket", "us-east-1", "path", "s3.us-east-1.amazonaws.com", "/bucket/"),
        ("my.bucket", "us-east-1", "virtual", "my.bucket.s3.us-east-1.amazonaws.com", "/"),
        ("bucket", "cn-north-1", "auto", "bucket.s3.cn-north-1.amazonaws.com.cn", "/"),
        ("ap-x1y2-s3alias", "eu-west-1", "auto", "ap-x1y2-s3alias.s3.eu-west-1.amazonaws.com", "/"),
    ],
)
def test_where_a_bucket_is_at_aws(name: str, region: str, addressing: str, host: str, path: str) -> None:
    made = at_aws(name, region, addressing, dualstack=False, fips=False)  # type: ignore[arg-type]
    assert (made.host, made.authority, made.path, made.port, made.tls) == (host, host, path, 443, True)
    both = at_aws("bucket", "us-gov-west-1", dualstack=True, fips=True)
    assert both.host == "bucket.s3-fips.dualstack.us-gov-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("endpoint", "addressing", "authority", "path"),
    [
        ("https://s3.internal:9000", "auto", "s3.internal:9000", "/bucket/"),
        ("https://s3.internal", "virtual", "bucket.s3.internal", "/"),
        ("https://s3.internal/base/", "path", "s3.internal", "/base/bucket/"),
        ("http://[::1]:9000", "auto", "[::1]:9000", "/bucket/"),
        ("http://s3.internal:80", "auto", "s3.internal", "/bucket/"),
    ],
)
def test_where_a_bucket_is_elsewhere(endpoint: str, addressing: str, authority: str, path: str) -> None:
    made = at_endpoint("bucket", endpoint, "us-east-1", addressing)  # type: ignore[arg-type]
    assert (made.authority, made.path) == (authority, path)


async def test_an_endpoint_in_the_environment_is_asked(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.answers = {"*": found(b"hello")}
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(variable, store.endpoint)
        aws.forget_session()
        s3 = S3Store("bucket")
        assert await body(s3, "a") == b"hello", variable
        await s3.aclose()
        monkeypatch.delenv(variable)
    aws.forget_session()
    assert "AWS_ENDPOINT_URL" not in os.environ


# --- stores as they are


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        (b"aws-chunked", b""),
        (b"AWS-Chunked,", b""),
        (b"", b""),
        (b" , ", b""),
        (b"aws-chunked, gzip", b"gzip"),
        (b"gzip,aws-chunked,br", b"gzip, br"),
    ],
)
async def test_content_encoding_says_nothing_of_the_upload(store: Store, stored: bytes, sent: bytes) -> None:
    store.answers = {"*": found(b"hello", b"content-encoding: %s\r\n" % stored)}
    async with bucket(store) as s3:
        for meta in (await s3.head(Head("a")), (await s3.open(Open("a")) or pytest.fail("none")).meta):
            assert meta is not None
            assert dict(meta.headers).get(b"content-encoding", b"") == sent


@pytest.mark.parametrize(
    ("stored", "sent"),
    [(b"abc", b'"abc"'), (b'W/"abc"', b'W/"abc"'), (b'"a"b"', b'"ab"'), (b'"a b"', b'"ab"'), (b'""', b'""')],
)
async def test_what_is_passed_on_as_etag_is_one(store: Store, stored: bytes, sent: bytes) -> None:
    store.answers = {"*": found(b"hello").replace(b'"abc"', stored)}
    async with bucket(store) as s3:
        meta = await s3.head(Head("a"))
        assert meta is not None
        assert meta.etag == sent


@pytest.mark.parametrize(
    ("key", "stored", "sent"),
    [
        ("a.css", b"binary/octet-stream", b"text/css; charset=utf-8"),
        ("a.mp4", b"binary/octet-stream", b"video/mp4"),
        ("a.css", b"application/octet-stream", b"application/octet-stream"),
        ("a.none", b"binary/octet-stream", b"application/octet-stream"),
    ],
)
async def test_a_type_that_no_one_chose_is_found_by_the_ending(
    store: Store, key: str, stored: bytes, sent: bytes
) -> None:
    store.answers = {"*": found(b"hello").replace(b"text/plain", stored)}
    async with bucket(store) as s3:
        meta = await s3.head(Head(key))
        assert meta is not None
        assert meta.content_type == sent


@pytest.mark.parametrize("type_", [b"application/x-directory", b"httpd/unix-directory"])
async def test_the_folder_objects_of_consoles_are_no_files(store: Store, type_: bytes) -> None:
    store.answers = {"*": found(b"").replace(b"text/plain", type_)}
    async with bucket(store) as s3:
        assert await body(s3, "folder/") is None
        assert await s3.head(Head("folder/")) is None
        assert await body(s3, "file") == b""
    store.answers = {"*": found(b"x").replace(b"text/plain", type_)}
    async with bucket(store) as s3:
        assert await body(s3, "folder/") == b"x"


@pytest.mark.parametrize("code", ["XMinioInvalidObjectName", "InvalidObjectName", "KeyTooLongError", "InvalidURI"])
async def test_a_name_that_the_store_cannot_have_is_404(store: Store, tmp_path: Path, code: str) -> None:
    store.answers = {"*": refusal("400 Bad Request", code)}
    async with site(store, tmp_path) as here:
        for method in ("GET", "HEAD"):
            async with wire(here.port) as connection:
                assert (await connection.ask("/public/a//b", method)).status == 404


async def test_a_store_that_unpacks_is_asked_for_what_is_stored(store: Store) -> None:
    packed = b"\x1f\x8b packed"

    async def judge(_: str, head: bytes, __: asyncio.StreamWriter) -> bytes:
        if b"accept-encoding: gzip" in head:
            return found(packed, b"content-encoding: gzip\r\nx-goog-stored-content-encoding: gzip\r\n")
        return (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-goog-stored-content-encoding: gzip\r\n\r\n"
            b"5\r\nhello\r\n0\r\n\r\n"
        )

    store.answers = {"*": judge}
    async with bucket(store) as s3:
        opened = await s3.open(Open("a"))
        assert opened is not None
        assert (opened.whole, dict(opened.meta.headers)[b"content-encoding"]) == (packed, b"gzip")


async def test_an_overlong_error_is_read_only_in_part(store: Store) -> None:
    long = b"<Error><Code>SlowDown</Code></Error>" + b" " * 5_000_000
    store.answers = {"*": b"HTTP/1.1 503 Slow Down\r\ncontent-length: %d\r\n\r\n%s" % (len(long), long)}
    async with bucket(store) as s3:
        with pytest.raises(StoreUnavailable, match="SlowDown"):
            await body(s3, "a")
        assert s3._connections is not None
        await eventually(lambda: not s3._connections._all, "the rest is not waited for")  # type: ignore[union-attr]


async def test_an_overlong_refusal_says_what_a_short_one_says(store: Store) -> None:
    """It is read to find out whether anything can be mended, and once more to be judged."""
    long = b"<Error><Code>AccessDenied</Code></Error>" + b" " * 5_000_000
    store.answers = {"*": b"HTTP/1.1 403 Forbidden\r\ncontent-length: %d\r\n\r\n%s" % (len(long), long)}
    async with bucket(store) as s3:
        assert await body(s3, "a") is None


async def test_s3_is_asked_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    let_in(monkeypatch)
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    async with raw_server(proxy) as port:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        s3 = S3Store("bucket", endpoint="https://s3.example:9000")
        with pytest.raises(StoreUnavailable, match="the proxy answered 403"):
            await body(s3, "a")
        await s3.aclose()
    assert asked[0].startswith(b"CONNECT s3.example:9000 HTTP/1.1\r\n")


async def test_a_head_without_a_length_is_asked_with_get(store: Store) -> None:
    async def judge(_: str, head: bytes, __: asyncio.StreamWriter) -> bytes:
        if head.startswith(b"HEAD"):
            return b"HTTP/1.1 200 OK\r\n" + STORED + b"\r\n"
        return found(b"h", b"content-range: bytes 0-0/5\r\n").replace(b"200 OK", b"206 Partial Content")

    store.answers = {"*": judge}
    async with bucket(store) as s3:
        meta = await s3.head(Head("a"))
        assert meta is not None
        assert meta.size == 5


async def test_virtual_hosts_only_is_said_with_the_setting(store: Store) -> None:
    store.answers = {"*": refusal("403 Forbidden", "PathStyleDomainForbidden")}
    async with bucket(store) as s3:
        with pytest.raises(StoreRefused, match='addressing = "virtual"'):
            await body(s3, "a")
