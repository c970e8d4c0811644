"""`stagedoor ls`: what somebody would see of the store."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from .key_or_url import prefix_of
from .options import Anonymous, Bearer, Claims, IssuerName, find_caller
from .output import SettingsFile, complain, say

if TYPE_CHECKING:
    from ..core.caller import Caller
    from ..core.messages import Item, Listed

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def command(
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="what the keys start with; default: all")] = "",
    claims: Claims = None,
    anonymous: Anonymous = False,
    bearer: Bearer = None,
    issuer: IssuerName = None,
    folders: Annotated[bool, typer.Option("--folders", help="one level: what lies deeper is told as folders")] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="stop after so many; default: all")] = None,
    file: SettingsFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on each line, named as S3 does")] = False,
) -> int:
    """list what somebody would see of the store.

    The rules are asked about every key, as by the site's own listing
    (/-/s3objects). Times are UTC.

    \b
    examples:
      stagedoor ls --as claims.json --folders courses/
      stagedoor ls --anonymous --limit 20
    """
    from ..settings import load

    settings = load(file)
    if settings.store is None:
        complain("error", "this site has no store, so there is nothing to list\n  name one in [site] store")
        return 1
    start, notes = prefix_of(prefix, settings), list[str]()
    caller = find_caller(claims, anonymous, bearer, issuer, settings, notes)
    from .services import pages

    total = _Total()
    with closing(pages(settings, caller, start, folders=folders, limit=limit)) as found:
        for page in found:
            total.add(page)
            if page.found:
                _say_page(page, as_json)
    for note in notes:
        complain("note", note)
    if not as_json:
        complain("", total.told(caller))
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

    def told(self, caller: Caller) -> str:
        folders = self.names - self.objects
        parts = [f"{_count(self.objects, 'object')}, {_size(self.size)}"] * bool(self.objects)
        parts += [_count(folders, "folder")] * bool(folders)
        who = caller.label or "everybody"
        if not parts:
            return f"nothing here that {who} may see\n  what the rules say to a key: stagedoor explain"
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


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
