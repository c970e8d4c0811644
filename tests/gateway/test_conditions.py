"""Preconditions before ranges, as RFC 9110 §13.2.2 and S3 have it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.gateway.conditions import CONDITIONS, FAR, evaluate, http_date, parse_range, range_holds
from stagedoor.store.port import Meta, Range
from tests.helpers.support import fields_of

MODIFIED = 784_111_777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE, AFTER = "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
META = Meta(size=10, etag=b'"abc"', modified=MODIFIED, content_type=b"text/plain")
WEAK = Meta(size=10, etag=b'W/"abc"', modified=MODIFIED, content_type=b"text/plain")


def outcome(meta: Meta = META, **fields: str | list[str]) -> int:
    return evaluate(fields_of(**fields), meta)


# --- ranges


@pytest.mark.parametrize(
    ("value", "range_"),
    [
        ("bytes=0-", Range(0, None)),
        ("bytes=0-0", Range(0, 0)),
        ("bytes=5-9", Range(5, 9)),
        ("bytes=-5", Range(None, 5)),
        ("bytes=-0", Range(None, 0)),
        ("BYTES=1-2", Range(1, 2)),
        ("bytes= 1-2 ", Range(1, 2)),
        ("bytes=999999999999999999-", Range(999_999_999_999_999_999, None)),
        ("bytes=100-9223372036854775806", Range(100, FAR)),
        ("bytes=100-18446744073709551616", Range(100, FAR)),
        ("bytes=18446744073709551616-", Range(FAR, None)),
        ("bytes=-9223372036854775807", Range(None, FAR)),
        ("bytes=5-000000000000000000009", Range(5, 9)),
        ("bytes=000-00", Range(0, 0)),
        ("bytes=7-" + "9" * 5_000, Range(7, FAR)),
        ("bytes=" + "1" * 20 + "-" + "2" * 20, Range(FAR, FAR)),
    ],
)
def test_a_single_range_is_read(value: str, range_: Range) -> None:
    assert parse_range(fields_of(range=value)) == range_


@pytest.mark.parametrize(
    "value",
    [
        *("", "bytes", "bytes=", "bytes=-", "bytes=2-1", "bytes=a-b", "bytes=0-1,3-4", "bytes=0-1,", "bytes=1"),
        *("bytes=--1", "bytes=+0-1", "bytes=0x1-2", "bytes=0 - 1", "bytes=1.5-2"),
        *("bytes=" + "2" * 20 + "-" + "1" * 20, "bytes=" + "1" * 20 + "-5", "bytes=1" + "0" * 20 + "-" + "9" * 20),
        *("bytes=0-1\n", "bytes=\u00b2-3", " bytes=0-1", "bytes:0-1", "items=0-1"),
    ],
)
def test_a_malformed_range_or_several_get_the_whole(value: str) -> None:
    assert parse_range(fields_of(range=value)) is None


def test_two_range_fields_get_the_whole() -> None:
    assert parse_range(fields_of(range=["bytes=0-1", "bytes=0-1"])) is None
    assert parse_range({}) is None


@given(st.integers(0, 12) | st.none(), st.integers(0, 12) | st.none(), st.integers(0, 12))
def test_a_range_resolves_to_the_bytes_that_there_are(first: int | None, last: int | None, size: int) -> None:
    text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    span = parse_range(fields_of(range=text))
    if span is None:
        assert (first is None and last is None) or (first is not None and last is not None and last < first)
        return
    numbers = list(range(size))
    wanted = (
        numbers[max(0, size - (last or 0)) :] if first is None else numbers[first : size if last is None else last + 1]
    )
    resolved = span.resolve(size)
    assert (numbers[slice(*resolved)] if resolved else []) == wanted
    assert (resolved is None) is (wanted == [])


# --- preconditions


def test_without_conditions_the_answer_is_the_object() -> None:
    assert outcome() == 200


@pytest.mark.parametrize("tag", ['"abc"', "*", " * ", '"x", "abc"', '"abc","y"', '"a,b", "abc"'])
def test_if_match_that_holds(tag: str) -> None:
    assert outcome(if_match=tag) == 200


def test_tags_may_come_in_several_field_lines() -> None:
    assert outcome(if_match=['"first"', '"abc"']) == 200
    assert outcome(if_none_match=['"first"', '"abc"']) == 304


@pytest.mark.parametrize("tag", ['"ABC"', '"x"', 'W/"abc"', "abc", "", '"abc', '"x, abc"'])
def test_if_match_that_fails_is_412(tag: str) -> None:
    assert outcome(if_match=tag) == 412


def test_a_weak_tag_never_matches_strongly() -> None:
    assert outcome(WEAK, if_match='W/"abc"') == 412
    assert outcome(WEAK, if_match='"abc"') == 412
    assert outcome(WEAK, if_match="*") == 200


def test_if_unmodified_since() -> None:
    assert outcome(if_unmodified_since=DATE) == 200
    assert outcome(if_unmodified_since=AFTER) == 200
    assert outcome(if_unmodified_since=BEFORE) == 412


def test_if_match_wins_over_if_unmodified_since() -> None:
    assert outcome(if_match='"abc"', if_unmodified_since=BEFORE) == 200
    assert outcome(if_match='"x"', if_unmodified_since=AFTER) == 412


@pytest.mark.parametrize("tag", ['"abc"', 'W/"abc"', "*", '"x", W/"abc"'])
def test_if_none_match_that_matches_is_304(tag: str) -> None:
    assert outcome(if_none_match=tag) == 304
    assert outcome(WEAK, if_none_match=tag) == 304


@pytest.mark.parametrize("tag", ['"x"', "abc", "", 'W/"x"', '"ABC"'])
def test_if_none_match_that_does_not_match_gets_the_object(tag: str) -> None:
    assert outcome(if_none_match=tag) == 200


def test_if_modified_since() -> None:
    assert outcome(if_modified_since=DATE) == 304
    assert outcome(if_modified_since=AFTER) == 304
    assert outcome(if_modified_since=BEFORE) == 200


def test_if_none_match_wins_over_if_modified_since() -> None:
    assert outcome(if_none_match='"x"', if_modified_since=AFTER) == 200
    assert outcome(if_none_match='"abc"', if_modified_since=BEFORE) == 304


def test_a_precondition_that_failed_wins_over_not_modified() -> None:
    assert outcome(if_match='"x"', if_none_match='"abc"') == 412
    assert outcome(if_unmodified_since=BEFORE, if_none_match='"abc"') == 412


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "0", "784111777", "Sun, 99 Nov 1994 08:49:37 GMT", "\xff", "Sun, 06 Nov 99999 08:49:37 GMT"],
)
def test_what_is_no_date_is_ignored(date: str) -> None:
    assert outcome(if_modified_since=date) == 200
    assert outcome(if_unmodified_since=date) == 200
    assert outcome(if_modified_since=[DATE, DATE]) == 200


@given(st.text(alphabet='abc"W/*, \\x', max_size=20), st.text(max_size=30))
def test_no_condition_whatever_breaks_the_evaluation(tag: str, date: str) -> None:
    plain = date.encode("ascii", "ignore").decode()
    for name in ("if_match", "if_none_match"):
        assert evaluate(fields_of(**{name: tag}), META) in (200, 304, 412)
    for name in ("if_modified_since", "if_unmodified_since"):
        assert evaluate(fields_of(**{name: plain}), META) in (200, 304, 412)
    assert range_holds(fields_of(if_range=plain), META) in (True, False)


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own time is not UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_dates_mean_the_same_on_every_machine() -> None:
    assert http_date(MODIFIED) == DATE.encode()
    assert outcome(if_modified_since=DATE) == 304
    assert outcome(if_modified_since=BEFORE) == 200


# --- If-Range


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        ('"abc"', True),
        ('"x"', False),
        ('W/"abc"', False),
        (DATE, True),
        (AFTER, False),
        (BEFORE, False),
        ("", False),
        ("abc", False),
        ("*", False),
    ],
)
def test_a_range_holds_for_exactly_this_version(value: str, holds: bool) -> None:
    assert range_holds(fields_of(if_range=value), META) is holds


def test_a_weak_tag_is_not_exact_enough_for_a_range() -> None:
    assert not range_holds(fields_of(if_range='W/"abc"'), WEAK)


def test_without_if_range_a_range_holds() -> None:
    assert range_holds({}, META)
    assert not range_holds(fields_of(if_range=['"abc"', '"abc"']), META)


def test_the_list_of_conditions_is_complete() -> None:
    assert set(CONDITIONS) >= {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"}


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_a_date_without_a_zone_means_utc_wherever_the_machine_stands(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        stamp = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 §5.6.7
        meta = Meta(1, b'"a"', stamp, b"text/plain")
        assert evaluate({b"if-modified-since": [b"Sun Nov  6 08:49:37 1994"]}, meta) == 304
        assert evaluate({b"if-modified-since": [b"Sun Nov  6 08:49:36 1994"]}, meta) == 200
    finally:
        monkeypatch.undo()
        time.tzset()
