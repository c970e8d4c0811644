"""The function: what the gateway answers under `/-/`, for one event after the other.

Settings come from `stagedoor.toml` in the zip, what is known only at deployment from environment variables
(STAGEDOOR_SITE_URL, …), secrets from SSM Parameter Store or Secrets Manager when the function starts. Besides these
`ENTRANCE_SECRET` holds what CloudFront sends to show that it is CloudFront: the text, or where AWS keeps it.

The entrance makes no difference to what anybody may do: each request is decided on its own credential.
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
from ...core.messages import Reply, Request
from ...outside import aws
from ...settings import Settings, load
from ...settings.site import make_door
from .driver import Outside
from .event import Event, Read, read, written

ENTRANCE_VARIABLE = "ENTRANCE_SECRET"
MAX_HEADER_BYTES = 32_768
TRY_AGAIN = 5.0
"""Seconds until a function that could not start tries again; until then it asks nobody."""

_FILE = Path(__file__).parents[3] / "stagedoor.toml"
_log = logging.getLogger("stagedoor")


class Function:
    """A site that is ready to answer.

    Args:
        settings: of the site.
        entrance: see `event.read`.

    Raises:
        SettingsError: instances of the function could not agree with one another.
        InvalidKey, StoreRefused, Unavailable: the keys of passes cannot be had.
    """

    def __init__(self, settings: Settings, entrance: bytes | None = None) -> None:
        self.settings, self.entrance = checked(settings), entrance
        self.door = make_door(self.settings)
        self.outside = Outside(self.settings)
        self._told: dict[str, str] = {}

    def answer(self, asked: Read, now: float) -> Reply:
        """Answer one request; what goes wrong on our side is told to nobody but the log."""
        request = asked.request
        self.outside.begin()
        refused = self._refused(asked)
        if refused is not None:
            return refused._replace(headers=self.door.dressed(request, refused.headers))
        self._keep_keys_fresh(request, now)
        answer = run(self.door.answer(request, now), self.outside)
        self._tell_failures()
        assert isinstance(answer, Reply), "an object, though only /-/ is answered here"
        return answer

    def _tell_failures(self) -> None:
        """Say which issuer's keys could not be had, and why, once for each change."""
        for name, keys in self.door.tokens.issuers.items():
            if keys.failure != self._told.get(name, ""):
                self._told[name] = keys.failure
                _log.warning("%s", keys.failure or f"keys of issuer {name}: they are here again")

    def _refused(self, asked: Read) -> Reply | None:
        request = asked.request
        if asked.bypassed:
            return replies.problem(403, "entrance", f"ask at {self.settings.url}, which stands before this")
        if asked.refused is not None:
            return self.door.problem(request, 400, asked.refused.code, str(asked.refused))
        if not request.path.startswith(b"/-/"):
            return self.door.problem(request, 404, "not-found", "there is nothing of this name")
        size = sum(len(name) + len(value) for name, values in request.headers.items() for value in values)
        if size > MAX_HEADER_BYTES:
            return replies.problem(431, "headers", f"send less than {MAX_HEADER_BYTES} bytes of header")
        if request.method == "POST" and request.path in self.door.endpoints and len(request.body) > MAX_BODY_BYTES:
            return replies.problem(413, "body", f"send at most {MAX_BODY_BYTES} bytes")
        return None

    def _keep_keys_fresh(self, request: Request, now: float) -> None:
        """A key that its issuer has withdrawn stops to count. Nothing runs between requests, so one of them waits."""
        if not {b"authorization", b"cookie"}.isdisjoint(request.headers) or request.query:
            for keys in self.door.tokens.issuers.values():
                if keys.keys and keys.stale(now):
                    run(keys.refresh(now), self.outside)


def checked(settings: Settings) -> Settings:
    """Refuse settings with which one instance of the function could not read what another one has written.

    Raises:
        SettingsError: there are cursors, and no key that all instances know.
    """
    if not settings.session_keys_are_temporary:
        return settings
    if settings.store is not None:
        raise SettingsError(
            "pages of a listing go on at any instance of the function, which needs a key that all of them know",
            setting="login.session_keys",
            mend='["ssm:/stagedoor/session-key"], made with: openssl rand -base64 48',
        )
    return replace(settings, session_keys=())


# --- Lambda


class _Starting:
    """The one `Function` of this process, made as soon as it can be."""

    def __init__(self) -> None:
        self._function: Function | None = None
        self._failed: StagedoorError | None = None
        self._tried = -TRY_AGAIN

    def function(self) -> Function:
        """The function.

        Raises:
            StagedoorError: it could not be made, now or a moment ago.
        """
        if self._function is None:
            if self._failed is not None and time.monotonic() - self._tried < TRY_AGAIN:
                raise self._failed
            try:
                self._function = make(_FILE, os.environ)
            except StagedoorError as error:
                self._failed, self._tried = error, time.monotonic()
                _log.error("%s: %s", error.code, error)
                raise
        return self._function


_starting = _Starting()


def make(file: Path, environ: Mapping[str, str]) -> Function:
    """Make the function of a settings file and environment variables.

    Raises:
        SettingsError: a setting is wrong.
        InvalidKey, StoreRefused, Unavailable: a secret cannot be had.
    """
    settings = load(file, environ)
    secret = environ.get(ENTRANCE_VARIABLE)
    if secret and secret.startswith(tuple(f"{scheme}:" for scheme in aws.SCHEMES)):
        return Function(settings, aws.read_secret(secret, settings.aws_region).strip() or None)
    return Function(settings, secret.encode() if secret else None)


def handler(event: Event, context: object = None) -> Event:  # noqa: ARG001 - Lambda's signature
    """Answer one event of the HTTP API. Whatever happens there is an answer, and no exception tells anything."""
    started, asked, log = time.perf_counter(), None, True
    try:
        function = _starting.function()
        log = function.settings.access_log != "off"
        asked = read(event, function.entrance)
        reply = function.answer(asked, time.time())
    except InvalidRequest as error:
        reply = replies.problem(400, error.code, str(error))
    except Unavailable as error:
        after = ((b"retry-after", b"%d" % error.retry_after),)
        reply = replies.problem(503, error.code, "this site is not ready; try again in a moment", extra=after)
    except Exception as error:
        if not isinstance(error, StagedoorError):
            _log.exception("a fault of ours; the request was refused")
        reply = replies.problem(500, "fault", "something went wrong here; nothing was served")
    if log:
        _note(asked, reply, started)
    return written(reply, asked.request.method if asked else "")


def _note(asked: Read | None, reply: Reply, started: float) -> None:
    """One line for each request, with the names that the gateway's log has; no query, cookie or referrer is in it."""
    request = asked.request if asked else Request("-", b"-", b"", {}, b"", "-")
    line = {
        "client": request.client,
        "method": request.method,
        "path": request.path.decode("latin-1"),
        "status": reply.status,
        "bytes": len(reply.body),
        "ms": round((time.perf_counter() - started) * 1000, 2),
        "caller": reply.caller,
        "reason": reply.reason,
        "request": asked.id if asked else "-",
    }
    sys.stdout.write(json.dumps(line) + "\n")


if _FILE.exists():  # now, while a function that starts has the whole processor
    sys.stdout.write(_FILE.with_name("bundle.json").read_text(encoding="utf-8") + "\n")
    with contextlib.suppress(StagedoorError):  # said in the log; the first request tries again
        _starting.function().outside.warm()
