"""The two functions of the bundle: `objects` for everything that is an object, `api` for `/-/*`.

They run where nothing can be installed: this file and what it imports are the standard library and the core. What
they decide with is `config.json` beside the package, written by the bundler.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .. import paths, replies
from ..door import Door, run
from ..errors import InvalidTarget
from ..messages import Answered, Fetch, Fetched, Reply, Serve, Wish
from .config import Config
from .event import Event, Malformed, read, written

FETCH_WITHIN = 1.5
"""Seconds that asking an issuer for its keys may take, of the five that the function has."""
MAX_QUERY_BYTES = 8192
"""CloudFront takes no longer URL ("Quotas")."""

_config = Config.read(json.loads((Path(__file__).parents[2] / "config.json").read_text(encoding="utf-8")))
_doors: dict[str, Door] = {}
print(json.dumps({"stagedoor": _config.version, "config": _config.hash}))  # noqa: T201 - one line for each cold start


def objects(event: Event, context: object = None) -> Any:  # noqa: ARG001 - Lambda's signature
    """Decide about an object: send the request on, for its key alone and without any credential, or answer it."""
    method = ""
    try:
        request, raw, domain = read(event)
        method = request.method
        answer = run(_door(domain).answer(request, time.time()), _ask)
        if isinstance(answer, Reply):
            return written(answer, method)
        return _sent_on(raw, answer)
    except Malformed as error:
        return written(replies.problem(400, error.code, str(error)), method)
    except Exception as error:
        return _fault(error, method)


def api(event: Event, context: object = None) -> Any:  # noqa: ARG001 - Lambda's signature
    """Let requests for `/-/…` go on to the API as they are, if their path can be read in one way only."""
    method = ""
    try:
        request, raw, _ = read(event)
        method = request.method
        key = paths.decode(request.path)
        if not key.startswith(paths.OWN_PREFIX):
            return written(replies.problem(404, "not-found", "there is nothing of this name"), method)
        if len(request.query) > MAX_QUERY_BYTES:
            return written(replies.problem(414, "query", f"send a query of at most {MAX_QUERY_BYTES} bytes"), method)
        return {**raw, "uri": paths.encode(key)}
    except (Malformed, InvalidTarget) as error:
        return written(replies.problem(400, error.code, str(error)), method)
    except Exception as error:
        return _fault(error, method)


def _door(domain: str) -> Door:
    """The door for this distribution; without a domain of its own the site's origin is known only now."""
    door = _doors.get(domain)
    if door is None:
        _doors.clear()
        door = _doors[domain] = _config.door(domain, time.time())
    return door


def _sent_on(raw: Event, serve: Serve) -> Event:
    """The same request for exactly the key that was authorised, without what the store has no use for."""
    headers = {name: fields for name, fields in raw["headers"].items() if name not in ("authorization", "cookie")}
    return {**raw, "uri": paths.encode(serve.key), "querystring": "", "headers": headers}


def _ask(wish: Wish) -> Answered:
    """Ask an issuer for its keys: the one thing that this function ever asks for."""
    if not isinstance(wish, Fetch) or not wish.url.startswith(("https://", "http://")):
        return Fetched(b"", "nothing can be asked for here; the keys are those of the bundle")
    from .fetch import fetch  # heavy, and hardly ever needed

    return fetch(wish, FETCH_WITHIN)


def _fault(error: Exception, method: str) -> Event:
    print(json.dumps({"stagedoor": _config.version, "fault": type(error).__name__}))  # noqa: T201 - CloudWatch
    return written(replies.problem(500, "fault", "something went wrong here; nothing was served"), method)
