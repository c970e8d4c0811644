"""`stagedoor ls`: the objects that a caller may read."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from .key_or_url import prefix_of
from .options import Anonymous, Bearer, ClaimsFile, IssuerName, SettingsFile, find_caller, load_settings
from .output import complain, remark, say

if TYPE_CHECKING:
    from ..core.caller import Caller
    from ..core.messages import Item, Listed

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def command(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="how the keys begin; default: all keys")] = "",
    claims: ClaimsFile = None,
    anonymous: Anonymous = False,
    bearer: Bearer = None,
    issuer: IssuerName = None,
    folders: Annotated[bool, typer.Option("--folders", help="one level, with folders for what lies deeper")] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="stop after N lines; default: show all")] = None,
    file: SettingsFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per line, with S3's names")] = False,
) -> int:
    """list the objects that a caller may read.

    The rules decide about every key, as in the site's own listing
    (/-/s3objects). Times are UTC.

    \b
    examples:
      stagedoor ls --as claims.json --folders courses/
      stagedoor ls --anonymous --limit 20
    """
    settings, notes = load_settings(file), list[str]()
    if settings.store is None:
        complain("error", "this site has no store, so there is nothing to list\n  name one in [site] store")
        return 1
    start = prefix_of(prefix, settings)
    caller = find_caller(claims, anonymous, bearer, issuer, settings, notes)
    from .services import pages

    total = _Total()
    with closing(pages(settings, caller, start, folders=folders, limit=limit)) as found:
        for page in found:
            total.add(page)
            if page.found:
                _say_page(page, as_json)
    complain("note", *notes)
    if not as_json:
        remark(total.summary(caller))
    return 0


class _Total:
    """What was listed so far."""

    def __init__(self) -> None:
        self.names = self.objects = self.size = 0
        self._cut = False

    def add(self, page: Listed) -> None:
        items = [one for one in page.found if not isinstance(one, str)]
        self.names += len(page.found)
        self.objects += len(items)
        self.size += sum(item.size for item in items)
        self._cut = page.resume is not None

    def summary(self, caller: Caller) -> str:
        folders = self.names - self.objects
        parts = [f"{_count(self.objects, 'object')}, {_size(self.size)}"] * bool(self.objects)
        parts += [_count(folders, "folder")] * bool(folders)
        who = caller.label or "anyone"
        if not parts:
            return f"nothing here that {who} may see\n  see why: stagedoor explain"
        rest = "; there may be more: raise --limit" if self._cut else ""
        return f"{' and '.join(parts)} that {who} may see{rest}"


def _say_page(page: Listed, as_json: bool) -> None:
    if as_json:
        from ..core.endpoints.s3objects import as_s3

        lines = ({"Prefix": one} if isinstance(one, str) else as_s3(one) for one in page.found)
        print("\n".join(map(json.dumps, lines)))
    else:
        say("\n".join(map(_row, page.found)))
    sys.stdout.flush()


def _row(one: Item | str) -> str:
    if isinstance(one, str):
        return f"{'folder':>9}  {'':16}  {one}"
    return f"{_size(one.size):>9}  {time.strftime('%Y-%m-%d %H:%M', time.gmtime(one.modified))}  {one.key}"


def _size(size: float) -> str:
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
