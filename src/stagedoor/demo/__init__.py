"""`stagedoor demo`: the real gateway in front of made-up files, and a provider to sign in with, on this machine only.

One temporary folder holds the files, the gateway's settings and tokens for curl. It is deleted at the end.
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
from collections.abc import Generator, Sequence
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
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends the demo."""
FILES = Path(__file__).with_name("files")
"""The site's files, laid out as they are served; each rule below allows some of them and refuses others."""

RULES = """\
[[rules]]                       # rules[0]: the page itself
path  = "index.html"
allow = "anyone"

[[rules]]                       # rules[1]: its scripts and styles
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
# The settings of this demo. Your own site needs the same few sections, with your bucket and your provider.

[site]
url        = "{site}"
store      = "./files"
index      = "index.html"       # / answers the object index.html
trust_html = true               # scripts of stored pages may run, because all pages are our own

[[issuers]]
name     = "demo"
issuer   = "{issuer}"
audience = ["{client}"]

{rules}
[login]                         # people sign in at the provider above; it knows {site}/-/callback
client_id = "{client}"
session   = "1h"
renew     = "5m"                # the provider gives refresh tokens, so nobody notices

[log]
access = "off"                  # request lines would hide what the demo prints
"""


def run(port: int | None, open_browser: bool, others: Sequence[str] = ()) -> int:
    """Run the demo until Ctrl-C or SIGTERM.

    Args:
        port: of the site; None: 8080, or the next free one.
        open_browser: open the page in a browser.
        others: origins of other sites that may use the provider.

    Returns:
        Exit code: 0, or 1 if the demo could not start.
    """
    # By default these signals end Python without clean-up; a KeyboardInterrupt leaves through every `with`.
    for name in SIGNALS:
        signal.signal(name, signal.default_int_handler)
    for variable in ("no_proxy", "NO_PROXY"):  # the provider is on this machine: no proxy can reach it
        os.environ[variable] = HOST
    try:
        with (
            _listen(port) as site,
            _listen(None, site.getsockname()[1] + 1) as issuer,
            _temporary_folder() as folder,
        ):
            return _run(site, issuer, folder, open_browser, others)
    except OSError as error:
        Console(stderr=True).print(f"the demo cannot start: {error}; try another port", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 0


@contextlib.contextmanager
def _temporary_folder() -> Generator[Path, None, None]:
    """A folder that is deleted at the end, even if a signal comes while it is made."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    with tempfile.TemporaryDirectory(prefix="stagedoor-demo-") as folder:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield Path(folder)


def _run(site: socket.socket, issuer: socket.socket, folder: Path, open_browser: bool, others: Sequence[str]) -> int:
    url = _origin(site)
    provider = Provider(_origin(issuer), url, others=others)
    gateway = make_site(folder, url, provider.issuer)
    for person in PEOPLE:
        (folder / f"{person.sub}.token").write_text(provider.access_token(person))
    ready = asyncio.run(_serve(((provider, issuer), (gateway, site)), url, folder, open_browser))
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
    """Copy the site's files, and add what is known only at run time: addresses, tokens, users and rules."""
    for source in FILES.rglob("*"):
        if source.is_file():
            path = store / source.relative_to(FILES)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read_bytes())  # not the modes: an installed package may be read-only
    page = store / "index.html"
    page.write_text(page.read_text(encoding="utf-8").replace("@ISSUER@", issuer), encoding="utf-8")
    people = [{"sub": one.sub, "name": one.name, "groups": one.groups} for one in PEOPLE]
    site = {"site": url, "tokens": str(store.parent), "people": people, "rules": RULES}
    (store / "app/site.json").write_text(json.dumps(site, indent=1), encoding="utf-8")


# --- serving


class _Server(uvicorn.Server):
    """A server that reports the end of its start-up and handles no signals: one handler ends both servers."""

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
    """Serve both applications until a signal ends the demo; False if one could not start."""
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

    for name in SIGNALS:
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
            sock.listen(128)  # without this a second demo could bind the same port
        except OSError as error:
            sock.close()
            if number == wanted[-1]:
                raise OSError(f"{HOST}:{number}: {error.strerror}") from error
        else:
            return sock
    raise OSError("no port is free")


def _origin(sock: socket.socket) -> str:
    return f"http://{HOST}:{sock.getsockname()[1]}"


def _announce(url: str, folder: Path) -> None:
    """Print the address and what to try; lines are not wrapped, so that they can be copied."""
    bearer = '-H "Authorization: Bearer $T"'
    commands = (
        (f"curl -i {bearer} {url}/users/ann/notes.md", "200: her own file"),
        (f"curl -i {bearer} {url}/users/ben/essay.txt", "403: Ben's file"),
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
        *(f"  {command:{width}}  [dim]# {meaning}[/]" for command, meaning in commands),
        "",
        "Ctrl-C ends it and removes everything",
    )
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)
