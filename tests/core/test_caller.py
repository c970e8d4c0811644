"""Claims as rules, paths and logs read them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from stagedoor.core.caller import ANONYMOUS, Caller
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
        ([False, 7, "x", None, {"y": 1}, ["z"], 1.5], {"false", "7", "x"}),
        ("", {""}),
        (None, set()),
        ({"a": 1}, set()),
        (1.5, set()),
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
    ],
)
def test_only_a_verified_email_address_counts(claim: dict[str, Any], email: str) -> None:
    """The last one starts with the Kelvin sign, which lower-cases to an ASCII letter."""
    assert caller(**claim).email == email


def test_groups_that_entra_left_out_are_noticed() -> None:
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
