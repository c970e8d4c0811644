"""Starts the school on this machine, with a provider to sign in at; Ctrl-C ends it and removes what it wrote."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import uvicorn

from stagedoor import load_settings
from stagedoor.demo.provider import PEOPLE, Person, Provider

from .app import make_app

HERE = Path(__file__).parent.parent
HOST = "127.0.0.1"
GROUPS = {"ann": ("night-sky",), "ben": ("night-sky", "tides"), "tess": ("teachers",)}
"""Who is enrolled in what. At a school of your own that is in your provider."""


class School(Provider):
    """The demo's provider, with our groups in its tokens."""

    def id_token(self, person: Person, nonce: str = "", signed_in: int | None = None) -> str:
        return super().id_token(enrolled(person), nonce, signed_in)

    def access_token(self, person: Person, scope: str = "openid") -> str:
        return super().access_token(enrolled(person), scope)


def enrolled(person: Person) -> Person:
    return person._replace(groups=GROUPS.get(person.sub, ()))


def main() -> int:
    # As an exception it leaves through every `with`, so that the folder is removed.
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.default_int_handler)
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = HOST
    try:
        with (
            listen(8080) as site,
            listen(site.getsockname()[1] + 1) as side,
            tempfile.TemporaryDirectory(prefix="learning-platform-") as folder,
        ):
            asyncio.run(serve(Path(folder), site, side))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        sys.stderr.write(f"the school cannot start: {error}\n")
        return 1
    return 0


def listen(first: int) -> socket.socket:
    """A socket at the first port from there on that is free."""
    for port in range(first, first + 100):
        try:
            return socket.create_server((HOST, port), backlog=128)
        except OSError:
            continue
    raise OSError(f"no port from {first} to {first + 99} is free")


class Server(uvicorn.Server):
    """A server that leaves signals alone: one handler ends both of ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def serve(folder: Path, site: socket.socket, side: socket.socket) -> None:
    url, issuer = (f"http://{HOST}:{one.getsockname()[1]}" for one in (site, side))
    provider = School(issuer, url, callback="/")
    for person in PEOPLE:
        (folder / f"{person.sub}.token").write_text(provider.access_token(person), encoding="ascii")
    apps = ((provider, side), (make_site(folder, url, issuer), site))
    servers = [
        Server(uvicorn.Config(app, log_level="error", proxy_headers=False, timeout_graceful_shutdown=1))
        for app, _ in apps
    ]

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(name, stop)
    announce(url, folder)  # both sockets listen: who comes early waits a moment
    await asyncio.gather(*(server.serve([sock]) for server, (_, sock) in zip(servers, apps, strict=True)))


def make_site(folder: Path, url: str, issuer: str) -> Any:
    """Fill a folder: settings with our addresses, the store, the catalogue."""
    text = (HERE / "stagedoor.toml").read_text(encoding="utf-8")
    ours = {"8080": url, "8081": issuer}
    text = re.sub(r"http://127\.0\.0\.1:(8080|8081)", lambda found: ours[found[1]], text)
    (folder / "stagedoor.toml").write_text(text, encoding="utf-8")
    shutil.copytree(HERE / "files", folder / "files")
    fill = ("catalogue", "import", str(HERE / "contents.csv"), "--settings", str(folder / "stagedoor.toml"))
    subprocess.run([sys.executable, "-m", "stagedoor", *fill], check=True, stdout=subprocess.DEVNULL)
    return make_app(load_settings(folder / "stagedoor.toml"), folder, HERE / "courses.json")


def announce(url: str, folder: Path) -> None:
    sys.stdout.write(f"""\
learning platform  {url}/

sign in as   ann, a student of The Night Sky; ben, of Tides as well; tess, their teacher; gil, a guest
settings     {folder}/stagedoor.toml

from another terminal:
  ANN=$(cat {folder}/ann.token)
  BEN=$(cat {folder}/ben.token)
  curl -H "Authorization: Bearer $ANN" {url}/-/contents/night-sky-film  # 200: where it is
  curl -I -H "Authorization: Bearer $ANN" {url}/courses/night-sky/film.mp4  # 200: the film itself
  curl -D - -o /dev/null -r 0-999 -H "Authorization: Bearer $ANN" {url}/courses/night-sky/film.mp4  # 206: a part of it
  curl -H "Authorization: Bearer $ANN" {url}/-/contents/tides-film  # 403: she is not in this course
  curl {url}/-/contents/night-sky-film  # 401: who are you?
  curl -X PUT -H "Authorization: Bearer $ANN" -d "It turns westward." {url}/api/answers/night-sky-log  # 201: handed in
  curl -H "Authorization: Bearer $BEN" {url}/assignments/ann/night-sky-log.txt  # 403: hers, not his

Ctrl-C ends it and removes everything
""")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
