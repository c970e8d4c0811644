"""How an event loop fetches: exactly what was asked for, nothing beside it, and within time and size."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from stagedoor.core.messages import Fetch, Fetched
from stagedoor.gateway.tls import make_context
from stagedoor.outside import fetch_sync, trust
from stagedoor.outside.fetch_async import Fetcher
from tests.helpers.serving import Recorded, certificate, eventually, plain_answer, raw_server, scripted, targets

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*PROXIES, *(name.upper() for name in PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@contextlib.asynccontextmanager
async def fetching() -> AsyncIterator[Fetcher]:
    fetcher = Fetcher()
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


async def fetch(answer: Callable[[bytes], Awaitable[bytes] | bytes], path: str = "/keys", **more: float) -> Fetched:
    """What comes of one `Fetch` if the other end answers so."""
    async with scripted(answer, []) as port, fetching() as fetcher:
        return await fetcher(Fetch(f"http://127.0.0.1:{port}{path}", **more))  # type: ignore[arg-type]


async def test_a_name_below_localhost_is_this_machine() -> None:
    """No name server is asked for it; the other end hears the name all the same."""
    seen: Recorded = []
    async with scripted(lambda _: plain_answer("200 OK", b"keys"), seen) as port, fetching() as fetcher:
        assert await fetcher(Fetch(f"http://kc.localhost:{port}/keys")) == Fetched(b"keys")
    assert f"\r\nhost: kc.localhost:{port}\r\n".encode() in seen[0]


def fields(head: bytes) -> dict[str, str]:
    lines = head.decode().split("\r\n")[1:-2]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


# --- what is asked


@pytest.mark.parametrize("path", ["/keys", "/%7Eann/%2fx/%e2%82%ac", "/a?b=%41+c&d=/?:@", "//x/./y/../z", "/a|b^c"])
async def test_the_url_is_sent_as_it_is_written(path: str) -> None:
    seen: Recorded = []
    async with scripted(lambda _: plain_answer("200 OK", b"{}"), seen) as port, fetching() as fetcher:
        assert await fetcher(Fetch(f"http://127.0.0.1:{port}{path}")) == Fetched(b"{}")
    assert targets(seen) == [path.encode()]


@pytest.mark.parametrize(
    ("written", "sent"), [("/ü?ü", b"/%C3%BC?%C3%BC"), ("/a b", b"/a%20b"), ("/a\r\nX: y", b"/a%0D%0AX:%20y")]
)
async def test_what_no_request_line_can_hold_is_encoded(written: str, sent: bytes) -> None:
    seen: Recorded = []
    async with scripted(lambda _: plain_answer("200 OK", b"{}"), seen) as port, fetching() as fetcher:
        await fetcher(Fetch(f"http://127.0.0.1:{port}{written}"))
    assert targets(seen) == [sent]
    assert "x" not in fields(seen[0])


async def test_nothing_personal_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither passwords of the user that runs the program nor cookies of an earlier answer."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: Recorded = []
    answer = plain_answer("200 OK", b"{}", "Set-Cookie: a=b; Path=/")
    async with scripted(lambda _: answer, seen) as port, fetching() as fetcher:
        for _ in range(2):
            await fetcher(Fetch(f"http://127.0.0.1:{port}/keys"))
    assert len(seen) == 2
    for head in seen:
        assert set(fields(head)) <= {"host", "accept", "accept-encoding", "user-agent", "connection"}


@pytest.mark.parametrize("url", ["http://issuer.example/keys", "ftp://127.0.0.1/keys", "https://a@b.example/", "x"])
async def test_other_addresses_than_https_are_not_asked(url: str) -> None:
    async with fetching() as fetcher:
        assert await fetcher(Fetch(url)) == Fetched(b"", "this is not an https address")


async def test_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a b.json"
    file.write_bytes(b"{}")
    async with fetching() as fetcher:
        assert await fetcher(Fetch(file.as_uri())) == Fetched(b"{}")
        assert (await fetcher(Fetch(file.as_uri(), limit=1))).error == "the answer is longer than 1 bytes"
        assert (await fetcher(Fetch((tmp_path / "none").as_uri()))).error.startswith("FileNotFoundError: ")


# --- what is answered


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "204 No Content", "404 None", "500 Oh"])
async def test_only_200_counts_and_no_redirect_is_followed(status: str) -> None:
    seen: Recorded = []
    answer = plain_answer(status, b"", "Location: /elsewhere")
    async with scripted(lambda _: answer, seen) as port, fetching() as fetcher:
        heard = await fetcher(Fetch(f"http://127.0.0.1:{port}/keys"))
    assert heard == Fetched(b"", f"the answer was {status[:3]}, not 200")
    assert targets(seen) == [b"/keys"]


@pytest.mark.parametrize(
    ("packed", "coding", "heard"),
    [
        (gzip.compress(b"keys"), "gzip", Fetched(b"keys")),
        (gzip.compress(b"keys"), "X-GZIP", Fetched(b"keys")),
        (gzip.compress(bytes(20_000)), "gzip", Fetched(bytes(20_000))),
        (gzip.compress(bytes(20_001)), "gzip", Fetched(b"", "the answer is longer than 20000 bytes")),
        (gzip.compress(bytes(10_000_000)), "gzip", Fetched(b"", "the answer is longer than 20000 bytes")),
        (b"keys", "gzip", Fetched(b"", "the answer says that it is packed with gzip, and it is not")),
        (b"keys", "identity", Fetched(b"keys")),
    ],
    ids=["packed", "old name", "as long as may be", "longer", "a bomb", "not packed", "identity"],
)
async def test_what_comes_packed_unasked_is_unpacked_up_to_the_limit(
    packed: bytes, coding: str, heard: Fetched
) -> None:
    seen: Recorded = []
    answer = plain_answer("200 OK", packed, f"Content-Encoding: {coding}")
    async with scripted(lambda _: answer, seen) as port, fetching() as fetcher:
        wish = Fetch(f"http://127.0.0.1:{port}/keys", limit=20_000)
        assert await fetcher(wish) == heard
        assert await asyncio.to_thread(fetch_sync.fetch, wish) == heard
    assert fields(seen[0])["accept-encoding"] == "identity"


@pytest.mark.parametrize("length", [b"content-length: 100000000", b"transfer-encoding: chunked"])
async def test_a_body_is_read_no_further_than_to_its_limit(length: bytes) -> None:
    ended = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n\r\n")
        piece = b"8000\r\n" + bytes(0x8000) + b"\r\n" if b"chunked" in length else bytes(0x8000)
        try:
            while True:
                writer.write(piece)
                await writer.drain()
        finally:
            ended.set()

    async with raw_server(endless) as port, fetching() as fetcher:
        heard = await fetcher(Fetch(f"http://127.0.0.1:{port}/keys", timeout=60, limit=100_000))
        assert heard == Fetched(b"", "the answer is longer than 100000 bytes")
        await asyncio.wait_for(ended.wait(), 20)


async def test_a_body_of_just_the_limit_is_taken() -> None:
    assert await fetch(lambda _: plain_answer("200 OK", bytes(5000)), limit=5000) == Fetched(bytes(5000))
    heard = await fetch(lambda _: plain_answer("200 OK", bytes(5001)), limit=5000)
    assert heard == Fetched(b"", "the answer is longer than 5000 bytes")


async def test_a_body_that_breaks_off_does_not_count() -> None:
    heard = await fetch(lambda _: b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}")
    assert heard.body == b""
    assert "closed" in heard.error


@pytest.mark.parametrize("raw", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"])
async def test_what_is_no_answer_does_not_count(raw: bytes) -> None:
    heard = await fetch(lambda _: raw)
    assert heard.body == b""
    assert heard.error


async def test_an_answer_may_have_a_long_header_field() -> None:
    """Some providers send a Content-Security-Policy of more than 8 KB."""
    long = plain_answer("200 OK", b"{}", f"Content-Security-Policy: {'a' * 30_000}")
    assert await fetch(lambda _: long) == Fetched(b"{}")


async def test_all_of_it_has_one_time_limit() -> None:
    """However the other end spreads its bytes."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + bytes(1_000_000):
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with raw_server(drip) as port, fetching() as fetcher:
        for seconds in (0.2, 1.5):  # in the head, and in the body
            heard = await fetcher(Fetch(f"http://127.0.0.1:{port}/keys", timeout=seconds))
            assert heard == Fetched(b"", f"no answer within {seconds:g} s")


async def test_nobody_there_is_said_without_the_insides_of_the_client() -> None:
    async with scripted(lambda _: b"", []) as port:
        pass
    async with fetching() as fetcher:
        for scheme in ("http", "https"):
            heard = await fetcher(Fetch(f"{scheme}://127.0.0.1:{port}/keys"))
            assert heard.error.startswith("ConnectionRefusedError: ")
            assert "0x" not in heard.error


# --- together and alone


async def test_those_who_ask_at_the_same_time_share_one_exchange() -> None:
    gate = asyncio.Event()

    async def wait(_: bytes) -> bytes:
        await gate.wait()
        return plain_answer("200 OK", b"{}")

    seen: Recorded = []
    async with scripted(wait, seen) as port, fetching() as fetcher:
        wish = Fetch(f"http://127.0.0.1:{port}/keys")
        first, *others = [asyncio.create_task(fetcher(wish)) for _ in range(5)]
        await eventually(lambda: seen, "it is asked")
        first.cancel()  # one who hangs up does not end it for the others
        gate.set()
        assert await asyncio.gather(*others) == [Fetched(b"{}")] * 4
        assert len(seen) == 1
        assert await fetcher(wish) == Fetched(b"{}")
        assert len(seen) == 2


async def test_no_connection_is_used_twice() -> None:
    """Bytes that nobody asked for cannot become the answer to the next question."""
    connections = 0

    async def two_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(
                b"".join(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + body for body in (b"mine", b"late"))
            )

    async with raw_server(two_answers) as port, fetching() as fetcher:
        for number in range(3):
            heard = await fetcher(Fetch(f"http://127.0.0.1:{port}/{number}"))
            assert heard == Fetched(b"", "bytes came that nobody asked for")
    assert connections == 3


async def test_closing_ends_what_is_under_way() -> None:
    async def never(_: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    seen: Recorded = []
    async with scripted(never, seen) as port:
        async with fetching() as fetcher:
            asking = asyncio.create_task(fetcher(Fetch(f"http://127.0.0.1:{port}/keys", timeout=600)))
            await eventually(lambda: seen, "it is asked")
        with pytest.raises(asyncio.CancelledError):
            await asking


# --- authorities


async def test_a_certificate_counts_if_ssl_cert_file_names_its_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate(tmp_path)
    tls = make_context((tmp_path / "cert.pem", tmp_path / "key.pem"))
    async with scripted(lambda _: plain_answer("200 OK", b"{}"), [], tls) as port:
        wish = Fetch(f"https://127.0.0.1:{port}/keys")
        async with fetching() as fetcher:
            refused = await fetcher(wish)
            assert refused.body == b""
            assert "CERTIFICATE_VERIFY_FAILED" in refused.error
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        async with fetching() as fetcher:
            assert await fetcher(wish) == Fetched(b"{}")
            other = await fetcher(Fetch(f"https://localhost:{port}/keys"))
            assert "CERTIFICATE_VERIFY_FAILED" in other.error  # it is not for this name
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        async with fetching() as fetcher:
            assert (await fetcher(wish)).error.startswith("FileNotFoundError: ")


def test_ssl_cert_file_alone_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate(tmp_path)
    assert len(trust.tls_context().get_ca_certs()) > 50
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert len(trust.tls_context().get_ca_certs()) == 1
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert trust.tls_context().get_ca_certs() == []


# --- proxies


@contextlib.asynccontextmanager
async def tunnelling(to: int, seen: Recorded) -> AsyncIterator[int]:
    """A proxy whose tunnels all lead to one port of this machine."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        there, back = await asyncio.open_connection("127.0.0.1", to)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            await asyncio.gather(copy(reader, back), copy(there, writer))
        finally:
            back.close()

    async with raw_server(tunnel) as port:
        yield port


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
async def test_a_proxy_from_the_environment_is_asked(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate(tmp_path, "issuer.example")
    tls = make_context((tmp_path / "cert.pem", tmp_path / "key.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    asked: Recorded = []
    seen: Recorded = []
    async with (
        scripted(lambda _: plain_answer("200 OK", b"{}"), seen, tls) as port,
        tunnelling(port, asked) as proxy,
        fetching() as fetcher,
    ):
        monkeypatch.setenv(variable, f"http://ann:secret@127.0.0.1:{proxy}")
        assert await fetcher(Fetch("https://issuer.example/%7Ekeys")) == Fetched(b"{}")
        assert asked[0].startswith(b"CONNECT issuer.example:443 HTTP/1.1\r\n")
        password = base64.b64encode(b"ann:secret").decode()
        assert fields(asked[0])["proxy-authorization"] == f"Basic {password}"
        assert targets(seen) == [b"/%7Ekeys"]
        assert not {"proxy-authorization", "authorization"} & set(fields(seen[0]))
        for direct in ("*", "issuer.example", "other.example, .example"):
            monkeypatch.setenv("no_proxy", direct)
            await fetcher(Fetch("https://issuer.example/keys", timeout=0.5))
            assert len(asked) == 1, direct


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_no_proxy_is_asked_for_what_is_on_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Recorded = []
    async with scripted(lambda _: b"", asked) as proxy, scripted(lambda _: b"", []) as port, fetching() as fetcher:
        for variable in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(variable, f"127.0.0.1:{proxy}")
        for scheme in ("http", "https"):
            await fetcher(Fetch(f"{scheme}://{host}:{port}/keys", timeout=0.5))
        assert asked == []


async def test_a_proxy_of_a_kind_that_is_not_spoken_lets_nothing_through(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: Recorded = []
    async with scripted(lambda _: b"", asked) as proxy, fetching() as fetcher:
        monkeypatch.setenv("https_proxy", f"socks5://127.0.0.1:{proxy}")
        heard = await fetcher(Fetch("https://issuer.example/keys", timeout=2))
        assert heard.body == b""
        assert heard.error
