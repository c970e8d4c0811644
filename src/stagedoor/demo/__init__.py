"""`stagedoor demo`: the real gateway in front of made-up files, with a provider to sign in at, on this machine only.

Everything is in one temporary folder: the files, the settings that the gateway runs with, a token to try with
curl. Nothing is left of it afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Generator
from pathlib import Path
from typing import Any

import uvicorn
from rich.console import Console

from .. import settings
from ..gateway.app import Gateway
from .provider import CLIENT_ID, PEOPLE, Provider

HOST = "127.0.0.1"
DEFAULT_PORT = 8080
PORTS_TO_TRY = 100
FILES = Path(__file__).with_name("files")
"""The site as it is served; each rule below has a file to allow and a file to refuse."""

RULES = """\
[[rules]]                       # rules[0]: the page itself
path  = "index.html"
allow = "anyone"

[[rules]]                       # rules[1]: and what it is made of
path  = "app/**"
allow = "anyone"

[[rules]]                       # rules[2]
path  = "public/**"
allow = "anyone"

[[rules]]                       # rules[3]
path  = "courses/**"
allow = { groups = ["students", "teachers"] }

[[rules]]                       # rules[4]: deny wins over allow
path  = "courses/drafts/**"
deny  = { groups = ["students"] }

[[rules]]                       # rules[5]
path  = "grades/**"
allow = { groups = ["teachers"] }

[[rules]]                       # rules[6]: one folder for each group
path  = "groups/{groups}/**"
allow = "signed-in"

[[rules]]                       # rules[7]: one folder for each person
path  = "users/{sub}/**"
allow = "signed-in"
"""

SETTINGS = """\
# The settings of this demo. Your own site has the same few sections, with your bucket and your provider.

[site]
url        = "{site}"
store      = "./files"
index      = "index.html"       # / answers the object index.html
trust_html = true               # the pages in the store are our own: their scripts may run

[[issuers]]
name     = "demo"
issuer   = "{issuer}"
audience = ["{client}"]

{rules}
[login]
page    = "{site}/"             # who comes without a credential is sent here, with ?next=
session = "1h"

[log]
access = "off"                  # a line for each request would hide what the demo has to say
"""


def run(port: int | None, open_browser: bool) -> int:
    """Run the demo until Ctrl-C or SIGTERM.

    Args:
        port: of the site; None: 8080, or the next one that is free.
        open_browser: show the page as soon as it is there.

    Returns:
        Exit code: 0, or 1 if the demo could not start.
    """
    # Python would end without cleaning up; a KeyboardInterrupt leaves through every `with`.
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)
    for name_of_proxies in ("no_proxy", "NO_PROXY"):  # the provider is on this machine, whatever the proxy is
        os.environ[name_of_proxies] = HOST
    try:
        with (
            _listen(port) as site,
            _listen(None, site.getsockname()[1] + 1) as side,
            tempfile.TemporaryDirectory(prefix="stagedoor-demo-") as folder,
        ):
            return _run(site, side, Path(folder), open_browser)
    except OSError as error:
        Console(stderr=True).print(f"the demo cannot start: {error}; try another port", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 0


def _run(site: socket.socket, side: socket.socket, folder: Path, open_browser: bool) -> int:
    url, issuer = _origin(site), _origin(side)
    provider = Provider(issuer, url)
    gateway = make_site(folder, url, issuer)
    token = folder / "ann.token"
    token.write_text(provider.access_token(PEOPLE[0]))
    ready = asyncio.run(_serve(((provider, side), (gateway, site)), url, folder, open_browser))
    return 0 if ready else 1


def make_site(folder: Path, url: str, issuer: str) -> Gateway:
    """Write files and settings into a folder and make the gateway that serves them.

    Args:
        folder: an empty folder.
        url: origin of the site.
        issuer: origin of the provider.
    """
    text = SETTINGS.format(site=url, issuer=issuer, client=CLIENT_ID, rules=RULES)
    _write_files(folder / "files", url, issuer)
    path = folder / "stagedoor.toml"
    path.write_text(text, encoding="utf-8")
    return Gateway(settings.parse(text, path))


def _write_files(store: Path, url: str, issuer: str) -> None:
    """Copy the files of the site, and add what is known only now: the two origins."""
    for source in FILES.rglob("*"):
        if source.is_file():
            path = store / source.relative_to(FILES)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read_bytes())  # not the modes: an installed package may be read-only
    page = store / "index.html"
    page.write_text(page.read_text(encoding="utf-8").replace("@ISSUER@", issuer), encoding="utf-8")
    people = [{"sub": one.sub, "name": one.name, "groups": one.groups} for one in PEOPLE]
    site = {"site": url, "issuer": issuer, "client": CLIENT_ID, "people": people, "rules": RULES}
    (store / "app/site.json").write_text(json.dumps(site, indent=1), encoding="utf-8")


# --- serving


class _Server(uvicorn.Server):
    """A server that says when it is there, and leaves signals alone: one handler ends both of ours."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.settled.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(apps: tuple[tuple[Any, socket.socket], ...], url: str, folder: Path, open_browser: bool) -> bool:
    """Serve both applications until somebody ends it; False if one could not start."""
    servers = [
        _Server(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                ws="none",
                lifespan="on" if index else "off",
                timeout_graceful_shutdown=1,
            )
        )
        for index, (app, _) in enumerate(apps)
    ]

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(name, stop)
    async with asyncio.TaskGroup() as group:
        for server, (_, sock) in zip(servers, apps, strict=True):  # the provider first: the gateway asks for its keys
            group.create_task(server.serve([sock]))
            await server.settled.wait()
        ready = all(server.started for server in servers)
        if ready:
            _announce(url, folder)
            if open_browser:
                await asyncio.to_thread(webbrowser.open, url)
        else:
            stop()
    return ready


def _listen(port: int | None, first: int = DEFAULT_PORT) -> socket.socket:
    """A socket on loopback: at this port, at any (0), or at the first free one from `first` on (None)."""
    wanted = range(first, min(first + PORTS_TO_TRY, 65_536)) if port is None else (port,)
    for number in wanted:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, number))
            sock.listen(128)  # a bound socket alone would not keep a second demo from the same port
        except OSError as error:
            sock.close()
            if number == wanted[-1]:
                raise OSError(f"{HOST}:{number}: {error.strerror}") from error
        else:
            return sock
    raise OSError("there is no free port")


def _origin(sock: socket.socket) -> str:
    return f"http://{HOST}:{sock.getsockname()[1]}"


def _announce(url: str, folder: Path) -> None:
    """Say where it is and what to try; lines are never wrapped, so that they can be copied."""
    bearer = '-H "Authorization: Bearer $T"'
    commands = (
        (f"curl -i {bearer} {url}/users/ann/notes.md", "200: hers"),
        (f"curl -i {bearer} {url}/users/ben/essay.txt", "403: his"),
        (f'curl -s --cookie "token=$T" "{url}/-/explain?key=users/ben/essay.txt"', "why"),
        (f"curl -i {url}/users/ann/notes.md", "401: who are you?"),
    )
    width = max(len(command) for command, _ in commands)
    lines = (
        f"[bold]stagedoor demo[/]  [link={url}/]{url}/[/]",
        "",
        "sign in as   [bold]ann[/] or [bold]ben[/], students; [bold]tess[/], their teacher; [bold]gil[/], a guest",
        f"settings     {folder}/stagedoor.toml",
        "",
        "from another terminal, as ann:",
        f"  T=$(cat {folder}/ann.token)",
        *(f"  {command:{width}}  [dim]# {words}[/]" for command, words in commands),
        "",
        "Ctrl-C ends it and removes everything",
    )
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)
