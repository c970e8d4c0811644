"""From a result to docs/edge-benchmarks.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from bench.report import QUIET, number

from . import cost
from .contest import EMPTY, OURS, PEER, PEER_SMALL, SHARES, Start

FULL, USUAL, LITTLE = (share.name for share in SHARES)
WARM_MS, COLD_RATIO, RESIDENT_MB = 0.5, 0.5, 40.0


class Result(TypedDict):
    """One run. `starts`: by share of a processor, then by contestant; `others`: of a core, by other work."""

    date: str
    commit: str
    machine: dict[str, str]
    versions: dict[str, str]
    limits: dict[str, str]
    token_bytes: int
    zips: dict[str, int]
    refused: dict[str, str]
    starts: dict[str, dict[str, list[Start]]]
    others: float
    gateway_rate: float


class Aim(NamedTuple):
    """What the project wants: at most `most`; None: it wants nothing, and the figure is there to be looked at."""

    what: str
    value: float
    most: float | None
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.most is None or self.value <= self.most

    @property
    def row(self) -> tuple[str, ...]:
        measured = f"{number(self.value)}{self.unit}"
        if self.most is None:
            return self.what, measured, "", ""
        return self.what, measured, f"≤ {self.most:g}{self.unit}", "met" if self.met else "**falls short**"


def middle(result: Result, share: str, name: str, figure: str) -> float:
    """Median of a figure over the cold starts."""
    return statistics.median(_all(result, share, name, figure))


def _all(result: Result, share: str, name: str, figure: str) -> list[float]:
    return [one[figure] for one in result["starts"][share][name]]  # type: ignore[literal-required]  # callers name members


def aims(result: Result) -> list[Aim]:
    """Every aim with what was measured."""
    found = [Aim("warm, a whole core", middle(result, FULL, OURS, "warm_ms"), WARM_MS, " ms")]
    for peer, most in ((PEER, COLD_RATIO), (PEER_SMALL, None)):  # nobody has the tuned one: it was made here
        for share in result["starts"]:
            ratio = middle(result, share, OURS, "cold_ms") / middle(result, share, peer, "cold_ms")
            found.append(Aim(f"cold start to first answer, {share}: of {peer}", ratio, most))
        ratio = middle(result, FULL, OURS, "cpu_ms") / middle(result, FULL, peer, "cpu_ms")
        found.append(Aim(f"processor time of a cold start: of {peer}", ratio, most))
    peak = max(value for share in result["starts"] for value in _all(result, share, OURS, "resident_mb"))
    return [*found, Aim("resident", peak, RESIDENT_MB, " MB")]


def shortfall(result: Result) -> str:
    """What keeps the cold start from being shorter, where an aim is missed."""
    if all(aim.met for aim in aims(result)):
        return "Nothing falls short."
    ours, nothing = middle(result, FULL, OURS, "cold_ms"), middle(result, FULL, EMPTY[OURS], "cold_ms")
    return (
        f"Of our {ours:.0f} ms with a whole core, {nothing:.0f} are those of Python and AWS's client, which a function "
        "that does nothing takes as well; the rest is importing the core and reading settings and keys."
    )


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


HEAD = (
    "",
    "started, ms",
    "first answer, ms",
    "both, ms",
    "CPU of both, ms",
    "warm, ms",
    "new token, ms",
    "resident, MB",
)
FIGURES = ("ready_ms", "first_ms", "cold_ms", "cpu_ms", "warm_ms", "new_token_ms", "resident_mb")


def _rows(result: Result, share: str) -> list[tuple[str, ...]]:
    found = []
    for name in result["starts"][share]:
        cells = []
        for figure in FIGURES:
            values = sorted(_all(result, share, name, figure))
            cells.append(f"{number(statistics.median(values))} ({number(values[0])} to {number(values[-1])})")
        found.append((name, *cells))
    return found


def _beyond(result: Result) -> list[tuple[str, ...]]:
    """What each takes beyond a function that does nothing, on the same client."""
    found = []
    for share in result["starts"]:
        mine = {
            name: middle(result, share, name, "cold_ms") - middle(result, share, EMPTY[name], "cold_ms")
            for name in (OURS, PEER, PEER_SMALL)
        }
        found.append((share, *(f"{value:.0f}" for value in mine.values())))
    return found


def _usual(result: Result) -> str:
    """The share of a processor that is nearest to what AWS gives."""
    return USUAL if USUAL in result["starts"] else FULL


def prices(result: Result) -> list[cost.Price]:
    """Every door's price, from durations with Lambda's share of a processor."""

    def told(name: str, figure: str) -> float:
        return middle(result, _usual(result), name, figure)

    return cost.prices(
        result["gateway_rate"],
        told(OURS, "warm_ms"),
        told(OURS, "new_token_ms"),
        told(OURS, "cold_ms"),
        told(PEER, "new_token_ms"),
        told(PEER, "cold_ms"),
    )


PAGE = """\
# Benchmarks of the edge

How long the function takes that decides at CloudFront's edge, beside npm's `cognito-at-edge`, and what a million
decisions cost at each door. `python -m bench.edge --write` measured this and wrote this page; nothing on it is
typed by hand.

**Real Lambda@Edge was not measured**, and neither was CloudFront: both functions ran on one machine, in a model
of Lambda that hands them events over its Runtime API. Ratios say more than the figures themselves.

## Aims

{aims}

"Cold start to first answer" is from starting the process to having the first answer. {shortfall}

## Size

{sizes}

## Side by side

Medians (least to most) of {rounds} cold starts each, in turn. Every contestant gets the same viewer request, with
a valid RS256 token of {token_bytes} bytes in a cookie. *warm* is the same token again; *new token*: one that it
has not seen. Every time is that of a whole exchange over the Runtime API: the contestants called "nothing" let
everybody through, and show how much of it is the client's.

{tables}

Cold start to first answer beyond that of a function that does nothing, in ms:

{beyond}

- **Stagedoor** decides with one issuer and one rule. It checks a token once and remembers it until it expires;
  its keys are in the zip.
- **cognito-at-edge** is as npm installs it, set up as its README says. It fetches the pool's keys at the first
  request: here from this machine over TLS, so what AWS's network adds is missing. It checks each token anew.
- **cognito-at-edge, tuned** is made one minified file by esbuild, and is given the keys beforehand, for which the
  package has no option.
- Python's client of the Runtime API is AWS's own (`awslambdaric`). AWS's for Node has to be compiled and was not
  used: a loop of ours of some 40 lines (`bench/edge/runtime.js`) does the same with Node's `http`. AWS's client
  may be quicker or slower to start than that.
- The share of a processor is given by a control group in slices of 100 ms; a figure of less than 10 ms there says
  little but that it is small. Warm figures there are means of 40 requests in a row.
- Every contestant runs on one processor, and what hands it events on another, if there is one.
- All files were in the page cache. On AWS a cold start also fetches the zip and starts a virtual machine.

Limits: memory {memory}; processor {cpu}. {quiet}

## They do refuse

Status for no token, and for one that was tampered with (302 leads to the sign-in):

{refused}

## Cost

Dollars for a million decisions. What CloudFront asks for requests and traffic where it stands in front, what
traffic out of a machine costs where it does not, and S3's part are not in here.

{prices}

- List prices: Lambda@Edge ${edge_requests:.2f} for a million requests and ${edge_gb_second:.8f} for a GB-second,
  at 128 MB, metered by the millisecond; a machine such as a t4g.small ${machine_hour} an hour. Its throughput is
  that of one core of [another machine](benchmarks.md#machine); a t4g.small was not measured.
- Durations are those of "{usual}" above, rounded up.
- Signed cookies cost nothing to check; handing them out is one request to the API for each caller now and then.
- A machine of this kind costs ${month:.2f} a month whether anybody comes or not: it is cheaper than the edge from
  about {break_even:.0f} million requests a month.

## Machine

Measured on {date} at commit {commit}: {processor}, {memory_size} memory, {system}. {versions}.

## Do it again

```
.venv/bin/python -m bench.edge            # some minutes; needs Node, npm, and awslambdaric in the interpreter
.venv/bin/python -m bench.edge --write    # and rewrites this page
```

`--python` and `--node` name other interpreters: Lambda@Edge runs Python 3.13. Processor shares need the right to
make control groups; without it only the first table is made.
"""


def page(result: Result) -> str:
    """docs/edge-benchmarks.md."""
    shares = result["starts"]
    tables = "\n\n".join(f"### {name[0].upper()}{name[1:]}\n\n{table(HEAD, _rows(result, name))}" for name in shares)
    usual = _usual(result)
    return PAGE.format(
        aims=table(("", "measured", "aim", ""), (aim.row for aim in aims(result))),
        shortfall=shortfall(result),
        sizes=table(("", "zip, KB"), ((name, f"{size / 1000:,.0f}") for name, size in result["zips"].items())),
        rounds=len(shares[FULL][OURS]),
        token_bytes=result["token_bytes"],
        tables=tables,
        beyond=table(("", OURS, PEER, PEER_SMALL), _beyond(result)),
        memory=result["limits"]["memory"],
        cpu=result["limits"]["cpu"],
        quiet=_quiet(result["others"]),
        refused=table(("", "no token, tampered"), result["refused"].items()),
        prices=table(("door", "$", "from"), ((one.door, _dollars(one.dollars), one.how) for one in prices(result))),
        edge_requests=cost.EDGE_REQUESTS,
        edge_gb_second=cost.EDGE_GB_SECOND,
        machine_hour=cost.MACHINE_HOUR,
        month=cost.MACHINE_HOUR * cost.HOURS,
        break_even=cost.break_even(middle(result, usual, OURS, "new_token_ms")) / 1e6,
        usual=usual,
        date=result["date"],
        commit=result["commit"],
        processor=result["machine"]["processor"],
        memory_size=result["machine"]["memory"],
        system=result["machine"]["system"],
        versions=", ".join(f"{name} {version}" for name, version in result["versions"].items()),
    )


def _quiet(others: float) -> str:
    if others <= QUIET:
        return "The machine did nothing else."
    return (
        f"Other work took {others:.0%} of a core meanwhile: the machine was not quiet, and of times by the clock the "
        "least is nearer to the truth than the median. Processor time is hardly lengthened by that: trust it most."
    )


def _dollars(value: float) -> str:
    return "0" if value == 0 else f"{value:.5f}" if value < 0.01 else f"{value:.2f}"


def write(result: Result, docs: Path) -> Path:
    """Write the page; return where it is."""
    path = docs / "edge-benchmarks.md"
    path.write_text(page(result), encoding="utf-8")
    return path
