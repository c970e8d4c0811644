"""The contestants: their zips, what each has to refuse, and how long each start and each request takes."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypedDict
from unittest import mock

from bench.keys import Signer, claims_of, padded_token, tampered
from bench.peers import CannotRun
from stagedoor import settings
from stagedoor.aws import packing
from stagedoor.aws.edge import bundle
from tests.helpers.cloudfront import event, request_of
from tests.helpers.lambda_runtime import CPU_SHARE, Function, FunctionFailed

from .pool import KeyServer

HERE = Path(__file__).parent
POOL, CLIENT = "us-east-1_Example01", "1example23456789"
ISSUER = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"
COOKIE = f"CognitoIdentityServiceProvider.{CLIENT}.ann.idToken"
"""The peer's name for it; ours takes any, so both get the same event."""
SETTINGS = f"""
[site]
url = "https://assets.example.com"
[[issuers]]
issuer = "{ISSUER}"
audience = ["{CLIENT}"]
[tokens]
cookie = "{COOKIE}"
[[rules]]
path = "**"
allow = "signed-in"
"""
OURS, PEER, PEER_SMALL = "Stagedoor", "cognito-at-edge", "cognito-at-edge, tuned"
EMPTY = {OURS: "nothing, Python", PEER: "nothing, Node", PEER_SMALL: "nothing, Node"}
"""What each rests on: a function that lets every request through, on the same client."""
PATIENCE = 60.0
"""Seconds for an answer. The limit of the real thing is five; here somebody who is slower shall be seen."""


class Share(NamedTuple):
    """How much of a processor a function has while it starts, and then; None: all of one."""

    name: str
    starting: float | None
    running: float | None


SHARES = (
    Share("a whole core", None, None),
    Share("a whole core to start, then 7 %", None, CPU_SHARE),
    Share("7 % of a core", CPU_SHARE, CPU_SHARE),
)


class Start(TypedDict):
    """One cold start: milliseconds until it asked for an event, for the first answer, for both; then warm.

    `cpu_ms`: processor time of both, which other work on the machine hardly lengthens.
    """

    ready_ms: float
    first_ms: float
    cold_ms: float
    cpu_ms: float
    warm_ms: float
    new_token_ms: float
    resident_mb: float


class Contestant(NamedTuple):
    """A zip, and how it is run."""

    name: str
    zip: bytes
    handler: str
    client: tuple[str, ...]
    checks: bool = True


class Tokens:
    """Tokens of one pool: one that is asked with again and again, and others that are each new."""

    def __init__(self) -> None:
        self._signer = Signer("RS256")
        self.key_set = self._signer.key_set
        self.usual = self.fresh(0)

    def fresh(self, number: int) -> str:
        """A token that differs from those of other numbers."""
        more: dict[str, object] = {"cognito:username": "ann", "jti": str(number), "token_use": "id"}
        claims = claims_of(int(time.time()), iss=ISSUER, aud=CLIENT, **more)
        return padded_token(self._signer, claims)


def asked(token: str) -> dict[str, Any]:
    """A viewer request that brings a token in the cookie."""
    return event("/pictures/shore.png", cookie=f"{COOKIE}={token}", accept="image/*")


# --- zips


def contestants(tokens: Tokens, python: str, node: str, work: Path, server: KeyServer) -> list[Contestant]:
    """Make every zip.

    Args:
        tokens: whose keys are baked in.
        python: interpreter that has `awslambdaric`.
        node: Node.
        work: an empty folder.
        server: publishes the tokens' keys.

    Raises:
        CannotRun: npm does not work here.
    """
    runtime = (node, str(HERE / "runtime.js"))
    whole, small = _peer(tokens, work, server)
    empty_python = packing.zipped({"empty.py": _EMPTY_PYTHON.encode()})
    return [
        Contestant(OURS, _ours(tokens, python), bundle.OBJECTS, (python, "-m", "awslambdaric")),
        Contestant(PEER, whole, "index.handler", runtime),
        Contestant(PEER_SMALL, small, "index.handler", runtime),
        Contestant(EMPTY[OURS], empty_python, "empty.handler", (python, "-m", "awslambdaric"), checks=False),
        Contestant(
            EMPTY[PEER], packing.zipped({"index.js": _EMPTY_NODE.encode()}), "index.handler", runtime, checks=False
        ),
    ]


_EMPTY_PYTHON = 'def handler(event, context):\n    return event["Records"][0]["cf"]["request"]\n'
_EMPTY_NODE = "exports.handler = async (event) => event.Records[0].cf.request;\n"


def _ours(tokens: Tokens, python: str) -> bytes:
    """Our zip with bytecode for the interpreter that runs it here; on AWS that is 3.13."""
    version = tell(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    with mock.patch.object(packing, "RUNTIME", version), mock.patch.dict(os.environ, PATH=path):
        made = bundle.make(settings.parse(SETTINGS, None, {}), {ISSUER: tokens.key_set})
    if not made.compiled:
        raise CannotRun(f"{python} made no bytecode")
    return made.content


def _peer(tokens: Tokens, work: Path, server: KeyServer) -> tuple[bytes, bytes]:
    """The package as npm installs it; and tuned by hand: made one small file, the keys put in."""
    whole, tools = work / "whole", work / "tools"
    pool = {"region": "us-east-1", "userPoolId": POOL, "userPoolAppId": CLIENT, "userPoolDomain": "auth.example.com"}
    asking = {"server": {"port": server.port, "ca": server.certificate}}
    for folder, options, more in (
        (whole, ["--omit=dev"], asking),
        (tools, [], {"keys": json.loads(tokens.key_set)}),
    ):
        folder.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", *options]
        _do(command, folder)
        shutil.copy(HERE / "cognito.js", folder / "index.js")
        (folder / "settings.json").write_text(json.dumps({**pool, **more}))
    options = ["--bundle", "--minify", "--platform=node", "--target=node20", "--outfile=one/index.js"]
    _do(["node_modules/.bin/esbuild", "index.js", "--log-level=error", *options], tools)
    return _zip_of(whole), _zip_of(tools / "one")


def _do(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotRun(f"{' '.join(command)} did not work: {error}") from error


def _zip_of(folder: Path) -> bytes:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and ".bin" not in path.parts)
    return packing.zipped({str(path.relative_to(folder)): path.read_bytes() for path in files})


# --- measuring


def check(one: Contestant, tokens: Tokens) -> str:
    """Let it show that it does its work.

    Returns:
        What it answers to no token and to one that was tampered with.

    Raises:
        CannotRun: it lets a stranger in, or somebody with a good token not.
    """
    bad = asked(tampered(tokens.usual))
    nobody = event("/pictures/shore.png")
    with _started(one, SHARES[0]) as function:
        good = function(asked(tokens.usual), PATIENCE).value
        refused = [function(request, PATIENCE).value.get("status", "let through") for request in (nobody, bad)]
    if good.get("uri") != request_of(bad)["uri"] or (one.checks and "let through" in refused):
        raise CannotRun(f"{one.name} does not do what it is compared for: {good}, {refused}")
    return ", ".join(refused)


def start(one: Contestant, share: Share, tokens: Tokens, times: int) -> Start:
    """One cold start, the first answer, then `times` answers for the same token and for new ones."""
    usual = asked(tokens.usual)
    fresh = [asked(tokens.fresh(number)) for number in range(1, times + 1)]
    with _started(one, share) as function:
        first = function(usual, PATIENCE).seconds
        cpu = function.cpu_seconds
        for _ in range(20 if share.running is None else 3):  # let a just-in-time compiler see it
            function(usual, PATIENCE)
        middle = statistics.median if share.running is None else statistics.fmean  # a share is served in pieces
        warm = middle([function(usual, PATIENCE).seconds for _ in range(times)])
        new = middle([function(request, PATIENCE).seconds for request in fresh])
        return Start(
            ready_ms=function.init_seconds * 1000,
            first_ms=first * 1000,
            cold_ms=(function.init_seconds + first) * 1000,
            cpu_ms=cpu * 1000,
            warm_ms=warm * 1000,
            new_token_ms=new * 1000,
            resident_mb=function.peak_mb,
        )


@contextmanager
def _started(one: Contestant, share: Share) -> Iterator[Function]:
    try:
        with Function(one.zip, one.handler, client=one.client, cpu=share.running, init_cpu=share.starting) as function:
            yield function
    except FunctionFailed as error:
        raise CannotRun(f"{one.name}: {error}") from error


def limits(one: Contestant) -> dict[str, str]:
    """How memory and processor are limited on this machine."""
    with _started(one, SHARES[0]) as function:
        return function.limits


def starts(
    everybody: Sequence[Contestant], tokens: Tokens, rounds: int, shares: Sequence[Share], say: Callable[[str], None]
) -> dict[str, dict[str, list[Start]]]:
    """Cold starts in turn, so that whatever else the machine does hits everybody: by share, then by contestant."""
    found: dict[str, dict[str, list[Start]]] = {}
    for share in shares:
        mine = found[share.name] = {one.name: [] for one in everybody}
        for number in range(rounds):
            for one in everybody:
                shown = start(one, share, tokens, 200 if share.running is None else 40)
                mine[one.name].append(shown)
                say(
                    f"{share.name} · {number + 1}/{rounds} · {one.name}: ready {shown['ready_ms']:.0f} ms, first "
                    f"{shown['first_ms']:.1f}, warm {shown['warm_ms']:.2f}, new token {shown['new_token_ms']:.2f}, "
                    f"{shown['resident_mb']:.0f} MB"
                )
    return found


def tell(*command: str) -> str:
    """What a program says.

    Raises:
        CannotRun: it is not there.
    """
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotRun(f"{' '.join(command)} did not work: {error}") from error
