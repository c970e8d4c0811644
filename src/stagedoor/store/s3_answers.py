"""What the answers of S3 and of S3-compatible stores mean; nothing is believed that does not fit the question."""

from __future__ import annotations

import datetime as dt
import html
import logging
import re
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from ..core.errors import StagedoorError, StoreRefused, StoreUnavailable, UnusableKey
from ..outside.aws import Refusal
from ..outside.http import Answer
from .media_types import content_type
from .port import Changed, Meta, NotSatisfiable, Range
from .s3_listing import store_error

MAX_REFUSAL = 65_536
"""Bytes of an error document that are read."""

_log = logging.getLogger("stagedoor")
_KEPT = (b"cache-control", b"content-disposition", b"content-encoding", b"content-language", b"expires")
_RANGE = re.compile(rb"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_NO_TAG = re.compile(rb"[^\x21\x23-\x7e\x80-\xff]|^W/")
_TAG = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_UNSET = (b"binary/octet-stream",)
"""Content types that S3 makes up where the uploader gave none."""
_FOLDERS = (b"application/x-directory", b"httpd/unix-directory")
"""Content types of the empty objects with which consoles show a folder."""
_IMPOSSIBLE = frozenset(
    ("InvalidKey", "InvalidObjectName", "InvalidURI", "KeyTooLongError", "KeyTooLong", "XMinioInvalidObjectName")
)
"""Codes for keys under which a store cannot have an object."""


class SizeNotGiven(StoreUnavailable):
    """The store refused a range without giving the object's size; some stores never do."""


def extent(answer: Answer, span: Range | None, subject: str) -> tuple[int, int, int]:
    """Start and stop of the bytes in an answer, and the size of the whole object.

    Raises:
        StoreRefused: the length is not known; asking again will not help.
        StoreUnavailable: these are other bytes than those asked for.
    """
    length, whole = answer.length, answer.whole
    if length is None and whole is not None and b"transfer-encoding" in answer.headers:
        length = len(whole)  # without either, an early end would look like the end
    if length is None:
        raise StoreRefused(f"{subject}: the store does not say how long the object is (no Content-Length)")
    if answer.status == 200 and b"content-range" not in answer.headers:  # some stores call a part 200
        return 0, length, length
    match = _RANGE.fullmatch(answer.headers.get(b"content-range", b""))
    if not match or span is None:
        raise StoreUnavailable(f"{subject}: a part came that was not asked for")
    first, stop, size = int(match[1]), int(match[2]) + 1, int(match[3])
    if span.resolve(size) != (first, stop) or stop - first != length:
        raise StoreUnavailable(f"{subject}: another part came than the one asked for")
    return first, stop, size


def meta(answer: Answer, key: str, size: int, subject: str) -> Meta:
    """What an answer says of its object.

    Raises:
        StoreRefused: it does not say which version it is; asking again will not help.
    """
    found = _meta(size, content_type(key), *map(answer.headers.get, _FIELDS))
    if found is None:
        raise StoreRefused(f"{subject}: the store does not say which version it is (ETag, Last-Modified)")
    return found


_FIELDS = (b"etag", b"last-modified", b"content-type", *_KEPT)


@lru_cache(maxsize=4096)
def _meta(
    size: int, guess: bytes, tag: bytes | None, modified: bytes | None, type_: bytes | None, *stored: bytes | None
) -> Meta | None:
    """The same `Meta` for the same fields, because the header of our own answer is kept for it."""
    version, when = _entity_tag(tag or b""), date(modified or b"")
    if not version or when is None:
        return None
    kept = ((name, _stored(name, value)) for name, value in zip(_KEPT, stored, strict=True) if value)
    type_ = type_ if type_ and type_ not in _UNSET else guess
    return Meta(size, version, when, type_, tuple((name, value) for name, value in kept if value))


def is_folder(found: Meta, key: str) -> bool:
    """Is it the empty object with which a console shows a folder?"""
    return key.endswith("/") and not found.size and found.content_type in _FOLDERS


def check_version(found: Meta, wanted: bytes | None) -> None:
    """Compare the version, because some stores do not understand If-Match.

    Raises:
        Changed: it is another one.
    """
    if wanted is not None and found.etag != wanted:
        raise Changed


def was_unpacked(answer: Answer) -> bool:
    """Did the store unpack a packed object on the way, so that neither its length nor its ranges are right?"""
    stored = answer.headers.get(b"x-goog-stored-content-encoding", b"identity")
    return answer.status in (200, 206) and stored != b"identity" and b"content-encoding" not in answer.headers


async def refusal(answer: Answer) -> Refusal:
    """The error document of an answer. What is not one counts as a document without a code."""
    text = (await answer.beginning(MAX_REFUSAL)).decode(errors="replace")
    details = {
        name: html.unescape(found[1])[:300]
        for name in ("Code", "Message", "Region", "ActualObjectSize")
        if (found := re.search(rf"<{name}>([^<]*)</{name}>", text))
    }
    return Refusal(answer.status, details.get("Code", ""), details)


def judge(why: Refusal, subject: str) -> StagedoorError | Changed | NotSatisfiable | None:
    """The error that a refusal stands for; None: the object does not exist."""
    if why.code == "NoSuchKey" or (why.status == 404 and not why.code):
        return None
    if why.code == "AccessDenied":
        # S3 says this of a missing key, too, unless s3:ListBucket is granted.
        message = "%s: %d %s: answered as missing; are s3:GetObject and s3:ListBucket granted?"
        _log.warning(message, subject, why.status, why.code)
        return None
    if why.status == 416:
        size = str(why.details.get("ActualObjectSize", ""))
        return NotSatisfiable(int(size)) if size.isdecimal() and len(size) < 19 else SizeNotGiven(f"{subject}: 416")
    if why.status == 412:
        return Changed()
    if why.code in _IMPOSSIBLE or (why.code == "InvalidArgument" and "object name" in why.message.lower()):
        return UnusableKey(f"{subject}: the store can have no object of this name ({why.code})")
    return store_error(why, subject)


def listing(body: bytes, subject: str) -> dict[str, Any]:
    """The answer to ListObjectsV2, in the shape that botocore gives it.

    Raises:
        StoreUnavailable: it is not a listing.
    """
    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
            raise ValueError("it declares entities")
        root = ET.fromstring(body)  # noqa: S314 - bounded in size, and without declarations nothing expands
        encoded = _text(root, "EncodingType") == "url"
        found: dict[str, Any] = {
            "Contents": [_content(one, encoded) for one in _all(root, "Contents")],
            "CommonPrefixes": [{"Prefix": _name(one, "Prefix", encoded)} for one in _all(root, "CommonPrefixes")],
        }
        truncated = _text(root, "IsTruncated")
    except (ET.ParseError, ValueError, KeyError) as error:
        raise StoreUnavailable(f"{subject}: the answer is not a listing: {error}") from error
    return found if truncated is None else {**found, "IsTruncated": truncated == "true"}


@lru_cache(maxsize=4096)
def date(value: bytes) -> int | None:
    """Epoch seconds of a date as HTTP writes it, or as ISO 8601 does; None if it is neither."""
    text = value.decode("latin-1").strip()
    try:
        parsed = parsedate_to_datetime(text) if "," in text else dt.datetime.fromisoformat(text)
        return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)).timestamp())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _entity_tag(value: bytes) -> bytes:
    """An entity tag as HTTP writes it (RFC 9110 §8.8.3); some stores leave out the quotes."""
    if not value or _TAG.fullmatch(value):
        return value
    return b'"' + _NO_TAG.sub(b"", value.replace(b'"', b"")) + b'"'


def _stored(name: bytes, value: bytes) -> bytes:
    """A stored field; Content-Encoding without `aws-chunked`, which is about the upload and stays there by mistake."""
    if name != b"content-encoding":
        return value
    codings = (coding.strip() for coding in value.split(b","))
    return b", ".join(coding for coding in codings if coding and coding.lower() != b"aws-chunked")


def _content(element: ET.Element, encoded: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"Key": _name(element, "Key", encoded)}
    modified = date((_text(element, "LastModified") or "").encode())
    if modified is not None:
        found["LastModified"] = dt.datetime.fromtimestamp(modified, dt.UTC)
    for name in ("ETag", "StorageClass"):
        if (text := _text(element, name)) is not None:
            found[name] = _entity_tag(text.encode()).decode() if name == "ETag" else text
    size = _text(element, "Size")
    if size is not None:
        found["Size"] = int(size)
    return found


def _name(element: ET.Element, tag: str, encoded: bool) -> str:
    text = _text(element, tag)
    if text is None:
        raise ValueError(f"an entry lacks {tag}")
    return unquote_plus(text, errors="strict") if encoded else text


def _all(element: ET.Element, tag: str) -> list[ET.Element]:
    """Children of this name, in whatever namespace."""
    return [child for child in element if child.tag.rpartition("}")[2] == tag]


def _text(element: ET.Element, tag: str) -> str | None:
    found = _all(element, tag)
    return (found[0].text or "") if found else None
