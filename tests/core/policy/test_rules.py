"""Rules are read from tables and written back without loss, which is how they reach the edge."""

from __future__ import annotations

from collections.abc import Mapping

from stagedoor.core.policy.rules import CONDITIONS, read_rules

EVERY = {
    "groups": ["students", "teachers"],
    "claims": {"custom:plan": ["pro"], "custom:team": ["a", "b"]},
    "issuer": ["staff"],
    "emails": ["@example.com", "ann@example.com"],
}
"""A value for each condition that there is."""


def test_a_rule_is_written_as_it_was_read() -> None:
    whole = [{"path": "a/**", "allow": EVERY}, {"path": "b/**", "deny": EVERY}]
    single = [{"path": "c", "allow": {name: value}} for name, value in EVERY.items()]
    tables: list[Mapping[str, object]] = [
        *whole,
        *single,
        {"path": "{sub}/*", "allow": "signed-in"},
        {"path": "**", "deny": "anyone"},
    ]
    rules = read_rules(tables)
    assert [rule.table() for rule in rules] == tables
    assert read_rules([rule.table() for rule in rules]) == rules


def test_no_condition_is_left_out_here() -> None:
    assert set(EVERY) == set(CONDITIONS)
