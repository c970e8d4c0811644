"""Attacks that once worked, or nearly: each must go on failing."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

import pytest

from stagedoor.core.errors import StoreUnavailable
from stagedoor.core.messages import Request
from stagedoor.core.tokens import Tokens
from stagedoor.gateway import objects, protocol
from stagedoor.gateway.access_log import AccessLog, Entry
from stagedoor.gateway.log_writer import WAITING_BYTES
from stagedoor.gateway.objects import private_cache_control
from stagedoor.keys import signatures
from stagedoor.store import folder
from stagedoor.store.folder import FolderStore
from stagedoor.store.port import Head, Open
from tests.helpers.serving import eventually, fresh_token, message, prepare, serving, wire
from tests.helpers.support import ISSUER, issuer, key_set, rsa_signer


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = prepare(tmp_path, {"public/a.txt": b"hello", "users/ann/a.txt": b"ann's"})
    with (root / "public/large.bin").open("wb") as large:
        large.truncate(64 * 1_048_576)
    return tmp_path


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("pause", [0.0, 0.1])
async def test_the_body_of_an_upgrade_is_not_the_next_request(site: Path, method: str, pause: float) -> None:
    hidden = message("/public/hidden")
    head = message("/public/a.txt", method, "Connection: Upgrade", "Upgrade: foo", f"Content-Length: {len(hidden)}")
    async with serving(site) as here, wire(here.port) as connection:
        await connection.send(head)
        await asyncio.sleep(pause)
        await connection.send(hidden)
        assert (await connection.ended()).count(b"HTTP/1.1 ") == 1
        await eventually(here.lines, "a line of the log")
        assert all(line["path"] != "/public/hidden" for line in here.lines())


async def test_after_an_upgrade_the_connection_ends(site: Path) -> None:
    async with serving(site) as here, wire(here.port) as connection:
        await connection.send(message("/public/a.txt", "GET", "Connection: Upgrade", "Upgrade: websocket"))
        await connection.send(message("/public/a.txt"))
        assert (await connection.ended()).count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize("trailer", ["Authorization: Bearer {}", "Cookie: token={}"])
async def test_a_credential_in_a_trailer_is_none(site: Path, trailer: str) -> None:
    head = message("/users/ann/a.txt", "GET", "Transfer-Encoding: chunked")
    async with serving(site) as here, wire(here.port) as connection:
        await connection.send(head + b"0\r\n" + trailer.format(fresh_token()).encode() + b"\r\n\r\n")
        assert (await connection.answer()).status == 401


async def test_trailers_without_end_end_the_connection(site: Path) -> None:
    async with serving(site) as here, wire(here.port) as connection:
        await connection.send(message("/public/large.bin", "GET", "Transfer-Encoding: chunked") + b"0\r\n")

        async def go_on() -> None:
            for _ in range(2000):
                await connection.send(b"X-Trailer: " + b"a" * 1000 + b"\r\n")
                await asyncio.sleep(0)

        with pytest.raises(ConnectionError):
            await go_on()


async def test_requests_behind_a_slow_answer_wait_unread(site: Path) -> None:
    """They take no memory of ours, and nothing is left of them when the client goes."""
    async with serving(site) as here:
        async with wire(here.port, receive_buffer=4096) as connection:
            await connection.send(message("/public/large.bin"))
            await eventually(lambda: here.gateway.in_flight == 1, "the download begins")
            connection.writer.write(message("/public/a.txt") * 20_000)
            await asyncio.sleep(0.5)
            waiting = [one for one in gc.get_objects() if type(one).__name__ == "RequestResponseCycle"]
            assert len(waiting) < protocol.MAX_PIPELINED + protocol.SLICE // len(message("/public/a.txt")) + 5
        await eventually(lambda: here.gateway.in_flight == 0, "the download is given up")


def test_only_types_known_to_be_inert_are_let_out_of_the_sandbox() -> None:
    for name in (
        "text/xsl",
        "TEXT/XSL",
        "text/xsl;charset=utf-8",
        "multipart/x-mixed-replace",
        "image/svg+xml",
        "text/html",
    ):
        assert objects._can_run_scripts(name.encode()), name
    for name in (
        "application/xhtml+xml",
        "application/xml",
        "text/xml",
        "image/x+xml",
        "application/atom+xml",
        "x/y",
        "text/rtf",
    ):
        assert objects._can_run_scripts(name.encode()), name
    for name in (
        "image/png",
        "image/avif",
        "video/mp4",
        "audio/mpeg",
        "text/plain; charset=utf-8",
        "application/pdf",
        "font/woff2",
    ):
        assert not objects._can_run_scripts(name.encode()), name


@pytest.mark.parametrize(
    "stored", [b"text/plain;, text/xsl", b"image/png, text/html", b"text/html,", b"image", b"", b"a/b\r\nx: y"]
)
def test_of_several_types_or_none_the_browser_gets_bytes(stored: bytes) -> None:
    assert objects._TYPE.match(stored) is None


def test_a_quoted_directive_with_a_comma_stays_whole() -> None:
    assert (
        private_cache_control(b'no-cache="x, s-maxage=3", max-age=5') == b'private, no-cache="x, s-maxage=3", max-age=5'
    )
    assert private_cache_control(b'max-age=5, x="open') == b"private, no-cache"


async def test_a_remembered_file_is_forgotten_when_a_link_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "SETTLED_AFTER", 0)
    (tmp_path / "public/rep").mkdir(parents=True)
    (tmp_path / "team").mkdir()
    (tmp_path / "public/rep/x.txt").write_bytes(b"x")
    store = FolderStore(str(tmp_path))
    assert await store.open(Open("public/rep/x.txt"))
    assert store.open_now(Open("public/rep/x.txt")), "it is remembered"
    await asyncio.sleep(0)
    (tmp_path / "public/rep").rename(tmp_path / "team/rep")
    (tmp_path / "public/rep").symlink_to("../team/rep")
    assert await store.open(Open("public/rep/x.txt")) is None
    assert await store.head(Head("public/rep/x.txt")) is None


async def test_two_writes_within_one_step_of_the_file_systems_clock_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written a moment ago is read again each time, for its times may not tell the next write."""
    monkeypatch.setattr(folder, "_identity", lambda _: (0,))  # a clock that does not tell them apart
    store, file = FolderStore(str(tmp_path)), tmp_path / "a.txt"
    for body in (b"one", b"two"):
        file.write_bytes(body)
        opened = await store.open(Open("a.txt"))
        assert opened is not None
        assert opened.whole == body


def test_a_file_system_that_ignores_case_is_found_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    (tmp_path / "A.TXT").hardlink_to(
        tmp_path / "a.txt"
    )  # two names of one file, but both are listed: nothing is ignored
    FolderStore(str(tmp_path))
    listed = Path.exists

    def ignoring(path: Path, **_: object) -> bool:
        return path.name in ("B.TXT", "b.txt") or listed(path)

    (tmp_path / "b.txt").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "exists", ignoring)
        patch.setattr(Path, "samefile", lambda *_: True)
        with pytest.raises(StoreUnavailable, match="ignores case"):
            FolderStore(str(tmp_path))


async def test_a_reader_of_the_log_that_stalls_holds_nobody_up_and_little_memory(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate, taken = threading.Event(), []

    def stalled(text: bytes) -> int:
        gate.wait(20)
        taken.append(len(text))
        return len(text)

    log = AccessLog("json", stalled)
    request = Request("GET", b"/" + b"a" * 8000, b"", {})
    for _ in range(3 * WAITING_BYTES // 8000):
        log.add(Entry(request, "-", 200, 0, 0.0, "", "", "", ""), 0.0)
    assert not gate.is_set()
    gate.set()
    log.close()
    assert WAITING_BYTES / 2 < sum(taken) <= WAITING_BYTES
    assert "lines were lost because nobody read them" in caplog.text


def test_a_reload_needs_no_issuer_to_answer() -> None:
    """The keys that were had go on to count, or every valid token would be refused until the issuer is back."""
    old, new, other = (
        Tokens((one,), signatures) for one in (issuer(), issuer(), issuer(jwks="https://elsewhere.example/"))
    )
    old.issuers[ISSUER].install(key_set(rsa_signer()), 0.0)
    new.adopt(old)
    assert new.issuers[ISSUER].keys == old.issuers[ISSUER].keys != ()
    other.adopt(old)
    assert other.issuers[ISSUER].keys == ()
