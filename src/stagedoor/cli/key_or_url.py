"""Keys, folders and URLs as people write them on the command line, read as the door would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core import paths
from ..core.errors import InvalidTarget
from .output import WrongUsage

if TYPE_CHECKING:
    from ..settings import Settings


def key_of(text: str, settings: Settings, notes: list[str]) -> str:
    """The key that the door would decide on.

    Args:
        text: a key, which is not percent-encoded, or a URL of the site.
        settings: the site.
        notes: gets what the person may have meant otherwise.

    Raises:
        WrongUsage: no object can have this key, or the URL is another site's.
    """
    try:
        asked = _decoded(text, settings)
        paths.check_key(asked)
    except InvalidTarget as error:
        raise WrongUsage(f"no object can have the key {text!r}: {error}") from None
    if "%" in asked and not is_url(text):
        notes.append("a key is not percent-encoded; for what a URL names, give the whole URL")
    key = paths.object_key(asked, settings.index)
    if not key:
        raise WrongUsage("the empty key and keys that start with '-/' are never served")
    return key


def url_of(text: str, settings: Settings, notes: list[str]) -> str:
    """The URL of an object; one that was given as a URL stays as it is, with its query.

    Arguments and errors are those of `key_of`.
    """
    key = key_of(text, settings, notes)
    if is_url(text):
        return text
    if "?" in text:
        notes.append("the '?' is part of the key; for a query, give the whole URL")
    return settings.url + paths.encode(key)


def prefix_of(text: str, settings: Settings) -> str:
    """What the keys of a listing or of a folder start with; arguments and errors as for `key_of`."""
    try:
        asked = _decoded(text, settings)
        paths.check_key(f"{asked}x")  # what looks like a dot segment may be the beginning of a name
    except InvalidTarget as error:
        raise WrongUsage(f"no key can start with {text!r}: {error}") from None
    return asked


def is_url(text: str) -> bool:
    """Was a URL given, and not a key?"""
    return text.startswith(("https://", "http://"))


def check_site(url: str, settings: Settings) -> None:
    """Refuse a URL of another site.

    Raises:
        WrongUsage: it is one.
    """
    if not url.startswith(settings.url + "/"):
        raise WrongUsage(f"that is not a URL of this site ({settings.url}): give the key itself")


def _decoded(text: str, settings: Settings) -> str:
    if not is_url(text):
        return text.removeprefix("/")
    check_site(text, settings)
    path = text.removeprefix(settings.url).partition("?")[0].partition("#")[0]
    return paths.decode(path.encode(errors="surrogateescape"))
