"""Passes are issued so often and no more: a bucket for each caller, and memory that does not grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.core.messages import Content
from stagedoor.core.passes.signer import Signer
from stagedoor.core.rate_limit import MAX_CALLERS, RateLimit
from tests.helpers.support import NOW, Visitor, bearer, claims, field, token

ANN = bearer(token(claims()))
BEN = bearer(token(claims(sub="ben")))


# --- buckets


def test_a_full_bucket_is_a_minutes_worth() -> None:
    buckets = RateLimit(3)
    assert [buckets.take("ann", NOW) for _ in range(3)] == [0, 0, 0]
    assert buckets.take("ann", NOW) == pytest.approx(20)


def test_it_fills_steadily_and_never_over() -> None:
    buckets = RateLimit(60)
    for _ in range(60):
        assert buckets.take("ann", NOW) == 0
    assert buckets.take("ann", NOW + 0.9) > 0
    assert buckets.take("ann", NOW + 1) == 0
    assert buckets.take("ann", NOW + 1) > 0
    assert [buckets.take("ann", NOW + 3600) for _ in range(61)].count(0) == 60


def test_who_waits_as_told_is_served() -> None:
    buckets, now = RateLimit(7), NOW
    for _ in range(50):
        wait = buckets.take("ann", now)
        now += int(wait) + 1 if wait else 0
        if wait:
            assert buckets.take("ann", now) == 0


def test_to_be_refused_costs_nothing() -> None:
    buckets = RateLimit(1)
    assert buckets.take("ann", NOW) == 0
    for second in range(60):
        assert buckets.take("ann", NOW + second) > 0
    assert buckets.take("ann", NOW + 60) == 0


def test_one_does_not_pay_for_the_other() -> None:
    buckets = RateLimit(1)
    assert (buckets.take("ann", NOW), buckets.take("ben", NOW)) == (0, 0)
    assert buckets.take("ann", NOW) > 0


def test_a_clock_that_is_put_back_refills_nothing() -> None:
    buckets = RateLimit(2)
    assert [buckets.take("ann", NOW), buckets.take("ann", NOW)] == [0, 0]
    assert buckets.take("ann", NOW - 3600) > 0
    assert buckets.take("ann", NOW - 3600 + 29) > 0


def test_memory_is_bounded_and_the_busy_are_remembered() -> None:
    buckets = RateLimit(1)
    assert buckets.take("ann", NOW) == 0
    for number in range(3 * MAX_CALLERS):
        buckets.take(f"visitor {number}", NOW)
        if number % 1000 == 0:
            assert buckets.take("ann", NOW) > 0
    assert len(buckets._levels) == MAX_CALLERS


@given(st.integers(1, 100), st.lists(st.floats(0, 30), max_size=60))
def test_nobody_gets_more_than_a_bucket_and_what_flows_into_it(per_minute: int, pauses: list[float]) -> None:
    buckets, now, taken = RateLimit(per_minute), NOW, 0
    for pause in pauses:
        now += pause
        while buckets.take("ann", now) == 0:
            taken += 1
    assert taken <= per_minute + (now - NOW) * per_minute / 60 + 1e-6


# --- at the endpoints


def site(per_minute: int) -> Visitor:
    signer = Signer("K1", lambda *_: b"signature")
    visitor = Visitor(api_options={"signer": signer, "per_minute": per_minute, "catalogue": True})
    visitor.catalogue["logo"] = Content("logo", "public/logo.png")
    return visitor


def test_urls_cookies_and_contents_share_one_bucket() -> None:
    visitor = site(3)
    assert visitor.post("/-/urls", {"file": "users/ann/a"}, authorization=ANN).status == 201
    assert visitor.post("/-/cookies", {"prefix": ["users/ann/", "public/"]}, authorization=ANN).status == 204
    assert visitor.reply("/-/contents/logo?signed", authorization=ANN).status == 200
    for reply in (
        visitor.post("/-/urls", {"file": "users/ann/a"}, authorization=ANN),
        visitor.post("/-/cookies", {"prefix": "users/ann/"}, authorization=ANN),
        visitor.reply("/-/contents/logo?signed", authorization=ANN),
    ):
        assert (reply.status, reply.reason) == (429, "too-many-passes")
        assert field(reply.headers, "retry-after") == "21"
        assert field(reply.headers, "set-cookie") is None
    assert visitor.post("/-/urls", {"file": "users/ben/a"}, authorization=BEN).status == 201
    visitor.now += 21
    assert visitor.post("/-/urls", {"file": "users/ann/a"}, authorization=ANN).status == 201


def test_nobody_is_counted_by_address() -> None:
    visitor = site(1)
    assert visitor.post("/-/urls", {"file": "public/a"}).status == 201
    assert visitor.post("/-/urls", {"file": "public/a"}).status == 429
    visitor.client = "192.0.2.2"
    assert visitor.post("/-/urls", {"file": "public/a"}).status == 201
    assert visitor.post("/-/urls", {"file": "public/a"}, authorization=ANN).status == 201


def test_another_token_of_the_same_person_is_no_other_bucket() -> None:
    visitor = site(1)
    assert visitor.post("/-/urls", {"file": "public/a"}, authorization=ANN).status == 201
    again = bearer(token(claims(jti="2")))
    assert visitor.post("/-/urls", {"file": "public/a"}, authorization=again).status == 429


def test_what_is_refused_uses_up_nothing() -> None:
    visitor = site(1)
    for _ in range(3):
        assert visitor.post("/-/urls", {"file": "users/ben/a"}, authorization=ANN).status == 403
        assert visitor.post("/-/urls", {"file": "public/a", "expires_in": 0}, authorization=ANN).status == 400
        assert visitor.post("/-/cookies", {"prefix": "users/"}, authorization=ANN).status == 403
        assert visitor.post("/-/cookies", {"prefix": "public/", "expires_in": "1"}, authorization=ANN).status == 400
        assert visitor.post("/-/urls", {"file": "public/a"}, authorization=ANN, origin="null").status == 403
        assert visitor.reply("/-/contents/none?signed", authorization=ANN).status == 404
    assert visitor.post("/-/urls", {"file": "public/a"}, authorization=ANN).status == 201
