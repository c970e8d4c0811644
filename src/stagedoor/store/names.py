"""Names in listings: which of them a door can serve, how they are sorted, and where the next page starts."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..core.errors import InvalidTarget
from ..core.messages import Item, List
from ..core.paths import OWN_PREFIX, check_key

MAX_REPORTED = 1000
"""Most left-out names that one process writes to its log."""

_log = logging.getLogger("stagedoor")


def is_usable(name: str) -> bool:
    """Can a door serve what has this name in a store? If not, the log says why.

    Args:
        name: of an object or, ending with a slash, of a folder.
    """
    if name.startswith(OWN_PREFIX):
        return False
    try:
        check_key(name)
    except InvalidTarget as error:
        report_left_out(repr(name), str(error))
        return False
    return True


_reported: set[tuple[str, str]] = set()


def report_left_out(what: str, why: str) -> None:
    """Log what a listing leaves out, each thing once and `MAX_REPORTED` in all."""
    if len(_reported) < MAX_REPORTED and (what, why) not in _reported:
        _reported.add((what, why))
        _log.warning("left out of a listing: %s: %s", what, why)
        if len(_reported) == MAX_REPORTED:
            _log.warning("left out of listings: %d names were reported; no more will be", MAX_REPORTED)


def forget_reported() -> None:
    """Report everything again, as after a start."""
    _reported.clear()


def usable(entries: Iterable[Item | str]) -> tuple[Item | str, ...]:
    """Those objects and folders that a door can serve."""
    return tuple(one for one in entries if is_usable(one if isinstance(one, str) else one.key))


def as_bytes(wish: List) -> tuple[bytes, bytes]:
    """`prefix` and `after` of a wish in UTF-8, by which names are sorted.

    Raises:
        InvalidTarget: one of them is not valid Unicode, so no name can be compared with it.
    """
    try:
        return wish.prefix.encode(), wish.after.encode()
    except UnicodeEncodeError:
        raise InvalidTarget("the prefix or the cursor of the listing is not valid Unicode text") from None


def resume_after(last: Item | str) -> str:
    """The `after` with which the next page starts behind this entry; behind a folder, all that is in it is skipped."""
    return last + "\U0010ffff" if isinstance(last, str) else last.key
