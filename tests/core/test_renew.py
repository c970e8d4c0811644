"""Renewal without a network: claims that are due, stale and over, and what the issuer says about them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import stagedoor.core.login
from stagedoor.core.attempts import MAX_BYTES
from stagedoor.core.cookies import MAX_OURS
from stagedoor.core.endpoints.issuing import Issuing
from stagedoor.core.endpoints.renew import NOT_ABOUT_THE_PERSON, WANTS_THE_VISITOR
from stagedoor.core.messages import Fetched, Reply, Serve
from stagedoor.core.passes.signer import Signer
from stagedoor.core.refresh_tokens import MAX_BYTES as MAX_TOKEN
from stagedoor.core.revocations import Revocation
from stagedoor.core.session import EARLY, POSTPONED
from tests.core.test_sign_in import page, session_of
from tests.helpers.signing_in import AUTHORIZE, TOKEN, Browser, SigningIn, location, parameters, set_cookies
from tests.helpers.support import ISSUER, NOW, RULES, SITE, Visitor, b64, bearer, claims, issuer, token

ANN_FILE, COURSE = "/users/ann/a%20b.txt?x=1%262&y", "/courses/1.mp4"
REFRESH, SESSION = "__Secure-stagedoor-refresh", "__Host-stagedoor"
RENEW = 600.0
SCRIPT = {"sec_fetch_mode": "cors", "sec_fetch_site": "same-origin", "origin": SITE, "accept": "*/*"}
FORM = "application/x-www-form-urlencoded"
PICTURE = {"sec_fetch_mode": "no-cors", "accept": "image/*"}


def due(*, refreshes: bool = True, after: float = RENEW, **more: Any) -> Browser:
    """A browser whose session is due."""
    site = SigningIn(**{"renew": RENEW, **more})
    site.idp.refreshes, site.idp.claims = refreshes, {"groups": ["students"], "sid": "op-1", "auth_time": int(NOW) - 9}
    site.revocations.replace((), NOW)
    browser = Browser(site)
    browser.sign_in(ANN_FILE)
    site.now += after
    return browser


def quoted(target: str) -> str:
    return quote(target, safe="")


def post(browser: Browser, **fields: str) -> Reply:
    return browser.reply("/-/renew", "POST", **{**SCRIPT, **fields})


def said(answer: Reply) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["code"]


# --- the way round


def test_a_navigation_renews_and_comes_back_and_nobody_is_asked_anything() -> None:
    browser = due()
    before, old = session_of(browser), browser.cookies["/-/", REFRESH]
    way = browser.reply(ANN_FILE)
    assert (way.status, way.reason, location(way)) == (302, "session-due", f"{SITE}/-/renew?next={quoted(ANN_FILE)}")
    shown = page(browser.reply(location(way)))
    assert len(browser.site.idp.forms) == 1  # a GET spends nothing
    assert f'data-next="{SITE}{ANN_FILE.replace("&", "&amp;")}"' in shown
    action = re.search(r'action="([^"]*)"', shown)
    assert action
    answer = browser.reply(action[1], "POST", **SCRIPT)
    assert (answer.status, answer.reason, answer.body) == (204, "renewed", b"")
    assert browser.site.idp.forms[1]["grant_type"] == "refresh_token"
    assert isinstance(browser.go(ANN_FILE), Serve)
    after = session_of(browser)
    same = ("iss", "aud", "sid", "op_sid", "iat", "auth_time", "exp", "sub", "digest")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert (after["made"], after["renew"]) == (NOW + RENEW, NOW + 2 * RENEW)
    assert browser.cookies["/-/", REFRESH] != old
    browser.site.now += RENEW
    assert post(browser).status == 204  # with the token that came in place of the first
    assert len(browser.site.idp.forms) == 3


def test_a_button_does_without_script() -> None:
    browser = due()
    answer = browser.reply(f"/-/renew?next={quoted(ANN_FILE)}", "POST", origin=SITE)
    assert (answer.status, location(answer)) == (303, SITE + ANN_FILE)
    assert isinstance(browser.go(ANN_FILE), Serve)


def test_objects_go_on_while_claims_are_due_and_never_renew() -> None:
    browser = due()
    for fields in (PICTURE, {"sec_fetch_mode": "cors"}, {"range": "bytes=5-", "sec_fetch_mode": "no-cors"}):
        assert isinstance(browser.go(ANN_FILE, **fields), Serve)
    assert isinstance(browser.go(ANN_FILE, "HEAD"), Serve)
    assert isinstance(browser.go(ANN_FILE, sec_fetch_dest="iframe"), Serve)
    assert isinstance(browser.go(ANN_FILE, sec_purpose="prefetch"), Serve)
    assert len(browser.site.idp.forms) == 1


def test_open_objects_and_pages_of_ours_need_no_renewal() -> None:
    browser = due(after=3 * RENEW, lifetime=4 * RENEW)
    assert isinstance(browser.go("/public/a"), Serve)
    assert browser.reply("/-/logout").status == 200


def test_claims_that_are_stale_open_nothing_and_are_renewed_all_the_same() -> None:
    browser = due(after=2 * RENEW - 1)
    assert isinstance(browser.go(ANN_FILE, **PICTURE), Serve)
    browser.site.now += 1
    answer = browser.reply(ANN_FILE, **PICTURE)
    assert said(answer) == (401, "session-stale")
    assert "set-cookie" not in str(answer.headers)
    assert browser.reply("/-/whoami", **SCRIPT).status == 401
    assert location(browser.reply(ANN_FILE)) == f"{SITE}/-/renew?next={quoted(ANN_FILE)}"
    framed = browser.reply(ANN_FILE, sec_fetch_dest="iframe")
    assert (framed.status, "/-/renew?next=" in page(framed)) == (401, True)
    assert post(browser).status == 204
    assert isinstance(browser.go(ANN_FILE, **PICTURE), Serve)


def test_a_session_ends_when_it_would_have_without_renewal() -> None:
    browser = due(lifetime=RENEW + 10)
    assert post(browser).status == 204
    assert browser.cookies["/", SESSION]
    browser.site.now += 10
    assert said(post(browser)) == (401, "token-expired")
    assert location(browser.reply(ANN_FILE)).startswith(f"{SITE}/-/login?")


def test_a_cookie_says_how_long_it_lasts() -> None:
    browser = due()
    lines = set_cookies(post(browser))
    assert [re.sub(r"=[^;]+;", "=…;", line, count=1) for line in lines] == [
        f"{SESSION}=…; Path=/; Max-Age={int(3600 - RENEW)}; HttpOnly; SameSite=Lax; Secure",
        f"{REFRESH}=…; Path=/-/; Max-Age={int(3600 - RENEW)}; HttpOnly; SameSite=Lax; Secure",
    ]
    browser.site.idp.failure = Fetched(b"", "no answer")
    browser.site.now += RENEW
    (line,) = set_cookies(post(browser))
    assert f"; Max-Age={int(3600 - 2 * RENEW)};" in line


# --- who asks, and who is not asked


def test_what_is_not_due_asks_nobody() -> None:
    browser = due(after=RENEW - EARLY - 1)
    answer = post(browser)
    assert (answer.status, answer.reason) == (204, "renewal-early")
    assert location(browser.reply(f"/-/renew?next={quoted(ANN_FILE)}")) == SITE + ANN_FILE
    assert len(browser.site.idp.forms) == 1
    browser.site.now += 1  # the clock of the server that said so may be ahead
    assert post(browser).status == 204
    assert len(browser.site.idp.forms) == 2


def test_a_session_from_a_token_has_nothing_to_renew() -> None:
    site = SigningIn(renew=RENEW)
    browser = Browser(site)
    made = browser.reply("/-/session", "POST", authorization=bearer(token(claims(exp=NOW + 3000, renew=int(NOW)))))
    assert made.status == 204
    site.now += 3 * RENEW
    assert "renew" not in session_of(browser)
    assert isinstance(browser.go(ANN_FILE), Serve)
    assert post(browser).status == 204
    assert site.idp.forms == []


def test_a_session_of_an_issuer_where_nobody_signs_in_has_nothing_to_renew_either() -> None:
    second = issuer(jwks=None, url="https://second.example")
    site = SigningIn(issuers=(issuer(jwks=None), second), clients=(second,))
    browser = Browser(site)
    assert browser.reply("/-/session", "POST", authorization=bearer(token(claims()))).status == 204
    assert post(browser).status == 204


def test_a_token_with_a_claim_of_that_name_is_no_session() -> None:
    site = SigningIn(renew=RENEW)
    browser = Browser(site)
    browser.cookies["/", "token"] = token(claims(renew=int(NOW) - 9))
    assert isinstance(browser.go(ANN_FILE), Serve)


def test_nobody_is_renewed_without_a_session() -> None:
    browser = Browser(SigningIn(renew=RENEW))
    assert said(post(browser)) == (401, "no-credential")
    browser.cookies["/", SESSION] = "nonsense"
    assert said(post(browser)) == (401, "token-shape")
    answer = browser.reply(f"/-/renew?next={quoted(ANN_FILE)}")
    assert location(answer) == f"{SITE}/-/login?next={quoted(ANN_FILE)}"
    assert not browser.signed_in
    assert browser.site.idp.forms == []


def test_only_pages_of_this_site_and_of_listed_origins_renew() -> None:
    browser = due()
    for fields in ({"origin": "https://evil.example"}, {"origin": "null"}):
        assert said(post(browser, **fields)) == (403, "origin")
    fields = {**SCRIPT, "sec_fetch_site": "cross-site"}
    del fields["origin"]
    assert said(browser.reply("/-/renew", "POST", **fields)) == (403, "origin")
    assert len(browser.site.idp.forms) == 1
    assert browser.reply("/-/renew", "PUT", **SCRIPT).status == 405


@pytest.mark.parametrize(
    "next_", ["//evil.example/", "https://evil.example/", "/\\evil.example", "/-/renew", "/-/login?next=/x", "\t//x"]
)
def test_the_way_back_never_leaves_the_site(next_: str) -> None:
    browser = due()
    shown = page(browser.reply(f"/-/renew?next={quoted(next_)}"))
    target = re.search(r'data-next="([^"]*)"', shown)
    assert target
    assert target[1].startswith(f"{SITE}/")
    answer = browser.reply(f"/-/renew?next={quoted(next_)}", "POST", origin=SITE)
    assert location(answer).startswith(f"{SITE}/")
    assert "/-/" not in location(answer)


def test_no_credential_stays_in_the_address_bar() -> None:
    answer = due().reply("/-/renew?next=%2Fusers%2Fann%2Fx%3Ftoken%3Dey.ey.x%26y%3D1", "POST", origin=SITE)
    assert location(answer) == f"{SITE}/users/ann/x?y=1"


def test_the_page_runs_one_script_and_may_lead_to_the_issuer() -> None:
    answer = due().reply("/-/renew?next=/a")
    policy = dict(answer.headers)[b"content-security-policy"].decode()
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'; connect-src 'self'", policy)
    assert "form-action 'self' https: https://id.example.com;" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


# --- what the issuer says


def test_a_lost_group_is_lost_and_a_new_one_is_there() -> None:
    browser = due()
    assert isinstance(browser.go(COURSE, **PICTURE), Serve)
    browser.site.idp.claims["groups"] = ["gardeners"]
    assert post(browser).status == 204
    assert browser.reply(COURSE, **PICTURE).status == 403
    assert isinstance(browser.go("/groups/gardeners/x", **PICTURE), Serve)


def test_somebody_else_ends_the_session() -> None:
    browser = due(state=True)
    browser.site.revocations.replace((), browser.site.now)
    browser.site.idp.person = "ben"
    answer = browser.reply("/-/renew?next=%2Fusers%2Fann%2Fx", "POST", origin=SITE)
    assert (answer.status, answer.reason) == (403, "renewal-person")
    assert "/-/login?next=%2Fusers%2Fann%2Fx" in page(answer)
    assert "Please sign in again" in page(answer)
    assert b"clear-site-data" in dict(answer.headers)
    assert {SESSION, REFRESH}.isdisjoint(browser.names)
    assert [name.split()[0] for name, _, _ in browser.site.kept] == ["session"]


@pytest.mark.parametrize("silently", [False, True])
def test_the_issuer_cannot_be_asked_so_the_session_goes_on_for_a_while(silently: bool) -> None:
    browser = due(refreshes=not silently)
    browser.site.idp.failure = Fetched(b"", "connection refused")
    if silently:
        address = location(browser.reply("/-/renew?next=%2Fusers%2Fann%2Fx", "POST", origin=SITE))
        answer = browser.reply(browser.site.idp.sign_in(address))
        assert location(answer) == f"{SITE}/users/ann/x"
    else:
        assert post(browser).status == 204
        assert (("/-/", REFRESH) in browser.cookies) is True
    made = session_of(browser)
    assert (made["made"], made["renew"]) == (NOW, NOW + RENEW + POSTPONED)
    assert isinstance(browser.go(ANN_FILE), Serve)
    browser.site.now += POSTPONED
    assert post(browser).status == (409 if silently else 204)
    browser.site.now += RENEW - POSTPONED
    assert said(browser.reply(ANN_FILE, **PICTURE)) == (401, "session-stale")
    if not silently:
        assert said(post(browser)) == (503, "issuer-unavailable")
        by_button = browser.reply("/-/renew?next=%2Fa", "POST", origin=SITE, content_type=FORM)
        assert (by_button.status, "cannot answer now" in page(by_button)) == (503, True)
        browser.site.idp.failure = None
        assert post(browser).status == 204


@pytest.mark.parametrize(
    "failure",
    [
        Fetched(b'{"error": "temporarily_unavailable"}', "the answer was 400, not 200"),
        Fetched(b'{"error": "server_error"}', "the answer was 400, not 200"),
        Fetched(b'{"error": "invalid_client"}', "the answer was 401, not 200"),
        Fetched(b"<html>", ""),
        Fetched(b"", "no answer within 5 s"),
    ],
)
def test_what_says_nothing_about_the_person_takes_nothing_away(failure: Fetched) -> None:
    browser = due()
    browser.site.idp.failure = failure
    answer = post(browser)
    assert (answer.status, answer.reason) == (204, "renewal-later")
    assert session_of(browser)["made"] == NOW
    assert isinstance(browser.go(ANN_FILE), Serve)


REFUSALS: list[Callable[[SigningIn], object]] = [
    lambda site: setattr(site.idp, "failure", Fetched(b'{"error": "invalid_grant"}', "the answer was 400, not 200")),
    lambda site: setattr(site.idp, "failure", Fetched(b'{"error": "invalid_scope"}', "the answer was 400, not 200")),
    lambda site: site.idp.answer.update(id_token=...),
]


@pytest.mark.parametrize("refuse", REFUSALS)
def test_a_refused_refresh_leads_to_the_issuer_once_without_a_word(refuse: Callable[[SigningIn], object]) -> None:
    browser = due()
    before = session_of(browser)
    refuse(browser.site)
    answer = post(browser)
    assert said(answer) == (409, "renew-by-navigation")
    assert REFRESH not in browser.names
    assert session_of(browser) == before
    address = location(browser.reply(f"/-/renew?next={quoted(ANN_FILE)}", "POST", origin=SITE))
    assert address.startswith(f"{AUTHORIZE}?")
    assert parameters(address)["prompt"] == "none"
    browser.site.idp.failure, browser.site.idp.answer = None, {}
    back = browser.reply(browser.site.idp.sign_in(address))
    assert (back.status, location(back)) == (302, SITE + ANN_FILE)
    assert isinstance(browser.go(ANN_FILE), Serve)
    after = session_of(browser)
    assert [after[name] for name in ("sid", "iat", "exp")] == [before[name] for name in ("sid", "iat", "exp")]
    assert after["renew"] == NOW + 2 * RENEW
    assert REFRESH in browser.names
    assert not any("-try-" in name for name in browser.names)


def test_a_script_without_a_refresh_token_is_told_to_navigate() -> None:
    browser = due(refreshes=False)
    assert said(post(browser)) == (409, "renew-by-navigation")
    assert len(browser.site.idp.forms) == 1


@pytest.mark.parametrize("error", WANTS_THE_VISITOR)
def test_who_is_not_signed_in_there_any_more_signs_in(error: str) -> None:
    browser = due(refreshes=False)
    address = location(browser.reply(f"/-/renew?next={quoted(ANN_FILE)}", "POST", origin=SITE))
    state = parameters(address)["state"]
    again = location(browser.reply(f"/-/callback?error={error}&state={state}&iss={ISSUER}"))
    assert again.startswith(f"{AUTHORIZE}?")
    assert "prompt" not in parameters(again)
    refused = browser.reply(f"/-/callback?error={error}&state={parameters(again)['state']}&iss={ISSUER}")
    assert (refused.status, refused.reason) == (403, "login-refused")  # no circle
    again = browser.begin_again(ANN_FILE)
    assert location(browser.reply(browser.site.idp.sign_in(again))) == SITE + ANN_FILE


@pytest.mark.parametrize(("error", "status"), [("temporarily_unavailable", 302), ("access_denied", 403)])
def test_what_the_issuer_says_otherwise(error: str, status: int) -> None:
    browser = due(refreshes=False)
    state = parameters(location(browser.reply("/-/renew?next=/a", "POST", origin=SITE)))["state"]
    answer = browser.reply(f"/-/callback?error={error}&state={state}&iss={ISSUER}")
    assert answer.status == status
    assert session_of(browser)["made"] == NOW
    assert not any("-try-" in name for name in browser.names)


BAD: list[dict[str, Any]] = [
    {"iss": "https://evil.example"},
    {"aud": "another"},
    {"aud": ["another", "client"], "azp": "another"},
    {"azp": "another"},
    {"exp": NOW - 120},
    {"iat": ...},
    {"sub": ...},
    {"sub": ["ann"]},
    {"at_hash": b64(b"0123456789abcdef")},
]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("silently", [False, True])
def test_an_id_token_that_does_not_count_renews_nothing(silently: bool, bad: dict[str, Any]) -> None:
    browser = due(refreshes=not silently)
    before = browser.cookies["/", SESSION]
    browser.site.idp.claims.update(bad)
    if silently:
        address = location(browser.reply("/-/renew?next=/a", "POST", origin=SITE))
        answer = browser.reply(browser.site.idp.sign_in(address))
    else:
        answer = post(browser)
    if "exp" in bad:  # nobody knows whose clock is wrong
        assert answer.status == (302 if silently else 204)
        assert session_of(browser)["made"] == NOW
        return
    assert (answer.status, answer.reason) == (403, "login-token")
    assert browser.cookies["/", SESSION] == before
    assert REFRESH not in browser.names


@pytest.mark.parametrize("code", NOT_ABOUT_THE_PERSON)
def test_codes_are_those_that_sign_in_has(code: str) -> None:
    assert f'code="{code}"' in Path(stagedoor.core.login.__file__).read_text()


# --- what was taken back


def test_what_was_taken_back_is_not_renewed_and_nobody_is_asked() -> None:
    browser = due(state=True)
    sid = str(session_of(browser)["sid"])
    for entry in (
        Revocation("person", ISSUER, "ann", NOW, NOW + 9e4),
        Revocation("session", "", sid, 0, NOW + 9e4),
        Revocation("session", ISSUER, "op-1", 0, NOW + 9e4),
    ):
        browser.site.revocations.replace((entry,), browser.site.now)
        code = f"revoked-{entry.kind}"
        assert said(post(browser)) == (401, code)
    assert len(browser.site.idp.forms) == 1
    assert location(browser.reply("/-/renew?next=/a")) == f"{SITE}/-/login?next=%2Fa"


def test_without_the_list_nobody_is_renewed_and_nothing_is_spent() -> None:
    browser = due(state=True)
    assert said(post(browser)) == (503, "state-unavailable")
    assert len(browser.site.idp.forms) == 1
    browser.site.revocations.replace((), browser.site.now)
    assert post(browser).status == 204


def test_without_the_list_no_code_is_spent_at_the_callback() -> None:
    site = SigningIn(state=True)
    browser = Browser(site)
    target = site.idp.sign_in(browser.begin(ANN_FILE))
    answer = browser.reply(target)
    assert (answer.status, answer.reason, site.idp.forms) == (503, "state-unavailable", [])
    site.revocations.replace((), site.now)
    assert location(browser.reply(target)) == SITE + ANN_FILE


def test_who_signed_out_meanwhile_is_not_signed_in_again() -> None:
    browser = due(refreshes=False)
    address = location(browser.reply("/-/renew?next=%2Fusers%2Fann%2Fx", "POST", origin=SITE))
    target = browser.site.idp.sign_in(address)
    cookies = dict(browser.cookies)
    browser.reply("/-/logout", "POST", origin=SITE)
    del cookies["/", SESSION]
    browser.cookies = cookies
    answer = browser.reply(target)
    assert (location(answer), answer.reason) == (f"{SITE}/users/ann/x", "login-over")
    assert not browser.signed_in


def test_another_session_is_not_renewed_by_the_attempt_of_the_first() -> None:
    browser = due(refreshes=False)
    target = browser.site.idp.sign_in(location(browser.reply("/-/renew?next=/a", "POST", origin=SITE)))
    browser.reply(browser.site.idp.sign_in(browser.begin_again("/b")))
    before = browser.cookies["/", SESSION]
    assert browser.reply(target).reason == "login-over"
    assert browser.cookies["/", SESSION] == before


# --- refresh tokens


def test_a_refresh_token_counts_for_one_session_of_one_person_at_one_site() -> None:
    ann, ben = due(), due()
    ben.site.idp.person = "ben"
    ben.reply(ben.site.idp.sign_in(ben.begin_again("/x")))
    ben.site.now += RENEW
    ben.cookies["/-/", REFRESH] = ann.cookies["/-/", REFRESH]
    asked = len(ben.site.idp.forms)
    assert said(post(ben)) == (409, "renew-by-navigation")
    assert len(ben.site.idp.forms) == asked


def test_nobody_reads_or_changes_it_and_no_object_request_carries_it() -> None:
    browser = due()
    sealed = browser.cookies["/-/", REFRESH]
    assert "refresh" not in sealed
    browser.cookies["/-/", REFRESH] = sealed[:-2] + ("AA" if sealed[-2:] != "AA" else "BB")
    assert said(post(browser)) == (409, "renew-by-navigation")


def test_one_that_a_neighbour_has_planted_is_passed_over() -> None:
    browser = due()
    sealed = browser.cookies.pop(("/-/", REFRESH))
    browser.cookies["/-/", SESSION] = browser.cookies["/", SESSION]
    assert browser.reply("/-/renew", "POST", **SCRIPT, cookie=_both(browser, sealed)).status == 204


def _both(browser: Browser, sealed: str) -> str:
    return f"{SESSION}={browser.cookies['/', SESSION]}; {REFRESH}=planted; {REFRESH}={sealed}"


@pytest.mark.parametrize(("size", "kept"), [(MAX_TOKEN, True), (MAX_TOKEN + 1, False)])
def test_one_that_is_too_long_is_not_kept(size: int, kept: bool) -> None:
    site = SigningIn(renew=RENEW)
    site.idp.answer = {"refresh_token": "r" * size}
    browser = Browser(site)
    browser.sign_in(ANN_FILE)
    assert (REFRESH in browser.names) is kept
    if kept:
        assert len(REFRESH) + len(browser.cookies["/-/", REFRESH]) < 4096 - 80


def test_with_it_too_our_cookies_keep_to_their_limit_together() -> None:
    site = SigningIn(renew=RENEW, lifetime=86400.0)
    site.idp.answer = {"refresh_token": "r" * 1800}  # as Cognito's
    site.idp.claims = {"groups": [f"{number:036}" for number in range(30)]}
    browser = Browser(site)
    browser.sign_in(ANN_FILE)
    assert REFRESH in browser.names

    def size(*, tries: bool = False) -> int:
        return sum(len(n) + len(v) for (_, n), v in browser.cookies.items() if not tries or "-try-" in n)

    for number in range(20):
        address = browser.begin_again(f"/users/ann/{'x' * 900}{number}")
        assert size() <= MAX_OURS
        assert size(tries=True) <= MAX_BYTES
    assert browser.reply(site.idp.sign_in(address)).status == 302
    assert size() <= MAX_OURS
    site.idp.claims = {"groups": [f"{number:036}" for number in range(64)]}
    site.idp.answer = {"refresh_token": "r" * 2700}
    site.idp.refreshes = True
    browser.reply(site.idp.sign_in(browser.begin_again("/x")))
    assert size() <= MAX_OURS
    assert REFRESH not in browser.names  # the session goes before it


def test_claims_that_do_not_fit_any_more_are_named_and_the_new_token_is_kept() -> None:
    browser = due()
    browser.site.idp.claims["groups"] = [f"{number:036}" for number in range(500)]
    answer = browser.reply("/-/renew?next=/a", "POST", origin=SITE)
    assert (answer.status, answer.reason) == (422, "session-too-large")
    assert "groups" in page(answer)
    browser.site.idp.claims["groups"] = []
    assert post(browser).status == 204


def test_sign_out_takes_it_away_and_spends_it_for_a_hint() -> None:
    browser = due()
    answer = browser.reply("/-/logout", "POST", origin=SITE)
    asked = parameters(location(answer))
    assert asked["id_token_hint"].count(".") == 2
    assert asked["post_logout_redirect_uri"] == f"{SITE}/-/logout"
    assert {SESSION, REFRESH}.isdisjoint(browser.names)


def test_sign_out_works_with_a_session_that_is_stale() -> None:
    browser = due(after=2 * RENEW, state=True, refreshes=False)
    browser.site.revocations.replace((), browser.site.now)
    sid = session_of(browser)["sid"]
    asked = parameters(location(browser.reply("/-/logout", "POST", origin=SITE)))
    assert "id_token_hint" not in asked
    assert [name for name, _, _ in browser.site.kept] == [f"session  {sid}"]


# --- passes, and settings that change


@pytest.mark.parametrize(
    ("target", "body"), [("/-/urls", {"file": "users/ann/x"}), ("/-/cookies", {"prefix": "users/ann/"})]
)
def test_passes_are_issued_only_while_claims_are_not_due(target: str, body: dict[str, str]) -> None:
    browser = due(after=RENEW - 1, issuing=Issuing(Signer("K1", lambda *_: b"signature"), 600, 600))

    def issued() -> Reply:
        cookie = f"{SESSION}={browser.cookies['/', SESSION]}"
        return browser.site.send(target, json.dumps(body).encode(), cookie=cookie, **SCRIPT)

    assert issued().status in (201, 204)
    browser.site.now += 1
    assert said(issued()) == (401, "session-due")
    assert post(browser).status == 204
    assert issued().status in (201, 204)


def test_a_session_says_when_it_is_due() -> None:
    browser = due(after=0)
    assert json.loads(browser.reply("/-/whoami", **SCRIPT).body)["renew"] == NOW + RENEW


def test_a_session_whose_rules_changed_is_renewed_once() -> None:
    browser = due(after=100)
    rules = (*RULES, {"path": "users/**", "deny": {"groups": ["blocked"]}})
    other = SigningIn(rules, renew=RENEW)
    other.idps, other.now = browser.site.idps, browser.site.now
    browser.site = other
    assert said(browser.reply(ANN_FILE, **PICTURE)) == (401, "session-outdated")
    assert location(browser.reply(ANN_FILE)) == f"{SITE}/-/renew?next={quoted(ANN_FILE)}"
    other.idp.failure = Fetched(b"", "connection refused")
    assert said(post(browser)) == (503, "issuer-unavailable")  # its claims may lack what the new rule asks
    other.idp.failure = None
    assert post(browser).status == 204
    assert isinstance(browser.go(ANN_FILE), Serve)


def test_an_issuer_where_people_do_not_sign_in_any_more_renews_nobody() -> None:
    browser = due()
    second = issuer(jwks=None, url="https://second.example")
    other = SigningIn(issuers=(issuer(jwks=None), second), renew=RENEW, clients=(second,))
    other.now, browser.site = browser.site.now, other
    assert said(post(browser)) == (401, "session-issuer")
    assert location(browser.reply("/-/renew?next=/a")) == f"{SITE}/-/login?next=%2Fa"


def test_where_nobody_signs_in_there_is_no_renewal() -> None:
    assert said(Visitor().reply("/-/renew", "POST")) == (404, "login-inactive")


def test_all_renewals_ask_one_address() -> None:
    browser = due()
    post(browser)
    assert browser.site.idp.asked.count(TOKEN) == 2


@pytest.mark.parametrize(
    "entry",
    [Revocation("person", ISSUER, "ann", NOW, NOW + 9e4), Revocation("session", ISSUER, "op-1", 0, NOW + 9e4), None],
)
def test_sign_out_spends_nothing_for_a_session_that_was_taken_back(entry: Revocation | None) -> None:
    """The hint is a new id token, which counts as a bearer token here; None: nobody knows what was taken back."""
    browser = due(state=True)
    if entry is not None:
        browser.site.revocations.replace((entry,), browser.site.now)
    answer = browser.reply("/-/logout", "POST", origin=SITE)
    assert "id_token_hint" not in parameters(location(answer))
    assert len(browser.site.idp.forms) == 1
    assert not browser.signed_in


@pytest.mark.parametrize("silently", [False, True])
def test_a_renewed_session_is_of_the_issuers_session_that_vouched_for_it(silently: bool) -> None:
    """So that a back-channel logout of that one ends it; what is over there already vouches for nothing."""
    browser = due(state=True, refreshes=not silently)
    ended = Revocation("session", ISSUER, "op-2", 0, NOW + 9e4)
    browser.site.idp.claims["sid"] = "op-2"
    browser.site.revocations.replace((ended,), browser.site.now)
    before = browser.cookies["/", SESSION]
    assert _renewed(browser, silently) == (403, "revoked-session")
    assert browser.cookies["/", SESSION] == before
    assert REFRESH not in browser.names
    browser.site.revocations.replace((), browser.site.now)
    browser.reply(browser.site.idp.sign_in(location(browser.reply("/-/renew?next=/a", "POST", origin=SITE))))
    assert session_of(browser)["op_sid"] == "op-2"
    browser.site.revocations.add((ended,))
    assert said(browser.reply(ANN_FILE, **PICTURE)) == (401, "revoked-session")


def _renewed(browser: Browser, silently: bool) -> tuple[int, str]:
    if not silently:
        return said(post(browser))
    address = location(browser.reply("/-/renew?next=/a", "POST", origin=SITE))
    answer = browser.reply(browser.site.idp.sign_in(address))
    return answer.status, answer.reason


@pytest.mark.parametrize("silently", [False, True])
def test_a_session_that_grows_when_it_is_renewed_displaces_the_oldest_sign_ins(silently: bool) -> None:
    site = SigningIn(renew=RENEW, lifetime=86400.0)
    site.idp.refreshes = True
    browser = Browser(site)
    browser.sign_in(ANN_FILE)
    site.now += RENEW
    if silently:
        del browser.cookies["/-/", REFRESH]
        address = location(browser.reply("/-/renew?next=/a", "POST", origin=SITE))
    for number in range(4 if silently else 8):
        browser.begin_again(f"/users/ann/{'x' * 200}{number}")
    site.now += 1
    browser.begin_again("/x")
    site.idp.claims = {"groups": [f"{number:036}" for number in range(50)]}
    site.idp.answer = {"refresh_token": "r" * 1500}
    answer = browser.reply(site.idp.sign_in(address)) if silently else post(browser)
    assert answer.reason == "renewed"
    assert REFRESH in browser.names
    assert sum(len(name) + len(value) for (_, name), value in browser.cookies.items()) <= MAX_OURS
    assert any("-try-" in name for name in browser.names)


@pytest.mark.parametrize("query", ["error=temporarily_unavailable", "error=server_error", "x=1"])
def test_who_says_that_the_issuer_does_not_answer_is_issued_no_pass_by_that(query: str) -> None:
    """Anybody can write such an address; a pass outlives what is known of the person by its own life."""
    browser = due(refreshes=False, issuing=Issuing(Signer("K1", lambda *_: b"signature"), 600, 600))

    def issued() -> int:
        cookie = f"{SESSION}={browser.cookies['/', SESSION]}"
        return browser.site.send("/-/urls", b'{"file": "users/ann/x"}', cookie=cookie, **SCRIPT).status

    state = parameters(location(browser.reply("/-/renew?next=/a", "POST", origin=SITE)))["state"]
    assert browser.reply(f"/-/callback?{query}&state={state}&iss={ISSUER}").reason == "renewal-later"
    assert issued() == 503
    assert isinstance(browser.go(ANN_FILE), Serve)
    browser.site.now += POSTPONED
    address = location(browser.reply("/-/renew?next=/a", "POST", origin=SITE))
    assert browser.reply(browser.site.idp.sign_in(address)).reason == "renewed"
    assert issued() == 201


def test_no_pass_is_issued_while_the_issuer_does_not_answer_us_either() -> None:
    """What is known of the person is as old as if the browser had said so."""
    browser = due(issuing=Issuing(Signer("K1", lambda *_: b"signature"), 600, 600))
    browser.site.idp.failure = Fetched(b"", "no answer within 5 s")
    assert post(browser).reason == "renewal-later"
    cookie = f"{SESSION}={browser.cookies['/', SESSION]}"
    answer = browser.site.send("/-/urls", b'{"file": "users/ann/x"}', cookie=cookie, **SCRIPT)
    assert said(answer) == (503, "issuer-unavailable")
