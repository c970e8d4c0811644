"""What a decision costs, counted in lines of ours that run, for many shapes of rules and the worst keys there are.

A stranger chooses the key, and each request is decided anew for another one: 10,000 rules must not make it expensive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest

from stagedoor.core.caller import ANONYMOUS, Caller
from stagedoor.core.endpoints.explain import MAX_RULES, explanation
from stagedoor.core.errors import RuleError
from stagedoor.core.paths import MAX_KEY_BYTES
from stagedoor.core.policy.decide import Policy, compile_rules
from stagedoor.core.policy.reach import Reach
from stagedoor.core.policy.rules import MAX_FLOATING
from tests.helpers.counting import lines_run
from tests.helpers.support import caller

FOUND = [
    "**/*.ext{n}",
    "**/file{n}",
    "**/file{n}-*",
    "**/file-*-{n}",
    "**/*x*.{n}",
    "**/folder{n}/*.jpg",
    "**/folder{n}/**/*.jpg",
    "**/d{n}/**/e{n}/**/a",
    "**/*a*/{n}.jpg",
    "**/c{n}/{sub}",
    "top{n}/**/*.jpg",
    "a/**/x/**/d{n}/*.jpg",
    "courses/{n}/**",
    "{sub}/{n}/**",
    "a/*/{n}/*.jpg",
]
"""Floating and others, of which there may be as many as one likes: {n} is a number."""
TRIED = [
    "**/d{n}/**",
    "**/*d{n}*",
    "**/*{n}*/**",
    "**/d{n}/**/e{n}/**",
    "**/d{n}/*",
    "**/d*{n}/**",
    "**/d{n}/*a*/**",
    "a/**/a/**/{n}/**",
    "d{n}/**/a/**",
]
"""Those that each key is tried on, MAX_FLOATING of them."""


def longest(text: str) -> str:
    return text[:MAX_KEY_BYTES].rstrip("/")


KEYS = {
    "short": "a/b/c.jpg",
    "one segment": longest("a" * MAX_KEY_BYTES),
    "two letters": longest("a/" * MAX_KEY_BYTES),
    "no letters": "a" + "/" * (MAX_KEY_BYTES - 2) + "a",
    "numbers": longest("/".join(map(str, range(400)))),
    "d": longest("/".join(f"d{n}" for n in range(300))),
    "d and e": longest("/".join(f"d{n}/e{n}" for n in range(120)))[:-2] + "/a",
    "folders": longest("/".join(f"folder{n}" for n in range(100))) + "/x.jpg",
    "digits": longest("1234567890/" * 100),
    "files": longest("file1-/" * 200)[:-8] + "/file1-x.ext7",
}
LINES = 20_000
"""Lines of ours that one decision may run; a processor of 2020 needs less than a millisecond for them."""
IN_KEYS, MANY = 400, 2000
"""Rules as many as the keys have numbers in them, and as a large site has."""


def rules(shape: str, number: int) -> list[dict[str, object]]:
    return [{"path": shape.replace("{n}", str(n)), "allow": "anyone"} for n in range(number)]


def cost(policy: Policy, who: Caller, key: str) -> int:
    return lines_run(lambda: policy.decide(who, key))


@pytest.mark.parametrize("shape", FOUND)
def test_more_rules_cost_a_request_no_more(shape: str) -> None:
    few, many = (compile_rules(rules(shape, number), remember=0) for number in (IN_KEYS, MANY))
    for name, key in KEYS.items():
        for who in (ANONYMOUS, caller(sub="c1")):
            more = cost(many, who, key)
            assert more <= 1.1 * cost(few, who, key) + 50, name
            assert more < LINES, name


@pytest.mark.parametrize("shape", TRIED)
def test_rules_that_are_tried_cost_a_request_little(shape: str) -> None:
    policy = compile_rules(rules(shape, MAX_FLOATING), remember=0)
    for name, key in KEYS.items():
        assert cost(policy, ANONYMOUS, key) < LINES, name


@pytest.mark.parametrize("shape", TRIED)
def test_more_rules_that_must_be_tried_than_that_are_an_error_that_names_one(shape: str) -> None:
    found = [{"path": "**/*.jpg", "allow": "anyone"}] * 500
    assert len(compile_rules([*found, *rules(shape, MAX_FLOATING)]).rules) == 500 + MAX_FLOATING
    with pytest.raises(RuleError, match="more than 200 rules that each request is tried on") as caught:
        compile_rules([*found, *rules(shape, MAX_FLOATING + 1)])
    assert (caught.value.index, caught.value.field) == (500 + MAX_FLOATING, "path")


# --- the other questions that strangers ask


def conditions(number: int) -> list[dict[str, Any]]:
    return [{"path": "**", "allow": {"groups": [f"g{n}"], "claims": {f"c{n % 7}": ["x"]}}} for n in range(number)]


def questions(policy: Policy) -> Mapping[str, Callable[[], object]]:
    who, reach = caller(groups=["g1"], c1="x"), Reach(policy)
    return {
        "whoami": partial(policy.session_claims, who),
        "explain": partial(explanation, policy, who, "a/b.ext7", MAX_RULES),
        "how much of a folder": partial(reach.below, who, "a/b/"),
        "an exception in a folder": partial(reach.exception, who, "a/b/"),
        "where keys can be": partial(reach.prefixes, who, "courses/77/"),
        "the largest folder that is hidden": partial(reach.nothing_below, who, KEYS["d"], ""),
    }


@pytest.mark.parametrize("shape", ["**", "courses/{n}/**", "**/*.ext{n}", "**/folder{n}/**/*.jpg"])
@pytest.mark.parametrize("question", questions(compile_rules([])))
def test_more_rules_cost_a_question_no_more(shape: str, question: str) -> None:
    def work(number: int) -> int:
        policy = compile_rules(rules(shape, number) + conditions(number), remember=0)
        ask = questions(policy)[question]
        policy.session_claims(ANONYMOUS)  # what is made once, for all callers
        return lines_run(ask)

    assert work(MANY) <= 1.1 * work(MAX_RULES + 1) + 50


def test_the_way_down_to_a_deep_key_is_little_work_with_rules_that_are_tried() -> None:
    tried = [{"path": f"**/*{n}*/**", "allow": "signed-in"} for n in range(MAX_FLOATING)]
    reach = Reach(compile_rules(tried))
    for name, key in KEYS.items():  # each folder on the way is judged, and the key itself is the owner's
        for who in (ANONYMOUS, caller()):
            assert lines_run(partial(reach.nothing_below, who, key, "")) < LINES + 100 * key.count("/"), name


def test_the_explanation_of_many_rules_shows_what_matters() -> None:
    many: list[dict[str, object]] = [{"path": f"other/{n}/**", "allow": "anyone"} for n in range(2000)]
    many += [{"path": "a/**", "allow": {"groups": [f"g{n}"]}} for n in range(2000)]
    policy, who = compile_rules(many), caller(groups=["g1500"])
    answer = explanation(policy, who, "a/b", MAX_RULES)
    shown = [rule["rule"] for rule in answer["rules"]]
    assert shown == [*(f"rules[{2000 + n}]" for n in range(MAX_RULES)), "rules[3500]"]
    assert (answer["rule"], answer["leftOut"]) == ("rules[3500]", 4000 - MAX_RULES - 1)
    assert len(explanation(policy, who, "a/b")["rules"]) == 4000


def test_the_explanation_of_a_hundred_rules_shows_each() -> None:
    answer = explanation(compile_rules(rules("x{n}", MAX_RULES)), caller(), "x7", MAX_RULES)
    assert [rule["applies"] for rule in answer["rules"]] == [n == 7 for n in range(MAX_RULES)]
    assert "leftOut" not in answer
