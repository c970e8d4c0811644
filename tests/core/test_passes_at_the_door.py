"""Passes at the door: what they open and what not, and who is given which by `/-/urls` and `/-/cookies`."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from stagedoor.core import paths
from stagedoor.core.door import Site
from stagedoor.core.messages import Content, Reply, Serve
from stagedoor.core.passes.verify import Passes
from stagedoor.keys.pass_keys import check_with, load_signer, read_public
from tests.helpers.stores import ODD_KEYS
from tests.helpers.support import (
    NOW,
    RULES,
    SITE,
    VECTORS,
    Rules,
    Visitor,
    bearer,
    caller,
    claims,
    field,
    says_nothing_twice,
    token,
)

KEYS = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
SIGNER = load_signer("K2JCJMDEHXQW5F", KEYS["rsa"]["priv"])
STRANGER = load_signer("K2JCJMDEHXQW5F", KEYS["ec"]["priv"])
CHECKS = {SIGNER.key_id: check_with(read_public(KEYS["rsa"]["pub"]))}
LATER = int(NOW) + 600
HOUR = 3600
ANN, BEN = bearer(token()), bearer(token(claims(sub="ben")))


def guarded(rules: Rules = RULES, *, per_minute: int = 600, **options: Any) -> Visitor:
    """A site that takes and issues passes."""
    api = {"signer": SIGNER, "max_lifetime": HOUR, "per_minute": per_minute}
    return Visitor(rules, passes=Passes(SITE, CHECKS), **{"api_options": api, **options})


def signed(target: str, **options: Any) -> str:
    """The target with a good pass of ten minutes."""
    return SIGNER.url(SITE + target, **{"expires": LATER, **options}).removeprefix(SITE)


def pass_cookies(resource: str, **options: Any) -> str:
    made = SIGNER.cookies(SITE + resource, **{"expires": LATER, **options})
    return "; ".join(f"{name}={value}" for name, value in made.items())


def outcome(answer: Serve | Reply) -> str:
    """The key and why it is served, or the status and the reason."""
    return f"{answer.key} by {answer.rule}" if isinstance(answer, Serve) else f"{answer.status} {answer.reason}"


def xml(code: str, message: str) -> bytes:
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return text.encode()


DENIED = xml("AccessDenied", "Access denied")


def body(reply: Reply) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(reply.body)
    return told


# --- what a pass opens


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("target", ["/users/ben/x", "/courses/drafts/x", "/nobody/knows"])
def test_a_good_pass_opens_its_object_for_nobody_whatever_the_rules_say(target: str, method: str) -> None:
    visitor = guarded()
    for answer in (
        visitor.serve(signed(target), method),  # new, then known
        visitor.serve(signed(target), method),
        visitor.serve(target, method, cookie=pass_cookies(target)),
        visitor.serve(target, method, cookie=pass_cookies("/*")),
    ):
        assert (answer.key, answer.rule, answer.caller) == (target[1:], f"pass {SIGNER.key_id}", "")
        assert (answer.public, answer.fallback, answer.until) == (False, None, LATER)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_anybody_may_read_needs_no_pass_cookies_and_is_told_from_a_signed_url(method: str) -> None:
    visitor = guarded()
    by_url = visitor.serve(signed("/public/a"), method)
    assert (by_url.rule, by_url.public, by_url.until) == (f"pass {SIGNER.key_id}", False, LATER)
    by_rule = visitor.serve("/public/a", method, cookie=pass_cookies("/*"))
    assert (by_rule.rule, by_rule.public, by_rule.until) == ("rules[0]", True, None)


def test_it_opens_nothing_else() -> None:
    visitor, query = guarded(), signed("/users/ben/x").partition("?")[2]
    for target in ("/users/ben/y", "/users/ben/x/", "/users/ben", "/users/ben/x%2ey", "/users/ben/%78", "/USERS/ben/x"):
        assert outcome(visitor.ask(f"{target}?{query}")) == "403 pass-signature"
    assert visitor.reply(f"/users/ben/../ben/x?{query}").status == 400
    for more in ("&a=b", "&download", "&token=x"):
        assert outcome(visitor.ask(f"/users/ben/x?{query}{more}")) == "403 pass-signature"
    assert isinstance(visitor.ask(signed("/users/ben/x?download")), Serve)


ORDER: Mapping[str, tuple[str, dict[str, str], str]] = {
    "a good pass, and a token that may not": (
        signed("/users/ben/x"),
        {"authorization": ANN},
        "users/ben/x by pass K2JCJMDEHXQW5F",
    ),
    "a good pass, and a token that is none": (
        signed("/users/ben/x"),
        {"authorization": "Bearer x", "cookie": "token=y"},
        "users/ben/x by pass K2JCJMDEHXQW5F",
    ),
    "a bad pass, and a token that may": ("/users/ann/x?Key-Pair-Id=K", {"authorization": ANN}, "403 pass-unknown-key"),
    "a pass that is over, and a token that may": (
        signed("/users/ann/x", expires=int(NOW) - 1),
        {"authorization": ANN},
        "403 pass-expired",
    ),
    "a bad pass, where anybody may": ("/public/a?Signature=x", {}, "403 pass-no-key"),
    "a good pass, and bad pass cookies": (
        signed("/users/ben/x"),
        {"cookie": "CloudFront-Policy=x"},
        "users/ben/x by pass K2JCJMDEHXQW5F",
    ),
    "a bad pass, and good pass cookies": (
        "/users/ben/x?Expires=1",
        {"cookie": pass_cookies("/*")},
        "403 pass-no-key",
    ),
    "pass cookies, and a token that may not": (
        "/users/ben/x",
        {"cookie": pass_cookies("/*"), "authorization": ANN},
        "403 denied",
    ),
    "pass cookies, and a token that is none": (
        "/users/ben/x",
        {"cookie": pass_cookies("/*") + "; token=x"},
        "401 token-shape",
    ),
    "pass cookies, and a token that is over": (
        "/users/ben/x",
        {"cookie": pass_cookies("/*"), "authorization": bearer(token(claims(exp=NOW - 1)))},
        "401 token-expired",
    ),
    "bad pass cookies, and a token that may": (
        "/users/ann/x",
        {"cookie": "CloudFront-Policy=x", "authorization": ANN},
        "users/ann/x by rules[1]",
    ),
    "bad pass cookies, where anybody may": ("/public/a", {"cookie": "CloudFront-Expires=9"}, "public/a by rules[0]"),
    "a bad pass in the URL, where anybody may": ("/public/a?Expires=9", {}, "403 pass-no-key"),
    "pass cookies alone": ("/users/ben/x", {"cookie": pass_cookies("/*")}, "users/ben/x by pass K2JCJMDEHXQW5F"),
}


@pytest.mark.parametrize(("target", "fields", "comes"), ORDER.values(), ids=ORDER)
def test_the_first_credential_that_is_present_decides(target: str, fields: dict[str, str], comes: str) -> None:
    assert outcome(guarded().ask(target, **fields)) == comes


def test_a_session_decides_before_pass_cookies() -> None:
    visitor = guarded()
    assert visitor.door.sessions is not None
    cookie = visitor.door.sessions.set_cookie(caller(exp=NOW + 600), {"sub": ["ann"]}, b"r" * 16, NOW)
    both = f"{pass_cookies('/*')}; {cookie.partition(';')[0]}"
    assert outcome(visitor.ask("/users/ann/x", cookie=both)) == "users/ann/x by rules[1]"
    assert outcome(visitor.ask("/users/ben/x", cookie=both)) == "403 denied"
    assert outcome(visitor.ask("/users/ben/x", cookie=f"{pass_cookies('/*')}; __Host-stagedoor=x")) == "401 token-shape"


def fields_of(target: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in target.partition("?")[2].split("&"))


@pytest.mark.parametrize("name", fields_of(signed("/users/ben/x")))
def test_one_field_with_two_values_opens_nothing(name: str) -> None:
    target, cookies = signed("/users/ben/x"), pass_cookies("/users/ben/x")
    once = f"{name}={fields_of(target)[name]}"
    for other in (f"{name}=x", f"{name}="):
        for twice in (f"{target}&{other}", target.replace("?", f"?{other}&")):
            assert outcome(guarded().ask(twice)) == "403 credential-twice"
        for lines in (
            f"{cookies}; CloudFront-{other}",
            [cookies, f"CloudFront-{other}"],
            [f"CloudFront-{other}", cookies],
        ):
            reply = guarded().reply("/users/ben/x", cookie=lines)
            assert (reply.reason, reply.body) == ("credential-twice", DENIED)
    assert isinstance(guarded().ask(f"{target}&{once}"), Serve)
    assert isinstance(guarded().ask("/users/ben/x", cookie=[cookies, f"CloudFront-{once}"]), Serve)


def test_names_of_parameters_may_be_percent_encoded() -> None:
    """A program between us may do that; nothing else could be meant."""
    target = signed("/users/ben/x")
    for name in fields_of(target):
        encoded = "".join(f"%{byte:02x}" for byte in name.encode())
        assert isinstance(guarded().ask(target.replace(f"{name}=", f"{encoded}=")), Serve)
        assert guarded().reply(f"/users/ann/x?{encoded}=x", authorization=ANN).status == 403
    assert isinstance(guarded().ask(target.replace("_", "%5F").replace("~", "%7e")), Serve)
    for other in ("expires", "Key-pair-id", "Signature "):  # these are parameters like any
        assert outcome(guarded().ask(f"/users/ann/x?{other.replace(' ', '%20')}=x", authorization=ANN))[:3] == "use"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "PROPFIND"])
def test_no_pass_allows_another_method(method: str) -> None:
    for reply in (
        guarded().reply(signed("/users/ben/x"), method),
        guarded().reply("/users/ben/x", method, cookie=pass_cookies("/*")),
        guarded().reply("/users/ben/x?Signature=x", method),
    ):
        assert (reply.status, field(reply.headers, "allow")) == (405, "GET, HEAD, OPTIONS")


def test_a_known_pass_is_asked_about_its_terms_each_time() -> None:
    visitor = guarded()
    everywhere, here = signed("/users/ben/x"), signed("/users/ben/x", network="192.0.2.0/24", starts=int(NOW) - 5)
    for target in (everywhere, here):
        assert isinstance(visitor.ask(target), Serve)
    visitor.client = "198.51.100.1"
    assert isinstance(visitor.ask(everywhere), Serve)
    assert outcome(visitor.ask(here)) == "403 pass-address"
    visitor.client, visitor.now = "192.0.2.200", NOW - 5
    assert outcome(visitor.ask(here)) == "403 pass-early"
    visitor.now = LATER - 0.01
    assert isinstance(visitor.ask(here), Serve)
    visitor.now = LATER
    for target in (everywhere, here):
        assert outcome(visitor.ask(target)) == "403 pass-expired"


@pytest.mark.parametrize(
    ("client", "network", "comes"),
    [
        ("192.0.2.77", "192.0.2.0/24", "users/ben/x by pass K2JCJMDEHXQW5F"),
        ("::ffff:192.0.2.77", "192.0.2.0/24", "users/ben/x by pass K2JCJMDEHXQW5F"),
        ("::ffff:192.0.2.77", "0.0.0.0/0", "users/ben/x by pass K2JCJMDEHXQW5F"),
        ("192.0.3.77", "192.0.2.0/24", "403 pass-address"),
        ("::ffff:192.0.3.77", "192.0.2.0/24", "403 pass-address"),
        ("2001:db8::1", "0.0.0.0/0", "403 pass-address"),
        ("::192.0.2.77", "192.0.2.0/24", "403 pass-address"),
        ("", "0.0.0.0/0", "403 pass-address"),
        ("-", "0.0.0.0/0", "403 pass-address"),
        ("2001:db8::1", None, "users/ben/x by pass K2JCJMDEHXQW5F"),
        ("", None, "users/ben/x by pass K2JCJMDEHXQW5F"),
    ],
)
def test_a_network_is_of_ipv4_addresses(client: str, network: str | None, comes: str) -> None:
    visitor = guarded()
    visitor.client = client
    assert outcome(visitor.ask(signed("/users/ben/x", network=network))) == comes
    assert outcome(visitor.ask("/users/ben/x", cookie=pass_cookies("/*", network=network))) == comes


def test_index_documents_are_opened_by_the_address_that_was_signed() -> None:
    visitor = guarded(site=Site(SITE, index_file="index.html"))
    for target in ("/docs/", "/docs/index.html", "/"):
        assert visitor.serve(signed(target)).key == f"{target[1:].removesuffix('index.html')}index.html"
        assert visitor.serve(target, cookie=pass_cookies("/*")).key.endswith("index.html")
    query = signed("/docs/").partition("?")[2]
    assert outcome(visitor.ask(f"/docs/index.html?{query}")) == "403 pass-signature"
    assert outcome(visitor.ask(f"/docs?{query}")) == "403 pass-signature"


def test_nothing_stands_in_for_what_a_pass_opens() -> None:
    """A fallback is for callers that may read it too."""
    visitor = guarded(site=Site(SITE, fallback="public/app.html"))
    assert visitor.serve("/public/x", sec_fetch_mode="navigate").fallback == "public/app.html"
    assert visitor.serve(signed("/public/x"), sec_fetch_mode="navigate").fallback is None
    assert visitor.serve("/users/ben/x", sec_fetch_mode="navigate", cookie=pass_cookies("/*")).fallback is None


GETS = ("/-/whoami", "/-/explain?key=public/a", "/-/s3objects", "/-/contents/lesson-7")
POSTS = {"/-/urls": {"file": "public/a"}, "/-/cookies": {"prefix": "public/"}}


def test_under_our_own_addresses_a_pass_is_no_credential() -> None:
    visitor = guarded(api_options={"signer": SIGNER, "catalogue": True})
    open_to_all = {b"/-/openapi.json", b"/-/session"}  # the latter looks at the header alone
    open_to_all |= {b"/-/login", b"/-/callback", b"/-/renew", b"/-/logout"}  # which know sessions alone
    open_to_all |= {b"/-/backchannel-logout", b"/-/revocations"}  # the issuer's, and for admins
    assert {target.partition("?")[0].encode() for target in GETS if "contents" not in target} | {
        *(target.encode() for target in POSTS),
        b"/-/contents/",
    } == set(visitor.door.endpoints) - open_to_all
    for target in (*GETS, *POSTS):
        extra = {} if target in GETS else {"method": "POST"}
        for reply in (
            visitor.reply(signed(target), **extra),
            visitor.reply(signed(target, resource=f"{SITE}/*"), **extra),
            visitor.reply(target, cookie=pass_cookies("/*"), **extra),
            visitor.reply(f"{target}{'&' if '?' in target else '?'}Expires=1", authorization=ANN, **extra),
        ):
            assert (reply.status, reply.reason, reply.body) == (403, "pass-resource", DENIED)
    for target in GETS[:2]:
        assert visitor.reply(target, authorization=ANN, cookie=pass_cookies("/*")).status == 200


# --- what a pass is answered that opens nothing


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("Expires=1&Signature=x", "MissingKey", "Missing Key-Pair-Id query parameter or cookie value"),
        ("Expires=1&Signature=x&Key-Pair-Id=K", "InvalidKey", "Unknown Key"),
        (
            f"Expires=1&Signature=!&Key-Pair-Id={SIGNER.key_id}",
            "MalformedSignature",
            "Could not unencode Signature",
        ),
        (f"Policy=!&Signature=x&Key-Pair-Id={SIGNER.key_id}", "MalformedPolicy", "Malformed Policy"),
        (f"Expires=1&Signature=AAAA&Key-Pair-Id={SIGNER.key_id}", "AccessDenied", "Access denied"),
    ],
)
@pytest.mark.parametrize("navigation", [False, True])
def test_aws_s_own_words_to_the_byte(query: str, code: str, message: str, navigation: bool) -> None:
    """For programs and for browsers, for a signed URL and for signed cookies."""
    visitor = guarded(site=Site(SITE, login_page="https://login.example.com/"))
    fields = {"accept": "text/html", "sec_fetch_mode": "navigate"} if navigation else {}
    cookie = "; ".join(f"CloudFront-{part}" for part in query.split("&"))
    for reply, referrer in (
        (visitor.reply(f"/users/ann/x?{query}", **fields), "no-referrer"),
        (visitor.reply("/users/ann/x", cookie=cookie, **fields), "same-origin"),
    ):
        assert (reply.status, reply.body) == (403, xml(code, message))
        assert dict(reply.headers) == {
            b"cache-control": b"no-store",
            b"content-type": b"text/xml",
            b"referrer-policy": referrer.encode(),
            b"x-content-type-options": b"nosniff",
        }


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("options", "code", "title"),
    [
        ({"expires": int(NOW) - 1}, "pass-expired", "This link has expired"),
        ({"starts": int(NOW) + 60}, "pass-early", "This link is not good yet"),
    ],
)
def test_a_person_with_a_link_of_another_time_gets_a_page_and_a_program_aws_s_words(
    options: dict[str, Any], code: str, title: str, method: str
) -> None:
    visitor = guarded(site=Site(SITE, login_page=f"{SITE}/login"))
    target = signed("/users/ben/x", **options)
    cookie = pass_cookies("/users/ben/*", **options)
    for asked, fields in ((target, {}), ("/users/ben/x", {"cookie": cookie})):
        page = visitor.reply(asked, method, sec_fetch_mode="navigate", **fields)
        assert (page.status, page.reason) == (403, code)
        assert field(page.headers, "content-type") == "text/html; charset=utf-8"
        assert f"<h1>{title}</h1>" in page.body.decode()
        assert f'<p class="site">{SITE[8:]}</p>' in page.body.decode()
        says_nothing_twice(page.body.decode())
        assert field(page.headers, "referrer-policy") == ("no-referrer" if asked == target else "same-origin")
        program = visitor.reply(asked, method, **fields)
        assert (program.status, program.reason, program.body) == (403, code, DENIED)
        assert field(program.headers, "content-type") == "text/xml"


def test_only_behind_keys_alone_is_nobody_told_that_a_key_is_missing() -> None:
    """A site without issuers is what CloudFront is with a key group; elsewhere one may sign in."""
    only_passes = guarded(issuers=())
    missing = xml("MissingKey", "Missing Key-Pair-Id query parameter or cookie value")
    reply = only_passes.reply("/users/ann/x")
    assert (reply.status, reply.reason, reply.body) == (403, "no-credential", missing)
    assert isinstance(only_passes.ask("/public/a"), Serve)
    assert isinstance(only_passes.ask(signed("/users/ann/x")), Serve)
    assert outcome(guarded().ask("/users/ann/x")) == "401 no-credential"
    assert outcome(Visitor(issuers=()).ask("/users/ann/x")) == "401 no-credential"


def test_a_site_without_keys_refuses_every_pass() -> None:
    for site in (Visitor(), Visitor(issuers=())):
        assert outcome(site.ask(signed("/users/ann/x"))) == "403 pass-unknown-key"
        assert outcome(site.ask("/users/ann/x", cookie=pass_cookies("/*"))) == "401 no-credential"


def test_a_wildcard_in_a_path_is_not_met_by_a_query() -> None:
    visitor = guarded()
    good = SIGNER.url(f"{SITE}/team/x.jpg", LATER, resource=f"{SITE}/*.jpg").removeprefix(SITE)
    parameters = good.partition("?")[2]
    assert isinstance(visitor.ask(good), Serve)
    assert isinstance(visitor.ask(f"/other/y.jpg?w=1.jpg&{parameters}"), Serve)
    assert outcome(visitor.ask(f"/secret.pdf?.jpg&{parameters}")) == "403 pass-resource"
    assert outcome(visitor.ask("/secret.pdf?.jpg", cookie=pass_cookies("/*.jpg"))) == "403 pass-resource"
    assert isinstance(visitor.ask("/team/a.mp4?w=1", cookie=pass_cookies("/team/*")), Serve)
    assert isinstance(visitor.ask("/a.mp4?w=1", cookie=pass_cookies(r"/a.mp4\?w=*")), Serve)
    assert outcome(visitor.ask("/b.mp4?/a.mp4?w=1", cookie=pass_cookies(r"/*/a.mp4\?w=*"))) == "403 pass-resource"


def test_a_pass_of_another_key_under_this_name_opens_nothing() -> None:
    made = STRANGER.url(f"{SITE}/users/ann/x", LATER).removeprefix(SITE)
    assert outcome(guarded().ask(made)) == "403 pass-signature"


def test_an_address_that_carried_a_pass_is_told_to_nobody() -> None:
    visitor = guarded()
    for _ in range(2):
        assert field(visitor.serve(signed("/users/ann/x")).headers, "referrer-policy") == "no-referrer"
    assert field(visitor.serve("/users/ann/x", cookie=pass_cookies("/*")).headers, "referrer-policy") == "same-origin"
    for target in ("/users/ann/x?Signature=x", "/-/whoami?Signature=x", "/-/nothing?Signature=x", "/%zz?Signature=x"):
        assert field(visitor.reply(target).headers, "referrer-policy") == "no-referrer"


def test_scripts_of_listed_origins_may_read_what_a_pass_opens() -> None:
    visitor = guarded(site=Site(SITE, origins=frozenset(("https://app.example.com",))))
    for _ in range(2):
        answer = visitor.serve(signed("/users/ben/x"), origin="https://app.example.com")
        assert field(answer.headers, "access-control-allow-origin") == "https://app.example.com"
        assert field(visitor.serve(signed("/users/ben/x")).headers, "access-control-allow-origin") is None


# --- POST /-/urls


def url_of(reply: Reply) -> str:
    """The target of the URL that was issued."""
    assert (reply.status, reply.reason) == (201, "pass-issued")
    assert field(reply.headers, "cache-control") == "no-store"
    assert field(reply.headers, "content-type") == "application/json"
    made: str = body(reply)["signedUrl"]
    assert made.startswith(f"{SITE}/")
    return made.removeprefix(SITE)


def test_whoever_may_read_an_object_gets_a_url_that_opens_it_for_anybody() -> None:
    visitor = guarded()
    reply = visitor.post("/-/urls", {"file": "users/ann/x.txt"}, authorization=ANN)
    assert reply.caller == "staff:ann"
    assert set(body(reply)) == {"signedUrl", "expires"}
    answer = visitor.serve(url_of(reply))
    assert (answer.key, answer.until) == ("users/ann/x.txt", body(reply)["expires"])
    assert re.fullmatch(
        r"/users/ann/x\.txt\?Expires=\d+&Key-Pair-Id=K2JCJMDEHXQW5F&Signature=[\w~-]+&Hash-Algorithm=SHA256",
        url_of(reply),
    )


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("/users/ann/x", "users/ann/x"),
        ("users/ann/a b+c%.txt", "users/ann/a b+c%.txt"),
        ("users/ann/%41", "users/ann/%41"),
        ("users/ann/folder/", "users/ann/folder/"),
    ],
)
def test_a_file_is_named_as_the_store_has_it(given: str, key: str) -> None:
    visitor = guarded()
    assert visitor.serve(url_of(visitor.post("/-/urls", {"file": given}, authorization=ANN))).key == key


def test_the_file_of_a_folder_is_its_index() -> None:
    visitor = guarded([{"path": "**", "allow": "signed-in"}], site=Site(SITE, index_file="index.html"))
    for given in ("docs/", "", "/"):
        reply = visitor.post("/-/urls", {"file": given}, authorization=ANN)
        assert visitor.serve(url_of(reply)).key == f"{given.removeprefix('/')}index.html"


def test_names_with_odd_characters_open_and_open_nothing_else() -> None:
    visitor = guarded([{"path": "**", "allow": "signed-in"}])
    made = {key: url_of(visitor.post("/-/urls", {"file": key}, authorization=ANN)) for key in ODD_KEYS}
    for key, other in itertools.product(ODD_KEYS, ODD_KEYS):
        path, query = paths.encode(other), made[key].partition("?")[2]
        assert outcome(visitor.ask(f"{path}?{query}")) == (
            f"{key} by pass {SIGNER.key_id}" if key == other else "403 pass-signature"
        )


@pytest.mark.parametrize(
    ("asked", "lasts"), [({}, HOUR), ({"expires_in": 60}, 60), ({"expires_in": 1}, 1), ({"expires_in": 10**30}, HOUR)]
)
def test_a_pass_lasts_as_long_as_asked_and_no_longer_than_the_site_lets_it(asked: dict[str, int], lasts: int) -> None:
    visitor = guarded()
    reply = visitor.post("/-/urls", {"file": "public/a", **asked})
    assert body(reply)["expires"] == NOW + lasts
    visitor.now = NOW + lasts - 0.01
    assert visitor.serve(url_of(reply)).until == NOW + lasts
    visitor.now = NOW + lasts
    assert outcome(visitor.ask(url_of(reply))) == "403 pass-expired"
    cookies = visitor.post("/-/cookies", {"prefix": "public", **asked})
    assert {f"Max-Age={lasts}" in line for line in set_cookies(cookies)} == {True}


def test_a_session_may_ask_for_passes_too() -> None:
    visitor = guarded()
    made = visitor.reply("/-/session", "POST", authorization=ANN)
    cookie = dict(made.headers)[b"set-cookie"].decode().partition(";")[0]
    assert isinstance(visitor.ask(url_of(visitor.post("/-/urls", {"file": "users/ann/x"}, cookie=cookie))), Serve)


class Refused(NamedTuple):
    """A request that gets no pass: what is sent, and what comes of it."""

    body: object
    status: int
    code: str
    fields: Mapping[str, str | Sequence[str]] = {"authorization": ANN}


NO_OBJECT: Mapping[str, Refused] = {
    "nothing": Refused(b"", 400, "body"),
    "no JSON": Refused(b"{", 400, "body"),
    "no UTF-8": Refused(b'{"file":"\xff"}', 400, "body"),
    "UTF-16": Refused('{"file":"users/ann/x"}'.encode("utf-16"), 400, "body"),
    "a form": Refused(b"file=users/ann/x", 400, "body"),
    "a list": Refused(["users/ann/x"], 400, "body"),
    "a text": Refused("users/ann/x", 400, "body"),
    "nesting": Refused(b"[" * 16_000, 400, "body"),
    "a number without end": Refused(b'{"file":"users/ann/x","expires_in":' + b"9" * 8000 + b"}", 400, "body"),
    "not a number": Refused(b'{"file":"users/ann/x","expires_in":NaN}', 400, "body"),
    "no file": Refused({}, 400, "body"),
    "another word": Refused({"key": "users/ann/x"}, 400, "body"),
    "a word more": Refused({"file": "users/ann/x", "ip": "192.0.2.1"}, 400, "body"),
    "the file twice": Refused(b'{"file":"users/ann/x","file":"users/ann/y"}', 400, "body"),
    "a number for a file": Refused({"file": 5}, 400, "body"),
    "null for a file": Refused({"file": None}, 400, "body"),
    "several files": Refused({"file": ["users/ann/x"]}, 400, "body"),
    "an empty file": Refused({"file": ""}, 400, "body"),
    "only a slash": Refused({"file": "/"}, 400, "body"),
    "one of our own": Refused({"file": "-/whoami"}, 400, "body"),
    "two slashes before it": Refused({"file": "//users/ann/x"}, 400, "target"),
    "a dot segment": Refused({"file": "users/ann/../ben/x"}, 400, "target"),
    "a backslash": Refused({"file": "users/ann/\\x"}, 400, "target"),
    "a line end": Refused({"file": "users/ann/x\r\nSet-Cookie: a=b"}, 400, "target"),
    "half a character": Refused(b'{"file":"users/ann/\\ud800"}', 400, "target"),
    "a long name": Refused({"file": "users/ann/" + "x" * 1024}, 400, "target"),
    "a lifetime as text": Refused({"file": "users/ann/x", "expires_in": "60"}, 400, "body"),
    "a lifetime of zero": Refused({"file": "users/ann/x", "expires_in": 0}, 400, "body"),
    "a lifetime before now": Refused({"file": "users/ann/x", "expires_in": -1}, 400, "body"),
    "a fraction": Refused({"file": "users/ann/x", "expires_in": 60.5}, 400, "body"),
    "true": Refused({"file": "users/ann/x", "expires_in": True}, 400, "body"),
    "somebody else's": Refused({"file": "users/ben/x"}, 403, "denied"),
    "what is denied": Refused({"file": "courses/drafts/x"}, 403, "denied"),
    "what no rule is about": Refused({"file": "nobody/knows"}, 403, "denied"),
    "nobody asks": Refused({"file": "users/ann/x"}, 401, "no-credential", {}),
    "a token that is none": Refused({"file": "public/a"}, 401, "token-shape", {"authorization": "Bearer x"}),
    "a token that is over": Refused(
        {"file": "users/ann/x"}, 401, "token-expired", {"authorization": bearer(token(claims(exp=NOW - 1)))}
    ),
    "another origin": Refused({"file": "public/a"}, 403, "origin", {"origin": "https://evil.example"}),
    "no origin's origin": Refused({"file": "public/a"}, 403, "origin", {"origin": "null"}),
    "two origins": Refused({"file": "public/a"}, 403, "origin", {"origin": [SITE, "https://evil.example"]}),
}


@pytest.mark.parametrize("asked", NO_OBJECT.values(), ids=NO_OBJECT)
def test_who_gets_no_url_and_why(asked: Refused) -> None:
    visitor = guarded(per_minute=1)
    reply = visitor.post("/-/urls", asked.body, **asked.fields)
    assert (reply.status, reply.reason, body(reply)["code"]) == (asked.status, asked.code, asked.code)
    assert field(reply.headers, "cache-control") == "no-store"
    assert b"Signature=" not in reply.body
    if asked.status == 401:
        assert (field(reply.headers, "www-authenticate") or "").startswith("Bearer")
    good = visitor.post("/-/urls", {"file": "public/a"}, **({} if asked.code == "origin" else {"authorization": ANN}))
    assert good.status == 201, "a refusal does not count as a pass"


@pytest.mark.parametrize("target", POSTS)
def test_a_body_that_cannot_be_read_is_told_what_to_send(target: str) -> None:
    (name,) = POSTS[target]
    for sent in (b"", b"[]"):
        detail = body(guarded().post(target, sent))["detail"]
        assert re.fullmatch(rf'the body is not a JSON .*; send for example {{"{name}": "…"}}', detail)


def test_the_sites_own_origin_and_listed_ones_may_ask() -> None:
    visitor = guarded(site=Site(SITE, origins=frozenset(("https://app.example.com",))))
    for origin in (SITE, "https://app.example.com"):
        for target, wish in POSTS.items():
            assert visitor.post(target, wish, origin=origin).status in (201, 204)


@pytest.mark.parametrize("target", POSTS)
def test_a_site_without_a_private_key_issues_nothing(target: str) -> None:
    for fields in ({}, {"authorization": ANN}):
        reply = Visitor(passes=Passes(SITE, CHECKS)).post(target, POSTS[target], **fields)
        assert (reply.status, body(reply)["code"]) == (404, "passes-inactive")
        assert "[passes]" in body(reply)["detail"]


@pytest.mark.parametrize("target", POSTS)
def test_passes_are_asked_for_by_post(target: str) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        reply = guarded().reply(target, method, authorization=ANN)
        assert (reply.status, field(reply.headers, "allow")) == (405, "POST, OPTIONS")
    assert field(guarded().reply(target, "OPTIONS").headers, "allow") == "POST, OPTIONS"


# --- how many


def test_each_caller_has_a_limit_of_their_own() -> None:
    visitor = guarded(per_minute=2)

    def statuses(wish: Mapping[str, str], **fields: str) -> list[int]:
        return [visitor.post("/-/urls", wish, **fields).status for _ in range(3)]

    assert statuses({"file": "users/ann/x"}, authorization=ANN) == [201, 201, 429]
    assert statuses({"file": "users/ben/x"}, authorization=BEN) == [201, 201, 429]
    assert statuses({"file": "public/a"}) == [201, 201, 429]
    visitor.client = "192.0.2.2"
    assert statuses({"file": "public/a"}) == [201, 201, 429]
    assert statuses({"file": "users/ann/x"}, authorization=ANN) == [429] * 3, "another address is no other caller"


def test_urls_cookies_and_contents_count_together() -> None:
    visitor = guarded(api_options={"signer": SIGNER, "per_minute": 3, "catalogue": True})
    visitor.catalogue["7"] = Content("7", "public/a")
    assert visitor.post("/-/urls", {"file": "public/a"}).status == 201
    assert visitor.post("/-/cookies", {"prefix": "public/"}).status == 204
    assert visitor.reply("/-/contents/7?signed").status == 200
    for reply in (
        visitor.post("/-/urls", {"file": "public/a"}),
        visitor.post("/-/cookies", {"prefix": "public/"}),
        visitor.reply("/-/contents/7?signed"),
    ):
        assert (reply.status, body(reply)["code"]) == (429, "too-many-passes")
    assert visitor.reply("/-/contents/7").status == 200


def test_who_had_too_many_is_told_when_to_come_back() -> None:
    visitor = guarded(per_minute=2)
    for _ in range(2):
        visitor.post("/-/urls", {"file": "public/a"})
    reply = visitor.post("/-/urls", {"file": "public/a"})
    after = int(field(reply.headers, "retry-after") or 0)
    assert 1 <= after <= 31
    assert "2 passes a minute" in body(reply)["detail"]
    visitor.now += after - 2
    assert visitor.post("/-/urls", {"file": "public/a"}).status == 429
    visitor.now += 2
    assert visitor.post("/-/urls", {"file": "public/a"}).status == 201
    visitor.now -= 1000  # a clock that is put back
    assert visitor.post("/-/urls", {"file": "public/a"}).status == 429


# --- POST /-/cookies


def set_cookies(reply: Reply) -> list[str]:
    assert (reply.status, reply.reason, reply.body) == (204, "pass-issued", b"")
    assert [value for name, value in reply.headers if name == b"cache-control"] == [b"no-store"]
    return passes_in(reply)


def passes_in(reply: Reply) -> list[str]:
    """The Set-Cookie lines of passes; the last one remembers their paths for sign-out."""
    *passes, paths = [value.decode() for name, value in reply.headers if name == b"set-cookie"]
    assert paths.startswith("__Host-stagedoor-paths=")
    return passes


def sent(reply: Reply, path: str) -> list[str]:
    """The cookies that a browser sends to a path (RFC 6265 §5.1.4)."""
    found = []
    for line in set_cookies(reply):
        pair, *attributes = line.split("; ")
        folder = next(one for one in attributes if one.startswith("Path="))[5:]
        if path.startswith(folder):
            found.append(pair)
    return ["; ".join(found)] if found else []


def as_browser(path: str, *, older: bool = False) -> str:
    """The path as a browser sends it when it stands in a link (URL standard §1.3, path percent-encode set)."""
    encoded = {*' "#<>?`{}%', *([] if older else "^")}  # `%` and `?` are written so by whoever makes the link
    return "".join(quote(one, safe="") if one in encoded or not one.isascii() else one for one in path)


class Jar:
    """Cookies as a browser keeps and sends them (RFC 6265 §5.3, §5.4)."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def take(self, reply: Reply) -> None:
        for line in set_cookies(reply):
            pair, path, *_ = line.split("; ")
            name, _, value = pair.partition("=")
            self.kept[name, path.removeprefix("Path=")] = value

    def line(self, target: str) -> str:
        path = target.partition("?")[0]
        sent = [
            (folder, f"{name}={value}")
            for (name, folder), value in self.kept.items()
            if path == folder or path.startswith(folder if folder.endswith("/") else f"{folder}/")
        ]
        return "; ".join(pair for _, pair in sorted(sent, key=lambda one: -len(one[0])))


def folder_of(visitor: Visitor, *prefixes: str, **fields: str) -> Reply:
    return visitor.post("/-/cookies", {"prefix": prefixes[0] if len(prefixes) == 1 else prefixes}, **fields)


def test_cookies_open_a_folder_and_nothing_beside_it() -> None:
    visitor = guarded()
    for given in ("users/ann", "users/ann/", "/users/ann/"):
        reply = folder_of(visitor, given, authorization=ANN)
        assert reply.caller == "staff:ann"
        for target in ("/users/ann/x", "/users/ann/a/b/c.ts", "/users/ann/", "/users/ann/a%20b"):
            assert visitor.serve(target, cookie=sent(reply, target)).until == NOW + HOUR
        (everything,) = sent(reply, "/users/ann/x")
        for way_out in ("..", "%2e%2e", "%2E.", "..%2fx", "%5c..", "."):
            assert visitor.reply(f"/users/ann/{way_out}/ben/x", cookie=everything).status == 400
        for target in ("/users/ann", "/users/anna/x", "/users/ben/x", "/users/Ann/x", "/x", "/users/%61nn/x"):
            assert outcome(visitor.ask(target, cookie=everything)) == "403 pass-resource"
            assert sent(reply, target) == []


def test_each_cookie_is_kept_from_scripts_and_other_sites() -> None:
    for url, secure in ((SITE, True), ("http://127.0.0.1:8080", False), ("http://localhost:8080", False)):
        for line in set_cookies(folder_of(guarded(site=Site(url)), "public/")):
            pair, *attributes = line.split("; ")
            assert re.fullmatch(r"CloudFront-(Policy|Signature|Key-Pair-Id|Hash-Algorithm)=[\w~-]+", pair)
            expected = ["Path=/public/", f"Max-Age={HOUR}", "HttpOnly", "SameSite=Lax", *(["Secure"] if secure else [])]
            assert attributes == expected
            assert len(line) < 4096


def test_several_folders_at_once_each_with_its_own_cookies() -> None:
    visitor = guarded([{"path": "courses/{groups}/**", "allow": "signed-in"}])
    groups = [f"c{number}" for number in range(8)]
    who = bearer(token(claims(groups=groups)))
    reply = folder_of(visitor, *(f"courses/{group}/" for group in groups), authorization=who)
    assert len(set_cookies(reply)) == 8 * 4
    for group in groups:
        target = f"/courses/{group}/film.m3u8"
        assert isinstance(visitor.ask(target, cookie=sent(reply, target)), Serve)
    (of_another,) = sent(reply, "/courses/c0/x")
    assert outcome(visitor.ask("/courses/c1/x", cookie=of_another)) == "403 pass-resource"


def test_folders_with_odd_names() -> None:
    visitor = guarded([{"path": "**", "allow": "signed-in"}])
    targets = {key: f"{paths.encode(key)}/x" for key in ODD_KEYS if key not in ("-", "*")}  # `-/` is ours
    for key, target in targets.items():
        reply = folder_of(visitor, key, authorization=ANN)
        for spelling in (target, as_browser(f"/{key}/x"), as_browser(f"/{key}/x", older=True)):
            assert visitor.serve(spelling, cookie=sent(reply, spelling)).key == f"{key}/x"
        for other in targets.values():
            if other != target:
                assert sent(reply, other) == [] or ";" in key  # whose Path is that of the folder around it
                assert outcome(visitor.ask(other, cookie=sent(reply, target))) == "403 pass-resource"


def test_the_whole_site_for_who_may_read_it_all() -> None:
    everything = guarded([{"path": "**", "allow": {"groups": ["auditors"]}}])
    auditor = bearer(token(claims(groups=["auditors"])))
    for prefix in ("", "/"):
        reply = folder_of(everything, prefix, authorization=auditor)
        for target in ("/x", "/a/b"):
            assert isinstance(everything.ask(target, cookie=sent(reply, target)), Serve)
        assert outcome(everything.ask("/-/whoami", cookie=sent(reply, "/-/whoami"))) == "403 pass-resource"
    assert folder_of(everything, "", authorization=ANN).status == 403
    assert folder_of(guarded(), "", authorization=ANN).status == 403


def test_a_folder_that_browsers_spell_otherwise_has_cookies_for_both_spellings() -> None:
    reply = folder_of(guarded(), "users/ann/R&D (2024)/", authorization=ANN)
    cookies: dict[str, list[str]] = {}
    for line in passes_in(reply):
        pair, path, *_ = line.split("; ")
        cookies.setdefault(path.removeprefix("Path="), []).append(pair)
    assert sorted(cookies) == ["/users/ann/R%26D%20%282024%29/", "/users/ann/R&D%20(2024)/"]
    for path, pairs in cookies.items():
        assert guarded().serve(f"{path}x", cookie="; ".join(pairs)).key == "users/ann/R&D (2024)/x"
        other = next(one for one in cookies if one != path)
        assert guarded().reply(f"{other}x", cookie="; ".join(pairs)).status == 403


NAMES_IN_LINKS = ["it's (1)", "season[1]", "auth0|5f7c", "a;b", "a^b", "a=b@c:d", "~a.b_c-d+e,f!g$h&i", "{a}`b"]


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("name", NAMES_IN_LINKS)
def test_cookies_open_their_folder_as_a_browser_writes_it(name: str, older: bool) -> None:
    visitor, jar = guarded(), Jar()
    jar.take(folder_of(visitor, f"users/ann/{name}", authorization=ANN))
    for target in (as_browser(f"/users/ann/{name}/a b.txt", older=older), f"{paths.encode(f'users/ann/{name}')}/x"):
        assert isinstance(visitor.ask(target, cookie=jar.line(target)), Serve)
    for target in ("/users/ann/x", "/users/ann/a/x", "/users/ben/x"):
        assert not isinstance(visitor.ask(target, cookie=jar.line(target)), Serve)


def test_cookies_for_a_folder_with_a_star_are_refused_because_browsers_ask_for_it_as_it_is() -> None:
    reply = folder_of(guarded(), "users/ann/a*b/", authorization=ANN)
    assert (reply.status, reply.reason) == (400, "body")
    assert "wildcard" in body(reply)["detail"]


def test_a_folder_with_a_semicolon_takes_no_cookies_from_the_folder_around_it() -> None:
    """No Path can hold a `;`, so these have the Path of the folder around it, written without its last slash."""
    visitor, jar = guarded(), Jar()
    jar.take(folder_of(visitor, "users/ann/a/", authorization=ANN))
    jar.take(folder_of(visitor, "users/ann/a/b;c/", authorization=ANN))
    for target in ("/users/ann/a/x", "/users/ann/a/b;c/x", "/users/ann/a/b%3Bc/x"):
        assert isinstance(visitor.ask(target, cookie=jar.line(target)), Serve)
    both = folder_of(visitor, "users/ann/b;c/", "users/ann/d;e/", authorization=ANN)
    assert (both.status, both.reason) == (400, "body")


def test_cookies_of_nested_folders_open_each_their_own() -> None:
    visitor, jar = guarded(), Jar()
    for folder in ("users/ann/", "users/ann/a/b/", "users/ann/a/", "users/ann/a/"):  # one is asked for again
        jar.take(folder_of(visitor, folder, authorization=ANN))
    for target in ("/users/ann/x", "/users/ann/a/x", "/users/ann/a/b/x", "/users/ann/a/b/c/x"):
        assert isinstance(visitor.ask(target, cookie=jar.line(target)), Serve)
    everything = jar.line("/users/ann/a/b/x")
    assert everything.count("CloudFront-Policy") == 3
    for target in ("/users/ben/x", "/courses/x", "/users/annx"):
        assert outcome(visitor.ask(target, cookie=everything)) == "403 pass-resource"


def test_one_good_set_of_cookies_is_enough_and_none_borrows_from_another() -> None:
    visitor, target = guarded(), "/users/ann/x"
    good, over = pass_cookies("/users/ann/*"), pass_cookies("/users/ann/x*", expires=int(NOW) - 1)
    elsewhere, forged = pass_cookies("/users/ben/*"), good.replace("Signature=", "Signature=x")
    for others in itertools.permutations((over, elsewhere, forged)):
        for place in range(4):
            sets = [*others[:place], good, *others[place:]]
            assert isinstance(visitor.ask(target, cookie="; ".join(sets)), Serve)
        assert outcome(visitor.ask(target, cookie="; ".join(others))) == "403 pass-expired"  # what would help is said
    fields = [dict(pair.split("=", 1) for pair in one.split("; ")) for one in (over, elsewhere)]
    for name in fields[0]:
        mixed = [{**fields[0], name: fields[1][name]}, {**fields[1], name: fields[0][name]}]
        line = "; ".join(f"{key}={value}" for one in mixed for key, value in one.items())
        assert not isinstance(visitor.ask(target, cookie=line), Serve)
    nine = "; ".join([elsewhere, *(pass_cookies(f"/users/ann/{n}*") for n in range(7)), good])
    assert outcome(visitor.ask(target, cookie=nine)) == "403 credential-twice"


def test_anybody_may_have_cookies_for_what_anybody_may_read() -> None:
    visitor = guarded()
    reply = folder_of(visitor, "public/")
    assert isinstance(visitor.ask("/public/x", cookie=sent(reply, "/public/x")), Serve)


STUDENT = {"authorization": bearer(token(claims(groups=["students"])))}

NO_FOLDER: Mapping[str, Refused] = {
    "nothing": Refused(b"", 400, "body"),
    "no prefix": Refused({}, 400, "body"),
    "a word more": Refused({"prefix": "users/ann/", "path": "/"}, 400, "body"),
    "a number": Refused({"prefix": 5}, 400, "body"),
    "null": Refused({"prefix": None}, 400, "body"),
    "no folder": Refused({"prefix": []}, 400, "body"),
    "nine folders": Refused({"prefix": [f"users/ann/{number}/" for number in range(9)]}, 400, "body"),
    "a number among them": Refused({"prefix": ["users/ann/", 5]}, 400, "body"),
    "a list among them": Refused({"prefix": [["users/ann/"]]}, 400, "body"),
    "one in another": Refused({"prefix": ["users/ann/", "users/ann/x/"]}, 400, "prefix-nested"),
    "one in a later one": Refused({"prefix": ["users/ann/x", "users/ann"]}, 400, "prefix-nested"),
    "one twice": Refused({"prefix": ["users/ann/", "/users/ann"]}, 400, "prefix-nested"),
    "the site and a folder": Refused({"prefix": ["", "users/ann/"]}, 400, "prefix-nested"),
    "our own addresses": Refused({"prefix": "-/"}, 400, "body"),
    "one of our own": Refused({"prefix": "-/urls/"}, 400, "body"),
    "two slashes before it": Refused({"prefix": "//users/ann/"}, 400, "target"),
    "a dot segment": Refused({"prefix": "users/ann/../ben/"}, 400, "target"),
    "a line end": Refused({"prefix": "users/ann/x\r\nSet-Cookie: a=b"}, 400, "target"),
    "half a character": Refused(b'{"prefix":"users/ann/\\ud800"}', 400, "target"),
    "a path too long for browsers": Refused({"prefix": "users/ann/" + "ü" * 300}, 400, "body"),
    "a lifetime of zero": Refused({"prefix": "users/ann/", "expires_in": 0}, 400, "body"),
    "a lifetime as text": Refused({"prefix": "users/ann/", "expires_in": "60"}, 400, "body"),
    "somebody else's": Refused({"prefix": "users/ben/"}, 403, "denied"),
    "mine and somebody else's": Refused({"prefix": ["users/ann/", "users/ben/"]}, 403, "denied"),
    "all that there is of me and others": Refused({"prefix": "users/"}, 403, "denied"),
    "half a name": Refused({"prefix": "users/an"}, 403, "denied"),
    "a deny below it": Refused({"prefix": "courses/"}, 403, "denied", STUDENT),
    "what is denied": Refused({"prefix": "courses/drafts/"}, 403, "denied", STUDENT),
    "a group of others": Refused({"prefix": "groups/teachers/"}, 403, "denied", STUDENT),
    "nobody asks": Refused({"prefix": "users/ann/"}, 401, "no-credential", {}),
    "nobody asks for all": Refused({"prefix": ""}, 401, "no-credential", {}),
    "a token that is none": Refused({"prefix": "public/"}, 401, "token-shape", {"cookie": "token=x"}),
    "another origin": Refused({"prefix": "public/"}, 403, "origin", {"origin": "https://evil.example"}),
}


@pytest.mark.parametrize("asked", NO_FOLDER.values(), ids=NO_FOLDER)
def test_who_gets_no_cookies_and_why(asked: Refused) -> None:
    reply = guarded().post("/-/cookies", asked.body, **asked.fields)
    assert (reply.status, reply.reason, body(reply)["code"]) == (asked.status, asked.code, asked.code)
    assert not any(name == b"set-cookie" for name, _ in reply.headers)


def test_who_gets_no_cookies_for_a_folder_hears_which_rule_stands_in_the_way() -> None:
    said = json.loads(folder_of(guarded(), "courses/", authorization=STUDENT["authorization"]).body)["detail"]
    assert "denies 'courses/drafts/**'" in said
    said = json.loads(folder_of(guarded(), "users/", authorization=ANN).body)["detail"]
    assert "denies" not in said


def test_a_folder_below_a_group_or_beside_a_deny_is_readable_as_a_whole() -> None:
    for prefix in ("groups/students/", "courses/one/", "courses/draft/", "courses/one/drafts/"):
        assert folder_of(guarded(), prefix, **STUDENT).status == 204
