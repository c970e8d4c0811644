"""Schemathesis in front of a real gateway: what it makes up from the description of the API is answered as described.

It is run as its users run it, once for each kind of caller, with the same requests each time. A failure is shown with
the curl command that shows it again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from stagedoor.catalogue import open_catalogue
from stagedoor.core.messages import Content
from stagedoor.keys.pass_keys import new_pair
from tests.helpers.servers import Gateway, environment
from tests.helpers.support import key_set, rsa_signer, token

SETTINGS = """
[site]
url = "$SITE"
store = "./files"

[[issuers]]
name = "staff"
issuer = "https://id.example.com/tenant"
audience = ["web"]
jwks = "./jwks.json"

[tokens]
from = ["header", "cookie", "query"]

[[rules]]
path = "public/**"
allow = "anyone"

[[rules]]
path = "courses/**"
allow = { groups = ["students"] }

[[rules]]
path = "*"
allow = "signed-in"

[passes]
key_id = "K1"
private_key = "file:private.pem"
per_minute = 1000000

[catalogue]
url = "sqlite:///catalogue.db"
"""
FILES = ("testfile2.txt", "public/logo.png", "courses/lesson-1/film.mp4", "courses/lesson-7/film.mp4")
"""Those that the description's examples speak of are among them."""

# No request that fits a schema may be answered 400, but for what no schema can say: a cursor that was made up is none,
# folders must not lie in one another, and Schemathesis writes the slashes of a key as %2F.
CONFIG = """
color = false
continue-on-failure = true
seed = 4711

[cache]
enabled = false

[generation]
max-examples = 15
database = "none"
with-security-parameters = {made_up_credentials}

[checks.negative_data_rejection]
expected-statuses = ["4xx"]

[[operations]]
include-operation-id = ["listObjects", "createCookies"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404"]

[[operations]]
include-operation-id = ["getObject", "headObject"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "304", "400", "401", "403", "404", "412", "416"]
"""
RUN = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis(sys.argv[1:]))"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Gateway]:
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_signer()))
    (tmp_path / "private.pem").write_bytes(new_pair().private)
    for key in FILES:
        path = tmp_path / "files" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 2000)
    catalogue = open_catalogue(f"sqlite://{tmp_path / 'catalogue.db'}", create=True)
    catalogue.put([Content("lesson-7", "courses/lesson-7/film.mp4", "Lesson 7", "video/mp4", {"minutes": "12"})])
    catalogue.close()
    gateway = Gateway(tmp_path, SETTINGS)
    yield gateway
    gateway.stop()


def credentials(kind: str, site: Gateway) -> Mapping[str, str]:
    """Header fields of a kind of caller."""
    claims = {"iss": "https://id.example.com/tenant", "aud": "web", "sub": "ann", "groups": ["students"]}
    bearer = {"Authorization": f"Bearer {token(claims | {'exp': int(time.time()) + 3600})}"}
    if kind == "nobody":
        return {}
    if kind == "session":
        made = httpx.post(f"{site.url}/-/session", headers=bearer, trust_env=False)
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in made.cookies.items())}
    return bearer


def play(site: Gateway, folder: Path, headers: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Let Schemathesis ask, and every check of it look at the answers."""
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG.format(made_up_credentials="false" if headers else "true"))
    command = [sys.executable, "-c", RUN, "--config-file", str(config), "run", f"{site.url}/-/openapi.json"]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    return subprocess.run(
        [*command, "--checks", "all"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# What must have been among the answers, so that the checks had something to look at: (method, path, status).
DONE = {
    ("GET", "/testfile2.txt", 206),
    ("HEAD", "/testfile2.txt", 200),
    ("GET", "/-/whoami", 200),
    ("GET", "/-/explain", 200),
    ("GET", "/-/s3objects", 200),
    ("POST", "/-/urls", 201),
    ("POST", "/-/cookies", 204),
    ("GET", "/-/contents/lesson-7", 200),
}
EVERYBODY = {
    ("GET", "/-/s3objects", 400),
    ("POST", "/-/urls", 400),
    ("POST", "/-/cookies", 400),
    ("DELETE", "/-/s3objects", 405),
    ("QUERY", "/testfile2.txt", 405),
    ("GET", "/-/healthz", 200),
    ("GET", "/-/readyz", 200),
}
EXPECTED = {
    "student": DONE | {("POST", "/-/session", 204)},
    "session": DONE | {("POST", "/-/session", 401)},
    "nobody": {("GET", "/testfile2.txt", 401), ("POST", "/-/urls", 401), ("GET", "/-/whoami", 200)},
}


SAME = pytest.mark.thorough("10 s, and nearly all requests are those of the student")


@pytest.mark.parametrize("kind", ["student", *(pytest.param(kind, marks=SAME) for kind in ("session", "nobody"))])
def test_every_answer_is_as_described(site: Gateway, tmp_path: Path, kind: str) -> None:
    played = play(site, tmp_path, credentials(kind, site))
    assert played.returncode == 0, played.stdout + played.stderr
    site.stop()
    lines = [json.loads(line) for line in site.out.splitlines()]
    assert len(lines) > 300
    assert [line for line in lines if line["status"] >= 500] == []
    assert "Traceback" not in site.err
    seen = {(line["method"], line["path"], line["status"]) for line in lines}
    assert (EVERYBODY | EXPECTED[kind]) - seen == set()
