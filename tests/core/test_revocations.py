"""Taking access back: what is refused, to whom and for how long, and what happens if it is not known."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from stagedoor.core import revocations
from stagedoor.core.caller import ANONYMOUS, Caller
from stagedoor.core.errors import Revoked, StateUnavailable
from stagedoor.core.messages import Entry, Keep, Recall, Recalled, Reply, Serve, Wish
from stagedoor.core.revocations import MAX_PASSED, Revocation, Revocations, from_text, names_of, to_text
from tests.helpers.signing_in import END, Browser, SigningIn, location
from tests.helpers.support import ISSUER, NOW, SITE, b64, bearer, claims, issuer, rsa_signer, token

LATER = NOW + 10_000
PERSON = Revocation("person", ISSUER, "ann", NOW, LATER)


def who(**claim: Any) -> Caller:
    return Caller("staff", ISSUER, {"sub": "ann", "iat": NOW, **{n: v for n, v in claim.items() if v is not ...}})


def listed(*found: Revocation, stale: float = 300.0, leeway: float = 0.0) -> Revocations:
    made = Revocations({ISSUER: leeway}, stale)
    made.replace(found, NOW)
    return made


REFUSED: Mapping[str, tuple[Revocation, Caller, str]] = {
    "a person, by an older token": (PERSON, who(), "revoked-person"),
    "a token without iat": (PERSON, Caller("staff", ISSUER, {"sub": "ann"}), "revoked-person"),
    "an iat that is no number": (PERSON, who(iat="9999999999"), "revoked-person"),
    "an older sign-in at the issuer": (PERSON, who(iat=NOW + 9, auth_time=NOW - 9), "revoked-person"),
    "a person who is barred": (PERSON._replace(before=NOW + 500), who(iat=NOW + 600), "revoked-person"),
    "a session of ours": (Revocation("session", "", "s1", 0, LATER), who(sid="s1"), "revoked-session"),
    "a session of the issuer": (Revocation("session", ISSUER, "o1", 0, LATER), who(op_sid="o1"), "revoked-session"),
    "its token": (Revocation("session", ISSUER, "o1", 0, LATER), who(sid="o1"), "revoked-session"),
    "a token": (Revocation("token", ISSUER, "j1", 0, LATER), who(jti="j1"), "revoked-token"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_was_taken_back_is_refused(case: str) -> None:
    found, caller, code = REFUSED[case]
    with pytest.raises(Revoked) as caught:
        listed(found).check(caller, NOW + 1)
    assert caught.value.code == code
    listed().check(caller, NOW + 1)
    listed(found, stale=1e9).check(caller, LATER)


PASSED: Mapping[str, tuple[Revocation, Caller]] = {
    "a newer sign-in": (PERSON, who(iat=NOW + 1)),
    "a newer sign-in at the issuer": (PERSON, who(iat=NOW + 1, auth_time=NOW + 1)),
    "somebody else": (PERSON, who(sub="ben")),
    "the same sub of another issuer": (PERSON, Caller("x", "https://other.example", {"sub": "ann", "iat": 0})),
    "another session": (Revocation("session", "", "s1", 0, LATER), who(sid="s2")),
    "another's token": (Revocation("token", "https://other.example", "j1", 0, LATER), who(jti="j1")),
    "a jti is no sid": (Revocation("token", ISSUER, "x", 0, LATER), who(sid="x")),
}


@pytest.mark.parametrize("case", PASSED)
def test_nothing_else_is_refused(case: str) -> None:
    found, caller = PASSED[case]
    listed(found).check(caller, NOW + 1)


def test_an_issuers_clock_may_be_ahead_by_its_leeway() -> None:
    with pytest.raises(Revoked):
        listed(PERSON, leeway=30).check(who(iat=NOW + 30), NOW + 1)
    listed(PERSON, leeway=30).check(who(iat=NOW + 31), NOW + 1)


def test_a_list_that_is_too_old_lets_nobody_in() -> None:
    for found in (listed(stale=10), listed(PERSON, stale=10)):
        found.check(who(sub="ben"), NOW + 10)
        for now in (NOW + 11, NOW - 11):
            with pytest.raises(StateUnavailable):
                found.check(who(sub="ben"), now)
    with pytest.raises(StateUnavailable):
        Revocations({}, 1e9).check(who(), NOW)


KINDS = {
    "person": (PERSON, who()),
    "session": (Revocation("session", "", "s1", 0, LATER), who(sid="s1")),
    "token": (Revocation("token", ISSUER, "j1", 0, LATER), who(jti="j1")),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_added_counts_at_once_and_stays_until_it_is_over(kind: str) -> None:
    """Also for a caller who was let in a moment ago."""
    one, caller = KINDS[kind]
    found = listed()
    found.check(caller, NOW)
    found.add([one], NOW + 1)
    with pytest.raises(Revoked):
        found.check(caller, NOW + 1)
    assert (list(found), found.get(one)) == ([one], one)
    found.forget([one._replace(ends=LATER - 1)])  # it has another end by now
    assert len(found) == 1
    found.forget([one])
    assert (len(found), list(found), found.get(one)) == (0, [], None)
    found.check(caller, NOW + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_thread_adds_while_a_caller_is_looked_up_counts_from_the_next_look_on(kind: str) -> None:
    one, caller = KINDS[kind]
    found = listed()

    class Slow(dict[str, object]):
        """Claims whose last one is read when everything else was looked up: then the entry comes."""

        def get(self, name: str, default: object = None) -> Any:
            if name == "jti" and not len(found):
                found.add([one])
                return None
            return super().get(name, default)

    slow = Caller("staff", ISSUER, Slow(caller.claims))
    with contextlib.suppress(Revoked):
        found.check(slow, NOW + 1)
    assert len(found) == 1
    with pytest.raises(Revoked):
        found.check(slow, NOW + 1)


def test_of_two_entries_of_a_person_the_one_that_ends_later_counts_and_else_the_newer() -> None:
    barred = PERSON._replace(before=NOW + 500)
    for first, second, counts in (
        (barred._replace(ends=LATER + 1), PERSON, NOW + 500),
        (PERSON, barred._replace(ends=LATER + 1), NOW + 500),
        (barred, PERSON, NOW),  # it lifts the bar
    ):
        found = listed(first, stale=1000.0)
        found.add((second,))
        with pytest.raises(Revoked):
            found.check(who(iat=counts), NOW + 502)
        found.check(who(iat=counts + 1), NOW + 502)
        assert len(found) == 1


def test_a_clock_that_is_put_back_does_not_let_in_who_is_in_the_list() -> None:
    one = PERSON._replace(ends=NOW + 10)
    found = listed(one)
    found.check(who(), NOW + 10)
    found.add((), NOW + 9)  # as the next reading says
    with pytest.raises(Revoked):
        found.check(who(), NOW + 9)


def test_many_callers_take_no_more_memory_than_some() -> None:
    found = listed(PERSON)
    for number in range(2 * MAX_PASSED):
        found.check(who(sub=str(number)), NOW)
    assert len(found._passed) <= MAX_PASSED
    with pytest.raises(Revoked):
        found.check(who(), NOW)


@pytest.mark.parametrize("id_", ["\ud800", "ü\n", '"', "\\ud800", "a b", ""])
def test_any_id_is_remembered_as_it_is(id_: str) -> None:
    """An issuer may call people and sessions whatever JSON can hold; no database holds half a character."""
    one = Revocation("session", ISSUER, id_, 0.0, LATER)
    assert from_text(to_text(one)) == one
    assert (one.name + to_text(one)).encode().decode() == one.name + to_text(one)
    others = [Revocation("session", ISSUER, other, 0.0, LATER).name for other in ("\ud801", "\\\\ud800", "ü", "x")]
    assert one.name not in others


HUGE = f'{{"kind":"person","issuer":"","id":"x","before":1{"0" * 400},"ends":1}}'


@pytest.mark.parametrize(
    "text", ["", "x", "[]", "{}", '{"kind":"planet","issuer":"","id":"x","before":0,"ends":1}', HUGE]
)
def test_an_entry_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="entry"):
        from_text(text)
    assert from_text(to_text(PERSON)) == PERSON


# --- at the door


@dataclass
class Shared:
    """A state that two doors share; `away`: it does not answer."""

    entries: list[Entry] = field(default_factory=list)
    away: bool = False


class Site(SigningIn):
    def __init__(self, shared: Shared, **more: Any) -> None:
        super().__init__(state=True, **more)
        self.shared = shared
        self.read()

    def read(self) -> None:
        self.revocations.replace([from_text(entry.text) for entry in self.shared.entries], self.now)

    def outside(self, wish: Wish) -> Any:
        if isinstance(wish, Keep | Recall) and self.shared.away:
            raise StateUnavailable("away")
        if isinstance(wish, Keep):
            self.shared.entries.append(Entry(len(self.shared.entries) + 1, *wish))
            self.read()
            return None
        if isinstance(wish, Recall):
            return Recalled(tuple(self.shared.entries))
        return super().outside(wish)


def test_who_signed_out_here_is_signed_out_everywhere() -> None:
    shared = Shared()
    first, second = Site(shared), Site(shared)
    browser, copied = Browser(first), Browser(second)
    browser.sign_in("/users/ann/x")
    copied.cookies = dict(browser.cookies)
    assert isinstance(copied.go("/users/ann/x"), Serve)
    browser.reply("/-/logout", "POST", origin=SITE)
    second.read()
    refused = copied.reply("/users/ann/x", sec_fetch_mode="cors", accept="*/*")
    assert (refused.status, refused.reason) == (401, "revoked-session")
    assert copied.reply("/-/callback?code=x&state=y").reason == "login-state"
    assert location(copied.reply("/users/ann/x")).startswith(f"{SITE}/-/login")
    assert not copied.signed_in


@pytest.mark.parametrize("way", ["cookie", "header", "session"])
def test_a_person_who_was_taken_out_is_out_by_every_way(way: str) -> None:
    site = Site(Shared())
    mine = token(claims(iat=NOW))
    browser = Browser(site)
    browser.sign_in("/users/ann/x")
    ways = {
        "cookie": lambda: browser.go("/users/ann/x"),
        "header": lambda: Browser(site).go("/users/ann/x", authorization=bearer(mine)),
        "session": lambda: Browser(site).go("/-/session", "POST", authorization=bearer(mine)),
    }
    asked: Callable[[], Reply | Serve] = ways[way]
    before = asked()
    assert isinstance(before, Serve) or before.status == 204
    site.shared.entries.append(Entry(1, "x", to_text(PERSON), LATER))
    site.read()
    after = asked()
    assert isinstance(after, Reply)
    assert after.status in (302, 401)
    assert after.reason == "revoked-person"


def test_who_was_taken_out_comes_back_by_a_new_sign_in_alone_and_not_while_barred() -> None:
    site = Site(Shared())
    site.shared.entries.append(Entry(1, "x", to_text(PERSON), LATER))
    site.read()
    browser = Browser(site)
    answer = browser.reply(site.idp.sign_in(browser.begin("/users/ann/x")))
    assert (answer.status, answer.reason, browser.signed_in) == (403, "revoked-person", False)
    site.now += 5
    site.idp.claims = {"iat": NOW + 5, "auth_time": NOW - 100}
    assert browser.reply(site.idp.sign_in(browser.begin("/users/ann/x"))).reason == "revoked-person"
    site.idp.claims = {"iat": NOW + 5, "auth_time": NOW + 5}
    assert location(browser.reply(site.idp.sign_in(browser.begin("/users/ann/x")))) == f"{SITE}/users/ann/x"


TOO_OLD: Mapping[str, Mapping[str, Any]] = {
    "no iat": {"iat": ...},
    "an iat that is no number": {"iat": "9999999999"},
    "an older sign-in at the issuer": {"auth_time": NOW - 100},
    "a sign-in at no moment": {"auth_time": None},
}


@pytest.mark.parametrize("why", TOO_OLD)
def test_a_gateway_that_lags_launders_no_token(why: str) -> None:
    """A session that is made there has to be refused where the token itself is refused."""
    lagging, knowing = Site(Shared()), Site(Shared([Entry(1, "x", to_text(PERSON), LATER)]))
    lagging.now = knowing.now = NOW + 100
    knowing.read()
    mine = bearer(token(claims(**{"iat": NOW + 100, **TOO_OLD[why]})))
    browser = Browser(lagging)
    browser.reply("/-/session", "POST", authorization=mine)
    copied = Browser(knowing)
    copied.cookies = dict(browser.cookies)
    assert Browser(knowing).reply("/users/ann/x", authorization=mine).reason == "revoked-person"
    assert copied.reply("/users/ann/x", sec_fetch_mode="cors", accept="*/*").reason == "revoked-person"


def test_a_gateway_whose_clock_is_ahead_makes_no_session_that_outlasts_a_revocation() -> None:
    ahead = Site(Shared())
    ahead.now = NOW + 300
    ahead.read()
    browser = Browser(ahead)
    ahead.idp.claims = {"iat": NOW, "exp": NOW + 900}
    browser.sign_in("/users/ann/x")
    ahead.shared.entries.append(Entry(1, "x", to_text(PERSON._replace(before=NOW + 60)), LATER))
    ahead.read()
    assert browser.reply("/users/ann/x", sec_fetch_mode="cors", accept="*/*").reason == "revoked-person"


def test_an_unknown_state_closes_what_needs_a_caller_and_nothing_else() -> None:
    site = Site(Shared())
    browser = Browser(site)
    browser.sign_in("/users/ann/x")
    site.now += 301
    answer = browser.reply("/users/ann/x")
    assert (answer.status, answer.reason) == (503, "state-unavailable")
    assert isinstance(browser.go("/public/a"), Serve)
    site.read()
    assert isinstance(browser.go("/users/ann/x"), Serve)


def test_signing_out_while_the_state_is_away_still_removes_the_cookie() -> None:
    site = Site(Shared(away=True))
    for ahead in (0, 301):
        browser = Browser(site)
        browser.sign_in("/users/ann/x")
        site.now += ahead
        answer = browser.reply("/-/logout", "POST", origin=SITE)
        assert answer.status == 303
        assert location(answer).startswith(END)
        assert not browser.signed_in


# --- back-channel logout


EVENT: Mapping[str, object] = {"http://schemas.openid.net/event/backchannel-logout": {}}


def logout_token(**more: Any) -> str:
    fields = {"iat": NOW, "exp": NOW + 60, "jti": "l1", "events": EVENT, "sid": "op-1", **more}
    return token(claims(**fields), typ="logout+jwt")


def post(site: SigningIn, text: str, kind: str = "application/x-www-form-urlencoded") -> Reply:
    answer = site.send("/-/backchannel-logout", f"logout_token={text}".encode(), content_type=kind)
    assert isinstance(answer, Reply)
    return answer


def test_the_issuer_ends_its_session_here() -> None:
    site = Site(Shared())
    site.idp.claims = {"sid": "op-1"}
    browser = Browser(site)
    browser.sign_in("/users/ann/x")
    assert post(site, logout_token(sid="op-2")).status == 200
    assert isinstance(browser.go("/users/ann/x"), Serve)
    answer = post(site, logout_token())
    assert (answer.status, answer.body) == (200, b"")
    assert dict(answer.headers)[b"cache-control"] == b"no-store"
    assert browser.reply("/users/ann/x").reason == "revoked-session"


def test_the_issuer_ends_a_session_that_was_made_from_a_token_of_its_own() -> None:
    """A cookie does not outlive what it was made from, whatever names it."""
    site = Site(Shared())
    browser = Browser(site)
    mine = bearer(token(claims(iat=NOW, sid="op-1", jti="j1")))
    browser.go("/-/session", "POST", authorization=mine)
    assert isinstance(browser.go("/users/ann/x"), Serve)
    assert post(site, logout_token()).status == 200
    assert browser.reply("/users/ann/x").reason == "revoked-session"


def test_the_issuer_ends_all_sessions_of_a_person() -> None:
    site = Site(Shared())
    browser = Browser(site)
    browser.sign_in("/users/ann/x")
    assert post(site, logout_token(sid=..., sub="ann")).status == 200
    assert browser.reply("/users/ann/x").reason == "revoked-person"


@pytest.mark.parametrize(
    ("more", "status", "names"),
    [({}, 400, []), ({"oid": "o-1"}, 200, [f"person {ISSUER} o-1"]), ({"sid": "s"}, 200, [f"session {ISSUER} s"])],
)
def test_a_person_is_ended_by_the_claim_that_names_them_here(
    more: Mapping[str, str], status: int, names: list[str]
) -> None:
    """An answer 200 that ends nothing would have the issuer believe that they are out."""
    site = SigningIn(issuers=(issuer(jwks=None, claims={"sub": "oid"}),), state=True)
    assert post(site, logout_token(**{"sid": ..., **more})).status == status
    assert [one.name for one in site.kept] == names


BAD: Mapping[str, Callable[[], str]] = {
    "none": lambda: f"{b64(json.dumps({'alg': 'none'}).encode())}.{logout_token().split('.')[1]}.",
    "another key": lambda: token(claims(iat=NOW, jti="x", events=EVENT), rsa_signer(kid="rsa-1", bits=2049)),
    "another algorithm": lambda: token(claims(iat=NOW, jti="x", events=EVENT), rsa_signer("RS384")),
    "another audience": lambda: logout_token(aud="x"),
    "another issuer": lambda: logout_token(iss="https://other.example"),
    "another event": lambda: logout_token(events={"x": {}}),
    "no event": lambda: logout_token(events=...),
    "an event that is no object": lambda: logout_token(events={next(iter(EVENT)): True}),
    "a nonce": lambda: logout_token(nonce="n"),
    "an id token": lambda: token(claims(iat=NOW)),
    "no iat": lambda: logout_token(iat=...),
    "an old one": lambda: logout_token(iat=NOW - 1000, exp=...),
    "one of the future": lambda: logout_token(iat=NOW + 1000),
    "expired": lambda: logout_token(exp=NOW - 100),
    "no jti": lambda: logout_token(jti=...),
    "neither sub nor sid": lambda: logout_token(sub=..., sid=...),
    "a sid that is no text": lambda: logout_token(sid=["op-1"]),
    "an access token": lambda: token(claims(iat=NOW, jti="x", events=EVENT), typ="at+jwt"),
    "nothing": lambda: "",
    "no token": lambda: "x",
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_logout_token_ends_nothing(case: str) -> None:
    site = Site(Shared())
    answer = post(site, BAD[case]())
    assert answer.status == 400
    assert not site.shared.entries


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"logout_token=a&logout_token=b", "application/x-www-form-urlencoded"),
        (b'{"logout_token": "a"}', "application/json"),
        (b"", ""),
        (b"\xff", "application/x-www-form-urlencoded"),
    ],
)
def test_what_is_no_form_with_one_logout_token_is_refused(body: bytes, kind: str) -> None:
    answer = Site(Shared()).send("/-/backchannel-logout", body, content_type=kind)
    assert (answer.status, answer.reason) == (400, "body")


# --- admins


ADMIN = {"path": "**", "allow": {"groups": ["site-admins"]}}


def admins(shared: Shared | None = None) -> Site:
    return Site(shared or Shared(), admin=ADMIN)


def admin_token() -> str:
    return bearer(token(claims(sub="boss", groups=["site-admins"], iat=NOW)))


def test_an_admin_takes_access_back_and_sees_what_was_taken_back() -> None:
    site = admins()
    answer = site.send("/-/revocations", b'{"sub": "ann"}', authorization=admin_token())
    assert answer.status == 201
    assert json.loads(answer.body) == {
        "sub": "ann",
        "issuer": ISSUER,
        "before": int(NOW),
        "ends": int(NOW) + 366 * 86_400,
    }
    refused = Browser(site).reply("/users/ann/x", authorization=bearer(token(claims(iat=NOW))))
    assert refused.reason == "revoked-person"
    site.send("/-/revocations", b'{"sid": "s1"}', authorization=admin_token())
    shown = json.loads(Browser(site).reply("/-/revocations", authorization=admin_token()).body)
    assert [set(one) for one in shown["revocations"]] == [{"sub", "issuer", "before", "ends"}, {"sid", "ends"}]


def test_nobody_else_takes_anything_back() -> None:
    site = admins()
    ask = site.send("/-/revocations", b'{"sub": "ann"}')
    assert (ask.status, len(site.shared.entries)) == (401, 0)
    ask = site.send("/-/revocations", b'{"sub": "ben"}', authorization=bearer(token(claims(iat=NOW))))
    assert (ask.status, len(site.shared.entries)) == (403, 0)
    for fields in ({"origin": "https://app.example"}, {"sec_fetch_site": "same-site"}):
        ask = site.send("/-/revocations", b'{"sub": "ann"}', authorization=admin_token(), **fields)
        assert (ask.status, ask.reason, len(site.shared.entries)) == (403, "origin", 0)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{}", b'{"sub": ""}', b'{"sub": 1}', b'{"sub": "a", "sid": "b"}', b'{"jti": "a", "until": 1}'),
        *(b'{"sub": "a", "until": "x"}', b'{"sub": "a", "issuer": "x"}', b'{"sub": "a", "more": 1}'),
    ],
)
def test_what_is_not_understood_takes_nothing_back(body: bytes) -> None:
    site = admins()
    answer = site.send("/-/revocations", body, authorization=admin_token())
    assert (answer.status, answer.reason, site.shared.entries) == (400, "body", [])


def test_a_state_that_is_away_refuses_to_revoke_loudly() -> None:
    site = admins(Shared(away=True))
    answer = site.send("/-/revocations", b'{"sub": "ann"}', authorization=admin_token())
    assert (answer.status, answer.reason) == (503, "state-unavailable")


def test_without_state_or_admins_there_is_nothing_to_ask() -> None:
    for site in (SigningIn(), SigningIn(admin=ADMIN), Site(Shared())):
        assert site.send("/-/revocations", b"{}", authorization=admin_token()).reason == "revocations-inactive"
    assert SigningIn().send("/-/backchannel-logout", b"").reason == "logout-inactive"


def test_a_session_holds_what_makes_an_admin() -> None:
    site = admins()
    site.idp.person, site.idp.claims = "boss", {"groups": ["site-admins", "others"]}
    browser = Browser(site)
    browser.sign_in("/users/boss/x")
    assert browser.reply("/-/revocations").status == 200


# --- more of the same, each of which a breakage of one place would change


class Pages(Site):
    """A state that answers two entries at a time, as a real one answers a thousand."""

    asked: list[int]

    def outside(self, wish: Wish) -> Any:
        if isinstance(wish, Recall):
            self.asked = [*getattr(self, "asked", []), wish.after]
            left = [entry for entry in self.shared.entries if entry.sequence > wish.after]
            return Recalled(tuple(left[:2]), len(left) > 2)
        return super().outside(wish)


def test_a_long_list_comes_in_pages_without_what_is_over_or_not_understood() -> None:
    site = Pages(Shared(), admin=ADMIN)
    kept = [Revocation("token", ISSUER, f"j{number}", 0, LATER) for number in range(3)]
    over = kept[0]._replace(ends=NOW)
    texts = [to_text(kept[0]), '{"kind": "planet"}', to_text(over), to_text(kept[1]), to_text(kept[2])]
    site.shared.entries += [Entry(7 + number, text, text, LATER) for number, text in enumerate(texts)]
    target, found = "/-/revocations", []
    while target:
        answer = json.loads(Browser(site).reply(target, authorization=admin_token()).body)
        found.append([one["jti"] for one in answer["revocations"]])
        target = f"/-/revocations?after={answer['after']}" if answer["after"] else ""
    assert (found, site.asked) == ([["j0"], ["j1"], ["j2"]], [0, 8, 10])
    assert Browser(site).reply("/-/revocations?after=0", authorization=admin_token()).status == 400
    later = int(NOW * 1000) + 1  # as states count
    assert Browser(site).reply(f"/-/revocations?after={later}", authorization=admin_token()).status == 200


@pytest.mark.parametrize(("until", "before"), [(NOW + 500, NOW + 500), (NOW - 500, NOW), (None, NOW)])
def test_a_person_is_barred_until_a_moment_that_is_not_over(until: float | None, before: float) -> None:
    site = admins()
    body = json.dumps({"sub": "ann", **({} if until is None else {"until": until})}).encode()
    answer = json.loads(site.send("/-/revocations", body, authorization=admin_token()).body)
    assert (answer["before"], answer["ends"]) == (int(before), int(before) + 366 * 86_400)
    (entry,) = site.shared.entries
    assert (entry.name, entry.ends) == (f"person {ISSUER} ann", before + 366 * 86_400)


@pytest.mark.parametrize(
    ("body", "lasts"),
    [
        ({"sid": "s"}, 31 * 86_400),
        ({"sid": "s", "issuer": ISSUER}, 31 * 86_400),
        ({"jti": "j", "issuer": "staff"}, 366 * 86_400),
    ],
)
def test_an_entry_lasts_as_long_as_what_it_concerns(body: Mapping[str, str], lasts: float) -> None:
    """A session of ours is over sooner than a token may be, and a token of the issuer may name the issuer's `sid`."""
    site = admins()
    assert site.send("/-/revocations", json.dumps(body).encode(), authorization=admin_token()).status == 201
    (entry,) = site.shared.entries
    made = from_text(entry.text)
    assert (made.ends, made.before, made.issuer) == (NOW + lasts, 0, ISSUER if "issuer" in body else "")


def test_sign_out_is_remembered_as_long_as_a_session_lasts() -> None:
    site = Site(Shared())
    browser = Browser(site)
    browser.sign_in("/users/ann/x")
    browser.reply("/-/logout", "POST", origin=SITE)
    (entry,) = site.shared.entries
    assert (from_text(entry.text).kind, entry.ends) == ("session", NOW + 3600)


def test_a_longer_session_is_remembered_longer_than_a_token() -> None:
    site = Site(Shared(), admin=ADMIN, lifetime=400 * 86_400.0)
    site.send("/-/revocations", b'{"sub": "ann"}', authorization=admin_token())
    assert site.shared.entries[0].ends == NOW + 400 * 86_400


@pytest.mark.parametrize(
    "fields", [{"origin": SITE}, {"sec_fetch_site": "same-origin"}, {"origin": SITE, "sec_fetch_site": "none"}]
)
def test_the_sites_own_pages_take_access_back(fields: Mapping[str, str]) -> None:
    assert admins().send("/-/revocations", b'{"sid": "s"}', authorization=admin_token(), **fields).status == 201


@pytest.mark.parametrize("length", [255, 256])
def test_what_is_named_has_up_to_255_characters(length: int) -> None:
    answer = admins().send("/-/revocations", json.dumps({"sid": "s" * length}).encode(), authorization=admin_token())
    assert answer.status == (201 if length == 255 else 400)


@pytest.mark.parametrize("until", ["true", '"1"', "[]", "1e309", "1e300", str(2**53), "1" + 400 * "0"])
def test_until_is_a_number(until: str) -> None:
    site = admins()
    answer = site.send("/-/revocations", f'{{"sub": "a", "until": {until}}}'.encode(), authorization=admin_token())
    assert (answer.status, answer.reason, site.shared.entries) == (400, "body", [])


GOOD: Mapping[str, Callable[[], str]] = {
    "without exp": lambda: logout_token(exp=...),
    "of an older provider": lambda: token(claims(iat=NOW, jti="l", events=EVENT, sid="op-1"), typ="JWT"),
    "without typ": lambda: token(claims(iat=NOW, jti="l", events=EVENT, sid="op-1"), typ=...),
    "with the long typ": lambda: token(
        claims(iat=NOW, jti="l", events=EVENT, sid="op-1"), typ="application/logout+jwt"
    ),
    "ten minutes old": lambda: logout_token(iat=NOW - 600),
    "a minute ahead": lambda: logout_token(iat=NOW + 60),
    "without sub": lambda: logout_token(sub=...),
    "with members in its event": lambda: logout_token(events={**EVENT, next(iter(EVENT)): {"x": 1}, "more": {}}),
}


@pytest.mark.parametrize("case", GOOD)
def test_a_good_logout_token_ends_one_session(case: str) -> None:
    site = Site(Shared())
    assert post(site, GOOD[case](), "Application/X-WWW-Form-URLencoded; charset=utf-8").status == 200
    (entry,) = site.shared.entries
    assert (entry.name, entry.ends) == (f"session {ISSUER} op-1", NOW + 31 * 86_400)


@pytest.mark.parametrize(("iat", "status"), [(NOW - 601, 400), (NOW + 61, 400)])
def test_a_logout_token_is_of_now(iat: float, status: int) -> None:
    assert post(Site(Shared()), logout_token(iat=iat)).status == status


def test_what_is_older_than_a_newer_entry_of_the_same_person_is_refused() -> None:
    found = listed(PERSON._replace(before=NOW - 100))
    found.check(who(), NOW)
    found.add([PERSON])
    with pytest.raises(Revoked):
        found.check(who(), NOW)


def test_settings_that_are_read_again_keep_the_list_and_its_age() -> None:
    old, new = listed(PERSON, stale=10), Revocations({}, 10)
    new.adopt(old)
    with pytest.raises(Revoked):
        new.check(who(), NOW + 10)
    with pytest.raises(StateUnavailable):
        new.check(who(sub="ben"), NOW + 11)
    new.replace([], NOW + 1)
    assert len(old) == 1, "they share nothing"


def test_what_is_added_without_being_read_makes_the_list_no_younger() -> None:
    found = listed(stale=10)
    found.add([PERSON])
    with pytest.raises(StateUnavailable):
        found.check(who(sub="ben"), NOW + 11)
    found.add([], NOW + 5)
    found.check(who(sub="ben"), NOW + 15)


def test_an_entry_keeps_any_text_and_no_other_members() -> None:
    odd = Revocation("person", "https://id.example.com/é", 'a"b\\\n\u2028', 1.5, 2.5)
    assert from_text(to_text(odd)) == odd
    good = json.loads(to_text(PERSON))
    value: object
    for name in good:
        wrong: tuple[object, ...] = ([], None, True if name in ("kind", "issuer", "id") else "1")
        for value in wrong:
            with pytest.raises(ValueError, match="entry"):
                from_text(json.dumps({**good, name: value}))


def test_a_person_who_is_barred_is_not_let_in_by_being_revoked_once_more() -> None:
    found = listed(PERSON._replace(before=NOW + 500, ends=LATER + 500))
    found.add([PERSON], NOW + 1)
    with pytest.raises(Revoked):
        found.check(who(iat=NOW + 2), NOW + 2)


def test_a_logout_at_the_issuer_ends_no_bar() -> None:
    """Who is barred could set it off, and sign in again."""
    site = Site(Shared(), admin=ADMIN)
    body = json.dumps({"sub": "ann", "until": NOW + 500}).encode()
    assert site.send("/-/revocations", body, authorization=admin_token()).status == 201
    assert post(site, logout_token(sid=..., sub="ann")).status == 200
    site.now += 20
    newer = bearer(token(claims(iat=NOW + 10, auth_time=NOW + 10)))
    assert Browser(site).reply("/users/ann/x", authorization=newer).reason == "revoked-person"


@pytest.mark.parametrize(
    "claim", [{}, {"sid": "s"}, {"op_sid": "o"}, {"jti": "t"}, {"sid": "s", "op_sid": "o", "jti": "t"}, {"sid": 1}]
)
def test_the_names_that_concern_a_caller_are_those_that_they_are_refused_for(claim: dict[str, Any]) -> None:
    refused = set()
    for kind, of, id_ in itertools.product(
        revocations.KINDS, ("", ISSUER, "https://other.example"), ("ann", "s", "o", "t")
    ):
        one = Revocation(kind, of, id_, NOW, LATER)
        try:
            listed(one).check(who(**claim), NOW)
        except Revoked:
            refused.add(one.name)
    assert set(names_of(who(**claim))) == refused
    assert names_of(ANONYMOUS) == []


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (NOW, "what this person had proved by 2023-11-14 22:13 UTC was taken back: sign in anew at the issuer"),
        (NOW + 86_400, "this person may not come in until 2023-11-15 22:13 UTC"),
        (1e300, "this person may not come in until a time that no calendar has"),
    ],
)
def test_who_was_taken_out_is_told_since_when_and_what_to_do(before: float, said: str) -> None:
    found = Revocations({}, 300)
    found.add([Revocation("person", ISSUER, "ann", before, before + 1e6)], NOW)
    with pytest.raises(Revoked) as refused:
        found.check(Caller("staff", ISSUER, {"sub": "ann", "iat": NOW - 60}), NOW)
    assert str(refused.value) == said
