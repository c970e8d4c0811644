"""The promises of DESIGN.md ("What must hold"), as far as the core alone can keep them. Doors add their own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.core import jose, paths
from stagedoor.core.caller import ANONYMOUS, Caller
from stagedoor.core.credentials import Sources
from stagedoor.core.door import Site
from stagedoor.core.errors import InvalidTarget
from stagedoor.core.messages import Fetch, Reply, Serve
from stagedoor.core.policy.decide import Allow, Deny, Policy
from stagedoor.core.revocations import Revocation
from stagedoor.keys import signatures
from tests.helpers.signing_in import Browser, SigningIn
from tests.helpers.support import (
    ISSUER,
    KEYS_URL,
    NOW,
    RULES,
    SITE,
    Visitor,
    Web,
    bearer,
    claims,
    field,
    rsa_signer,
    token,
)

ANN = bearer(token(claims(groups=["students"])))
EVERYTHING = [{"path": "**", "allow": "anyone"}]

targets = st.one_of(
    st.binary(max_size=30).map(lambda raw: "/" + raw.decode("latin-1").replace("?", "")),
    st.lists(
        st.sampled_from(
            ["a", "..", ".", "%2e%2e", "%2f", "%5c", "%00", "%", "users", "ann", "-", "%2d", "+", "%20", "ü", ""]
        ),
        max_size=6,
    ).map(lambda parts: "/" + "/".join(parts)),
)


# --- 1. The key that was authorised is the key that is fetched.


@given(targets)
@settings(max_examples=3 * settings().max_examples, deadline=None)
def test_1_the_key_the_policy_saw_is_the_key_that_is_served(target: str) -> None:
    seen: list[str] = []
    visitor = Visitor(EVERYTHING)
    visitor.door.policy = Watching(visitor.door.policy, seen)
    answer = visitor.ask(target)
    if isinstance(answer, Serve):
        assert seen == [answer.key]
        assert paths.decode(target.encode("latin-1")) == answer.key
        assert paths.decode(paths.encode(answer.key).encode()) == answer.key
    else:
        assert answer.status in (302, 400, 404)
        assert seen == []


class Watching(Policy):
    """A policy that writes down what it is asked."""

    def __init__(self, policy: Policy, seen: list[str]) -> None:
        super().__init__(policy.rules, remember=0)
        self.seen = seen

    def _opened(self, key: str) -> Allow | None:
        found = super()._opened(key)
        if found is not None:
            self.seen.append(key)
        return found

    def _decide(self, caller: Caller, key: str) -> Allow | Deny:
        self.seen.append(key)
        return super()._decide(caller, key)


@given(targets)
@settings(max_examples=3 * settings().max_examples, deadline=None)
def test_1_ambiguous_targets_are_refused_with_400(target: str) -> None:
    answer = Visitor(EVERYTHING).ask(target)
    try:
        paths.decode(target.encode("latin-1"))
    except InvalidTarget:
        assert isinstance(answer, Reply)
        assert answer.status == (404 if target.startswith("/-/") else 400)
    else:
        assert isinstance(answer, Serve) or answer.status in (302, 404)


# --- 2. Deny by default; any failure denies.


@given(st.text(max_size=20))
def test_2_deny_by_default(key: str) -> None:
    for caller in (ANONYMOUS, Caller("staff", "https://x", {"sub": "ann"})):
        assert not isinstance(Policy(()).decide(caller, key), Allow)


def test_2_an_issuer_that_cannot_be_reached_never_opens_the_door() -> None:
    for pages in (Web(), Web({KEYS_URL: b""}), Web({KEYS_URL: b"{}"}), Web({KEYS_URL: b"\xff"})):
        reply = Visitor(pages=pages).reply("/users/ann/a", authorization=ANN)
        assert reply.status == 503


def test_2_could_not_ask_is_503_you_may_not_is_403_who_are_you_is_401_or_a_redirect() -> None:
    browser = {"sec_fetch_mode": "navigate"}
    login = Visitor(site=Site(SITE, login_page="https://login.example/"))
    assert Visitor(pages=Web()).reply("/users/ann/a", authorization=ANN).status == 503
    assert Visitor().reply("/users/ben/a", authorization=ANN).status == 403
    assert Visitor().reply("/users/ann/a").status == 401
    assert login.reply("/users/ann/a", **browser).status == 302


@pytest.mark.parametrize("where", ["policy", "tokens"])
def test_2_an_exception_never_opens_the_door(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = Visitor()

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(
        visitor.door.policy if where == "policy" else signatures, "decide" if where == "policy" else "load", fail
    )
    with pytest.raises(RuntimeError):
        visitor.ask("/users/ann/a", authorization=ANN)


# --- 3. Authorise before the cache, every time.


def test_3_every_request_is_decided_for_its_own_caller() -> None:
    visitor = Visitor()
    ben = bearer(token(claims(sub="ben")))
    for _ in range(3):
        assert isinstance(visitor.ask("/users/ann/a", authorization=ANN), Serve)
        assert visitor.reply("/users/ann/a", authorization=ben).status == 403
        assert visitor.reply("/users/ann/a").status == 401


@pytest.mark.parametrize(
    "fields",
    [{"if_none_match": "*"}, {"if_match": '"x"'}, {"range": "bytes=0-"}, {"if_modified_since": "x"}, {"if_range": "x"}],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_3_no_condition_or_range_changes_the_decision(method: str, fields: dict[str, str]) -> None:
    assert Visitor().reply("/users/ann/a", method, **fields).status == 401
    assert Visitor().reply("/users/ben/a", method, **{**fields, "authorization": ANN}).status == 403


def test_3_a_remembered_token_is_forgotten_when_it_ends() -> None:
    visitor = Visitor()
    assert isinstance(visitor.ask("/users/ann/a", authorization=ANN), Serve)
    visitor.now += 600
    assert visitor.reply("/users/ann/a", authorization=ANN).reason == "token-expired"


# --- 4. One policy, one answer.


@pytest.mark.parametrize(
    "key", ["users/ann/a", "users/ben/a", "courses/a", "courses/drafts/a", "groups/students/x", "public/a", "x"]
)
def test_4_a_token_in_any_place_and_its_session_get_one_answer(key: str) -> None:
    visitor = Visitor(site=Site(SITE, Sources(("header", "cookie", "query"))))
    session = field(visitor.reply("/-/session", "POST", authorization=ANN).headers, "set-cookie") or ""
    answers = [
        visitor.ask(f"/{key}", authorization=ANN),
        visitor.ask(f"/{key}", cookie=f"token={ANN[7:]}"),
        visitor.ask(f"/{key}?token={ANN[7:]}"),
        visitor.ask(f"/{key}", cookie=session.partition(";")[0]),
    ]
    assert len({outcome(answer) for answer in answers}) == 1


def outcome(answer: Serve | Reply) -> object:
    return (answer.key, answer.rule, answer.caller) if isinstance(answer, Serve) else (answer.status, answer.reason)


# --- 5. No credential goes further than the door.


def test_5_no_answer_of_the_door_holds_a_credential() -> None:
    old, forged = token(claims(exp=NOW - 1)), token(signer=rsa_signer(kid="stranger"), kid="rsa-1")
    site = Site(SITE, Sources(("header", "cookie", "query")), login_page="https://login.example/")
    for text in (ANN[7:], old, forged, "secret-rubbish-secret"):
        for fields in ({"authorization": bearer(text)}, {"cookie": f"token={text}"}, {}):
            for mode in ("navigate", "cors"):
                for path in ("/users/ann/a", "/users/ben/a", "/%00", "/-/whoami", "/-/nothing"):
                    query = "" if fields else f"?token={text}"
                    answer = Visitor(site=site).ask(path + query, **{**fields, "sec_fetch_mode": mode})
                    assert text[-20:] not in repr(answer)


# --- 6. No client header changes who or what is asked.


@pytest.mark.parametrize(
    "name",
    [
        *("host", "x_forwarded_host", "x_forwarded_for", "x_forwarded_proto", "forwarded", "x_real_ip"),
        *("x_original_url", "x_rewrite_url", "x_original_uri", "x_forwarded_uri", "x_http_method_override"),
        *("x_forwarded_user", "x_user", "remote_user", "x_forwarded_method", "x_amzn_oidc_data"),
    ],
)
@pytest.mark.parametrize("target", ["/users/ann/a", "/users/ben/a", "/public/a", "/"])
def test_6_no_client_header_changes_who_or_what_is_asked(name: str, target: str) -> None:
    plain = Visitor().ask(target, authorization=ANN)
    for value in ("/public/a", "ben", "evil.example", "DELETE", "127.0.0.1"):
        assert Visitor().ask(target, **{"authorization": ANN, name: value}) == plain


# --- 7. Only issuer + audience + algorithm + key that were configured verify a token.


@pytest.mark.parametrize(
    "text",
    [
        token(claims(iss="https://other.example")),
        token(claims(aud="other")),
        token(claims(exp=...)),
        token(signer=rsa_signer("RS512", "rsa-1")),
        token(signer=rsa_signer(kid="other")),
        token(signer=rsa_signer(kid="other"), kid="rsa-1"),
    ],
    ids=["issuer", "audience", "exp", "algorithm", "kid", "key"],
)
def test_7_only_what_was_configured_verifies_a_token(text: str) -> None:
    visitor = Visitor()
    assert visitor.reply("/users/ann/a", authorization=bearer(text)).status == 401
    assert set(visitor.web.asked) <= {KEYS_URL}


@given(st.dictionaries(st.sampled_from(["jku", "x5u", "kid", "jwk"]), st.just("https://evil.example/keys"), min_size=1))
@settings(max_examples=16, deadline=None)
def test_7_nothing_in_a_token_makes_us_fetch_a_url(header: dict[str, Any]) -> None:
    visitor = Visitor()
    visitor.ask("/users/ann/a", authorization=bearer(token(None, None, **header)))
    assert set(visitor.web.asked) <= {KEYS_URL}


# --- 8. Bounded work.


def test_8_a_token_beyond_16_kb_is_not_even_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jose, "base64url", None)
    reply = Visitor().reply("/users/ann/a", authorization=bearer("a" * (16 * 1024 + 1)))
    assert (reply.status, reply.reason) == (401, "token-too-long")


def test_8_unknown_keys_of_many_tokens_make_one_question() -> None:
    visitor = Visitor()
    for serial in range(50):
        assert visitor.reply("/users/ann/a", authorization=bearer(token(kid=f"k{serial}"))).status == 401
    assert visitor.web.asked == [KEYS_URL]


def test_8_every_wish_has_limits_of_time_and_size() -> None:
    visitor = Visitor(RULES)
    flow = visitor.door.tokens.verify(ANN[7:], NOW)
    wish = next(flow)
    assert isinstance(wish, Fetch)
    assert 0 < wish.timeout <= 5
    assert 0 < wish.limit <= 1_048_576
    flow.close()


# --- 9. What was taken back stays out.


@pytest.mark.parametrize("way", ["header", "cookie", "session"])
def test_9_what_was_taken_back_gets_nothing_and_neither_does_anybody_if_that_is_not_known(way: str) -> None:
    site = SigningIn(state=True)
    site.revocations.replace((), NOW)
    mine = token(claims(iat=NOW))
    browser = Browser(site)
    if way == "session":
        browser.sign_in("/users/ann/a")
    asked = {"header": {"authorization": bearer(mine)}, "cookie": {"cookie": f"token={mine}"}, "session": {}}[way]
    assert isinstance(browser.go("/users/ann/a", **asked), Serve)
    site.revocations.add([Revocation("person", ISSUER, "ann", NOW, NOW + 900)])
    for target in ("/users/ann/a", "/-/urls", "/-/session"):
        method = "GET" if target == "/users/ann/a" else "POST"
        answer = browser.reply(target, method, **{"sec_fetch_mode": "cors", "origin": SITE, **asked})
        assert answer.status in (401, 404)
    site.now += 301
    assert browser.reply("/users/ann/a", **asked).status == 503
    assert isinstance(browser.go("/public/a", **asked), Serve)
