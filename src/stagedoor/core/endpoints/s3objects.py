"""`GET /-/s3objects`: lists what the caller may read, with the names that S3 has for it (API ListObjectsV2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import gmtime, strftime
from typing import NamedTuple

from .. import paths, replies
from ..caller import Caller
from ..door import Door, Endpoint
from ..errors import InvalidRequest
from ..listing import visible
from ..messages import Flow, Item, List, Reply, Request, Seal
from ..policy.reach import Reach
from .arguments import number, parameter

MAX_LISTED = 1000
"""Names on a page (Amazon S3 API, ListObjectsV2)."""


class _Listing(NamedTuple):
    reach: Reach
    seal: Seal
    clock: Callable[[], float]
    active: bool


def endpoint(reach: Reach, seal: Seal, clock: Callable[[], float], *, active: bool) -> Endpoint:
    return Endpoint(("GET",), partial(_answer, _Listing(reach, seal, clock, active)))


def _answer(listing: _Listing, door: Door, request: Request, now: float) -> Flow[Reply]:
    if not listing.active:
        return door.problem(request, 404, "no-store", "this site has no store, so there is nothing to list")
    caller, _ = yield from door.caller(request, now)
    wish, purpose = _read(listing.seal, request, caller)
    if not caller.signed_in and not listing.reach.prefixes(caller, ""):
        return door.unauthorized(request, None)
    listed = yield from visible(listing.reach, caller, wish, door.site.index_file, listing.clock)
    page: dict[str, object] = {
        "Prefix": wish.prefix,
        "Contents": [as_s3(one) for one in listed.found if isinstance(one, Item)],
        "CommonPrefixes": [{"Prefix": one} for one in listed.found if isinstance(one, str)],
        "KeyCount": len(listed.found),
        "IsTruncated": listed.resume is not None,
    }
    if listed.resume is not None:
        page["NextCursor"] = listing.seal.seal(listed.resume, purpose)
    return replies.document(200, page, "listing", caller=caller.label)


def _read(seal: Seal, request: Request, caller: Caller) -> tuple[List, str]:
    """What is to be listed, and the purpose of its cursors: they are of use to this caller and listing alone."""
    prefix = (parameter(request.query, "prefix") or "").removeprefix("/")
    paths.check_key(f"{prefix}x")  # a prefix may end in the beginning of a segment that starts with dots
    delimiter = parameter(request.query, "delimiter") or ""
    if delimiter not in ("", "/"):
        raise InvalidRequest("the delimiter is '/', or none", code="query")
    limit = number(request.query, "limit", MAX_LISTED, most=MAX_LISTED)
    purpose = f"listing {delimiter}{prefix}\n{caller.label}"  # no prefix holds a line end
    cursor = parameter(request.query, "cursor")
    after = seal.unseal(cursor, purpose) if cursor else ""
    if after is None:
        raise InvalidRequest("the cursor is not one of this listing; begin again without one", code="cursor")
    return List(prefix, after, limit, delimiter == "/"), purpose


def as_s3(item: Item) -> dict[str, object]:
    """An object of a listing, by S3's names."""
    return {
        "Key": item.key,
        "ETag": item.etag,
        "LastModified": _iso(item.modified),
        "Size": item.size,
        "StorageClass": item.storage_class,
    }


def _iso(moment: float) -> str:
    """ISO 8601 in UTC with milliseconds, as S3 writes dates."""
    whole, fraction = divmod(int(moment * 1000), 1000)
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(whole)) + f".{fraction:03d}Z"
