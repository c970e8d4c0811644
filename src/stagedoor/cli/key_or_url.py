"""Arguments that are a key, the beginning of keys, or a URL of the site; read as the site reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import paths
from ..core.errors import InvalidTarget
from .options import WrongUsage

if TYPE_CHECKING:
    from ..settings import Settings


def key_of(text: str, settings: Settings, notes: list[str]) -> str:
    """Return the key that the site would decide about.

    Args:
        text: a key, which is not percent-encoded, or a URL of the site.
        settings: of the site.
        notes: receives hints where something else may have been meant.

    Raises:
        WrongUsage: no object can have this key, or the URL is another site's.
    """
    try:
        asked = _decoded(text, settings)
        paths.check_key(asked)
    except InvalidTarget as error:
        raise WrongUsage(f"no object can have the key {text!r}: {error}") from None
    if "%" in asked and not is_url(text):
        notes.append("a key is not percent-encoded: if you copied it from a URL, give the whole URL")
    key = paths.object_key(asked, settings.index)
    if not key:
        raise WrongUsage("the empty key and keys that start with '-/' are never served")
    return key


def url_of(text: str, settings: Settings, notes: list[str]) -> str:
    """Return the URL of an object; a URL stays as it is, with its query. Arguments and errors as for `key_of`."""
    key = key_of(text, settings, notes)
    if is_url(text):
        return text
    if "?" in text:
        notes.append("the '?' is part of the key: to sign a query, give the whole URL")
    return settings.url + paths.encode(key)


def prefix_of(text: str, settings: Settings) -> str:
    """Return the beginning of the keys of a listing or a folder; arguments and errors as for `key_of`."""
    try:
        asked = _decoded(text, settings)
        paths.check_key(f"{asked}x")  # `..` may be the beginning of a name
    except InvalidTarget as error:
        raise WrongUsage(f"no key can start with {text!r}: {error}") from None
    return asked


def is_url(text: str) -> bool:
    return text.startswith(("https://", "http://"))


def check_site(url: str, settings: Settings) -> None:
    """Raise `WrongUsage` if a URL is not one of this site."""
    if not url.startswith(settings.url + "/"):
        raise WrongUsage(f"that is not a URL of this site ({settings.url}): give the key itself")


def _decoded(text: str, settings: Settings) -> str:
    if not is_url(text):
        return text.removeprefix("/")
    check_site(text, settings)
    path = text.removeprefix(settings.url).partition("?")[0].partition("#")[0]
    return paths.decode(path.encode(errors="surrogateescape"))
