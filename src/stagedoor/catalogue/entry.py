"""What an entry of the catalogue may be. Whatever goes in or comes out, from file, table or command, passes here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.errors import InvalidContent, InvalidTarget
from ..core.messages import Content
from ..core.paths import OWN_PREFIX, check_key

MAX_ID = 256
"""Characters; with them `/-/contents/{id}` is still a path that every door reads."""
MAX_BYTES = 65_536
"""UTF-8 bytes of all texts of an entry: a sixth of what an item of DynamoDB may hold, so that it fits anywhere."""

COLUMNS = ("id", "key", "title", "content_type")
RESERVED = frozenset((*COLUMNS, "contentType", "attributes"))
"""What no attribute can be called, because it is a column in CSV or a member in JSON."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_URL = re.compile(r"(?:https?|s3)://", re.IGNORECASE)


def checked(entry: Content) -> Content:
    """The entry as a catalogue holds it: an attribute without a value is no attribute.

    Args:
        entry: its fields may be of any type; they come from other people's files and tables.

    Raises:
        InvalidContent: no request could name its id or its key, a field is no text, or it is too long.
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
        raise InvalidContent(f"entry {_short(entry.id)}: {error}") from None
    if "" in entry.attributes.values():
        return entry._replace(attributes={name: value for name, value in entry.attributes.items() if value})
    return entry


def made(fields: Iterable[Any]) -> Content:
    """The entry of these fields, in the order of `Content`'s, checked."""
    return checked(Content._make(fields))


def is_id(text: str) -> bool:
    """Can an entry have this id? What cannot be in a catalogue need not be looked for."""
    try:
        _check_id(text)
    except InvalidContent:
        return False
    return True


def _check_types(entry: Content) -> None:
    for name, value in zip(COLUMNS, entry, strict=False):
        if not isinstance(value, str):
            raise InvalidContent(f"its {name} is no text")
    if not isinstance(entry.attributes, Mapping):
        raise InvalidContent("its attributes are no table of names and texts")
    for name, value in entry.attributes.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidContent(f"its attribute {_short(name)} is no text")


def _check_id(id_: str) -> None:
    """One segment of a path, and one that no door refuses (`paths.decode`)."""
    if not 1 <= len(id_) <= MAX_ID:
        raise InvalidContent(f"an id has 1 to {MAX_ID} characters")
    if "/" in id_:
        raise InvalidContent("an id has no slash, for it is one segment of the path /-/contents/{id}")
    try:
        check_key(f"-/contents/{id_}")
    except InvalidTarget as error:
        raise InvalidContent(f"no request could name this id: {error}") from None


def _check_key(key: str) -> None:
    if not key:
        raise InvalidContent("it has no key")
    if _URL.match(key):
        raise InvalidContent("its key is a URL; write the object's key alone, for example courses/lesson-1.mp4")
    if key.startswith("/"):
        raise InvalidContent(f"a key has no leading slash: {_short(key.lstrip('/'))}, not {_short(key)}")
    if key.startswith(OWN_PREFIX):
        raise InvalidContent(f"keys that start with {OWN_PREFIX!r} are never served")
    try:
        check_key(key)
    except InvalidTarget as error:
        raise InvalidContent(f"no request could name its key {_short(key)}: {error}") from None


def _check_names(entry: Content) -> None:
    for name in entry.attributes:
        if not name or name in RESERVED or _CONTROL.search(name):
            raise InvalidContent(f"{_short(name)} cannot be the name of an attribute")


def _check_size(entry: Content) -> None:
    texts = (*entry[:4], *entry.attributes, *entry.attributes.values())
    try:
        size = sum(len(text.encode()) for text in texts)
    except UnicodeEncodeError:
        raise InvalidContent("it holds bytes that are no UTF-8, or half a character") from None
    if size > MAX_BYTES:
        raise InvalidContent(f"it has {size} bytes, and {MAX_BYTES} are the most")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
