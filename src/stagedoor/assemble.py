"""From settings to a door: what the gateway and the Lambda functions put together alike."""

from __future__ import annotations

import secrets
import time

from . import crypto
from .api import Api
from .door import Door, Site
from .openapi import description
from .pass_keys import open_passes
from .session import Sessions
from .settings import Settings
from .signing import Passes
from .tokens import Tokens


def make_door(settings: Settings) -> Door:
    """The door that these settings describe, with OpenSSL for signatures and all that there is under `/-/`.

    Raises:
        InvalidKey, StoreRefused, Unavailable: the keys of passes cannot be had.
    """
    site = Site(
        settings.url,
        settings.places,
        settings.index,
        settings.fallback,
        settings.login_page,
        settings.origins,
    )
    sessions = None
    if settings.session_keys:
        names = {issuer.issuer: issuer.name for issuer in settings.issuers}
        cookie = settings.places.session
        sessions = Sessions(settings.url, settings.session_keys, names, settings.session, cookie, settings.secure)
    keys, signer = open_passes(settings.passes, settings.aws_region)
    api = Api(
        secrets.token_bytes,
        crypto.Seal(*settings.seal_secrets),
        signer,
        settings.passes.max_lifetime,
        settings.passes.per_minute,
        listing=settings.store is not None,
        catalogue=settings.catalogue is not None,
        clock=time.perf_counter,
        description=description,
    )
    tokens = Tokens(settings.issuers, crypto)
    return Door(site, settings.policy, tokens, sessions, Passes(settings.url, keys), api.endpoints())
