"""The settings of sign-in: at which issuers people sign in, as which client, and what contradicts that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from stagedoor.core.door import Door
from stagedoor.core.drivers import run
from stagedoor.core.errors import SettingsError
from stagedoor.core.messages import Fetch, Fetched, Reply, Request, Wish
from stagedoor.settings import Settings, load
from stagedoor.settings.site import make_door

SECRET = "s3cret-of-the-client/+="
STAFF, GUESTS = "https://id.example.com", "https://guests.example.com"
SITE = "https://assets.example.com"
START = f"""\
[site]
url = "{SITE}"
store = "memory:"
[[rules]]
path = "**"
allow = "signed-in"
"""
ONE = f"""{START}\
[[issuers]]
name = "staff"
issuer = "{STAFF}"
audience = ["app"]
"""
SEVERAL_AUDIENCES = ONE.replace('["app"]', '["app", "api"]')
TWO = f"""{ONE}\
[[issuers]]
name = "guests"
issuer = "{GUESTS}"
audience = ["guests-app"]
"""
BOTH_SIGN_IN = TWO.replace('["app"]', '["app"]\nclient_id = "door"') + 'client_id = "guests-door"\n'


def read(home: Path, text: str, **environ: str) -> Settings:
    (home / "stagedoor.toml").write_text(text)
    return load(home / "stagedoor.toml", environ)


def clients(found: Settings) -> list[tuple[str, str, str]]:
    return [(client.issuer.url, client.id, client.secret) for client in found.clients]


GOOD: Mapping[str, tuple[str, list[tuple[str, str, str]]]] = {
    "nothing": (ONE, []),
    "session and keys alone": (ONE + '[login]\nsession = "1h"\nscopes = ["openid", "x"]\n', []),
    "the only audience": (ONE + f'[login]\nissuer = "{STAFF}"\n', [(STAFF, "app", "")]),
    "a client of its own": (ONE + '[login]\nclient_id = "door"\n', [(STAFF, "door", "")]),
    "a secret": (ONE + '[login]\nclient_secret = "env:NAME"\n', [(STAFF, "app", SECRET)]),
    "both": (ONE + '[login]\nclient_id = "door"\nclient_secret = "env:NAME"\n', [(STAFF, "door", SECRET)]),
    "several audiences": (SEVERAL_AUDIENCES + '[login]\nclient_id = "api"\n', [(STAFF, "api", "")]),
    "at the issuer": (ONE + 'client_id = "door"\nclient_secret = "env:NAME"\n', [(STAFF, "door", SECRET)]),
    "id at the issuer, secret in login": (
        ONE + 'client_id = "door"\n[login]\nclient_secret = "env:NAME"\n',
        [(STAFF, "door", SECRET)],
    ),
    "one of two, by name": (TWO + '[login]\nissuer = "guests"\n', [(GUESTS, "guests-app", "")]),
    "one of two, by its entry": (TWO + 'client_id = "guests-door"\n', [(GUESTS, "guests-door", "")]),
    "two": (BOTH_SIGN_IN, [(STAFF, "door", ""), (GUESTS, "guests-door", "")]),
    "two with a secret": (
        BOTH_SIGN_IN + 'client_secret = "file:client.secret"\n',
        [(STAFF, "door", ""), (GUESTS, "guests-door", SECRET)],
    ),
    "one of two that both could": (BOTH_SIGN_IN + '[login]\nissuer = "staff"\n', [(STAFF, "door", "")]),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "client.secret").write_text(SECRET + "\r\n")
    (tmp_path / "client.secret").chmod(0o600)
    return tmp_path


@pytest.mark.parametrize("name", GOOD)
def test_where_people_sign_in(home: Path, name: str) -> None:
    text, expected = GOOD[name]
    found = read(home, text, NAME=SECRET)
    assert clients(found) == expected
    assert found.warnings == ()
    assert SECRET not in repr(found)


def test_scopes_are_asked_of_every_issuer(home: Path) -> None:
    text = BOTH_SIGN_IN + '[login]\nscopes = ["openid", "offline_access"]\n'
    assert {client.scopes for client in read(home, text).clients} == {("openid", "offline_access")}
    assert read(home, BOTH_SIGN_IN).clients[0].scopes == ("openid", "email", "profile")


BAD: Mapping[str, tuple[str, str, int | None, str]] = {
    "two issuers, one client": (
        TWO + '[login]\nclient_id = "x"\n',
        "login.client_id",
        16,
        'add issuer = "…" to [login]',
    ),
    "two issuers, one secret": (
        TWO + '[login]\nclient_secret = "env:NAME"\n',
        "login.client_secret",
        16,
        'add issuer = "…" to [login]',
    ),
    "two clients and one secret for which": (
        BOTH_SIGN_IN + '[login]\nclient_secret = "env:NAME"\n',
        "login.client_secret",
        18,
        "move it to that issuer's entry",
    ),
    "no issuer": (START + '[login]\nclient_id = "x"\n', "login.client_id", 8, "add [[issuers]]"),
    "an unknown issuer": (TWO + '[login]\nissuer = "others"\n', "login.issuer", 16, "use its name or its issuer URL"),
    "which of several audiences": (
        SEVERAL_AUDIENCES + '[login]\nissuer = "staff"\n',
        "login.issuer",
        12,
        'add client_id = "…" to [login]',
    ),
    "a secret for which of several audiences": (
        SEVERAL_AUDIENCES + '[login]\nclient_secret = "env:NAME"\n',
        "login.client_secret",
        12,
        'add client_id = "…" to [login]',
    ),
    "a secret without a client": (
        TWO + 'client_secret = "env:NAME"\n',
        "issuers[1].client_secret",
        15,
        'client_id = "…"',
    ),
    "a client that is no text": (ONE + "[login]\nclient_id = 7\n", "login.client_id", 12, "write it in quotes"),
    "an empty client": (ONE + '[login]\nclient_id = ""\n', "login.client_id", 12, "write it in quotes"),
    "no openid": (
        ONE + '[login]\nclient_id = "x"\nscopes = ["email"]\n',
        "login.scopes",
        13,
        'scopes = ["openid", …]',
    ),
    "scopes in one text": (
        ONE + '[login]\nclient_id = "x"\nscopes = "openid email"\n',
        "login.scopes",
        13,
        'scopes = ["openid", "email"]',
    ),
    "a scope in quotes": (ONE + '[login]\nscopes = ["openid", "a\\"b"]\n', "login.scopes", 12, "scopes ="),
    "a secret that is not set": (
        ONE + '[login]\nclient_secret = "env:OTHER"\n',
        "login.client_secret",
        12,
        "set it where stagedoor is started",
    ),
    "a secret that stands there": (
        ONE + f'[login]\nclient_secret = "{SECRET}"\n',
        "login.client_secret",
        12,
        'write "env:NAME" or "file:path"',
    ),
    "no such file": (
        ONE + '[login]\nclient_secret = "file:nothing"\n',
        "login.client_secret",
        12,
        "relative to the settings file",
    ),
    "an empty file": (ONE + '[login]\nclient_secret = "file:empty"\n', "login.client_secret", 12, "copy it from"),
    "a file of several lines": (ONE + '[login]\nclient_secret = "file:long"\n', "login.client_secret", 12, "copy it"),
    "a file of other letters": (ONE + '[login]\nclient_secret = "file:euro"\n', "login.client_secret", 12, "copy it"),
    "workers without shared keys": (
        ONE + 'client_id = "door"\n[gateway]\nworkers = 2\n',
        "login.session_keys",
        None,
        "file:session.key",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_contradicts_itself_is_named_with_its_line(home: Path, name: str) -> None:
    text, setting, line, mend = BAD[name]
    (home / "empty").write_text(" \n")
    (home / "long").write_text(f"{SECRET}\n{SECRET}\n")
    (home / "euro").write_text("€\n")
    with pytest.raises(SettingsError) as caught:
        read(home, text, NAME=SECRET)
    assert (caught.value.setting, caught.value.line) == (setting, line)
    assert mend in caught.value.mend
    assert SECRET not in str(caught.value)


def test_the_environment_turns_sign_in_on(home: Path) -> None:
    found = read(
        home,
        TWO,
        STAGEDOOR_LOGIN_ISSUER="guests",
        STAGEDOOR_LOGIN_CLIENT_ID="door",
        STAGEDOOR_LOGIN_CLIENT_SECRET="env:NAME",
        STAGEDOOR_LOGIN_SCOPES="openid, email",
        NAME=SECRET,
    )
    assert clients(found) == [(GUESTS, "door", SECRET)]
    assert found.clients[0].scopes == ("openid", "email")


# --- secrets that AWS keeps


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with mock_aws():
        ssm = boto3.client("ssm", region_name="eu-central-1")
        ssm.put_parameter(Name="/site/client", Value=SECRET + "\n", Type="SecureString")
        manager = boto3.client("secretsmanager", region_name="eu-central-1")
        manager.create_secret(Name="site-client", SecretString=SECRET)
        yield


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("place", ["ssm:/site/client", "secretsmanager:site-client"])
@pytest.mark.parametrize("where", ["login", "issuers"])
def test_client_secrets_that_aws_keeps_are_fetched(home: Path, place: str, where: str) -> None:
    text = ONE.replace('"memory:"', '"memory:"\nregion = "eu-central-1"')
    section = "[login]\n" if where == "login" else 'client_id = "app"\n'
    found = read(home, f'{text}{section}client_secret = "{place}"\n')
    assert clients(found) == [(STAFF, "app", SECRET)]


@pytest.mark.usefixtures("aws")
def test_a_client_secret_that_aws_does_not_keep(home: Path) -> None:
    text = ONE.replace('"memory:"', '"memory:"\nregion = "eu-central-1"')
    with pytest.raises(SettingsError, match="does not exist in this account and region") as caught:
        read(home, f'{text}[login]\nclient_secret = "ssm:/site/other"\n')
    assert (caught.value.setting, caught.value.line) == ("login.client_secret", 13)


# --- what the door makes of it


def answer(door: Door, target: str) -> tuple[Reply, list[str]]:
    """What a navigation gets from a site none of whose issuers answers, and what they were asked."""
    asked: list[str] = []

    def outside(wish: Wish) -> Fetched:
        assert isinstance(wish, Fetch)
        asked.append(wish.url)
        return Fetched(b"", "connection refused")

    path, _, query = target.partition("?")
    headers = {b"sec-fetch-mode": [b"navigate"], b"sec-fetch-dest": [b"document"]}
    found = run(door.answer(Request("GET", path.encode(), query.encode(), headers), 1_800_000_000.0), outside)
    assert isinstance(found, Reply)
    return found, asked


def discovery(issuer: str) -> list[str]:
    return [f"{issuer}/.well-known/openid-configuration"]


def test_navigations_go_to_a_page_of_ones_own_which_leads_on_to_sign_in(home: Path) -> None:
    page = "https://app.example.com/login"
    door = make_door(read(home, f'{ONE}[login]\npage = "{page}"\nclient_id = "door"\n'))
    refused, _ = answer(door, "/a.png")
    assert dict(refused.headers)[b"location"] == f"{page}?next=https%3A%2F%2Fassets.example.com%2Fa.png".encode()
    begun, asked = answer(door, "/-/login?next=/a.png")
    assert (begun.status, asked) == (503, discovery(STAFF))


def test_a_page_alone_signs_nobody_in_here(home: Path) -> None:
    door = make_door(read(home, f'{ONE}[login]\npage = "https://app.example.com/login"\n'))
    refused, asked = answer(door, "/-/login?next=/a.png")
    assert (refused.status, refused.reason, asked) == (404, "login-inactive", [])


def test_two_issuers_are_a_choice_and_one_is_none(home: Path) -> None:
    chosen, asked = answer(make_door(read(home, BOTH_SIGN_IN)), "/-/login")
    assert (chosen.status, b"staff" in chosen.body, b"guests" in chosen.body, asked) == (200, True, True, [])
    _, asked = answer(make_door(read(home, BOTH_SIGN_IN)), "/-/login?issuer=guests")
    assert asked == discovery(GUESTS)
    _, asked = answer(make_door(read(home, BOTH_SIGN_IN + '[login]\nissuer = "staff"\n')), "/-/login")
    assert asked == discovery(STAFF)
