"""Our session: made from a verified token, never outliving it, and worth nothing to anybody else."""

from __future__ import annotations

import hashlib
import hmac
import json
from http.cookies import SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.core.caller import Caller
from stagedoor.core.errors import InvalidToken, OutdatedSession, RuleError, SessionTooLarge
from stagedoor.core.issuers import Issuer
from stagedoor.core.jose import octets, split
from stagedoor.core.policy.decide import compile_rules
from stagedoor.core.session import MAX_COOKIE_BYTES, ROLLING_OUT, Sessions, digest, verify_hs256
from tests.helpers.support import CLIENT, ISSUER, NOW, SESSION_KEY, SITE, b64, caller, issuer, sealed, token
from tests.helpers.wycheproof import Vector, key_sets, signature_vectors

SID = b"0123456789abcdef"
NEW_KEY = b"another key, for after the rotation!"
ANN = Caller("staff", ISSUER, {"sub": "ann"}, expires=NOW + 600)
PROOF = digest(issuer(), ())


def sessions(**more: Any) -> Sessions:
    fields: dict[str, Any] = {
        "lifetime": 8 * 3600.0,
        "site": SITE,
        "keys": (SESSION_KEY,),
        "issuers": (issuer(),),
        "rules": (),
    }
    return Sessions(**{**fields, **more})


def made(site: Sessions | None = None, who: Caller = ANN, now: float = NOW, **claim: list[str]) -> str:
    """The value of a new session's cookie."""
    cookie = (site or sessions()).set_cookie(who, {"sub": ["ann"], **claim}, SID, now)
    return cookie.partition("=")[2].partition(";")[0]


def refusal(text: str, site: Sessions | None = None, now: float = NOW) -> str:
    with pytest.raises(InvalidToken) as caught:
        (site or sessions()).verify(text, now)
    return caught.value.code


def payload(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(split(text).payload)
    return found


def signed(claims: object, key: bytes = SESSION_KEY, **header: Any) -> str:
    head = json.dumps({"alg": "HS256", "typ": "JWT", **header}).encode()
    return sealed(head, json.dumps(claims).encode(), lambda message: hmac.digest(key, message, "sha256"))


# --- made and read


def test_a_session_brings_its_caller_back() -> None:
    found = sessions().verify(made(groups=["students", "chess"]), NOW)
    assert (found.issuer, found.issuer_url, found.label) == ("staff", ISSUER, "staff:ann")
    assert found.subject == "ann"
    assert found.values("groups") == {"students", "chess"}
    assert found.expires == NOW + 600


def test_a_session_holds_what_it_was_given_and_its_own_members() -> None:
    text = made(groups=["students"])
    assert payload(text) == {
        "sub": ["ann"],
        "groups": ["students"],
        "iss": ISSUER,
        "aud": SITE,
        "sid": b64(SID),
        "iat": int(NOW),
        "exp": int(NOW + 600),
        "made": int(NOW),
        "digest": PROOF,
    }
    header = split(text).header
    assert (header["alg"], header["typ"]) == ("HS256", "JWT")
    assert header["kid"] == hashlib.sha256(b"stagedoor session key " + SESSION_KEY).hexdigest()[:8]


def test_claims_cannot_stand_for_the_members_of_the_session() -> None:
    text = made(iss=["evil"], aud=["evil"], exp=["9999999999"], sid=["evil"])
    assert payload(text)["aud"] == SITE
    assert sessions().verify(text, NOW).expires == NOW + 600


def test_a_session_lasts_no_longer_than_its_token() -> None:
    text = made(sessions(lifetime=3600.0))
    assert sessions().verify(text, NOW + 599).subject == "ann"
    assert refusal(text, now=NOW + 600) == "token-expired"


def test_a_session_lasts_no_longer_than_the_owner_wants() -> None:
    text = made(sessions(lifetime=60.0))
    assert payload(text)["exp"] == NOW + 60
    assert refusal(text, now=NOW + 60) == "token-expired"


def test_of_a_token_within_its_leeway_no_session_is_made() -> None:
    with pytest.raises(InvalidToken) as refused:
        made(who=Caller("staff", ISSUER, {"sub": "ann"}, expires=NOW - 5))
    assert refused.value.code == "token-expired"


# --- keys


def test_rotation_the_newest_signs_and_all_verify() -> None:
    before, between, after = sessions(), sessions(keys=(NEW_KEY, SESSION_KEY)), sessions(keys=(NEW_KEY,))
    old, new = made(before), made(between)
    assert between.verify(old, NOW).subject == "ann"
    assert between.verify(new, NOW).subject == "ann"
    assert after.verify(new, NOW).subject == "ann"
    assert refusal(old, after) == "session-signature"
    assert refusal(new, before) == "session-signature"


def test_the_key_id_says_nothing_about_the_key_and_decides_nothing() -> None:
    claims = {"sub": "ann", "iss": ISSUER, "aud": SITE, "exp": NOW + 60, "digest": PROOF}
    assert sessions().verify(signed(claims, kid="nonsense"), NOW).subject == "ann"
    assert sessions().verify(signed(claims), NOW).subject == "ann"


def test_without_keys_no_session_is_right() -> None:
    assert refusal(made(), sessions(keys=())) == "session-signature"


@pytest.mark.parametrize("key", [b"", b"short", b"x" * 31])
def test_a_short_key_never_verifies(key: bytes) -> None:
    claims = {"sub": "root", "iss": ISSUER, "aud": SITE, "exp": NOW + 60, "digest": PROOF}
    assert refusal(signed(claims, key), sessions(keys=(key,))) == "session-signature"


def test_no_rule_can_ask_for_what_a_session_sets_itself() -> None:
    """Or a rule would see the session's own `aud` or `exp` where a token's was meant."""
    for name in payload(made()).keys() - {"sub"}:
        with pytest.raises(RuleError, match=name):
            compile_rules([{"path": "**", "allow": {"claims": {name: ["x"]}}}])


# --- not ours


def test_a_session_of_another_site_is_refused() -> None:
    assert refusal(made(sessions(site="https://other.example.com"))) == "token-audience"
    assert refusal(made(), sessions(site=SITE + ":8443")) == "token-audience"


def test_a_session_of_an_issuer_that_was_removed_is_refused() -> None:
    assert refusal(made(), sessions(issuers=(issuer(url="https://new.example"),))) == "session-issuer"


def test_the_issuers_name_is_the_one_that_holds_now() -> None:
    assert sessions(issuers=(issuer(name="people"),)).verify(made(), NOW).label == "people:ann"


@pytest.mark.parametrize(
    "change", [{"exp": None}, {"exp": "1"}, {"exp": True}, {"aud": [SITE + "x"]}, {"iss": [ISSUER]}, {"nbf": NOW + 9}]
)
def test_members_of_the_wrong_kind_are_refused_even_if_signed(change: dict[str, Any]) -> None:
    good = {"sub": "ann", "iss": ISSUER, "aud": SITE, "exp": NOW + 60, "digest": PROOF}
    assert sessions().verify(signed(good), NOW).subject == "ann"
    assert refusal(signed({**good, **change}))


def test_a_session_without_an_end_is_refused() -> None:
    assert refusal(signed({"sub": "ann", "iss": ISSUER, "aud": SITE})) == "token-expiry"


@pytest.mark.parametrize("algorithm", ["none", "None", "RS256", "HS384", "HS512", "hs256", ""])
def test_a_session_is_signed_with_hs256_and_nothing_else(algorithm: str) -> None:
    text = signed(payload(made()), alg=algorithm)
    assert refusal(text) == "session-algorithm"
    assert refusal(text.rpartition(".")[0] + ".") == "session-algorithm"


def test_an_issuers_token_is_no_session() -> None:
    assert refusal(token()) == "session-algorithm"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_session_that_was_changed_is_refused(part: int) -> None:
    ours, other = made().split("."), made(sessions(keys=(NEW_KEY,)), groups=["admin"]).split(".")
    assert refusal(".".join([*ours[:part], other[part], *ours[part + 1 :]])) == "session-signature"
    head, body, _ = ours
    assert refusal(f"{head}.{body}.") == "session-signature"


@given(st.integers(0, 2000), st.integers(1, 127))
def test_no_changed_letter_goes_unnoticed(place: int, mask: int) -> None:
    text = made(groups=["students"])
    place %= len(text)
    changed = text[:place] + chr(ord(text[place]) ^ mask) + text[place + 1 :]
    with pytest.raises(InvalidToken):
        sessions().verify(changed, NOW)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "e30.e30.e30", "." * 20_000])
def test_rubbish_is_refused(text: str) -> None:
    assert refusal(text) in ("token-shape", "token-too-long")


# --- bound to what proved it


def outdated(text: str, site: Sessions, now: float = NOW) -> OutdatedSession:
    with pytest.raises(OutdatedSession) as caught:
        site.verify(text, now)
    return caught.value


@pytest.mark.parametrize(
    "entry",
    [
        issuer(audience=frozenset(("other",))),
        issuer(audience=frozenset((CLIENT, "other"))),
        issuer(algorithms=frozenset(("ES256",))),
        issuer(algorithms=frozenset(("RS256", "ES256"))),
        issuer(token_use=frozenset(("access",))),
        issuer(claims={"groups": "roles"}),
        issuer(claims={"sub": "oid"}),
    ],
)
def test_a_session_counts_no_longer_once_its_issuers_entry_is_another(entry: Issuer) -> None:
    """By the new entry its token might never have counted, or its claims would be others."""
    text = made()
    assert outdated(text, sessions(issuers=(entry,))).code == "session-outdated"
    assert sessions().verify(text, NOW).subject == "ann"


def test_what_only_helps_to_find_or_name_an_issuer_ends_no_session() -> None:
    entry = issuer(jwks="https://id.example.com/new-keys", name="people", leeway=30.0)
    assert sessions(issuers=(entry,)).verify(made(), NOW).label == "people:ann"


DENIES: dict[str, dict[str, object]] = {
    "a group": {"path": "a/**", "deny": {"groups": ["banned"]}},
    "a value of a claim": {"path": "a/**", "deny": {"claims": {"plan": ["free"]}}},
    "an address": {"path": "a/**", "deny": {"emails": ["@rival.example"]}},
    "a folder of one's own": {"path": "a/{tenant}/**", "deny": "anyone"},
    "a hashed folder": {"path": "a/{tenant|sha256}/**", "deny": "signed-in"},
    "a group of this issuer": {"path": "a/**", "deny": {"groups": ["banned"], "issuer": ["staff"]}},
    "a group, by its URL": {"path": "a/**", "deny": {"groups": ["banned"], "issuer": [ISSUER]}},
}


@pytest.mark.parametrize("deny", DENIES.values(), ids=DENIES)
def test_a_session_counts_no_longer_once_a_deny_asks_what_it_may_have_dropped(deny: dict[str, object]) -> None:
    after = sessions(rules=compile_rules([deny]).rules)
    assert outdated(made(), after).code == "session-outdated"
    assert after.verify(made(after), NOW).subject == "ann"


@pytest.mark.parametrize("name", DENIES)
def test_each_thing_that_a_deny_asks_is_told_from_the_others(name: str) -> None:
    text = made(sessions(rules=compile_rules([DENIES[name]]).rules))
    for other, deny in DENIES.items():
        site = sessions(rules=compile_rules([deny]).rules)
        same = {name, other} <= {"a group", "a group of this issuer", "a group, by its URL"} or {name, other} <= {
            "a folder of one's own",
            "a hashed folder",
        }
        if other == name or same:
            assert site.verify(text, NOW).subject == "ann"
        else:
            assert outdated(text, site)


@pytest.mark.parametrize(
    "rule",
    [
        {"path": "b/**", "allow": {"groups": ["new"]}},
        {"path": "b/{tenant}/**", "allow": "signed-in"},
        {"path": "b/**", "deny": "anyone"},
        {"path": "b/**", "deny": "signed-in"},
        {"path": "elsewhere/**", "deny": {"groups": ["banned"]}},
        {"path": "b/**", "deny": {"groups": ["new"], "issuer": ["partners"]}},
    ],
    ids=str,
)
def test_a_change_of_rules_that_no_session_can_get_past_signs_nobody_out(rule: dict[str, object]) -> None:
    """A value that an allow asks and a session lacks denies; and a deny for all asks nothing."""
    before = compile_rules([DENIES["a group"]]).rules
    after = compile_rules([DENIES["a group"], rule]).rules
    assert sessions(rules=after).verify(made(sessions(rules=before)), NOW).subject == "ann"


def test_a_session_that_is_outdated_at_birth_comes_from_another_gateway() -> None:
    elsewhere = sessions(rules=compile_rules([DENIES["a group"]]).rules)
    assert outdated(made(), elsewhere, NOW).is_new
    assert outdated(made(), elsewhere, NOW + ROLLING_OUT - 1).is_new
    assert not outdated(made(), elsewhere, NOW + ROLLING_OUT).is_new
    for made_at in (None, "1700000000", True, NOW - ROLLING_OUT):
        assert not outdated(signed({"iss": ISSUER, "aud": SITE, "exp": NOW + 60, "made": made_at}), sessions()).is_new


def test_an_expired_session_is_called_expired_first() -> None:
    assert refusal(made(), sessions(issuers=(issuer(claims={"sub": "oid"}),)), NOW + 600) == "token-expired"


# --- the cookie


def test_the_cookie_of_an_https_site() -> None:
    cookie = sessions().set_cookie(ANN, {}, SID, NOW)
    name, _, rest = cookie.partition("=")
    assert name == "__Host-stagedoor"
    assert rest.split("; ")[1:] == ["Path=/", "Max-Age=600", "HttpOnly", "SameSite=Lax", "Secure"]


def test_the_cookie_of_an_http_site_on_this_machine() -> None:
    cookie = sessions(cookie="stagedoor", secure=False).set_cookie(ANN, {}, SID, NOW)
    name, _, rest = cookie.partition("=")
    assert name == "stagedoor"
    assert rest.split("; ")[1:] == ["Path=/", "Max-Age=600", "HttpOnly", "SameSite=Lax"]


@given(st.dictionaries(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=3), max_size=3))
def test_no_claim_whatever_breaks_out_of_the_cookie(claims: dict[str, list[str]]) -> None:
    cookie = sessions().set_cookie(ANN, claims, SID, NOW)
    parsed: SimpleCookie = SimpleCookie(cookie)
    assert list(parsed) == ["__Host-stagedoor"]
    assert cookie.isascii()
    assert cookie.isprintable()
    assert cookie.count(";") == 5


def test_a_cookie_that_browsers_would_drop_is_not_made() -> None:
    room = MAX_COOKIE_BYTES - len(sessions().set_cookie(ANN, {"groups": [""]}, SID, NOW))
    fits = sessions().set_cookie(ANN, {"groups": ["x" * (room * 3 // 4 - 2)]}, SID, NOW)
    assert MAX_COOKIE_BYTES - 8 < len(fits) <= MAX_COOKIE_BYTES
    with pytest.raises(SessionTooLarge) as caught:
        sessions().set_cookie(ANN, {"groups": ["x" * (room * 3 // 4 + 4)]}, SID, NOW)
    assert caught.value.code == "session-too-large"


# --- Wycheproof, HS256


def takes(vector: Vector) -> bool:
    try:
        jws = split(vector.jws)
    except InvalidToken:
        return False
    key = octets(vector.key, "k") if vector.key["k"] else b""
    return jws.header["alg"] == "HS256" and verify_hs256(key, jws.signed, jws.signature)


@pytest.mark.parametrize(
    "vector", [one for one in signature_vectors() if one.secret], ids=lambda one: f"{one.algorithm}-{one.id}"
)
def test_wycheproof_signatures(vector: Vector) -> None:
    assert takes(vector) is vector.valid


@pytest.mark.parametrize(
    "vector",
    [one for one in key_sets() if one.algorithm in ("HS256", "HS384", "HS512") and len(one.keys) == 1],
    ids=lambda one: f"{one.algorithm}-{one.id}",
)
def test_wycheproof_keys_too_short_and_other_hashes_are_refused(vector: Vector) -> None:
    assert takes(vector) is (vector.valid and vector.algorithm == "HS256")


def test_the_vectors_hold_right_and_wrong_ones() -> None:
    assert {vector.valid for vector in signature_vectors() if vector.secret} == {True, False}


def test_a_caller_of_a_token_and_of_its_session_have_one_label() -> None:
    assert caller().label == sessions().verify(made(), NOW).label


def test_the_keys_are_not_in_what_sessions_show_of_themselves() -> None:
    assert SESSION_KEY.decode() not in repr(sessions())
