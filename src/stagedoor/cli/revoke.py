"""`stagedoor revoke`: take access back, from a person, a session or a single token; or list what was taken back."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, SettingsFile, WrongUsage, load_settings
from .output import complain, remark, say, say_json

if TYPE_CHECKING:
    from ..core.messages import Entry
    from ..core.revocations import Kind, Revocation
    from ..settings import Settings
    from ..state.port import State

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def command(
    sub: Annotated[str, typer.Argument(metavar="SUB", help="whose access is taken back: their `sub`")] = "",
    issuer: Annotated[str, typer.Option(metavar="NAME", help="name or URL; default: the only one")] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help="bar the person until then: 7d, 12h, 2026-12-31T12:00Z; now lifts a bar")
    ] = "",
    sid: Annotated[str, typer.Option(metavar="SID", help="end one session, ours, or with --issuer the issuer's")] = "",
    jti: Annotated[str, typer.Option(metavar="JTI", help="refuse one token")] = "",
    list_: Annotated[bool, typer.Option("--list", help="show what was taken back")] = False,
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """take access back; every gateway obeys within five seconds.

    What the person has proved until now does not count any more: tokens and
    sessions. If they can still sign in at the issuer, they can come back;
    --until keeps them out. Signed URLs and cookies last until they end.

    \b
    examples:
      stagedoor revoke 5f7c-ann
      stagedoor revoke 5f7c-ann --issuer staff --until 7d
      stagedoor revoke --list
    """
    from ..state import open_state

    if sum(map(bool, (sub, sid, jti, list_))) != 1:
        raise WrongUsage("name one of SUB, --sid, --jti and --list")
    settings = load_settings(file)
    if settings.state is None:
        complain("error", "nothing can be taken back at this site\n  name a place to remember it: [state] url")
        return 1
    with closing(open_state(settings.state, region=settings.aws_region)) as state:
        if list_:
            return _list(state, as_json)
        moment = None if not until else _moment(until, time.time())
        return _revoke(settings, state, (sub, sid, jti), issuer, moment, as_json)


def _revoke(
    settings: Settings, state: State, named: tuple[str, str, str], issuer: str, until: float | None, as_json: bool
) -> int:
    from ..core.endpoints.revocations import revocation
    from ..core.revocations import to_text

    sub, sid, jti = named
    if until is not None and not sub:
        raise WrongUsage("--until goes with SUB")
    kind: Kind = "person" if sub else "session" if sid else "token"
    url = "" if sid and not issuer else _issuer(settings, issuer)
    now = max(time.time(), state.time())  # a clock that is behind would let in what was proved since
    found = revocation(kind, url, sub or sid or jti, now, until=until, session=settings.session)
    if until is not None:  # what ends later keeps its place
        found = found._replace(ends=max(found.ends, _end_of(state, found.name)))
    state.put(found.name, to_text(found), found.ends, now)
    if as_json:
        say_json(found._asdict())
        return 0
    say(_line(found))
    remark("gateways obey within 5 s; signed URLs and cookies last until they end, unless their public key is removed")
    return 0


def _end_of(state: State, name: str) -> float:
    """When the entry of a name ends; 0 if there is none."""
    return max((entry.ends for entry in _entries(state) if entry.name == name), default=0.0)


def _entries(state: State) -> Iterator[Entry]:
    after = 0
    while page := state.after(after):
        yield from page
        after = page[-1].sequence


def _list(state: State, as_json: bool) -> int:
    from ..core.revocations import from_text

    now, count = time.time(), 0
    for entry in _entries(state):
        try:
            found = from_text(entry.text)
        except ValueError as error:
            complain("warning", f"entry {entry.sequence} cannot be read: {error}; is it of a newer version?")
            continue
        if found.ends > now:
            count += 1
            say(json.dumps(found._asdict()) if as_json else _line(found))
    if not as_json:
        remark(f"{count:,} taken back" if count else "nothing was taken back")
    return 0


def _issuer(settings: Settings, name: str) -> str:
    """Exact URL of an issuer."""
    for one in settings.issuers:
        if name in (one.name, one.url) or (not name and len(settings.issuers) == 1):
            return one.url
    known = ", ".join(one.name for one in settings.issuers)
    raise WrongUsage(f"--issuer is one of: {known}")


def _moment(text: str, now: float) -> float:
    """Epoch seconds of a time, or of a span from now on."""
    if text == "now":
        return now
    span = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if span:
        return now + int(span[1]) * _UNITS[span[2]]
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsage(f"--until {text!r} is no time; write 7d, 12h, 2026-12-31T12:00Z or now") from None
    return (moment if moment.tzinfo else moment.astimezone()).timestamp()


def _line(one: Revocation) -> str:
    where = f" of {one.issuer}" if one.issuer else ""
    since = f", what goes back to {_time(one.before)} or earlier" if one.kind == "person" else ""
    return f"{one.kind} {one.id}{where}{since}; remembered until {_time(one.ends)}"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
