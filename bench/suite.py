"""The whole run: start the contestants, take turns, measure our parts, keep the result."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from . import load, micro, peers, report

RESULTS = peers.ROOT / "bench" / "results"


def main() -> int:
    """Measure, show, and with `--write` rewrite docs/benchmarks.md. Exit codes: 0 fine, 1 could not be measured."""
    parser = argparse.ArgumentParser(
        prog="bench/run", description="Measure Stagedoor beside nginx and HAProxy, on 127.0.0.1."
    )
    parser.add_argument("--quick", action="store_true", help="1 round of 2 s each instead of 3 of 5 s")
    parser.add_argument("--write", action="store_true", help="rewrite docs/benchmarks.md and its picture")
    parser.add_argument("--from", dest="source", type=Path, metavar="JSON", help="do not measure; take this result")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, leave)  # so that every server is stopped on that way out, too
    try:
        if options.source:
            result = report.load(options.source)
        else:
            result = measure(quick=options.quick)
            keep(result)
    except peers.CannotRun as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    if options.write:
        for path in report.write(result, peers.ROOT / "docs"):
            say(f"wrote {path.relative_to(peers.ROOT)}")
    print(report.text(result))
    return 0


def leave(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def say(text: str) -> None:
    """Progress, on standard error, so that the table alone can be redirected."""
    print(text, file=sys.stderr, flush=True)


def measure(*, quick: bool) -> report.Result:
    """Make the whole run; takes about five minutes, or one with `quick`.

    Raises:
        CannotRun: something is missing, or a contestant does not do its job.
    """
    peers.require_programs(say)
    rounds, seconds = (1, 2.0) if quick else (3, 5.0)
    usable = sorted(os.sched_getaffinity(0))
    cores = peers.share_cores(usable)
    os.sched_setaffinity(0, cores.client_set)
    result: report.Result = {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "rounds": rounds,
        "seconds": seconds,
        "connections": load.CONNECTIONS,
        "machine": machine(len(usable)) | {"cores": cores.note},
        "versions": versions(),
        "token_bytes": 0,
        "refused": {},
        "loads": {},
        "memory": {},
        "slow_readers": {},
        "micro": {"ready_s": [], "imports": {}, "decisions": {}, "compile_ms": 0.0, "verified": {}, "passes": {}},
    }
    say(cores.note)
    if os.getloadavg()[0] > 0.5:
        say(f"this machine is busy (load {os.getloadavg()[0]:.1f}): expect figures that are too low")
    with ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="stagedoor-bench-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        site = peers.Site(root)
        site.warm()
        result["token_bytes"] = len(site.token)
        servers = [
            stack.enter_context(peers.start_nginx(site, cores.server)),
            stack.enter_context(peers.start_nginx(site, cores.server, "nginx, access log", log=True)),
            stack.enter_context(peers.start_haproxy(site, cores)),
            stack.enter_context(peers.start_stagedoor(site, cores.server)),
        ]
        check(site, servers)
        for one in load.LOADS:
            result["loads"][one.name] = take_turns(servers, one, site, cores, rounds, seconds)
        result["memory"] = {server.name: server.memory("VmHWM") for server in servers}
        result["refused"] = check(site, servers)  # with everything warm the answers have to be the same
        for server in servers:
            say(f"64 slow readers of 1 GB · {server.name}")
            result["slow_readers"][server.name] = load.read_slowly(server, site.token, seconds)
            server.stop()
        result["micro"] = _micro(site, cores, quick)
    os.sched_setaffinity(0, usable)
    return result


def check(site: peers.Site, servers: Sequence[peers.Server]) -> dict[str, dict[str, int]]:
    """See that each gives the right bytes to the right caller; return what it answers to others, by its name.

    Raises:
        CannotRun: it does not.
    """
    refused = {}
    for server in servers:
        shown = refused[server.name] = site.check(server)
        statuses = ", ".join(f"{case} {status}" for case, status in shown.items())
        say(f"{server.name}: {'refuses' if server.refuses else 'refuses nothing, it is the ceiling'}: {statuses}")
    return refused


def take_turns(
    servers: Sequence[peers.Server],
    one: load.Load,
    site: peers.Site,
    cores: peers.Cores,
    rounds: int,
    seconds: float,
) -> dict[str, list[load.Round]]:
    """Rounds in turn, so that whatever else the machine does hits everybody; each server is warmed up first."""
    for server in servers:
        load.run_wrk(server, one, site, cores, 1.0)
    found: dict[str, list[load.Round]] = {server.name: [] for server in servers}
    for number in range(rounds):
        for server in servers:
            shown = load.run_wrk(server, one, site, cores, seconds)
            found[server.name].append(shown)
            say(
                f"{one.name} · round {number + 1}/{rounds} · {server.name}: {shown['requests_per_s']:,.0f} req/s, "
                f"{shown['mb_per_s']:,.0f} MB/s, p99 {shown['p99_ms']:.1f} ms; cores: server {shown['busy']:.0%}, "
                f"behind {shown['behind']:.0%}, wrk {shown['client']:.0%}, others {shown['others']:.0%}"
                + (f", {shown['errors']} ERRORS" if shown["errors"] else "")
            )
    return found


def _micro(site: peers.Site, cores: peers.Cores, quick: bool) -> micro.Micro:
    say("start to ready")
    ready = micro.start_to_ready(site, cores.server, 5)
    say("imports")
    times = 3 if quick else 10
    imports = {
        "door, tokens, rsa (the edge)": micro.importing(micro.CORE, times),
        "the gateway's application": micro.importing("import stagedoor.gateway.app", times),
    }
    say("decisions and tokens")
    seconds = 0.2 if quick else 1.0
    compiled, decisions = micro.decisions(seconds)
    return {
        "ready_s": ready,
        "imports": imports,
        "decisions": decisions,
        "compile_ms": compiled,
        "verified": micro.verifying(seconds),
        "passes": micro.passes(seconds),
    }


def keep(result: Mapping[str, object], prefix: str = "") -> None:
    """Write a result into bench/results/."""
    RESULTS.mkdir(exist_ok=True)
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    path = RESULTS / f"{prefix}{stamp}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    say(f"kept as {path.relative_to(peers.ROOT)}")


def machine(count: int) -> dict[str, str]:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return {
        "processor": f"{model}, {count} core{'s' * (count > 1)}",
        "memory": f"{memory:.0f} GB",
        "system": f"{system}, Linux {platform.release().partition('-')[0]}",
    }


def versions(*more: str) -> dict[str, str]:
    """What was measured with, and on; `more` are installed packages."""

    def first_line(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return (done.stdout + done.stderr).splitlines()[0]

    installed = {}
    for package in ("uvicorn", "uvloop", "httptools", "cryptography", *more):
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "Python": platform.python_version(),
        **installed,
        "nginx": first_line("nginx", "-v").rpartition("/")[2],
        "HAProxy": first_line("haproxy", "-v").split()[2],
        "wrk": first_line("wrk", "-v").split()[1].removeprefix("debian/"),
    }


def commit() -> str:
    def git(*command: str) -> str:
        done = subprocess.run(
            ["git", *command], cwd=peers.ROOT, capture_output=True, text=True, timeout=10, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "src")
    return git("rev-parse", "--short", "HEAD") + (", with changes" if changed else "")
