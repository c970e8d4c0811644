"""Content Delivery: Stagedoor, and how the other services ask it.

They keep no rules and read no tokens. They hand on the credentials of a request, and go by the answer: who is it
(`/-/whoami`), and is this content for them (`/-/contents/{id}`)? So one policy decides everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stagedoor import Gateway, Settings

CREDENTIALS = (b"authorization", b"cookie")
HANDED_BACK = ("content-type", "www-authenticate", "set-cookie", "retry-after")


class Person(NamedTuple):
    """Who asks: `sub` is unique within its issuer."""

    issuer: str
    sub: str
    groups: frozenset[str]


class Refused(Exception):
    """No, and the answer that says why."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer

    @classmethod
    def because(cls, status: int, code: str, detail: str, **headers: str) -> Refused:
        """A refusal of our own, in the form that Stagedoor's have (RFC 9457)."""
        body = {"status": status, "code": code, "detail": detail}
        headers |= {"cache-control": "no-store"}
        return cls(JSONResponse(body, status, headers, media_type="application/problem+json"))


class Delivery:
    """The mounted gateway, and questions to it.

    Args:
        settings: of Stagedoor.
    """

    def __init__(self, settings: Settings) -> None:
        self.gateway = Gateway(settings)
        self._site = settings.url
        # With Stagedoor as a program of its own: httpx.AsyncHTTPTransport(), and its address as the site. No client,
        # for a client would keep the cookies of one person and send them for the next.
        self._transport = httpx.ASGITransport(self.gateway)

    async def person(self, request: Request) -> Person:
        """Who sent this request?

        Raises:
            Refused: nobody who is signed in, or with a credential that does not count.
        """
        known = await self._ask(request, "/-/whoami")
        if not known["signedIn"]:
            words = "sign in, or bring a token"
            raise Refused.because(401, "no-credential", words, **{"www-authenticate": "Bearer"})
        return Person(known["issuer"], known["sub"], frozenset(known["groups"]))

    async def content(self, request: Request, id_: str) -> dict[str, Any]:
        """The entry of a content, if whoever sent this request may have it.

        Raises:
            Refused: they may not, or there is none.
        """
        if id_ in (".", ".."):  # in a path these lead elsewhere
            raise Refused.because(404, "unknown-content", "there is no content of this id")
        return await self._ask(request, f"/-/contents/{quote(id_, safe='')}")

    def sign_out(self, answer: Response) -> None:
        """Take the session out of the browser."""
        if self.gateway.door.sessions is not None:
            answer.headers["set-cookie"] = self.gateway.door.sessions.clear_cookie()

    async def _ask(self, request: Request, path: str) -> dict[str, Any]:
        headers = [(name, value) for name, value in request.headers.raw if name in CREDENTIALS]
        asked = httpx.Request("GET", self._site + path, headers=headers)
        found = await self._transport.handle_async_request(asked)
        body = await found.aread()
        if found.status_code != 200:
            kept = {name: found.headers[name] for name in HANDED_BACK if name in found.headers}
            raise Refused(Response(body, found.status_code, {**kept, "cache-control": "no-store"}))
        answer: dict[str, Any] = found.json()
        return answer
