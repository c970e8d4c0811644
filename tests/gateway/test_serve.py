"""`stagedoor serve` as its owner runs it: starting, reloading, stopping, several workers, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from stagedoor.gateway import server
from tests.helpers.serving import (
    TLS,
    Ended,
    ask,
    bearer_line,
    certificate,
    children,
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
            await eventually(
                lambda: [reloads(pid) for pid in serving_workers(running.process.pid)] == [True, True], "both start"
            )
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
        answering = serving_workers(running.process.pid)
        assert len(answering) == 2
        os.kill(answering[0], signal.SIGKILL)
        await eventually(
            lambda: (
                len(serving_workers(running.process.pid)) == 2
                and answering[0] not in serving_workers(running.process.pid)
            ),
            "a new worker",
        )
        await becomes(running.port, "/public/a.txt", 200)
        everybody = running.workers()
        assert running.stop() == 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everybody), "all workers have ended")


def serving_workers(parent: int) -> list[int]:
    """Children that run the spawned worker code, not multiprocessing's resource tracker."""
    found = []
    for pid in children(parent):
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
            await eventually(
                lambda: [reloads(pid) for pid in serving_workers(running.process.pid)] == [True, True], "both start"
            )

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
    assert "\nstagedoor: gateway.tls: " in f"\n{done.stderr}"
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


# --- a machine in trouble


async def test_nobody_reads_standard_error_and_everything_goes_on(site: Path) -> None:
    """A pipe is full after 64 KB; this listing alone reports more names than that."""
    for number in range(500):
        (site / "files/public" / f"{'x' * 200}\\{number}").write_bytes(b"")
    (site / "stagedoor.toml").write_text(settings_text())
    arguments = command("serve", "--settings", str(site / "stagedoor.toml"), "--listen", "127.0.0.1:0")
    with started(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            said = await asyncio.to_thread(process.stderr.readline)
            port = int(said.rpartition(b":")[2])
            listed = await asyncio.wait_for(ask(port, "/-/s3objects?prefix=public/"), 20)
            assert listed.status == 200
            for _ in range(3):
                process.send_signal(signal.SIGHUP)  # says something, too
                await asyncio.sleep(0.1)
                assert (await asyncio.wait_for(ask(port, "/public/a.txt"), 20)).body == b"hello"
        finally:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_it_serves_with_all_standard_streams_closed(site: Path, workers: int) -> None:
    """What is opened next must not be taken for them: log lines would go to a client, or into a file."""
    (site / "stagedoor.toml").write_text(settings_text())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serving = command("serve", "--settings", "stagedoor.toml", "--listen", f"127.0.0.1:{port}", "--workers")
    arguments = ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", *serving, str(workers)]
    with started(arguments, cwd=site) as process:
        try:
            await eventually(lambda: process.poll() is not None or connects(port), "it listens")
            assert process.poll() is None
            for _ in range(3):
                assert (await ask(port, "/public/a.txt")).body == b"hello"
            for pid in (process.pid, *serving_workers(process.pid)):
                assert streams(pid) == {"/dev/null"}
        finally:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 20) == 0


def started(arguments: list[str], **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(arguments, env=environment(), **more)


def streams(pid: int) -> set[str]:
    """What the standard streams of a process are."""
    return {str(Path(f"/proc/{pid}/fd/{number}").readlink()) for number in (0, 1, 2)}


def connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


async def test_workers_end_with_a_parent_that_was_killed_and_leave_the_port(site: Path) -> None:
    with serve(site, settings_text(more="[gateway]\nworkers = 2")) as running:
        await becomes(running.port, "/public/a.txt", 200)
        orphans = await eventually(lambda: len(found := serving_workers(running.process.pid)) == 2 and found, "both")
        running.process.kill()
        await eventually(lambda: not any(map(is_running, orphans)), "the workers end")
        with socket.create_server(("127.0.0.1", running.port)):
            pass
        assert "the parent process has gone" in running.stderr


async def test_a_reload_asked_for_during_the_start_ends_nobody(site: Path) -> None:
    with serve(site, settings_text(more="[gateway]\nworkers = 2")) as running:
        starting = await eventually(lambda: len(found := serving_workers(running.process.pid)) == 2 and found, "both")
        running.process.send_signal(signal.SIGHUP)
        await eventually(lambda: [reloads(pid) for pid in starting if is_running(pid)] == [True, True], "both start")
        await becomes(running.port, "/public/a.txt", 200)
        assert serving_workers(running.process.pid) == starting


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_a_reload_that_cannot_be_read_is_reported_and_the_next_one_counts(site: Path) -> None:
    settings = site / "stagedoor.toml"
    with serve(site, settings_text()) as running:
        for number, bad in enumerate(("x = " + "[" * 5000, "site." + "a." * 50_000 + "b = 1")):
            settings.write_text(bad)
            running.process.send_signal(signal.SIGHUP)
            await eventually(lambda: running.stderr.count("were not reloaded") == number + 1, "it says so")  # noqa: B023
        settings.unlink()
        os.mkfifo(settings)
        running.process.send_signal(signal.SIGHUP)
        await eventually(lambda: "this is a pipe" in running.stderr, "it says so")
        settings.unlink()
        settings.write_text(settings_text(more=LATE))
        running.process.send_signal(signal.SIGHUP)
        await becomes(running.port, "/late/a.txt", 200)
        assert running.stop() == 0
        assert "Traceback" not in running.stderr


async def test_a_reload_that_hangs_is_given_up_and_the_next_one_counts(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (site / "stagedoor.toml").write_text(settings_text())
    app, hangs = server.Reloading(site / "stagedoor.toml"), threading.Event()
    first = app.gateway
    monkeypatch.setattr(server, "RELOAD_WITHIN", 0.2)
    monkeypatch.setattr(server, "WRITTEN_WITHIN", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(server, "load", lambda _: hangs.wait(20))
        app.reload()
        await eventually(lambda: "they could not be read within 0.2 s" in caplog.text, "it is given up")
    assert app.gateway is first
    monkeypatch.setattr(server, "RELOAD_WITHIN", 20)
    app.reload()
    await eventually(lambda: app.gateway is not first, "the next one counts")
    hangs.set()
    await app.gateway.aclose()


async def test_settings_that_are_written_in_place_are_not_taken_half(site: Path) -> None:
    """The last deny rule is not there yet when the reload begins."""
    settings = site / "stagedoor.toml"
    with serve(site, settings_text()) as running:
        with settings.open("w") as file:
            file.write(settings_text(more=LATE))
            file.flush()
            running.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.1)
            file.write('[[rules]]\npath = "public/**"\ndeny = "anyone"')
        await eventually(lambda: "the file changed while it was read" in running.stderr, "it says so")
        assert "rename it over this one" in running.stderr
        assert (await running.ask("/late/a.txt")).status == 401, "the old settings stay"
        running.process.send_signal(signal.SIGHUP)
        await becomes(running.port, "/public/a.txt", 401)


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_clients_have_sent_before_a_stop_is_answered(site: Path, workers: int) -> None:
    with serve(site, settings_text(more=f"[gateway]\nworkers = {workers}")) as running:
        await becomes(running.port, "/public/a.txt", 200)
        if workers > 1:
            await eventually(lambda: len(serving_workers(running.process.pid)) == 2, "both start")
        processes = [running.process.pid, *serving_workers(running.process.pid)]
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        async with contextlib.AsyncExitStack() as stack:
            waiting = [await stack.enter_async_context(wire(running.port)) for _ in range(20)]
            for one in waiting:
                await one.send(message("/public/a.txt"))
            running.process.send_signal(signal.SIGTERM)
            for pid in processes:
                os.kill(pid, signal.SIGCONT)
            for one in waiting:
                assert (await one.answer()).body == b"hello"
        assert await asyncio.to_thread(running.process.wait, 20) == 0


@pytest.mark.parametrize("tls", [False, True])
async def test_a_file_that_shrinks_is_one_line_and_no_traceback(site: Path, tls: bool) -> None:
    trust = certificate(site) if tls else None
    with serve(site, settings_text(more=TLS if tls else ""), trust=trust) as running:
        async with running.wire(receive_buffer=65_536) as slow:
            await slow.send(message("/public/large.bin"))
            await slow.head()
            os.truncate(site / "files/public/large.bin", 10)
            while await slow.reader.read(1_048_576):
                pass
        await eventually(lambda: "became shorter" in running.stderr, "it says so")
        assert running.stop() == 0
        said = [line for line in running.stderr.splitlines() if "listening" not in line and "warning" not in line]
        assert len(said) == 1
        assert said[0].startswith("stagedoor: store-unavailable for b'/public/large.bin', after ")
