"""A form that is sent to a token endpoint: alone, once, to where it is for, and its secret is shown nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from stagedoor.core.messages import Fetch, Fetched
from stagedoor.outside import fetch_sync
from stagedoor.outside.exchanges import Exchanges
from stagedoor.outside.fetch_async import Fetcher
from tests.helpers.serving import eventually, plain_answer, raw_server

SECRET, FORM = "Basic c2VjcmV0", b"code=hidden&code_verifier=unseen"
Fetching = Callable[[Fetch], Awaitable[Fetched]]


async def in_event_loop(wish: Fetch) -> Fetched:
    fetcher = Fetcher()
    try:
        return await fetcher(wish)
    finally:
        await fetcher.aclose()


async def in_thread(wish: Fetch) -> Fetched:
    return await asyncio.to_thread(fetch_sync.fetch, wish)


async def shared(wish: Fetch) -> Fetched:
    exchanges = Exchanges()
    return await exchanges.later(exchanges.begin(wish))


WAYS = [in_event_loop, in_thread, shared]
each_way = pytest.mark.parametrize("fetching", WAYS, ids=lambda way: way.__name__)


@contextlib.asynccontextmanager
async def endpoint(*answers: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A token endpoint that takes whole requests, and answers each with the next of these, the last one for good."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)\r\n", head)
        asked.append(head + await reader.readexactly(int(length[1]) if length else 0))
        writer.write(answers[min(len(asked), len(answers)) - 1])
        await writer.drain()

    async with raw_server(handle) as port:
        yield f"http://127.0.0.1:{port}/token", asked


def post(url: str, **more: float) -> Fetch:
    return Fetch(url, form=FORM, authorization=SECRET, **more)  # type: ignore[arg-type]


@each_way
async def test_a_form_is_posted_once(fetching: Fetching) -> None:
    async with endpoint(plain_answer("200 OK", b"{}")) as (url, asked):
        assert await fetching(post(url)) == Fetched(b"{}")
        head, _, body = asked[0].partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        assert lines[0] == b"post /token http/1.1"
        assert body == FORM
        for line in (f"authorization: {SECRET}".lower(), "content-type: application/x-www-form-urlencoded"):
            assert lines.count(line.encode()) == 1
        assert lines.count(b"content-length: %d" % len(FORM)) == 1
        assert len(asked) == 1


@each_way
async def test_a_form_without_a_secret_carries_no_authorization(fetching: Fetching) -> None:
    async with endpoint(plain_answer("200 OK", b"{}")) as (url, asked):
        await fetching(Fetch(url, form=FORM))
    assert b"authorization" not in asked[0].lower()


@each_way
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_form_follows_no_redirect(fetching: Fetching, status: str) -> None:
    moved = plain_answer(status, b"elsewhere", "Location: /elsewhere")
    async with endpoint(moved) as (url, asked):
        assert await fetching(post(url)) == Fetched(b"elsewhere", f"the answer was {status[:3]}, not 200")
    assert len(asked) == 1


@each_way
async def test_a_refusal_of_a_form_says_why_and_that_of_a_get_does_not(fetching: Fetching) -> None:
    why = b'{"error":"invalid_grant"}'
    packed = plain_answer("400 Bad Request", gzip.compress(why), "content-encoding: gzip")
    async with endpoint(plain_answer("400 Bad Request", why), packed, packed) as (url, _):
        assert await fetching(post(url)) == Fetched(why, "the answer was 400, not 200")
        assert await fetching(post(url)) == Fetched(why, "the answer was 400, not 200")
        assert await fetching(Fetch(url)) == Fetched(b"", "the answer was 400, not 200")


@each_way
@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
@pytest.mark.parametrize(
    "body",
    [bytes(20_001), gzip.compress(bytes(20_001)), gzip.compress(bytes(9_000_000))],
    ids=["long", "packed", "a bomb"],
)
async def test_what_comes_back_is_read_up_to_its_limit(fetching: Fetching, status: str, body: bytes) -> None:
    packed = ["content-encoding: gzip"] if body[:2] == b"\x1f\x8b" else []
    async with endpoint(plain_answer(status, body, *packed)) as (url, _):
        assert await fetching(post(url, limit=20_000)) == Fetched(b"", "the answer is longer than 20000 bytes")


@each_way
@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
async def test_what_breaks_off_does_not_count(fetching: Fetching, status: bytes) -> None:
    async with endpoint(b"HTTP/1.1 " + status + b"\r\ncontent-length: 90\r\n\r\n{}") as (url, _):
        heard = await fetching(post(url))
    assert heard.body == b""
    assert heard.error


@each_way
@pytest.mark.parametrize("status", [b"200 OK", b"400 Bad Request"])
async def test_an_answer_that_drips_has_one_time_limit_and_leaves_nothing_behind(
    fetching: Fetching, status: bytes
) -> None:
    """Every byte comes in time, and all of them together never end."""
    hung_up = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 100000\r\n\r\n")
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            hung_up.set()

    before = threading.active_count()
    async with raw_server(drip) as port:
        heard = await fetching(post(f"http://127.0.0.1:{port}/token", timeout=0.3))
        assert heard.body == b""
        assert heard.error.startswith("no answer ")
        await asyncio.wait_for(hung_up.wait(), 20)
    workers = before + 1  # of `asyncio.to_thread`
    await eventually(lambda: threading.active_count() <= workers, "the thread of the exchange ends")


async def test_forms_are_never_joined() -> None:
    """Two clients who send the same form get one answer each."""
    gate, asked = asyncio.Event(), 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        number = asked
        await reader.readuntil(b"\r\n\r\n")
        await gate.wait()
        writer.write(plain_answer("200 OK", str(number).encode()))
        await writer.drain()

    fetcher, exchanges = Fetcher(), Exchanges()
    async with raw_server(handle) as port:
        wish = post(f"http://127.0.0.1:{port}/token", timeout=30)
        threads = [exchanges.begin(wish) for _ in range(2)]
        asking = [asyncio.create_task(fetcher(wish)) for _ in range(2)]
        await eventually(lambda: asked == 4, "each of them is asked")
        gate.set()
        heard = [*await asyncio.gather(*asking), *[await exchanges.later(thread) for thread in threads]]
    assert sorted(one.body for one in heard) == [b"1", b"2", b"3", b"4"]


async def test_one_who_has_less_time_leaves_an_exchange_earlier_and_does_not_shorten_it_for_others() -> None:
    gate = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await gate.wait()
        writer.write(plain_answer("200 OK", b"{}"))
        await writer.drain()

    fetcher = Fetcher()
    async with raw_server(handle) as port:
        wish = Fetch(f"http://127.0.0.1:{port}/keys", timeout=30)
        hasty = asyncio.create_task(fetcher(wish._replace(timeout=0.1)))
        patient = asyncio.create_task(fetcher(wish))
        late = asyncio.create_task(fetcher(wish._replace(timeout=0.1)))
        assert await hasty == await late == Fetched(b"", "no answer within 0.1 s")
        gate.set()
        assert await patient == Fetched(b"{}")


async def test_no_secret_is_shown(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    wish = post("https://127.0.0.1:1/token?key=private")
    shown = [repr(wish), str(wish), f"{wish}", repr(Exchanges().begin(wish))]
    shown += [repr(await fetching(wish)) for fetching in WAYS]
    async with endpoint(b"no HTTP\r\n\r\n") as (url, _):
        shown += [repr(await fetching(post(url))) for fetching in WAYS]
    captured = capfd.readouterr()
    for text in (*shown, caplog.text, captured.out, captured.err):
        for secret in (SECRET, SECRET.split()[1], "hidden", "unseen", "private"):
            assert secret not in text


@each_way
async def test_a_form_goes_to_https_or_this_machine_alone(fetching: Fetching) -> None:
    assert (await fetching(post("http://id.example.com/token"))).error == "this is not an https address"


async def test_those_who_may_share_a_form_ask_once_at_the_same_time_and_others_do_not() -> None:
    """A refresh token that counts once, and two tabs that send it at the same moment."""
    fetcher = Fetcher()
    async with endpoint(plain_answer("200 OK", b"{}"), plain_answer("400 Bad Request", b"{}")) as (url, asked):
        form = post(url, timeout=4.0)._replace(shared=True)
        answers = await asyncio.gather(*(fetcher(form._replace(timeout=4.0 + number)) for number in range(5)))
        assert (answers, len(asked)) == ([Fetched(b"{}")] * 5, 1)
        other = await asyncio.gather(
            fetcher(form), fetcher(form._replace(form=b"refresh_token=another")), fetcher(form._replace(shared=False))
        )
        assert (len(asked), [one.error != "" for one in other]) == (4, [True, True, True])
    await fetcher.aclose()


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (b'{"refresh_token": "new", "id_token": "x"}', True),
        (b'{"refresh_token": "old", "id_token": "x"}', False),  # it counts again, and says what is true by then
        (b'{"refresh_token": "o\\u006cd"}', False),
        (b'{"id_token": "x"}', False),
        (b"no JSON", False),
    ],
)
async def test_the_answer_to_a_refresh_token_that_was_spent_is_kept_for_who_did_not_get_it(
    answer: bytes, kept: bool
) -> None:
    """A page that is reloaded while it renews has sent the old token, and never got the new one."""
    fetcher = Fetcher()
    async with endpoint(plain_answer("200 OK", answer), plain_answer("200 OK", b"second")) as (url, asked):
        form = Fetch(url, form=b"grant_type=refresh_token&refresh_token=old", shared=True)
        assert await fetcher(form) == Fetched(answer)
        assert await fetcher(form) == Fetched(answer if kept else b"second")
        assert len(asked) == (1 if kept else 2)
    await fetcher.aclose()


async def test_a_form_that_was_refused_is_sent_again() -> None:
    fetcher = Fetcher()
    async with endpoint(plain_answer("503 Service Unavailable", b"{}"), plain_answer("200 OK", b"{}")) as (url, asked):
        form = post(url, timeout=4.0)._replace(shared=True)
        assert (await fetcher(form)).error == "the answer was 503, not 200"
        assert await fetcher(form) == Fetched(b"{}")
        assert len(asked) == 2
    await fetcher.aclose()
