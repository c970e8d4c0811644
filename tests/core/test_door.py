"""One request in, one decision out: every status and header of the door."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from stagedoor.core.credentials import Sources
from stagedoor.core.door import Site
from stagedoor.core.drivers import arun, run
from stagedoor.core.messages import Answered, Fetch, Flow, Reply, Serve, Wish
from stagedoor.core.passes.verify import Passes
from stagedoor.keys.pass_keys import load_signer, new_pair
from tests.helpers.support import (
    CLIENT,
    KEYS_URL,
    NOW,
    RULES,
    SITE,
    Rules,
    Visitor,
    Web,
    bearer,
    claims,
    field,
    issuer,
    key_set,
    request,
    rsa_signer,
    says_nothing_twice,
    token,
)

APP = "https://app.example.com"
LOGIN = "https://app.example.com/login"
ANN = bearer(token(claims(groups=["students"])))
BROWSER = {"sec_fetch_mode": "navigate", "accept": "text/html"}


def body(reply: Reply) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reply.body)
    return found


def not_stored(reply: Reply) -> bool:
    return (
        field(reply.headers, "cache-control") == "no-store"
        and field(reply.headers, "x-content-type-options") == "nosniff"
        and field(reply.headers, "referrer-policy") in ("same-origin", "no-referrer")
    )


# --- served


def test_what_anyone_may_read_is_public_and_asks_nobody() -> None:
    visitor = Visitor()
    served = visitor.serve("/public/a%20b.png")
    assert (served.key, served.rule, served.caller, served.public) == ("public/a b.png", "rules[0]", "", True)
    assert visitor.web.asked == []


@pytest.mark.parametrize(
    "fields", [{"authorization": ANN}, {"cookie": "a=b; token=" + ANN[7:]}], ids=["header", "cookie"]
)
def test_what_the_caller_may_read_is_served_to_the_caller(fields: dict[str, str]) -> None:
    served = Visitor().serve("/users/ann/a.png", **fields)
    assert (served.key, served.caller, served.public) == ("users/ann/a.png", "staff:ann", False)
    assert field(served.headers, "referrer-policy") == "same-origin"


def test_head_is_decided_like_get() -> None:
    assert Visitor().serve("/public/a", "HEAD") == Visitor().serve("/public/a")
    assert Visitor().reply("/users/ann/a", "HEAD").status == 401


def test_a_credential_in_the_url_is_not_told_on_and_not_shared() -> None:
    visitor = Visitor(site=Site(SITE, Sources(("query",))))
    for path in ("/users/ann/a", "/public/a"):
        served = visitor.serve(f"{path}?token={ANN[7:]}")
        assert field(served.headers, "referrer-policy") == "no-referrer"
        assert not served.public


# --- open files stay open

BAD: dict[str, dict[str, str]] = {
    "rubbish": {"authorization": "Bearer rubbish"},
    "nothing after Bearer": {"authorization": "Bearer"},
    "the staging proxy's": {"authorization": "Basic dTpw"},
    "an expired cookie": {"cookie": f"token={token(claims(exp=NOW - 1))}"},
    "an empty cookie": {"cookie": "token="},
    "two cookies": {"cookie": "token=a; token=b"},
    "a forged session": {"cookie": "__Host-stagedoor=x.y.z"},
    "an unknown issuer's": {"authorization": bearer(token(claims(iss="https://evil.example")))},
    "a token whose issuer is away": {"authorization": ANN},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
@pytest.mark.parametrize("browser", [{}, BROWSER], ids=["program", "navigation"])
def test_no_credential_whatever_closes_what_anybody_may_read(fields: dict[str, str], browser: dict[str, str]) -> None:
    visitor = Visitor(pages=Web(), site=Site(SITE, login_page=LOGIN))
    served = visitor.serve("/public/a", **fields, **browser)
    assert (served.rule, served.caller, served.public) == ("rules[0]", "", True)
    assert field(served.headers, "set-cookie") is None
    assert visitor.web.asked == []


def test_a_bad_token_in_the_url_closes_nothing_but_is_not_shared() -> None:
    served = Visitor(site=Site(SITE, Sources(("query",)))).serve("/public/a?token=rubbish")
    assert (served.caller, served.public) == ("", False)
    assert field(served.headers, "referrer-policy") == "no-referrer"


@pytest.mark.parametrize(
    "deny",
    [
        "anyone",
        "signed-in",
        {"groups": ["banned"]},
        {"claims": {"plan": ["free"]}},
        {"emails": ["@rival.example"]},
        {"issuer": ["partners"]},
    ],
    ids=str,
)
def test_what_a_deny_could_take_from_any_caller_is_not_open(deny: object) -> None:
    """Who asks has to be known there: else the one who is denied would leave the credential out, or spoil it."""
    visitor = Visitor([{"path": "public/**", "allow": "anyone"}, {"path": "public/**/x", "deny": deny}])
    for fields in ({"authorization": "Bearer rubbish"}, {"cookie": "token=x"}):
        assert visitor.reply("/public/a/x", **fields).status == 401
        assert visitor.serve("/public/a/y", **fields).public


def test_a_deny_on_a_folder_of_ones_own_closes_every_folder_there() -> None:
    rules = [{"path": "public/**", "allow": "anyone"}, {"path": "public/{tenant}/x", "deny": "anyone"}]
    assert Visitor(rules).reply("/public/acme/x", authorization="Bearer x").status == 401
    assert Visitor(rules).serve("/public/acme/y", authorization="Bearer x").public


def test_a_folder_of_ones_own_for_anyone_is_not_everybodys() -> None:
    """`allow = "anyone"` says who, and the claim in the path still says whose."""
    visitor = Visitor([{"path": "users/{sub}/**", "allow": "anyone"}])
    assert visitor.reply("/users/ann/a").status == 401
    assert visitor.reply("/users/ann/a", authorization="Bearer x").reason == "token-shape"
    served = visitor.serve("/users/ann/a", authorization=ANN)
    assert (served.caller, served.public) == ("staff:ann", False)


def test_what_a_deny_could_take_from_somebody_is_kept_by_no_shared_cache() -> None:
    """A cache would hand it to the one who is denied."""
    rules: Rules = [{"path": "public/**", "allow": "anyone"}, {"path": "public/**", "deny": {"groups": ["banned"]}}]
    served = Visitor(rules).serve("/public/a")
    assert (served.caller, served.public) == ("", False)
    assert Visitor(rules).reply("/public/a", authorization=bearer(token(claims(groups=["banned"])))).status == 403


def test_the_first_of_several_rules_that_open_a_key_is_named_as_ever() -> None:
    rules = [
        {"path": "a/**", "allow": "signed-in"},
        {"path": "**/b", "allow": "anyone"},
        {"path": "a/*", "allow": "anyone"},
    ]
    assert Visitor(rules).serve("/a/b").rule == "rules[1]"


def test_where_something_private_may_stand_in_a_navigation_is_asked_who_it_is() -> None:
    visitor = Visitor(SPA_RULES, site=SPA)
    assert visitor.reply("/public/route", authorization="Bearer x", **BROWSER).status == 401
    assert visitor.serve("/public/route", authorization="Bearer x").public
    opened = Visitor(site=Site(SITE, fallback="public/index.html"))
    assert opened.serve("/public/route", authorization="Bearer x", **BROWSER).fallback == "public/index.html"


# --- other schemes, and a token cookie beside a session


def session_of(visitor: Visitor, text: str = ANN) -> str:
    """The cookie pair of a session."""
    return cookie_of(visitor.reply("/-/session", "POST", authorization=text))


def test_another_scheme_is_passed_over_and_named_where_a_token_is_missing() -> None:
    visitor = Visitor(site=Site(SITE, login_page=LOGIN))
    basic = {"authorization": "Basic dTpw"}
    assert visitor.serve("/users/ann/a", cookie=f"token={ANN[7:]}", **basic).caller == "staff:ann"
    assert visitor.serve("/users/ann/a", cookie=session_of(visitor), **basic).caller == "staff:ann"
    assert body(visitor.reply("/-/whoami", **basic)) == {"signedIn": False}
    reply = visitor.reply("/users/ann/a", **basic)
    assert (reply.status, reply.reason) == (401, "credential-scheme")
    assert field(reply.headers, "www-authenticate") == 'Bearer realm="stagedoor"'
    assert "the scheme Basic" in body(reply)["detail"]
    assert b"dTpw" not in reply.body
    assert visitor.reply("/users/ann/a", **basic, **BROWSER).status == 302


NOT_VERIFIED = {
    "rubbish": "token=rubbish",
    "empty": "token=",
    "over": f"token={token(claims(exp=NOW - 1))}",
    "forged": f"token={token(kid='other')}",
    "planted beside our own": f"token={ANN[7:]}; token=planted",
    "with the word Bearer": f"token=Bearer {ANN[7:]}",
}


@pytest.mark.parametrize("bad", NOT_VERIFIED.values(), ids=NOT_VERIFIED)
def test_a_token_cookie_that_does_not_verify_counts_as_absent_beside_a_good_session(bad: str) -> None:
    """The client could have left it out, and a page of a neighbour can plant one."""
    visitor = Visitor()
    both = f"{bad}; {session_of(visitor)}"
    assert visitor.serve("/users/ann/a", cookie=both).caller == "staff:ann"
    assert visitor.reply("/users/ben/a", cookie=both).status == 403
    assert body(visitor.reply("/-/whoami", cookie=both))["credential"] == "session"
    assert visitor.reply("/users/ann/a", cookie=bad).status == 401
    assert visitor.reply("/users/ann/a", cookie=f"{bad}; __Host-stagedoor=x.y.z").status == 401


def test_a_token_cookie_that_verifies_decides_beside_a_session() -> None:
    visitor = Visitor()
    other = token(claims(sub="ben"))
    assert visitor.serve("/users/ben/a", cookie=f"token={other}; {session_of(visitor)}").caller == "staff:ben"


def test_a_token_cookie_that_cannot_be_checked_counts_as_absent_beside_a_good_session() -> None:
    cookie = f"token={ANN[7:]}; {session_of(Visitor())}"
    away = Visitor(pages=Web())
    served = away.serve("/users/ann/a", cookie=cookie, **BROWSER)
    assert served.caller == "staff:ann"
    assert field(served.headers, "set-cookie") is None
    assert away.reply("/users/ann/a", cookie=cookie.partition(";")[0]).status == 503


def test_only_a_token_in_the_cookie_is_passed_over() -> None:
    """A header or parameter was put there by whoever asks, so it decides."""
    visitor = Visitor(site=Site(SITE, Sources(("header", "cookie", "query"))))
    cookie = session_of(visitor)
    assert visitor.reply("/users/ann/a", authorization="Bearer x", cookie=cookie).status == 401
    assert visitor.reply("/users/ann/a?token=x", cookie=cookie).status == 401


# --- removing cookies


def set_cookies(answer: Serve | Reply) -> list[str]:
    return [value.decode() for name, value in answer.headers if name == b"set-cookie"]


TOKEN_REMOVED = [
    "token=; Path=/; Max-Age=0; Secure",
    "token=; Path=/; Domain=assets.example.com; Max-Age=0; Secure",
    "token=; Path=/; Domain=example.com; Max-Age=0; Secure",
]
SESSION_REMOVED = ["__Host-stagedoor=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"]


@pytest.mark.parametrize(
    ("cookie", "removed"),
    [
        (NOT_VERIFIED["rubbish"], TOKEN_REMOVED),
        (NOT_VERIFIED["over"], TOKEN_REMOVED),
        (NOT_VERIFIED["planted beside our own"], TOKEN_REMOVED),
        ("__Host-stagedoor=x.y.z", SESSION_REMOVED),
    ],
)
def test_only_the_answer_to_a_navigation_removes_a_bad_cookie(cookie: str, removed: list[str]) -> None:
    """Thirty late answers to pictures must not delete the session that was made meanwhile."""
    for site in (Site(SITE), Site(SITE, login_page=LOGIN)):
        visitor = Visitor(site=site)
        for fields in (
            {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"},
            {"sec_fetch_mode": "cors"},
            {"accept": "*/*"},
            {},
        ):
            assert set_cookies(visitor.reply("/users/ann/a", cookie=cookie, **fields)) == []
            assert set_cookies(visitor.reply("/-/whoami", cookie=cookie, **fields)) == []
        assert set_cookies(visitor.reply("/users/ann/a", cookie=cookie, **BROWSER)) == removed
        assert set_cookies(visitor.reply("/users/ann/a", cookie=cookie, accept="text/html")) == removed
        assert set_cookies(visitor.reply("/-/session", "POST", cookie=cookie, **BROWSER)) == []


def test_no_other_credential_has_a_cookie_removed() -> None:
    visitor = Visitor()
    for fields in ({}, {"authorization": "Bearer x"}, {"authorization": "Basic eDp5"}):
        assert set_cookies(visitor.reply("/users/ann/a", **fields, **BROWSER)) == []
    assert set_cookies(Visitor(pages=Web()).reply("/users/ann/a", cookie=f"token={ANN[7:]}", **BROWSER)) == []


def test_a_token_cookie_that_was_passed_over_is_removed_by_a_navigation_that_nobody_shares() -> None:
    visitor = Visitor(site=Site(SITE, fallback="users/ann/index.html"))
    both = f"token=rubbish; {session_of(visitor)}"
    assert set_cookies(visitor.serve("/users/ann/a", cookie=both, **BROWSER)) == TOKEN_REMOVED
    assert set_cookies(visitor.reply("/users/ben/a", cookie=both, **BROWSER)) == TOKEN_REMOVED
    assert set_cookies(visitor.serve("/users/ann/a", cookie=both)) == []
    assert not visitor.serve("/users/ann/a", cookie=both, **BROWSER).public
    ben = f"token=rubbish; {session_of(visitor, bearer(token(claims(sub='ben'))))}"
    served = visitor.serve("/public/a", cookie=ben, **BROWSER)
    assert (served.public, set_cookies(served)) == (True, [])


def test_nothing_redirects_to_the_sign_in_page_from_the_sign_in_page() -> None:
    visitor = at_login(f"{SITE}/login/?tenant=x")
    for fields in ({}, {"cookie": f"token={token(claims(exp=NOW - 1))}"}, {"cookie": "__Host-stagedoor=x.y.z"}):
        reply = visitor.reply("/login/", **fields, **BROWSER)
        assert reply.status == 401
        assert b"next=" not in reply.body
        assert visitor.reply("/login/?next=x", **fields, **BROWSER).status == 401
        assert visitor.reply("/login", **fields, **BROWSER).status == 302
        assert visitor.reply("/users/ann/a", **fields, **BROWSER).status == 302


# --- refused: 400, 401, 403, 404, 405, 503


@pytest.mark.parametrize("target", ["/%00", "/a%2fb", "/../a", "//a", "/a%", "/\xff"])
def test_400_for_a_target_that_names_no_key(target: str) -> None:
    reply = Visitor().reply(target, authorization=ANN)
    assert (reply.status, reply.reason) == (400, "target")
    assert not_stored(reply)


def test_401_says_how_to_sign_in() -> None:
    reply = Visitor().reply("/users/ann/a")
    assert (reply.status, reply.reason) == (401, "no-credential")
    assert field(reply.headers, "www-authenticate") == 'Bearer realm="stagedoor"'
    assert not_stored(reply)
    assert body(reply)["code"] == "no-credential"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("rubbish", "token-shape"),
        (token(claims(exp=NOW - 1)), "token-expired"),
        (token(claims(aud="other")), "token-audience"),
        (token(claims(iss="https://evil.example")), "token-issuer"),
        (token(alg="none"), "token-algorithm"),
        (token(kid="other"), "token-key"),
    ],
)
def test_401_says_what_is_wrong_with_the_token_and_never_shows_it(text: str, code: str) -> None:
    for fields in ({"authorization": bearer(text)}, {"cookie": f"token={text}"}):
        reply = Visitor().reply("/users/ann/a", **fields)
        assert (reply.status, reply.reason) == (401, code)
        challenge = field(reply.headers, "www-authenticate")
        assert challenge == f'Bearer realm="stagedoor", error="invalid_token", error_description="{code}"'
        assert text[-40:].encode() not in reply.body
        assert not_stored(reply)


def test_403_for_somebody_who_is_known_and_may_not() -> None:
    for target in ("/users/ben/a", "/courses/drafts/a", "/nothing", "/users/annabel"):
        reply = Visitor().reply(target, authorization=ANN)
        assert (reply.status, reply.reason, reply.caller) == (403, "denied", "staff:ann")
        assert field(reply.headers, "www-authenticate") is None
        assert not_stored(reply)


def test_403_does_not_say_whether_there_is_such_a_file() -> None:
    first, second = (Visitor().reply(target, authorization=ANN) for target in ("/users/ben/a", "/no/such/thing"))
    assert first == second


@pytest.mark.parametrize(
    "target", ["/-/", "/-/nothing", "/-/whoami/", "/-/../a", "/-/%00", "/%2d/whoami", "/%2D/x", "/-//"]
)
def test_404_for_keys_that_are_never_served(target: str) -> None:
    everything = Visitor([{"path": "**", "allow": "anyone"}])
    reply = everything.reply(target)
    assert (reply.status, reply.reason) == (404, "not-found")
    assert not_stored(reply)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "", "PROPFIND"])
def test_405_for_other_methods_whoever_asks(method: str) -> None:
    for target in ("/public/a", "/users/ben/a", "/"):
        reply = Visitor().reply(target, method, authorization=ANN)
        assert (reply.status, reply.reason) == (405, "method")
        assert field(reply.headers, "allow") == "GET, HEAD, OPTIONS"
        assert not_stored(reply)


@pytest.mark.parametrize(
    ("target", "method", "allow"),
    [
        ("/-/whoami", "POST", "GET, HEAD, OPTIONS"),
        ("/-/explain", "DELETE", "GET, HEAD, OPTIONS"),
        ("/-/session", "GET", "POST, OPTIONS"),
        ("/-/session", "HEAD", "POST, OPTIONS"),
    ],
)
def test_405_at_our_own_addresses(target: str, method: str, allow: str) -> None:
    reply = Visitor().reply(target, method)
    assert (reply.status, field(reply.headers, "allow")) == (405, allow)
    assert field(Visitor().reply(target, "OPTIONS").headers, "allow") == allow


def test_503_when_it_cannot_be_found_out_who_asks() -> None:
    reply = Visitor(pages=Web()).reply("/users/ann/a", authorization=ANN)
    assert (reply.status, reply.reason) == (503, "issuer-unavailable")
    page = Visitor(pages=Web()).reply("/users/ann/a", authorization=bearer(token()), **BROWSER).body.decode().lower()
    assert page.count("try again") == 1
    assert field(reply.headers, "retry-after") == "10"
    assert not_stored(reply)
    assert b"id.example.com" not in reply.body


def test_a_token_that_is_over_is_401_also_where_its_issuers_keys_were_never_had() -> None:
    old = token(claims(exp=NOW - 1))
    for fields in ({"authorization": bearer(old)}, {"cookie": f"token={old}"}):
        reply = Visitor(pages=Web()).reply("/users/ann/a", **fields)
        assert (reply.status, reply.reason) == (401, "token-expired")
    away = Visitor(pages=Web(), site=Site(SITE, login_page=LOGIN))
    assert away.reply("/users/ann/a", cookie=f"token={old}", **BROWSER).status == 302


def test_an_unreachable_issuer_does_not_keep_anybody_from_public_files() -> None:
    assert Visitor(pages=Web()).serve("/public/a").public


# --- pages and redirects


def test_a_browser_gets_pages_and_a_program_gets_json() -> None:
    for target, status in (("/%00", 400), ("/users/ann/a", 401), ("/-/x", 404)):
        page, data = Visitor().reply(target, **BROWSER), Visitor().reply(target)
        assert (page.status, data.status) == (status, status)
        assert field(page.headers, "content-type") == "text/html; charset=utf-8"
        assert "default-src 'none'" in (field(page.headers, "content-security-policy") or "")
        assert field(data.headers, "content-type") == "application/problem+json"
        assert body(data)["status"] == status


REFUSED_PAGES: Mapping[str, tuple[int, dict[str, str]]] = {
    "/%00": (400, {}),
    "/users/ann/a": (401, {}),
    "/users/ann/b": (401, {"cookie": "token=forged"}),
    "/users/ann/c": (401, {"authorization": "Basic eDp5"}),
    "/users/ben/a": (403, {"cookie": "token=" + ANN[7:]}),
    "/-/x": (404, {}),
    "/-/gallery": (404, {}),
    "/-/session": (405, {}),
    "/public/a?" + "x" * 8192: (414, {}),
}


@pytest.mark.parametrize("target", REFUSED_PAGES)
@pytest.mark.parametrize("index", ["index.html", None])
def test_a_page_names_the_site_leads_on_and_says_nothing_twice(target: str, index: str | None) -> None:
    status, fields = REFUSED_PAGES[target]
    reply = Visitor(site=Site("https://assets.example.com:8443", index_file=index)).reply(target, **BROWSER, **fields)
    page = reply.body.decode()
    assert reply.status == status
    assert '<p class="site">assets.example.com:8443</p>' in page
    assert ('<a href="/">' in page) is (index is not None)
    says_nothing_twice(page)


def test_a_site_that_cannot_ask_its_issuer_says_so_once_and_can_be_asked_again() -> None:
    reply = Visitor(pages=Web()).reply("/users/ann/a", authorization=ANN, **BROWSER)
    assert reply.status == 503
    assert 'href="">Reload' in reply.body.decode()
    says_nothing_twice(reply.body.decode())


@pytest.mark.parametrize("target", ["/", "/?x=y"])
def test_the_first_page_does_not_lead_to_itself(target: str) -> None:
    for site in (Site(SITE), Site(SITE, index_file="index.html")):
        reply = Visitor(site=site).reply(target, **BROWSER)
        assert reply.status == (401 if site.index_file else 404)
        assert 'href="/"' not in reply.body.decode()
        says_nothing_twice(reply.body.decode())


def at_login(page: str = LOGIN) -> Visitor:
    return Visitor(site=Site(SITE, Sources(("header", "cookie", "query")), login_page=page))


@pytest.mark.parametrize(
    "target",
    [
        "/users/ann/a.png",
        "/users/ann/a%20b%2B+c.png?x=%2F&y=a+b&&z",
        "/users/%C3%BC?%zz",
        "/users/a&b=c;d?e=f#",
        "/-/explain?key=users/ann",
    ],
)
def test_302_keeps_where_the_visitor_wanted_to_go_byte_for_byte(target: str) -> None:
    target = target.rstrip("#")
    reply = at_login().reply(target, **BROWSER)
    assert reply.status == 302
    location = field(reply.headers, "location") or ""
    assert location.startswith(LOGIN + "?next=")
    assert unquote(location.removeprefix(LOGIN + "?next="), "latin-1") == SITE + target
    assert parse_qs(urlsplit(location).query, encoding="latin-1")["next"] == [SITE + target]
    assert not_stored(reply)
    assert field(reply.headers, "referrer-policy") == "no-referrer"


@pytest.mark.parametrize(
    "fields",
    [
        {"sec_fetch_dest": "iframe"},
        {"sec_fetch_dest": "frame"},
        {"sec_fetch_dest": "embed"},
        {"sec_fetch_dest": "object"},
        {"sec_purpose": "prefetch"},
        {"sec_purpose": "prefetch;prerender"},
        {"purpose": "prefetch"},
        {"user_agent": "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"},
        {"user_agent": "Microsoft Office Word 2014"},
    ],
    ids=str,
)
def test_where_nobody_could_sign_in_the_page_says_so_instead_of_a_302(fields: dict[str, str]) -> None:
    reply = at_login().reply("/users/ann/a", **BROWSER, **fields)
    assert reply.status == 401
    assert f'href="{LOGIN}?next='.encode() in reply.body
    for other in ({"sec_fetch_dest": "document"}, {"user_agent": "Mozilla/5.0 (X11; Linux) Firefox/140.0"}):
        assert at_login().reply("/users/ann/a", **BROWSER, **other).status == 302


def test_302_takes_every_credential_out_of_next() -> None:
    old = token(claims(exp=NOW - 1))
    reply = at_login().reply(f"/users/ann/a?x=1&token={old}&y=2", **BROWSER)
    assert reply.status == 302
    location = field(reply.headers, "location") or ""
    assert unquote(location).endswith("/users/ann/a?x=1&y=2")
    assert old[:20] not in location
    assert unquote(field(at_login().reply(f"/users/ann/a?token={old}", **BROWSER).headers, "location") or "").endswith(
        "/a"
    )


def test_302_to_a_page_that_has_a_query_already() -> None:
    reply = at_login(LOGIN + "?tenant=x").reply("/users/ann/a", **BROWSER)
    assert (field(reply.headers, "location") or "").startswith(LOGIN + "?tenant=x&next=https%3A%2F%2Fassets")


def test_the_host_header_does_not_decide_where_next_leads() -> None:
    reply = at_login().reply("/users/ann/a", host="evil.example", x_forwarded_host="evil.example", **BROWSER)
    assert "evil" not in (field(reply.headers, "location") or "")


@pytest.mark.parametrize(
    "fields",
    [
        {"sec_fetch_mode": "cors", "accept": "text/html"},
        {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image", "accept": "image/avif,*/*"},
        {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "video"},
        {"accept": "*/*"},
        {"x_requested_with": "XMLHttpRequest", "accept": "application/json"},
        {},
    ],
    ids=["fetch", "img", "video", "curl", "XHR", "nothing"],
)
def test_scripts_images_and_programs_get_401_and_no_redirect(fields: dict[str, str]) -> None:
    reply = at_login().reply("/users/ann/a.png", **fields)
    assert reply.status == 401
    assert field(reply.headers, "location") is None


def test_an_old_token_leads_to_sign_in_and_a_forged_one_to_a_page_that_says_so() -> None:
    assert at_login().reply("/users/ann/a", cookie=f"token={token(claims(exp=NOW - 1))}", **BROWSER).status == 302
    reply = at_login().reply("/users/ann/a", cookie="token=forged", **BROWSER)
    assert reply.status == 401
    assert f'href="{LOGIN}?next='.encode() in reply.body


def test_who_is_signed_in_and_may_not_is_not_sent_to_sign_in_again() -> None:
    assert at_login().reply("/users/ben/a", cookie="token=" + ANN[7:], **BROWSER).status == 403


# --- index, fallback, gallery


@pytest.mark.parametrize("fields", [{}, BROWSER], ids=["program", "browser"])
def test_without_index_the_root_is_not_there(fields: dict[str, str]) -> None:
    for visitor in (Visitor(), at_login()):
        reply = visitor.reply("/", **fields)
        assert (reply.status, reply.reason, field(reply.headers, "location")) == (404, "not-found", None)
        assert "no first page" in reply.body.decode().lower()
        assert not_stored(reply)


def test_the_empty_key_is_never_served() -> None:
    for rules in ([{"path": "**", "allow": "anyone"}], [{"path": "*", "allow": "anyone"}]):
        for target in ("/", "/?x=y"):
            assert isinstance(Visitor(rules).ask(target, authorization=ANN), Reply)


def test_index_is_the_key_that_the_policy_sees() -> None:
    rules = [{"path": "docs/index.html", "allow": "anyone"}, {"path": "index.html", "allow": "signed-in"}]
    visitor = Visitor(rules, site=Site(SITE, index_file="index.html"))
    assert visitor.serve("/docs/").key == "docs/index.html"
    assert visitor.serve("/", authorization=ANN).key == "index.html"
    assert visitor.reply("/").status == 401
    assert visitor.reply("/docs").status == 401
    assert visitor.reply("/other/").status == 401


def test_without_index_a_key_may_end_with_a_slash() -> None:
    assert Visitor().serve("/public/folder/").key == "public/folder/"


SPA = Site(SITE, fallback="app/index.html")
SPA_RULES = [*RULES, {"path": "app/**", "allow": "signed-in"}]


def test_fallback_is_for_navigations_of_somebody_who_may_read_it() -> None:
    visitor = Visitor(SPA_RULES, site=SPA)
    assert visitor.serve("/app/route", authorization=ANN, **BROWSER).fallback == "app/index.html"
    assert visitor.serve("/app/missing.png", authorization=ANN).fallback is None
    assert visitor.serve("/public/route", **BROWSER).fallback is None
    assert visitor.reply("/nothing", authorization=ANN, **BROWSER).status == 403


def test_a_private_fallback_makes_the_answer_private() -> None:
    """The answer at a public address may then be a file that not everybody may read."""
    served = Visitor(SPA_RULES, site=SPA).serve("/public/route", authorization=ANN, **BROWSER)
    assert served.fallback == "app/index.html"
    assert not served.public


def test_a_public_fallback_leaves_the_answer_public() -> None:
    served = Visitor(site=Site(SITE, fallback="public/index.html")).serve("/public/route", **BROWSER)
    assert (served.fallback, served.public) == ("public/index.html", True)


# --- passes, at a door that knows no key of any (those that open something: test_passes.py)


@pytest.mark.parametrize(
    ("query", "reason", "code", "message"),
    [
        ("Signature=x", "pass-no-key", "MissingKey", "Missing Key-Pair-Id query parameter or cookie value"),
        ("Key-Pair-Id=x&Policy=y", "pass-unknown-key", "InvalidKey", "Unknown Key"),
        ("Signature=x&Signature=y", "credential-twice", "AccessDenied", "Access denied"),
    ],
)
def test_a_pass_that_opens_nothing_is_refused_as_cloudfront_does(
    query: str, reason: str, code: str, message: str
) -> None:
    """Also where a token would have opened it, or nothing was needed: the pass decides."""
    for target in ("/users/ann/a", "/public/a"):
        reply = Visitor().reply(f"{target}?{query}", authorization=ANN)
        assert (reply.status, reply.reason, reply.caller) == (403, reason, "")
        assert field(reply.headers, "content-type") == "text/xml"
        assert reply.body.decode() == (
            f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        )
        assert not_stored(reply)
        assert field(reply.headers, "referrer-policy") == "no-referrer"


KEYS_OF_PASSES = Passes(SITE, {"K1": lambda *_: False})


def test_pass_cookies_decide_where_there_is_nothing_else() -> None:
    cookie = "CloudFront-Policy=x"
    reply = Visitor(passes=KEYS_OF_PASSES).reply("/users/ann/a", cookie=cookie)
    assert (reply.status, reply.reason) == (403, "pass-no-key")
    assert b"<Code>MissingKey</Code>" in reply.body
    assert Visitor(passes=KEYS_OF_PASSES).serve("/public/a", cookie=cookie).public
    assert Visitor().serve("/users/ann/a", authorization=ANN, cookie=cookie).caller == "staff:ann"


def test_pass_cookies_of_a_neighbour_shut_nobody_out_of_a_site_without_passes() -> None:
    cookie = "CloudFront-Policy=x; CloudFront-Signature=y; CloudFront-Key-Pair-Id=KTHEIRS"
    assert Visitor().serve("/public/a", cookie=cookie).caller == ""
    assert Visitor().reply("/users/ann/a", cookie=cookie).status == 401
    assert Visitor().reply("/-/whoami", cookie=cookie).status == 200


def test_a_pass_does_not_say_who_somebody_is() -> None:
    for target in ("/-/whoami", "/-/explain?key=public/a", "/-/s3objects"):
        signed = f"{target}{'&' if '?' in target else '?'}Signature=x"
        assert Visitor().reply(signed, authorization=ANN).reason == "pass-resource"
        reply = Visitor(passes=KEYS_OF_PASSES).reply(target, cookie="CloudFront-Policy=x")
        assert (reply.status, reply.reason) == (403, "pass-resource")
        assert b"<Code>AccessDenied</Code>" in reply.body
        assert Visitor().reply(target, authorization=ANN, cookie="CloudFront-Policy=x").status == 200


# --- CORS


def listed() -> Visitor:
    return Visitor(site=Site(SITE, origins=frozenset((APP,))))


def test_options_is_answered_before_anybody_is_known() -> None:
    for target in ("/users/ann/a", "/public/a", "/-/session", "/%00", "/nothing"):
        reply = Visitor(pages=Web()).reply(target, "OPTIONS", authorization="Bearer rubbish", cookie="token=rubbish")
        assert reply.status == 204
        assert reply.body == b""
        assert field(reply.headers, "allow")
        assert not_stored(reply)


def preflight(visitor: Visitor, origin: str, target: str = "/users/ann/a") -> Reply:
    return visitor.reply(target, "OPTIONS", origin=origin, access_control_request_method="GET")


def test_a_preflight_of_a_listed_origin_is_granted() -> None:
    reply = preflight(listed(), APP)
    assert field(reply.headers, "access-control-allow-origin") == APP
    assert field(reply.headers, "access-control-allow-credentials") == "true"
    assert field(reply.headers, "access-control-allow-methods") == "GET, HEAD, OPTIONS"
    asked = {name.strip().lower() for name in (field(reply.headers, "access-control-allow-headers") or "").split(",")}
    assert asked >= {"authorization", "content-type", "range", "if-range", "if-none-match", "if-modified-since"}
    assert field(reply.headers, "vary") == "Origin"
    assert field(preflight(listed(), APP, "/-/session").headers, "access-control-allow-methods") == "POST, OPTIONS"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", APP + "/", APP.upper(), APP + ".evil.example", "*"]
)
def test_a_preflight_of_another_origin_is_not_granted(origin: str) -> None:
    for visitor in (listed(), Visitor()):
        reply = preflight(visitor, origin)
        assert not [name for name, _ in reply.headers if name.startswith(b"access-control")]


def test_every_answer_tells_a_listed_origin_that_it_may_read() -> None:
    visitor = listed()
    for target, fields in (
        ("/public/a", {}),
        ("/users/ann/a", {"authorization": ANN}),
        ("/users/ann/a", {}),
        ("/%00", {}),
    ):
        answer = visitor.ask(target, origin=APP, **fields)
        assert field(answer.headers, "access-control-allow-origin") == APP
        assert "ETag" in (field(answer.headers, "access-control-expose-headers") or "")
        assert field(answer.headers, "vary") == "Origin"


def test_answers_differ_by_origin_and_say_so_to_caches() -> None:
    for origin in ([], ["https://evil.example"], [APP, APP]):
        answer = listed().ask("/public/a", origin=origin) if origin else listed().ask("/public/a")
        assert field(answer.headers, "access-control-allow-origin") is None
        assert field(answer.headers, "vary") == "Origin"
    assert field(Visitor().ask("/public/a", origin=APP).headers, "vary") is None


# --- whoami and explain


def test_whoami_of_nobody() -> None:
    reply = Visitor().reply("/-/whoami")
    assert (reply.status, body(reply)) == (200, {"signedIn": False})
    assert not_stored(reply)


def test_whoami_shows_the_caller_as_the_door_sees_it() -> None:
    text = token(claims(groups=["chess", "students"], secret_number=5))
    reply = Visitor().reply("/-/whoami", authorization=bearer(text))
    assert body(reply) == {
        "signedIn": True,
        "issuer": "staff",
        "sub": "ann",
        "groups": ["chess", "students"],
        "claims": {"groups": ["chess", "students"], "sub": ["ann"]},
        "expires": NOW + 600,
        "credential": "header",
    }
    assert text.encode() not in reply.body
    assert not_stored(reply)


def test_whoami_with_a_bad_token_is_401() -> None:
    assert Visitor().reply("/-/whoami", authorization="Bearer x").status == 401


def test_explain_says_rule_by_rule_why() -> None:
    reply = Visitor().reply("/-/explain?key=courses/drafts/a%20b", authorization=ANN)
    answer = body(reply)
    assert (answer["key"], answer["allowed"], answer["rule"]) == ("courses/drafts/a b", False, "rules[4]")
    assert [one["applies"] for one in answer["rules"]] == [False, False, False, True, True]
    assert [one["effect"] for one in answer["rules"]] == ["allow"] * 4 + ["deny"]
    assert not_stored(reply)


@pytest.mark.parametrize(
    "key", ["public/a", "users/ann/x", "users/ben/x", "courses/a", "courses/drafts/a", "groups/students/x", "zzz"]
)
def test_explain_and_the_door_agree(key: str) -> None:
    visitor = Visitor()
    explained = body(visitor.reply(f"/-/explain?key={key}", authorization=ANN))
    assert explained["allowed"] is isinstance(visitor.ask(f"/{key}", authorization=ANN), Serve)


def test_explain_is_not_for_nobody() -> None:
    for target in ("/-/explain?key=public/a", "/-/explain"):
        reply = Visitor().reply(target)
        assert reply.status == 401
        assert b"rules[" not in reply.body


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "key-missing"),
        ("?other=a", "key-missing"),
        ("?key=%ff", "query"),
        ("?key=public/a&key=public/b", "query"),
        ("?key=public/a&%6bey=public/a", "query"),
        ("?key=a/../b", "target"),
        ("?key=%00", "target"),
        ("?key=//a", "target"),
    ],
)
def test_explain_needs_a_key(query: str, code: str) -> None:
    reply = Visitor().reply(f"/-/explain{query}", authorization=ANN)
    assert (reply.status, reply.reason) == (400, code)


def test_explain_takes_a_key_with_its_slash() -> None:
    assert body(Visitor().reply("/-/explain?key=/public/a", authorization=ANN))["key"] == "public/a"


# --- sessions


def cookie_of(reply: Reply) -> str:
    return (field(reply.headers, "set-cookie") or "").partition(";")[0]


def test_a_bearer_token_becomes_a_cookie_and_the_cookie_works() -> None:
    visitor = Visitor()
    reply = visitor.reply("/-/session", "POST", authorization=ANN)
    assert (reply.status, reply.body, reply.caller) == (204, b"", "staff:ann")
    assert not_stored(reply)
    cookie = field(reply.headers, "set-cookie") or ""
    assert cookie.startswith("__Host-stagedoor=")
    assert "; HttpOnly; SameSite=Lax; Secure" in cookie
    for target in ("/users/ann/a", "/courses/a", "/groups/students/a"):
        assert visitor.serve(target, cookie=f"theme=dark; {cookie_of(reply)}").caller == "staff:ann"
    assert visitor.reply("/users/ben/a", cookie=cookie_of(reply)).status == 403
    who = body(visitor.reply("/-/whoami", cookie=cookie_of(reply)))
    assert (who["credential"], who["sub"], who["groups"]) == ("session", "ann", ["students"])
    visitor.now += 600
    assert visitor.reply("/users/ann/a", cookie=cookie_of(reply)).status == 401


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", SITE + ".evil.example", SITE + "/", "http" + SITE[5:], APP]
)
def test_a_session_is_not_made_for_another_origin(origin: str) -> None:
    reply = Visitor().reply("/-/session", "POST", authorization=ANN, origin=origin)
    assert (reply.status, reply.reason) == (403, "origin")
    assert field(reply.headers, "set-cookie") is None


@pytest.mark.parametrize("target", ["/-/session", "/-/urls", "/-/cookies"])
def test_a_page_elsewhere_that_does_not_say_where_it_is_gets_nothing_made(target: str) -> None:
    """Browsers say at least that it is elsewhere (Fetch Metadata); programs say neither."""
    signer = load_signer("K1", new_pair("ec").private)
    visitor = Visitor(api_options={"signer": signer}, site=Site(SITE, origins=frozenset((APP,))))
    asked: dict[str, Any] = {"/-/urls": {"file": "public/a"}, "/-/cookies": {"prefix": "public/"}}
    sent = asked.get(target, {})
    elsewhere: list[str | list[str]] = ["cross-site", "same-site", "", "nonsense", ["same-origin", "cross-site"]]
    for where in elsewhere:
        reply = visitor.post(target, sent, authorization=ANN, sec_fetch_site=where)
        assert (reply.status, reply.reason) == (403, "origin")
        assert field(reply.headers, "set-cookie") is None
    allowed: list[dict[str, str]] = [
        {},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "same-site", "origin": APP},
        {"sec_fetch_site": "cross-site", "origin": APP},
        {"sec_fetch_site": "same-origin", "origin": SITE},
    ]
    for fields in allowed:
        assert visitor.post(target, sent, authorization=ANN, **fields).status in (201, 204)


def test_a_session_is_made_for_our_own_and_for_listed_origins() -> None:
    assert listed().reply("/-/session", "POST", authorization=ANN, origin=SITE).status == 204
    reply = listed().reply("/-/session", "POST", authorization=ANN, origin=APP)
    assert reply.status == 204
    assert field(reply.headers, "access-control-allow-credentials") == "true"
    assert listed().reply("/-/session", "POST", authorization=ANN, origin=[APP, SITE]).status == 403


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cookie": "token=" + ANN[7:]},
        {"authorization": "Basic eDp5"},
        {"authorization": "Bearer x"},
        {"authorization": bearer(token(claims(exp=1)))},
    ],
    ids=["nothing", "cookie", "basic", "rubbish", "expired"],
)
def test_a_session_is_made_from_a_good_bearer_token_only(fields: dict[str, str]) -> None:
    reply = Visitor().reply("/-/session", "POST", **fields)
    assert reply.status == 401
    assert field(reply.headers, "set-cookie") is None


def test_a_session_cannot_be_made_longer_by_making_it_again() -> None:
    visitor = Visitor()
    cookie = cookie_of(visitor.reply("/-/session", "POST", authorization=ANN))
    again = visitor.reply("/-/session", "POST", authorization=bearer(cookie.partition("=")[2]))
    assert again.status == 401


def test_without_sessions_none_is_made_and_none_counts() -> None:
    cookie = cookie_of(Visitor().reply("/-/session", "POST", authorization=ANN))
    without = Visitor(sessions=False)
    assert without.reply("/-/session", "POST", authorization=ANN).status == 404
    assert without.reply("/users/ann/a", cookie=cookie).reason == "session-inactive"


def test_claims_that_do_not_fit_into_a_cookie_are_said_to_be_too_many() -> None:
    many = bearer(token(claims(groups=[f"group-number-{n}" for n in range(500)])))
    reply = Visitor().reply("/-/session", "POST", authorization=many)
    assert (reply.status, reply.reason) == (422, "session-too-large")


# --- driving


async def test_a_flow_is_driven_the_same_way_where_waiting_must_not_block() -> None:
    for target, fields in (
        ("/users/ann/a", {"authorization": ANN}),
        ("/public/a", {}),
        ("/%00", {}),
        ("/users/ann/a", {}),
    ):
        waits, does_not = Visitor(), Visitor()
        asked = request(target, **fields)
        answer = await arun(waits.door.answer(asked, NOW), waits.web.later)
        assert answer == run(does_not.door.answer(asked, NOW), does_not.web)
        assert waits.web.asked == does_not.web.asked


class Closing:
    """Says whether a flow was closed."""

    closed = False

    def flow(self) -> Flow[int]:
        try:
            yield Fetch("https://a.example/")
        finally:
            self.closed = True
        return 1


async def test_a_flow_is_closed_whatever_happens_to_its_driver() -> None:
    def broken(wish: Wish) -> Answered:
        raise RuntimeError("no network")

    async def broken_later(wish: Wish) -> Answered:
        raise RuntimeError("no network")

    first, second = Closing(), Closing()
    with pytest.raises(RuntimeError):
        run(first.flow(), broken)
    with pytest.raises(RuntimeError):
        await arun(second.flow(), broken_later)
    assert first.closed
    assert second.closed


def test_two_issuers_at_one_door() -> None:
    other = "https://other.example"
    pages = Web({KEYS_URL: key_set(rsa_signer()), other + "/keys": key_set(rsa_signer(kid="theirs"))})
    rules = [
        {"path": "users/{sub}/**", "allow": {"issuer": ["staff"]}},
        {"path": "guests/**", "allow": {"issuer": [other]}},
    ]
    guests = issuer(url=other, name="", jwks=other + "/keys")
    visitor = Visitor(rules, issuers=(issuer(), guests), pages=pages)
    guest = bearer(token(claims(iss=other), rsa_signer(kid="theirs")))
    assert visitor.serve("/users/ann/a", authorization=ANN).caller == "staff:ann"
    assert visitor.reply("/users/ann/a", authorization=guest).status == 403
    assert visitor.serve("/guests/a", authorization=guest).caller == f"{other}:ann"


def test_beside_a_bad_token_cookie_an_outdated_session_says_what_is_wrong() -> None:
    """Its owner signs in once more; who is told about the token cookie alone would not know why."""
    cookie = session_of(Visitor(issuers=(issuer(audience=frozenset((CLIENT, "given up"))),)))
    after = Visitor()
    after.now += 500
    reply = after.reply("/users/ann/a", cookie=f"token=rubbish; {cookie}")
    assert (reply.status, reply.reason) == (401, "session-outdated")
    assert after.reply("/users/ann/a", cookie="token=rubbish; __Host-stagedoor=x.y.z").reason == "token-shape"
