"""`stagedoor init`: the settings that it writes work, explain themselves, and open no more than a newcomer expects."""

from __future__ import annotations

import io
import json
import stat
import sys
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from stagedoor.cli import main
from stagedoor.cli.new_site import (
    SESSION_KEY,
    Answers,
    check,
    discovered,
    files,
    listen_address,
    page_setting,
    registered,
    secret_setting,
    settings_text,
    site_url,
    store_setting,
)
from stagedoor.cli.providers import ENTRA, PROVIDERS, issuer_of, issuer_url, kind_of, read_provider
from stagedoor.core.caller import ANONYMOUS, Caller
from stagedoor.core.policy.decide import Allow
from stagedoor.settings import Settings, load, parse

COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC123"
BUCKET = Answers("s3://my-bucket/files", COGNITO, ("app",))
EVERY_KIND = (
    BUCKET,
    Answers("memory:", "https://id.example.com", ("a", 'b"\\ü')),
    Answers("memory:", "https://id.example.com/", ("a",), url="https://assets.example.com", algorithms=("ES256",)),
    Answers("memory:", "http://localhost:9000", ("a",), login_page="https://app.example.com/login?x=1"),
    Answers("memory:", COGNITO, ("app",), client_id="app"),
    Answers("memory:", "https://accounts.google.com", ("a", "b"), client_id="b", client_secret="env:THE_SECRET"),
    Answers("memory:", f"https://{ENTRA}/t/v2.0", ("app",), client_id="app", client_secret="file:./client.secret"),
    Answers("memory:", "https://id.example.com/realms/x", ("a",), client_id="a", login_page="https://a.example.com/"),
    Answers("memory:", "https://x.okta.com", ("a",), url="https://assets.example.com", client_id='a"\\ü'),
    Answers("memory:", "https://x.auth0.com/", ("a",), client_id="a"),
)
ISSUER_OF_KIND = {
    "cognito": COGNITO,
    "google": "https://accounts.google.com",
    "entra": f"https://{ENTRA}/6a1f/v2.0",
    "keycloak": "https://id.example.com/auth/realms/staff",
    "okta": "https://x.okta.com/oauth2/default",
    "auth0": "https://x.eu.auth0.com/",
    "other": "https://id.example.com",
}


@pytest.mark.parametrize("answers", EVERY_KIND)
def test_what_it_writes_passes_check_without_warnings(answers: Answers) -> None:
    settings = check(answers)
    assert settings.warnings == ()
    assert settings.inactive == ()
    assert settings.issuers[0].audience == frozenset(answers.audience)
    assert settings.issuers[0].url == answers.issuer
    assert settings.login_page == answers.login_page
    assert [(client.id, bool(client.secret)) for client in settings.clients] == (
        [(answers.client_id, answers.client_secret is not None)] if answers.client_id else []
    )
    assert settings.session_keys_are_temporary is not answers.has_sessions


def test_the_first_rules_open_public_and_ones_own_folder_and_nothing_else() -> None:
    policy = check(BUCKET).policy
    ann = Caller("cognito", COGNITO, {"sub": "ann"})
    assert isinstance(policy.decide(ANONYMOUS, "public/a/b.png"), Allow)
    assert isinstance(policy.decide(ann, "users/ann/essay.pdf"), Allow)
    for key in ("secret.pdf", "users/bob/essay.pdf", "courses/1.mp4", "public.txt"):
        assert not isinstance(policy.decide(ann, key), Allow), key
    assert not isinstance(policy.decide(ANONYMOUS, "users/ann/essay.pdf"), Allow)


@pytest.mark.parametrize("answers", EVERY_KIND)
def test_the_commented_examples_work_when_the_hash_is_taken_away(answers: Answers) -> None:
    answers = replace(answers, client_secret=answers.client_secret and "env:NEW")
    lines = settings_text(answers).replace('"file:session.key"', '"env:NEW"').splitlines()
    start = lines.index("# More rules; to use one, remove the # before it:")
    stop = next(number for number in range(start, len(lines)) if not lines[number])
    shown = [line.removeprefix("# ").removeprefix("#") for line in lines[start + 1 : stop]]
    settings = parse("\n".join([*lines[:start], *shown, *lines[stop:]]), None, {"NEW": "-" * 64})
    assert [rule.pattern for rule in settings.policy.rules][2:] == ["*", "courses/**", "**"]
    assert settings.warnings == ()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("eu-central-1_AbC123", COGNITO),
        ("cn-north-1_AbC123", "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_AbC123"),
        ("us-gov-west-1_x", "https://cognito-idp.us-gov-west-1.amazonaws.com/us-gov-west-1_x"),
        ("eusc-de-east-1_x", "https://cognito-idp.eusc-de-east-1.amazonaws.eu/eusc-de-east-1_x"),
        (" https://accounts.google.com ", "https://accounts.google.com"),
        ("accounts.google.com", "https://accounts.google.com"),
        ("https://x.eu.auth0.com/", "https://x.eu.auth0.com/"),
        ("https://id.example.com/t/.well-known/openid-configuration", "https://id.example.com/t"),
        ("http://localhost:9000/realms/x", "http://localhost:9000/realms/x"),
    ],
)
def test_issuers_as_people_write_them(typed: str, meant: str) -> None:
    assert issuer_url(typed) == meant


@pytest.mark.parametrize("typed", ["", "google", "http://id.example.com", "https://x/?a=b", "https://a b", "ftp://x.y"])
def test_what_is_no_issuer(typed: str) -> None:
    with pytest.raises(ValueError, match="is not an issuer"):
        issuer_url(typed)


def test_each_kind_of_provider_is_known_by_its_issuer() -> None:
    assert ISSUER_OF_KIND.keys() == PROVIDERS.keys()
    for kind, issuer in ISSUER_OF_KIND.items():
        assert kind_of(issuer) == kind
        assert read_provider(kind.upper()) == (kind, None)
        assert read_provider(issuer) == (kind, issuer)


@pytest.mark.parametrize(
    ("kind", "typed", "meant"),
    [
        ("cognito", "eu-central-1_AbC123", COGNITO),
        ("entra", "6a1f-22", f"https://{ENTRA}/6a1f-22/v2.0"),
        ("entra", "contoso.onmicrosoft.com", f"https://{ENTRA}/contoso.onmicrosoft.com/v2.0"),
        ("entra", f"https://{ENTRA}/6a1f/v2.0", f"https://{ENTRA}/6a1f/v2.0"),
        ("keycloak", "id.example.com/realms/x", "https://id.example.com/realms/x"),
        ("okta", "example.okta.com", "https://example.okta.com"),
        ("auth0", "x.eu.auth0.com", "https://x.eu.auth0.com/"),
        ("auth0", "https://login.example.com/", "https://login.example.com/"),
    ],
)
def test_issuers_as_people_name_them_to_each_kind_of_provider(kind: str, typed: str, meant: str) -> None:
    assert issuer_of(kind, typed) == meant


@pytest.mark.parametrize(
    ("kind", "typed", "says"),
    [
        ("cognito", "https://id.example.com", "is not a user pool"),
        ("keycloak", "id.example.com", "for example https://id.example.com/realms/NAME"),
        ("entra", "common", "write the id of yours"),
        ("entra", f"https://{ENTRA}/organizations/v2.0", "write the id of yours"),
        ("okta", "okta", "is not an issuer"),
    ],
)
def test_what_is_no_issuer_of_its_kind(kind: str, typed: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        issuer_of(kind, typed)


def test_what_is_no_provider() -> None:
    with pytest.raises(ValueError, match="one of cognito, google, entra, keycloak, okta, auth0, other, or an issuer"):
        read_provider("myspace")


def test_a_secret_is_named_and_never_written_or_repeated() -> None:
    for named in ("env:NAME", "file:client.secret", "ssm:/a/b", "secretsmanager:arn:x"):
        assert secret_setting(f" {named} ") == named
    assert secret_setting("") is secret_setting("none") is None
    for text in ("GOCSPX-1234", "env:not a name", "env:", "file:", "https://x.example.com"):
        with pytest.raises(
            ValueError, match=r"^say where the secret is, not what it is: env:NAME, file:PATH, ssm:/NAME$"
        ):
            secret_setting(text)


def test_people_sign_in_here_or_at_a_page() -> None:
    assert page_setting(" Here") is page_setting("") is None
    assert page_setting("https://app.example.com/login") == "https://app.example.com/login"


@pytest.mark.parametrize("kind", ISSUER_OF_KIND)
def test_what_to_register_stands_in_the_settings_too(kind: str) -> None:
    url = "https://assets.example.com"
    answers = Answers("memory:", ISSUER_OF_KIND[kind], ("a",), url=url, client_id="a")
    addresses = dict(registered(answers))
    assert addresses[PROVIDERS[kind].callback] == f"{url}/-/callback"
    assert (f"{url}/-/logout" in addresses.values()) == (kind != "google")
    for name, address in addresses.items():
        assert any(line.startswith("#") and name in line and line.endswith(address) for line in _lines(answers))


def _lines(answers: Answers) -> list[str]:
    return settings_text(answers).splitlines()


def test_the_commented_settings_of_sign_in_work_when_the_hash_is_taken_away() -> None:
    for answers in (BUCKET, EVERY_KIND[4]):
        text = settings_text(answers).replace('"file:session.key"', '"env:NEW"')
        shown = text.replace("# [login]", "[login]", 1)
        for name in ("client_id", "client_secret", "scopes", "session"):
            shown = shown.replace(f"# {name} = ", f"{name} = ")
        (client,) = parse(shown, None, {"NEW": "-" * 64, "CLIENT_SECRET": "x"}).clients
        assert (client.id, client.issuer.url) == ("app" if answers.client_id else "my-client-id", COGNITO)


def test_folders_are_seen_from_where_one_stands_and_written_as_seen_from_the_file(tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert store_setting("site/assets", tmp_path, site) == ("./assets", site / "assets")
    assert store_setting("assets", tmp_path, site) == (str(tmp_path / "assets"), tmp_path / "assets")
    assert store_setting("/srv/x", tmp_path, site) == ("/srv/x", Path("/srv/x"))
    assert store_setting("s3://bucket/prefix", tmp_path, site) == ("s3://bucket/prefix", None)
    for text in ("site", ".", "/", "", "ftp://x"):
        with pytest.raises(ValueError, match="name a folder"):
            store_setting(text, tmp_path, site)


def test_the_address_of_the_site_and_of_the_gateway_fit() -> None:
    assert site_url("127.0.0.1:9000") == "http://localhost:9000"
    assert site_url("0.0.0.0:80") == "http://localhost"
    assert listen_address("http://localhost:9000") == "127.0.0.1:9000"
    assert listen_address("http://[::1]:9000/") == "[::1]:9000"
    assert listen_address("http://localhost") == "127.0.0.1:80"
    assert listen_address("https://assets.example.com") == "127.0.0.1:8080"


def test_what_the_issuer_says_of_itself() -> None:
    rs = {"id_token_signing_alg_values_supported": ["HS256", "RS256", "ES256"]}
    assert discovered("https://id.example.com", {"issuer": "https://id.example.com", **rs}) == (
        *("https://id.example.com", (), ""),
    )
    slash = discovered("https://id.example.com", {"issuer": "https://id.example.com/"})
    assert slash.issuer == "https://id.example.com/"
    assert "calls itself 'https://id.example.com/'" in slash.note
    updated = COGNITO.replace("//", "//issuer-")
    assert discovered(COGNITO, {"issuer": updated}).issuer == updated
    assert 'name     = "cognito"' in settings_text(replace(BUCKET, issuer=updated))
    tenant = discovered(f"https://{ENTRA}/contoso.onmicrosoft.com/v2.0", {"issuer": f"https://{ENTRA}/6a1f/v2.0"})
    assert tenant.issuer == f"https://{ENTRA}/6a1f/v2.0"
    template = discovered(f"https://{ENTRA}/x/v2.0", {"issuer": f"https://{ENTRA}/{{tenantid}}/v2.0"})
    assert template.issuer == f"https://{ENTRA}/x/v2.0"
    other = discovered("https://id.example.com", {"issuer": "https://other.example.com"})
    assert other.issuer == "https://id.example.com"
    assert "calls itself 'https://other.example.com'" in other.note
    ec = {"id_token_signing_alg_values_supported": ["ES256", "EdDSA", "none", "HS256"]}
    assert discovered("https://id.example.com", ec).algorithms == ("ES256", "EdDSA")


def test_a_session_key_only_where_sessions_outlive_a_restart() -> None:
    assert list(files(BUCKET, session_key="k")) == ["stagedoor.toml"]
    made = files(EVERY_KIND[3], session_key="k", gitignore="*.pyc")
    assert made[SESSION_KEY] == ("k\n", 0o600)
    assert made[".gitignore"].text == "*.pyc\nsession.key\n"
    again = files(EVERY_KIND[3], session_key=None, gitignore=made[".gitignore"].text)
    assert list(again) == ["stagedoor.toml"]
    assert files(EVERY_KIND[4], session_key="k")[SESSION_KEY].mode == 0o600
    assert files(EVERY_KIND[6], session_key="k")[".gitignore"].text == "session.key\nclient.secret\n"


# --- at the keyboard


@pytest.fixture
def provider() -> Iterator[str]:
    """An issuer that signs with ES256, and whose name ends with a slash."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = {"issuer": f"{url}/", "id_token_signing_alg_values_supported": ["ES256"]}
            self.send_response(200 if self.path == "/.well-known/openid-configuration" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the standard library's
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield url
    server.shutdown()
    server.server_close()
    thread.join()


def _type(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def _load(path: Path) -> Settings:
    return load(path, {})


def test_what_it_asks(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = ("files", "nonsense", "other", "nonsense", provider, "here", "app, other", "s3cret", "env:SECRET", "y")
    _type(monkeypatch, *answers)
    assert main(["init"]) == 0
    settings = load(tmp_path / "stagedoor.toml", {"SECRET": "s3cret"})
    assert settings.store == (tmp_path / "files").as_uri()
    assert settings.issuers[0].url == f"{provider}/"
    assert settings.issuers[0].algorithms == {"ES256"}
    assert settings.issuers[0].audience == {"app", "other"}
    assert [(client.id, client.secret) for client in settings.clients] == [("app", "s3cret")]
    assert not settings.session_keys_are_temporary
    assert (tmp_path / "files/public/hello.txt").is_file()
    said = capsys.readouterr()
    assert "'nonsense' is not a provider: write one of cognito" in said.err
    assert "'nonsense' is not an issuer" in said.err
    assert "say where the secret is" in said.err
    assert "s3cret" not in said.out
    assert f"the issuer calls itself '{provider}/'" in said.err
    assert "http://localhost:8080/-/callback\n" in said.out
    assert "http://localhost:8080/-/logout\nnext:\n  export SECRET=" in said.out
    assert "stagedoor serve\n  curl http://localhost:8080/public/hello.txt\n" in said.out


def test_a_page_of_ones_own_needs_no_client_here(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _type(monkeypatch, "s3://bucket", provider, "http://localhost:3000/login", "app")
    assert main(["init"]) == 0
    settings = _load(tmp_path / "stagedoor.toml")
    assert (settings.login_page, settings.clients) == ("http://localhost:3000/login", ())
    assert "register" not in capsys.readouterr().out


def test_nothing_is_asked_if_issuer_and_client_are_given(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "client.secret").write_text("s3cret")
    (tmp_path / "client.secret").chmod(0o600)
    monkeypatch.setattr(sys, "stdin", None)
    given = ["--issuer", provider, "--client-id", "app", "--client-secret", "file:client.secret"]
    assert main(["init", *given, "--listen", "127.0.0.1:9000"]) == 0
    settings = _load(tmp_path / "stagedoor.toml")
    assert [(client.id, client.secret) for client in settings.clients] == [("app", "s3cret")]
    assert settings.issuers[0].audience == {"app"}
    assert (tmp_path / ".gitignore").read_text() == "session.key\nclient.secret\n"
    assert main(["check", "--strict"]) == 0


def test_google_has_one_issuer_and_no_address_for_sign_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stagedoor.cli.init._discover", lambda answers: answers)
    monkeypatch.chdir(tmp_path)
    given = ["--provider", "google", "--client-id", "app", "--client-secret", "env:SECRET"]
    assert main(["init", "--yes", *given]) == 0
    said = capsys.readouterr().out
    assert "Authorized redirect URIs  http://localhost:8080/-/callback\nnext:\n" in said
    assert load(tmp_path / "stagedoor.toml", {"SECRET": "x"}).clients[0].issuer.url == "https://accounts.google.com"


def test_a_folder_is_made_only_if_one_says_so(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _type(monkeypatch, "n")
    assert main(["init", "--store", "files", "--issuer", provider, "--audience", "app"]) == 1
    assert list(tmp_path.iterdir()) == []
    assert "there is no folder" in capsys.readouterr().err


def test_going_away_in_the_middle_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _type(monkeypatch, "files")
    assert main(["init"]) == 1
    assert list(tmp_path.iterdir()) == []


def test_force_writes_settings_anew_and_keeps_the_session_key(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["init", "--yes", "--issuer", provider, "--login-page", "http://localhost:3000/login"]
    assert main([*given, "--audience", "one"]) == 0
    key = tmp_path / SESSION_KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    text = key.read_text()
    assert len(text) > 32
    assert main([*given, "--audience", "two"]) == 1
    assert main([*given, "--audience", "two", "--force"]) == 0
    assert key.read_text() == text
    assert tomllib.loads((tmp_path / "stagedoor.toml").read_text())["issuers"][0]["audience"] == ["two"]
    assert (tmp_path / ".gitignore").read_text() == "session.key\n"
    assert _load(tmp_path / "stagedoor.toml").session_keys == (text.strip().encode(),)


@pytest.mark.parametrize("place", ["file", "file/below", "file/far/below"])
@pytest.mark.parametrize("more", [[], ["--aws"]], ids=["settings", "aws"])
def test_a_file_in_the_way_is_named_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, more: list[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    assert main(["init", str(tmp_path / place), "--yes", "--issuer", COGNITO, "--audience", "a", *more]) == 1
    said = capsys.readouterr()
    assert f"error: {tmp_path / 'file'} is a file" in said.err
    assert "Errno" not in said.err
    assert said.out == ""
    assert (tmp_path / "file").read_text() == "kept"
