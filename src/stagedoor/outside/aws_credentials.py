"""Credentials from botocore's chain, for an event loop: environment, profiles, SSO, web identity, roles.

Looking for them takes long and may ask other servers, so that happens in a thread; and ahead of their end, because
botocore renews those that end within fifteen minutes whenever it is asked.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, NamedTuple

from ..core.errors import StagedoorError, StoreRefused, StoreUnavailable
from . import aws
from .sigv4 import Credentials

LOOK_EVERY = 60.0
"""Seconds between two looks for newer credentials."""
LOOK_AGAIN = 1.0
"""The same, where there were none."""

_log = logging.getLogger("stagedoor")


class Found(NamedTuple):
    """What AWS's own tools would use here."""

    credentials: Credentials
    region: str | None
    endpoint: str | None
    dualstack: bool
    fips: bool


class Chain:
    """Keeps what was found, and looks again from time to time."""

    def __init__(self) -> None:
        self._found: Found | None = None
        self._failed: StagedoorError | None = None
        self._look_at = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def find(self) -> Found:
        """What holds now. Waits only for the first look, and after `doubt`.

        Raises:
            StoreRefused: there are no credentials.
            StoreUnavailable: the service that hands them out does not answer.
        """
        if asyncio.get_running_loop().time() >= self._look_at and self._looking is None:
            self._looking = asyncio.create_task(self._look())
        if self._found is None and self._looking is not None:
            await asyncio.shield(self._looking)
        if self._found is None:
            raise self._failed or StoreUnavailable("AWS credentials are not looked for any more")
        return self._found

    def doubt(self) -> None:
        """The store refused them: look again before the next question."""
        self._found, self._look_at = None, 0.0

    def close(self) -> None:
        """Look no more."""
        self._look_at = float("inf")
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._found, self._failed = await asyncio.to_thread(_find), None
            self._look_at = loop.time() + LOOK_EVERY
        except StagedoorError as error:
            self._failed, self._look_at = error, loop.time() + LOOK_AGAIN
            if self._found is not None:
                _log.warning("%s; the last ones stay in use", error)
        finally:
            self._looking = None


def _find() -> Found:
    try:
        session: Any = aws.session()
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials is not None else None
    except Exception as error:  # errors of many kinds: botocore's own, and those of its HTTP client
        raise StoreUnavailable(f"AWS credentials cannot be had: {type(error).__name__}: {error}") from error
    if frozen is None:
        raise StoreRefused("there are no AWS credentials (environment, profile or role)")
    if not all(text.isascii() and text.isprintable() for text in (frozen.access_key, frozen.token or "")):
        raise StoreRefused("the AWS credentials hold characters that no request can carry; is there a line end in one?")

    def setting(name: str) -> Any:
        return session.get_config_variable(name)

    return Found(
        Credentials(frozen.access_key, frozen.secret_key, frozen.token),
        setting("region"),
        os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
        bool(setting("use_dualstack_endpoint")),
        bool(setting("use_fips_endpoint")),
    )
