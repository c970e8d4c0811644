"""stagedoor.toml and the environment: what is right is read, what is wrong names its place and its mend."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import boto3
import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from moto import mock_aws

from stagedoor import settings
from stagedoor.core.errors import SettingsError
from stagedoor.keys.pass_keys import Pair, PassSettings, new_pair, read_private
from stagedoor.settings import SECTIONS, TABLE, Setting, Settings, checks, load
from tests.helpers.serving import certificate
from tests.helpers.support import ec_signer, ed_signer, key_set, rsa_signer

MINIMAL = """[site]
url = "https://assets.example.com"
store = "memory:"

[[issuers]]
issuer = "https://id.example.com"
audience = ["app"]

[[rules]]
path = "public/**"
allow = "anyone"
"""

SECRET = "hush-this-is-a-secret-of-sufficient-length"
PASSPHRASE = "hush-a-passphrase"
SECRET_FILES = ("session.key", "key.pem", "private.pem", "locked.pem", "passphrase")

CONTRACT = """
[site]
url   = "https://assets.example.com"
store = "s3://my-bucket/optional/prefix"
region = "eu-central-1"
endpoint = "https://s3.internal:9000"
index = "index.html"
fallback = "index.html"
addressing = "path"
ca = "file:ca.pem"
cache = "16MB"
fresh = "2s"
trust_html = true

[[issuers]]
name      = "staff"
issuer    = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example"
audience  = ["my-client-id"]
token_use = ["access", "id"]
jwks = "./jwks.json"
algorithms = ["RS256"]
claims = { groups = "cognito:groups" }
leeway = "30s"

[tokens]
from   = ["header", "cookie"]
cookie = "token"
query  = "token"

[[rules]]
path  = "public/**"
allow = "anyone"

[[rules]]
path  = "users/{sub}/**"
allow = "signed-in"

[[rules]]
path  = "groups/{groups}/**"
allow = "signed-in"

[[rules]]
path  = "courses/**"
allow = { groups = ["students", "teachers"] }

[[rules]]
path  = "tenants/{custom:tenant|sha256}/**"
allow = { claims = { "custom:plan" = ["pro", "team"] } }

[[rules]]
path  = "partners/**"
allow = { issuer = ["staff"], emails = ["@example.com"] }

[[rules]]
path  = "courses/drafts/**"
deny  = "anyone"

[login]
page = "https://app.example.com/login"
client_id = "my-client-id"
client_secret = "env:NAME"
scopes = ["openid", "email", "profile"]
session = "8h"
session_keys = ["file:session.key"]

[passes]
key_id = "K2JCJMDEHXQW5F"
private_key = "ssm:/stagedoor/private-key"
public_keys = { K2JCJMDEHXQW5F = "file:public.pem" }
hash = "sha256"
max_lifetime = "12h"

[catalogue]
url = "sqlite:///catalogue.db"

[gateway]
listen = "127.0.0.1:8080"
workers = 1
tls = { certificate = "cert.pem", key = "key.pem" }
trusted_proxies = []
metrics = "127.0.0.1:9464"
[cors]
origins = []
[log]
access = "json"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with every file that the settings of these tests name."""
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_signer()))
    (tmp_path / "session.key").write_text(SECRET + "\n")
    (tmp_path / "assets").mkdir()
    certificate(tmp_path)
    (tmp_path / "cert.pem").rename(tmp_path / "ca.pem")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("-----BEGIN-----")
    (tmp_path / "public.pem").write_bytes(pair().public)
    (tmp_path / "other.pem").write_bytes(pair("ec").public)
    (tmp_path / "private.pem").write_bytes(pair().private)
    (tmp_path / "locked.pem").write_bytes(locked())
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    for name in SECRET_FILES:
        (tmp_path / name).chmod(0o600)
    return tmp_path


@cache
def pair(kind: Literal["rsa", "ec"] = "rsa") -> Pair:
    return new_pair(kind)


@cache
def locked() -> bytes:
    """The private key of the pair, under the passphrase."""
    key = read_private(pair().private)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode()))


def read(home: Path, text: str, **environ: str) -> Settings:
    path = home / "stagedoor.toml"
    path.write_text(text)
    return load(path, environ)


def error(home: Path, text: str, **environ: str) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        read(home, text, **environ)
    for secret in (SECRET, PASSPHRASE, *pair().private.decode().splitlines()[1:-1]):
        assert secret not in str(caught.value)
    return caught.value


def with_(section: str, line: str) -> str:
    """The minimal settings with one more line in a section, which is added if it is not there."""
    for header in (f"[{section}]\n", f"[[{section}]]\n"):
        if header in MINIMAL:
            return MINIMAL.replace(header, f"{header}{line}\n")
    return f"{MINIMAL}[{section}]\n{line}\n"


WITH_SECRETS = (
    "https://me:s3cr3t@h.example/x",
    "http://s3cr3t@h.example",
    "https://me:a/s3cr3t@h.example",
    "https://me:a?s3cr3t@h.example",
    "me:s3cr3t@h.example/x",
    "https://h.example/?key=s3cr3t",
    "https://h.example/#s3cr3t",
    "ftp://me:s3cr3t@h.example",
    "s3://me:s3cr3t@bucket/x",
    "//me:s3cr3t@h.example",
    "sqlite://me:s3cr3t@x/y.db",
    "dynamodb://me:s3cr3t@t",
    "redis://:s3cr3t@host",
)
URLS = ("site.url", "site.store", "site.endpoint", "site.ca", "issuers.issuer", "issuers.jwks", "login.page")


@pytest.mark.parametrize(
    "name", [*URLS, "login.issuer", "catalogue.url", "state.url", "cors.origins", "passes.private_key"]
)
@pytest.mark.parametrize("url", WITH_SECRETS)
def test_no_message_about_a_setting_quotes_the_credentials_of_its_url(home: Path, name: str, url: str) -> None:
    section, _, key = name.partition(".")
    line = f'{key} = ["{url}"]' if key == "origins" else f'{key} = "{url}"'
    there = name in ("site.url", "site.store", "issuers.issuer")
    text = re.sub(rf"(?m)^{key} *=.*$", line, MINIMAL) if there else with_(section, line)
    assert text.count(url) == 1
    try:
        said = "\n".join(read(home, text).warnings)
    except SettingsError as refused:
        said = str(refused)
    assert "s3cr3t" not in said


# --- what is right


def test_the_contract_is_read(home: Path) -> None:
    found = read(home, CONTRACT, NAME=SECRET)
    (issuer,) = found.issuers
    assert found.url == "https://assets.example.com"
    assert found.secure
    assert (found.store, found.region, found.endpoint) == (
        "s3://my-bucket/optional/prefix",
        "eu-central-1",
        "https://s3.internal:9000",
    )
    assert (found.index, found.fallback, found.trust_html) == ("index.html", "index.html", True)
    assert (issuer.name, issuer.leeway) == ("staff", 30.0)
    assert issuer.audience == {"my-client-id"}
    assert issuer.token_use == {"access", "id"}
    assert issuer.jwks == (home / "jwks.json").as_uri()
    assert issuer.claims == {"groups": "cognito:groups"}
    assert (found.token_sources.order, found.token_sources.session) == (("header", "cookie"), "__Host-stagedoor")
    assert len(found.policy.rules) == 7
    assert found.login_page == "https://app.example.com/login"
    assert (found.session, found.session_keys) == (8 * 3600.0, (SECRET.encode(),))
    assert (found.listen, found.workers) == (("127.0.0.1", 8080), 1)
    assert found.tls == (home / "cert.pem", home / "key.pem")
    assert found.access_log == "json"
    assert found.warnings == ()
    assert found.passes == PassSettings(
        key_id="K2JCJMDEHXQW5F",
        private_key="ssm:/stagedoor/private-key",
        public_keys={"K2JCJMDEHXQW5F": pair().public},
        hash="sha256",
    )
    assert found.catalogue == f"sqlite://{home}/catalogue.db"
    assert found.inactive == ("[gateway] metrics",)


def test_what_is_not_set_has_the_default_of_the_reference(home: Path) -> None:
    found = read(home, MINIMAL)
    (issuer,) = found.issuers
    assert (issuer.name, issuer.leeway) == ("https://id.example.com", 0.0)
    assert issuer.algorithms == {"RS256"}
    assert (issuer.jwks, issuer.token_use, issuer.claims) == (None, frozenset(), {"groups": "groups"})
    assert (found.token_sources.order, found.token_sources.cookie, found.token_sources.query) == (
        ("header", "cookie"),
        "token",
        "token",
    )
    assert (found.index, found.fallback, found.trust_html, found.login_page) == (None, None, False, None)
    assert (found.listen, found.workers, found.tls) == (("127.0.0.1", 8080), 1, None)
    assert (found.trusted_proxies, found.origins, found.access_log) == ((), frozenset(), "json")
    assert found.session == 8 * 3600
    assert (found.passes, found.catalogue) == (PassSettings(), None)
    assert (found.passes.hash, found.pass_lifetime, found.passes_per_minute) == ("sha256", 12 * 3600, 600)
    assert found.warnings == found.inactive == ()


@pytest.mark.parametrize("host", ["cognito-idp", "issuer-cognito-idp"])
def test_cognito_has_defaults_of_its_own(home: Path, host: str) -> None:
    cognito = f"https://{host}.eu-central-1.amazonaws.com/eu-central-1_Example"
    (issuer,) = read(home, MINIMAL.replace("https://id.example.com", cognito)).issuers
    assert issuer.token_use == {"access", "id"}
    assert issuer.claims == {"groups": "cognito:groups"}


def test_what_editors_of_windows_write_is_read(home: Path) -> None:
    (home / "stagedoor.toml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load(home / "stagedoor.toml", {}).url == "https://assets.example.com"
    (home / "stagedoor.toml").write_bytes(b"\xef\xbb\xbf" + with_("site", "nonsense = 1").encode())
    with pytest.raises(SettingsError) as caught:
        load(home / "stagedoor.toml", {})
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("login", "clients"),
    [
        ('session = "1h"', []),
        ('session_keys = ["env:NAME"]', []),
        ('session = "1h"\nscopes = ["openid"]', []),
        ('page = "https://app.example.com/login"', []),
        ('client_id = "other"', ["other"]),
        ('client_secret = "env:NAME"', ["app"]),
        ('issuer = "https://id.example.com"', ["app"]),
    ],
)
def test_sign_in_is_on_when_issuer_client_id_or_client_secret_is_set(
    home: Path, login: str, clients: list[str]
) -> None:
    assert [client.id for client in read(home, with_("login", login), NAME=SECRET).clients] == clients


def test_names_of_headers_are_listed_once_and_in_lower_case(home: Path) -> None:
    assert read(home, with_("cors", 'headers = ["X-Own", "x-own", "x-a"]')).asked_headers == ("x-own", "x-a")


def test_the_new_name_of_ed25519_means_eddsa(home: Path) -> None:
    (home / "jwks.json").write_bytes(key_set({**ed_signer().jwk, "alg": "EdDSA"}))
    (issuer,) = read(home, with_("issuers", 'jwks = "./jwks.json"\nalgorithms = ["Ed25519", "RS256"]')).issuers
    assert issuer.algorithms == {"EdDSA", "RS256"}


def test_a_session_key_that_is_not_given_is_made_once_and_outlives_a_reload(home: Path) -> None:
    (first,), (second,) = read(home, MINIMAL).session_keys, read(home, MINIMAL).session_keys
    assert len(first) >= 32
    assert first == second
    assert read(home, with_("gateway", "workers = 2")).session_keys == ()


def test_what_clients_carry_is_sealed_with_the_newest_session_key_or_one_made_once(home: Path) -> None:
    keys = with_("login", 'session_keys = ["env:NEW", "file:session.key"]')
    assert read(home, keys, NEW="n" * 40).seal_secrets[0] == b"n" * 40
    made = read(home, MINIMAL).seal_secrets
    assert len(made[0]) >= 32
    assert read(home, with_("gateway", "workers = 2")).seal_secrets == made


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("8h", 28_800), ("2d", 172_800), ("90m", 5400)]
)
def test_durations(home: Path, text: str, seconds: float) -> None:
    assert read(home, with_("login", f'page = "https://a.example"\nsession = "{text}"')).session == seconds


def test_a_session_that_lasts_no_time_is_an_error(home: Path) -> None:
    with pytest.raises(SettingsError, match="lasts no time"):
        read(home, with_("login", 'page = "https://a.example"\nsession = "0s"'))


@pytest.mark.parametrize(
    "value",
    [
        '"30"',
        "30",
        '"30 s"',
        '"-1s"',
        '"1w"',
        '"1.5h"',
        '""',
        '"s"',
        "true",
        '"1h30m"',
        '"30S"',
        '"\u0663s"',
        '"9999999999s"',
    ],
)
def test_what_is_no_duration_is_refused(home: Path, value: str) -> None:
    assert error(home, with_("issuers", f"leeway = {value}")).setting == "issuers[0].leeway"


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://Assets.Example.com", "https://assets.example.com"),
        ("https://assets.example.com/", "https://assets.example.com"),
        ("https://assets.example.com:443", "https://assets.example.com"),
        ("https://assets.example.com:8443", "https://assets.example.com:8443"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_the_url_is_written_as_browsers_write_an_origin(home: Path, written: str, origin: str) -> None:
    found = read(home, MINIMAL.replace("https://assets.example.com", written))
    assert found.url == origin
    assert found.secure is origin.startswith("https")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://assets.example.com", "__Host-stagedoor"),
        ("https://localhost:8443", "__Host-stagedoor"),
        ("http://localhost:8080", "stagedoor-8080"),
        ("http://[::1]:9000", "stagedoor-9000"),
        ("http://127.0.0.1", "stagedoor-80"),
    ],
)
def test_two_sites_of_one_machine_have_session_cookies_of_their_own(home: Path, url: str, name: str) -> None:
    """All ports of a host share cookies (RFC 6265 §8.5), so one site's sign-in would take the other's session."""
    assert read(home, MINIMAL.replace("https://assets.example.com", url)).token_sources.session == name


@pytest.mark.parametrize(
    ("written", "store"),
    [
        ("memory:", "memory:"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("./assets", "{home}/assets"),
        ("assets", "{home}/assets"),
        ("{home}/assets", "{home}/assets"),
        ("file://{path}/assets", "{home}/assets"),
    ],
)
def test_every_way_to_write_a_store(home: Path, written: str, store: str) -> None:
    text = written.format(home=home, path=home)
    found = read(home, MINIMAL.replace("memory:", text)).store
    assert found == (Path(store.format(home=home)).as_uri() if "{home}" in store else store)


def test_paths_are_relative_to_the_settings_file(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    found = read(home, MINIMAL.replace("memory:", "assets").replace('["app"]', '["app"]\njwks = "jwks.json"'))
    assert found.store == (home / "assets").as_uri()
    assert found.issuers[0].jwks == (home / "jwks.json").as_uri()


def test_a_site_without_a_store_asks_only(home: Path) -> None:
    found = read(home, MINIMAL.replace('store = "memory:"\n', ""))
    assert found.store is None
    assert any("forward-auth" in name for name in found.inactive)


def test_the_lists_may_be_written_in_one_line(home: Path) -> None:
    text = (
        'issuers = [{ issuer = "https://id.example.com", audience = ["app"] }]\n'
        + MINIMAL[: MINIMAL.index("[[issuers")]
    )
    assert read(home, text).issuers[0].url == "https://id.example.com"


# --- places of errors

WRONG = {
    "url is missing": (MINIMAL.replace('url = "https://assets.example.com"\n', ""), "site.url", 1),
    "url is no origin": (MINIMAL.replace("https://assets.example.com", "assets.example.com"), "site.url", 2),
    "url is http": (MINIMAL.replace("https://assets", "http://assets"), "site.url", 2),
    "url has a path": (MINIMAL.replace(".com", ".com/files", 1), "site.url", 2),
    "url has a query": (MINIMAL.replace(".com", ".com?x", 1), "site.url", 2),
    "url names a user": (MINIMAL.replace("assets.", "me@assets.", 1), "site.url", 2),
    "url has a bad port": (MINIMAL.replace(".com", ".com:99999", 1), "site.url", 2),
    "url has a space": (MINIMAL.replace("assets.", "as sets.", 1), "site.url", 2),
    "url has a quotation mark": (MINIMAL.replace("assets.", "as'sets;", 1), "site.url", 2),
    "url is not ASCII": (MINIMAL.replace("assets.", "ässets.", 1), "site.url", 2),
    "url is a number": (MINIMAL.replace('"https://assets.example.com"', "5"), "site.url", 2),
    "url is empty": (MINIMAL.replace('"https://assets.example.com"', '""'), "site.url", 2),
    "url has a control character": (MINIMAL.replace(".com", ".com\\u0007", 1), "site.url", 2),
    "store is a folder that is not there": (MINIMAL.replace("memory:", "./nothing"), "site.store", 3),
    "store of an unknown kind": (MINIMAL.replace("memory:", "gs://bucket"), "site.store", 3),
    "store without a bucket": (MINIMAL.replace("memory:", "s3://"), "site.store", 3),
    "region without S3": (with_("site", 'region = "x"'), "site.region", 2),
    "endpoint without S3": (with_("site", 'endpoint = "https://x"'), "site.endpoint", 2),
    "endpoint has a password": (
        with_("site", 'endpoint = "https://me:x@[::1"').replace("memory:", "s3://bucket"),
        "site.endpoint",
        2,
    ),
    "endpoint has a query": (
        with_("site", 'endpoint = "https://s3.internal?x"').replace("memory:", "s3://bucket"),
        "site.endpoint",
        2,
    ),
    "a size without a unit": (with_("site", 'cache = "64"'), "site.cache", 2),
    "a size that is a number": (with_("site", "cache = 64"), "site.cache", 2),
    "a duration without a unit": (with_("site", 'fresh = "5"'), "site.fresh", 2),
    "an unknown way of addressing": (with_("site", 'addressing = "host"'), "site.addressing", 2),
    "no file of authorities": (with_("site", 'ca = "file:none.pem"'), "site.ca", 2),
    "a file that holds no certificate": (with_("site", 'ca = "file:cert.pem"'), "site.ca", 2),
    "endpoint is no URL": (with_("site", 'endpoint = "x:9000"').replace("memory:", "s3://bucket"), "site.endpoint", 2),
    "index is a path": (with_("site", 'index = "a/b"'), "site.index", 2),
    "index is no name": (with_("site", 'index = ".."'), "site.index", 2),
    "fallback is no key": (with_("site", 'fallback = "/index.html"'), "site.fallback", 2),
    "fallback is ours": (with_("site", 'fallback = "-/index.html"'), "site.fallback", 2),
    "trust_html is a text": (with_("site", 'trust_html = "yes"'), "site.trust_html", 2),
    "issuer is missing": (MINIMAL.replace('issuer = "https://id.example.com"\n', ""), "issuers[0].issuer", 5),
    "issuer is http": (MINIMAL.replace("https://id", "http://id"), "issuers[0].issuer", 6),
    "issuer has a query": (MINIMAL.replace("id.example.com", "id.example.com/?x"), "issuers[0].issuer", 6),
    "audience is missing": (MINIMAL.replace('audience = ["app"]\n', ""), "issuers[0].audience", 5),
    "audience is empty": (MINIMAL.replace('["app"]', "[]"), "issuers[0].audience", 7),
    "audience is a number": (MINIMAL.replace('["app"]', "[5]"), "issuers[0].audience", 7),
    "audience names one twice": (MINIMAL.replace('["app"]', '["app", "app"]'), "issuers[0].audience", 7),
    "token_use not at Cognito": (with_("issuers", 'token_use = ["id"]'), "issuers[0].token_use", 6),
    "algorithm none": (with_("issuers", 'algorithms = ["none"]'), "issuers[0].algorithms", 6),
    "algorithm HS256": (with_("issuers", 'algorithms = ["RS256", "HS256"]'), "issuers[0].algorithms", 6),
    "jwks is http": (with_("issuers", 'jwks = "http://id.example.com/k"'), "issuers[0].jwks", 6),
    "jwks is not there": (with_("issuers", 'jwks = "nothing.json"'), "issuers[0].jwks", 6),
    "jwks is no key set": (with_("issuers", 'jwks = "session.key"'), "issuers[0].jwks", 6),
    "claims of numbers": (with_("issuers", "claims = { groups = 5 }"), "issuers[0].claims", 6),
    "tokens from nowhere": (with_("tokens", 'from = ["body"]'), "tokens.from", 13),
    "cookie with a bad name": (with_("tokens", 'cookie = "a b"'), "tokens.cookie", 13),
    "cookie of the session": (with_("tokens", 'cookie = "__Host-stagedoor"'), "tokens.cookie", 13),
    "cookie of passes": (with_("tokens", 'cookie = "CloudFront-Policy"'), "tokens.cookie", 13),
    "parameter of passes": (with_("tokens", 'query = "Expires"'), "tokens.query", 13),
    "jwks with a password": (with_("issuers", 'jwks = "https://me:secret@id.example.com/k"'), "issuers[0].jwks", 6),
    "parameter with a bad name": (with_("tokens", 'query = "a&b"'), "tokens.query", 13),
    "rule without path": (MINIMAL.replace('path = "public/**"\n', ""), "rules[0].path", 9),
    "rule with a bad path": (MINIMAL.replace("public/**", "/public/**"), "rules[0].path", 10),
    "rule with a bad allow": (MINIMAL.replace('"anyone"', '"everyone"'), "rules[0].allow", 11),
    "rule with allow and deny": (with_("rules", 'deny = "anyone"'), "rules[0]", 9),
    "rule with more": (with_("rules", 'method = "GET"'), "rules[0].method", 10),
    "login of an unknown issuer": (with_("login", 'issuer = "other"'), "login.issuer", 13),
    "login page is http": (with_("login", 'page = "http://app.example.com"'), "login.page", 13),
    "login page has a fragment": (with_("login", 'page = "https://app.example.com/#/login"'), "login.page", 13),
    "login page has a space": (with_("login", 'page = "https://app.example.com/a b"'), "login.page", 13),
    "a secret in the file": (with_("login", f'client_secret = "{SECRET}"'), "login.client_secret", 13),
    "a secret that is not set": (with_("login", 'client_secret = "env:NOTHING"'), "login.client_secret", 13),
    "a session key in the file": (with_("login", f'session_keys = ["{SECRET}"]'), "login.session_keys", 13),
    "a session key too short": (with_("login", 'session_keys = ["file:cert.pem"]'), "login.session_keys", 13),
    "a session key that is not there": (with_("login", 'session_keys = ["file:no"]'), "login.session_keys", 13),
    "workers without keys": (with_("gateway", "workers = 2") + "[login]\n", "login.session_keys", 14),
    "workers are a text": (with_("gateway", 'workers = "2"'), "gateway.workers", 13),
    "no workers": (with_("gateway", "workers = 0"), "gateway.workers", 13),
    "workers are true": (with_("gateway", "workers = true"), "gateway.workers", 13),
    "hash of another kind": (with_("passes", 'hash = "md5"'), "passes.hash", 13),
    "key id without key": (with_("passes", 'key_id = "K"'), "passes.key_id", 13),
    "key without key id": (with_("passes", 'private_key = "file:private.pem"'), "passes.private_key", 13),
    "key id with a space": (with_("passes", 'key_id = "K 1"\nprivate_key = "file:private.pem"'), "passes.key_id", 13),
    "key id of a public key": (
        with_("passes", 'public_keys = { "K/1" = "file:public.pem" }'),
        "passes.public_keys",
        13,
    ),
    "private key in the file": (
        with_("passes", f'key_id = "K"\nprivate_key = "{SECRET}"'),
        "passes.private_key",
        14,
    ),
    "private key is none": (with_("passes", 'key_id = "K"\nprivate_key = "file:cert.pem"'), "passes.private_key", 14),
    "private key is a public one": (
        with_("passes", 'key_id = "K"\nprivate_key = "file:public.pem"'),
        "passes.private_key",
        14,
    ),
    "private key of another": (
        with_("passes", 'key_id = "K"\nprivate_key = "file:private.pem"\npublic_keys = { K = "file:other.pem" }'),
        "passes.private_key",
        14,
    ),
    "passphrase is missing": (
        with_("passes", 'key_id = "K"\nprivate_key = "file:locked.pem"'),
        "passes.private_key",
        14,
    ),
    "passphrase is wrong": (
        with_("passes", 'key_id = "K"\nprivate_key = "file:locked.pem"\npassphrase = "file:session.key"'),
        "passes.private_key",
        14,
    ),
    "passphrase in the file": (with_("passes", f'passphrase = "{PASSPHRASE}"'), "passes.passphrase", 13),
    "public key not there": (with_("passes", 'public_keys = { K = "file:no.pem" }'), "passes.public_keys", 13),
    "public key is none": (with_("passes", 'public_keys = { K = "file:cert.pem" }'), "passes.public_keys", 13),
    "public key is a private one": (
        with_("passes", 'public_keys = { K = "file:private.pem" }'),
        "passes.public_keys",
        13,
    ),
    "public key of a key that AWS keeps": (
        with_("passes", 'key_id = "K"\nprivate_key = "ssm:/x"\npublic_keys = { K = "file:cert.pem" }'),
        "passes.public_keys",
        15,
    ),
    "passes that last no time": (with_("passes", 'max_lifetime = "0s"'), "passes.max_lifetime", 13),
    "no passes": (with_("passes", "per_minute = 0"), "passes.per_minute", 13),
    "too many passes": (with_("passes", "per_minute = 1000001"), "passes.per_minute", 13),
    "catalogue of another kind": (with_("catalogue", 'url = "mysql://x"'), "catalogue.url", 13),
    "catalogue without a file": (with_("catalogue", 'url = "sqlite:///"'), "catalogue.url", 13),
    "catalogue on a host": (with_("catalogue", 'url = "sqlite://host/catalogue.db"'), "catalogue.url", 13),
    "catalogue without a table": (with_("catalogue", 'url = "dynamodb://"'), "catalogue.url", 13),
    "catalogue with a bad table": (with_("catalogue", 'url = "dynamodb://a/b"'), "catalogue.url", 13),
    "state of another kind": (with_("state", 'url = "memcached://x"'), "state.url", 13),
    "state without a table": (with_("state", 'url = "dynamodb://"'), "state.url", 13),
    "state with a bad table": (with_("state", 'url = "dynamodb://a/b"'), "state.url", 13),
    "state on a host": (with_("state", 'url = "sqlite://host/state.db"'), "state.url", 13),
    "listen without port": (with_("gateway", 'listen = "127.0.0.1"'), "gateway.listen", 13),
    "listen with a bad port": (with_("gateway", 'listen = "127.0.0.1:99999"'), "gateway.listen", 13),
    "metrics without port": (with_("gateway", 'metrics = "x"'), "gateway.metrics", 13),
    "tls without key": (with_("gateway", 'tls = { certificate = "cert.pem" }'), "gateway.tls", 13),
    "tls with a file that is not there": (
        with_("gateway", 'tls = { certificate = "no.pem", key = "key.pem" }'),
        "gateway.tls",
        13,
    ),
    "proxy is a name": (with_("gateway", 'trusted_proxies = ["proxy"]'), "gateway.trusted_proxies", 13),
    "proxy with host bits": (with_("gateway", 'trusted_proxies = ["10.0.0.1/8"]'), "gateway.trusted_proxies", 13),
    "origin is a star": (with_("cors", 'origins = ["*"]'), "cors.origins", 13),
    "header is a star": (with_("cors", 'headers = ["*"]'), "cors.headers", 13),
    "header is no name": (with_("cors", 'headers = ["x-a, x-b"]'), "cors.headers", 13),
    "header with a line break": (with_("cors", 'headers = ["x-a\\r\\nx-b"]'), "cors.headers", 13),
    "header is empty": (with_("cors", 'headers = [""]'), "cors.headers", 13),
    "origin is null": (with_("cors", 'origins = ["null"]'), "cors.origins", 13),
    "origin with a path": (with_("cors", 'origins = ["https://a.example/x"]'), "cors.origins", 13),
    "origin is http": (with_("cors", 'origins = ["http://a.example"]'), "cors.origins", 13),
    "log of another kind": (with_("log", 'access = "jsn"'), "log.access", 13),
    "unknown setting": (with_("site", "utl = 1"), "site.utl", 2),
    "unknown setting of an issuer": (with_("issuers", "audiences = []"), "issuers[0].audiences", 6),
    "unknown section": (MINIMAL + "[sight]\n", "sight", 12),
    "section as a list": (MINIMAL.replace("[site]", "[[site]]"), "site", 1),
    "list as a section": (MINIMAL.replace("[[issuers]]", "[issuers]"), "issuers", 5),
    "not TOML": (MINIMAL + "url = \n", "", 12),
    "a setting twice": (with_("site", 'url = "https://b.example"'), "", 3),
}


@pytest.mark.parametrize(("text", "setting", "line"), WRONG.values(), ids=WRONG.keys())
def test_an_error_names_file_line_setting_and_mend(home: Path, text: str, setting: str, line: int) -> None:
    found = error(home, text)
    assert (found.setting, found.line) == (setting, line)
    assert found.source == str(home / "stagedoor.toml")
    assert found.problem
    assert str(found).startswith(f"{home / 'stagedoor.toml'}:{line}: ")


NO_MEND = {
    *("not TOML", "a setting twice", "url is empty", "url has a control character", "audience names one twice"),
    *("cookie with a bad name", "cookie of the session", "index is a path", "rule with a bad allow"),
}


@pytest.mark.parametrize("name", sorted(WRONG.keys() - NO_MEND))
def test_an_error_says_how_to_mend_it_where_that_is_not_plain(home: Path, name: str) -> None:
    found = error(home, WRONG[name][0])
    if re.search(r"workers (are|is)|no workers", name):
        assert "1 to 1024" in found.problem
    elif re.search(r"(no|too many) passes$", name):
        assert "1 to 1000000" in found.problem
    elif "control character" not in found.problem:
        assert found.mend or "never match" in found.problem


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        (with_("site", "utl = 1"), "did you mean 'url'?"),
        (with_("issuers", "audiances = []"), "did you mean 'audience'?"),
        (MINIMAL + "[gatway]\n", "did you mean 'gateway'?"),
        (with_("log", 'access = "jsn"'), "did you mean 'json'?"),
        (MINIMAL + "[zzzzzz]\n", "known: site, issuers, tokens, rules, login"),
    ],
)
def test_did_you_mean(home: Path, text: str, mend: str) -> None:
    assert error(home, text).mend.startswith(mend)


def test_the_line_is_that_of_the_right_table_of_a_list(home: Path) -> None:
    rule = '\n[[rules]]\npath = "a"\nallow = "anyone"\n'
    found = error(home, MINIMAL + rule + rule.replace('"a"', '"/b"'))
    assert (found.setting, found.line) == ("rules[2].path", 18)


def test_the_line_of_a_list_in_one_line_is_that_line(home: Path) -> None:
    found = error(home, "\nrules = [{ path = 'a', allow = 'x' }]\n" + MINIMAL[: MINIMAL.index("[[rules")])
    assert (found.setting, found.line) == ("rules[0].allow", 2)


def test_the_same_issuer_twice_is_refused(home: Path) -> None:
    again = '\n[[issuers]]\nissuer = "https://id.example.com"\naudience = ["other"]\nname = "x"\n'
    found = error(home, MINIMAL + again)
    assert (found.setting, found.line) == ("issuers[1].issuer", 14)
    named = MINIMAL.replace("[[issuers]]", '[[issuers]]\nname = "x"') + again.replace("id.example", "other.example")
    assert error(home, named).setting == "issuers[1].name"


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (b"not json", "not a JWKS"),
        (key_set(), "no key that can be used"),
        (key_set(ec_signer()), "kty 'EC', crv 'P-256': fits no accepted algorithm (RS256)"),
        (key_set({**rsa_signer().jwk, "d": "AQAB"}), "secret or private"),
        (key_set({"kty": "oct", "k": "c2VjcmV0"}), "secret or private"),
        (key_set(rsa_signer(kid="small", bits=1024)), "2048"),
        (key_set({**rsa_signer().jwk, "n": "a+b/"}), "n is not base64url (RFC 7515 §2); it has + or /"),
    ],
)
def test_a_wrong_key_file_is_found_before_the_first_request(home: Path, document: bytes, problem: str) -> None:
    (home / "jwks.json").write_bytes(document)
    found = error(home, with_("issuers", 'jwks = "./jwks.json"'))
    assert found.setting == "issuers[0].jwks"
    assert problem in found.problem
    assert "c2VjcmV0" not in str(found)


def test_a_file_that_cannot_be_read_is_named(home: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(home / "nothing.toml", {})
    (home / "latin.toml").write_bytes(b"# \xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load(home / "latin.toml", {})
    with pytest.raises(SettingsError, match="directory"):
        load(home, {})


# --- keys of passes


@pytest.mark.parametrize(
    ("lines", "passes"),
    [
        ('public_keys = { K = "file:public.pem" }', PassSettings(public_keys={"K": pair().public})),
        (
            'key_id = "K"\nprivate_key = "file:locked.pem"\npassphrase = "file:passphrase"\nhash = "sha1"',
            PassSettings("K", locked(), PASSPHRASE.encode(), hash="sha1"),
        ),
        (
            'key_id = "K"\nprivate_key = "env:KEY"\nmax_lifetime = "90m"\nper_minute = 1_000_000',
            PassSettings("K", pair().private.replace(b"\n", b" ")),
        ),
        (
            'key_id = "K"\nprivate_key = "file:private.pem"\npublic_keys = { K = "ssm:/k", L = "file:other.pem" }',
            PassSettings("K", pair().private, public_keys={"K": "ssm:/k", "L": pair("ec").public}),
        ),
        (
            'key_id = "K"\nprivate_key = "secretsmanager:k"\npassphrase = "ssm:/p"',
            PassSettings("K", "secretsmanager:k", "ssm:/p"),
        ),
        ('key_id = "K"\nprivate_key = "file:locked.pem"\npassphrase = "ssm:/p"', PassSettings("K", locked(), "ssm:/p")),
    ],
)
def test_keys_are_read_here_and_those_that_aws_keeps_are_left_there(
    home: Path, lines: str, passes: PassSettings
) -> None:
    found = read(home, with_("passes", lines), KEY=pair().private.decode().replace("\n", " "))
    assert found.passes == passes
    limits = (5400, 1_000_000) if "90m" in lines else (12 * 3600, 600)
    assert (found.pass_lifetime, found.passes_per_minute) == limits


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("sqlite:///catalogue.db", "sqlite://{home}/catalogue.db"),
        ("sqlite:///data/a b.db", "sqlite://{home}/data/a%20b.db"),
        ("sqlite:///data/a%20b%3F.db", "sqlite://{home}/data/a%20b%3F.db"),
        ("sqlite:////srv/catalogue.db", "sqlite:///srv/catalogue.db"),
        ("dynamodb://Course_catalogue-1.2", "dynamodb://Course_catalogue-1.2"),
    ],
)
def test_a_catalogue_or_state_is_a_file_beside_the_settings_or_a_table(home: Path, written: str, url: str) -> None:
    for section in ("catalogue", "state"):
        found = read(home, with_(section, f'url = "{written}"'))
        assert getattr(found, section) == url.format(home=home)


# --- secrets that AWS keeps


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account with one parameter, in one region."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with mock_aws():
        client = boto3.client("ssm", region_name="eu-central-1")
        client.put_parameter(Name="/site/session", Value=SECRET + "\n", Type="SecureString")
        client.put_parameter(Name="/site/short", Value="short", Type="SecureString")
        yield


BUCKET = MINIMAL.replace('"memory:"', '"s3://bucket"\nregion = "eu-central-1"')


@pytest.mark.usefixtures("aws")
def test_session_keys_that_aws_keeps_are_fetched(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = '[login]\nsession_keys = ["ssm:/site/session"]\n'
    assert read(home, BUCKET + keys).session_keys == (SECRET.encode(),)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert read(home, MINIMAL + keys).session_keys == (SECRET.encode(),)


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (BUCKET, "ssm:/site/other", "does not exist in this account and region"),
        (BUCKET, "secretsmanager:other", "does not exist in this account and region"),
        (BUCKET, "secretsmanager:arn:cut", "does not exist in this account and region"),
        (BUCKET, "ssm:/site/short", "at least 32 bytes"),
        (MINIMAL, "ssm:/site/session", "in which region is it? Set AWS_DEFAULT_REGION"),
    ],
)
def test_session_keys_that_cannot_be_fetched_are_an_error_of_the_settings(
    home: Path, text: str, key: str, problem: str
) -> None:
    found = error(home, f'{text}[login]\nsession_keys = ["{key}"]\n')
    assert (found.setting, found.source) == ("login.session_keys", str(home / "stagedoor.toml"))
    assert problem in found.problem


# --- environment


def test_the_environment_wins_over_the_file(home: Path) -> None:
    found = read(
        home,
        MINIMAL,
        STAGEDOOR_SITE_URL="https://other.example.com",
        STAGEDOOR_GATEWAY_LISTEN="0.0.0.0:9000",
        STAGEDOOR_GATEWAY_WORKERS="4",
        STAGEDOOR_TOKENS_FROM="query, header",
        STAGEDOOR_SITE_TRUST_HTML="true",
        STAGEDOOR_CORS_ORIGINS='["https://app.example.com"]',
        STAGEDOOR_LOGIN_SESSION="1h",
        STAGEDOOR_LOGIN_SESSION_KEYS="env:KEY",
        KEY=SECRET,
        UNRELATED="x",
    )
    assert found.url == "https://other.example.com"
    assert (found.listen, found.workers) == (("0.0.0.0", 9000), 4)
    assert found.token_sources.order == ("query", "header")
    assert found.trust_html
    assert found.origins == {"https://app.example.com"}
    assert (found.session, found.session_keys) == (3600.0, (SECRET.encode(),))


def test_lists_of_tables_come_as_one_value(home: Path) -> None:
    found = read(
        home,
        MINIMAL,
        STAGEDOOR_RULES='[{path = "a", allow = "anyone"}, {path = "b", deny = "anyone"}]',
        STAGEDOOR_ISSUERS='[{issuer = "https://x.example", audience = ["y"]}]',
    )
    assert [rule.pattern for rule in found.policy.rules] == ["a", "b"]
    assert found.issuers[0].url == "https://x.example"


def test_the_environment_alone_will_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    found = load(None, {"STAGEDOOR_SITE_URL": "https://a.example", "STAGEDOOR_SITE_STORE": "memory:"})
    assert (found.url, found.store, found.source) == ("https://a.example", "memory:", None)
    with pytest.raises(SettingsError, match="stagedoor init"):
        load(None, {})


def test_the_file_may_be_named_by_the_environment(home: Path) -> None:
    (home / "other.toml").write_text(MINIMAL)
    assert load(None, {"STAGEDOOR_SETTINGS": str(home / "other.toml")}).source == home / "other.toml"
    with pytest.raises(SettingsError):
        load(None, {"STAGEDOOR_SETTINGS": str(home / "nothing.toml")})


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("STAGEDOOR_SITE_ULR", "x", "did you mean 'STAGEDOOR_SITE_URL'"),
        ("STAGEDOOR_URL", "x", "did you mean"),
        ("STAGEDOOR_", "x", ""),
        ("STAGEDOOR_SITE_URL", "nonsense", "https://assets.example.com"),
        ("STAGEDOOR_GATEWAY_WORKERS", "many", "TOML value"),
        ("STAGEDOOR_SITE_TRUST_HTML", "yes", "TOML value"),
        ("STAGEDOOR_RULES", "[", "TOML value"),
        ("STAGEDOOR_RULES", '"x"', "[[rules]]"),
        ("STAGEDOOR_RULES", '[{path = "/a", allow = "anyone"}]', "without leading slash"),
        ("STAGEDOOR_ISSUERS", '[{issuer = "https://a.example", audiance = []}]', "did you mean 'audience'"),
        ("STAGEDOOR_ISSUERS", '[{issuer = "https://a.example"}]', "issuers[0].audience: this setting is required"),
        ("STAGEDOOR_LOG_ACCESS", "loud", "known"),
    ],
)
def test_a_wrong_variable_is_named_instead_of_a_line(home: Path, variable: str, value: str, words: str) -> None:
    found = error(home, MINIMAL, **{variable: value})
    assert (found.source, found.setting, found.line) == ("environment", variable, None)
    assert words in str(found)


# --- secrets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STAGEDOOR_LOGIN_CLIENT_SECRET", SECRET),
        ("STAGEDOOR_LOGIN_SESSION_KEYS", SECRET),
        ("STAGEDOOR_PASSES_PRIVATE_KEY", SECRET),
        ("STAGEDOOR_LOGIN_SESSION_KEYS", f'["{SECRET}'),
        ("STAGEDOOR_LOGIN_CLIENT_SECRET", f"environment:{SECRET}"),
    ],
)
def test_a_secret_that_stands_in_the_wrong_place_is_not_shown(home: Path, name: str, value: str) -> None:
    assert error(home, MINIMAL, **{name: value}).setting == name


def test_secrets_are_not_in_what_settings_show_of_themselves(home: Path) -> None:
    text = with_("login", 'session_keys = ["file:session.key"]')
    text += '[passes]\nkey_id = "K"\nprivate_key = "file:locked.pem"\npassphrase = "file:passphrase"\n'
    shown = repr(read(home, text))
    for secret in (SECRET, PASSPHRASE, locked().decode().splitlines()[1]):
        assert secret not in shown


def test_a_secret_from_the_environment_may_be_any_bytes(home: Path) -> None:
    key = (b"\xff" * 40).decode("utf-8", "surrogateescape")
    assert read(home, with_("login", 'session_keys = ["env:KEY"]'), KEY=key).session_keys == (b"\xff" * 40,)


# --- warnings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (with_("site", 'index = "index.html"'), "trust_html"),
        (MINIMAL[: MINIMAL.index("[[rules")], "everything is denied"),
        (MINIMAL[: MINIMAL.index("[[issuers")], "nobody can be signed in"),
        (MINIMAL + '[[rules]]\npath = "public/**"\nallow = "anyone"\n', "repeats rules[0]"),
        (MINIMAL + '[[rules]]\npath = "x"\ndeny = "anyone"\n', "takes nothing away"),
        (
            MINIMAL
            + '[[issuers]]\nissuer = "https://two.example"\naudience = ["x"]\n'
            + '[[rules]]\npath = "users/{sub}"\nallow = "signed-in"\n',
            "two issuers may both",
        ),
        (
            MINIMAL
            + '[[issuers]]\nissuer = "https://two.example"\naudience = ["x"]\n'
            + '[[rules]]\npath = "partners/**"\nallow = { emails = ["@example.com"] }\n',
            "two issuers may both vouch for the same emails",
        ),
        (with_("gateway", "workers = 2"), "several workers share no keys"),
        (with_("cors", 'origins = ["https://app.example.org"]'), "another site"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(home: Path, text: str, words: str) -> None:
    warnings = read(home, text).warnings
    assert any(words in warning for warning in warnings)
    assert all(str(home / "stagedoor.toml") in warning for warning in warnings)


PAGES_BEHIND_THE_DOOR = [
    "https://assets.example.com/login.html",
    "https://ASSETS.example.com:443/login.html?from=here",
    "https://assets.example.com/login/",
]


@pytest.mark.parametrize("page", PAGES_BEHIND_THE_DOOR)
def test_a_sign_in_page_that_would_send_people_in_circles_is_refused(home: Path, page: str) -> None:
    found = error(home, with_("login", f'page = "{page}"'))
    assert found.setting == "login.page"
    assert "sent in circles" in found.problem


@pytest.mark.parametrize("page", ["https://assets.example.com/public/login.html", "https://app.example.com/login.html"])
def test_a_sign_in_page_that_is_open_is_fine(home: Path, page: str) -> None:
    assert read(home, with_("login", f'page = "{page}"')).login_page == page


def test_a_sign_in_page_that_is_the_open_index_of_a_folder_is_fine(home: Path) -> None:
    text = MINIMAL.replace("public/**", "public/index.html").replace("[site]\n", '[site]\nindex = "index.html"\n')
    assert read(home, text + '[login]\npage = "https://assets.example.com/public/"\n').warnings != ()


# --- what lies where it is served, or where others may read it

KEPT_IN_FILES = {
    "passes.private_key": '[passes]\nkey_id = "K1"\nprivate_key = "file:{}/private.pem"',
    "passes.passphrase": '[passes]\nkey_id = "K1"\nprivate_key = "file:locked.pem"\npassphrase = "file:{}/passphrase"',
    "login.session_keys": '[login]\nsession_keys = ["file:{}/session.key"]',
    "login.client_secret": '[login]\nclient_secret = "file:{}/session.key"',
    "gateway.tls": '[gateway]\ntls = {{ certificate = "cert.pem", key = "{}/key.pem" }}',
}


def on_disk(more: str) -> str:
    return MINIMAL.replace("memory:", "./assets") + more


@pytest.mark.parametrize("name", KEPT_IN_FILES)
def test_a_secret_in_the_folder_that_is_served_is_refused(home: Path, name: str) -> None:
    inside = home / "assets/deep"
    inside.mkdir()
    for file in SECRET_FILES:
        (inside / file).write_bytes((home / file).read_bytes())
        (inside / file).chmod(0o600)
    assert read(home, on_disk(KEPT_IN_FILES[name].format("."))).warnings == ()
    found = error(home, on_disk(KEPT_IN_FILES[name].format("assets/deep")))
    assert found.setting == name
    assert "lies in the folder that is served" in found.problem
    (home / "beside").symlink_to(inside)
    assert error(home, on_disk(KEPT_IN_FILES[name].format("beside"))).setting == name, "however it is named"


@pytest.mark.parametrize("name", KEPT_IN_FILES)
def test_a_secret_that_others_may_read_is_a_warning(home: Path, name: str) -> None:
    text = MINIMAL + KEPT_IN_FILES[name].format(".")
    assert read(home, text).warnings == ()
    for file in SECRET_FILES:
        (home / file).chmod(0o640)
    assert read(home, text).warnings == (), "of a group there may be reasons"
    for file in SECRET_FILES:
        (home / file).chmod(0o644)
    warnings = [one for one in read(home, text).warnings if name in one]
    assert [one.count("chmod 600") for one in warnings] == [1]


def test_settings_and_catalogue_in_the_folder_that_is_served_are_refused(home: Path) -> None:
    (home / "outer").symlink_to(home)
    for store in (".", "..", "./outer"):
        found = error(home, MINIMAL.replace("memory:", store))
        assert found.setting == "site.store"
        assert "stagedoor.toml lies in the folder that is served" in found.problem
    found = error(home, on_disk('[catalogue]\nurl = "sqlite:///assets/deep/catalogue.db"'))
    assert found.setting == "catalogue.url"
    assert read(home, on_disk('[catalogue]\nurl = "sqlite:///catalogue.db"')).warnings == ()


@pytest.mark.parametrize(
    ("name", "rule", "shown"),
    [
        (".env", 'path = "**"\nallow = "anyone"', "'.env'"),
        ("deep/er/.htpasswd", 'path = "deep/**"\nallow = "signed-in"', "'deep/er/.htpasswd'"),
        ("users/ann/.git/config", 'path = "users/{sub}/**"\nallow = "signed-in"', "'users/ann/.git/'"),
        (".git/config", 'path = "**/config"\nallow = { groups = ["x"] }', "'.git/'"),
        (".env", 'path = "*"\nallow = "anyone"', "'.env'"),
        (".env", 'path = "x/**"\nallow = "anyone"', None),
        (".git/config", 'path = "{sub}/**"\nallow = "signed-in"', None),
        (".well-known/security.txt", 'path = "**"\nallow = "anyone"', None),
        (".git/config", 'path = "**"\nallow = "anyone"\n[[rules]]\npath = "**/.git/**"\ndeny = "anyone"', None),
        ("a.b/c.d", 'path = "**"\nallow = "anyone"', None),
    ],
)
def test_files_with_a_dot_that_a_rule_opens_are_a_warning(home: Path, name: str, rule: str, shown: str | None) -> None:
    path = home / "assets" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    warnings = [one for one in read(home, on_disk(f"[[rules]]\n{rule}\n")).warnings if "with a dot" in one]
    assert [f"rules[1] opens {shown}" in one for one in warnings] == ([True] if shown else [])


def test_a_large_folder_is_not_looked_through(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MAX_ENTRIES", 10)
    for number in range(10):
        (home / f"assets/{number}").mkdir()
        (home / f"assets/{number}/.env").write_bytes(b"")
    assert read(home, on_disk('[[rules]]\npath = "**"\nallow = "anyone"\n')).warnings == ()


@pytest.mark.parametrize(
    ("site", "origin", "other"),
    [
        ("https://assets.example.com", "https://app.example.com", False),
        ("https://assets.example.com", "https://example.com", False),
        ("https://example.com", "https://example.com:8443", False),
        ("http://127.0.0.1:8080", "http://127.0.0.1:3000", False),
        ("http://localhost:8080", "http://localhost:3000", False),
        ("https://assets.example.com", "https://app.example.net", True),
        ("https://assets.example.com", "http://localhost:3000", True),
        ("http://127.0.0.1:8080", "http://localhost:3000", True),
        ("http://127.0.0.1:8080", "https://app.example.com", True),
    ],
)
def test_an_origin_from_which_no_session_cookie_comes_is_a_warning(
    home: Path, site: str, origin: str, other: bool
) -> None:
    text = with_("cors", f'origins = ["{origin}"]').replace("https://assets.example.com", site)
    assert bool(read(home, text).warnings) is other


# --- the table

EXAMPLES: dict[str, Any] = {
    "site.url": '"https://assets.example.com"',
    "site.store": '"s3://my-bucket"',
    "site.region": '"eu-central-1"',
    "site.endpoint": '"https://s3.internal:9000"',
    "site.addressing": '"virtual"',
    "site.ca": '"file:ca.pem"',
    "site.cache": '"128MB"',
    "site.fresh": '"2s"',
    "site.index": '"index.html"',
    "site.fallback": '"index.html"',
    "site.trust_html": "true",
    "issuers.name": '"staff"',
    "issuers.issuer": '"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example"',
    "issuers.audience": '["app"]',
    "issuers.token_use": '["id"]',
    "issuers.jwks": '"jwks.json"',
    "issuers.algorithms": '["RS256", "ES256"]',
    "issuers.claims": '{ roles = "realm_access.roles" }',
    "issuers.leeway": '"30s"',
    "issuers.client_id": '"app"',
    "issuers.client_secret": '"env:NAME"',
    "tokens.from": '["query"]',
    "tokens.cookie": '"jwt"',
    "tokens.query": '"jwt"',
    "rules.path": '"a/**"',
    "rules.allow": '"anyone"',
    "admin.allow": '{ groups = ["site-admins"] }',
    "state.url": '"redis://localhost:6379/0"',
    "state.stale": '"1m"',
    "login.page": '"https://app.example.com/login"',
    "login.issuer": '"staff"',
    "login.client_id": '"app"',
    "login.client_secret": '"env:NAME"',
    "login.scopes": '["openid"]',
    "login.session": '"1h"',
    "login.renew": '"10m"',
    "login.session_keys": '["file:session.key"]',
    "passes.key_id": '"K"',
    "passes.private_key": '"file:locked.pem"',
    "passes.passphrase": '"env:PASSPHRASE"',
    "passes.public_keys": '{ K = "file:public.pem" }',
    "passes.hash": '"sha1"',
    "passes.max_lifetime": '"12h"',
    "passes.per_minute": "100000",
    "catalogue.url": '"dynamodb://table"',
    "gateway.listen": '"[::]:8080"',
    "gateway.workers": "2",
    "gateway.tls": '{ certificate = "cert.pem", key = "key.pem" }',
    "gateway.trusted_proxies": '["10.0.0.0/8", "2001:db8::/32"]',
    "gateway.metrics": '"127.0.0.1:9464"',
    "cors.origins": '["https://app.example.com"]',
    "cors.headers": '["x-client-version"]',
    "log.access": '"cloudfront"',
}


NAMED = {"NAME": SECRET, "PASSPHRASE": PASSPHRASE}
"""Variables that the examples name."""


def test_every_row_of_the_table_is_accepted(home: Path) -> None:
    rows = [row for row in TABLE if f"{row.section}.{row.name}" != "rules.deny"]
    assert {f"{row.section}.{row.name}" for row in rows} == set(EXAMPLES)
    assert read(home, document(rows), **NAMED).workers == 2


def document(rows: list[Setting]) -> str:
    lines = []
    for section in SECTIONS:
        lines.append(f"[[{section}]]" if section in settings.LISTS else f"[{section}]")
        lines += [f"{row.name} = {EXAMPLES[f'{section}.{row.name}']}" for row in rows if row.section == section]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.section not in settings.LISTS], ids=lambda row: f"{row.section}.{row.name}"
)
def test_every_row_that_is_no_list_can_come_from_the_environment(home: Path, row: Setting) -> None:
    rows = [one for one in TABLE if one.name != "deny"]
    text = EXAMPLES[f"{row.section}.{row.name}"]
    plain = text.strip('"') if row.kind in ("text", "duration", "size", "secret") else text
    variable = f"STAGEDOOR_{row.section}_{row.name}".upper()
    whole = read(home, document(rows), **NAMED)
    found = read(home, document([one for one in rows if one is not row]), **NAMED, **{variable: plain})
    assert repr(found.token_sources) == repr(whole.token_sources)
    assert replace(found, token_sources=whole.token_sources, policy=whole.policy, warnings=whole.warnings) == whole


def test_every_row_says_what_it_is_for_in_a_sentence() -> None:
    assert len({(row.section, row.name) for row in TABLE}) == len(TABLE)
    for row in TABLE:
        assert row.purpose.endswith("."), row
        assert len(row.purpose) <= 100, row


# --- the file


def test_a_byte_order_mark_in_front_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "stagedoor.toml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(tmp_path / "stagedoor.toml", {}).url == "https://assets.example.com"


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 100_000,
        "x = " + "{a=" * 100_000,
        "[" + "a." * 100_000 + "b]",
        "a. " * 100_000 + "b = 1",
        'site."' + "a." * 100_000 + 'b" = 1',
        "[site]\nx = " + "1" * 10_000,
    ],
)
def test_what_is_nested_too_deep_is_refused_soon(text: str) -> None:
    with pytest.raises(SettingsError):
        settings.parse(text)


def test_many_dots_that_nest_nothing_are_fine() -> None:
    many = ", ".join(f'"a{number}@mail.example.com"' for number in range(300))
    found = settings.parse(MINIMAL + f'[[rules]] # {"." * 200}\npath = "a.b.c"\nallow = {{ emails = [{many}] }}\n')
    assert len(found.policy.rules) == 2
    rules = ", ".join(f'{{ path = "a{number}", allow.groups = ["x"] }}' for number in range(300))
    found = settings.parse(MINIMAL, None, {"STAGEDOOR_RULES": f"[{rules}]"})
    assert len(found.policy.rules) == 300


def test_a_pipe_is_no_settings_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "stagedoor.toml")
    with pytest.raises(SettingsError, match="this is a pipe"):
        load(tmp_path / "stagedoor.toml", {})


def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last rules, which may be those that deny, are not all there yet."""
    path = tmp_path / "stagedoor.toml"
    path.write_text(MINIMAL)
    real = os.open

    def write_more(name: str, flags: int, mode: int = 0o777) -> int:
        opened = real(name, flags, mode)
        with path.open("a") as file:
            file.write("# more")
        return opened

    monkeypatch.setattr(os, "open", write_more)
    with pytest.raises(SettingsError, match=r"changed while it was read\n  write a new file beside it and rename"):
        load(path, {})
