"""The whole run: make the zips, see that each does its work, start each some times, and write down what came of it."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench import load, suite
from bench.peers import CannotRun

from . import ROOT, contest, cost, page, pool


def main() -> int:
    """Measure, show, and with `--write` rewrite docs/edge-benchmarks.md. Exit codes: 0 fine, 1 not measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.edge", description="Measure the door at the edge beside npm's cognito-at-edge."
    )
    parser.add_argument("--quick", action="store_true", help="3 cold starts each instead of 9")
    parser.add_argument("--write", action="store_true", help="rewrite docs/edge-benchmarks.md")
    parser.add_argument("--python", default=sys.executable, help="interpreter with awslambdaric; default: this one")
    parser.add_argument("--node", default=shutil.which("node") or "node", help="Node; default: the one on PATH")
    options = parser.parse_args()
    try:
        result = measure(options.python, options.node, 3 if options.quick else 9)
        text = page.page(result)
    except CannotRun as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    suite.keep(result, "edge-")
    if options.write:
        suite.say(f"wrote {page.write(result, ROOT / 'docs').relative_to(ROOT)}")
    print(text)
    return 0


class Quiet:
    """Watches what other work takes of the machine from now on."""

    def __init__(self) -> None:
        self._begun, self._used = time.monotonic(), self._others()

    def others(self) -> float:
        """Share of a core."""
        return max(0.0, (self._others() - self._used) / (time.monotonic() - self._begun))

    def _others(self) -> float:
        mine = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return load.machine_seconds() - sum(one.ru_utime + one.ru_stime for one in mine)


def measure(python: str, node: str, rounds: int) -> page.Result:
    """Make the whole run.

    Raises:
        CannotRun: something is missing, or a contestant does not do its job.
    """
    tokens = contest.Tokens()
    host = urlsplit(contest.ISSUER).hostname or ""
    with tempfile.TemporaryDirectory(prefix="stagedoor-bench-") as folder:
        work = Path(folder)
        with pool.serve(tokens.key_set, host, work) as server:
            everybody = contest.contestants(tokens, python, node, work, server)
            refused = {one.name: contest.check(one, tokens) for one in everybody if one.checks}
            limits = contest.limits(everybody[0])
            shares = contest.SHARES if limits["cpu"] == "share" else contest.SHARES[:1]
            quiet = Quiet()
            starts = contest.starts(everybody, tokens, rounds, shares, suite.say)
    return page.Result(
        date=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        commit=suite.commit(),
        machine=suite.machine(len(os.sched_getaffinity(0))),
        versions=_versions(python, node),
        limits=limits,
        token_bytes=len(tokens.usual),
        zips={one.name: len(one.zip) for one in everybody if one.checks},
        refused=refused,
        starts=starts,
        others=quiet.others(),
        gateway_rate=cost.gateway_rate(ROOT / "docs" / "benchmarks.md"),
    )


def _versions(python: str, node: str) -> dict[str, str]:
    packages = json.loads((contest.HERE / "package-lock.json").read_text())["packages"]
    ric = "from importlib.metadata import version; print(version('awslambdaric'))"
    return {
        "Python": contest.tell(python, "-V").removeprefix("Python "),
        "awslambdaric": contest.tell(python, "-c", ric),
        "Node": contest.tell(node, "--version").removeprefix("v"),
        **{
            name: packages[f"node_modules/{name}"]["version"]
            for name in ("cognito-at-edge", "aws-jwt-verify", "esbuild")
        },
    }


if __name__ == "__main__":
    sys.exit(main())
