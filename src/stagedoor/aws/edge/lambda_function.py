"""The two functions of the bundle: `objects` for everything that is an object, `api` for `/-/*`.

They run where nothing can be installed: this file and what it imports are the standard library and the core. What
they decide with is `config.json` beside the package, written by the bundler.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from ...core import paths, replies
from ...core.door import Door
from ...core.drivers import run
from ...core.errors import InvalidTarget, Unavailable
from ...core.issuers import is_safe_url
from ...core.messages import Answered, Fetch, Fetched, Reply, Request, Serve, Wish
from .config import Config
from .event import Event, Malformed, read, written

FETCH_WITHIN = 1.5
"""Seconds that asking issuers for their keys may take in one request, of the five that the function has."""
MAX_TARGET_BYTES = 8192
"""CloudFront takes no longer URL ("Quotas")."""

_BESIDE = __file__.rpartition("/stagedoor/")[0]
with open(f"{_BESIDE}/config.json", encoding="utf-8") as _file:  # noqa: PTH123 - pathlib costs each cold start 3 ms
    _config = Config.read(json.load(_file))
_doors: dict[str, Door] = {}
if _config.url is not None:
    _doors[_config.url] = _config.door("")  # now, while a function that starts has the whole processor
print(json.dumps({"stagedoor": _config.version, "config": _config.hash}))  # noqa: T201 - one line for each cold start


def objects(event: Event, context: object = None) -> Any:  # noqa: ARG001 - Lambda's signature
    """Decide about an object: send the request on, for its key alone and without any credential, or answer it."""
    return _answered(event, _object)


def api(event: Event, context: object = None) -> Any:  # noqa: ARG001 - Lambda's signature
    """Let requests for `/-/…` go on to the API as they are, if their path can be read in one way only."""
    return _answered(event, _endpoint)


def _answered(event: Event, answer: Callable[[Request, Event, Door], Reply | Event]) -> Event:
    """Whatever happens there is an answer, and an exception never lets anybody in."""
    method = ""
    try:
        request, raw, domain = read(event)
        method = request.method
        made = answer(request, raw, _door(domain))
    except Malformed as error:
        made = replies.problem(400, error.code, str(error))
    except Exception as error:
        print(json.dumps({"stagedoor": _config.version, "fault": type(error).__name__}))  # noqa: T201 - CloudWatch
        made = replies.problem(500, "fault", "something went wrong here; nothing was served")
    return written(made, method) if isinstance(made, Reply) else made


def _object(request: Request, raw: Event, door: Door) -> Reply | Event:
    if len(request.path) + len(request.query) > MAX_TARGET_BYTES:
        return _too_long(door, request)
    answer = run(door.answer(request, time.time()), _Asking())
    _tell_failures(door)
    if isinstance(answer, Serve):
        return _sent_on(raw, answer)
    if answer.reason == "gallery":  # an API may have one; whoever asks S3 for the empty key gets a listing
        return _refusal(door, request, 404, "not-found", "there is nothing of this name")
    return answer


def _endpoint(request: Request, raw: Event, door: Door) -> Reply | Event:
    try:
        key = paths.decode(request.path)
    except InvalidTarget as error:
        return _refusal(door, request, 400, error.code, str(error))
    if not key.startswith(paths.OWN_PREFIX):
        return _refusal(door, request, 404, "not-found", "there is nothing of this name")
    uri = paths.encode(key)
    if len(uri) + len(request.query) > MAX_TARGET_BYTES:  # the canonical encoding can be three times as long
        return _too_long(door, request)
    return {**raw, "uri": uri}


def _too_long(door: Door, request: Request) -> Reply:
    return _refusal(door, request, 414, "target-too-long", f"an address has {MAX_TARGET_BYTES} bytes at most")


def _refusal(door: Door, request: Request, status: int, code: str, detail: str) -> Reply:
    made = door.problem(request, status, code, detail)
    return made._replace(headers=door.dressed(request, made.headers))


def _door(domain: str) -> Door:
    """The door for this distribution; without a domain of its own the site's origin is known only now."""
    name = _config.url or domain
    door = _doors.get(name)
    if door is None:
        _doors.clear()
        door = _doors[name] = _config.door(domain)
    return door


def _sent_on(raw: Event, serve: Serve) -> Event:
    """The same request for exactly the key that was authorised, without what the store has no use for."""
    headers = {name: fields for name, fields in raw["headers"].items() if name.lower() not in _CREDENTIALS}
    kept = {name: value for name, value in raw.items() if name != "body"}
    return {**kept, "uri": paths.encode(serve.key), "querystring": "", "headers": headers}


_CREDENTIALS = ("authorization", "cookie")


class _Asking:
    """Asks issuers for their keys, the one thing that is asked for here; the questions of one request share a limit."""

    def __init__(self) -> None:
        self._ends = 0.0

    def __call__(self, wish: Wish) -> Answered:
        if not isinstance(wish, Fetch):
            raise Unavailable("nothing but keys can be asked for here")
        if wish.url in _config.baked:
            return Fetched(_config.baked[wish.url])
        if not is_safe_url(wish.url):
            return Fetched(b"", "this is not an https address")
        self._ends = self._ends or time.monotonic() + FETCH_WITHIN
        from ...outside.fetch_sync import fetch  # heavy, and hardly ever needed

        return fetch(wish, self._ends - time.monotonic())


_told: dict[str, str] = {}


def _tell_failures(door: Door) -> None:
    """Say which issuer's keys could not be had, and why, or that they are here again: once for each change."""
    for name, keys in door.tokens.issuers.items():
        if keys.failure != _told.get(name, ""):
            _told[name] = keys.failure
            what = {"unanswered": name, "why": keys.failure} if keys.failure else {"answers": name}
            print(json.dumps({"stagedoor": _config.version, **what}))  # noqa: T201 - CloudWatch
