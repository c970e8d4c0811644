"""Sign-in as a whole, without a network: from the object that was asked for to the object, and back out again."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

import pytest

from stagedoor.core.attempts import LIFETIME, MAX_BYTES
from stagedoor.core.cookies import MAX_OURS
from stagedoor.core.door import Site
from stagedoor.core.endpoints.callback import MAX_RESTARTS
from stagedoor.core.messages import Reply, Serve
from tests.helpers.signing_in import AUTHORIZE, END, Browser, SigningIn, location, parameters, set_cookies
from tests.helpers.support import (
    CLIENT,
    ISSUER,
    NOW,
    RULES,
    SITE,
    Visitor,
    bearer,
    claims,
    issuer,
    says_nothing_twice,
    token,
)

ANN_FILE, BEN_FILE = "/users/ann/a%20b.txt?x=1%262&y", "/users/ben/x"


def session_of(browser: Browser) -> dict[str, object]:
    value = browser.cookies["/", "__Host-stagedoor"].split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(value + "=="))
    return found


def page(answer: Reply) -> str:
    assert dict(answer.headers)[b"content-type"].startswith(b"text/html")
    assert b"content-security-policy" in dict(answer.headers)
    text = re.sub(r"<style>.*?</style>", "", answer.body.decode(), flags=re.DOTALL)
    says_nothing_twice(text)
    return text


# --- the way in


def test_a_deep_link_leads_through_the_issuer_back_to_itself() -> None:
    browser = Browser(SigningIn())
    asked = parameters(address := browser.begin(ANN_FILE))
    assert address.startswith(f"{AUTHORIZE}?")
    assert asked["response_type"] == "code"
    assert (asked["client_id"], asked["redirect_uri"]) == (CLIENT, f"{SITE}/-/callback")
    assert (asked["code_challenge_method"], asked["response_mode"]) == ("S256", "query")
    assert asked["scope"] == "openid email profile"
    assert re.fullmatch(r"[A-Za-z0-9_-]+", asked["state"])
    back = browser.reply(browser.site.idp.sign_in(address))
    assert location(back) == SITE + ANN_FILE
    assert dict(back.headers)[b"cache-control"] == b"no-store"
    assert dict(back.headers)[b"referrer-policy"] == b"no-referrer"
    served = browser.go(location(back))
    assert isinstance(served, Serve)
    assert (served.key, served.caller) == ("users/ann/a b.txt", "staff:ann")
    assert browser.names == {"__Host-stagedoor", "__Host-stagedoor-done"}


def test_a_session_goes_back_to_its_sign_in_and_lasts_as_long_as_the_site_says() -> None:
    site = SigningIn(lifetime=7200)
    site.idp.claims = {"sid": "op-1", "auth_time": int(NOW) - 5, "exp": NOW + 60}
    browser = Browser(site)
    browser.sign_in(ANN_FILE)
    made = session_of(browser)
    assert (made["iat"], made["exp"], made["auth_time"]) == (int(NOW), int(NOW) + 7200, int(NOW) - 5)
    assert (made["iss"], made["aud"], made["op_sid"]) == (ISSUER, SITE, "op-1")
    assert made["sid"] != "op-1"
    site.now += 7100
    assert isinstance(browser.go(ANN_FILE), Serve)
    site.now += 200
    assert location(browser.go(ANN_FILE)).startswith(f"{SITE}/-/login?")


def test_each_cookie_is_kept_from_scripts_and_other_sites() -> None:
    browser = Browser(SigningIn())
    first = browser.reply(location(browser.reply(ANN_FILE)))
    back = browser.reply(browser.site.idp.sign_in(location(first)))
    for line in (*set_cookies(first), *set_cookies(back)):
        if line.startswith("__Host-"):
            assert "; Path=/; " in line
            assert line.endswith("; HttpOnly; SameSite=Lax; Secure")


def test_cookies_keep_to_their_limits() -> None:
    """A caller in 500 groups of which rules name 20."""
    groups = [f"org-group-{number:03}-{number * 7919:024}" for number in range(500)]
    site = SigningIn(({"path": "a/**", "allow": {"groups": [group[:13] for group in groups[:20]]}}, *RULES[:2]))
    site.idp.claims = {"groups": [*(group[:13] for group in groups[:20]), *groups[20:]]}
    browser = Browser(site)
    browser.sign_in(ANN_FILE)
    assert len(browser.cookies["/", "__Host-stagedoor"]) < 1024
    for number in range(40):
        browser.begin_again(f"/users/ann/{'x' * 900}{number}")
        tries = {name: value for (_, name), value in browser.cookies.items() if "-try-" in name}
        assert sum(len(name) + len(value) for name, value in tries.items()) <= MAX_BYTES
        assert sum(len(name) + len(value) for (_, name), value in browser.cookies.items()) < 8000
    assert len(tries) > 1


def test_a_large_session_and_many_attempts_keep_to_it_together() -> None:
    site = SigningIn()
    site.idp.claims = {"groups": [f"{number:036}" for number in range(65)]}
    browser = Browser(site)
    browser.cookies["/", "__Host-stagedoor-paths"] = "x" * 1024

    def size() -> int:
        return sum(len(name) + len(value) for (_, name), value in browser.cookies.items())

    for number in range(5):
        browser.begin_again(f"/users/ann/{'x' * 500}{number}")
    browser.reply(site.idp.sign_in(browser.begin_again(ANN_FILE)))
    assert len(browser.cookies["/", "__Host-stagedoor"]) > 3500
    assert 6000 < size() <= MAX_OURS
    for number in range(5):
        address = browser.begin_again(f"/users/ann/{'x' * 500}{number}")
        assert size() <= MAX_OURS
    assert browser.reply(site.idp.sign_in(address)).status == 302
    assert size() <= MAX_OURS


def test_claims_that_do_not_fit_get_a_page_that_names_them() -> None:
    site = SigningIn()
    site.idp.claims = {"groups": [f"{number:036}" for number in range(500)]}
    browser = Browser(site)
    answer = browser.reply(site.idp.sign_in(browser.begin(ANN_FILE)))
    assert (answer.status, answer.reason, browser.signed_in) == (422, "session-too-large", False)
    assert "groups" in page(answer)
    assert browser.names == set(), "the attempt is used up"


# --- several at once


def test_thirty_tabs_at_once_all_end_where_they_wanted_to() -> None:
    """Each asks before any answer has come, so their cookies displace one another's."""
    site = SigningIn()
    browser = Browser(site)
    wanted = [f"/users/ann/{number}" for number in range(30)]
    logins = [location(browser.reply(target)) for target in wanted]
    asked = dict(browser.cookies)
    answers = []
    for login in logins:
        mine = Browser(site)
        mine.cookies = dict(asked)  # what the browser had when it asked
        answers.append(location(mine.reply(login)))
        browser.cookies.update(mine.cookies)
    back = [site.idp.sign_in(address) for address in answers]
    ended = []
    for target in back:
        for _ in range(10):
            answer = browser.go(target)
            if isinstance(answer, Serve):
                ended.append(f"/{answer.key}")
                break
            target = waited_for(answer) or location(answer)
            target = site.idp.sign_in(target) if target.startswith(AUTHORIZE) else target
    assert ended == wanted


def waited_for(answer: Reply) -> str:
    """Where a page goes by itself, which lets other tabs go first; "" for other answers."""
    if answer.reason != "login-waits":
        return ""
    seconds, _, address = dict(answer.headers)[b"refresh"].decode().partition("; url=")
    assert int(seconds) in (1, 2, 3)
    assert address.startswith(f"{SITE}/-/callback?state=")
    return address


def test_displaced_tabs_wait_for_the_sign_in_of_another_instead_of_displacing_one_another_again() -> None:
    """All come back before the first session begins."""
    site = SigningIn()
    browser = Browser(site)
    back = [(f"/users/ann/{n}", site.idp.sign_in(browser.begin(f"/users/ann/{n}"))) for n in range(30)]
    kept, waiting = list[str](), list[tuple[str, str]]()
    before = dict(browser.cookies)
    for wanted, target in back[:-1]:
        mine = Browser(site)
        mine.cookies = dict(before)
        answer = mine.reply(target)
        if address := waited_for(answer):
            assert mine.cookies == before  # nothing of the others is lost
            waiting.append((wanted, address))
        else:
            kept.append(location(answer))
    assert (len(kept), len(waiting)) == (7, 22)
    assert location(browser.reply(back[-1][1])) == SITE + back[-1][0]
    for wanted, address in waiting:
        assert location(browser.reply(address)) == SITE + wanted


def test_a_displaced_tab_begins_again_by_itself_and_not_for_ever() -> None:
    site = SigningIn()
    browser = Browser(site)
    target = site.idp.sign_in(browser.begin("/users/ann/lost"))
    browser.cookies.clear()
    browser.begin("/users/ann/other")
    again = location(browser.reply(waited_for(browser.reply(target))))
    assert again.startswith(AUTHORIZE)
    assert location(browser.reply(site.idp.sign_in(again))) == f"{SITE}/users/ann/lost"
    begun = 0
    while True:
        browser.cookies = {("/", "__Host-stagedoor-try-0"): "x"}  # other tabs' cookies are there, this one's never
        answer = browser.reply(target)
        if answer.status == 400:
            break
        begun += 1
        target = site.idp.sign_in(location(answer))
    assert (begun, answer.reason) == (MAX_RESTARTS, "login-cookie")


def test_a_displaced_tab_beside_a_good_session_just_goes_on() -> None:
    site = SigningIn()
    browser = Browser(site)
    first = site.idp.sign_in(browser.begin("/users/ann/1"))
    del browser.cookies[next(one for one in browser.cookies if "-try-" in one[1])]
    browser.sign_in(ANN_FILE)
    assert location(browser.reply(first)) == f"{SITE}/users/ann/1"
    assert location(browser.reply("/-/callback?code=x&state=unknown")) == f"{SITE}/"


# --- no circles


def test_a_browser_that_keeps_no_cookies_is_told_so_after_one_more_try() -> None:
    site = SigningIn()
    browser = Browser(site, keeps=False)
    answer = browser.reply(site.idp.sign_in(browser.begin(ANN_FILE)))
    answer = browser.reply(site.idp.sign_in(location(answer)))
    assert (answer.status, answer.reason) == (400, "login-cookie")
    assert "cookies of this site" in page(answer)


CIRCLES: Mapping[str, str] = {
    "": "wants you to sign in again",
    "absent": "does not send back this site",
    "another gateway's": "the same session_keys",
    "over": "set the servers",
}


@pytest.mark.parametrize("session", CIRCLES)
def test_the_third_sign_in_for_one_address_in_a_minute_says_why(session: str) -> None:
    site = SigningIn(lifetime=1 if session == "over" else 3600)
    browser = Browser(site)
    for _ in range(2):
        assert location(browser.reply(site.idp.sign_in(browser.begin_again(ANN_FILE)))) == SITE + ANN_FILE
    if session == "absent":
        del browser.cookies["/", "__Host-stagedoor"]
    elif session == "another gateway's":
        browser.cookies["/", "__Host-stagedoor"] = browser.cookies["/", "__Host-stagedoor"][:-4] + "AAAA"
    elif session == "over":
        site.now += 2
    answer = browser.reply(site.idp.sign_in(browser.begin_again(ANN_FILE)))
    assert (answer.status, answer.reason) == (200, "login-circle")
    assert CIRCLES[session] in page(answer)
    site.now += 61
    assert location(browser.reply(site.idp.sign_in(browser.begin_again(ANN_FILE)))) == SITE + ANN_FILE


def test_sign_ins_for_other_addresses_are_no_circle() -> None:
    site = SigningIn()
    browser = Browser(site)
    for number in range(30):
        back = browser.reply(site.idp.sign_in(browser.begin_again(f"/users/ann/{number}")))
        assert location(back) == f"{SITE}/users/ann/{number}"


def test_signing_out_and_in_again_is_no_circle() -> None:
    site = SigningIn()
    browser = Browser(site)
    for _ in range(5):
        assert location(browser.reply(site.idp.sign_in(browser.begin_again("/")))) == f"{SITE}/"
        known = browser.cookies["/", "__Host-stagedoor-done"].partition(".")[0]
        browser.reply("/-/logout", "POST", origin=SITE)
        assert browser.cookies["/", "__Host-stagedoor-done"] == known
    browser.cookies["/", "__Host-stagedoor-done"] = "<script>"
    assert b"script" not in b"".join(value for _, value in browser.reply("/-/logout", "POST", origin=SITE).headers)


def test_people_who_take_turns_at_one_browser_are_no_circle() -> None:
    site = SigningIn()
    browser = Browser(site)
    for person in ("ann", "ben", "ann", "ben", "ann"):
        site.idp.claims = {"sub": person}
        assert location(browser.reply(site.idp.sign_in(browser.begin_again("/")))) == f"{SITE}/"


# --- whose sign-in it is


def test_nobody_ends_a_sign_in_in_anothers_browser() -> None:
    """Login CSRF: the address of an attacker's own sign-in, opened by somebody else."""
    site = SigningIn()
    attacker, victim = Browser(site), Browser(site)
    target = site.idp.sign_in(attacker.begin(ANN_FILE))
    answer = victim.reply(target)
    assert location(answer).startswith(AUTHORIZE)  # the victim's own sign-in begins
    assert not victim.signed_in
    assert not site.idp.forms


@pytest.mark.parametrize("state", ["", "x", "A" * 300, "A" * 5000, "%00", "ä"])
def test_a_state_that_is_not_ours_is_refused(state: str) -> None:
    browser = Browser(SigningIn())
    answer = browser.reply(f"/-/callback?code=x&state={quote(state)}")
    assert (answer.status, answer.reason, browser.signed_in) == (400, "login-state", False)
    assert dict(answer.headers)[b"referrer-policy"] == b"no-referrer"  # the query may hold a code
    assert "/-/login?next=%2F" in page(answer)


def test_a_sign_in_ends_once_and_in_its_time() -> None:
    site = SigningIn()
    browser = Browser(site)
    target = site.idp.sign_in(browser.begin(ANN_FILE))
    site.now += LIFETIME + 1
    answer = browser.reply(target)
    assert location(answer).startswith(AUTHORIZE)
    assert not site.idp.forms
    site.now -= 10
    assert location(browser.reply(site.idp.sign_in(location(answer)))) == SITE + ANN_FILE
    forms = len(site.idp.forms)
    assert location(browser.reply(target)) == SITE + ANN_FILE  # the back button: signed in already
    assert len(site.idp.forms) == forms


def test_another_sites_attempt_does_not_count() -> None:
    """Two sites with the same session keys."""
    site = SigningIn()
    browser = Browser(site)
    target = site.idp.sign_in(browser.begin(ANN_FILE))
    site.sign_in.attempts._in_state = "state https://other.example"
    assert browser.reply(target).reason == "login-state"


# --- who only looks


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("HEAD", {}),
        ("GET", {"sec_purpose": "prefetch;prerender"}),
        ("GET", {"purpose": "prefetch"}),
        ("GET", {"sec_fetch_mode": "cors"}),
        ("GET", {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}),
        ("GET", {"user_agent": "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"}),
        ("GET", {"sec_fetch_dest": "iframe"}),
        ("GET", {"sec_fetch_dest": "embed"}),
    ],
)
def test_who_only_looks_spends_nothing(method: str, fields: Mapping[str, str]) -> None:
    site = SigningIn()
    browser = Browser(site)
    target = site.idp.sign_in(browser.begin(ANN_FILE))
    had = dict(browser.cookies)
    for one in (target, "/-/login?next=/users/ann/x"):
        answer = browser.reply(one, method, **fields)
        assert answer.status in (400, 401)
        assert not set_cookies(answer)
    assert (browser.cookies, site.idp.forms) == (had, [])
    assert location(browser.reply(target)) == SITE + ANN_FILE


def test_in_a_frame_there_is_one_way_out() -> None:
    browser = Browser(SigningIn())
    for target in (ANN_FILE, f"/-/login?next={quote(ANN_FILE, safe='')}"):
        answer = browser.reply(target, sec_fetch_dest="iframe")
        assert answer.status == 401
        policy = dict(answer.headers)[b"content-security-policy"].decode()
        assert "frame-ancestors *" in policy
        assert "form-action 'none'" in policy
        (link,) = re.findall(r'<a class="button" href="([^"]+)" target="_top">', page(answer))
        assert unquote(link) == f"{SITE}/-/login?next={ANN_FILE}"
    refused = browser.reply("/-/nothing", sec_fetch_dest="iframe")
    assert b"frame-ancestors 'none'" in dict(refused.headers)[b"content-security-policy"]


@pytest.mark.parametrize(
    "fields",
    [
        {"sec_fetch_mode": "cors"},
        {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"},
        {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "video"},
        {"accept": "*/*", "sec_fetch_mode": ""},
    ],
)
def test_programs_and_pictures_get_401_and_never_a_redirect(fields: Mapping[str, str]) -> None:
    site = SigningIn(site=Site(SITE, signs_in=True, origins=frozenset(("https://app.example",))))
    answer = Browser(site).reply(ANN_FILE, origin="https://app.example", **fields)
    assert answer.status == 401
    headers = dict(answer.headers)
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"access-control-allow-origin"] == b"https://app.example"
    assert b"www-authenticate" in headers


# --- what may be asked for


@pytest.mark.parametrize(
    ("query", "passed_on"),
    [
        ("prompt=login", {"prompt": "login"}),
        ("prompt=login%20consent", {"prompt": "login consent"}),
        ("identity_provider=Google", {"identity_provider": "Google"}),
        ("scope=admin&client_id=x&redirect_uri=https://evil.example&state=s&response_type=token", {}),
    ],
)
def test_only_prompt_and_identity_provider_go_on_to_the_issuer(query: str, passed_on: Mapping[str, str]) -> None:
    plain = parameters(location(Browser(SigningIn()).reply("/-/login"))).keys()
    asked = parameters(location(Browser(SigningIn()).reply(f"/-/login?{query}")))
    assert {name: value for name, value in asked.items() if name not in plain} == passed_on
    assert (asked["client_id"], asked["redirect_uri"], asked["response_type"]) == (
        CLIENT,
        f"{SITE}/-/callback",
        "code",
    )


@pytest.mark.parametrize("query", ["prompt=%0d%0a", "prompt=<", "identity_provider=%00", "next=/a&next=/b", "issuer=x"])
def test_what_cannot_be_understood_is_refused(query: str) -> None:
    answer = Browser(SigningIn()).reply(f"/-/login?{query}")
    assert (answer.status, answer.reason) == (400, "query")


def test_a_credential_in_the_address_does_not_come_back() -> None:
    browser = Browser(SigningIn())
    asked = quote("/users/ann/x?token=secret&a=1&Signature=s", safe="")
    back = browser.reply(browser.site.idp.sign_in(location(browser.reply(f"/-/login?next={asked}"))))
    assert location(back) == f"{SITE}/users/ann/x?a=1"


def test_several_issuers_let_the_visitor_choose() -> None:
    other = "https://other.example"
    site = SigningIn(issuers=(issuer(jwks=None), issuer(url=other, name="guests & friends", jwks=None)))
    browser = Browser(site)
    choice = browser.reply(location(browser.reply(ANN_FILE)))
    assert (choice.status, choice.reason) == (200, "login-choice")
    text = page(choice)
    assert "guests &amp; friends" in text
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]+)"', text)]
    assert [parameters(link) for link in links] == [
        {"issuer": name, "next": ANN_FILE} for name in ("staff", "guests & friends")
    ]
    address = location(browser.reply(links[1]))
    assert address.startswith(f"{other}/authorize?")
    answer = browser.go(location(browser.reply(site.idps[other].sign_in(address))))
    assert isinstance(answer, Serve)
    assert answer.caller == "guests & friends:ann"


def test_an_answer_of_one_issuer_does_not_end_a_sign_in_at_another() -> None:
    """Mix-up (RFC 9207)."""
    other = "https://other.example"
    site = SigningIn(issuers=(issuer(jwks=None), issuer(url=other, name="guests", jwks=None)))
    browser = Browser(site)
    address = location(browser.reply("/-/login?issuer=staff"))
    target = site.idp.sign_in(address)
    for wrong in (target.replace(f"iss={ISSUER}", f"iss={other}"), target.partition("&iss=")[0]):
        mine = Browser(site)
        mine.cookies = dict(browser.cookies)
        answer = mine.reply(wrong)
        assert (answer.status, answer.reason, mine.signed_in) == (403, "login-issuer", False)
    assert not site.idp.forms
    assert not site.idps[other].forms


# --- who may not


def test_signed_in_but_not_allowed_says_who_and_why_and_the_way_on() -> None:
    browser = Browser(SigningIn())
    browser.sign_in(ANN_FILE)
    answer = browser.reply(BEN_FILE)
    assert answer.status == 403
    text = page(answer)
    assert "signed in as ann (staff)" in text
    assert "Sign in as somebody else" in text
    assert f"{SITE}/-/login?next=%2Fusers%2Fben%2Fx&amp;prompt=login" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"email": "ann@example.com"}, "email_verified is absent"),
        ({"email": "ann@example.com", "email_verified": False}, "is not verified"),
        ({"_claim_names": {"groups": "src1"}}, "left the groups out"),
    ],
)
def test_a_refusal_names_what_the_claims_lack(more: dict[str, object], said: str) -> None:
    site = SigningIn(
        (
            *RULES,
            {"path": "mail/**", "allow": {"emails": ["@example.com"]}},
            {"path": "g/{groups}/x", "allow": "signed-in"},
        )
    )
    site.idp.claims = more
    browser = Browser(site)
    browser.sign_in(ANN_FILE)
    assert said in page(browser.reply("/mail/x"))


# --- the way out


def test_sign_out_ends_the_session_here_and_at_the_issuer() -> None:
    browser = Browser(SigningIn())
    browser.sign_in(ANN_FILE)
    browser.begin_again(ANN_FILE)  # an attempt that is under way
    shown = browser.reply("/-/logout")
    assert (shown.status, browser.signed_in) == (200, True)
    assert "signed in as ann (staff)" in page(shown)
    policy = dict(shown.headers)[b"content-security-policy"].decode()
    assert f"form-action 'self' https: {END.rpartition('/tenant')[0]};" in policy
    answer = browser.reply("/-/logout", "POST", origin=SITE)
    assert answer.status == 303
    assert location(answer).startswith(f"{END}?")
    assert parameters(location(answer)) == {"client_id": CLIENT, "post_logout_redirect_uri": f"{SITE}/-/logout"}
    assert dict(answer.headers)[b"clear-site-data"] == b'"cache"'
    assert browser.names == {"__Host-stagedoor-done"}
    assert "You are signed out" in page(browser.reply("/-/logout"))
    assert location(browser.reply(ANN_FILE)).startswith(f"{SITE}/-/login")


def test_the_page_after_sign_out_empties_the_cache_once_more_because_webkit_does_not_on_redirects() -> None:
    browser = Browser(SigningIn())
    browser.sign_in(ANN_FILE)
    assert b"clear-site-data" not in dict(browser.reply("/-/logout").headers)  # only the button
    browser.reply("/-/logout", "POST", origin=SITE)
    assert dict(browser.reply("/-/logout").headers)[b"clear-site-data"] == b'"cache"'
    picture = browser.reply("/-/logout", sec_fetch_mode="no-cors", sec_fetch_dest="image")
    frame = browser.reply("/-/logout", sec_fetch_mode="navigate", sec_fetch_dest="iframe")
    assert not any(b"clear-site-data" in dict(answer.headers) for answer in (picture, frame))


def test_a_script_is_told_where_sign_out_goes_on() -> None:
    browser = Browser(SigningIn())
    browser.sign_in(ANN_FILE)
    answer = browser.reply("/-/logout", "POST", origin=SITE, sec_fetch_mode="cors", accept="*/*")
    assert (answer.status, browser.signed_in) == (200, False)
    assert json.loads(answer.body)["continue"].startswith(f"{END}?client_id=")


@pytest.mark.parametrize("fields", [{"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}])
def test_other_sites_sign_nobody_out(fields: Mapping[str, str]) -> None:
    browser = Browser(SigningIn())
    browser.sign_in(ANN_FILE)
    answer = browser.reply("/-/logout", "POST", **fields)
    assert (answer.status, answer.reason, browser.signed_in) == (403, "origin", True)
    assert browser.reply("/-/logout", "GET", **fields).status == 200
    assert browser.signed_in


def test_signing_out_works_while_the_issuer_is_away() -> None:
    browser = Browser(SigningIn())
    browser.sign_in(ANN_FILE)
    browser.site.now += 4000
    browser.site.idp.pages.clear()
    browser.cookies["/", "__Host-stagedoor"] = browser.cookies["/", "__Host-stagedoor"]
    answer = browser.reply("/-/logout", "POST", origin=SITE)
    assert answer.status == 303
    assert not browser.signed_in


def test_sign_out_takes_tokens_and_passes_with_it() -> None:
    browser = Browser(SigningIn())
    browser.sign_in(ANN_FILE)
    paths = base64.urlsafe_b64encode(b"/users/ann/ /courses/a%20b/").decode().rstrip("=")
    browser.cookies["/", "__Host-stagedoor-paths"] = paths
    browser.cookies["/users/ann/", "CloudFront-Policy"] = "p"
    browser.cookies["/", "token"] = "t"
    browser.reply("/-/logout", "POST", origin=SITE)
    assert browser.names == {"__Host-stagedoor-done"}


@pytest.mark.parametrize("paths", ["/a; Domain=x", "/a\r\nX: y", "//", "x", "/\x00"])
def test_a_planted_path_makes_no_header(paths: str) -> None:
    browser = Browser(SigningIn())
    value = base64.urlsafe_b64encode(paths.encode()).decode().rstrip("=")
    answer = browser.reply("/-/logout", "POST", origin=SITE, cookie=f"__Host-stagedoor-paths={value}")
    for line in set_cookies(answer):
        assert re.fullmatch(r"[\w-]+=; Path=/[^\s;]*; (Domain=(assets\.)?example\.com; )?[\w=; -]+", line)


def test_another_person_sees_nothing_of_the_first() -> None:
    site = SigningIn()
    browser = Browser(site)
    browser.sign_in(ANN_FILE)
    first = browser.cookies["/", "__Host-stagedoor"]
    browser.cookies["/", "token"] = token(claims())
    site.idp.person = "ben"
    back = browser.reply(site.idp.sign_in(location(browser.reply(f"/-/login?next={BEN_FILE}&prompt=login"))))
    assert dict(back.headers)[b"clear-site-data"] == b'"cache"'
    assert isinstance(browser.go(BEN_FILE), Serve)
    assert browser.reply(ANN_FILE).status == 403
    assert "token" not in browser.names
    assert browser.cookies["/", "__Host-stagedoor"] != first
    again = browser.reply(site.idp.sign_in(location(browser.reply("/-/login"))))
    assert b"clear-site-data" not in dict(again.headers)  # the same person
    del browser.cookies["/", "__Host-stagedoor"]
    again = browser.reply(site.idp.sign_in(location(browser.reply("/-/login"))))
    assert b"clear-site-data" not in dict(again.headers)  # as another cookie still knows
    browser.cookies.clear()
    later = browser.reply(site.idp.sign_in(location(browser.reply("/-/login"))))
    assert dict(later.headers)[b"clear-site-data"] == b'"cache"'  # whose files are in the cache is not known


def test_a_session_that_was_planted_is_not_the_one_that_is_signed_in() -> None:
    """Session fixation."""
    site = SigningIn()
    attacker, victim = Browser(site), Browser(site)
    attacker.sign_in(ANN_FILE)
    victim.cookies = dict(attacker.cookies)
    site.idp.person = "ben"
    victim.reply(site.idp.sign_in(location(victim.reply("/-/login"))))
    assert session_of(victim)["sub"] == ["ben"]
    assert session_of(victim)["sid"] != session_of(attacker)["sid"]


# --- while the issuer is away


def test_without_the_issuer_nobody_new_comes_in_and_who_is_in_stays() -> None:
    site = SigningIn()
    inside, outside = Browser(site), Browser(site)
    inside.sign_in(ANN_FILE)
    site.idp.pages.clear()
    site.now += 3500
    assert isinstance(inside.go(ANN_FILE), Serve)
    assert location(outside.reply("/-/login")).startswith(AUTHORIZE)  # what it said an hour ago
    fresh = SigningIn()
    fresh.idp.pages.clear()
    answer = Browser(fresh).reply("/-/login?next=/users/ann/x")
    assert (answer.status, answer.reason) == (503, "issuer-unavailable")
    assert dict(answer.headers)[b"retry-after"]
    asked = len(fresh.idp.asked)
    for _ in range(20):
        Browser(fresh).reply("/-/login")
    assert len(fresh.idp.asked) == asked  # once in ten seconds


def test_a_bearer_token_needs_no_sign_in() -> None:
    site = SigningIn()
    answer = Browser(site).go(ANN_FILE, authorization=bearer(token(claims())))
    assert isinstance(answer, Serve)


def test_without_sign_in_its_addresses_say_so() -> None:
    visitor = Visitor()
    for target in ("/-/login", "/-/callback?code=x&state=y"):
        answer = visitor.reply(target)
        assert (answer.status, answer.reason) == (404, "login-inactive")
    assert visitor.reply("/-/logout").status == 200
    assert visitor.reply("/-/logout", "POST").status == 200


def test_the_page_after_sign_out_leads_to_where_one_signs_in() -> None:
    """At this site, on the owner's page, or nowhere."""
    elsewhere = Visitor(site=Site(SITE, login_page="https://app.example.com/login"))
    for visitor, link in (
        (Browser(SigningIn()), f"{SITE}/-/login"),
        (elsewhere, "https://app.example.com/login"),
        (Visitor(), ""),
    ):
        text = page(visitor.reply("/-/logout"))
        assert ("Sign in" in text) is bool(link)
        assert link in text
        assert "None" not in text


def test_the_log_knows_who_has_signed_out() -> None:
    browser = Browser(SigningIn())
    for fields in ({}, {"sec_fetch_mode": "cors", "accept": "*/*"}):
        browser.sign_in(ANN_FILE)
        assert browser.reply("/-/logout").caller == "staff:ann"
        assert browser.reply("/-/logout", "POST", origin=SITE, **fields).caller == "staff:ann"
        assert browser.reply("/-/logout", "POST", origin=SITE, **fields).caller == ""
