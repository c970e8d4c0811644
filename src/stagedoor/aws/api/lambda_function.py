"""The Lambda function behind `/-/*`: it answers as the gateway does, one event after the other.

Settings come from `stagedoor.toml` in the zip; what only the deployment knows, from environment variables
(STAGEDOOR_SITE_URL, …); secrets, from SSM Parameter Store or Secrets Manager when the function starts. The variable
ENTRANCE_SECRET holds the secret by which CloudFront is recognised, or the name under which AWS keeps it.

Both entrances give the same rights: each request is decided on its own credential.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ...core import replies
from ...core.drivers import run
from ...core.endpoints.arguments import MAX_BODY_BYTES
from ...core.errors import InvalidRequest, SettingsError, StagedoorError, Unavailable
from ...core.issuers import Outages
from ...core.messages import Reply, Request
from ...outside import aws
from ...settings import Settings, load
from ...settings.site import leeways, make_door
from ..events import Event
from .driver import Outside
from .event import Incoming, read, write
from .taken_back import TakenBackAtDynamo

ENTRANCE_VARIABLE = "ENTRANCE_SECRET"
TRY_AGAIN = 5.0
"""Seconds until a function that could not start tries again; until then it sends no request to AWS."""

_FILE = Path(__file__).parents[3] / "stagedoor.toml"
_log = logging.getLogger("stagedoor")


class Function:
    """Answers the requests of one site.

    Args:
        settings: of the site.
        entrance: see `event.read`.

    Raises:
        SettingsError: see `with_shared_keys`.
        InvalidKey, StoreRefused, Unavailable: the keys of passes cannot be read.
    """

    def __init__(self, settings: Settings, entrance: bytes | None = None) -> None:
        self.settings, self.entrance = with_shared_keys(settings), entrance
        self.outside = Outside(self.settings)
        state = self.outside.state
        self.door = make_door(self.settings, TakenBackAtDynamo(state, leeways(settings)) if state else None)
        self._outages = Outages()

    def answer(self, incoming: Incoming, now: float) -> Reply:
        """Answer one request at `now`, in epoch seconds. What goes wrong on our side is reported in the log alone."""
        request = incoming.request
        self.outside.begin(now)
        refusal = self._refusal(incoming)
        if refusal is not None:
            return refusal._replace(headers=self.door.dressed(request, refusal.headers))
        self._keep_keys_fresh(request, now)
        answer = run(self.door.answer(request, now), self.outside)
        for keys in self._outages.changes(self.door.tokens.issuers.values()):
            _log.warning("%s", keys.news)
        assert isinstance(answer, Reply), "the door served an object under /-/"
        return answer

    def _refusal(self, incoming: Incoming) -> Reply | None:
        """The answer to a request that the door need not see."""
        request = incoming.request
        if incoming.bypassed:
            return replies.problem(403, "entrance", f"send requests to {self.settings.url}, not to the API behind it")
        if incoming.refused is not None:
            return self.door.problem(request, 400, incoming.refused.code, str(incoming.refused))
        if not request.path.startswith(b"/-/"):
            return self.door.problem(request, 404, "not-found", replies.NOT_FOUND)
        too_large = replies.judge_headers(request.headers)
        if too_large is not None:
            return too_large
        if request.method == "POST" and request.path in self.door.endpoints and len(request.body) > MAX_BODY_BYTES:
            return replies.problem(413, "body", f"send at most {MAX_BODY_BYTES} bytes")
        return None

    def _keep_keys_fresh(self, request: Request, now: float) -> None:
        """Fetch the issuers' keys again from time to time, so that a withdrawn key stops counting.

        Nothing runs between requests, so one request waits for it.
        """
        if not {b"authorization", b"cookie"}.isdisjoint(request.headers) or request.query:
            for keys in self.door.tokens.issuers.values():
                if keys.keys and keys.stale(now):
                    run(keys.refresh(now), self.outside)


def with_shared_keys(settings: Settings) -> Settings:
    """Settings whose session keys are the same at every instance of the function: those that are set, or none.

    Raises:
        SettingsError: none are set, and listings need one.
    """
    if not settings.session_keys_are_temporary:
        return settings
    if settings.store is not None:
        raise SettingsError(
            "any instance of the function may be asked for the next page of a listing, so all need the same key",
            setting="login.session_keys",
            mend='["ssm:/stagedoor/session-key"], made with: openssl rand -base64 48',
        )
    return replace(settings, session_keys=())


# --- Lambda


class _Starter:
    """Starts the one `Function` of this process, again after a while if that fails."""

    def __init__(self) -> None:
        self._function: Function | None = None
        self._error: StagedoorError | None = None
        self._failed_at = 0.0

    def function(self) -> Function:
        """Return the function.

        Raises:
            StagedoorError: it cannot start, or could not less than `TRY_AGAIN` ago.
        """
        if self._function is None:
            if self._error is not None and time.monotonic() - self._failed_at < TRY_AGAIN:
                raise self._error
            try:
                self._function = start(_FILE, os.environ)
            except StagedoorError as error:
                self._error, self._failed_at = error, time.monotonic()
                _log.error("%s: %s", error.code, error)
                raise
        return self._function


_starter = _Starter()


def start(file: Path, environ: Mapping[str, str]) -> Function:
    """Make the function that a settings file and environment variables describe.

    Raises:
        SettingsError: a setting is wrong.
        InvalidKey, StoreRefused, Unavailable: a secret cannot be read.
    """
    settings = load(file, environ)
    secret = environ.get(ENTRANCE_VARIABLE)
    if secret and secret.startswith(tuple(f"{scheme}:" for scheme in aws.SCHEMES)):
        return Function(settings, aws.read_secret(secret, settings.aws_region).strip() or None)
    return Function(settings, secret.encode() if secret else None)


def handler(event: Event, context: object = None) -> Event:  # noqa: ARG001 - Lambda's signature
    """Answer one event of the HTTP API. Every exception becomes an answer too, which gives nothing away."""
    began, incoming, logged = time.perf_counter(), None, True
    try:
        function = _starter.function()
        logged = function.settings.access_log != "off"
        incoming = read(event, function.entrance)
        reply = function.answer(incoming, time.time())
    except InvalidRequest as error:
        reply = replies.problem(400, error.code, str(error))
    except Unavailable as error:
        after = ((b"retry-after", b"%d" % error.retry_after),)
        reply = replies.problem(503, error.code, "this site is not ready; try again in a moment", extra=after)
    except Exception as error:
        if not isinstance(error, StagedoorError):
            _log.exception("a fault of ours; the request was refused")
        reply = replies.fault()
    if logged:
        _log_access(incoming, reply, time.perf_counter() - began)
    return write(reply, incoming.request.method if incoming else "")


def _log_access(incoming: Incoming | None, reply: Reply, seconds: float) -> None:
    """Write one line, with the member names of the gateway's access log; it holds no query, cookie or referrer."""
    request = incoming.request if incoming else Request("-", b"-", b"", {}, b"", "-")
    line = {
        "client": request.client,
        "method": request.method,
        "path": request.path.decode("latin-1"),
        "status": reply.status,
        "bytes": len(reply.body),
        "ms": round(seconds * 1000, 2),
        "caller": reply.caller,
        "reason": reply.reason,
        "request": incoming.id if incoming else "-",
    }
    sys.stdout.write(json.dumps(line) + "\n")


if _FILE.exists():  # now, while a function that starts has a whole processor
    sys.stdout.write(_FILE.with_name("bundle.json").read_text(encoding="utf-8") + "\n")
    with contextlib.suppress(StagedoorError):  # it is in the log, and the first request tries again
        _starter.function().outside.warm()
