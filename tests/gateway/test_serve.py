"""`stagedoor serve` as its owner runs it: starting, reloading, stopping, several workers, TLS and HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.helpers.servers import free_port
from tests.helpers.serving import (
    Ended,
    Served,
    ask,
    bearer_line,
    command,
    environment,
    eventually,
    fresh_token,
    message,
    prepare,
    serve,
    settings_text,
    until,
    wire,
)

LARGE = 200 * 1_048_576


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = prepare(tmp_path, {"public/a.txt": b"hello", "team/a.txt": b"team", "late/a.txt": b"late"})
    with (root / "public/large.bin").open("wb") as large:
        large.truncate(LARGE)
    return tmp_path


def certificate(folder: Path) -> ssl.SSLContext:
    """Write cert.pem and key.pem for 127.0.0.1; what a client needs to trust them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stagedoor test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.public_bytes(encoding))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


TLS = '[gateway]\ntls = { certificate = "cert.pem", key = "key.pem" }'
LATE = '[[rules]]\npath = "late/**"\nallow = "anyone"'


# --- starting


def test_a_port_in_use_is_said_and_ends_it(site: Path) -> None:
    (site / "stagedoor.toml").write_text(settings_text())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for more in ((), ("--workers", "2")):
            arguments = command(
                "serve", "--settings", str(site / "stagedoor.toml"), "--listen", f"127.0.0.1:{port}", *more
            )
            done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=30, check=False)
            assert done.returncode == 1
            assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
            assert "choose another [gateway] listen" in done.stderr
            assert "Traceback" not in done.stderr
            assert done.stdout == ""


def test_bad_settings_end_it_before_anything_is_served(site: Path) -> None:
    (site / "stagedoor.toml").write_text(settings_text(more="[nonsense]\na = 1"))
    arguments = command("serve", "--settings", str(site / "stagedoor.toml"), "--listen", "127.0.0.1:0")
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=30, check=False)
    assert done.returncode != 0
    assert "nonsense" in done.stderr
    assert "listening" not in done.stderr
    assert "Traceback" not in done.stderr


# --- reloading


async def hears(port: int, target: str, status: int, times: int = 12) -> bool:
    """Does every worker answer so? Each connection may land at any of them."""
    return all([(await ask(port, target)).status == status for _ in range(times)])


async def becomes(port: int, target: str, status: int) -> None:
    deadline = time.monotonic() + 20
    while not await hears(port, target, status):
        assert time.monotonic() < deadline, f"{target} never became {status}"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_takes_new_settings_and_keeps_the_old_ones_if_they_are_bad(site: Path, workers: int) -> None:
    more = f"[gateway]\nworkers = {workers}\n"
    with serve(site, settings_text(more=more)) as running:
        await becomes(running.port, "/late/a.txt", 401)
        if workers > 1:  # one answers before the other has started
            await eventually(lambda: [reloads(pid) for pid in serving_workers(running)] == [True, True], "both start")
        async with wire(running.port) as kept:
            assert (await kept.ask("/late/a.txt")).status == 401
            (site / "stagedoor.toml").write_text(settings_text(more=more + LATE))
            running.process.send_signal(signal.SIGHUP)
            await becomes(running.port, "/late/a.txt", 200)
            for _ in range(200):  # connections stay open, and follow; their worker may be the slower one
                if (await kept.ask("/late/a.txt")).status == 200:
                    break
                await asyncio.sleep(0.05)
            else:
                pytest.fail("an open connection goes on with the old settings")
            await eventually(lambda: running.stderr.count("settings reloaded") == workers, "every worker says so")

            (site / "stagedoor.toml").write_text(settings_text(more=more + 'rules = "everything"'))
            running.process.send_signal(signal.SIGHUP)
            await eventually(
                lambda: running.stderr.count("the settings were not reloaded") == workers, "every worker says so"
            )
            assert await hears(running.port, "/late/a.txt", 200)
            assert await hears(running.port, "/team/a.txt", 401)

            (site / "stagedoor.toml").write_text(settings_text(more=more))
            running.process.send_signal(signal.SIGHUP)
            await becomes(running.port, "/late/a.txt", 401)
        assert running.process.poll() is None
        assert running.stop() == 0
        assert "Traceback" not in running.stderr
        assert {line["path"] for line in running.lines()} >= {"/late/a.txt", "/team/a.txt"}


async def test_a_download_outlives_a_reload(site: Path) -> None:
    with serve(site, settings_text()) as running:
        async with wire(running.port, receive_buffer=65_536) as slow:
            await slow.send(message("/public/large.bin"))
            await slow.head()
            got = len(await slow.reader.read(100_000))
            (site / "stagedoor.toml").write_text(settings_text(more='[[rules]]\npath = "public/**"\ndeny = "anyone"'))
            running.process.send_signal(signal.SIGHUP)
            await becomes(running.port, "/public/a.txt", 401)
            while chunk := await slow.reader.read(1_048_576):
                got += len(chunk)
                if got == LARGE:
                    break
            assert got == LARGE
            assert (await slow.ask("/public/large.bin")).status == 401


# --- stopping


@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_lets_a_download_finish(site: Path, workers: int) -> None:
    with serve(site, settings_text(more=f"[gateway]\nworkers = {workers}")) as running:
        async with wire(running.port) as idle, wire(running.port, receive_buffer=65_536) as slow:
            assert (await idle.ask("/public/a.txt")).status == 200
            await slow.send(message("/public/large.bin"))
            await slow.head()
            got = len(await slow.reader.read(100_000))
            running.process.send_signal(signal.SIGTERM)
            assert await idle.ended() == b"", "idle connections are closed at once"
            if workers == 1:  # with several the parent keeps the socket; who comes late waits, and is turned away
                with pytest.raises((OSError, Ended)):
                    await ask(running.port, "/public/a.txt")
            while got < LARGE:
                chunk = await asyncio.wait_for(slow.reader.read(1_048_576), 20)
                assert chunk, f"broken off after {got} bytes"
                got += len(chunk)
            assert await slow.ended() == b""
        assert await asyncio.to_thread(running.process.wait, 20) == 0
        line = next(line for line in running.lines() if line["path"] == "/public/large.bin")
        assert (line["status"], line["bytes"]) == (200, LARGE)


def test_ctrl_c_ends_it_without_a_traceback(site: Path) -> None:
    with serve(site, settings_text()) as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(20) in (0, 130, -signal.SIGINT)
        assert "Traceback" not in running.stderr


# --- workers


async def test_a_worker_that_dies_is_replaced_and_none_outlives_the_parent(site: Path) -> None:
    with serve(site, settings_text(more="[gateway]\nworkers = 2")) as running:
        await becomes(running.port, "/public/a.txt", 200)
        answering = serving_workers(running)
        assert len(answering) == 2
        os.kill(answering[0], signal.SIGKILL)
        await eventually(
            lambda: len(serving_workers(running)) == 2 and answering[0] not in serving_workers(running), "a new worker"
        )
        await becomes(running.port, "/public/a.txt", 200)
        everybody = running.workers()
        assert running.stop() == 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everybody), "all workers have ended")


def serving_workers(running: Served) -> list[int]:
    """Children that run the spawned worker code, not multiprocessing's resource tracker."""
    found = []
    for pid in running.workers():
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def reloads(pid: int) -> bool:
    """Does the process catch SIGHUP yet?"""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) & 1 << signal.SIGHUP - 1)


async def test_standard_output_is_the_access_log_alone(site: Path) -> None:
    for more in ("", "[gateway]\nworkers = 2"):
        with serve(site, settings_text(more=more)) as running:
            await becomes(running.port, "/public/a.txt", 200)
            await ask(running.port, "/team/a.txt", "GET", bearer_line("nonsense"))
            async with wire(running.port) as connection:
                await connection.send(b"nonsense\r\n\r\n")
                await connection.ended()
            assert running.stop() == 0
            assert {line["status"] for line in running.lines()} == {200, 400, 401}
            assert running.stdout.endswith("\n")


# --- memory


async def test_slow_readers_of_a_large_file_cost_little_memory(site: Path) -> None:
    with serve(site, settings_text()) as running:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(16):
                slow = await stack.enter_async_context(wire(running.port, receive_buffer=65_536))
                await slow.send(message("/public/large.bin"))
                await slow.head()
                await slow.reader.read(300_000)
            assert peak(running.process.pid) < 120 * 1_048_576
            assert (await ask(running.port, "/public/a.txt")).body == b"hello"
        async with wire(running.port) as fast:
            assert len((await fast.ask("/public/large.bin")).body) == LARGE
        assert peak(running.process.pid) < 120 * 1_048_576


def peak(pid: int) -> int:
    """The most memory that a process ever had in use, in bytes."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


# --- TLS and HTTP/2


async def test_tls_serves_http_2_and_1_alike(site: Path) -> None:
    trust = certificate(site)
    with serve(site, settings_text(more=TLS), port=free_port()) as running:
        base = f"https://127.0.0.1:{running.port}"
        token = {"authorization": f"Bearer {fresh_token()}"}
        for version, http2 in (("HTTP/2", True), ("HTTP/1.1", False)):
            async with httpx.AsyncClient(base_url=base, http2=http2, verify=trust) as client:
                heard = await client.get("/public/a.txt")
                assert (heard.http_version, heard.status_code, heard.text) == (version, 200, "hello")
                assert (await client.get("/team/a.txt")).status_code == 401
                assert (await client.get("/team/a.txt", headers=token)).text == "team"
                assert (await client.head("/public/large.bin")).headers["content-length"] == str(LARGE)
                part = await client.get("/public/large.bin", headers={"range": "bytes=5-300004"})
                assert (part.status_code, len(part.content)) == (206, 300_000)
                etag = heard.headers["etag"]
                assert (await client.get("/public/a.txt", headers={"if-none-match": etag})).status_code == 304
                assert (await client.post("/public/a.txt")).status_code == 405
                assert (await client.get("/public/%2e%2e/team/a.txt")).status_code in (400, 401)
                assert (await client.get("/public%2fa.txt")).status_code == 400
                many = await asyncio.gather(*(client.get("/public/a.txt") for _ in range(50)))
                assert {one.text for one in many} == {"hello"}
        (site / "stagedoor.toml").write_text(settings_text(more=f"{TLS}\n{LATE}"))
        running.process.send_signal(signal.SIGHUP)
        async with httpx.AsyncClient(base_url=base, http2=True, verify=trust) as client:
            for _ in range(200):
                if (await client.get("/late/a.txt")).status_code == 200:
                    break
                await asyncio.sleep(0.05)
            else:
                pytest.fail("SIGHUP changed nothing")
        assert running.stop() == 0
        assert "Traceback" not in running.stderr
        assert {line["status"] for line in running.lines()} >= {200, 206, 304, 400, 401, 405}


async def test_over_http_2_a_file_that_shrinks_does_not_look_whole(site: Path) -> None:
    trust = certificate(site)
    with serve(site, settings_text(more=TLS), port=free_port()) as running:
        base = f"https://127.0.0.1:{running.port}"
        for http2 in (True, False):
            os.truncate(site / "files/public/large.bin", LARGE)
            async with httpx.AsyncClient(base_url=base, http2=http2, verify=trust) as client:
                with pytest.raises(httpx.HTTPError):
                    await download(client, lambda: os.truncate(site / "files/public/large.bin", 1000))
            async with httpx.AsyncClient(base_url=base, verify=trust) as client:
                assert (await client.get("/public/a.txt")).text == "hello"


async def download(client: httpx.AsyncClient, at_first: Callable[[], None]) -> None:
    """Read all of it; after the first bytes something happens."""
    async with client.stream("GET", "/public/large.bin") as heard:
        async for _ in heard.aiter_raw():
            at_first()
