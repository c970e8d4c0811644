"""Dollars for a million decisions at each door, from list prices and measured durations."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from bench.peers import CannotRun

EDGE_REQUESTS, EDGE_GB_SECOND, EDGE_GB = 0.60, 0.00005001, 0.125
"""Lambda@Edge: a million requests; a GB-second, metered in steps of 1 ms; 128 MB."""
CLOUDFRONT_FUNCTION = 0.10
"""A million runs of a CloudFront Function. Such a function cannot check RS256, and we have no such door."""
MACHINE_HOUR, HOURS = 0.0168, 730
"""A t4g.small (2 processors, 2 GB) on demand in us-east-1; hours of a month."""
COLD_ONE_IN = 100
"""Requests for each cold start. An assumption: a busy site has fewer, one that hardly anybody asks has more."""


class Price(NamedTuple):
    """What a million decisions cost in dollars, and what that rests on."""

    door: str
    dollars: float
    how: str


def edge(milliseconds: float) -> float:
    """Lambda@Edge, when a request takes so long."""
    return EDGE_REQUESTS + math.ceil(milliseconds) * 1000 * EDGE_GB * EDGE_GB_SECOND


def machine(requests_per_second: float) -> float:
    """A machine that is always on and answers so many."""
    return MACHINE_HOUR / 3600 / requests_per_second * 1e6


def break_even(milliseconds: float) -> float:
    """Requests in a month from which on a machine that is always on is cheaper than the edge."""
    return MACHINE_HOUR * HOURS / edge(milliseconds) * 1e6


def gateway_rate(benchmarks: Path) -> float:
    """The gateway's requests a second for objects of 1 KB on one core, as docs/benchmarks.md has it.

    Raises:
        CannotRun: it is not there.
    """
    found = re.search(
        r"### 1 KB\n.*?^\| Stagedoor[^|]*\| ([\d,]+) \|", benchmarks.read_text(), re.DOTALL | re.MULTILINE
    )
    if found is None:
        raise CannotRun(f"{benchmarks.name} does not say what the gateway does; make it with bench/run --write")
    return float(found[1].replace(",", ""))


def prices(
    rate: float, known_ms: float, new_ms: float, cold_ms: float, peer_ms: float, peer_cold_ms: float
) -> list[Price]:
    """Every door.

    Args:
        rate: of the gateway, requests a second.
        known_ms, new_ms, cold_ms: our edge function, for a token that it knows, a new one, and when it has to start.
        peer_ms, peer_cold_ms: the peer, likewise.
    """
    mixed, peer_mixed = (
        (warm * (COLD_ONE_IN - 1) + cold) / COLD_ONE_IN for warm, cold in ((new_ms, cold_ms), (peer_ms, peer_cold_ms))
    )
    often = f"one start in {COLD_ONE_IN} requests, billed as any time"
    return [
        Price("passes, checked by CloudFront", 0.0, "CloudFront asks nothing for checking them"),
        Price("gateway, busy all the time", machine(rate), f"{rate:,.0f} req/s, as measured on one core"),
        Price("gateway, 1 % busy", machine(rate / 100), f"{rate / 100:,.0f} req/s on average"),
        Price("gateway, one request a second", machine(1), "the machine costs the same"),
        Price("a CloudFront Function", CLOUDFRONT_FUNCTION, "for comparison: it cannot check RS256, and is no door"),
        Price("edge, tokens known", edge(known_ms), f"{math.ceil(known_ms)} ms each"),
        Price("edge, each token new", edge(new_ms), f"{math.ceil(new_ms)} ms each"),
        Price("edge, with cold starts", edge(mixed), f"{often}: {math.ceil(mixed)} ms on average"),
        Price("cognito-at-edge", edge(peer_ms), f"{math.ceil(peer_ms)} ms each"),
        Price("cognito-at-edge, with cold starts", edge(peer_mixed), f"{often}: {math.ceil(peer_mixed)} ms on average"),
    ]
