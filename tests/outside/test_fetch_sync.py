"""One GET where waiting is fine: bounded in time and size, to https or this machine alone."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stagedoor.core.messages import Fetch, Fetched
from stagedoor.outside import fetch_sync
from stagedoor.outside.fetch_sync import fetch
from tests.helpers.issuer_server import IssuerServer, serving
from tests.helpers.serving import certificate


@pytest.fixture(scope="module")
def issuer() -> Iterator[IssuerServer]:
    with serving() as server:
        server.pages = {
            "/keys": (200, b'{"keys":[]}', 0.0),
            "/none": (204, b"", 0.0),
            "/moved": (302, b"", 0.0),
            "/fault": (500, b"sorry", 0.0),
            "/slow": (200, b"slow", 3.0),
        }
        yield server


def test_a_url_is_fetched(issuer: IssuerServer) -> None:
    assert fetch(Fetch(f"{issuer.url}/keys")) == Fetched(b'{"keys":[]}')


@pytest.mark.parametrize(
    ("path", "error"),
    [("/moved", "302, not 200"), ("/none", "204, not 200"), ("/fault", "500, not 200"), ("/missing", "404, not 200")],
)
def test_another_answer_than_200_is_no_body(issuer: IssuerServer, path: str, error: str) -> None:
    assert fetch(Fetch(issuer.url + path)) == Fetched(b"", f"the answer was {error}")
    assert "/elsewhere" not in issuer.asked


def test_a_body_has_no_more_bytes_than_the_limit(issuer: IssuerServer, tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"12345")
    for url in (f"{issuer.url}/fault".replace("fault", "keys"), (tmp_path / "keys").as_uri()):
        size = len(fetch(Fetch(url)).body)
        assert fetch(Fetch(url, limit=size)).error == ""
        assert fetch(Fetch(url, limit=size - 1)) == Fetched(b"", f"the answer is longer than {size - 1} bytes")


@pytest.mark.parametrize("given", ["wish", "call"])
def test_the_time_limit_is_the_wishs_or_the_callers(issuer: IssuerServer, given: str) -> None:
    slow = Fetch(f"{issuer.url}/slow", timeout=0.05 if given == "wish" else 60.0)
    assert fetch(slow, 0.05 if given == "call" else None) == Fetched(b"", "no answer in time")


def test_a_certificate_of_an_unknown_authority_is_named_with_the_way_out(tmp_path: Path) -> None:
    certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with serving() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        fetched = fetch(Fetch(server.url.replace("http:", "https:") + "/keys"))
    assert fetched.body == b""
    assert "its certificate does not count here: self-signed certificate" in fetched.error
    assert "SSL_CERT_FILE" in fetched.error


def test_nobody_listens() -> None:
    """The reason is the machine's own word, without the names of our library's errors."""
    assert fetch(Fetch("http://127.0.0.1:1/keys")).error == "connection refused"


@pytest.mark.parametrize(
    "url",
    ["http://id.example.com/keys", "ftp://127.0.0.1/keys", "data:,keys", "https://a:b@id.example.com/", "keys", ""],
)
def test_only_https_and_this_machine_are_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_sync, "build_opener", None)
    fetch_sync.opener.cache_clear()
    assert fetch(Fetch(url)) == Fetched(b"", "this is not an https address")


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two words.json"
    path.write_bytes(b"{}")
    assert fetch(Fetch(path.as_uri())) == Fetched(b"{}")
    assert "No such file" in fetch(Fetch((tmp_path / "other").as_uri())).error


def test_no_proxy_is_asked_for_this_machine(issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    fetch_sync.opener.cache_clear()
    assert fetch(Fetch(f"{issuer.url}/keys")).error == ""
    assert fetch(Fetch(f"{issuer.url}/keys".replace("127.0.0.1", "kc.localhost"))).error == ""


def test_a_name_below_localhost_is_this_machine_whatever_a_name_server_says(
    issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, look_up = [], socket.getaddrinfo

    def noted(host: str, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        return look_up(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    assert fetch(Fetch(f"{issuer.url}/keys".replace("127.0.0.1", "a.KC.localhost"))) == Fetched(b'{"keys":[]}')
    assert asked == ["localhost"]
