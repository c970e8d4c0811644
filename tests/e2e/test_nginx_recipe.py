"""The recipe for nginx in the docs, as it stands there: TLS ends at nginx, and browsers come by https alone."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stagedoor.keys.pass_keys import new_pair
from tests.helpers import services
from tests.helpers.servers import HOST, Server, free_port, poll
from tests.helpers.serving import certificate, environment, fresh_token, prepare, serve, settings_text

pytestmark = pytest.mark.needs("nginx")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-in-production.md"
HSTS = "max-age=31536000"
LOGIN = '[login]\npage = "https://app.example.com/login"\n'
PASSES = '[passes]\nkey_id = "K1"\nprivate_key = "file:private.pem"\n'
FILES = {"public/a.txt": b"hello", "users/ann/a.txt": b"ann's"}
AROUND = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  {recipe}
}}
"""


def recipe(folder: Path, port: int, gateway: int) -> str:
    """The docs' own lines, with the ports and files of a test."""
    text = re.search(r"## Behind nginx\n+```nginx\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert text
    changes = {
        "server 127.0.0.1:8080;": f"server {HOST}:{gateway};",
        "listen 443 ssl http2;": f"listen {HOST}:{port} ssl http2;",
        "/etc/ssl/assets.pem": f"{folder}/cert.pem",
        "/etc/ssl/assets.key": f"{folder}/key.pem",
    }
    lines = text[1]
    for written, here in changes.items():
        assert lines.count(written) == 1, written
        lines = lines.replace(written, here)
    return lines


class Site:
    """What answers behind the recipe."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self._port, self._trust = port, trust

    def ask(
        self, target: str, method: str = "GET", body: bytes | None = None, **fields: str
    ) -> tuple[int, list[tuple[str, str]]]:
        """Status and header fields of an answer."""
        connection = http.client.HTTPSConnection(HOST, self._port, context=self._trust, timeout=30)
        try:
            names = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request(method, target, body, {"Host": "assets.example.com", **names})
            answer = connection.getresponse()
            answer.read()
            return answer.status, [(name.lower(), value) for name, value in answer.getheaders()]
        finally:
            connection.close()


@contextmanager
def behind_nginx(folder: Path, gateway: int) -> Iterator[Site]:
    program = services.program("nginx")
    assert program is not None
    port, trust = free_port(), certificate(folder)
    configuration = folder / "nginx.conf"
    configuration.write_text(AROUND.format(folder=folder, recipe=recipe(folder, port, gateway)))
    server = Server([program, "-c", str(configuration), "-p", str(folder)], folder, environment(), "nginx")
    try:
        poll(lambda: (folder / "nginx.pid").exists() or None, 20, "nginx listens")
        yield Site(port, trust)
    finally:
        server.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare(tmp_path, FILES)
    (tmp_path / "private.pem").write_bytes(new_pair("rsa").private)
    return tmp_path


TEXT = settings_text(more=LOGIN + PASSES).replace("http://127.0.0.1:8080", "https://assets.example.com")


def test_every_answer_behind_nginx_tells_browsers_to_come_by_https_alone(folder: Path) -> None:
    """Once each: the gateway, which does not end TLS, sends none."""
    owner = {"Authorization": f"Bearer {fresh_token()}"}
    asked = {
        "/public/a.txt": ({}, 200),
        "/users/ann/a.txt": (owner, 200),
        "/public/none": ({}, 404),
        "/users/ben/a.txt": (owner, 403),
        "/team/a.txt": ({}, 401),
        "/team/b.txt": ({"Sec-Fetch-Mode": "navigate", "Accept": "text/html"}, 302),
        "/%00": ({}, 400),
        "/-/healthz": ({}, 200),
    }
    with serve(folder, TEXT) as served, behind_nginx(folder, served.port) as site:
        for target, (fields, status) in asked.items():
            answer = site.ask(target, body=None, **fields)
            assert (target, answer[0]) == (target, status)
            assert [value for name, value in answer[1] if name == "strict-transport-security"] == [HSTS], target


def test_also_where_nginx_answers_itself_because_nobody_is_behind_it(folder: Path) -> None:
    with behind_nginx(folder, free_port()) as site:
        status, fields = site.ask("/public/a.txt")
    assert status == 502
    assert [value for name, value in fields if name == "strict-transport-security"] == [HSTS]


def test_the_buffers_of_the_recipe_hold_the_cookies_of_eight_folders(folder: Path) -> None:
    body = json.dumps({"prefix": [f"users/ann/a ({number})/" for number in range(8)]}).encode()
    with serve(folder, TEXT) as served, behind_nginx(folder, served.port) as site:
        status, fields = site.ask(
            "/-/cookies", "POST", body, Authorization=f"Bearer {fresh_token()}", Content_Type="application/json"
        )
    assert status == 204, fields
    cookies = [value for name, value in fields if name == "set-cookie"]
    assert sum(map(len, cookies)) > 8192, "nginx takes 4 or 8 KB out of the box"
