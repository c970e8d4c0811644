"""What is probably not meant in a policy is found, and what is meant is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from stagedoor.core.policy import lint
from stagedoor.core.policy.decide import compile_rules

PUBLIC = {"path": "public/**", "allow": "anyone"}


def found(*rules: Any, issuers: int = 1) -> list[tuple[str, str]]:
    """Name of the rule and a word or two of the finding."""
    words = ("repeats", "takes nothing away", "never counts", "two issuers")
    return [
        (one.rule.name, next(word for word in words if word in one.problem))
        for one in lint.findings(compile_rules(rules), issuers)
    ]


def test_a_good_policy_has_no_findings() -> None:
    assert (
        found(
            PUBLIC,
            {"path": "users/{sub}/**", "allow": "signed-in"},
            {"path": "courses/**", "allow": {"groups": ["students"]}},
            {"path": "courses/**", "allow": {"groups": ["teachers"]}},
            {"path": "courses/drafts/**", "deny": "anyone"},
            {"path": "users/{sub}/private/**", "deny": {"groups": ["students"]}},
        )
        == []
    )


def test_a_rule_that_stands_twice_is_named_with_its_twin() -> None:
    conditions = {"groups": ["a", "b"], "claims": {"x": ["1"], "y": ["2"]}}
    turned = {"claims": {"y": ["2"], "x": ["1"]}, "groups": ["b", "a"]}
    assert found(PUBLIC, PUBLIC) == [("rules[1]", "repeats")]
    assert found({"path": "a", "allow": conditions}, {"path": "a", "allow": turned}) == [("rules[1]", "repeats")]
    first, *_ = lint.findings(compile_rules([PUBLIC, {"path": "b", "allow": "anyone"}, PUBLIC]), 1)
    assert first.problem == "this rule repeats rules[0]"
    assert first.mend


@pytest.mark.parametrize(
    "rule",
    [
        {"path": "users/{sub}/**", "allow": "signed-in"},
        {"path": "t/{tenant|md5}", "allow": "signed-in"},
        {"path": "a", "allow": {"groups": ["a"]}},
        {"path": "a", "allow": {"claims": {"plan": ["pro"]}}},
        {"path": "a", "allow": {"emails": ["@example.com"]}},
    ],
    ids=str,
)
def test_with_several_issuers_a_claim_needs_its_issuer(rule: dict[str, object]) -> None:
    assert found(rule, issuers=2) == [("rules[0]", "two issuers")]
    assert found(rule, issuers=1) == []
    conditions = rule["allow"] if isinstance(rule["allow"], dict) else {}
    assert found({**rule, "allow": {**conditions, "issuer": ["staff"]}}, issuers=2) == []


def test_rules_that_bind_nothing_need_no_issuer() -> None:
    rules = [PUBLIC, {"path": "a", "allow": "signed-in"}, {"path": "a", "deny": {"emails": ["@x.y"]}}]
    assert found(*rules, issuers=2) == []


@pytest.mark.parametrize(
    ("allow", "deny"),
    [
        ("a/**", "b/**"),
        ("a/b", "a"),
        ("a/*.png", "a/x.jpg"),
        ("a/*", "a/b/c"),
        ("{sub}/x", "a/y"),
        ("a/**/z", "b/**/z"),
        ("x", "x/*"),
    ],
)
def test_a_deny_that_reaches_no_allow_takes_nothing_away(allow: str, deny: str) -> None:
    assert found({"path": allow, "allow": "anyone"}, {"path": deny, "deny": "anyone"}) == [
        ("rules[1]", "takes nothing away")
    ]


@pytest.mark.parametrize(
    ("allow", "deny"),
    [
        ("a/**", "a/b/**"),
        ("**", "a"),
        ("a/*.png", "a/x*"),
        ("users/{sub}/**", "users/ann/secret"),
        ("**/z", "a/**"),
        ("a/**/b", "a/b"),
        ("a/**", "**/drafts/*"),
    ],
)
def test_a_deny_that_takes_some_away_is_meant(allow: str, deny: str) -> None:
    assert found({"path": allow, "allow": "anyone"}, {"path": deny, "deny": "anyone"}) == []


@pytest.mark.parametrize(
    ("allow", "deny"),
    [
        ("a/b", "a/**"),
        ("a/b", "a/*"),
        ("a/**", "**"),
        ("users/{sub}/x", "users/*/x"),
        ("users/{sub}/**", "users/**"),
        ("a/x.png", "a/*.png"),
        ("a/b/**", "a/**"),
        ("a/**/b", "a/**"),
        ("a", "a/**"),
    ],
)
def test_an_allow_that_is_denied_altogether_never_counts(allow: str, deny: str) -> None:
    rule = {"path": allow, "allow": "anyone"}
    assert found(rule, {"path": deny, "deny": "anyone"}) == [("rules[0]", "never counts")]
    assert found(rule, {"path": deny, "deny": "signed-in"}) == []


@pytest.mark.parametrize(
    ("allow", "deny"), [("a/**", "a/*"), ("a/*", "a/b"), ("*", "a*"), ("**", "a/**"), ("{sub}", "a")]
)
def test_an_allow_that_is_denied_in_part_counts(allow: str, deny: str) -> None:
    assert found({"path": allow, "allow": "anyone"}, {"path": deny, "deny": "anyone"}) == []


def test_a_very_large_policy_gets_the_quick_checks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "MAX_PAIRS", 1)
    useless = [{"path": f"b{n}", "deny": "anyone"} for n in range(2)]
    assert found(PUBLIC, *useless) == []
    assert found(PUBLIC, PUBLIC, *useless) == [("rules[1]", "repeats")]


@pytest.mark.parametrize("depth", [lint.MAX_SEGMENTS, 500])
def test_very_deep_patterns_are_looked_at_without_a_crash(depth: int) -> None:
    deep = {"path": "/".join(["**", "a"] * (depth // 2)), "allow": "anyone"}
    wide = {"path": "/".join(["*", "**"] * (depth // 2)), "deny": "signed-in"}
    assert found(deep, wide, deep) == [("rules[2]", "repeats")]
