"""The two Lambda@Edge functions of the bundle: `objects` checks objects, `api` passes `/-/*` on to the API.

Nothing can be installed at Lambda@Edge, so this file and all that it imports use the standard library and our own
modules alone. What they decide with is in `config.json` beside the package, written by the bundler.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ...core import paths, replies
from ...core.door import Door
from ...core.drivers import run
from ...core.errors import InvalidRequest, InvalidTarget, Unavailable
from ...core.issuers import Outages, is_safe_url
from ...core.messages import Answered, Fetch, Fetched, Reply, Request, Serve, Wish
from ..events import Event
from .config import Config
from .event import read, write

FETCH_WITHIN = 1.5
"""Seconds that one request may spend on fetching issuers' keys; the function has five seconds."""

_FOLDER = __file__.rpartition("/stagedoor/")[0]
with open(f"{_FOLDER}/config.json", encoding="utf-8") as _file:  # noqa: PTH123 - pathlib costs each cold start 3 ms
    _config = Config(json.load(_file))
_doors: dict[str, Door] = {}
if _config.url is not None:
    _doors[_config.url] = _config.door("")  # now, while a function that starts has a whole processor
print(json.dumps({"stagedoor": _config.version, "config": _config.hash}))  # noqa: T201 - one line for each cold start


def objects(event: Event, context: object = None) -> Any:  # noqa: ARG001 - Lambda's signature
    """Decide about an object: send the request on for exactly its key and without credentials, or answer it."""
    return _answer(event, _object)


def api(event: Event, context: object = None) -> Any:  # noqa: ARG001 - Lambda's signature
    """Send a request for `/-/…` on to the API, credentials included, if its path can be read in one way only."""
    return _answer(event, _endpoint)


def _answer(event: Event, decide: Callable[[Request, Event, Door], Reply | Event]) -> Event:
    """Answer an event. Every exception becomes an answer too, and none lets a request through."""
    method = ""
    try:
        request, raw, domain = read(event)
        method = request.method
        answer = decide(request, raw, _door(domain))
    except InvalidRequest as error:
        answer = replies.problem(400, error.code, str(error))
    except Exception as error:
        print(json.dumps({"stagedoor": _config.version, "fault": type(error).__name__}))  # noqa: T201 - CloudWatch
        answer = replies.fault()
    return write(answer, method) if isinstance(answer, Reply) else answer


def _object(request: Request, raw: Event, door: Door) -> Reply | Event:
    answer = run(door.answer(request, time.time()), _KeyFetcher())
    _log_outages(door)
    if isinstance(answer, Serve):
        return _sent_on(raw, answer)
    return answer


def _endpoint(request: Request, raw: Event, door: Door) -> Reply | Event:
    try:
        key = paths.decode(request.path)
    except InvalidTarget as error:
        return _refusal(door, request, 400, error.code, str(error))
    if not key.startswith(paths.OWN_PREFIX):
        return _not_found(door, request)
    uri = paths.encode(key)
    if len(uri) + len(request.query) > replies.MAX_TARGET_BYTES:  # the canonical encoding can be three times as long
        reply = replies.target_too_long(door.page(request))
        return reply._replace(headers=door.dressed(request, reply.headers))
    return {**raw, "uri": uri}


def _not_found(door: Door, request: Request) -> Reply:
    return _refusal(door, request, 404, "not-found", replies.NOT_FOUND)


def _refusal(door: Door, request: Request, status: int, code: str, detail: str) -> Reply:
    reply = door.problem(request, status, code, detail)
    return reply._replace(headers=door.dressed(request, reply.headers))


def _door(domain: str) -> Door:
    """The door for this distribution. A site without a domain of its own learns its origin from the event."""
    origin = _config.url or domain
    door = _doors.get(origin)
    if door is None:
        _doors.clear()
        door = _doors[origin] = _config.door(domain)
    return door


def _sent_on(raw: Event, serve: Serve) -> Event:
    """The request for exactly the authorised key, without credentials, query and body."""
    headers = {name: fields for name, fields in raw["headers"].items() if name.lower() not in _CREDENTIALS}
    kept = {name: value for name, value in raw.items() if name != "body"}
    return {**kept, "uri": paths.encode(serve.key), "querystring": "", "headers": headers}


_CREDENTIALS = ("authorization", "cookie")


class _KeyFetcher:
    """Fetches issuers' keys, the only wish that is answered here. All fetches of one request share a time limit."""

    def __init__(self) -> None:
        self._ends = 0.0

    def __call__(self, wish: Wish) -> Answered:
        if not isinstance(wish, Fetch):
            raise Unavailable("only keys can be asked for at the edge")
        if wish.url in _config.key_files:
            return Fetched(_config.key_files[wish.url])
        if not is_safe_url(wish.url):
            return Fetched(b"", "this is not an https address")
        self._ends = self._ends or time.monotonic() + FETCH_WITHIN
        from ...outside.fetch_sync import fetch  # slow to import, and rarely needed

        return fetch(wish, self._ends - time.monotonic())


_outages = Outages()


def _log_outages(door: Door) -> None:
    for keys in _outages.changes(door.tokens.issuers.values()):
        name = keys.issuer.url
        what = {"unanswered": name, "why": keys.failure} if keys.failure else {"answers": name}
        print(json.dumps({"stagedoor": _config.version, **what}))  # noqa: T201 - CloudWatch
