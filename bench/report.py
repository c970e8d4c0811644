"""From a result to words and a picture: the table on the terminal, docs/benchmarks.md and its SVG."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypedDict

from .load import LOADS, Round, SlowReading
from .micro import Micro
from .peers import CannotRun

BASE, PEER, OURS = "nginx", "haproxy", "stagedoor"
NAMES = {
    BASE: "nginx, no check",
    "nginx, access log": "nginx, no check, access log",
    PEER: "HAProxy `jwt_verify`",
    OURS: "Stagedoor, access log",
}


class Result(TypedDict):
    """One run, as it is kept in bench/results/."""

    date: str
    commit: str
    rounds: int
    seconds: float
    connections: int
    machine: dict[str, str]
    versions: dict[str, str]
    token_bytes: int
    refused: dict[str, dict[str, int]]
    loads: dict[str, dict[str, list[Round]]]
    memory: dict[str, Sequence[float]]
    slow_readers: dict[str, SlowReading]
    micro: Micro


class Aim(NamedTuple):
    """What the project wants of a figure: at least (or with `below`, less than) `least`, better `best`."""

    what: str
    value: float
    least: float
    best: float
    unit: str = ""
    below: bool = False

    @property
    def met(self) -> bool:
        return self.value < self.least if self.below else self.value >= self.least

    @property
    def best_met(self) -> bool:
        return self.value < self.best if self.below else self.value >= self.best

    @property
    def verdict(self) -> str:
        return "met" if self.best_met else "enough, short of the aim" if self.met else "**falls short**"


OF_NGINX = {"1 KB": (0.4, 0.5), "64 KB": (0.6, 0.75), "10 MB": (0.8, 0.9), "1 MB ranges": (0.4, 0.7)}
OF_HAPROXY = (2.0, 2.5)
MEMORY_MB, READY_S = 120.0, 1.5
SATURATED = 0.9
"""Share of its core from which on a server counts as the limit of what was measured."""
QUIET = 0.05
"""Share of a core that other work may take before the figures are called doubtful."""


def load(path: Path) -> Result:
    """Read a result that an earlier run kept.

    Raises:
        CannotRun: it is none.
    """
    result: Result = read(path, Result.__required_keys__)
    return result


def read(path: Path, members: frozenset[str]) -> Any:
    """Read a JSON object that has these members.

    Raises:
        CannotRun: there is none.
    """
    try:
        result = json.loads(path.read_text())
        missing = members - result.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise CannotRun(f"{path}: {error}") from error
    if missing:
        raise CannotRun(f"{path} is not a result of this: it has no {', '.join(sorted(missing))}")
    return result


# --- figures


def middle(rounds: Iterable[Round], name: str) -> float:
    """Median of one figure over the rounds."""
    return statistics.median(float(one[name]) for one in rounds)  # type: ignore[literal-required]  # its callers name members


def ratio(result: Result, load_name: str, ours: str, other: str, *, per_cpu: bool = False) -> float:
    """How many times as fast `ours` is: requests/s, or bytes/s for large bodies, or the same per processor second."""
    by_bytes = _by_bytes(load_name)
    rounds = result["loads"][load_name]
    if per_cpu:
        name = "cpu_ms_per_mb" if by_bytes else "cpu_us_per_request"
        return middle(rounds[other], name) / middle(rounds[ours], name)
    name = "mb_per_s" if by_bytes else "requests_per_s"
    return middle(rounds[ours], name) / middle(rounds[other], name)


def _by_bytes(load_name: str) -> bool:
    return next(one.by_bytes for one in LOADS if one.name == load_name)


def aims(result: Result) -> list[Aim]:
    """Every aim with what was measured."""
    found = [Aim(f"{name}, of nginx", ratio(result, name, OURS, BASE), *OF_NGINX[name]) for name in result["loads"]]
    found += [Aim(f"{name}, of HAProxy", ratio(result, name, OURS, PEER), *OF_HAPROXY) for name in result["loads"]]
    peak = max(result["memory"][OURS][0], result["slow_readers"][OURS]["peak"][0])
    found.append(Aim("memory of a worker", peak, MEMORY_MB, MEMORY_MB, "MB", below=True))
    ready = statistics.median(result["micro"]["ready_s"])
    found.append(Aim("start to ready", ready, READY_S, READY_S, "s", below=True))
    return found


def number(value: float) -> str:
    """Three figures that count, thousands apart; numbers from 1000 on whole."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


Row: TypeAlias = tuple[str, ...]
HEAD: Row = ("", "req/s", "MB/s", "of nginx", "per CPU", "p50 ms", "p99 ms", "CPU µs/req", "core busy", "errors")


def rows(result: Result, load_name: str) -> list[Row]:
    """One row per contestant for one kind of request; columns as in `HEAD`."""
    found: list[Row] = []
    for server, rounds in result["loads"][load_name].items():
        found.append(
            (
                NAMES[server],
                number(middle(rounds, "requests_per_s")),
                number(middle(rounds, "mb_per_s")),
                f"{ratio(result, load_name, server, BASE):.2f}",
                f"{ratio(result, load_name, server, BASE, per_cpu=True):.2f}",
                number(middle(rounds, "p50_ms")),
                number(middle(rounds, "p99_ms")),
                number(middle(rounds, "cpu_us_per_request")),
                f"{middle(rounds, 'busy'):.0%}",
                str(sum(one["errors"] for one in rounds)),
            )
        )
    return found


def costs(result: Result) -> list[Row]:
    """What our own parts cost, as name and figure."""
    micro, found = result["micro"], list[Row]()
    starts = sorted(micro["ready_s"])
    found.append(("start to ready", f"{statistics.median(starts):.2f} s ({starts[0]:.2f} to {starts[-1]:.2f})"))
    for name, cost in micro["imports"].items():
        found.append((f"import {name}", f"{cost['wall_ms']:.0f} ms ({cost['cpu_ms']:.0f} ms CPU)"))
    found.append(("compile 10,000 rules", f"{micro['compile_ms']:.0f} ms"))
    for name, rate in micro["decisions"].items():
        found.append((f"decide: {name}", f"{rate:,.0f} /s"))
    for name, rate in micro["verified"].items():
        found.append((f"verify: {name}", f"{rate:,.0f} /s"))
    for name, rate in micro["passes"].items():
        found.append((f"passes: {name}", f"{rate:,.0f} /s"))
    return found


def memory(result: Result) -> list[Row]:
    """Peaks of resident memory in MB: under load, and with slow readers before -> peak."""
    found: list[Row] = []
    for server, (largest, total) in result["memory"].items():
        slow = result["slow_readers"][server]
        reading = f"{slow['before'][0]:.0f} → {slow['peak'][0]:.0f}"
        found.append((NAMES[server], f"{largest:.0f}", f"{total:.0f}", reading))
    return found


# --- words


def text(result: Result) -> str:
    """The whole result for a terminal."""
    lines = [f"{result['date']}, commit {result['commit']}", *result["machine"].values(), ""]
    for load_name in result["loads"]:
        lines += [load_name, *columns([HEAD, *rows(result, load_name)]), ""]
    head = ("", "MB peak", "all processes", "64 slow readers")
    lines += ["resident memory", *columns([head, *memory(result)]), ""]
    lines += [*columns([("our own parts", ""), *costs(result)]), ""]
    lines += columns([("aims", "", "at least", "aim", ""), *aim_rows(aims(result))])
    return "\n".join(lines)


def columns(table: Sequence[Row]) -> list[str]:
    """A table for a terminal, as lines."""
    table = [tuple(cell.replace("`", "").replace("**", "") for cell in row) for row in table]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def aim_rows(aims: Iterable[Aim]) -> list[Row]:
    """A row for each aim: what, measured, at least, aim, verdict."""
    found: list[Row] = []
    for aim in aims:
        sign, unit = "< " if aim.below else "≥ ", f" {aim.unit}" if aim.unit else ""
        row = (aim.what, f"{number(aim.value)}{unit}", f"{sign}{aim.least:g}{unit}", f"{sign}{aim.best:g}{unit}")
        found.append((*row, aim.verdict))
    return found


def markdown(head: Row, body: Iterable[Row]) -> str:
    """A table in Markdown."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


def shortfalls(result: Result) -> list[str]:
    """What is below an aim, or makes a figure doubtful, one sentence each."""
    return [*missed(aims(result)), *doubts(result["loads"], NAMES)]


def missed(aims: Iterable[Aim]) -> list[str]:
    """What is below an aim, one sentence each."""
    found = []
    for aim in aims:
        sign, unit = "less than " if aim.below else "", f" {aim.unit}" if aim.unit else ""
        if not aim.met:
            found.append(f"{aim.what}: {number(aim.value)}{unit}, where {sign}{aim.least:g}{unit} is required.")
        elif not aim.best_met:
            found.append(f"{aim.what}: {number(aim.value)}{unit}, where {aim.best:g}{unit} is the aim.")
    return found


def doubts(loads: Mapping[str, Mapping[str, Sequence[Round]]], names: Mapping[str, str]) -> list[str]:
    """What makes a figure doubtful, one sentence each.

    Args:
        loads: rounds, by kind of request and by server.
        names: what a server is called on the page.
    """
    found = []
    for load_name, servers in loads.items():
        idle = []
        for server, rounds in servers.items():
            errors, busy, client = (
                sum(one["errors"] for one in rounds),
                middle(rounds, "busy"),
                middle(rounds, "client"),
            )
            if errors:
                found.append(f"{load_name}: {errors} requests to {names[server]} failed.")
            if busy < SATURATED:
                idle.append(f"{names[server]}: {busy:.0%} of its core (wrk {client:.0%} of its own)")
        if idle:
            found.append(f"{load_name}: these could have done more, so processor time says more: {'; '.join(idle)}.")
    every = [one for servers in loads.values() for rounds in servers.values() for one in rounds]
    others = statistics.fmean(one["others"] for one in every)
    if others > QUIET:
        found.append(f"Other work took {others:.0%} of a core while this was measured: the machine was not quiet.")
    return found


PAGE = """\
# Benchmarks

How fast Stagedoor hands out files that it has checked the caller for, beside servers that people know.
`bench/run --write` measured this and wrote this page; nothing on it is typed by hand.

![Throughput relative to nginx that checks nothing](images/benchmarks.svg)

## Aims

{aims}

## What falls short, and what limits the figures

{shortfalls}

## Side by side

Medians of {rounds} of {seconds:g} s, the contestants in turn, over {connections} kept connections; every request
brings the same RS256 token of {token_bytes} bytes in a cookie. *of nginx* compares requests per second for small
objects, and bytes per second for large ones, with nginx that checks nothing and writes no log; *per CPU* compares
the same for each second of processor time that the server used, whatever the client could take.

{tables}

- nginx serves files and checks nobody: it is the ceiling, not an alternative. One worker, `sendfile`, open files
  cached. The ratios are against it without access log, the harder of the two.
- HAProxy checks signature, issuer and expiry of every request anew (it cannot remember a token) and a path prefix,
  on one thread, without access log. The processor time of the nginx behind it is not counted.
- Stagedoor checks the token once and then remembers it until it expires, asks ten rules for every request, one of
  them bound to the caller's groups, and writes its JSON access log to a file. One worker.

## They do refuse

Status for requests that must not be served, asked before and after the load:

{refused}

## Memory

Resident MB at the peak: of the largest process under all of the load, of all its processes (shared pages counted
for each), and of the largest process before and while {connections} clients slowly read an object of 1 GB.

{memory}

## Our own parts

On one core, in one process. Decisions are with 10,000 rules and a caller in 500 groups. The standard library's
RS256 is what checks tokens at the edge.

{costs}

## Machine

Measured on {date} at commit {commit}: {processor}, {memory_size} memory, {system}. {versions}.

Everything ran on this one machine over 127.0.0.1: {cores}. All objects were in the page cache; the 1 GB object is a
sparse file. No TLS. Figures of other machines differ, ratios less so.

## Do it again

```
bench/run            # about six minutes; needs wrk, nginx and haproxy, and as root on Debian installs them
bench/run --quick    # about one minute, coarser
bench/run --write    # and rewrites this page
```

Results are kept as JSON in `bench/results/`; `bench/run --from FILE` shows one again.
"""


def page(result: Result) -> str:
    """docs/benchmarks.md."""
    refused, machine = result["refused"], result["machine"]
    cases = ("", *next(iter(refused.values())))
    tables = "\n\n".join(f"### {name}\n\n{markdown(HEAD, rows(result, name))}" for name in result["loads"])
    return PAGE.format(
        aims=markdown(("", "measured", "at least", "aim", ""), aim_rows(aims(result))),
        shortfalls="\n".join(f"- {one}" for one in shortfalls(result) or ["Nothing, on this machine."]),
        rounds=f"{result['rounds']} round{'s' * (result['rounds'] > 1)}",
        seconds=result["seconds"],
        connections=result["connections"],
        token_bytes=result["token_bytes"],
        tables=tables,
        refused=markdown(cases, ((NAMES[name], *map(str, shown.values())) for name, shown in refused.items())),
        memory=markdown(("", "largest", "all", "slow readers"), memory(result)),
        costs=markdown(("", ""), costs(result)),
        date=result["date"],
        commit=result["commit"],
        processor=machine["processor"],
        memory_size=machine["memory"],
        system=machine["system"],
        versions=", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        cores=machine["cores"],
    )


# --- a picture

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.small { font-size: 12px; fill: #59636e }
.axis { stroke: #d1d9e0 }
.b0 { fill: #8c959f } .b1 { fill: #bf8700 } .b2 { fill: #0969da }
.b3 { fill: #57606a } .b4 { fill: #8250df } .b5 { fill: #1a7f37 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .axis { stroke: #3d444d }
  .b0 { fill: #6e7681 } .b1 { fill: #d29922 } .b2 { fill: #4493f8 }
  .b3 { fill: #9198a1 } .b4 { fill: #ab7df8 } .b5 { fill: #3fb950 }
}
"""


class Bar(NamedTuple):
    """One bar: its colour (`b0` to `b5` in the style), its length, and what stands behind it."""

    colour: int
    value: float
    label: str


def plot(result: Result) -> str:
    """Bars of throughput relative to nginx."""
    legend = {"nginx, no check": 0, "HAProxy jwt_verify": 1, "Stagedoor": 2}
    groups = dict[str, list[Bar]]()
    for load_name, servers in result["loads"].items():
        groups[load_name] = []
        for server, colour in zip((BASE, PEER, OURS), legend.values(), strict=True):
            value = ratio(result, load_name, server, BASE)
            label = f"{value:.2f} · {throughput(servers[server], by_bytes=_by_bytes(load_name))}"
            groups[load_name].append(Bar(colour, value, label))
    return bars("Throughput relative to nginx that checks nothing", legend, groups)


def throughput(rounds: Sequence[Round], *, by_bytes: bool) -> str:
    """Median of requests or bytes, with its unit."""
    unit, name = ("MB/s", "mb_per_s") if by_bytes else ("req/s", "requests_per_s")
    return f"{number(middle(rounds, name))} {unit}"


def bars(title: str, legend: Mapping[str, int], groups: Mapping[str, Sequence[Bar]]) -> str:
    """An SVG of bars in groups; colours follow the reader's light or dark scheme.

    Args:
        legend: what each colour stands for.
        groups: by their names, which stand on the left.
    """
    left, width, bar, gap = 140, 430, 16, 18
    total = left + width + 150
    keys, x, top = list[str](), left, 62
    for name, colour in legend.items():
        wide = 36 + round(6.3 * len(name))
        if x + wide > total:
            x, top = left, top + 20
        keys.append(f'<rect class="b{colour}" x="{x}" y="{top - 28}" width="12" height="12" rx="2"/>')
        keys.append(f'<text class="small" x="{x + 17}" y="{top - 18}">{escape(name)}</text>')
        x += wide
    scale = width / max(one.value for group in groups.values() for one in group)
    y, parts = top, list[str]()
    for name, group in groups.items():
        middle_ = y + len(group) * bar / 2 + 5
        parts.append(f'<text x="{left - 12}" y="{middle_:g}" text-anchor="end">{escape(name)}</text>')
        for one in group:
            length = max(1.0, one.value * scale)
            size = f'width="{length:.1f}" height="{bar - 2}" rx="2"'
            parts.append(f'<rect class="b{one.colour}" x="{left}" y="{y}" {size}/>')
            parts.append(
                f'<text class="small" x="{left + length + 6:.1f}" y="{y + bar - 4}">{escape(one.label)}</text>'
            )
            y += bar
        y += gap
    newline = "\n"  # no backslash inside f-strings before Python 3.12
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {y}" width="{total}" height="{y}" role="img"
 aria-label="{escape(title)}">
<style>{_STYLE}</style>
<text class="title" x="{left}" y="20">{escape(title)}</text>
{newline.join(keys)}
<line class="axis" x1="{left}" y1="{top - 6}" x2="{left}" y2="{y - gap + 4}"/>
{newline.join(parts)}
</svg>
"""


def write(result: Result, docs: Path) -> list[Path]:
    """Write page and picture; return what was written."""
    (docs / "images").mkdir(parents=True, exist_ok=True)
    written = [docs / "benchmarks.md", docs / "images" / "benchmarks.svg"]
    for path, content in zip(written, (page(result), plot(result)), strict=True):
        path.write_text(content, encoding="utf-8")
    return written
