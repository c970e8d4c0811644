"""httplint does read the answers: what it finds fails a test, and what is excepted is something that it says."""

from __future__ import annotations

import importlib
import pkgutil
from email.utils import formatdate

import httplint
import httpx
import pytest

from tests.helpers import linting
from tests.helpers.linting import Asked, lint

DATE, TEXT, UNSTORED = ("date", formatdate(usegmt=True)), ("content-type", "text/plain"), ("cache-control", "no-store")


@pytest.mark.parametrize(
    ("asked", "status", "fields", "body", "found"),
    [
        (Asked("PUT", "/"), 405, [("allow", "GET, PUT")], b"no", "STATUS_405_METHOD_IN_ALLOW"),
        (Asked("GET", "/"), 204, [], b"no", "CONTENT_NOT_ALLOWED"),
        (Asked("GET", "/"), 206, [("content-range", "bytes 0-1/9")], b"ab", "PARTIAL_NOT_REQUESTED"),
        (Asked("GET", "/"), 200, [("content-length", "3")], b"ab", "CL_INCORRECT"),
        (Asked("GET", "/"), 200, [("etag", "no-quotes")], b"ab", "BAD_SYNTAX"),
        (Asked("GET", ""), 200, [("content-length", "3")], b"ab", "CL_INCORRECT"),
    ],
)
def test_a_fault_is_found(asked: Asked, status: int, fields: list[tuple[str, str]], body: bytes, found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        lint(asked, status, [DATE, TEXT, UNSTORED, *fields], body)


@pytest.mark.parametrize("target", ["/", ""])
def test_a_good_answer_has_none(target: str) -> None:
    lint(Asked("GET", target), 200, [DATE, TEXT, UNSTORED, ("content-length", "2")], b"ab")
    lint(Asked("HEAD", target), 200, [DATE, TEXT, UNSTORED, ("content-length", "2")], b"")


async def test_a_client_of_httpx_finds_it() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(405, headers={"allow": "GET"}))
    async with httpx.AsyncClient(transport=transport, event_hooks=linting.HOOKS) as client:
        with pytest.raises(AssertionError, match="httplint: GET /a"):
            await client.get("http://127.0.0.1/a")


def test_what_is_excepted_is_a_note_of_its() -> None:
    found = set()
    for module in pkgutil.walk_packages(httplint.__path__, "httplint."):
        found |= set(vars(importlib.import_module(module.name)))
    assert set(linting.EXCEPTIONS) <= found
