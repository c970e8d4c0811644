"""The contestants: how each is configured and started, what it refuses, what it uses."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from . import keys

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {"wrk": "wrk", "nginx": "nginx", "haproxy": "haproxy", "taskset": "util-linux"}
"""Program -> Debian package."""
FOLDER = "groups/team-a"
LARGE = 1 << 30
FILES = {"1k.bin": 1 << 10, "64k.bin": 64 << 10, "10m.bin": 10 << 20, "1g.bin": LARGE}
READY_WITHIN = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


class CannotRun(Exception):
    """The comparison cannot be made here, or a contestant does not do what it is compared for."""


def require_programs(say: Callable[[str], None]) -> None:
    """Find the other programs; as root on Debian, install those that are missing.

    Raises:
        CannotRun: something is missing and cannot be installed.
    """
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # where Debian keeps servers
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if not missing:
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise CannotRun(f"this needs {', '.join(missing)}; on Debian: sudo {' '.join(command)}")
    say(f"installing {', '.join(missing)}")
    # Debian starts services when they are installed; nothing of this may listen beyond this machine.
    guard = Path("/usr/sbin/policy-rc.d")
    made = not guard.exists()
    if made:
        guard.write_text("#!/bin/sh\nexit 101\n")
        guard.chmod(0o755)
    try:
        subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL, timeout=300, check=False)
        subprocess.run(
            command,
            stdout=subprocess.DEVNULL,
            timeout=600,
            check=True,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except subprocess.SubprocessError as error:
        raise CannotRun(f"{' '.join(command)} did not work: {error}") from error
    finally:
        if made:
            guard.unlink()


class Cores(NamedTuple):
    """Which processor runs what; `taskset` lists."""

    server: str
    backend: str
    client: str
    threads: int
    note: str

    @property
    def client_set(self) -> set[int]:
        return {int(core) for core in self.client.split(",")}


def share_cores(usable: Sequence[int]) -> Cores:
    """The server under test has a processor of its own wherever there are two; then the client, then backends."""
    first = str(usable[0])
    if len(usable) == 1:
        return Cores(first, first, first, 1, "one core for everything: ratios are distorted")
    if len(usable) == 2:
        second = str(usable[1])
        note = f"server under test on core {first}; wrk, and what stands behind the server, on core {second}"
        return Cores(first, second, second, 1, note)
    rest = usable[2:6]
    client = ",".join(str(core) for core in rest)
    note = f"server under test on core {first}; what stands behind it on core {usable[1]}; wrk on {client}"
    return Cores(first, str(usable[1]), client, len(rest), note)


class Memory(NamedTuple):
    """Resident memory in MB: of the largest process, and of all together (shared pages counted for each)."""

    largest: float
    total: float


@dataclass
class Server:
    """A started server: a session of processes that is ended as a whole."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    refuses: bool = True
    behind: list[Server] = field(default_factory=list)

    def pids(self) -> list[int]:
        """All its processes: those of the session that it was started in."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError, IndexError, ValueError):
                    if int(_stat(int(entry.name))[3]) == self.process.pid:
                        found.append(int(entry.name))
        return found

    def cpu_seconds(self) -> float:
        """Processor time used so far, ended children included."""
        total = 0
        for pid in self.pids():
            with suppress(OSError):
                total += sum(int(value) for value in _stat(pid)[11:15])
        return total / _TICKS

    def memory(self, field_: str = "VmRSS") -> Memory:
        """Resident memory now, or at its peak (`VmHWM`)."""
        sizes = []
        for pid in self.pids():
            with suppress(OSError):
                status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
                sizes.append(int(status.get(field_, "0").split()[0]) / 1024)
        return Memory(max(sizes, default=0.0), sum(sizes))

    def wait_ready(self, path: str, log: Path) -> None:
        """Wait until it answers at all.

        Raises:
            CannotRun: it ended, or takes too long.
        """
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise CannotRun(f"{self.name} ended while starting:\n{_tail(log)}")
            with suppress(OSError, http.client.HTTPException):
                if get(self.port, path).status == 200:
                    return
            time.sleep(0.002)
        raise CannotRun(f"{self.name} was not ready after {READY_WITHIN:.0f} s:\n{_tail(log)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End every process of it, and of what stands behind it."""
        for signal_ in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal_)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(5.0)
        for pid in self.pids():  # a worker that outlived its parent
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for server in self.behind:
            server.stop()


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from `state` on; the name before them may hold blanks (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])


class Got(NamedTuple):
    """One answer, read to its end."""

    status: int
    body: bytes


def get(port: int, path: str, token: str | None = None, range_: str | None = None) -> Got:
    """Ask once, on a connection of its own."""
    headers = {"Cookie": f"token={token}"} if token else {}
    if range_:
        headers["Range"] = range_
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return Got(response.status, response.read())
    finally:
        connection.close()


class Site:
    """What all contestants serve and trust: objects, the issuer's public key, three tokens.

    Args:
        root: an empty folder; objects go to `www/` in it.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.www = root, root / "www"
        root.chmod(0o755)  # nginx reads as another user when root starts it
        for folder in (FOLDER, "groups/team-z"):
            (self.www / folder).mkdir(parents=True)
        for name, size in FILES.items():
            with (self.www / FOLDER / name).open("wb") as file:
                if size == LARGE:
                    file.truncate(size)  # sparse; `warm` brings its pages into memory
                else:
                    file.write(os.urandom(size))
        (self.www / "groups/team-z/1k.bin").write_bytes(b"z" * 1024)
        signer, now = keys.Signer("RS256"), int(time.time())
        (root / "jwks.json").write_bytes(signer.key_set)
        (root / "issuer.pem").write_bytes(signer.public_pem)
        self.token = keys.padded_token(signer, keys.claims_of(now))
        self.tampered = keys.tampered(self.token)
        self.expired = keys.padded_token(signer, keys.claims_of(now - 90_000))

    def warm(self) -> None:
        """Read every object once, so that nobody pays for the disk."""
        for name in FILES:
            with (self.www / FOLDER / name).open("rb", buffering=0) as file:
                while file.read(8 << 20):
                    pass

    def check(self, server: Server) -> dict[str, int]:
        """Show that a server gives the right bytes to the right caller, and nothing to others.

        Returns:
            The status for each case that has to be refused.

        Raises:
            CannotRun: it does not.
        """
        for name, size in FILES.items():
            if size < LARGE:
                got = get(server.port, f"/{FOLDER}/{name}", self.token)
                if got != (200, (self.www / FOLDER / name).read_bytes()):
                    raise CannotRun(f"{server.name} answered {got.status} with {len(got.body)} bytes for {name}")
        got = get(server.port, f"/{FOLDER}/1g.bin", self.token, "bytes=1048576-2097151")
        if got != (206, bytes(1 << 20)):
            raise CannotRun(f"{server.name} answered a range with {got.status} and {len(got.body)} bytes")
        path = f"/{FOLDER}/1k.bin"
        statuses = {
            "no token": get(server.port, path).status,
            "tampered token": get(server.port, path, self.tampered).status,
            "expired token": get(server.port, path, self.expired).status,
            "another team's file": get(server.port, "/groups/team-z/1k.bin", self.token).status,
        }
        if server.refuses and not {401, 403}.issuperset(statuses.values()):
            raise CannotRun(f"{server.name} lets in what it must refuse: {statuses}")
        return statuses


# --- starting them


_given = set[int]()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now, another one each time."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


def start(
    name: str,
    port: int,
    command: Sequence[str],
    core: str,
    root: Path,
    *,
    path: str = "/-/healthz",
    env: Mapping[str, str] | None = None,
) -> Server:
    """Start a program on a core and wait until it answers 200 at `path`; `env` is added to our own environment.

    Raises:
        CannotRun: it ended, or takes too long.
    """
    slug = f"{name.replace(' ', '-')}-{port}"
    errors = root / f"{slug}.err"
    with (root / f"{slug}.out").open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command],
            cwd=root,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    server = Server(name, port, process)
    try:
        server.wait_ready(path, errors)
    except BaseException:
        server.stop()
        raise
    return server


def start_nginx(site: Site, core: str, name: str = "nginx", *, log: bool = False) -> Server:
    """nginx as fast as it goes: one worker, sendfile, open files cached, no check of who asks."""
    port = free_port()
    serving = f"server {{ listen 127.0.0.1:{port} backlog=1024; root {site.www}; }}"
    server = nginx(site, core, name, port, serving, path=f"/{FOLDER}/1k.bin", log=log)
    server.refuses = False
    return server


def nginx(
    site: Site, core: str, name: str, port: int, serving: str, *, path: str = "/-/healthz", log: bool = False
) -> Server:
    """nginx with one worker; `serving` is what its `http` block holds beside what all of them have."""
    run = site.root / f"run-{port}"
    run.mkdir()
    config = run / "nginx.conf"
    access = f"{run}/access.log combined buffer=64k flush=1s" if log else "off"
    temporary = " ".join(f"{kind}_temp_path {run}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text(f"""
pid {run}/pid;
worker_processes 1;
daemon off;
error_log {run}/error.log warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 4096; }}
http {{
  access_log {access};
  sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_requests 100000000; keepalive_timeout 60;
  client_header_buffer_size 4k; large_client_header_buffers 4 16k;
  default_type application/octet-stream; server_tokens off;
  client_body_temp_path {run}/body; {temporary}
  open_file_cache max=1000 inactive=60s; open_file_cache_valid 60s;
  {serving}
}}
""")
    return start(name, port, ["nginx", "-c", str(config), "-e", f"{run}/error.log"], core, site.root, path=path)


def start_haproxy(site: Site, cores: Cores) -> Server:
    """HAProxy in front of an nginx of its own."""
    return haproxy(site, cores.server, start_nginx(site, cores.backend, "nginx behind haproxy"))


def haproxy(site: Site, core: str, backend: Server, relay: str = "") -> Server:
    """HAProxy with `jwt_verify` on one thread; it checks the token anew for each request.

    Args:
        backend: what it asks.
        relay: what it does to a request that it lets through.
    """
    port = free_port()
    config = site.root / f"haproxy-{port}.cfg"
    config.write_text(f"""
global
  nbthread 1
  maxconn 4000
  tune.bufsize 32768
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option http-keep-alive
  http-reuse always
frontend f
  bind 127.0.0.1:{port}
  http-request return status 200 if {{ path /-/healthz }}
  http-request set-var(txn.t) req.cook(token)
  http-request deny deny_status 401 unless {{ var(txn.t) -m found }}
  http-request deny deny_status 401 unless {{ var(txn.t),jwt_header_query('$.alg') -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.t),jwt_verify("RS256","{site.root}/issuer.pem") -m int 1 }}
  http-request deny deny_status 401 unless {{ var(txn.t),jwt_payload_query('$.iss') -m str {keys.ISSUER} }}
  http-request set-var(txn.exp) var(txn.t),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 403 if {{ path -m sub .. // % }}
  http-request deny deny_status 403 unless {{ path_beg /{FOLDER}/ }}
  {relay}
  default_backend o
backend o
  server s1 127.0.0.1:{backend.port} maxconn 2000
""")
    server = start("haproxy", port, ["haproxy", "-db", "-f", str(config)], core, site.root)
    server.behind.append(backend)
    return server


def start_stagedoor(
    site: Site,
    core: str,
    name: str = "stagedoor",
    store: str = 'store = "./www"',
    env: Mapping[str, str] | None = None,
) -> Server:
    """Ourselves, as people start us: one worker, ten rules, access log on and written to a file.

    Args:
        store: the lines of `[site]` that say where the objects are.
    """
    port = free_port()
    settings = site.root / f"stagedoor-{port}.toml"
    settings.write_text(f"""
[site]
url = "http://127.0.0.1:{port}"
{store}

[[issuers]]
issuer = "{keys.ISSUER}"
audience = ["{keys.AUDIENCE}"]
jwks = "./jwks.json"

[gateway]
listen = "127.0.0.1:{port}"

[log]
access = "json"
{RULES}""")
    script = "import sys; from stagedoor.cli import main; sys.exit(main())"  # what the installed command does
    command = [sys.executable, "-c", script, "serve", "--settings", str(settings)]
    return start(name, port, command, core, site.root, env=env)


RULES = """
[[rules]]
path = "public/**"
allow = "anyone"
[[rules]]
path = "users/{sub}/**"
allow = "signed-in"
[[rules]]
path = "groups/{groups}/**"
allow = "signed-in"
[[rules]]
path = "courses/**"
allow = { groups = ["students", "teachers"] }
[[rules]]
path = "courses/*/solutions/**"
deny = { groups = ["students"] }
[[rules]]
path = "tenants/{tenant|sha256}/**"
allow = { claims = { plan = ["pro", "team"] } }
[[rules]]
path = "partners/**"
allow = { emails = ["@partner.example"] }
[[rules]]
path = "staff/**"
allow = { groups = ["staff"] }
[[rules]]
path = "**/thumbnails/*.jpg"
allow = { groups = ["viewers"] }
[[rules]]
path = "courses/drafts/**"
deny = "anyone"
"""
