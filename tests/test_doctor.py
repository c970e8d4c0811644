"""The doctor finds every fault that is planted, by the right question, and nothing in a site that has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from faulty_sites import FAULTS, PRIVATE, PUBLIC, FaultySite, tokens
from support import rsa_signer

from stagedoor.doctor import Report, Subject, examine
from stagedoor.doctor.wire import Origin


def subject(site: FaultySite, **more: Any) -> Subject:
    brought = tokens()
    whole = Subject(
        Origin.of(site.url),
        PRIVATE,
        PUBLIC,
        brought.ann,
        brought.ben,
        brought.old,
        brought.foreign,
        keys=(rsa_signer().jwk,),
        query="token",
        session="session",
    )
    return replace(whole, **more)


@pytest.fixture
def site(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultySite]:
    """A site with the faults of the parameter, whose clock goes on when the doctor waits."""
    with FaultySite(*getattr(request, "param", ())) as site:
        monkeypatch.setattr("stagedoor.doctor.passes.sleep", site.wait)
        yield site


def found(report: Report) -> list[str]:
    return [outcome.question.name for outcome in report.outcomes if outcome.state in ("found", "note")]


def told(report: Report) -> str:
    return "\n".join(
        f"{one.question.name}: {one.state} {one.skipped} {one.evidence}"
        for one in report.outcomes
        if one.state != "good"
    )


def test_a_site_without_a_fault_is_all_good(site: FaultySite) -> None:
    report = examine(subject(site))
    assert found(report) == [], told(report)
    assert report.fine
    assert {one.question.name for one in report.outcomes if one.state == "skipped"} == {
        *("certificate", "old-tls", "plain-http", "hsts", "bucket", "writable-attributes")
    }, told(report)


@pytest.mark.parametrize(
    ("site", "question"), [((fault,), FAULTS[fault]) for fault in FAULTS], indirect=["site"], ids=[*FAULTS]
)
def test_a_planted_fault_is_found_by_its_question_and_by_no_other(site: FaultySite, question: str) -> None:
    report = examine(subject(site))
    assert found(report) == [question], told(report)
    assert not report.fine
