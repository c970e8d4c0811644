"""What `init` knows of the providers that people use: what to ask for, and where its own addresses are registered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from ..core.issuers import DISCOVERY, cognito_issuer, is_cognito, is_safe_url

ENTRA = "login.microsoftonline.com"
GOOGLE = "https://accounts.google.com"


class Provider(NamedTuple):
    """A kind of provider.

    Attributes:
        name: as its maker writes it.
        question: for what names one issuer of this kind; "" if there is only one.
        callback: what the provider's page calls the address that people come back to.
        signed_out: what it calls the address after sign-out; "" if it knows none.
        note: what else has to be set there, for a comment; "" for nothing.
    """

    name: str
    question: str
    callback: str
    signed_out: str
    note: str


PROVIDERS: Mapping[str, Provider] = {
    "cognito": Provider(
        "Cognito",
        "id of the user pool, for example eu-central-1_AbC123",
        "Allowed callback URLs",
        "Allowed sign-out URLs",
        "The app client needs the authorization code grant and these scopes, and the pool a domain.",
    ),
    "google": Provider(
        "Google",
        "",
        "Authorized redirect URIs",
        "",
        "A web client at Google has a secret, also with PKCE. Google knows no groups; rules can ask for emails.",
    ),
    "entra": Provider(
        "Microsoft Entra ID",
        "directory (tenant) id",
        "Redirect URIs (platform Web)",
        "Redirect URIs, too",
        "Groups are in tokens only after Token configuration, Add groups claim; they are ids, not names.",
    ),
    "keycloak": Provider(
        "Keycloak",
        "URL of the realm, for example https://id.example.com/realms/staff",
        "Valid redirect URIs",
        "Valid post logout redirect URIs",
        "Groups and roles are in id tokens only with a mapper that adds them there.",
    ),
    "okta": Provider(
        "Okta",
        "issuer URI, for example https://example.okta.com/oauth2/default",
        "Sign-in redirect URIs",
        "Sign-out redirect URIs",
        "Groups are in id tokens only after a groups claim is set up.",
    ),
    "auth0": Provider(
        "Auth0",
        "domain, for example example.eu.auth0.com",
        "Allowed Callback URLs",
        "Allowed Logout URLs",
        "Roles are in id tokens only as a claim of your own, which an Action adds.",
    ),
    "other": Provider(
        "other",
        "issuer URL",
        "redirect URI",
        "post-logout redirect URI",
        "",
    ),
}
_ALSO_CALLED = {"microsoft": "entra", "azure": "entra", "aws": "cognito", "oidc": "other"}


def read_provider(text: str) -> tuple[str, str | None]:
    """Return the kind of provider that a word means, or the kind and issuer of an issuer URL.

    Raises:
        ValueError: it is neither.
    """
    word = text.strip().lower()
    kind = _ALSO_CALLED.get(word, word)
    if kind in PROVIDERS:
        return kind, None
    try:
        issuer = issuer_url(text)
    except ValueError:
        names = ", ".join(PROVIDERS)
        raise ValueError(f"{text!r} is not a provider: write one of {names}, or an issuer URL") from None
    return kind_of(issuer), issuer


def kind_of(issuer: str) -> str:
    """The kind of provider that an issuer is of, as far as its URL shows."""
    parts = urlsplit(issuer)
    host = parts.hostname or ""
    if is_cognito(issuer):
        return "cognito"
    if host == "accounts.google.com":
        return "google"
    if host == ENTRA:
        return "entra"
    if "/realms/" in parts.path:
        return "keycloak"
    ends = {".okta.com": "okta", ".oktapreview.com": "okta", ".auth0.com": "auth0"}
    return next((kind for end, kind in ends.items() if host.endswith(end)), "other")


def issuer_of(kind: str, text: str) -> str:
    """Return the issuer URL for what people write where their kind of provider is asked for.

    Raises:
        ValueError: the message says what to write.
    """
    text = text.strip()
    if kind == "entra" and re.fullmatch(r"[A-Za-z0-9.-]+", text) and text.lower() != ENTRA:
        text = f"https://{ENTRA}/{text}/v2.0"
    issuer = issuer_url(text)
    if kind == "cognito" and not is_cognito(issuer):
        raise ValueError(f"{text!r} is not a user pool: write its id, for example eu-central-1_AbC123")
    if kind == "keycloak" and "/realms/" not in issuer:
        raise ValueError(f"{text!r} is not a realm: write its URL, for example {issuer.rstrip('/')}/realms/NAME")
    if kind == "entra" and re.search(r"/(common|organizations|consumers)(/|$)", issuer):
        raise ValueError("that stands for the people of every tenant: write the id of yours")
    if kind == "auth0" and not urlsplit(issuer).path:
        issuer += "/"
    return issuer


def issuer_url(text: str) -> str:
    """Return the issuer for its URL, its discovery address, or the id of a Cognito user pool.

    Raises:
        ValueError: the text is none of them; the message says what to write.
    """
    text = text.strip().removesuffix(DISCOVERY)
    with suppress(ValueError):
        return cognito_issuer(text)
    if "://" not in text and re.match(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(/|$)", text):
        text = f"https://{text}"
    if not is_safe_url(text) or re.search(r"[\s?#]", text):
        raise ValueError(
            f"{text!r} is not an issuer: write its https URL, or a Cognito pool id like eu-central-1_AbC123"
            " (http is for this machine only)"
        )
    return text
