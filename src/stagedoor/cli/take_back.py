"""What each door can and cannot take back, of those doors at which these settings can be asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..settings import Settings

WITHIN = 5
"""Seconds until every gateway obeys."""


class TakesBack(NamedTuple):
    """What one door can take back.

    Attributes:
        door: its name.
        what: credentials that it takes.
        within: seconds until it refuses what was taken back; None: not before it ends.
        detail: what else there is to know, in words; "" if nothing.
    """

    door: str
    what: tuple[str, ...]
    within: int | None
    detail: str = ""

    @property
    def words(self) -> str:
        when = "not before they end" if self.within is None else f"within {self.within} s"
        return f"{when}; {self.detail}" if self.detail else when


def doors(settings: Settings) -> Iterator[TakesBack]:
    """Name the doors, each with what it can take back.

    Args:
        settings: of the site. They do not say at which doors they will be asked, but some cannot be.
    """
    if settings.issuers:
        yield _gateway(settings)
        if settings.state is not None:
            detail = "as at the gateway; it takes nothing back itself"
            yield TakesBack("your program's Guard", ("sessions", "tokens"), WITHIN, detail)
        if _fits_aws(settings):
            shared = () if settings.session_keys_are_temporary else ("sessions",)
            detail = "it asks no state"
            if shared and settings.clients:
                detail += f"; sessions from a sign-in not beyond {2 * settings.renew:g} s without renewal"
            yield TakesBack("edge", (*shared, "tokens"), None, detail)
            yield _api(settings, (*shared, "tokens"))
    if settings.passes.key_id is not None or settings.passes.public_keys:
        way_out = "all of one key at once: take it out of [passes] public_keys"
        yield TakesBack("every door", ("passes",), None, way_out)


def _gateway(settings: Settings) -> TakesBack:
    what = ("sessions", "tokens") if settings.session_keys else ("tokens",)
    if settings.state is None:
        return TakesBack("gateway", what, None, "name a place to remember what is taken back: [state] url")
    detail = f"when the state has not answered for {settings.stale:g} s, nobody gets in who has to be known (503)"
    return TakesBack("gateway", what, WITHIN, detail)


def _api(settings: Settings, what: tuple[str, ...]) -> TakesBack:
    if settings.state is None or not settings.state.startswith("dynamodb:"):
        return TakesBack("API on AWS", what, None, "it remembers in DynamoDB alone")
    return TakesBack("API on AWS", what, WITHIN, "when the state does not answer, nobody gets in (503)")


def _fits_aws(settings: Settings) -> bool:
    """Can these settings be deployed to AWS? There the construct may name the store."""
    s3 = settings.store is None or settings.store.startswith("s3://")
    return settings.secure and s3 and settings.endpoint is None
