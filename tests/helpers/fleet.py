"""Several gateways of one site with one state, each of which can be killed, cut off, and given a wrong clock."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import httpx

from tests.helpers import issuer_server
from tests.helpers.issuer_server import IssuerServer
from tests.helpers.partition import Partition
from tests.helpers.servers import GATEWAY, HOST, SOURCE, Gateway, Server, environment, free_port, poll
from tests.helpers.services import program
from tests.helpers.serving import fresh_token, prepare
from tests.helpers.support import CLIENT, put_keys_of_passes

STALE = 8.0
"""Seconds that a gateway goes on without the state."""
LEEWAY = 2.0
"""Seconds by which clocks may differ: the issuer's, and so the gateways'."""
SETTINGS = f"""
[site]
url = "http://127.0.0.1:8080"
store = "./files"

[[issuers]]
name = "staff"
issuer = "$ISSUER"
audience = ["{CLIENT}"]
jwks = "./jwks.json"
leeway = "{LEEWAY:g}s"

[[rules]]
path = "public/**"
allow = "anyone"

[[rules]]
path = "team/**"
allow = "signed-in"

[admin]
allow = {{ groups = ["admins"] }}

[login]
client_id = "{CLIENT}"
client_secret = "env:CLIENT_SECRET"
renew = "40m"
session_keys = ["file:session.key"]

[passes]
key_id = "K1"
private_key = "file:passes.pem"
public_keys = {{ K1 = "file:public.pem" }}

[state]
url = "$STATE"
stale = "{STALE:g}s"
"""


SLEEP = """
import select, time
time.sleep = lambda seconds: select.select((), (), (), seconds)
"""
"""For Python under libfaketime, whose clock_nanosleep fails where the monotonic clock is the true one."""


class Idp:
    """The issuer: where people sign in, and are asked for again.

    Args:
        server: that is running; what it answers next is set before it is asked.
    """

    def __init__(self, server: IssuerServer) -> None:
        self._server, self.url = server, server.url
        metadata = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": f"{self.url}/token",
        }
        self._pages = {"/.well-known/openid-configuration": (200, json.dumps(metadata).encode(), 0.0)}
        self.answer_next({})

    def answer_next(self, claims: Mapping[str, object]) -> None:
        """Answer the next questions for tokens with an id token of these claims."""
        id_token = fresh_token(iss=self.url, **claims)
        members = {
            "id_token": id_token,
            "refresh_token": secrets.token_urlsafe(16),
            "access_token": "x",
            "token_type": "Bearer",
        }
        self._server.pages = {**self._pages, "/token": (200, json.dumps(members).encode(), 0.0)}


class Redis:
    """A real `redis-server` that writes down each change before it answers, so that it loses nothing when it dies."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.port = folder, free_port()
        self.url = f"redis://{HOST}:{self.port}/0"
        self._server: Server | None = None

    def start(self) -> None:
        found = program("redis")
        assert found
        options = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(self._folder))
        command = [found, "--port", str(self.port), "--bind", HOST, *options]
        self._server = Server(command, self._folder, environment(self._folder), "redis")
        self._server.until(lambda: self._server is not None and self._answers())

    def _answers(self) -> bool:
        import redis

        with contextlib.closing(redis.Redis.from_url(self.url)) as client, contextlib.suppress(redis.RedisError):
            return bool(client.ping())
        return False

    def kill(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server = None

    def lose_everything(self) -> None:
        """What happens to one that writes nothing down."""
        import redis

        with contextlib.closing(redis.Redis.from_url(self.url)) as client:
            client.flushall()


class Node:
    """One gateway: its process, its wire to the state, its clock.

    Args:
        folder: of the site.
        name: of its files.
        text: its settings.
        wire: between it and the state; None where the state is a file.
    """

    def __init__(self, folder: Path, name: str, text: str, wire: Partition | None) -> None:
        self.name, self.wire, self._folder = name, wire, folder
        self._text, self._port = text, free_port()
        self._clock = folder / f"{name}.clock"
        self.set_clock(0)
        self.start()

    def start(self) -> None:
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
        clock = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "CLIENT_SECRET": "secret",
            "PYTHONPATH": f"{self._folder / 'python'}:{SOURCE}",
        }
        self.process = Gateway(self._folder, self._text, env=clock, port=self._port)
        self.client = httpx.Client(base_url=self.process.url, trust_env=False, timeout=30)
        poll(self._listens, 40, f"gateway {self.name}", every=0.05)

    def _listens(self) -> bool:
        with contextlib.suppress(httpx.ConnectError):
            return self.client.get("/-/healthz").status_code == 200
        return False

    def opens(self, fields: Mapping[str, str]) -> bool:
        return self.client.get("/team/a.txt", headers=fields).status_code == 200

    def refuses(self, fields: Mapping[str, str]) -> bool:
        return self.client.get("/team/a.txt", headers=fields).status_code == 401

    def kill(self) -> None:
        self.client.close()
        self.process.kill()

    def stop(self) -> None:
        self.client.close()
        self.process.stop()

    def set_clock(self, ahead: int) -> None:
        """Let its clock be so many seconds ahead, from the next look on."""
        new = self._clock.with_suffix(".new")
        new.write_text(f"{ahead:+d}s\n")
        new.replace(self._clock)


class Fleet:
    """Three gateways, and Redis with a wire to each, or one SQLite file.

    Args:
        folder: of the site.
        idp: the site's only issuer.
        redis: None: the state is a file.
        wires: between each gateway and Redis.
    """

    def __init__(self, folder: Path, idp: Idp, redis: Redis | None, wires: list[Partition]) -> None:
        self.idp, self.redis, self._folder = idp, redis, folder
        prepare(folder, {"team/a.txt": b"team", "public/a.txt": b"hello"})
        (folder / "session.key").write_bytes(b"k" * 40)
        (folder / "python").mkdir()
        (folder / "python/sitecustomize.py").write_text(SLEEP)
        put_keys_of_passes(SETTINGS, folder)
        state = redis.url if redis else "sqlite:///state.db"
        self._settings = folder / "stagedoor.toml"
        text = SETTINGS.replace("$ISSUER", idp.url)
        self._settings.write_text(text.replace("$STATE", state))
        urls = [f"redis://{HOST}:{wire.port}/0" for wire in wires] or [state] * 3
        self.nodes = [
            Node(folder, name, text.replace("$STATE", url), wires[number] if wires else None)
            for number, (name, url) in enumerate(zip("abc", urls, strict=True))
        ]

    def revoke(self, *arguments: str) -> bool:
        """`stagedoor revoke`, on a machine whose clock is right; did it say that it was done?"""
        command = [sys.executable, "-c", GATEWAY, "revoke", *arguments, "--settings", str(self._settings), "--json"]
        env = environment(self._folder, CLIENT_SECRET="secret")
        run = subprocess.run(command, env=env, capture_output=True, timeout=60, check=False)
        return run.returncode == 0 and bool(json.loads(run.stdout))

    def wait_until_open(self, fields: Mapping[str, str]) -> None:
        """Wait until every gateway serves those who send these fields; soon after its clock was changed it may not."""
        for node in self.nodes:
            poll(partial(node.opens, fields), 40, f"gateway {node.name} that is open", every=0.05)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()


@contextlib.contextmanager
def running(folder: Path, *, redis: bool) -> Iterator[Fleet]:
    """A fleet, until the block ends."""
    with contextlib.ExitStack() as stack:
        server, wires, idp = None, list[Partition](), Idp(stack.enter_context(issuer_server.serving()))
        if redis:
            server = Redis(folder)
            stack.callback(server.kill)
            server.start()
            wires = [stack.enter_context(Partition(server.port).running()) for _ in range(3)]
        fleet = Fleet(folder, idp, server, wires)
        stack.callback(fleet.stop)
        yield fleet
