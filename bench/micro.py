"""What our own parts cost: starting, importing, deciding, verifying. No peers here."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle
from typing import TypedDict

from stagedoor.core import door, rsa
from stagedoor.core.caller import Caller
from stagedoor.core.drivers import run
from stagedoor.core.issuers import Issuer
from stagedoor.core.jose import SignaturePort
from stagedoor.core.messages import Fetched, Request, Serve, Wish
from stagedoor.core.passes.signer import Signer
from stagedoor.core.passes.terms import PassCheck
from stagedoor.core.passes.verify import Passes
from stagedoor.core.policy.decide import DECISIONS, Allow, Policy, compile_rules
from stagedoor.core.tokens import Tokens
from stagedoor.keys import signatures
from stagedoor.keys.pass_keys import Kind, check_with, load_signer, new_pair, read_public

from . import keys
from .peers import Site, start_stagedoor

RULES = 10_000
GROUPS = 500
NEW_TOKENS = 256
NEW_PASSES = 512
"""More than `credentials.find` remembers, so that each is taken apart anew."""
PASS_KEYS: dict[Kind, str] = {"rsa": "RSA-2048", "ec": "P-256"}
ORIGIN = "https://assets.example"
CORE = "import stagedoor.core.door, stagedoor.core.tokens, stagedoor.core.rsa"


class Importing(TypedDict):
    """Milliseconds that a command takes beyond a bare interpreter."""

    wall_ms: float
    cpu_ms: float


class Micro(TypedDict):
    """`decisions`, `verified`, `passes`: name -> how many a second; `ready_s`: seconds of each start."""

    ready_s: list[float]
    imports: dict[str, Importing]
    decisions: dict[str, float]
    compile_ms: float
    verified: dict[str, float]
    passes: dict[str, float]


def start_to_ready(site: Site, core: str, times: int) -> list[float]:
    """Seconds from spawning `serve` until `/-/healthz` answers."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        server = start_stagedoor(site, core)
        seconds.append(time.perf_counter() - began)
        server.stop()
    return seconds


def importing(statement: str, times: int) -> Importing:
    """Median over new interpreters, each less the median of bare ones; byte code is compiled beforehand."""
    _interpreter(statement)
    bare = [_interpreter("pass") for _ in range(times)]
    full = [_interpreter(statement) for _ in range(times)]
    wall, cpu = (statistics.median(f[i] for f in full) - statistics.median(b[i] for b in bare) for i in (0, 1))
    return Importing(wall_ms=wall * 1000, cpu_ms=cpu * 1000)


def _interpreter(statement: str) -> tuple[float, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, timeout=30)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def per_second(work: Callable[[], object], seconds: float) -> float:
    """How often `work` can be done in a second: the best of three stretches, for others only ever slow it down."""
    times, began = 1, time.perf_counter()
    while True:
        for _ in range(times):
            work()
        took = time.perf_counter() - began
        if took > seconds / 10:
            break
        times, began = times * 2, time.perf_counter()
    times = max(1, int(times / took * seconds / 3))
    best = 0.0
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(times):
            work()
        best = max(best, times / (time.perf_counter() - began))
    return best


def decisions(seconds: float) -> tuple[float, dict[str, float]]:
    """Decisions/s with 10,000 rules and a caller in 500 groups; also the milliseconds to compile the rules."""
    rules: list[dict[str, object]] = [
        {"path": "public/**", "allow": "anyone"},
        {"path": "users/{sub}/**", "allow": "signed-in"},
        {"path": "groups/{groups}/**", "allow": "signed-in"},
        {"path": "courses/*/drafts/**", "deny": "anyone"},
    ]
    for index in range((RULES - len(rules)) // 4):
        group = f"group-{index}"
        rules.append({"path": f"courses/course-{index}/**", "allow": {"groups": [group]}})
        rules.append({"path": f"teams/team-{index}/*/report-*.pdf", "allow": {"groups": [group, "auditors"]}})
        rules.append({"path": "shared/**", "allow": {"groups": [group]}})
        rules.append({"path": f"archive/{index}-*", "deny": {"groups": [group]}})
    rules += [{"path": "archive/**", "allow": "signed-in"}] * (RULES - len(rules))
    began = time.perf_counter()
    policy = compile_rules(rules)
    compiled = (time.perf_counter() - began) * 1000
    groups = [f"group-{index}" for index in range(1000, 1000 + GROUPS)]
    caller = Caller("staff", keys.ISSUER, {"sub": "someone", "groups": groups})
    rates = {}
    for name, pattern, expected in (
        ("own file", "users/someone/photo-%d.jpg", True),
        ("group's file", "groups/group-1499/a/b/c/photo-%d.jpg", True),
        ("one of 2,499 courses", "courses/course-1250/lesson-%d/video.mp4", True),
        ("a draft, denied", "courses/course-1250/drafts/video-%d.mp4", False),
        ("one of 2,499 globs", "teams/team-1250/2030/report-%d.pdf", True),
        ("2,499 rules on one path", "shared/handbook/chapter-%d.pdf", True),
        ("nothing fits", "elsewhere/file-%d.bin", False),
    ):
        asked = [pattern % index for index in range(2 * DECISIONS)]
        if any(isinstance(policy.decide(caller, key), Allow) is not expected for key in asked):
            raise AssertionError(f"the policy decides {pattern!r} wrongly; its speed means nothing")
        turns = cycle(asked)  # more than are remembered, so each is decided anew
        rates[name] = per_second(partial(_decide_next, policy, caller, turns), seconds)
    rates["asked just before"] = per_second(partial(policy.decide, caller, "users/someone/photo.jpg"), seconds)
    return compiled, rates


def _decide_next(policy: Policy, caller: Caller, turns: Iterator[str]) -> object:
    return policy.decide(caller, next(turns))


def verifying(seconds: float) -> dict[str, float]:
    """Tokens verified per second: remembered ones, and new ones for each algorithm."""
    rates = dict[str, float]()
    for name, algorithm, port in (
        ("RS256, OpenSSL", "RS256", signatures),
        ("ES256, OpenSSL", "ES256", signatures),
        ("EdDSA, OpenSSL", "EdDSA", signatures),
        ("RS256, standard library", "RS256", rsa),
    ):
        rates |= _verifying(name, algorithm, port, seconds)
    return rates


def _verifying(name: str, algorithm: str, port: SignaturePort, seconds: float) -> dict[str, float]:
    signer, now = keys.Signer(algorithm), int(time.time())
    issuer = Issuer(keys.ISSUER, frozenset((keys.AUDIENCE,)), algorithms=frozenset((algorithm,)))
    made = [signer.token(keys.claims_of(now, jti=f"{index:032d}", pad="p" * 360)) for index in range(NEW_TOKENS)]
    new = remembered = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or not new:
        tokens = Tokens((issuer,), port)  # one that remembers none of them
        tokens.issuers[keys.ISSUER].install(signer.key_set, now)
        new = max(new, _verify_all(tokens, made, now))
        remembered = max(remembered, _verify_all(tokens, made, now))
    rates = {f"{name}, new": new}
    return rates if algorithm != "RS256" or port is not signatures else {"remembered": remembered} | rates


def _verify_all(tokens: Tokens, made: list[str], now: float) -> float:
    """Tokens per second of one pass."""
    began = time.perf_counter()
    for token in made:
        run(tokens.verify(token, now), _no_fetch)
    return len(made) / (time.perf_counter() - began)


def _no_fetch(wish: Wish) -> Fetched:
    return Fetched(b"", f"nothing is fetched here, {wish} neither")


def passes(seconds: float) -> dict[str, float]:
    """Passes per second: issued, and judged by the door when new and when known; and a known token beside them."""
    now, rates = int(time.time()), dict[str, float]()
    for kind, name in PASS_KEYS.items():
        pair = new_pair(kind)
        signer, key = load_signer(pair.id, pair.private), {pair.id: check_with(read_public(pair.public))}
        rates[f"issued, {name}"] = per_second(partial(_issue_next, signer, count(), now + 600), seconds)
        asked = [_with_pass(signer, number, now + 600) for number in range(NEW_PASSES)]
        rates[f"new, {name}"] = max(_let_all_in(_door(key), asked, now) for _ in range(max(3, int(seconds * 10))))
        rates[f"known, {name}"] = per_second(partial(_let_in, _door(key), asked[0], now), seconds)
        in_cookies = _with_pass_cookies(signer, now + 600)
        rates[f"known in cookies, {name}"] = per_second(partial(_let_in, _door(key), in_cookies, now), seconds)
    guarded, request = _with_token(now)
    rates["known token in a cookie"] = per_second(partial(_let_in, guarded, request, now), seconds)
    return rates


def _issue_next(signer: Signer, numbers: Iterator[int], expires: int) -> str:
    return signer.url(f"{ORIGIN}/film/{next(numbers)}.ts", expires)


def _with_pass(signer: Signer, number: int, expires: int) -> Request:
    path, _, query = _issue_next(signer, iter((number,)), expires).removeprefix(ORIGIN).partition("?")
    return Request("GET", path.encode(), query.encode(), {b"host": [b"assets.example"]}, b"", "192.0.2.1")


def _with_pass_cookies(signer: Signer, expires: int) -> Request:
    cookies = signer.cookies(f"{ORIGIN}/film/*", expires)
    line = "; ".join(f"{name}={value}" for name, value in cookies.items()).encode()
    fields = {b"host": [b"assets.example"], b"cookie": [line]}
    return Request("GET", b"/film/0.ts", b"", fields, b"", "192.0.2.1")


def _with_token(now: int) -> tuple[door.Door, Request]:
    """A door that knows the keys of an issuer, and a request with a token of it."""
    signer, guarded = keys.Signer("RS256"), _door({})
    guarded.tokens.issuers[keys.ISSUER].install(signer.key_set, now)
    cookie = b"token=" + signer.token(keys.claims_of(now, pad="p" * 360)).encode()
    fields = {b"host": [b"assets.example"], b"cookie": [cookie]}
    return guarded, Request("GET", b"/film/0.ts", b"", fields, b"", "192.0.2.1")


def _door(key: dict[str, PassCheck]) -> door.Door:
    issuer = Issuer(keys.ISSUER, frozenset((keys.AUDIENCE,)), algorithms=frozenset(("RS256",)))
    policy = compile_rules([{"path": "film/**", "allow": "signed-in"}])
    return door.Door(door.Site(ORIGIN), policy, Tokens((issuer,), signatures), passes=Passes(ORIGIN, key))


def _let_in(guarded: door.Door, request: Request, now: float) -> None:
    if not isinstance(run(guarded.answer(request, now), _no_fetch), Serve):
        raise AssertionError("the door refused; its speed means nothing")


def _let_all_in(guarded: door.Door, asked: list[Request], now: float) -> float:
    """Requests per second that the door lets in, each once."""
    began = time.perf_counter()
    for request in asked:
        _let_in(guarded, request, now)
    return len(asked) / (time.perf_counter() - began)
