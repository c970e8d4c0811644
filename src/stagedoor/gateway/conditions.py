"""What a GET or HEAD of an existing object answers: preconditions first, then ranges (RFC 9110 §13.2.2, §14.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Literal

from ..core.messages import Headers
from ..store.port import Meta, Range

CONDITIONS = frozenset((b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"))
"""Header fields whose meaning depends on the version of the object."""

FAR = 10**18
"""Stands for every greater position: no object is so long, and programs write 2^63 and more for "to the end"."""
_RANGE = re.compile(rb"bytes=[ \t]*(\d*)-(\d*)[ \t]*\Z", re.IGNORECASE)
_TAG = re.compile(rb'(W/)?"[\x21\x23-\x7e\x80-\xff]*"')


def parse_range(headers: Headers) -> Range | None:
    """The single byte range that is asked for.

    None for none, for a malformed one, for other units, and for several ranges: all of them get the whole
    object, as at S3. First and last are as sent, `FAR` at most; whether they can be satisfied depends on the size.
    """
    values = headers.get(b"range")
    if not values or len(values) > 1:
        return None
    match = _RANGE.match(values[0])
    if not match or match[1] == match[2] == b"":
        return None
    first, last = match[1].lstrip(b"0"), match[2].lstrip(b"0")
    if match[1] and match[2] and (len(last), last) < (len(first), first):
        return None
    return Range(_position(first) if match[1] else None, _position(last) if match[2] else None)


def _position(digits: bytes) -> int:
    """A number without leading zeros, `FAR` at most; Python reads no more than 4,300 digits."""
    return int(digits or b"0") if len(digits) <= 18 else FAR


def evaluate(headers: Headers, meta: Meta) -> Literal[200, 304, 412]:
    """Evaluate the preconditions against the object as it is now; 200 means: go on."""
    if b"if-match" in headers:
        if not _any_tag(headers[b"if-match"], meta.etag, strong=True):
            return 412
    else:
        unmodified_since = _date(headers.get(b"if-unmodified-since"))
        if unmodified_since is not None and meta.modified > unmodified_since:
            return 412
    if b"if-none-match" in headers:
        return 304 if _any_tag(headers[b"if-none-match"], meta.etag, strong=False) else 200
    modified_since = _date(headers.get(b"if-modified-since"))
    return 304 if modified_since is not None and meta.modified <= modified_since else 200


def range_holds(headers: Headers, meta: Meta) -> bool:
    """May the range be used? Not if If-Range names another version (RFC 9110 §13.1.5)."""
    values = headers.get(b"if-range")
    if not values:
        return True
    if len(values) > 1:
        return False
    if values[0].startswith((b'"', b"W/")):
        return values[0] == meta.etag and not meta.etag.startswith(b"W/")
    return _date(values) == meta.modified


@lru_cache(maxsize=4096)
def http_date(epoch: int) -> bytes:
    """IMF-fixdate (RFC 9110 §5.6.7)."""
    return formatdate(epoch, usegmt=True).encode()


def _any_tag(values: Sequence[bytes], etag: bytes, *, strong: bool) -> bool:
    joined = b",".join(values)
    if joined.strip() == b"*":
        return True
    tags = [match[0] for match in _TAG.finditer(joined)]
    if strong:
        return not etag.startswith(b"W/") and etag in tags
    return etag.removeprefix(b"W/") in {tag.removeprefix(b"W/") for tag in tags}


def _date(values: Sequence[bytes] | None) -> int | None:
    """Epoch seconds of an HTTP date; None if there is none, or several, or text that is not a date (it is ignored)."""
    if not values or len(values) > 1:
        return None
    try:
        date = parsedate_to_datetime(values[0].decode("ascii"))
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())  # asctime has no zone and means UTC
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
