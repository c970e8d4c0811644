"""From the arguments of `PrivateAssetBucket` to settings and keys, all of them known while the template is made.

What an edge function decides with is in its zip, and the zip is made before anything is deployed. So a value that
AWS will know only then (CDK calls it a token) cannot be used, and is refused here with what to do instead.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from aws_cdk import Token

from ..core.drivers import run
from ..core.errors import SettingsError
from ..core.issuers import IssuerKeys, cognito_issuer, is_cognito
from ..core.messages import Answered, Fetch, Wish
from ..core.tokens import Tokens
from ..keys import signatures
from ..outside.fetch_sync import fetch
from ..settings import PREFIX, Settings, load
from . import scratch

KeyDocuments: TypeAlias = Mapping[str, bytes | str | Mapping[str, Any]]
"""JWKS document by issuer: as it is published, or as `json.loads` reads it."""

REGION = "us-east-1"
"""Where CloudFront wants certificate, firewall and edge functions to be; what they guard is worldwide."""
UNKNOWN_ORIGIN = "https://distribution.invalid"
"""Stands for the origin of a site whose domain name CloudFront has yet to choose (RFC 2606 §2)."""
FETCH_WITHIN = 10.0
"""Seconds for an issuer to answer, while the template is made."""
_CLIENT_ID = re.compile(r"[\w+]{1,128}", re.ASCII)
"""Cognito User Pools API Reference, "UserPoolClientType"."""


def site_settings(
    settings: Path | str | None, user_pool_id: str | None, client_id: str | None, domain: str | None
) -> Settings:
    """Read what the site decides with.

    Args:
        settings: path of the settings file of the site; None: every user of the pool reads everything.
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
    if not isinstance(settings, Path | str):
        # the API's function reads the file, and both have to decide the same
        raise SettingsError("this is no path", setting="settings", mend="give the file's: settings='stagedoor.toml'")
    # secrets at AWS are where the functions read them, wherever the bucket may be
    return load(settings, {**os.environ, PREFIX + "SITE_URL": url, PREFIX + "SITE_REGION": REGION})


def winning_variables() -> list[str]:
    """Names of the environment variables that win over a settings file here; their values may be secrets."""
    not_these = (PREFIX + "SETTINGS", PREFIX + "SITE_URL", PREFIX + "SITE_REGION")
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in not_these)


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


def given_keys(settings: Settings, given: KeyDocuments | None) -> dict[str, bytes]:
    """Key documents that are here already, by the exact URL of their issuer.

    Raises:
        SettingsError: whose they are is no issuer of the settings, or this is no document.
    """
    issuers = [issuer.url for issuer in settings.issuers]
    for name in given or {}:
        if name not in issuers:
            raise SettingsError(
                f"{name!r} is no issuer of the settings",
                setting="issuer_keys",
                mend=f"each name is exactly one of theirs: {', '.join(issuers) or 'there are none'}",
            )
    return {name: _document(name, one) for name, one in (given or {}).items()}


def _document(name: str, given: bytes | str | Mapping[str, Any]) -> bytes:
    if isinstance(given, Mapping):
        return json.dumps(given).encode()
    if isinstance(given, str):
        return given.encode()
    if not isinstance(given, bytes):
        raise SettingsError(
            f"what is given for {name} is of the type {type(given).__name__}",
            setting="issuer_keys",
            mend="give the JWKS document, as text, as bytes or as json.loads reads it",
        )
    return given


def issuer_keys(settings: Settings, given: Mapping[str, bytes]) -> dict[str, bytes]:
    """JWKS document of each issuer, by its exact URL.

    Args:
        settings: with the issuers.
        given: documents that are here already; the others are asked for.

    Raises:
        SettingsError: an issuer does not answer with its keys.
    """
    found = dict(given)
    for source in Tokens(settings.issuers, signatures).issuers.values():
        if source.issuer.url not in found:
            found[source.issuer.url] = _published(source)
    return found


def _published(source: IssuerKeys) -> bytes:
    jwks = source.issuer.jwks or ""
    if jwks.startswith("file:"):
        return Path(unquote(urlsplit(jwks).path)).read_bytes()
    run(source.refresh(time.time()), _ask)
    if source.document is None:
        # Cognito answers 400 for a pool that it does not have, and in a region that is none nobody answers
        doubt = "is the pool id right? If it is: " if is_cognito(source.issuer.url) else ""
        raise SettingsError(
            source.failure,
            setting="issuer_keys",
            mend=f"{doubt}the edge function carries the issuer's keys, so make the template where the issuer can be "
            'asked; or save them, and write jwks = "./jwks.json" below its [[issuers]] '
            "(without settings: issuer_keys={issuer: document})",
        )
    return source.document


def _ask(wish: Wish) -> Answered:
    assert isinstance(wish, Fetch)
    return fetch(wish, FETCH_WITHIN)


def _pool_settings(url: str, user_pool_id: str | None, client_id: str | None) -> Settings:
    pool, client = _id("user_pool_id", user_pool_id), _id("user_pool_client_id", client_id)
    if _is_pool(client):
        raise SettingsError(
            f"{client!r} is the id of a user pool",
            setting="user_pool_client_id",
            mend="are the two swapped? user_pool_id is the pool's, and this the id of its app client",
        )
    if not _CLIENT_ID.fullmatch(client):
        raise SettingsError(
            f"{client!r} is no id of an app client",
            setting="user_pool_client_id",
            mend="it has letters, digits, _ and +, and 128 at most: copy it from the pool's list of app clients",
        )
    try:
        issuer = cognito_issuer(pool)
    except ValueError as error:
        raise SettingsError(str(error), setting="user_pool_id", mend="for example eu-central-1_AbC123") from error
    text = _ANY_USER.format(url=url, issuer=issuer, client=client)
    return load(scratch.write("stagedoor.toml", text.encode()), {})


def _id(name: str, value: str | None) -> str:
    if not value:
        raise SettingsError(
            "this is missing: whose tokens count?",
            setting=name,
            mend="give user_pool_id and user_pool_client_id, or settings='stagedoor.toml'",
        )
    return known(name, value)


def _is_pool(text: str) -> bool:
    try:
        return bool(cognito_issuer(text))
    except ValueError:
        return False


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
