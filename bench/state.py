"""What a long list of what was taken back costs a gateway: `python -m bench.state --help`."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import TypedDict

from bench import keys
from bench.micro import per_second
from bench.peers import ROOT
from stagedoor.core.drivers import run
from stagedoor.core.messages import Fetched, Keep, Reply, Request, Serve, Wish
from stagedoor.core.revocations import Kind, Revocation, to_text
from stagedoor.gateway.app import Gateway
from stagedoor.gateway.tls import Loop
from stagedoor.settings import parse
from stagedoor.state import open_state

COUNT = 100_000
TICK = 0.001
"""Seconds between two looks at how late the event loop is."""
AT_ONCE = 10_000
ORIGIN = "http://127.0.0.1:8080"
SETTINGS = f"""
[site]
url = "{ORIGIN}"
store = "memory:"
[[issuers]]
name = "staff"
issuer = "{keys.ISSUER}"
audience = ["{keys.AUDIENCE}"]
jwks = "./jwks.json"
[[rules]]
path = "film/**"
allow = "signed-in"
[login]
session_keys = ["file:session.key"]
[state]
url = "sqlite:///state.db"
"""


class Lateness(TypedDict):
    """Milliseconds that the event loop was late at most, and at 99 of 100 looks; seconds that the work took."""

    most: float
    p99: float
    seconds: float


class Loaded(TypedDict):
    """A gateway: resident MB before, after the first reading, and after more of them; how late its loop was."""

    megabytes: list[float]
    idle: Lateness
    first: Lateness
    again: Lateness


def main() -> int:
    """Measure and print; it judges nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.state",
        description="Measure a gateway with a long list of revocations beside one with an empty list; about a minute.",
    )
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"revocations (default: {COUNT:,})")
    parser.add_argument("--quick", action="store_true", help="shorter turns, coarser")
    parser.add_argument("--child", nargs=2, metavar=("EMPTY", "FULL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        gc.freeze()  # as `serve` does
        gc.set_threshold(20_000, 20, 10)
        print(json.dumps(in_child(Path(options.child[0]), Path(options.child[1]), 0.3 if options.quick else 1.0)))
        return 0
    with tempfile.TemporaryDirectory(prefix="stagedoor-bench-") as folder:
        empty, full = (prepare(Path(folder) / name, count) for name, count in (("empty", 1), ("full", options.count)))
        command = [sys.executable, "-m", "bench.state", *(["--quick"] if options.quick else ()), "--child"]
        one, other = (
            json.loads(subprocess.run([*command, *map(str, pair)], check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout)
            for pair in ((empty, empty), (empty, full))
        )
    print(page(options.count, one["loaded"], other["loaded"], other["rates"]))
    return 0


def prepare(folder: Path, count: int) -> Path:
    """A site whose state holds so many entries: people, sessions and tokens, with names as long as usual."""
    folder.mkdir()
    signer = keys.Signer("RS256")
    (folder / "jwks.json").write_bytes(signer.key_set)
    (folder / "session.key").write_bytes(os.urandom(40))
    token = signer.token(keys.claims_of(int(time.time()), jti="j" * 36, sid="s" * 36))
    (folder / "token").write_text(token)
    state, now = open_state(f"sqlite://{folder}/state.db"), time.time()
    for start in range(0, count, AT_ONCE):
        found = [_revocation(number, now) for number in range(start, min(count, start + AT_ONCE))]
        state.put_all([Keep(one.name, to_text(one), one.ends) for one in found], now)
    return folder


def _revocation(number: int, now: float) -> Revocation:
    kinds: tuple[tuple[Kind, str], ...] = (
        ("session", ""),
        ("session", keys.ISSUER),
        ("person", keys.ISSUER),
        ("token", keys.ISSUER),
    )
    kind, issuer = kinds[number % 4]
    return Revocation(kind, issuer, f"{number:036d}", now if kind == "person" else 0.0, now + 86_400 + number)


class Measured(TypedDict):
    """The gateway with the long list, and requests/s of both by kind of credential."""

    loaded: Loaded
    rates: dict[str, list[float]]


def in_child(empty: Path, full: Path, seconds: float) -> Measured:
    with asyncio.Runner(loop_factory=Loop) as runner:
        gateway, loaded = runner.run(loading(full, seconds))
        other, _ = runner.run(loading(empty, 0.0))
    return Measured(loaded=loaded, rates=rates((empty, other), (full, gateway), seconds))


async def loading(folder: Path, seconds: float) -> tuple[Gateway, Loaded]:
    """Let a gateway read its state as `serve` does, beside a timer."""
    gateway = Gateway(parse(SETTINGS, folder / "stagedoor.toml"))
    memory = gateway._memory
    assert memory is not None
    megabytes = [resident()]
    idle = await beside(asyncio.sleep(seconds * 2))
    first = await beside(memory.read())
    megabytes.append(resident())
    again = await beside(memory.read_all())
    for _ in range(2):
        await memory.read_all()
    megabytes.append(resident())
    return gateway, Loaded(megabytes=megabytes, idle=idle, first=first, again=again)


async def beside(work: Coroutine[object, object, None]) -> Lateness:
    """How late the loop is while this is done; at each tick it sends and receives a byte, as a busy gateway does."""
    late, (here, there) = list[float](), socket.socketpair()
    began = time.perf_counter()
    task = asyncio.create_task(work)
    while not task.done():
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        here.send(b"x")
        there.recv(1)
        late.append(max(0.0, time.perf_counter() - due) * 1000)
    await task
    here.close()
    there.close()
    ordered = sorted(late) or [0.0]
    return Lateness(most=ordered[-1], p99=ordered[int(len(ordered) * 0.99) - 1], seconds=time.perf_counter() - began)


def resident() -> float:
    """Resident MB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def rates(empty: tuple[Path, Gateway], full: tuple[Path, Gateway], seconds: float) -> dict[str, list[float]]:
    """Requests that a door decides in a second, by credential: with an empty list, and with the long one."""
    found = dict[str, list[float]]()
    sites = [list(_requests(*site)) for site in (empty, full)]
    for name in (name for name, _ in sites[0]):
        pair = [dict(site)[name] for site in sites]
        best = [0.0, 0.0]
        for _ in range(5):  # in turns, because others slow this machine down
            for at, request in enumerate(pair):
                best[at] = max(best[at], per_second(request, seconds / 2))
        found[name] = best
    return found


def _requests(folder: Path, gateway: Gateway) -> Iterator[tuple[str, partial[None]]]:
    """Questions to the door of a caller whom nobody has taken out: by a token and by a session."""
    now = time.time()
    gateway.door.revocations.add((), now)  # type: ignore[union-attr]
    token = (folder / "token").read_text()
    run(gateway.door.tokens.refresh(now), lambda _: Fetched((folder / "jwks.json").read_bytes(), ""))
    made = run(gateway.door.answer(_request("POST", b"/-/session", authorization=f"Bearer {token}"), now), _nothing)
    assert isinstance(made, Reply), made
    cookie = dict(made.headers)[b"set-cookie"].partition(b";")[0].decode()
    for name, fields in (("token", {"authorization": f"Bearer {token}"}), ("session", {"cookie": cookie})):
        yield name, partial(_let_in, gateway, _request("GET", b"/film/0.ts", **fields), now)


def _request(method: str, path: bytes, **fields: str) -> Request:
    lines = {name.encode(): [value.encode()] for name, value in fields.items()}
    return Request(method, path, b"", {b"host": [b"127.0.0.1:8080"], **lines}, b"", "192.0.2.1")


def _let_in(gateway: Gateway, request: Request, now: float) -> None:
    if not isinstance(run(gateway.door.answer(request, now), _nothing), Serve):
        raise AssertionError("the door refused; its speed means nothing")


def _nothing(wish: Wish) -> Fetched:
    return Fetched(b"", f"nothing is fetched here, {wish} neither")


def page(count: int, empty: Loaded, full: Loaded, measured: dict[str, list[float]]) -> str:
    """The figures as a table."""
    lines = [f"|  | empty list | {count:,} entries | ratio |", "| --- | ---: | ---: | ---: |"]
    for name, (without, with_) in measured.items():
        lines.append(f"| requests/s by {name}, decided | {without:,.0f} | {with_:,.0f} | {with_ / without:.2f} |")
    for at, what in ((1, "after the first reading"), (2, "after three more of the whole list")):
        more = [one["megabytes"][at] - one["megabytes"][0] for one in (empty, full)]
        lines.append(f"| MB more, {what} | {more[0]:.1f} | {more[1]:.1f} | |")
    for name, what in (("idle", "idle"), ("first", "first reading"), ("again", "whole list again")):
        both = [one[name] for one in (empty, full)]  # type: ignore[literal-required]
        shown = " | ".join(f"{one['most']:.1f} (p99 {one['p99']:.1f}; {one['seconds']:.2f} s)" for one in both)
        lines.append(f"| ms late at most, {what} | {shown} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
