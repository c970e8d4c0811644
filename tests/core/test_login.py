"""Signing in at an issuer, as a relying party: what is asked, what is believed, and how long it may take."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from stagedoor.core.attempts import Attempt, tag
from stagedoor.core.drivers import run
from stagedoor.core.errors import InvalidToken, IssuerUnavailable, LoginFailed
from stagedoor.core.issuers import COOL_DOWN, DISCOVERY_MAX_AGE
from stagedoor.core.login import WITHIN, Client, Login, SignedIn, read_metadata
from stagedoor.core.messages import Fetch, Fetched, Flow, Wish
from stagedoor.core.tokens import Tokens
from stagedoor.keys import signatures
from tests.helpers.support import (
    CLIENT,
    ISSUER,
    NOW,
    SITE,
    VECTORS,
    Signer,
    b64,
    claims,
    ec_signer,
    ed_signer,
    issuer,
    key_set,
    rsa_signer,
    token,
)

DISCOVERY, TOKEN, KEYS = f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/token", f"{ISSUER}/keys"
ATTEMPT = Attempt("id", "secret", tag(ISSUER), "/a.txt", int(NOW))
ANSWER = {"code": "the-code", "iss": ISSUER}


def metadata(**more: Any) -> dict[str, Any]:
    good = {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": TOKEN,
        "jwks_uri": KEYS,
        **more,
    }
    return {name: value for name, value in good.items() if value is not ...}


class World:
    """A site, the issuer that it asks, and a clock that goes on with each question.

    Attributes:
        asked: what was fetched, in order.
        answers: URL -> content; what is not in it cannot be reached.
        takes: seconds that each answer takes.
    """

    def __init__(self, *, secret: str = "", client: str = CLIENT, takes: float = 0.0, **entry: Any) -> None:
        of_issuer = issuer(**{"jwks": None, **entry})
        self.asked: list[Fetch] = []
        self.answers: dict[str, bytes] = {DISCOVERY: json.dumps(metadata()).encode(), KEYS: key_set(rsa_signer())}
        self.takes, self._seconds = takes, 1000.0
        self.client = Client(of_issuer, client, secret)
        self.tokens = Tokens((of_issuer,), signatures)
        self.login = Login(SITE, [self.client], self.tokens, lambda: self._seconds)

    def outside(self, wish: Wish) -> Fetched:
        assert isinstance(wish, Fetch)
        self.asked.append(wish)
        self._seconds += min(self.takes, wish.timeout)
        if self.takes > wish.timeout or wish.url not in self.answers:
            return Fetched(b"", "no answer")
        return Fetched(self.answers[wish.url])

    def issue(self, signer: Signer | None = None, **more: Any) -> None:
        """Have the next code traded for an id token with these claims."""
        fields = {"iat": NOW, "nonce": ATTEMPT.nonce, **more}
        self.answers[TOKEN] = json.dumps({"id_token": token(claims(**fields), signer), "access_token": "at"}).encode()

    def redeem(self, answer: Mapping[str, str] = ANSWER, now: float = NOW) -> SignedIn:
        return run(self.login.redeem(self.client, ATTEMPT, answer, now), self.outside)

    def address(self, now: float = NOW, **extra: str) -> str:
        return run(self.login.address(self.client, ATTEMPT, "the-state", extra, now), self.outside)

    @property
    def urls(self) -> list[str]:
        return [wish.url for wish in self.asked]


# --- cases that others keep

VALIDATION = json.loads((VECTORS / "oidc_rp" / "validation.json").read_text(encoding="utf-8"))
NOT_OF_SIGN_IN = {
    "JWT-003": "its token is in another file; the hostile provider has one",
    "JWT-010": "needs keys that change; the hostile provider has them",
    "JWT-012": "rules say which claims are needed, and an absent one opens nothing",
}


def vectors() -> Iterator[Any]:
    for test in VALIDATION["tests"]:
        for vector in test.get("vectors", ()) if test["id"] not in NOT_OF_SIGN_IN else ():
            yield pytest.param(vector, id=f"{test['id']} {vector.get('name', test['title'])}")


def seconds(text: str) -> float:
    """`-1m`, in seconds."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


@pytest.mark.parametrize("vector", [*vectors()])
def test_cases_of_others(vector: dict[str, Any]) -> None:
    options, made = vector["options"], vector["token"]
    now = dt.datetime.fromisoformat(options["now"]).timestamp()
    assert now == NOW
    world = World(audience=frozenset(("an-api",)), client="test-client")
    stated: dict[str, Any] = {"iss": ..., "sub": ..., "aud": ..., "iat": ..., **made["claims"]}
    stated |= {name: now + seconds(stated[name]) for name in ("exp", "nbf", "iat") if isinstance(stated[name], str)}
    expected = options.get("expected_nonce", stated.get("nonce"))
    stated["nonce"] = ATTEMPT.nonce if stated.get("nonce") == expected else stated["nonce"]
    if stated["iss"] == "https://issuer.example.com":  # the site's issuer has another name
        stated["iss"] = ISSUER
    signer = rsa_signer() if made["signing_key"] == "fixture" else Signer("RS256", rsa_signer().jwk, OTHER.sign)
    world.issue(signer, **stated)
    if vector["expect"]["outcome"] == "accept":
        assert world.redeem().caller.subject == vector["expect"]["claims"].get("sub", "user-123")
        return
    with pytest.raises(LoginFailed) as caught:
        world.redeem()
    named = vector["expect"].get("claim", "signature")
    words = {"exp": "expired", "nbf": "nbf", "aud": "audience"}
    assert words.get(named, named) in str(caught.value)


OTHER = rsa_signer("RS256", "other")


def test_the_lists_of_others_are_covered() -> None:
    """Each of their cases, and each class of the conformance suite, has a test of ours that the table names."""
    folder, here = VECTORS / "oidc_rp", VECTORS.parents[1]
    ids = {
        test["id"] for file in folder.glob("*.json") for test in json.loads(file.read_text("utf-8")).get("tests", ())
    }
    rows = re.findall(r"^\| (.+?) \| `(\S+)::(\w+)`", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    assert ids <= {name for row in rows for name in row[0].split(", ")}
    for _, file, name in rows:
        assert re.search(rf"^(async )?def {name}\(", (here / file).read_text("utf-8"), re.MULTILINE), name


# --- where sign-in begins


def test_the_address_asks_for_a_code_with_pkce() -> None:
    world = World()
    parts = urlsplit(world.address(prompt="login"))
    assert parts._replace(query="").geturl() == f"{ISSUER}/authorize"
    assert dict(parse_qsl(parts.query, strict_parsing=True)) == {
        "response_type": "code",
        "response_mode": "query",
        "client_id": CLIENT,
        "redirect_uri": f"{SITE}/-/callback",
        "scope": "openid email profile",
        "state": "the-state",
        "nonce": ATTEMPT.nonce,
        "code_challenge": b64(hashlib.sha256(ATTEMPT.verifier.encode()).digest()),
        "code_challenge_method": "S256",
        "prompt": "login",
    }


def test_an_address_keeps_the_query_that_it_has() -> None:
    world = World()
    world.answers[DISCOVERY] = json.dumps(metadata(authorization_endpoint=f"{ISSUER}/authorize?p=B2C_1")).encode()
    assert world.address().startswith(f"{ISSUER}/authorize?p=B2C_1&response_type=code&")


GOOD_ADDRESSES = [
    "https://id.example.com",
    "https://id.example.com/token",
    "https://id.example.com:8443/a?b=c&d=%20",
    "https://id_1.example.com?x",
    "https://[::1]:8443/token",
    "https://192.0.2.1/~x/$y;z=(1)",
    "HTTPS://ID.example.com/",
]
BAD_ADDRESSES: list[object] = [
    *(..., None, "", 7, True, [], {}, ["https://id.example.com/"]),
    *("http://id.example.com/", "HTTP://id.example.com/", "ftp://id.example.com/", "file:///etc/passwd", "data:,x"),
    *("javascript:alert(1)", "//id.example.com/", "/token", "token", "https:/id.example.com/", "https:///x", "https:"),
    *("https://ann:x@id.example.com/", "https://ann@id.example.com/", "https://@id.example.com/"),
    *("https://id.example.com/#", "https://id.example.com/#x", "https://id.example.com?#"),
    *(f"https://id.example.com/{letter}" for letter in " \t\r\n\0\x1f\x7f\x80\xa0ü\u2028\ud800"),
    *(f"https://id.exa{letter}mple.com/" for letter in " \t\r\n\0\\;,'\"<>%&=()!$*+ü\u3002[]|^`{}"),
    *("https://id.example.com:/", "https://id.example.com:x/", "https://id.example.com:65536/"),
    *("https://id.example.com:443:443/", "https://[::1/", "https://[x]/", "https://::1/", " https://id.example.com/"),
    "https://id.example.com/\r\nset-cookie: a=b",
]
NAMES = ["authorization_endpoint", "token_endpoint", "end_session_endpoint", "jwks_uri"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("address", GOOD_ADDRESSES)
def test_plain_https_addresses_are_taken(name: str, address: str) -> None:
    world = World()
    world.answers[DISCOVERY] = json.dumps(metadata(**{name: address})).encode()
    if name == "jwks_uri":
        world.answers[address] = world.answers[KEYS]
        world.issue()
        world.redeem()
        assert address in world.urls
    else:
        assert address in read_metadata(metadata(**{name: address}), world.client.issuer)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("address", BAD_ADDRESSES, ids=repr)
def test_other_addresses_are_not_asked(name: str, address: object) -> None:
    if (name == "end_session_endpoint" and not address) or (name == "end_session_endpoint" and address is ...):
        assert read_metadata(metadata(**{name: address}), issuer()).end_session == ""
        return
    world = World()
    world.answers[DISCOVERY] = json.dumps(metadata(**{name: address})).encode()
    world.issue()
    with pytest.raises(IssuerUnavailable, match=name):
        world.redeem()
    assert not {wish.url for wish in world.asked} - {DISCOVERY, TOKEN}


def test_http_is_for_issuers_that_are_at_http_themselves() -> None:
    """On this machine, that is; settings take no others."""
    local = "http://127.0.0.1:9000"
    named = metadata(issuer=local, authorization_endpoint=f"{local}/a", token_endpoint=f"{local}/t")
    assert read_metadata(named, issuer(url=local)).token == f"{local}/t"
    with pytest.raises(IssuerUnavailable):
        read_metadata(named, issuer())


@pytest.mark.parametrize(
    ("methods", "kept"),
    [
        (..., ("client_secret_basic",)),
        (None, ()),
        ("client_secret_post", ()),
        ({"client_secret_post": 1}, ()),
        ([7, None, ["x"], "client_secret_post"], ("client_secret_post",)),
    ],
)
def test_methods_of_clients_are_read_as_a_list_of_texts(methods: object, kept: tuple[str, ...]) -> None:
    assert read_metadata(metadata(token_endpoint_auth_methods_supported=methods), issuer()).methods == kept


# --- what an issuer says about itself, over time


def test_an_issuer_is_asked_once_in_an_hour() -> None:
    world = World()
    world.address()
    world.address(NOW + DISCOVERY_MAX_AGE - 1)
    assert world.urls == [DISCOVERY]
    world.address(NOW + DISCOVERY_MAX_AGE)
    assert world.urls == [DISCOVERY] * 2


@pytest.mark.parametrize(
    "later",
    [
        None,
        b"<html>",
        json.dumps(metadata(issuer="https://other.example.com")).encode(),
        json.dumps(metadata(token_endpoint="http://id.example.com/token")).encode(),
    ],
    ids=["away", "html", "another issuer", "http"],
)
def test_what_was_known_goes_on_where_newer_cannot_be_had(later: bytes | None) -> None:
    world = World()
    first = world.address()
    world.answers.pop(DISCOVERY)
    if later is not None:
        world.answers[DISCOVERY] = later
    for number in range(3):
        assert world.address(NOW + DISCOVERY_MAX_AGE + number) == first
    assert world.urls == [DISCOVERY] * 2


def test_an_issuer_that_fails_is_left_alone_for_a_moment() -> None:
    world = World()
    document = world.answers.pop(DISCOVERY)
    for number in range(3):
        with pytest.raises(IssuerUnavailable, match="no answer"):
            world.address(NOW + number)
    assert world.urls == [DISCOVERY]
    world.answers[DISCOVERY] = document
    assert world.address(NOW + COOL_DOWN)
    assert world.address(NOW - 7200)  # the clock was put back


def test_who_hangs_up_does_not_close_sign_in_to_the_next() -> None:
    world = World()
    for _ in range(3):
        flow = world.login.address(world.client, ATTEMPT, "the-state", {}, NOW)
        assert next(flow) == Fetch(DISCOVERY)
        flow.close()
    assert world.address()


def test_those_who_ask_at_the_same_time_ask_the_same() -> None:
    """The driver joins equal questions, so that each of them gets the answer to the first."""
    world = World()
    flows = [world.login.address(world.client, ATTEMPT, "the-state", {}, NOW) for _ in range(3)]
    assert len({next(flow) for flow in flows}) == 1
    document = Fetched(world.answers[DISCOVERY])
    for flow in flows:
        with pytest.raises(StopIteration):
            flow.send(document)


# --- five seconds


def asked_in(world: World, flow: Flow[Any]) -> float:
    """Seconds that a flow may have taken, if the issuer uses up every limit."""
    total = 0.0

    def outside(wish: Wish) -> Fetched:
        nonlocal total
        assert isinstance(wish, Fetch)
        total += min(wish.timeout, world.takes)
        return world.outside(wish)

    with contextlib.suppress(IssuerUnavailable, LoginFailed):
        run(flow, outside)
    return total


@pytest.mark.parametrize("takes", [0.9, 1.1, 1.3, 2.0, 2.6, 4.9, 5.1, 100.0])
def test_all_that_is_asked_for_one_answer_keeps_to_one_limit(takes: float) -> None:
    """Discovery, the code, discovery of the keys, the keys: each may be slow, all of them together may not."""
    world = World(takes=takes)
    world.issue()
    assert asked_in(world, world.login.redeem(world.client, ATTEMPT, ANSWER, NOW)) <= WITHIN + 0.001
    world = World(takes=takes)
    assert asked_in(world, world.login.address(world.client, ATTEMPT, "the-state", {}, NOW)) <= WITHIN + 0.001
    assert asked_in(world, world.login.end_session(world.client, NOW + 60)) <= WITHIN + 0.001


def test_a_slow_issuer_that_keeps_to_the_limit_signs_people_in() -> None:
    world = World(takes=1.2)
    world.issue()
    assert world.redeem().caller.subject == "ann"


def test_a_slow_discovery_leaves_time_for_the_code_if_an_older_one_is_known() -> None:
    world = World()
    world.address()
    world.issue()
    world.redeem()
    later = NOW + DISCOVERY_MAX_AGE
    world.issue(iat=later, exp=later + 300)

    def drips(wish: Wish) -> Fetched:
        assert isinstance(wish, Fetch)
        world.takes = 100.0 if wish.url == DISCOVERY else 0.0
        return world.outside(wish)

    assert run(world.login.redeem(world.client, ATTEMPT, ANSWER, later), drips).caller.subject == "ann"
    assert world.urls[-2:] == [DISCOVERY, TOKEN]


# --- who the site is


def wire_form(world: World) -> tuple[dict[str, str], str]:
    """What came to the token endpoint: its fields, and the Authorization header."""
    (wish,) = [wish for wish in world.asked if wish.url == TOKEN]
    assert wish.form is not None
    return dict(parse_qsl(wish.form.decode("ascii"), strict_parsing=True)), wish.authorization


def test_a_public_client_sends_its_id_and_the_verifier() -> None:
    world = World()
    world.issue()
    world.redeem()
    assert wire_form(world) == (
        {
            "grant_type": "authorization_code",
            "code": "the-code",
            "redirect_uri": f"{SITE}/-/callback",
            "code_verifier": ATTEMPT.verifier,
            "client_id": CLIENT,
        },
        "",
    )


def test_id_and_secret_are_encoded_as_in_a_form_before_basic() -> None:
    """RFC 6749 §2.3.1 and Appendix B, whose own example is the first half."""
    world = World(client=" %&+£€", secret="a:b/~")
    world.issue(aud=" %&+£€")
    world.redeem()
    form, authorization = wire_form(world)
    kind, _, pair = authorization.partition(" ")
    assert (kind, base64.b64decode(pair)) == ("Basic", b"+%25%26%2B%C2%A3%E2%82%AC:a%3Ab%2F~")
    assert not {"client_id", "client_secret"} & form.keys()


def test_a_secret_goes_into_the_form_where_that_is_what_the_issuer_takes() -> None:
    world = World(secret="a b&c")
    methods = ["client_secret_post"]
    world.answers[DISCOVERY] = json.dumps(metadata(token_endpoint_auth_methods_supported=methods)).encode()
    world.issue()
    world.redeem()
    form, authorization = wire_form(world)
    assert (form["client_id"], form["client_secret"], authorization) == (CLIENT, "a b&c", "")


def test_no_secret_is_shown() -> None:
    world = World(secret="hidden-secret")
    world.answers[TOKEN] = b'{"error": "invalid_client", "error_description": "hm"}'
    with pytest.raises(LoginFailed) as caught:
        world.redeem()
    for shown in (repr(world.client), f"{world.client}", repr(caught.value), *map(repr, world.asked)):
        assert "hidden-secret" not in shown
        assert "aGlkZGVuLXNlY3JldA" not in shown  # the same in base64
    assert (caught.value.code, "hm" in str(caught.value)) == ("login-client", True)


# --- what is believed


@pytest.mark.parametrize(
    ("signer", "digest"),
    [
        (rsa_signer(), hashlib.sha256),
        (rsa_signer("PS384", "ps"), hashlib.sha384),
        (ec_signer("ES256"), hashlib.sha256),
        (ec_signer("ES512"), hashlib.sha512),
        (ed_signer(), hashlib.sha512),
    ],
    ids=lambda one: getattr(one, "algorithm", ""),
)
def test_hashes_are_by_the_algorithm_of_the_id_token(signer: Signer, digest: Callable[[bytes], Any]) -> None:
    def half(text: bytes) -> str:
        whole = digest(text).digest()
        return b64(whole[: len(whole) // 2])

    world = World(algorithms=frozenset((signer.algorithm,)))
    world.answers[KEYS] = key_set(signer)
    world.issue(signer, at_hash=half(b"at"), c_hash=half(b"the-code"))
    assert world.redeem().caller.subject == "ann"
    for wrong in ({"at_hash": half(b"other")}, {"c_hash": half(b"other")}, {"at_hash": half(b"at")[:-1]}):
        world.issue(signer, **wrong)
        with pytest.raises(LoginFailed, match=next(iter(wrong))):
            world.redeem()


@pytest.mark.parametrize(
    ("claim", "leeway", "is_good"),
    [
        ({"exp": NOW - 59}, 0.0, True),
        ({"exp": NOW - 60}, 0.0, False),
        ({"exp": NOW - 90}, 100.0, True),
        ({"nbf": NOW + 60}, 0.0, True),
        ({"nbf": NOW + 61}, 0.0, False),
        ({"iat": NOW + 60}, 0.0, True),
        ({"iat": NOW + 61}, 0.0, False),
        ({"iat": NOW + 90}, 100.0, True),
    ],
)
def test_a_minute_is_forgiven_at_sign_in(claim: dict[str, Any], leeway: float, is_good: bool) -> None:
    world = World(leeway=leeway)
    world.issue(**claim)
    if is_good:
        assert world.redeem().caller.subject == "ann"
        return
    with pytest.raises(LoginFailed, match="clocks of this site and of the issuer differ") as caught:
        world.redeem()
    assert caught.value.code == "login-clock"


def test_a_bearer_token_has_no_such_leeway() -> None:
    """And an id token of the site's own client is none for its API."""
    world = World(audience=frozenset(("an-api",)))
    for more in ({"exp": NOW - 1, "aud": "an-api"}, {"aud": "the-client"}):
        with pytest.raises(InvalidToken):
            run(world.tokens.verify(token(claims(**more)), NOW), world.outside)


COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example"


@pytest.mark.parametrize(("use", "is_good"), [("id", True), ("access", False), (..., False)])
def test_at_cognito_an_id_token_says_that_it_is_one(use: object, is_good: bool) -> None:
    world = World(url=COGNITO, token_use=frozenset(("access",)))
    named = metadata(issuer=COGNITO)
    world.answers = {
        f"{COGNITO}/.well-known/openid-configuration": json.dumps(named).encode(),
        f"{COGNITO}/.well-known/jwks.json": key_set(rsa_signer()),
    }
    world.issue(iss=COGNITO, token_use=use, client_id=CLIENT)
    if is_good:
        assert world.redeem({"code": "the-code"}).caller.subject == "ann"
    else:
        with pytest.raises(LoginFailed, match="token_use"):
            world.redeem({"code": "the-code"})


def test_an_id_token_makes_us_fetch_keys_anew_where_a_bearer_token_does_not() -> None:
    """The issuer sends the one; anybody can send the other."""
    world = World()
    world.issue()
    world.redeem()
    count, new = world.urls.count(KEYS), rsa_signer("RS256", "new")
    world.answers[KEYS] = key_set(new)
    with pytest.raises(InvalidToken):
        run(world.tokens.verify(token(claims(), new), NOW + 1), world.outside)
    assert world.urls.count(KEYS) == count
    world.issue(new)
    assert world.redeem(now=NOW + 1).caller.subject == "ann"
    assert world.urls.count(KEYS) == count + 1


def test_what_is_known_of_who_has_signed_in() -> None:
    world = World(claims={"groups": "roles"})
    world.issue(sid="s-1", auth_time=NOW - 5, roles=["staff"])
    found = world.redeem()
    assert (found.op_sid, found.auth_time, found.caller.label) == ("s-1", int(NOW) - 5, "staff:ann")
    assert found.caller.values("groups") == {"staff"}
    world.issue(sid=7)
    found = world.redeem()
    assert (found.op_sid, found.auth_time) == ("", None)


def test_a_subject_that_settings_map_elsewhere_is_one_text_too() -> None:
    world = World(claims={"sub": "oid"})
    world.issue(oid="o-1")
    assert world.redeem().caller.subject == "o-1"
    for oid in (..., "", None, ["a", "b"]):
        world.issue(oid=oid)
        with pytest.raises(LoginFailed):
            world.redeem()


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"error": "access_denied", "iss": ISSUER}, "login-refused"),
        ({"error": "", "iss": ISSUER}, "login-refused"),
        ({"error": "access_denied", "code": "the-code"}, "login-refused"),
        ({"code": ""}, "login-answer"),
        ({}, "login-answer"),
        ({"code": "the-code", "iss": f"{ISSUER}/"}, "login-issuer"),
        ({"code": "the-code", "iss": ISSUER.upper()}, "login-issuer"),
    ],
)
def test_no_code_is_traded_if_the_answer_is_not_good(answer: dict[str, str], code: str) -> None:
    world = World()
    world.issue()
    with pytest.raises(LoginFailed) as caught:
        world.redeem(answer)
    assert caught.value.code == code
    assert TOKEN not in world.urls


def test_what_a_stranger_wrote_is_one_short_line() -> None:
    world = World()
    with pytest.raises(LoginFailed) as caught:
        world.redeem({"error": "no\r\n\x1b[2J\u202e\u2028", "error_description": "x" * 5000})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Fetched(b'{"error": "temporarily_unavailable"}', "the answer was 503, not 200"), ""),
        (Fetched(b'{"error": "temporarily_unavailable"}'), ""),
        (Fetched(b'{"error": "server_error"}', "the answer was 400, not 200"), ""),
        (Fetched(b"", "no answer"), ""),
        (Fetched(b"<h1>Bad gateway</h1>", "the answer was 502, not 200"), ""),
        (Fetched(b'{"id_token": "x"}', "the answer was 500, not 200"), ""),
        (Fetched(b'{"error": "invalid_grant"}', "the answer was 400, not 200"), "login-code"),
        (Fetched(b'{"error": "invalid_grant"}'), "login-code"),
        (Fetched(b'{"error": "invalid_client"}', "the answer was 401, not 200"), "login-client"),
        (Fetched(b'{"error": "unauthorized_client"}'), "login-client"),
        (Fetched(b"<h1>Welcome</h1>"), "login-answer"),
        (Fetched(b'["id_token"]'), "login-answer"),
    ],
)
def test_a_token_answer_that_is_none_is_told_from_one_that_did_not_come(answer: Fetched, code: str) -> None:
    """Only of what did not come it is true that trying again may help."""
    world = World()
    flow = world.login.redeem(world.client, ATTEMPT, ANSWER, NOW)

    def outside(wish: Wish) -> Fetched:
        assert isinstance(wish, Fetch)
        return answer if wish.url == TOKEN else world.outside(wish)

    with pytest.raises((LoginFailed, IssuerUnavailable)) as caught:
        run(flow, outside)
    assert getattr(caught.value, "code", "") == (code or "issuer-unavailable")
    assert isinstance(caught.value, LoginFailed) is bool(code)


@pytest.mark.parametrize("late", [WITHIN, WITHIN + 0.5, 100.0])
def test_nothing_is_asked_when_the_time_is_over(late: float) -> None:
    world = World()
    world.issue()

    def outside(wish: Wish) -> Fetched:
        assert isinstance(wish, Fetch)
        assert wish.timeout > 0
        answer = world.outside(wish)
        world._seconds += late  # the driver is late with its answer
        return answer

    with pytest.raises(IssuerUnavailable, match="in time"):
        run(world.login.redeem(world.client, ATTEMPT, ANSWER, NOW), outside)
    assert world.urls == [DISCOVERY]
