"""What an entry of the catalogue may hold; checked whenever one is written or read, by file, table or command."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.errors import InvalidContent, InvalidTarget
from ..core.messages import Content
from ..core.paths import OWN_PREFIX, check_key

MAX_ID = 256
"""Characters; every door still accepts a path `/-/contents/{id}` of this length."""
MAX_BYTES = 65_536
"""UTF-8 bytes of all texts of an entry: a sixth of what DynamoDB takes, so that an entry fits into any database."""

COLUMNS = ("id", "key", "title", "content_type")
RESERVED = frozenset((*COLUMNS, "contentType", "attributes"))
"""Names that an attribute cannot have, because they are columns in CSV or members in JSON."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_URL = re.compile(r"(?:https?|s3)://", re.IGNORECASE)


def checked(entry: Content) -> Content:
    """Return the entry as a catalogue holds it, without its empty attributes.

    Args:
        entry: its fields may have any type, because files and tables that others wrote hold anything.

    Raises:
        InvalidContent: no request can name its id or its key, a field is not text, or it is too long.
    """
    try:
        _check_types(entry)
        _check_id(entry.id)
        _check_key(entry.key)
        if _CONTROL.search(entry.content_type):
            raise InvalidContent("its content type holds a control character")
        _check_names(entry)
        _check_size(entry)
    except InvalidContent as error:
        raise InvalidContent(f"entry {_quoted(entry.id)}: {error}") from None
    if "" in entry.attributes.values():
        return entry._replace(attributes={name: value for name, value in entry.attributes.items() if value})
    return entry


def checked_fields(fields: Iterable[Any]) -> Content:
    """Like `checked`, for the fields of an entry in the order of `Content`."""
    return checked(Content._make(fields))


def is_id(text: str) -> bool:
    """Can an entry have this id? If not, no catalogue need be asked for it."""
    try:
        _check_id(text)
    except InvalidContent:
        return False
    return True


def _check_types(entry: Content) -> None:
    for name, value in zip(COLUMNS, entry, strict=False):
        if not isinstance(value, str):
            raise InvalidContent(f"its {name} is not text")
    if not isinstance(entry.attributes, Mapping):
        raise InvalidContent("its attributes are not a table of names and texts")
    for name, value in entry.attributes.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidContent(f"its attribute {_quoted(name)} is not text")


def _check_id(content_id: str) -> None:
    """An id is one segment of a path that no door refuses (`core.paths`)."""
    if not 1 <= len(content_id) <= MAX_ID:
        raise InvalidContent(f"an id has 1 to {MAX_ID} characters")
    if "/" in content_id:
        raise InvalidContent("an id has no slash, because it is one segment of the path /-/contents/{id}")
    try:
        check_key(f"-/contents/{content_id}")
    except InvalidTarget as error:
        raise InvalidContent(f"no request can name this id: {error}") from None


def _check_key(key: str) -> None:
    if not key:
        raise InvalidContent("it has no key")
    if _URL.match(key):
        raise InvalidContent("its key is a URL; write the object's key alone, for example courses/lesson-1.mp4")
    if key.startswith("/"):
        raise InvalidContent(f"a key has no leading slash: {_quoted(key.lstrip('/'))}, not {_quoted(key)}")
    if key.startswith(OWN_PREFIX):
        raise InvalidContent(f"keys that start with {OWN_PREFIX!r} are never served")
    try:
        check_key(key)
    except InvalidTarget as error:
        raise InvalidContent(f"no request can name its key {_quoted(key)}: {error}") from None


def _check_names(entry: Content) -> None:
    for name in entry.attributes:
        if not name or name in RESERVED or _CONTROL.search(name):
            raise InvalidContent(f"an attribute cannot be called {_quoted(name)}")


def _check_size(entry: Content) -> None:
    texts = (*entry[:4], *entry.attributes, *entry.attributes.values())
    try:
        size = sum(len(text.encode()) for text in texts)
    except UnicodeEncodeError:
        raise InvalidContent("it holds bytes that are not UTF-8, or half a character") from None
    if size > MAX_BYTES:
        raise InvalidContent(f"it has {size} bytes; the limit is {MAX_BYTES}")


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
