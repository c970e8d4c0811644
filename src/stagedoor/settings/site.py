"""From settings to a door: the gateway and the Lambda functions put it together alike."""

from __future__ import annotations

import json
import secrets
import time
from functools import cache, partial
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from ..core import endpoints
from ..core.attempts import Attempts
from ..core.callers import TakenBack
from ..core.door import Door, Site
from ..core.endpoints import make_endpoints, openapi
from ..core.endpoints.issuing import Issuing
from ..core.endpoints.login import SignIn
from ..core.endpoints.revocations import Admins
from ..core.login import Login
from ..core.passes.verify import Passes
from ..core.refresh_tokens import RefreshTokens
from ..core.revocations import Revocations
from ..core.session import Sessions
from ..core.steady_time import SteadyTime
from ..core.tokens import Tokens
from ..keys import signatures
from ..keys.pass_keys import open_passes
from ..keys.sealing import Seal
from ..outside.trust import tls_context
from ..store import open_store
from ..store.port import Store
from . import Settings


def make_store(settings: Settings, *, cached: bool = True) -> Store:
    """Open the store that these settings name.

    Args:
        settings: of the site.
        cached: keep small objects in memory, as the settings say.
    """
    return open_store(
        settings.store,
        region=settings.region,
        endpoint=settings.endpoint,
        addressing=settings.addressing,
        trust=partial(tls_context, settings.ca),
        cache=settings.cache if cached else 0,
        fresh=settings.fresh,
    )


def make_door(settings: Settings, revocations: TakenBack | None = None) -> Door:
    """Make the door that these settings describe, with OpenSSL for signatures and all endpoints under `/-/`.

    Args:
        settings: of the site.
        revocations: what was taken back, as its driver knows it; None where nothing can be.

    Raises:
        InvalidKey, StoreRefused, Unavailable: the keys of passes cannot be read.
    """
    site = Site(
        settings.url,
        settings.token_sources,
        settings.index,
        settings.fallback,
        settings.login_page,
        settings.origins,
        settings.asked_headers,
        https_only=settings.tls is not None and urlsplit(settings.url).hostname != "localhost",
        signs_in=bool(settings.clients and settings.session_keys),
    )
    sessions = None
    if settings.session_keys:
        sessions = Sessions(
            settings.url,
            settings.signing_keys,
            settings.issuers,
            settings.policy.rules,
            settings.session,
            settings.token_sources.session,
            settings.secure,
            settings.renew,
        )
    keys, signer = open_passes(settings.passes, settings.aws_region)
    tokens, seal = Tokens(settings.issuers, signatures, steady=SteadyTime(time.monotonic)), Seal(*settings.seal_secrets)
    table = make_endpoints(
        settings.policy,
        entropy=secrets.token_bytes,
        seal=seal,
        issuing=Issuing(signer, settings.pass_lifetime, settings.passes_per_minute) if signer else None,
        listing=settings.store is not None,
        catalogue=settings.catalogue is not None,
        clock=time.perf_counter,
        description=description,
        sign_in=_sign_in(settings, tokens, seal) if site.signs_in else None,
        admins=_admins(settings),
        session=settings.session,
    )
    return Door(site, settings.policy, tokens, sessions, Passes(settings.url, keys), table, revocations)


def _admins(settings: Settings) -> Admins | None:
    if settings.admin is None:
        return None
    issuers = {name: one.url for one in settings.issuers for name in (one.name, one.url)}
    return Admins(settings.admin.refusal, issuers, settings.session)


def make_revocations(settings: Settings) -> Revocations | None:
    """An empty list of what was taken back, for a driver that fills it; None if these settings have no state."""
    if settings.state is None:
        return None
    return Revocations(leeways(settings), settings.stale)


def leeways(settings: Settings) -> dict[str, float]:
    """Issuer's exact URL -> seconds by which its clock may differ."""
    return {one.url: one.leeway for one in settings.issuers}


def _sign_in(settings: Settings, tokens: Tokens, seal: Seal) -> SignIn:
    """What signs people in at the issuers that these settings name."""
    cookie = settings.token_sources.session
    return SignIn(
        Login(settings.url, settings.clients, tokens, time.monotonic),
        Attempts(settings.url, seal, secrets.token_bytes, cookie, settings.secure),
        RefreshTokens(settings.url, seal, cookie, settings.secure),
    )


@cache
def openapi_document() -> dict[str, Any]:
    """The OpenAPI document for any site."""
    text = files(endpoints).joinpath("openapi.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def description(door: Door) -> dict[str, Any]:
    """The OpenAPI document of one site."""
    return openapi.describe(openapi_document(), door)
