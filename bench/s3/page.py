"""From a result to docs/s3-benchmarks.md, its pictures, and the tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from bench import report
from bench.load import CONNECTIONS, Round
from bench.peers import Memory
from bench.report import Aim, Bar, Row, markdown, middle, number

from . import contest
from .contest import AUTH, BY_HAND, CACHED, CACHING, ENVOY, HAPROXY, OURS, OURS_FOLDER, RELAY, ROWS, STORE

NAMES = {
    STORE: "the store itself",
    RELAY: "nginx, no check",
    AUTH: "nginx, cached `auth_request`",
    CACHING: "nginx, cached `auth_request`, cached objects",
    HAPROXY: "HAProxy `jwt_verify`",
    ENVOY: "Envoy `jwt_authn`",
    BY_HAND: "Starlette, PyJWT, boto3",
    OURS: "Stagedoor",
    CACHED: "Stagedoor, cache",
    OURS_FOLDER: "Stagedoor, from a folder",
}
COLOURS = {RELAY: 0, AUTH: 3, HAPROXY: 1, ENVOY: 4, BY_HAND: 5, OURS: 2}
RATE, OF_RELAY, SPREAD, OF_FOLDER, OF_HAPROXY, MEMORY_MB = 5000.0, 0.5, 4.0, 0.8, 1.0, 130.0


class Filled(TypedDict):
    """Resident memory in MB before and at the peak, when `asked_mb` of different objects went through the cache."""

    asked_mb: float
    before: Memory
    peak: Memory


class Result(TypedDict):
    """One run. `loads`: by row, then by contestant; `memory`: by the file that the cache was filled with."""

    date: str
    commit: str
    rounds: int
    seconds: float
    machine: dict[str, str]
    versions: dict[str, str]
    token_bytes: int
    refused: dict[str, dict[str, int]]
    loads: dict[str, dict[str, list[Round]]]
    memory: dict[str, Filled]


def load(path: Path) -> Result:
    """Read a result that an earlier run kept.

    Raises:
        CannotRun: it is none.
    """
    result: Result = report.read(path, Result.__required_keys__)
    return result


# --- figures


def ratio(result: Result, row: contest.Row, server: str, other: str, figure: str = "") -> float:
    """How many times the figure of `other` that of `server` is; by itself throughput, in bytes for large bodies."""
    rounds = result["loads"][row.load.name]
    figure = figure or ("mb_per_s" if row.load.by_bytes else "requests_per_s")
    return middle(rounds[server], figure) / middle(rounds[other], figure)


def aims(result: Result) -> list[Aim]:
    """Every aim with what was measured."""
    small = result["loads"]["1 KB"]
    rate, half = (middle(small[server], "requests_per_s") for server in (OURS, RELAY))
    p50, p99 = (middle(small[OURS], figure) for figure in ("p50_ms", "p99_ms"))
    found = [
        Aim("1 KB, not cached; the aim is half of nginx", rate, RATE, round(half * OF_RELAY), "req/s"),
        Aim("1 KB, not cached, p99 / p50", p99 / p50, SPREAD, SPREAD, below=True),
    ]
    for row in ROWS:
        if CACHED in row.servers:
            value = ratio(result, row, CACHED, OURS_FOLDER)
            found.append(Aim(f"{row.load.name}, of a folder", value, OF_FOLDER, OF_FOLDER))
        if row.load.by_bytes:
            value = ratio(result, row, OURS, HAPROXY, "cpu_ms_per_mb")
            found.append(Aim(f"{row.load.name}, CPU per byte, of HAProxy", value, OF_HAPROXY, OF_HAPROXY, below=True))
    peak = max(filled["peak"][0] for filled in result["memory"].values())
    return [*found, Aim("memory of a worker, cache full", peak, MEMORY_MB, MEMORY_MB, "MB", below=True)]


def head(row: contest.Row) -> Row:
    base = "of nginx" if row.base == RELAY else "of a folder"
    return ("", "req/s", "MB/s", base, "CPU µs/req", "CPU ms/MB", "p50 ms", "p99 ms", "core busy", "behind", "errors")


def rows(result: Result, row: contest.Row) -> list[Row]:
    """One row per contestant for one kind of request; columns as in `head`."""
    return [
        (
            NAMES[server],
            number(middle(rounds, "requests_per_s")),
            number(middle(rounds, "mb_per_s")),
            f"{ratio(result, row, server, row.base):.2f}",
            number(middle(rounds, "cpu_us_per_request")),
            number(middle(rounds, "cpu_ms_per_mb")),
            number(middle(rounds, "p50_ms")),
            number(middle(rounds, "p99_ms")),
            f"{middle(rounds, 'busy'):.0%}",
            f"{middle(rounds, 'behind'):.0%}",
            str(sum(one["errors"] for one in rounds)),
        )
        for server, rounds in result["loads"][row.load.name].items()
    ]


MEMORY_HEAD: Row = ("", "objects, MB", "before", "peak", "all processes")


def memory(result: Result) -> list[Row]:
    """Resident MB with the cache full, by the size of what is in it."""
    return [
        (
            file.removesuffix(".bin").replace("k", " KB").replace("m", " MB"),
            f"{filled['asked_mb']:.0f}",
            f"{filled['before'][0]:.0f}",
            f"{filled['peak'][0]:.0f}",
            f"{filled['peak'][1]:.0f}",
        )
        for file, filled in result["memory"].items()
    ]


# --- words


def text(result: Result) -> str:
    """The whole result for a terminal."""
    lines = [f"{result['date']}, commit {result['commit']}", *result["machine"].values(), ""]
    for row in ROWS:
        lines += [row.load.name, *report.columns([head(row), *rows(result, row)]), ""]
    lines += ["resident memory, cache full", *report.columns([MEMORY_HEAD, *memory(result)]), ""]
    lines += report.columns([("aims", "", "at least", "aim", ""), *report.aim_rows(aims(result))])
    return "\n".join(lines)


PAGE = """\
# Benchmarks in front of S3

How fast Stagedoor hands out what lies in a private bucket, beside what people put in front of one. `python -m bench.s3
--write` measured this and wrote this page; nothing on it is typed by hand. [Files from a folder](benchmarks.md) are
measured on a page of their own.

![Throughput relative to nginx that relays and checks nobody](images/s3-benchmarks.svg)

## Aims

{aims}

## What falls short, and what limits the figures

{shortfalls}

## Side by side

Medians of {rounds} of {seconds:g} s, the contestants in turn; every request brings the same RS256 token of
{token_bytes} bytes in a cookie. Small objects are asked for under {small} names in turn ({medium} for 64 KB), so that
hardly two requests for the same one are under way at once. {connections} connections are kept ({others}).

*of nginx* compares requests per second for small objects, and bytes per second for large ones, with nginx that relays
and checks nobody. *CPU* is the processor time of the server alone. *behind* is what the store used of its core, which
on a machine with two cores is also the client's.

{tables}

![Processor time for each MB](images/s3-benchmarks-cpu.svg)

The store is an nginx that serves the bucket's files with ETag and Last-Modified. It looks at no signature, because
nginx, HAProxy and Envoy do not sign here and a private bucket would refuse them: what they would spend on Signature
Version 4 is missing from their figures. Stagedoor and boto3 sign every request.

- **nginx, no check** relays over kept connections and checks nobody: it is the ceiling of relaying, not an alternative.
- **nginx, cached `auth_request`** asks a service about each token and folder, and believes a yes for 30 s, whether or
  not the token expires meanwhile. The service is the Starlette program; it is hardly asked, and counts as *behind*.
- **HAProxy** checks signature, issuer and expiry of every request anew and a path prefix; one thread, no splicing.
- **Envoy** remembers checked tokens, and checks a path prefix; one thread.
- **Starlette, PyJWT, boto3** is [a program of some sixty lines](../bench/s3/by_hand.py) as one writes it in an
  afternoon: it checks the token anew, looks for the caller's group, and streams. One uvicorn worker, 40 threads.
- **Stagedoor** remembers checked tokens until they expire, asks ten rules for every request and writes its JSON access
  log to a file; nobody else here writes one. One worker. Its cache is off, except where the name says so.

The token goes no further than the gateway at any of them.

## Cached

{cached}

![Throughput of cached objects relative to a folder](images/s3-benchmarks-cached.svg)

The objects fit the cache. Stagedoor's has its usual settings: a worker's own memory, looked at only after the caller
was authorised; an object is revalidated after 5 s. nginx keeps objects for 5 s, too, in files that are in the page
cache. *From a folder* is Stagedoor again, with the same objects as files.

## They do refuse

Status for requests that must not be served, asked before and after the load:

{refused}

## Memory

Resident MB of a fresh worker, before and at its peak, when {connections} clients at a time had asked it for more
objects of one size than its cache holds (64 MB). 1 MB is the largest object that it keeps.

{memory}

## Machine

Measured on {date} at commit {commit}: {processor}, {memory_size} memory, {system}. {versions}.

Everything ran on this one machine over 127.0.0.1: {cores}. All objects were in the page cache; the 1 GB object that
ranges are asked of is a sparse file. Connections are kept with TLS, too, so few handshakes are in the figures.

Where the store is {away} ms away, a proxy holds back what it answers. Connections are the limit there: {far} of them
cannot get more than {most:,.0f} answers a second, whatever stands between. *The store itself* is asked through the
proxy without a gateway: its p50 and p99 show the delay that there really was. Opening a connection is not delayed.

Figures of other machines differ, ratios less so.

## Do it again

```
requirements/install test && requirements/install bench
.venv/bin/python -m bench.s3            # about seven minutes; needs wrk, nginx and haproxy, as bench/run does
.venv/bin/python -m bench.s3 --quick    # about three minutes, coarser
.venv/bin/python -m bench.s3 --write    # and rewrites this page
```

Results are kept as JSON in `bench/results/`; `--from FILE` shows one again.
"""


def page(result: Result) -> str:
    """docs/s3-benchmarks.md."""
    machine, refused = result["machine"], result["refused"]
    cases = ("", *next(iter(refused.values())))
    tables = {row: f"### {row.load.name}\n\n{markdown(head(row), rows(result, row))}" for row in ROWS}
    far = next(row for row in ROWS if row.place == "far")
    connections = {row.load.name: row.load.connections for row in ROWS}
    doubts = [*report.missed(aims(result)), *report.doubts(result["loads"], NAMES)]
    return PAGE.format(
        aims=markdown(("", "measured", "at least", "aim", ""), report.aim_rows(aims(result))),
        shortfalls="\n".join(f"- {one}" for one in doubts or ["Nothing, on this machine."]),
        rounds=f"{result['rounds']} round{'s' * (result['rounds'] > 1)}",
        seconds=result["seconds"],
        token_bytes=result["token_bytes"],
        small=f"{contest.NAMES['1k.bin']:,}",
        medium=contest.NAMES["64k.bin"],
        connections=CONNECTIONS,
        others=", ".join(f"{count} for {name}" for name, count in connections.items() if count != CONNECTIONS),
        tables="\n\n".join(table for row, table in tables.items() if row.base == RELAY),
        cached="\n\n".join(table for row, table in tables.items() if row.base != RELAY),
        refused=markdown(cases, ((NAMES[name], *map(str, shown.values())) for name, shown in refused.items())),
        memory=markdown(MEMORY_HEAD, memory(result)),
        date=result["date"],
        commit=result["commit"],
        processor=machine["processor"],
        memory_size=machine["memory"],
        system=machine["system"],
        versions=", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        cores=machine["cores"],
        away=contest.AWAY_MS,
        far=far.load.connections,
        most=far.load.connections / contest.AWAY_MS * 1000,
    )


# --- pictures


def pictures(result: Result) -> dict[str, str]:
    """SVGs by the names of their files."""
    relayed = [row for row in ROWS if row.base == RELAY]
    cached = [row for row in ROWS if row.base == OURS_FOLDER]
    among = {CACHING: 3, OURS_FOLDER: 0, CACHED: 2}
    return {
        "s3-benchmarks.svg": _throughput(
            result, "Throughput relative to nginx that relays and checks nobody", relayed, COLOURS
        ),
        "s3-benchmarks-cached.svg": _throughput(
            result, "Throughput of cached objects relative to a folder", cached, among
        ),
        "s3-benchmarks-cpu.svg": _cpu(result, [row for row in relayed if row.load.by_bytes]),
    }


def _throughput(result: Result, title: str, shown: Sequence[contest.Row], colours: Mapping[str, int]) -> str:
    groups = dict[str, list[Bar]]()
    for row in shown:
        groups[row.load.name] = []
        for server, rounds in result["loads"][row.load.name].items():
            if server in colours:
                value = ratio(result, row, server, row.base)
                label = f"{value:.2f} · {report.throughput(rounds, by_bytes=row.load.by_bytes)}"
                groups[row.load.name].append(Bar(colours[server], value, label))
    return report.bars(title, _legend(colours), groups)


def _cpu(result: Result, shown: Sequence[contest.Row]) -> str:
    groups = dict[str, list[Bar]]()
    for row in shown:
        groups[row.load.name] = []
        for server, rounds in result["loads"][row.load.name].items():
            value = middle(rounds, "cpu_ms_per_mb")
            groups[row.load.name].append(Bar(COLOURS[server], value, f"{number(value)} ms/MB"))
    return report.bars("Processor time of the server for each MB (less is better)", _legend(COLOURS), groups)


def _legend(colours: Mapping[str, int]) -> dict[str, int]:
    return {NAMES[server].replace("`", ""): colour for server, colour in colours.items()}


def write(result: Result, docs: Path) -> list[Path]:
    """Write page and pictures; return what was written."""
    made = {docs / "s3-benchmarks.md": page(result)}
    made |= {docs / "images" / name: picture for name, picture in pictures(result).items()}
    for path, content in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return list(made)
