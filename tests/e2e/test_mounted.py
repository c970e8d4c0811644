"""The gateway inside somebody's own application, under a server that is not ours."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.helpers.servers import HOST, Server, environment, free_port, poll
from tests.helpers.support import key_set, rsa_signer, token

APP = """
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from stagedoor import Gateway, load_settings

gateway = Gateway(load_settings())


@asynccontextmanager
async def lifespan(app):
    gateway.start()
    yield
    await gateway.aclose()


async def hello(request):
    return PlainTextResponse("hello")


app = Starlette(routes=[Route("/hello", hello), Mount("/files", gateway)], lifespan=lifespan)
"""
SETTINGS = """
[site]
url = "$SITE"
store = "./files"

[[issuers]]
name = "staff"
issuer = "https://id.example.com/tenant"
audience = ["web"]
jwks = "./jwks.json"

[[rules]]
path = "users/{sub}/**"
allow = "signed-in"
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Server]]:
    folder, port = tmp_path_factory.mktemp("app"), free_port()
    url = f"http://{HOST}:{port}"
    (folder / "files/users/ann").mkdir(parents=True)
    (folder / "files/users/ann/a b+%.txt").write_text("hers", encoding="utf-8")
    (folder / "jwks.json").write_bytes(key_set(rsa_signer()))
    (folder / "stagedoor.toml").write_text(SETTINGS.replace("$SITE", url), encoding="utf-8")
    (folder / "theirs.py").write_text(APP, encoding="utf-8")
    command = [sys.executable, "-m", "uvicorn", "theirs:app", "--host", HOST, "--port", str(port), "--no-access-log"]
    server = Server(command, folder, environment(folder), "app")
    server.until(lambda: "Uvicorn running" in server.err)
    yield url, server
    server.stop()
    assert "Traceback" not in server.err


def test_its_files_are_below_the_mount_and_the_rest_is_the_apps(app: tuple[str, Server]) -> None:
    url, server = app
    claims = {"iss": "https://id.example.com/tenant", "aud": "web", "sub": "ann", "exp": int(time.time()) + 600}
    with httpx.Client(base_url=url, trust_env=False, headers={"authorization": f"Bearer {token(claims)}"}) as ann:
        assert ann.get("/hello").text == "hello"
        opened = ann.get("/files/users/ann/a%20b+%25.txt")
        assert (opened.status_code, opened.text) == (200, "hers")
        assert ann.get("/files/users/ben/a.txt").status_code == 403
        assert ann.get("/files/users/ann/none.txt").status_code == 404
        assert ann.get("/files/users/ann%2Fa.txt").status_code == 400
        assert ann.get("/files/-/whoami").json()["sub"] == "ann"
    refused = httpx.get(f"{url}/files/users/ann/a%20b+%25.txt", trust_env=False)
    assert (refused.status_code, refused.json()["code"]) == (401, "no-credential")
    poll(lambda: '"path":"/users/ann/none.txt"' in server.out, 5, "a line of the access log")
