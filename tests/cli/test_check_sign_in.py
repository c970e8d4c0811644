"""`stagedoor check --online` tries sign-in: what each kind of provider answers, and what the owner is told."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from stagedoor.cli import main
from stagedoor.core.messages import Fetch, Fetched
from stagedoor.outside import fetch_sync, look_sync
from stagedoor.outside.look_sync import Seen
from tests.helpers.commands import stage

ISSUER, SITE = "https://id.example.com", "https://assets.example.com"
CALLBACK = f"{SITE}/-/callback"
SETTINGS = f"""\
[site]
url = "{SITE}"
store = "memory:"
[[issuers]]
name = "staff"
issuer = "{ISSUER}"
audience = ["door"]
jwks = "jwks.json"
[[rules]]
path = "**"
allow = "signed-in"
[login]
client_id = "door"
"""
SECRET = SETTINGS + 'client_secret = "env:THE_SECRET"\n'
DISCOVERY = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/keys",
    "end_session_endpoint": f"{ISSUER}/logout",
    "code_challenge_methods_supported": ["plain", "S256"],
    "scopes_supported": ["openid", "email", "profile"],
}
Look = Callable[[str], Seen]


def back(**answer: str) -> Look:
    """An authorization endpoint that redirects to the callback URL it was given."""

    def look(url: str) -> Seen:
        asked = dict(parse_qsl(urlsplit(url).query))
        assert (asked["redirect_uri"], asked["client_id"], asked["prompt"]) == (CALLBACK, "door", "none")
        assert (asked["code_challenge_method"], len(asked["code_challenge"])) == ("S256", 43)
        query = "&".join(f"{name}={value}" for name, value in answer.items())
        return Seen(302, f"{asked['redirect_uri']}?state={asked['state']}&{query}")

    return look


def page(status: int, text: str) -> Look:
    return lambda _: Seen(status, "", text)


def chain(*seen: Seen) -> Look:
    """A provider that shows one after the other."""
    left: Iterator[Seen] = iter(seen)
    return lambda _: next(left)


class Provider:
    """What a provider answers; the client is known to its token endpoint unless a test says otherwise."""

    def __init__(self) -> None:
        self.discovery: Mapping[str, object] | str = DISCOVERY
        self.look: Look = back(error="login_required")
        self.token = Fetched(b'{"error":"invalid_grant"}', "the answer was 400, not 200")
        self.forms: list[dict[str, str]] = []

    def fetch(self, wish: Fetch, within: float, tls: object = None) -> Fetched:
        if wish.url.endswith("/.well-known/openid-configuration"):
            text = self.discovery
            return Fetched(b"", text) if isinstance(text, str) else Fetched(json.dumps(text).encode())
        assert wish.url == f"{ISSUER}/token"
        self.forms.append(dict(parse_qsl((wish.form or b"").decode())))
        return self.token


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Provider:
    stage(tmp_path, monkeypatch)
    made = Provider()
    monkeypatch.setattr(fetch_sync, "_get", made.fetch)
    monkeypatch.setattr(look_sync, "_seen", lambda url, within, tls: made.look(url))
    monkeypatch.setenv("THE_SECRET", "s3cret")
    return made


def check(capsys: pytest.CaptureFixture[str], settings: str = SETTINGS) -> tuple[dict[str, tuple[bool, str]], str]:
    """What was found by name, and what stands on standard error."""
    Path("stagedoor.toml").write_text(settings)
    code = main(["check", "--online", "--json"])
    answer = json.loads(capsys.readouterr().out)
    found = {one["name"].removeprefix("staff: "): (one["ok"], one["detail"]) for one in answer["online"]}
    assert code == (0 if all(good for good, _ in found.values()) else 1)
    assert main(["check", "--online"]) == code
    return found, capsys.readouterr().err


def test_all_is_well(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    found, said = check(capsys)
    assert found["discovery"] == (True, "all endpoints and PKCE with S256")
    assert found["client and callback"] == (True, "the provider knows both")
    assert found["client secret"] == (True, "none, and the provider wants none")
    assert said == ""
    (form, _) = provider.forms
    assert (form["redirect_uri"], form["client_id"], form["grant_type"]) == (CALLBACK, "door", "authorization_code")
    found, _ = check(capsys, SECRET)
    assert found["client secret"] == (True, "accepted")


GOOD: Mapping[str, Look] = {
    "interaction required": back(error="interaction_required"),
    "consent required": back(error="consent_required"),
    "somebody is signed in": back(code="abc"),
    "another error": back(error="invalid_request", error_description="prompt+is+not+known"),
    "in the fragment": lambda _: Seen(302, f"{CALLBACK}#error=login_required&state=x"),
    "a page to sign in": page(200, '<form action="/login"><input name="redirect_uri"><input name="client_id">'),
    "on its way there": chain(Seen(302, "/login?client_id=door&redirect_uri=x"), Seen(200, "", "<form>")),
    "from host to host": chain(Seen(303, "https://login.example.net/a"), Seen(307, f"{CALLBACK}?error=login_required")),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_provider_that_knows_client_and_callback(
    provider: Provider, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    provider.look = GOOD[name]
    Path("stagedoor.toml").write_text(SETTINGS)
    assert main(["check", "--online"]) == 0
    out = capsys.readouterr().out
    assert "could not be judged" not in out or name == "another error"
    assert ("knows both" in out) or ("shows a page to sign in" in out)


NOT_JUDGED: Mapping[str, Look] = {
    "answers 503": page(503, "back soon"),
    "answers 429": page(429, "too many requests"),
    "answers 403 to programs": page(403, "are you a robot?"),
    "redirects on and on": lambda _: Seen(302, "/again"),
    "leads to http://plain.example.com/": lambda _: Seen(302, "http://plain.example.com/"),
}


@pytest.mark.parametrize("why", NOT_JUDGED)
def test_what_cannot_be_judged_is_said_and_is_no_failure(
    provider: Provider, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    provider.look = NOT_JUDGED[why]
    found, said = check(capsys)
    assert found["client and callback"] == (True, f"could not be judged: the provider {why}")
    assert said == ""


_GOOGLE = base64.urlsafe_b64encode(b"\n\x15redirect_uri_mismatch\x12\x9a\x01You can't sign in").decode().rstrip("=")
OF_CALLBACK: Mapping[str, Look] = {
    "Keycloak": page(400, "<title>Sign in to staff</title> Invalid parameter: redirect_uri"),
    "Okta": page(400, "The 'redirect_uri' parameter must be a Login redirect URI in the app's settings"),
    "Auth0": page(403, "Callback URL mismatch. The provided redirect_uri is not in the list of allowed callback URLs"),
    "Entra": page(200, "AADSTS50011: The redirect URI specified in the request does not match"),
    "oidc-provider": page(400, "invalid_redirect_uri: redirect_uri did not match any of the client's registered ones"),
    "Cognito": lambda _: Seen(302, "https://pool.auth.example.com/error?error=redirect_mismatch&client_id=door"),
    "Google": lambda _: Seen(302, f"{ISSUER}/signin/oauth/error?authError={_GOOGLE}&client_id=door"),
    "the demo": page(400, "client_id or redirect_uri is not the demo site's"),
    "one that says nothing": page(400, "Bad Request"),
}


@pytest.mark.parametrize("name", OF_CALLBACK)
def test_a_callback_url_that_is_not_registered(
    provider: Provider, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    provider.look = OF_CALLBACK[name]
    found, said = check(capsys)
    good, detail = found["client and callback"]
    assert not good
    assert f"the provider does not know the callback URL {CALLBACK}" in detail
    assert said.startswith(f"error: stagedoor.toml:2: site.url: staff: client and callback: {detail}\n  register it")


OF_CLIENT: Mapping[str, Look] = {
    "Keycloak": page(400, "We are sorry... Client not found."),
    "Auth0": page(403, "Unknown client: door"),
    "Entra": page(200, "AADSTS700016: Application with identifier 'door' was not found in the directory"),
    "oidc-provider": page(400, "invalid_client: client is invalid"),
    "Google": lambda _: Seen(
        302, "/signin/oauth/error?authError=" + base64.b64encode(b"\n\x0einvalid_client").decode()
    ),
}


@pytest.mark.parametrize("name", OF_CLIENT)
def test_a_client_id_that_is_not_known(provider: Provider, capsys: pytest.CaptureFixture[str], name: str) -> None:
    provider.look = OF_CLIENT[name]
    provider.token = Fetched(b'{"error":"invalid_client"}', "the answer was 401, not 200")
    found, said = check(capsys)
    good, detail = found["client and callback"]
    assert not good
    assert "the provider does not know the client 'door'" in detail
    assert "error: stagedoor.toml:13: login.client_id: staff: client and callback: " in said
    assert "copy the client id" in said


def test_the_client_of_an_issuer_is_named_there(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    provider.look = page(400, "Client not found.")
    text = SETTINGS.partition("[login]")[0].replace("[[rules]]", 'client_id = "door"\n[[rules]]')
    _, said = check(capsys, text)
    assert "error: stagedoor.toml:9: issuers[0].client_id: staff: client and callback: " in said


def test_an_error_page_that_names_neither_is_about_both(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    provider.look = page(400, "Bad Request")
    provider.token = Fetched(b"", "the answer was 404, not 200")
    found, said = check(capsys)
    assert found["client and callback"][1] == (
        f"the provider does not know the client 'door' or the callback URL {CALLBACK}, and answers 400"
    )
    assert "compare both with what is registered there" in said


@pytest.mark.parametrize(
    ("error", "setting"),
    [("invalid_scope", "login"), ("unauthorized_client", "login.client_id"), ("unsupported_response_type", "login")],
)
def test_a_client_that_may_not_sign_in_like_this(
    provider: Provider, capsys: pytest.CaptureFixture[str], error: str, setting: str
) -> None:
    provider.look = back(error=error, error_description="no%1B[31m+way")
    found, said = check(capsys)
    good, detail = found["client and callback"]
    assert (good, "\x1b" in detail) == (False, False)
    assert detail.startswith(f"the provider knows both, and yet refuses: {error} (no")
    assert f"{setting}" in said


@pytest.mark.parametrize("secret", [False, True])
def test_a_secret_that_is_wrong_or_missing(
    provider: Provider, capsys: pytest.CaptureFixture[str], secret: bool
) -> None:
    provider.token = Fetched(b'{"error":"invalid_client"}', "the answer was 401, not 200")
    found, said = check(capsys, SECRET if secret else SETTINGS)
    good, detail = found["client secret"]
    assert (good, "invalid_client" in detail) == (False, True)
    line, name = (14, "login.client_secret") if secret else (13, "login.client_id")
    assert f"error: stagedoor.toml:{line}: {name}: staff: client secret: " in said
    assert "s3cret" not in said + detail


def test_other_answers_of_the_token_endpoint(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    provider.token = Fetched(b'{"error":"invalid_request"}', "the answer was 400, not 200")
    found, _ = check(capsys)
    assert found["client secret"][0]
    assert found["client secret"][1].startswith("could not be judged: ")
    assert "invalid_request" in found["client secret"][1]
    provider.token = Fetched(b"", "connection refused")
    found, _ = check(capsys)
    assert found["client secret"] == (
        False,
        f"the token endpoint could not be asked: {ISSUER}/token: connection refused",
    )


@pytest.mark.parametrize(
    ("changes", "remark"),
    [
        ({"code_challenge_methods_supported": ["plain"]}, "it does not list PKCE with S256"),
        ({"scopes_supported": ["openid"]}, "it does not list the scope email or profile"),
        ({"end_session_endpoint": None}, "it names no end_session_endpoint"),
    ],
)
def test_what_discovery_leaves_out(
    provider: Provider, capsys: pytest.CaptureFixture[str], changes: Mapping[str, object], remark: str
) -> None:
    provider.discovery = {**DISCOVERY, **changes}
    found, _ = check(capsys)
    assert found["discovery"][0]
    assert remark in found["discovery"][1]


def test_discovery_that_fails_ends_it(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    provider.discovery = "connection refused"
    found, said = check(capsys)
    assert list(found) == ["staff", "discovery", "store"]
    assert found["discovery"][1].endswith("openid-configuration: connection refused")
    assert "until then nobody can sign in there" in said
    provider.discovery = {**DISCOVERY, "authorization_endpoint": "http://id.example.com/authorize"}
    found, _ = check(capsys)
    assert "its authorization_endpoint is not an https address" in found["discovery"][1]
    assert provider.forms == []


def test_a_user_pool_without_a_domain(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    pool = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC123"
    provider.discovery = {"issuer": pool, "jwks_uri": f"{pool}/.well-known/jwks.json"}
    _, said = check(capsys, SETTINGS.replace(ISSUER, pool))
    assert "give the user pool a domain" in said


def test_an_authorization_endpoint_that_nobody_answers_at(
    provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.look = lambda _: Seen(error="name or service not known")
    found, _ = check(capsys)
    assert found["client and callback"] == (False, "id.example.com could not be asked: name or service not known")
    pool = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC123"
    provider.discovery = {**DISCOVERY, "issuer": pool}
    _, said = check(capsys, SETTINGS.replace(ISSUER, pool))
    assert "has the user pool a domain?" in said


def test_without_online_nobody_is_asked(provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    Path("stagedoor.toml").write_text(SETTINGS)
    provider.discovery = "must not be asked"
    assert main(["check"]) == 0
    said = capsys.readouterr().out
    assert f"callback URL {CALLBACK}, after sign-out {SITE}/-/logout" in said
