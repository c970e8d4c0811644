"""From the arguments of `PrivateAssetBucket` to settings and keys, all of them known while the template is made.

What an edge function decides with is in its zip, and the zip is made before anything is deployed. So a value that
AWS will know only then (CDK calls it a token) cannot be used, and is refused here with what to do instead.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from aws_cdk import Token

from .. import crypto
from ..door import run
from ..edge.fetch import fetch
from ..errors import SettingsError
from ..issuers import IssuerKeys, is_cognito
from ..messages import Answered, Fetch, Wish
from ..settings import PREFIX, Settings, load
from ..tokens import Tokens
from . import scratch

SettingsLike: TypeAlias = Settings | Path | str
"""Settings that were loaded already, or the path of their file."""

UNKNOWN_ORIGIN = "https://distribution.invalid"
"""Stands for the origin of a site whose domain name CloudFront has yet to choose (RFC 2606 §2)."""
FETCH_WITHIN = 10.0
"""Seconds for an issuer to answer, while the template is made."""


def site_settings(
    settings: SettingsLike | None, user_pool_id: str | None, client_id: str | None, domain: str | None
) -> Settings:
    """Read what the site decides with.

    Args:
        settings: of the site; None: every user of the pool reads everything.
        user_pool_id, client_id: of Cognito; instead of settings.
        domain: the site's own; None: CloudFront chooses one.

    Raises:
        SettingsError: a value is missing, given twice, wrong or not known yet.
    """
    url = f"https://{known('custom_domain', domain)}" if domain else UNKNOWN_ORIGIN
    if settings is None:
        return _pool_settings(url, user_pool_id, client_id)
    if user_pool_id is not None or client_id is not None:
        raise SettingsError(
            "the settings say already whose tokens count",
            setting="user_pool_id",
            mend="leave user_pool_id and user_pool_client_id out, or the settings",
        )
    if isinstance(settings, Settings):
        if domain and settings.url != url:
            raise SettingsError(f"the site is {settings.url}, and its custom_domain {domain}", setting="site.url")
        return settings
    return load(settings, {**os.environ, PREFIX + "SITE_URL": url})


def known(name: str, value: str) -> str:
    """The value, if it is one already.

    Raises:
        SettingsError: AWS will know it only after this deployment.
    """
    if Token.is_unresolved(value):
        raise SettingsError(
            "this is made in the same app, and nobody knows its value until it is deployed; "
            "the edge function needs it now, for it is written into the function's code",
            setting=name,
            mend="deploy the stack that makes it first, then write its output here as plain text",
        )
    return value


def issuer_keys(settings: Settings, given: Mapping[str, bytes] | None) -> dict[str, bytes]:
    """JWKS document of each issuer, by its exact URL.

    Args:
        settings: with the issuers.
        given: documents that are here already; the others are asked for.

    Raises:
        SettingsError: an issuer does not answer with its keys.
    """
    found = dict(given or {})
    for source in Tokens(settings.issuers, crypto).issuers.values():
        if source.issuer.issuer not in found:
            found[source.issuer.issuer] = _published(source)
    return found


def _published(source: IssuerKeys) -> bytes:
    jwks = source.issuer.jwks or ""
    if jwks.startswith("file:"):
        return Path(unquote(urlsplit(jwks).path)).read_bytes()
    run(source.refresh(time.time()), _ask)
    if source.document is None:
        raise SettingsError(
            source.failure,
            setting="issuer_keys",
            mend="the edge function carries the issuer's keys: make the template where the issuer can be asked, "
            "or give them: issuer_keys={issuer: document}",
        )
    return source.document


def _ask(wish: Wish) -> Answered:
    assert isinstance(wish, Fetch)
    return fetch(wish, FETCH_WITHIN)


def _pool_settings(url: str, user_pool_id: str | None, client_id: str | None) -> Settings:
    for name, value in (("user_pool_id", user_pool_id), ("user_pool_client_id", client_id)):
        if not value:
            raise SettingsError(
                "this is missing: whose tokens count?",
                setting=name,
                mend="give user_pool_id and user_pool_client_id, or settings='stagedoor.toml'",
            )
        known(name, value)
    assert user_pool_id
    region = user_pool_id.partition("_")[0]
    china = ".cn" if region.startswith("cn-") else ""
    issuer = f"https://cognito-idp.{region}.amazonaws.com{china}/{user_pool_id}"
    if not is_cognito(issuer):
        raise SettingsError(
            f"{user_pool_id!r} is no id of a user pool", setting="user_pool_id", mend="for example eu-central-1_AbC123"
        )
    text = _ANY_USER.format(url=url, issuer=issuer, client=client_id)
    return load(scratch.write("stagedoor.toml", text.encode()), {})


_ANY_USER = """
[site]
url = "{url}"
[[issuers]]
issuer = "{issuer}"
audience = ["{client}"]
[tokens]
from = ["header", "cookie", "query"]
[[rules]]
path = "**"
allow = "signed-in"
"""
