"""httplint reads the answers that the tests hear, and a test fails if it finds a fault in one.

Raw connections do that by themselves (`serving.Wire`), as does `servers.Gateway.get`; a client of httpx does with
`event_hooks=linting.HOOKS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple

import httpx
from httplint import HttpRequestLinter, HttpResponseLinter, levels

Fields = Iterable[tuple[str, str]]

EXCEPTIONS: Mapping[str, str] = {
    "CC_CONFLICTING": "an owner may store no-store beside an age",
    "CC_DUP": "an owner may store two ages; the shorter one counts",
    "CC_MISCAP": "an owner may write directives in capitals",
    "CONTENT_TYPE_MISMATCH": "the type of an object is what its owner stored",
    "CREATED_WITHOUT_LOCATION": "`POST /-/urls` makes nothing that stays; the signed URL is in the body",
    "FRESHNESS_HEURISTIC": "what anybody may read has the Cache-Control that its owner stored, or none",
    "SET_COOKIE_NAME_DUP": "`POST /-/cookies` sets the same names for several paths",
    "STATUS_416_WITHOUT_RANGE": "a store that refuses a range though none was asked for is played in a test",
    "STATUS_BAD_REQUEST": "says no more than that the status is 400",
    "STATUS_URI_TOO_LONG": "says no more than that the status is 414",
    "STORE_PUBLIC_UNNECESSARY": "what anybody may read has the Cache-Control that its owner stored",
}
"""Notes that are no fault here, each with the reason."""


class Asked(NamedTuple):
    """A request, as far as answers depend on it."""

    method: str
    target: str
    fields: Fields = ()


def lint(asked: Asked, status: int, fields: Fields, body: bytes | None) -> None:
    """Fail if an answer has a fault.

    Args:
        asked: what it answers; a target "" if that is not known, beyond the method.
        status, fields: of the answer, each field as it came.
        body: None: it was not kept as it came.
    """
    long = body is not None and len(body) > 4096
    find = _faults.__wrapped__ if long else _faults
    faults = find(asked._replace(fields=tuple(asked.fields)), status, tuple(fields), body)
    assert not faults, "\n".join([f"httplint: {asked.method} {asked.target}: {status} {fields}", *faults])


@lru_cache(512)  # tests hear the same answer to the same request thousands of times
def _faults(asked: Asked, status: int, fields: Fields, body: bytes | None) -> list[str]:
    answer = HttpResponseLinter(no_content=body is None)
    answer.is_head_response = asked.method == "HEAD"
    if asked.target:
        answer.request = HttpRequestLinter()
        answer.request.process_request_topline(asked.method.encode(), asked.target.encode("latin-1"), b"1.1")
        answer.request.process_headers(_raw(asked.fields))
        answer.request.finish_content(complete=True)
    answer.process_response_topline(b"1.1", str(status).encode())
    answer.process_headers(_raw(fields))
    answer.feed_content(body or b"")
    answer.finish_content(complete=True)
    return [
        f"{type(note).__name__} ({note.subject}): {note.summary}"
        for note in answer.notes
        if note.level in (levels.BAD, levels.WARN) and type(note).__name__ not in EXCEPTIONS
    ]


def _raw(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def check(answer: httpx.Response) -> httpx.Response:
    """The same for an answer that httpx has read; returns it."""
    asked, fields = answer.request, answer.headers.multi_items()
    if "network_stream" not in answer.extensions:  # an application was called; a server would have added the date
        fields.append(("date", formatdate(usegmt=True)))
    decoded = "content-encoding" in answer.headers
    request = Asked(asked.method, asked.url.raw_path.decode("latin-1"), asked.headers.multi_items())
    lint(request, answer.status_code, fields, None if decoded else answer.content)
    return answer


async def _read_and_check(answer: httpx.Response) -> None:
    await answer.aread()
    check(answer)


HOOKS = {"response": [_read_and_check]}
"""For `httpx.AsyncClient(event_hooks=…)`."""
