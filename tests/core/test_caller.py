"""Claims as rules, paths and logs read them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.core.caller import ANONYMOUS, Caller, email_reading
from stagedoor.core.jose import ALGORITHMS
from tests.helpers.support import ISSUER, b64, caller

COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example"
ALL = frozenset(ALGORITHMS)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a", {"a"}),
        (["a", "b", "a"], {"a", "b"}),
        (5, {"5"}),
        (True, {"true"}),
        ([False, 7, "x", None, {"y": 1}, ["z"], 1.5], {"false", "7", "x", "1.5"}),
        ("", {""}),
        (None, set()),
        ({"a": 1}, set()),
        (1.5, {"1.5"}),
        (3.0, {"3", "3.0"}),
        (-0.0, {"0", "-0.0"}),
        (1e22, {"10000000000000000000000", "1e+22"}),
        (float("inf"), set()),
    ],
)
def test_values_of_a_claim_as_texts(value: object, texts: set[str]) -> None:
    assert caller(claim=value).values("claim") == texts


def test_a_claim_is_looked_up_by_its_exact_name_first_and_then_by_the_path() -> None:
    raw = {"realm_access": {"roles": ["admin"], "a.b": "x"}, "flat.name": "exact", "flat": {"name": "nested"}}
    names = {"roles": "realm_access.roles", "https": "https://example.com/roles"}
    found = Caller("kc", ISSUER, {**raw, "https://example.com/roles": ["r"]}, names)
    assert found.values("roles") == {"admin"}
    assert found.values("realm_access.roles") == {"admin"}
    assert found.values("flat.name") == {"exact"}
    assert found.values("https") == {"r"}
    for missing in ("realm_access", "realm_access.", "realm_access.roles.0", "no.such", "", ".", "sub.x"):
        assert found.values(missing) == frozenset()


def test_names_with_dots_inside_a_path() -> None:
    """Keycloak keeps the roles of a client below its id, which may be a host or a URL."""
    access = {
        "com.example.app": {"roles": ["a"]},
        "https://app.example/": {"roles": ["b"]},
        "account": {"roles": ["c"]},
    }
    raw = {"resource_access": access, "a": {"b": {"c": "steps"}, "b.d": "dotted"}, "a.b": {"c": "longest", "e": None}}
    found = Caller("kc", ISSUER, {**raw, "x": "y"})
    for path, values in {
        "resource_access.com.example.app.roles": {"a"},
        "resource_access.https://app.example/.roles": {"b"},
        "resource_access.account.roles": {"c"},
        "a.b.c": {"longest"},
        "a.b.d": {"dotted"},
    }.items():
        assert found.values(path) == values, path
    for missing in ("resource_access.com.example.app", "resource_access.com.example.roles", "a.b.e", "a.b.", ".x"):
        assert found.values(missing) == frozenset(), missing


def test_an_object_of_groups_counts_by_the_names_of_its_members() -> None:
    """ZITADEL: role -> the organisations that granted it."""
    roles = {"admin": {"1": "a.example"}, "reader": {"1": "a.example", "2": "b.example"}, "none": {}, "was": None}
    names = {"groups": "urn:zitadel:iam:org:project:roles"}
    assert Caller("z", ISSUER, {"urn:zitadel:iam:org:project:roles": roles}, names).values("groups") == {
        "admin",
        "reader",
    }
    flags = {"on": True, "off": False, "list": ["x"], "empty": [], "text": "yes", "count": 1}
    assert caller(groups=flags).values("groups") == {"on", "list"}
    assert caller(other=roles, sub=roles, email=roles).values("other") == frozenset()


@pytest.mark.parametrize("name", ["scope", "scp"])
def test_a_text_of_scopes_counts_whole_and_scope_by_scope(name: str) -> None:
    text, several = Caller("x", ISSUER, {name: "files.read openid"}), Caller("x", ISSUER, {name: ["a", "two words"]})
    assert text.values(name) == {"files.read openid", "files.read", "openid"}
    assert several.values(name) == {"a", "two words"}
    renamed = Caller("x", ISSUER, {name: "a b", "other": "a b"}, {"rights": name, "scope": "other", "scp": "other"})
    assert renamed.values("rights") == {"a b", "a", "b"}
    assert renamed.values(name) == {"a b"}  # named so, but it is another claim


def test_other_texts_are_one_value() -> None:
    for text in ("students staff", "[students, staff]", "students,staff"):
        assert caller(groups=text).values("groups") == {text}


@pytest.mark.parametrize(
    "value", ["", ".", "..", "a/b", "/", "a\\b", "*", "a*", "?", "a\x00", "a\n", "\x7f", "\x85", "\ud800", "a\udfff"]
)
def test_a_value_that_a_path_could_read_otherwise_is_no_segment(value: str) -> None:
    assert caller(claim=["good", value]).segments("claim") == {"good"}
    assert caller(claim=value).segments("claim", "sha256") == frozenset()


@pytest.mark.parametrize("value", ["a", "...", ".a", "a b", "ü", "%2e", "{sub}", "a:b", "🎬", "-"])
def test_other_values_are_segments_as_they_are(value: str) -> None:
    assert caller(claim=value).segments("claim") == {value}


def test_hashed_segments_are_lower_case_hex() -> None:
    found = caller(tenant=["Acme", "ü"])
    assert found.segments("tenant", "sha256") == {hashlib.sha256(v.encode()).hexdigest() for v in ("Acme", "ü")}
    assert found.segments("tenant", "md5") == {hashlib.md5(v.encode()).hexdigest() for v in ("Acme", "ü")}


@pytest.mark.parametrize(
    ("claim", "email"),
    [
        ({"email": "Ann@Example.COM", "email_verified": True}, "ann@example.com"),
        ({"email": "a@b.c", "email_verified": "true"}, "a@b.c"),
        ({"email": "a@b.c", "email_verified": False}, ""),
        ({"email": "a@b.c", "email_verified": "True"}, ""),
        ({"email": "a@b.c", "email_verified": 1}, ""),
        ({"email": "a@b.c", "email_verified": [True, False]}, ""),
        ({"email": "a@b.c", "email_verified": None}, ""),
        ({"email": "a@b.c"}, ""),
        ({"email_verified": True}, ""),
        ({"email": ["a@b.c"], "email_verified": True}, "a@b.c"),
        ({"email": ["a@b.c", "d@e.f"], "email_verified": True}, ""),
        ({"email": {"a": 1}, "email_verified": True}, ""),
        ({"email": "\u212a@b.c", "email_verified": True}, "\u212a@b.c"),
        ({"email": "Zo\u00cb@RIVAL.com", "email_verified": True}, "zo\u00cb@rival.com"),
    ],
)
def test_only_a_verified_email_address_counts(claim: dict[str, Any], email: str) -> None:
    """The last one starts with the Kelvin sign, which lower-cases to an ASCII letter."""
    assert caller(**claim).email == email


ODD_SPELLINGS = (
    "ann@rival.com",
    "ANN@RIVAL.COM",
    "ann@rival.com.",
    " ann@rival.com\n",
    "Ann Lee <ann@rival.com>",
    "ann@\uff32ival.com",  # a full-width letter
    "ann@rival\u3002com",  # an ideographic full stop
    "ann@riv\u200bal.com",  # a space of no width
)


@pytest.mark.parametrize(
    "email", [*ODD_SPELLINGS, [*ODD_SPELLINGS[:2], "b@other.com"], ["b@other.com", "ann@rival.com"]]
)
@pytest.mark.parametrize("verified", [True, False, None])
def test_every_spelling_of_every_claimed_address_has_its_plain_reading(email: object, verified: object) -> None:
    found = caller(email=email, email_verified=verified).claimed_emails
    assert {"ann@rival.com", "@rival.com"} <= found


def test_addresses_of_other_scripts_have_one_reading_too() -> None:
    for domain in ("b\u00fccher.example", "B\u00dcCHER.example", "bu\u0308cher.example", "xn--bcher-kva.example"):
        assert "@xn--bcher-kva.example" in caller(email=f"zo\u00eb@{domain}").claimed_emails
        assert email_reading(f"@{domain}") == "@xn--bcher-kva.example"
    assert caller(email="a@b@c").claimed_emails == {"@b", "a@b", "@c", "a@c"}
    nothings: list[object] = ["", "ann", None, 5, {"a": "b@c.d"}, []]
    for nothing in nothings:
        assert caller(email=nothing).claimed_emails == frozenset()
    assert caller(email="a@" + "\u00fc" * 70 + ".com").claimed_emails  # no name of the DNS has so long a label


def test_groups_that_entra_left_out_are_noticed() -> None:
    assert caller(_claim_names=["groups"]).groups_left_out  # as a session keeps it
    assert caller(_claim_names={"groups": "src1"}).groups_left_out
    assert not caller(_claim_names={"other": "src1"}).groups_left_out
    assert not caller(_claim_names="groups").groups_left_out
    assert not caller(groups=["a"]).groups_left_out


def test_nobody_is_anonymous() -> None:
    assert not ANONYMOUS.signed_in
    assert ANONYMOUS.label == ""
    assert ANONYMOUS.values("sub") == frozenset()


def test_a_subject_that_is_no_text_names_nobody() -> None:
    assert Caller("staff", ISSUER, {"sub": {"a": 1}}).subject == ""
    assert b64(b"x") == "eA"


# --- equality, and what is shown


GOOD: dict[str, Any] = {
    "issuer": "staff",
    "issuer_url": ISSUER,
    "claims": {"sub": "ann", "groups": ["a", "b"], "nested": {"n": 1}},
    "names": {"groups": "groups"},
    "expires": 5.0,
}


def test_callers_of_the_same_claims_are_equal() -> None:
    one, other = Caller(**GOOD), Caller(**json.loads(json.dumps(GOOD)))
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other}) == 1
    backwards = Caller(**{**GOOD, "claims": dict(reversed(GOOD["claims"].items()))})
    assert one == backwards
    assert hash(one) == hash(backwards)
    assert Caller("", "", {}) == ANONYMOUS


@pytest.mark.parametrize(
    "other",
    [
        {"issuer": "partners"},
        {"issuer_url": ISSUER + "/"},
        {"expires": 6.0},
        {"names": {}},
        {"names": {"groups": "roles"}},
        {"claims": {"sub": "ann"}},
        {"claims": {**GOOD["claims"], "more": None}},
        {"claims": {**GOOD["claims"], "sub": "ben"}},
        {"claims": {**GOOD["claims"], "groups": ["b", "a"]}},
        {"claims": {**GOOD["claims"], "groups": ["a", "b", "c"]}},
        {"claims": {**GOOD["claims"], "groups": ("a", "b")}},
        {"claims": {**GOOD["claims"], "nested": {"n": True}}},
        {"claims": {**GOOD["claims"], "nested": {"n": 1.0}}},
        {"claims": {**GOOD["claims"], "nested": {"m": 1}}},
    ],
)
def test_callers_differ_in_everything_that_a_decision_can_depend_on(other: dict[str, Any]) -> None:
    assert Caller(**GOOD) != Caller(**{**GOOD, **other})


def test_a_caller_equals_nothing_else() -> None:
    assert Caller(**GOOD) != "staff:ann"
    assert ANONYMOUS != None  # noqa: E711 - what a program may write


VALUES = st.recursive(
    st.sampled_from([0, 1, True, False, 1.0, 0.0, None, "1", "true", "", "ann"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["0", "a"]), inner, max_size=2),
    max_leaves=4,
)


@given(one=VALUES, other=VALUES)
def test_equal_callers_have_the_same_values(one: object, other: object) -> None:
    """Python says `1 == True`, and a rule does not: a policy remembers decisions by caller."""
    first, second = caller(sub="ann", claim=one), caller(sub="ann", claim=other)
    assert (first == second) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))
    if first == second:
        assert hash(first) == hash(second)
        for name in ("claim", "claim.a", "claim.0", "claim.a.0"):
            assert first.values(name) == second.values(name)


def test_a_caller_shows_issuer_and_subject_and_nothing_else() -> None:
    shown = repr(Caller("staff", ISSUER, {"sub": "ann", "email": "ann@example.com", "nonce": "n-0S6"}))
    assert shown == "<Caller 'staff:ann'>"
    assert repr(ANONYMOUS) == "<Caller, anonymous>"
    assert "\n" not in repr(caller(sub="ann\nforged line"))
