"""Load from one side: wrk for throughput and latency, slow readers for memory."""

from __future__ import annotations

import json
import os
import resource
import selectors
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, TypedDict

from .peers import FOLDER, LARGE, CannotRun, Cores, Memory, Server, Site

CONNECTIONS = 64
RANGE = 1 << 20
PIECE = 16_384
"""Bytes that a slow reader takes ten times a second; also the size of its receive buffer."""


class Load(NamedTuple):
    """One kind of request.

    Attributes:
        name: its name in the table.
        file: the object.
        ranges: whether 1 MB ranges of it are asked for.
        names: under how many names it is asked for in turn, each in a folder of its own, `1` and so on.
        connections: how many ask at the same time.
    """

    name: str
    file: str
    ranges: bool = False
    names: int = 0
    connections: int = CONNECTIONS

    @property
    def by_bytes(self) -> bool:
        """Compare by bytes: of large bodies so few end within a round that counting whole ones is coarse."""
        return self.ranges or self.file == "10m.bin"


LOADS = (
    Load("1 KB", "1k.bin"),
    Load("64 KB", "64k.bin"),
    Load("10 MB", "10m.bin"),
    Load("1 MB ranges", "1g.bin", True),
)


class Round(TypedDict):
    """What one round of wrk showed.

    Shares of one core: `busy` is what the server used, `behind` what stands behind it, `client` what each thread of wrk
    used, `others` what everything else on the machine used or took away (steal of a virtual machine).
    """

    requests_per_s: float
    mb_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_request: float
    cpu_ms_per_mb: float
    busy: float
    behind: float
    client: float
    others: float
    errors: int


_SCRIPT = """
wrk.headers["Cookie"] = "token=%(token)s"
local count, asked, threads = %(count)d, {}, 0
function setup(thread)
  thread:set("turn", threads * 131)
  threads = threads + 1
end
function init(args)
  for n = 1, count do
    %(range)s
    asked[n] = wrk.format("GET", %(path)s)
  end
end
if count > 1 then
  function request()
    turn = turn %% count + 1
    return asked[turn]
  end
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\nRESULT {"requests":%%d,"bytes":%%.0f,"us":%%.0f,"p50":%%.1f,"p99":%%.1f,"errors":%%d}\\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def run_wrk(server: Server, load: Load, site: Site, cores: Cores, seconds: float) -> Round:
    """One round: keep-alive connections that ask as fast as they are answered."""
    script = site.root / f"{load.file}.lua"
    script.write_text(_script(load, site.token))
    before, machine = _used(server), machine_seconds()
    answer = _wrk(script, f"http://127.0.0.1:{server.port}/{FOLDER}/{load.file}", load.connections, cores, seconds)
    used, behind, client = (after - earlier for after, earlier in zip(_used(server), before, strict=True))
    others = machine_seconds() - machine - used - behind - client
    wall, megabytes = answer["us"] / 1e6, answer["bytes"] / 1e6
    if not answer["bytes"]:
        raise CannotRun(f"{server.name} answered nothing in {seconds} s of {load.name}")
    return Round(
        requests_per_s=answer["requests"] / wall,
        mb_per_s=megabytes / wall,
        p50_ms=answer["p50"] / 1000,
        p99_ms=answer["p99"] / 1000,
        cpu_us_per_request=used / max(1, answer["requests"]) * 1e6,
        cpu_ms_per_mb=used / megabytes * 1000,
        busy=used / wall,
        behind=behind / wall,
        client=client / wall / cores.threads,
        others=max(0.0, others / wall),
        errors=int(answer["errors"]),
    )


def _script(load: Load, token: str) -> str:
    count = LARGE // RANGE
    range_ = f"""local start = (n * 37 % {count}) * {RANGE}
    wrk.headers["Range"] = "bytes=" .. start .. "-" .. (start + {RANGE - 1})"""
    return _SCRIPT % {
        "token": token,
        "count": count if load.ranges else max(1, load.names),
        "range": range_ if load.ranges else "",
        "path": f'"/{FOLDER}/" .. n .. "/{load.file}"' if load.names else "nil",
    }


def _used(server: Server) -> tuple[float, float, float]:
    """Processor seconds so far: of the server, of what stands behind it, of our own ended children (wrk)."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    behind = sum(other.cpu_seconds() for other in server.behind)
    return server.cpu_seconds(), behind, children.ru_utime + children.ru_stime


def machine_seconds() -> float:
    """Processor seconds that all processes used so far, and those that a hypervisor gave to others (proc(5))."""
    with Path("/proc/stat").open() as file:
        user, nice, system, _idle, _wait, _irq, _softirq, steal, *_ = (
            int(value) for value in file.readline().split()[1:]
        )
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK")


def _wrk(script: Path, url: str, connections: int, cores: Cores, seconds: float) -> dict[str, float]:
    command = ["taskset", "-c", cores.client, "wrk", f"-t{cores.threads}", f"-c{connections}", f"-d{seconds:.0f}s"]
    command += ["--timeout", "10s", "--latency", "-s", str(script), url]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    except subprocess.SubprocessError as error:
        raise CannotRun(f"wrk did not work: {error}") from error
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            numbers: dict[str, float] = json.loads(line.removeprefix("RESULT "))
            return numbers
    raise CannotRun(f"wrk told no result:\n{done.stdout}{done.stderr}")


class SlowReading(TypedDict):
    """Resident memory in MB (largest process; all together) before and at the peak, and what the readers got."""

    before: Memory
    peak: Memory
    clients: int
    mb_read: float


def read_slowly(server: Server, token: str, seconds: float) -> SlowReading:
    """64 clients that take 16 KB of a 1 GB object ten times a second."""
    before = peak = server.memory()
    request = f"GET /{FOLDER}/1g.bin HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: token={token}\r\n\r\n".encode()
    got = dict[int, bytes]()
    read = 0
    with ExitStack() as stack:
        clients = stack.enter_context(selectors.DefaultSelector())
        for _ in range(CONNECTIONS):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
            client.settimeout(10)
            client.connect(("127.0.0.1", server.port))
            client.sendall(request)
            client.setblocking(False)
            clients.register(client, selectors.EVENT_READ)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, _ in clients.select(0):
                piece = os.read(key.fd, PIECE)
                if not piece:
                    raise CannotRun(f"{server.name} hung up on a slow reader")
                got.setdefault(key.fd, piece[:12])
                read += len(piece)
            now = server.memory()
            peak = Memory(max(peak.largest, now.largest), max(peak.total, now.total))
            time.sleep(0.1)
    served = sum(start.startswith(b"HTTP/1.1 200") for start in got.values())
    if served != CONNECTIONS:
        raise CannotRun(f"{server.name} served {served} of {CONNECTIONS} slow readers")
    return SlowReading(before=before, peak=peak, clients=served, mb_read=read / 1e6)
