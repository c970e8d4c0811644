"""Objects in S3 and S3-compatible stores: each key is asked for exactly, and no redirect is followed.

The requests are our own (docs/decisions/0012-s3-client.md): GET and HEAD, signed with Signature Version 4, over
`outside.http`. What the answers mean is in `s3_answers`, who may ask when in `turns`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from ..core.errors import StoreUnavailable, UnusableKey
from ..core.messages import List, Listed
from ..core.paths import MAX_KEY_BYTES
from ..outside.aws_credentials import Chain
from ..outside.http import Answer, Broken, Connections, Origin
from ..outside.proxies import proxy_for
from ..outside.sigv4 import EMPTY_HASH, Credentials, Scope, Signer, canonical_query, encode_path
from . import s3_answers as answers
from .port import Head, Meta, NotSatisfiable, Open, Opened, Range, Unchanged
from .s3_address import REGION, Address, Addressing, at_aws, at_endpoint
from .s3_listing import Listing, store_error
from .turns import MOST, Turns

_log = logging.getLogger("stagedoor")

SMALL = 65_536
"""Objects of up to this many bytes are waited for as a whole."""
ANSWER_WITHIN = 10.0
"""Seconds for an answer to begin, or for all of a small object, with waiting for a turn and a retry."""
RETRIES = 1
"""How often a question is asked again that had no answer, or one that asks to come back."""
MAX_STREAMS = 256
"""Most large objects that are read at a time."""
MAX_LISTING = 8 * 1_048_576
"""Bytes of one page of a listing: a thousand keys, percent-encoded."""
PROBE = "stagedoor-readiness-probe"
"""A key that is asked for only to see whether the store answers."""
_PAUSE = 0.05, 0.15
_PARAMETERS = {"Prefix": "prefix", "StartAfter": "start-after", "MaxKeys": "max-keys", "Delimiter": "delimiter"}
_STALE_CREDENTIALS = frozenset(("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "TokenRefreshRequired"))


class _Question(NamedTuple):
    """One request, before it is signed.

    Attributes:
        path: encoded, below the bucket.
        subject: what errors are about.
        method: GET or HEAD.
        query: encoded and sorted.
        fields: further header fields, each with its end of line.
        whole: bytes of a body that are waited for.
    """

    path: str
    subject: str
    method: str = "GET"
    query: str = ""
    fields: str = ""
    whole: int = SMALL


class S3Store:
    """The objects of a bucket below a prefix.

    Args:
        bucket: its name, or the alias of an access point.
        prefix: stands before every key in the bucket, without a slash at either end; may be empty.
        region: found as AWS's own tools find it if None, and corrected by what S3 says.
        endpoint: URL of an S3-compatible store.
        addressing: does the bucket stand in the host name (`virtual`) or in the path?
        trust: makes the TLS context; default: the machine's own certificates.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        region: str | None = None,
        endpoint: str | None = None,
        addressing: Addressing = "auto",
        trust: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._region, self._endpoint, self._addressing = region, endpoint, addressing
        self._trust = trust
        self._tls: ssl.SSLContext | None = None
        self._chain, self._turns = Chain(), Turns()
        self._address: Address | None = None
        self._connections: Connections | None = None
        self._streams = 0
        self._skew = 0.0
        self._accepts = "identity"
        self._signing: _Signing | None = None

    async def head(self, wish: Head) -> Meta | None:
        question = self._about(wish.key, method="HEAD", whole=0)
        answer = await self._ask(question, wish.key)
        if answer.status == 200 and answer.length is not None:
            meta = answers.meta(answer, wish.key, answer.length, question.subject)
            return None if answers.is_folder(meta, wish.key) else meta
        if answer.status == 404:
            return None
        try:  # the answer to a GET says why, or how long the object is
            opened = await self._open(Open(wish.key, Range(0, 0)), may_head=False)
        except NotSatisfiable as error:
            raise StoreUnavailable(f"{question.subject}: HEAD and GET do not agree") from error
        if opened is None:
            return None
        opened.close()
        return opened.meta

    async def open(self, wish: Open) -> Opened | None:
        return await self._open(wish, may_head=True)

    async def _open(self, wish: Open, *, may_head: bool) -> Opened | None:
        fields = ""
        if wish.span is not None:
            first, last = wish.span
            fields += f"range: bytes={'' if first is None else first}-{'' if last is None else last}\r\n"
        if wish.etag is not None:
            fields += f"if-match: {wish.etag.decode('latin-1')}\r\n"
        if wish.known is not None:
            fields += f"if-none-match: {wish.known.decode('latin-1')}\r\n"
        question = self._about(wish.key, fields=fields)
        answer = await self._ask(question, wish.key)
        try:
            if answer.status in (200, 206):
                return self._opened(question, answer, wish)
            await self._refused(question, answer, wish.key, may_head)
            return None
        except BaseException:
            answer.close()
            raise

    def _opened(self, question: _Question, answer: Answer, wish: Open) -> Opened | None:
        start, stop, size = answers.extent(answer, wish.span, question.subject)
        meta = answers.meta(answer, wish.key, size, question.subject)
        if answers.is_folder(meta, wish.key):
            answer.close()
            return None
        answers.check_version(meta, wish.etag)
        if wish.span is not None and wish.span.resolve(size) is None:
            raise NotSatisfiable(size)
        if answer.whole is not None:
            return Opened(meta, start, stop, answer.whole)
        if self._streams >= MAX_STREAMS:
            raise StoreUnavailable(f"{MAX_STREAMS} large objects are being read already")
        self._streams += 1
        held = [answer]

        def close() -> None:
            if held:
                held.pop().close()
                self._streams -= 1

        return Opened(meta, start, stop, None, lambda: _chunks(answer, question.subject), close)

    async def _refused(self, question: _Question, answer: Answer, key: str, may_head: bool) -> None:
        """Return if the object is missing, and raise an error for everything else."""
        if answer.status == 304:
            raise Unchanged
        error = answers.judge(await answers.refusal(answer), question.subject)
        if isinstance(error, answers.SizeNotGiven) and may_head:
            meta = await self.head(Head(key))
            error = NotSatisfiable(meta.size) if meta is not None else None
        if error is not None:
            raise error

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
        named = ((_PARAMETERS[name], str(value)) for name, value in arguments.items() if name in _PARAMETERS)
        query = canonical_query([("list-type", "2"), ("encoding-type", "url"), *named])
        question = _Question("", listing.subject, query=query, whole=MAX_LISTING)
        answer = await self._ask(question, f"?{wish.prefix}")
        if answer.status != 200:
            raise store_error(await answers.refusal(answer), listing.subject)
        if answer.whole is None:
            answer.close()
            raise StoreUnavailable(f"{listing.subject}: the answer is longer than {MAX_LISTING} bytes")
        return listing.read(answers.listing(answer.whole, listing.subject))

    async def ready(self) -> None:
        """Ask for a key that need not exist: "no such key" is an answer, too.

        Without s3:ListBucket the answer is "access denied", and so it is for a role without any rights. Both count as
        ready, because they look the same.
        """
        opened = await self.open(Open(PROBE, Range(0, 0)))
        if opened is not None:
            opened.close()

    async def aclose(self) -> None:
        self._chain.close()
        if self._connections is not None:
            self._connections.close()

    def _about(self, key: str, *, method: str = "GET", fields: str = "", whole: int = SMALL) -> _Question:
        name = self._prefix + key
        if len(name.encode()) > MAX_KEY_BYTES:
            raise UnusableKey(f"with its prefix the key is longer than S3 takes: {key!r}")
        return _Question(encode_path(name), f"bucket {self._bucket}, key {key!r}", method, "", fields, whole)

    # --- asking

    async def _ask(self, question: _Question, key: str) -> Answer:
        """Ask, once more if that can help, and return the answer: the object, a refusal, or the reason of one."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN) as timeout:
                turn, answered = await self._turns.take(key, timeout), False
                try:
                    answer = await self._answer(question)
                    answered = True
                    return answer
                finally:
                    self._turns.give_back(turn, answered)
        except TimeoutError:
            raise StoreUnavailable(f"{question.subject}: no answer in time") from None

    async def _answer(self, question: _Question) -> Answer:
        mended: set[str] = set()
        retries = 0
        while True:
            pause = random.uniform(*_PAUSE)  # noqa: S311 - spreads retries, guards nothing
            try:
                answer = await self._once(question, fresh=retries > 0)
            except Broken as error:
                if retries >= RETRIES:
                    raise StoreUnavailable(f"{question.subject}: {error}") from error
                pause = 0.0 if error.stale else pause
            else:
                if answer.status in (200, 206, 304, 404) and not answers.was_unpacked(answer):
                    return answer
                mend = await self._mend(answer)
                if mend and mend not in mended:
                    mended.add(mend)
                    answer.close()
                    continue
                if retries >= RETRIES or not (answer.status >= 500 or answer.status == 429):
                    return answer
                answer.close()
            retries += 1
            await asyncio.sleep(pause)

    async def _mend(self, answer: Answer) -> str:
        """Learn from a refusal; returns what will be different next time."""
        if answers.was_unpacked(answer):  # Google Cloud Storage unpacks what is stored packed, unless asked for gzip
            self._accepts = "gzip"
            return "encoding"
        if answer.status >= 500:
            return ""
        why = await answers.refusal(answer)
        region = answer.headers.get(b"x-amz-bucket-region", b"").decode("latin-1") or str(why.details.get("Region", ""))
        if answer.status in (301, 307, 400) and REGION.fullmatch(region):
            self._move(region)
            return "region"
        if why.code == "RequestTimeTooSkewed" and self._set_clock(answer):
            return "clock"
        if why.code in _STALE_CREDENTIALS:
            self._chain.doubt()
            return "credentials"
        return ""

    def _move(self, region: str) -> None:
        """Ask in the region that S3 names from now on."""
        if self._address is not None and self._address.region != region:
            _log.warning("bucket %s is in region %s", self._bucket, region)
            self._region, self._address, self._signing = region, None, None
            if self._connections is not None:
                self._connections.retire()
                self._connections = None

    def _set_clock(self, answer: Answer) -> bool:
        """Sign with the time of S3, which refuses a difference of 15 minutes."""
        date = answers.date(answer.headers.get(b"date", b""))
        if date is None:
            return False
        self._skew = date - time.time()
        _log.warning("this machine's clock is %+.0f s away from S3's; requests are signed with S3's time", -self._skew)
        return True

    async def _once(self, question: _Question, *, fresh: bool) -> Answer:
        found = await self._chain.find()
        address = self._address
        if address is None:
            endpoint = self._endpoint or found.endpoint
            region = self._region or found.region or "us-east-1"
            address = self._address = (
                at_endpoint(self._bucket, endpoint, region, self._addressing)
                if endpoint
                else at_aws(self._bucket, region, self._addressing, dualstack=found.dualstack, fips=found.fips)
            )
        if self._connections is None:
            if address.tls and self._tls is None:
                self._tls = await asyncio.to_thread(self._trust)
            tls, proxy = (self._tls, proxy_for(f"https://{address.authority}")) if address.tls else (None, None)
            origin = Origin(address.host, address.port, tls, proxy)
            self._connections = self._connections or Connections(origin, MOST + MAX_STREAMS)
        request = self._signed(question, address, found.credentials)
        return await self._connections.ask(
            request, bodiless=question.method == "HEAD", whole=question.whole, fresh=fresh
        )

    def _signed(self, question: _Question, address: Address, credentials: Credentials) -> bytes:
        """The request, with a signature over what S3 must not take for anything else: method, host, key and time."""
        signing = self._signing
        now = int(time.time() + self._skew)
        if signing is None or signing.second != now or signing.credentials is not credentials:
            signing = self._signing = _Signing.at(now, address, credentials)
        path = address.path + question.path if question.path else address.path.rstrip("/") or "/"
        signature = signing.signer.authorization(question.method, path, question.query)
        target = f"{path}?{question.query}" if question.query else path
        accepted = "identity" if question.query else self._accepts
        return (
            f"{question.method} {target} HTTP/1.1\r\n{signing.lines}authorization: {signature}\r\n"
            f"accept-encoding: {accepted}\r\n{question.fields}\r\n"
        ).encode("latin-1")


class _Signing(NamedTuple):
    """What all requests of one second have in common. `lines` are the header fields that are signed."""

    second: int
    credentials: Credentials
    signer: Signer
    lines: str

    @classmethod
    def at(cls, second: int, address: Address, credentials: Credentials) -> _Signing:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        fields = [("host", address.authority), ("x-amz-content-sha256", EMPTY_HASH), ("x-amz-date", stamp)]
        if credentials.token:
            fields.append(("x-amz-security-token", credentials.token))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        return cls(second, credentials, Signer(credentials, Scope(address.region), fields), lines)


async def _chunks(answer: Answer, subject: str) -> AsyncIterator[bytes]:
    """The bytes as they come. A body that ends early or stalls is an error, never the end of the object."""
    try:
        async for piece in answer.pieces():
            yield piece
    except Broken as error:
        raise StoreUnavailable(f"{subject}: the store broke off: {error}") from error
