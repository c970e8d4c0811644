"""`stagedoor doctor` as a program: our gateway in several settings is all good, nginx leaks as it often does."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stagedoor.keys.pass_keys import new_pair
from tests.helpers import issuer_server, services, stores
from tests.helpers.issuer_server import IssuerServer
from tests.helpers.servers import HOST, Server, free_port, poll
from tests.helpers.serving import TLS, certificate, command, environment, fresh_token, prepare, serve, settings_text
from tests.helpers.support import key_set, rsa_signer

PRIVATE, PUBLIC = "/users/ann/photo.png", "/public/logo.png"
FILES = {
    PRIVATE[1:]: b"\x89PNG ann's photo",
    PUBLIC[1:]: b"\x89PNG the logo",
    "index.html": b"<h1>Our site</h1>",
    "users/ann/index.html": b"<h1>Ann</h1>",
    "team/secret/plan.txt": b"the plan",
}
PASSES = '[passes]\nkey_id = "K1"\nprivate_key = "file:private.pem"\n'
LOGIN = '[login]\npage = "https://app.example.com/login"\n'
SESSIONS = '[login]\nsession_keys = ["file:session.key"]\n'
STATE = '[state]\nurl = "sqlite:///state.db"\n[admin]\nallow = { groups = ["site-admins"] }\n'
CORS = '[cors]\norigins = ["https://app.example.com"]\n'


class Told(NamedTuple):
    """What the doctor said, as a program hears it."""

    code: int
    answer: dict[str, Any]

    def named(self, *states: str) -> list[str]:
        return [one["question"] for one in self.answer["questions"] if one["state"] in states]


def ask(folder: Path, url: str, *words: str, env: Mapping[str, str] | None = None) -> Told:
    done = subprocess.run(
        command("doctor", url, "--json", *words),
        cwd=folder,
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return Told(done.returncode, json.loads(done.stdout))


def bring(folder: Path) -> list[str]:
    """Options with everything that there is to know about the site in this folder."""
    files = {
        "--token": fresh_token(),
        "--other-token": fresh_token(sub="ben"),
        "--expired-token": fresh_token(exp=time.time() - 60),
        "--foreign-token": fresh_token(aud="another-app"),
        "--admin-token": fresh_token(sub="root", groups=["site-admins"]),
        "--spend-token": fresh_token(jti="to-spend"),
    }
    words = ["--path", PRIVATE, "--public", PUBLIC, "--settings", "stagedoor.toml"]
    for option, token in files.items():
        (folder / f"{option[2:]}.txt").write_text(token)
        words += [option, f"{option[2:]}.txt"]
    return words


SIGN_IN = {
    *("sign-in-next", "sign-in-state", "sign-in-fixation", "sign-in-cookies", "sign-in-unseen"),
    *("sign-in-scripts", "sign-in-framed"),
}
HERE = {"certificate", "old-tls", "plain-http", "hsts", "sandbox", "bucket", "writable-attributes"}
NO_PROVIDER = {"logout-forged", "renewal-cross-site"}
PASS_QUESTIONS = {"pass-tampered", "pass-extended", "pass-expired"}


@pytest.mark.parametrize(
    ("site", "more", "not_asked"),
    [
        pytest.param(
            *("", STATE, PASS_QUESTIONS),
            id="plain",
            marks=pytest.mark.thorough("2 s; the others are asked all this, too"),
        ),
        pytest.param(
            'index = "index.html"\ntrust_html = true\n', STATE + LOGIN + CORS, PASS_QUESTIONS, id="index, login, cors"
        ),
        pytest.param("", STATE + PASSES + SESSIONS + CORS + "[gateway]\nworkers = 2\n", set(), id="passes, workers"),
    ],
)
def test_our_gateway_is_all_good(tmp_path: Path, site: str, more: str, not_asked: set[str]) -> None:
    prepare(tmp_path, FILES)
    (tmp_path / "private.pem").write_bytes(new_pair("rsa").private)
    (tmp_path / "session.key").write_bytes(b"k" * 48)
    with serve(tmp_path, settings_text(f'store = "./files"\n{site}', more)) as served:
        told = ask(tmp_path, f"http://{HOST}:{served.port}", *bring(tmp_path))
    assert told.named("found", "note") == [], told.answer
    assert told.code == 0
    assert set(told.named("skipped")) == HERE | SIGN_IN | NO_PROVIDER | not_asked
    assert {"signed-out-session", "revoked-token", "revocations-open"} <= set(told.named("good"))
    assert told.answer["requests"] < 760
    assert "eyJ" not in "".join(str(one) for one in served.lines()), "no token is in the log"


@contextmanager
def provider(name: str) -> Iterator[tuple[IssuerServer, str]]:
    """A provider at which people sign in, and its settings; it knows no code."""
    with issuer_server.serving() as server:
        document = {
            "issuer": server.url,
            "authorization_endpoint": f"{server.url}/authorize",
            "token_endpoint": f"{server.url}/token",
            "jwks_uri": f"{server.url}/jwks",
        }
        server.pages = {
            "/.well-known/openid-configuration": (200, json.dumps(document).encode(), 0.0),
            "/jwks": (200, key_set(rsa_signer()), 0.0),
            "/token": (400, b'{"error": "invalid_grant"}', 0.0),
        }
        yield server, f'[[issuers]]\nname = "{name}"\nissuer = "{server.url}"\naudience = ["x"]\nclient_id = "x"\n'


@pytest.mark.parametrize("several", [False, True])
def test_our_gateway_with_sign_in_is_all_good(tmp_path: Path, several: bool) -> None:
    """Where there are several providers, visitors choose one."""
    prepare(tmp_path, FILES)
    (tmp_path / "session.key").write_bytes(b"k" * 48)
    with provider("one") as (server, one), provider("two") as (_, two):
        text = settings_text(more=one + (two if several else "") + SESSIONS + STATE)
        with serve(tmp_path, text) as served:
            told = ask(tmp_path, f"http://{HOST}:{served.port}", *bring(tmp_path))
    assert told.named("found", "note", "failed") == [], told.answer
    assert set(told.named("skipped")) == HERE | PASS_QUESTIONS
    ours = {"sign-out-by-link", "sign-out-cross-site", "session-life", "signed-out-session"} | NO_PROVIDER
    assert SIGN_IN | ours <= set(told.named("good"))
    assert "/token" in server.asked, "the made-up code was traded"


def test_without_a_state_our_gateway_takes_nothing_back_and_the_doctor_says_so(tmp_path: Path) -> None:
    prepare(tmp_path, FILES)
    with serve(tmp_path, settings_text()) as served:
        told = ask(tmp_path, f"http://{HOST}:{served.port}", *bring(tmp_path))
    assert told.named("found", "failed") == [], told.answer
    assert told.named("note") == ["signed-out-session", "revoked-token"]
    notes = [one for one in told.answer["questions"] if one["state"] == "note"]
    assert all("nothing can be taken back before it ends" in str(one["evidence"]) for one in notes)
    assert all("url in [state]" in one["mend"] for one in notes)


def test_our_gateway_before_a_bucket_is_all_good_and_the_open_bucket_is_found(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "private.pem").write_bytes(new_pair("ec").private)
    bucket = stores.new_bucket()
    for key, body in FILES.items():
        stores.client().put_object(Bucket=bucket, Key=key, Body=body, ContentType="image/png")
    store = f'store = "s3://{bucket}"\nendpoint = "{stores.endpoint()}"\nregion = "us-east-1"'
    keys: dict[str, Any] = {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with serve(tmp_path, settings_text(store, PASSES + STATE), **keys) as served:
        url = f"http://{HOST}:{served.port}"
        told = ask(tmp_path, url, *bring(tmp_path), env=keys)
        with_bucket = ask(tmp_path, url + PRIVATE, "--bucket-url", f"{stores.endpoint()}/{bucket}")
    assert told.named("found", "note") == [], told.answer
    assert set(told.named("skipped")) == HERE | SIGN_IN | NO_PROVIDER
    assert with_bucket.named("found") == ["bucket"], "moto lets everybody in"


def test_our_gateway_with_tls_lacks_nothing(tmp_path: Path) -> None:
    prepare(tmp_path, FILES)
    certificate(tmp_path)
    text = settings_text('store = "./files"', f"{TLS}\n{STATE}").replace(
        "http://127.0.0.1:8080", "https://127.0.0.1:8080"
    )
    with serve(tmp_path, text, port=free_port()) as served:
        url, words = f"https://{HOST}:{served.port}", bring(tmp_path)
        told = ask(tmp_path, url, *words, env={"SSL_CERT_FILE": str(tmp_path / "cert.pem")})
        untrusted = ask(tmp_path, url, *words)
    assert told.named("found") == [], told.answer
    assert told.named("note") == []
    assert {"certificate", "old-tls", "session-cookie"} <= set(told.named("good"))
    assert untrusted.named("found", "note", "good") == ["certificate"]


# --- nginx, as it is often set up

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; types {{ image/png png; text/html html; }}
  proxy_cache_path {folder}/cache keys_zone=all:1m;
  server {{
    listen {host}:{port};
    add_header X-Content-Type-Options nosniff always;
    {inside}
  }}
}}
"""
CACHED = """
    location / {{
      proxy_pass http://127.0.0.1:{gateway};
      proxy_cache all; proxy_cache_key $uri; proxy_cache_valid 200 1m;
      proxy_ignore_headers Cache-Control Vary Set-Cookie Expires;
      proxy_hide_header X-Content-Type-Options;
      add_header X-Content-Type-Options nosniff always;
      add_header X-Cache $upstream_cache_status always;
    }}
"""


@contextmanager
def nginx(folder: Path, inside: str) -> Iterator[str]:
    program = services.program("nginx")
    assert program is not None
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, host=HOST, port=port, inside=inside))
    folder.chmod(0o755)
    server = Server([program, "-c", str(configuration), "-p", str(folder)], folder, environment(), "nginx")
    try:
        poll(lambda: (folder / "nginx.pid").exists() or None, 20, "nginx listens")
        yield f"http://{HOST}:{port}"
    finally:
        server.stop()


@pytest.mark.needs("nginx")
def test_nginx_that_serves_files_without_a_check_is_found(tmp_path: Path) -> None:
    root = prepare(tmp_path, FILES)
    with nginx(tmp_path, f"root {root};") as url:
        told = ask(tmp_path, url + PRIVATE)
    assert told.code == 1
    assert told.named("found", "note") == ["no-token"], told.answer


@pytest.mark.needs("nginx")
def test_nginx_that_lists_folders_is_found(tmp_path: Path) -> None:
    root = prepare(tmp_path, {PRIVATE[1:]: b"x"})
    with nginx(tmp_path, f"location /users/ {{ return 401; }} location / {{ root {root}; autoindex on; }}") as url:
        told = ask(tmp_path, url + PRIVATE)
    assert told.named("found", "note") == ["listing"], told.answer


@pytest.mark.needs("nginx")
def test_a_check_behind_a_cache_is_found(tmp_path: Path) -> None:
    """The gateway says private; nginx was told to ignore it, and to keep one copy for a path."""
    prepare(tmp_path, FILES)
    with (
        serve(tmp_path, settings_text(more=STATE)) as served,
        nginx(tmp_path, CACHED.format(gateway=served.port)) as url,
    ):
        told = ask(tmp_path, url, *bring(tmp_path))
        again = ask(tmp_path, url, *bring(tmp_path))
    assert told.named("found", "note") == ["cache-replay"], told.answer
    (found,) = [one for one in told.answer["questions"] if one["state"] == "found"]
    assert "x-cache: HIT" in found["evidence"][0]["got"]
    assert again.named("found", "note") == ["no-token"], "by now it is in the cache"


@pytest.mark.needs("nginx")
def test_a_check_by_location_that_a_slash_gets_around_is_found(tmp_path: Path) -> None:
    """With merge_slashes off `//users` is another location, and the same file."""
    root = prepare(tmp_path, FILES)
    inside = f"merge_slashes off; root {root}; location /users/ {{ return 401; }}"
    with nginx(tmp_path, inside) as url:
        told = ask(tmp_path, url + PRIVATE)
    assert told.named("found", "note") == ["path-spelling"], told.answer


def test_keys_of_the_provider_can_be_brought(tmp_path: Path) -> None:
    prepare(tmp_path, FILES)
    (tmp_path / "keys.json").write_bytes(key_set(rsa_signer()))
    with serve(tmp_path, settings_text(more=STATE)) as served:
        (tmp_path / "ann.txt").write_text(fresh_token())
        told = ask(tmp_path, f"http://{HOST}:{served.port}{PRIVATE}", "--token", "ann.txt", "--jwks", "keys.json")
    assert told.named("found", "note") == [], told.answer
    assert "hmac-key" in told.named("good")
