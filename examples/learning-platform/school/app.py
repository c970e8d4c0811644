"""One origin for all of it: the page, the services, and Stagedoor for every other path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from stagedoor import Settings

from .catalog import Catalog
from .delivery import Delivery, Refused
from .progress import Progress

WEB = Path(__file__).parent.parent / "web"


class Frontend:
    """The page, and what it has to know so that people can sign in.

    Args:
        settings: of Stagedoor; the first issuer is where people sign in.
        delivery: for signing out.
    """

    def __init__(self, settings: Settings, delivery: Delivery) -> None:
        self._settings, self._delivery = settings, delivery
        self._endpoints: tuple[str, str] | None = None
        self.routes = [
            Route("/", self._page),
            Route("/api/sign-in", self._sign_in),
            Route("/api/session", self._sign_out, methods=["DELETE"]),
            Mount("/web", StaticFiles(directory=WEB)),
        ]

    async def _page(self, _: Request) -> FileResponse:
        token = urlsplit((await self._provider())[1])
        policy = "; ".join((
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "media-src 'self'",
            f"connect-src 'self' {token.scheme}://{token.netloc}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ))  # fmt: skip
        headers = {"content-security-policy": policy, "cache-control": "no-cache", "referrer-policy": "same-origin"}
        return FileResponse(WEB / "index.html", headers=headers)

    async def _sign_in(self, _: Request) -> JSONResponse:
        authorize, token = await self._provider()
        client = min(self._settings.issuers[0].audience)
        return JSONResponse({"site": self._settings.url, "client": client, "authorize": authorize, "token": token})

    async def _sign_out(self, _: Request) -> Response:
        answer = Response(status_code=204)
        self._delivery.sign_out(answer)
        return answer

    async def _provider(self) -> tuple[str, str]:
        """Where to sign in, and where a code becomes a token (OpenID Connect Discovery 1.0 §4)."""
        if self._endpoints is None:
            issuer = self._settings.issuers[0].url
            try:
                async with httpx.AsyncClient(timeout=5) as client:
                    found = await client.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
                    told = found.raise_for_status().json()
                    self._endpoints = told["authorization_endpoint"], told["token_endpoint"]
            except (httpx.HTTPError, ValueError, KeyError):
                raise Refused.because(503, "provider", "the sign-in service does not answer; try again soon") from None
        return self._endpoints


def make_app(settings: Settings, folder: Path, courses: Path) -> Starlette:
    """The whole platform.

    Args:
        settings: of Stagedoor.
        folder: where the databases and the store's folder `files` are.
        courses: what the Course Catalog offers.
    """
    delivery = Delivery(settings)
    catalog = Catalog(folder / "courses.db", delivery)
    progress = Progress(folder / "progress.db", folder / "files", delivery)
    catalog.load(courses)
    progress.load()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        delivery.gateway.start()
        yield
        await delivery.gateway.aclose()

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        return error.answer

    routes = [
        *Frontend(settings, delivery).routes,
        *catalog.routes,
        *progress.routes,
        Mount("/", delivery.gateway),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={Refused: refused})
