"""From the arguments of `PrivateAssetBucket` to settings and keys.

An edge function has its settings in its zip, which is made before anything is deployed. So a value that is known only
after the deployment (CDK calls it a token) is refused here, with what to do instead.
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
from ..outside.trust import context_for
from ..settings import PREFIX, Settings, load
from . import scratch

KeyDocuments: TypeAlias = Mapping[str, bytes | str | Mapping[str, Any]]
"""Issuer's URL -> JWKS document, as it is published or as `json.loads` returns it."""

REGION = "us-east-1"
"""CloudFront takes certificates, firewalls and edge functions from this region alone, and uses them worldwide."""
UNKNOWN_ORIGIN = "https://distribution.invalid"
"""Placeholder for the origin of a site whose domain name CloudFront has yet to choose (RFC 2606 §2)."""
FETCH_WITHIN = 10.0
"""Seconds for an issuer to answer."""
_CLIENT_ID = re.compile(r"[\w+]{1,128}", re.ASCII)
"""Cognito User Pools API Reference, "UserPoolClientType"."""


def site_settings(
    settings: Path | str | None,
    user_pool_id: str | None,
    client_id: str | None,
    domain: str | None,
    *,
    updated_issuer: bool = False,
    documents: KeyDocuments | None = None,
) -> Settings:
    """Load the site's settings.

    Args:
        settings: path of the settings file; None: every user of the pool may read everything.
        user_pool_id, client_id: of Cognito, instead of a settings file.
        domain: the site's own; None: CloudFront chooses one.
        updated_issuer: the pool's tokens name its updated issuer.
        documents: the argument `issuer_keys`; an issuer of the pool that it names is one of the site.

    Raises:
        SettingsError: a value is missing, given twice, wrong or not known yet.
    """
    url = f"https://{known('custom_domain', domain)}" if domain else UNKNOWN_ORIGIN
    if settings is None:
        return _pool_settings(url, user_pool_id, client_id, updated_issuer, documents or {})
    if user_pool_id is not None or client_id is not None or updated_issuer:
        raise SettingsError(
            "the settings name the issuers already",
            setting="user_pool_id",
            mend="leave out user_pool_id, user_pool_client_id and updated_issuer, or the settings",
        )
    if not isinstance(settings, Path | str):
        # the API's function reads the same file
        raise SettingsError(
            "this is not a path", setting="settings", mend="give the path of the file: settings='stagedoor.toml'"
        )
    # the functions read secrets in their own region, wherever the bucket is
    return load(settings, {**os.environ, PREFIX + "SITE_URL": url, PREFIX + "SITE_REGION": REGION})


def overriding_variables() -> list[str]:
    """Names of the environment variables that override the settings file; their values may be secrets."""
    without_effect = (PREFIX + "SETTINGS", PREFIX + "SITE_URL", PREFIX + "SITE_REGION")
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in without_effect)


def known(name: str, value: str) -> str:
    """Return the value of an argument, which must be known already.

    Raises:
        SettingsError: it is known only after the deployment.
    """
    if Token.is_unresolved(value):
        raise SettingsError(
            "this is made in the same app, so its value is not known before the deployment; "
            "the edge function needs it now, because it is written into the function's code",
            setting=name,
            mend="deploy the stack that makes it first, then write its output here as plain text",
        )
    return value


def key_documents(settings: Settings, argument: KeyDocuments | None) -> dict[str, bytes]:
    """The argument `issuer_keys` as bytes: issuer's exact URL -> JWKS document.

    Raises:
        SettingsError: the settings have no such issuer, or a document is of another type.
    """
    issuers = [issuer.url for issuer in settings.issuers]
    for name in argument or {}:
        if name not in issuers:
            raise SettingsError(
                f"{name!r} is not an issuer of the settings",
                setting="issuer_keys",
                mend=f"each name is exactly one of these: {', '.join(issuers) or 'there are none'}",
            )
    return {name: _as_bytes(name, document) for name, document in (argument or {}).items()}


def _as_bytes(name: str, document: bytes | str | Mapping[str, Any]) -> bytes:
    if isinstance(document, Mapping):
        return json.dumps(document).encode()
    if isinstance(document, str):
        return document.encode()
    if not isinstance(document, bytes):
        raise SettingsError(
            f"the document of {name} is of the type {type(document).__name__}",
            setting="issuer_keys",
            mend="give the JWKS document as text, as bytes or as json.loads returns it",
        )
    return document


def issuer_keys(settings: Settings, known_documents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Fetch the JWKS document of every issuer.

    Args:
        settings: with the issuers.
        known_documents: issuer's exact URL -> document; the others are fetched.

    Returns:
        Issuer's exact URL -> document.

    Raises:
        SettingsError: an issuer does not answer with its keys.
    """
    documents = dict(known_documents)
    for keys in Tokens(settings.issuers, signatures).issuers.values():
        if keys.issuer.url not in documents:
            documents[keys.issuer.url] = _published(keys, settings.ca)
    return documents


def _published(keys: IssuerKeys, ca: str) -> bytes:
    jwks = keys.issuer.jwks or ""
    if jwks.startswith("file:"):
        return Path(unquote(urlsplit(jwks).path)).read_bytes()
    run(keys.refresh(time.time()), lambda wish: _fetch(wish, ca))
    if keys.document is None:
        # Cognito answers 400 for an unknown pool, and has no host for an unknown region
        doubt = "is the pool id right? If it is: " if is_cognito(keys.issuer.url) else ""
        raise SettingsError(
            keys.failure,
            setting="issuer_keys",
            mend=f"{doubt}the edge function carries the issuer's keys, so make the template where the issuer can be "
            'reached; or save them, and write jwks = "./jwks.json" below its [[issuers]] '
            "(without settings: issuer_keys={issuer: document})",
        )
    return keys.document


def _fetch(wish: Wish, ca: str) -> Answered:
    assert isinstance(wish, Fetch)
    return fetch(wish, FETCH_WITHIN, context_for(ca))


def _pool_settings(
    url: str, user_pool_id: str | None, client_id: str | None, updated_issuer: bool, documents: KeyDocuments
) -> Settings:
    pool, client = _id("user_pool_id", user_pool_id), _id("user_pool_client_id", client_id)
    if _is_pool(client):
        raise SettingsError(
            f"{client!r} is the id of a user pool",
            setting="user_pool_client_id",
            mend="are the two swapped? user_pool_id is the id of the pool, and this is the id of its app client",
        )
    if not _CLIENT_ID.fullmatch(client):
        raise SettingsError(
            f"{client!r} is not the id of an app client",
            setting="user_pool_client_id",
            mend="it is up to 128 letters, digits, _ and +: copy it from the pool's list of app clients",
        )
    try:
        original, updated = cognito_issuer(pool), cognito_issuer(pool, updated=True)
    except ValueError as error:
        raise SettingsError(str(error), setting="user_pool_id", mend="for example eu-central-1_AbC123") from error
    chosen = {updated} if updated_issuer else set()
    issuers = sorted(chosen.union({original, updated}.intersection(documents))) or [original]
    text = _ANY_USER.format(url=url, issuers="".join(_ISSUER.format(issuer=one, client=client) for one in issuers))
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


_ISSUER = """
[[issuers]]
issuer = "{issuer}"
audience = ["{client}"]
"""
_ANY_USER = """
[site]
url = "{url}"
{issuers}
[tokens]
from = ["header", "cookie", "query"]
[[rules]]
path = "**"
allow = "signed-in"
"""
