"""The recipes for several gateways, as they stand in the docs: two gateways, one Redis, and a balancer before them."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.test_nginx_recipe import AROUND, Site
from tests.helpers import services
from tests.helpers.servers import HOST, Server, free_port, poll
from tests.helpers.serving import Served, certificate, environment, fresh_token, prepare, serve, settings_text, until

pytestmark = pytest.mark.needs("redis")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-several-gateways.md"
MINE = "/users/ann/a.txt"
FILES = {MINE[1:]: b"ann's", "public/a.txt": b"hello"}
SHARED = '[login]\nsession_keys = ["file:session.key"]\n[admin]\nallow = { groups = ["site-admins"] }\n'
STATE = '[state]\nurl = "{redis}"\n'


class Balanced(NamedTuple):
    """A site of two gateways."""

    site: Site
    gateways: tuple[Served, Served]
    redis: subprocess.Popen[bytes]


def recipe(language: str, changes: dict[str, str]) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    lines = found[1]
    for written, here in changes.items():
        assert lines.count(written) == 1, written
        lines = lines.replace(written, here)
    return lines


def nginx(folder: Path, port: int, gateways: tuple[Served, Served]) -> list[str]:
    changes = {
        "server 10.0.0.11:8080;": f"server {HOST}:{gateways[0].port};",
        "server 10.0.0.12:8080;": f"server {HOST}:{gateways[1].port};",
        "listen 443 ssl http2;": f"listen {HOST}:{port} ssl http2;",
        "/etc/ssl/assets.pem": f"{folder}/cert.pem",
        "/etc/ssl/assets.key": f"{folder}/key.pem",
    }
    text = AROUND.format(folder=folder, recipe=recipe("nginx", changes))
    (folder / "nginx.conf").write_text(text)
    return ["-c", str(folder / "nginx.conf"), "-p", str(folder)]


def haproxy(folder: Path, port: int, gateways: tuple[Served, Served]) -> list[str]:
    both = (folder / "cert.pem").read_text() + (folder / "key.pem").read_text()
    (folder / "both.pem").write_text(both)
    changes = {
        "10.0.0.11:8080 check": f"{HOST}:{gateways[0].port} check inter 200",
        "10.0.0.12:8080 check": f"{HOST}:{gateways[1].port} check inter 200",
        "bind :443 ssl crt /etc/haproxy/assets.pem": f"bind {HOST}:{port} ssl crt {folder}/both.pem",
    }
    (folder / "haproxy.cfg").write_text(recipe("haproxy", changes))
    return ["-db", "-f", str(folder / "haproxy.cfg")]


@contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    program, port = shutil.which("redis-server"), free_port()
    assert program
    command = [program, "--port", str(port), "--bind", HOST, "--save", "", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            yield f"redis://{HOST}:{port}/0", server
        finally:
            server.kill()


HAPROXY = (pytest.mark.needs("haproxy"), pytest.mark.thorough("5 s; nginx's recipe is tried always"))


@pytest.fixture(
    params=[
        pytest.param(nginx, marks=pytest.mark.needs("nginx"), id="nginx"),
        pytest.param(haproxy, marks=HAPROXY, id="haproxy"),
    ]
)
def balanced(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Balanced]:
    with ExitStack() as stack:
        url, redis = stack.enter_context(redis_server(tmp_path))
        text = settings_text(more=SHARED + STATE.format(redis=url))
        text = text.replace("http://127.0.0.1:8080", "https://assets.example.com")
        gateways = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            prepare(folder, FILES)
            (folder / "session.key").write_bytes(b"k" * 48)
            gateways.append(stack.enter_context(serve(folder, text)))
        pair = (gateways[0], gateways[1])
        port, trust = free_port(), certificate(tmp_path)
        program = services.program(request.param.__name__)
        assert program
        arguments = request.param(tmp_path, port, pair)
        server = Server([program, *arguments], tmp_path, environment(), request.param.__name__)
        stack.callback(server.stop)
        site = Site(port, trust)
        poll(lambda: _answers(site) or None, 20, "the balancer has gateways that are ready")
        yield Balanced(site, pair, redis)


def _answers(site: Site) -> bool:
    try:
        return site.ask("/-/readyz")[0] == 200
    except (OSError, ssl.SSLError):
        return False


def answered(gateway: Served, path: str) -> int:
    return sum(line["path"] == path for line in gateway.lines())


def session(site: Site) -> str:
    status, fields = site.ask("/-/session", "POST", b"", Authorization=f"Bearer {fresh_token()}")
    assert status == 204
    return next(value for name, value in fields if name == "set-cookie").partition(";")[0]


def test_two_gateways_behind_a_balancer_are_one_site(balanced: Balanced) -> None:
    site, gateways, redis = balanced
    mine, other = session(site), session(site)

    def statuses(cookie: str) -> set[int]:
        return {site.ask(MINE, Cookie=cookie)[0] for _ in range(6)}

    assert statuses(mine) == {200}
    until(lambda: all(answered(one, MINE) for one in gateways), "both say in their logs that they answered")

    assert site.ask("/-/logout", "POST", b"", Cookie=mine)[0] == 200
    until(lambda: statuses(mine) == {401}, "a copy of the cookie opens nothing at either gateway")
    assert statuses(other) == {200}, "another session of the same person goes on"

    admin = fresh_token(sub="root", groups=["site-admins"])
    body = json.dumps({"sub": "ann"}).encode()
    fields = {"Authorization": f"Bearer {admin}", "Content_Type": "application/json"}
    assert site.ask("/-/revocations", "POST", body, **fields)[0] == 201
    until(lambda: statuses(other) == {401}, "she is out at both")
    assert site.ask("/-/explain?key=users/ann/a.txt", Cookie=other)[0] == 401

    def reasons() -> set[str]:
        return {line["reason"] for one in gateways for line in one.lines() if line["path"] == "/-/explain"}

    assert until(reasons, "the log says why") == {"revoked-person"}

    redis.kill()
    ben = fresh_token(sub="ben")
    asked = [site.ask("/users/ben/none", Authorization=f"Bearer {ben}")[0] for _ in range(6)]
    assert set(asked) == {404}, "without Redis they go on with the list that they have"
    assert statuses(other) == {401}

    gateways[0].stop()
    until(lambda: {site.ask("/public/a.txt")[0] for _ in range(6)} == {200}, "the other one answers all")
