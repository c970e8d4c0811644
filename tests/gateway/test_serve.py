"""`stagedoor serve` as its owner runs it: starting, reloading, stopping, several workers, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers.serving import (
    TLS,
    Ended,
    Served,
    ask,
    bearer_line,
    certificate,
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


# --- TLS


@pytest.mark.parametrize("workers", [1, 2])
async def test_over_tls_the_site_is_the_same_and_sighup_brings_rules_and_certificate(site: Path, workers: int) -> None:
    old, renewed = certificate(site), site / "renewed"
    renewed.mkdir()
    new = certificate(renewed)
    more = f"{TLS}\nworkers = {workers}\n"
    with serve(site, settings_text(more=more), trust=old) as running:
        token = bearer_line(fresh_token())
        for _ in range(4 * workers):  # each connection may land at any worker
            assert (await running.ask("/public/a.txt")).body == b"hello"
            assert (await running.ask("/team/a.txt")).status == 401
            assert (await running.ask("/team/a.txt", "GET", token)).body == b"team"
        assert len((await running.ask("/public/large.bin")).body) == LARGE
        if workers > 1:
            await eventually(lambda: [reloads(pid) for pid in serving_workers(running)] == [True, True], "both start")

        (renewed / "key.pem").replace(site / "key.pem")  # the certificate is not there yet
        running.process.send_signal(signal.SIGHUP)
        await eventually(lambda: running.stderr.count("the settings were not reloaded") == workers, "all say so")
        assert "gateway.tls: " in running.stderr
        assert "is not the key of the certificate" in running.stderr
        for _ in range(4 * workers):
            assert (await running.ask("/public/a.txt")).body == b"hello"

        (renewed / "cert.pem").replace(site / "cert.pem")
        (site / "stagedoor.toml").write_text(settings_text(more=more + LATE))
        async with running.wire() as kept:
            running.process.send_signal(signal.SIGHUP)
            await eventually(lambda: running.stderr.count("stagedoor: settings reloaded") == workers, "all say so")
            assert (await kept.ask("/late/a.txt")).body == b"late"
        with pytest.raises(ssl.SSLCertVerificationError):
            await running.ask("/late/a.txt")
        running.trust = new
        for _ in range(4 * workers):
            assert (await running.ask("/late/a.txt")).body == b"late"
        assert running.stop() == 0
        assert "Traceback" not in running.stderr
        assert "restart" not in running.stderr
        assert {line["status"] for line in running.lines()} == {200, 401}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_that_does_not_fit_its_certificate_ends_it_before_anything_is_served(site: Path, workers: int) -> None:
    other = site / "other"
    other.mkdir()
    certificate(other)
    certificate(site)
    (other / "key.pem").replace(site / "key.pem")
    (site / "stagedoor.toml").write_text(settings_text(more=f"{TLS}\nworkers = {workers}"))
    arguments = command("serve", "--settings", str(site / "stagedoor.toml"), "--listen", "127.0.0.1:0")
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("stagedoor: gateway.tls: ")
    assert "is not the key of the certificate" in done.stderr
    assert "listening" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_turning_tls_on_needs_a_restart_and_is_said(site: Path) -> None:
    with serve(site, settings_text()) as running:
        certificate(site)
        (site / "stagedoor.toml").write_text(settings_text(more=TLS))
        running.process.send_signal(signal.SIGHUP)
        await eventually(lambda: "need a restart" in running.stderr, "it says so")
        assert (await running.ask("/public/a.txt")).body == b"hello"


async def test_over_tls_sigterm_lets_a_download_finish(site: Path) -> None:
    with serve(site, settings_text(more=TLS), trust=certificate(site)) as running:
        async with running.wire() as idle, running.wire(receive_buffer=65_536) as slow:
            assert (await idle.ask("/public/a.txt")).status == 200
            await slow.send(message("/public/large.bin"))
            await slow.head()
            got = len(await slow.reader.read(100_000))
            running.process.send_signal(signal.SIGTERM)
            assert await idle.ended() == b"", "idle connections are closed at once"
            while chunk := await asyncio.wait_for(slow.reader.read(1_048_576), 20):
                got += len(chunk)
            assert got == LARGE
        assert await asyncio.to_thread(running.process.wait, 20) == 0
