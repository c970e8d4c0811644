"""Names in listings: which of them a door can serve, how they are ordered, and where the next page begins."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..core.errors import InvalidTarget
from ..core.messages import Item, List
from ..core.paths import OWN_PREFIX, check_key

MAX_NOTED = 1000
"""Names left out of listings that the log of one process reports."""

_log = logging.getLogger("stagedoor")


def is_usable(name: str) -> bool:
    """Can this name, found in a store, be asked for at a door? If not, the log names it.

    Args:
        name: of an object or, with a slash at its end, of a folder.
    """
    if name.startswith(OWN_PREFIX):
        return False
    try:
        check_key(name)
    except InvalidTarget as error:
        note_left_out(repr(name), str(error))
        return False
    return True


_noted: set[tuple[str, str]] = set()


def note_left_out(what: str, why: str) -> None:
    """Say in the log what listings leave out: each thing once, and not without end."""
    if len(_noted) < MAX_NOTED and (what, why) not in _noted:
        _noted.add((what, why))
        _log.warning("left out of a listing: %s: %s", what, why)
        if len(_noted) == MAX_NOTED:
            _log.warning("left out of listings: more than can be said here; from now on nothing is")


def forget_what_was_noted() -> None:
    """Say everything anew, as after a start."""
    _noted.clear()


def usable(entries: Iterable[Item | str]) -> tuple[Item | str, ...]:
    """Those of the objects and folders that `is_usable`."""
    return tuple(one for one in entries if is_usable(one if isinstance(one, str) else one.key))


def in_bytes(wish: List) -> tuple[bytes, bytes]:
    """The prefix and `after` of a wish as the bytes by which names are sorted.

    Raises:
        InvalidTarget: one of them is no valid Unicode text, so that no name could be compared with it.
    """
    try:
        return wish.prefix.encode(), wish.after.encode()
    except UnicodeEncodeError:
        raise InvalidTarget("the listing's prefix, or the place to go on from, is not valid Unicode text") from None


def resume_after(last: Item | str) -> str:
    """`after` of the page that follows one whose last entry is this; a folder does not come again."""
    return last + "\U0010ffff" if isinstance(last, str) else last.key
