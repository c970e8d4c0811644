"""Objects in S3 and S3-compatible stores, through aiobotocore.

aiobotocore asks for every legal key exactly (docs/decisions/0002-s3-client.md). Here it follows no redirect, so that
only the host and the key that were authorised are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from ..core.errors import StoreRefused, StoreUnavailable, UnusableKey
from ..core.messages import List, Listed
from ..core.paths import MAX_KEY_BYTES
from ..outside.aws import refusal
from .port import Changed, Head, Meta, NotSatisfiable, Open, Opened, Range
from .s3_listing import Listing, limit_region_redirects, store_error

_log = logging.getLogger("stagedoor")

CHUNK = 65_536
SMALL = 65_536
MAX_CONNECTIONS = 128
MAX_STREAMS = 96
"""Most connections for large objects, so that slow readers of those leave some for other requests."""
WAIT_FOR_CONNECTION = 10.0
"""Seconds that a request waits for a free connection."""

_KEPT = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")


class _NoRedirects:
    """An aiohttp session whose requests follow no redirect."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def request(self, *args: Any, **kwargs: Any) -> Any:
        return self._session.request(*args, **{**kwargs, "allow_redirects": False})


if not hasattr(AIOHTTPSession, "_get_session"):  # without it redirects would be followed unnoticed
    raise ImportError("this release of aiobotocore cannot be kept from following redirects")


class _Session(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore ships no types
    async def _get_session(self, proxy_url: str) -> _NoRedirects:
        return _NoRedirects(await super()._get_session(proxy_url))


class S3Store:
    """The objects of a bucket below a prefix.

    Args:
        bucket: its name.
        prefix: stands before every key in the bucket, without a slash at either end; may be empty.
        region: found as AWS's own tools find it if None.
        endpoint: URL of an S3-compatible store, which gets path-style requests.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, region: str | None = None, endpoint: str | None = None
    ) -> None:
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._region, self._endpoint = region or ("us-east-1" if endpoint else None), endpoint
        self._client: Any = None
        self._exit = contextlib.AsyncExitStack()
        self._starting = asyncio.Lock()
        self._free = asyncio.Semaphore(MAX_CONNECTIONS)
        self._streams = 0

    async def head(self, wish: Head) -> Meta | None:
        try:
            answer = await self._ask("head_object", wish.key)
        except _HeadRefused:  # the response to a GET has a body that says why
            answer = await self._ask("get_object", wish.key, Range="bytes=0-0")
            if answer is not None:
                answer["Body"].close()
        return None if answer is None else _meta(answer, _extent(answer)[2])

    async def open(self, wish: Open) -> Opened | None:
        await self._connection()
        try:
            opened = await self._open(wish)
        except BaseException:
            self._free.release()
            raise
        if opened is None or opened.whole is not None:
            self._free.release()
        return opened

    async def _open(self, wish: Open) -> Opened | None:
        arguments = {} if wish.etag is None else {"IfMatch": wish.etag.decode("latin-1")}
        if wish.span is not None:
            first, last = wish.span
            arguments["Range"] = f"bytes={'' if first is None else first}-{'' if last is None else last}"
        try:
            answer = await self._ask("get_object", wish.key, **arguments)
        except _NoSizeGiven:
            meta = await self.head(Head(wish.key))
            if meta is None:
                return None
            raise NotSatisfiable(meta.size) from None
        if answer is None:
            return None
        body = answer["Body"]
        try:
            start, stop, size = _extent(answer)
            if wish.span is not None and wish.span.resolve(size) is None:
                raise NotSatisfiable(size)
            meta = _meta(answer, size)
            if stop - start > SMALL and self._streams >= MAX_STREAMS:
                raise StoreUnavailable(f"{MAX_STREAMS} large objects are being read already")
            if stop - start <= SMALL:
                whole = b"".join([part async for part in _chunks(body)])
                body.close()
                return Opened(meta, start, stop, whole)
        except BaseException:
            body.close()
            raise

        self._streams += 1

        def close() -> None:
            body.close()
            self._streams -= 1
            self._free.release()

        return Opened(meta, start, stop, None, lambda: _chunks(body), close)

    async def list(self, wish: List) -> Listed:
        """List names with ListObjectsV2, which sorts them by their UTF-8 bytes.

        Raises:
            InvalidTarget: the wish is not valid Unicode.
            StoreRefused: our credentials may not list the bucket.
            StoreUnavailable: no answer, or one that does not fit the question.
        """
        listing = Listing(self._bucket, self._prefix, wish)
        arguments = listing.arguments()
        if arguments is None:
            return Listed(())
        await self._connection()
        try:
            answer = await self._call("list_objects_v2", **arguments)
        except ClientError as error:
            raise store_error(error, listing.subject) from error
        finally:
            self._free.release()
        return listing.read(answer)

    async def ready(self) -> None:
        """Ask for a key that need not exist: "no such key" is an answer, too.

        Without s3:ListBucket the answer is "access denied", and so it is for a role without any rights. Both count as
        ready, because they look the same.
        """
        opened = await self.open(Open("stagedoor-readiness-probe", Range(0, 0)))
        if opened is not None:
            opened.close()

    async def aclose(self) -> None:
        await self._exit.aclose()

    async def _connection(self) -> None:
        try:
            async with asyncio.timeout(WAIT_FOR_CONNECTION):
                await self._free.acquire()
        except TimeoutError:
            raise StoreUnavailable(f"all {MAX_CONNECTIONS} connections to the store are in use") from None

    async def _ask(self, verb: str, key: str, **arguments: str) -> Any:
        """Make one call about a key; None if it does not exist."""
        name = self._prefix + key
        if len(name.encode()) > MAX_KEY_BYTES:
            raise UnusableKey(f"with its prefix the key is longer than S3 takes: {key!r}")
        try:
            return await self._call(verb, Bucket=self._bucket, Key=name, **arguments)
        except ClientError as error:
            return self._handle_refusal(error, key)

    async def _call(self, verb: str, **arguments: Any) -> Any:
        """Make one call; what S3 refuses is raised as ClientError."""
        client = await self._connected()
        try:
            return await getattr(client, verb)(**arguments)
        except NoCredentialsError as error:
            raise StoreRefused("there are no AWS credentials (environment, profile or role)") from error
        except (BotoCoreError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise StoreUnavailable(f"bucket {self._bucket}: {type(error).__name__}: {error}") from error

    def _handle_refusal(self, error: Any, key: str) -> None:
        """Return None for a missing object, and raise an error for everything else."""
        status, code, details = refusal(error)
        subject = f"bucket {self._bucket}, key {key!r}"
        if code in ("404", "NoSuchKey"):
            return
        if status == 416:
            size = str(details.get("ActualObjectSize", ""))
            if not size.isdecimal():
                raise _NoSizeGiven(f"{subject}: {status} {code}")
            raise NotSatisfiable(int(size))
        if status == 412:
            raise Changed
        if code in ("400", "403"):
            raise _HeadRefused(f"{subject}: {status} {code}")
        if code == "AccessDenied":
            # S3 says this of a missing key, too, unless s3:ListBucket is granted.
            message = "%s: %d %s: answered as missing; are s3:GetObject and s3:ListBucket granted?"
            _log.warning(message, subject, status, code)
            return
        raise store_error(error, subject) from error

    async def _connected(self) -> Any:
        if self._client is None:
            async with self._starting:
                if self._client is None:
                    await self._connect()
        return self._client

    async def _connect(self) -> None:
        host = urlsplit(self._endpoint or "").hostname
        config = AioConfig(
            signature_version="s3v4",
            s3={"addressing_style": "path" if host else "auto"},
            http_session_cls=_Session,
            retries={"mode": "standard", "total_max_attempts": 3},
            connect_timeout=3,
            read_timeout=15,
            max_pool_connections=MAX_CONNECTIONS,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            warm_up_loader_caches=True,
        )
        context = get_session().create_client(
            "s3", region_name=self._region, endpoint_url=self._endpoint, config=config
        )
        try:
            self._client = await self._exit.enter_async_context(context)
        except (BotoCoreError, ValueError) as error:
            raise StoreRefused(f"the S3 client cannot be made: {error}") from error
        self._client.meta.events.register_last("before-parameter-build.s3", limit_region_redirects)


class _NoSizeGiven(StoreUnavailable):
    """The store refused a range without giving the object's size; some stores never do."""


class _HeadRefused(StoreRefused):
    """S3 refused a HEAD, whose response has no body that says why."""


def _extent(answer: Any) -> tuple[int, int, int]:
    """Start and stop of the bytes in a response, and the size of the whole object."""
    length = answer.get("ContentLength")
    if length is None:
        raise StoreUnavailable("the store did not say how long the object is")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.get("ContentRange") or "")
    if not match:
        return 0, length, length
    first, last, size = (int(number) for number in match.groups())
    return first, last + 1, size


def _meta(answer: Any, size: int) -> Meta:
    fields = answer["ResponseMetadata"]["HTTPHeaders"]
    etag, modified = answer.get("ETag"), answer.get("LastModified")
    if not etag or modified is None:
        raise StoreUnavailable("the store did not say which version of the object it is (ETag, Last-Modified)")
    kept = tuple((name.encode(), _octets(fields[name])) for name in _KEPT if name in fields)
    return Meta(size, _octets(etag), int(modified.timestamp()), _octets(answer.get("ContentType") or ""), kept)


def _octets(text: str) -> bytes:
    """A header value as the store sent it, which may be any UTF-8."""
    return text.encode("utf-8", "surrogateescape")


async def _chunks(body: Any) -> AsyncIterator[bytes]:
    """The bytes as they come. A body that ends early or stalls is an error, never the end of the object."""
    try:
        async for chunk in body.iter_chunks(CHUNK):
            yield chunk
    except (BotoCoreError, aiohttp.ClientError, TimeoutError) as error:
        raise StoreUnavailable(f"the store broke off: {type(error).__name__}: {error}") from error
