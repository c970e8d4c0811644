"""A sign-in that has begun: where the browser is sent, and what it is to remember."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs

from . import cookies
from .wire import Answer


class Begun(NamedTuple):
    """A sign-in that has begun.

    Attributes:
        target: what was asked for.
        answer: which redirects to the provider.
    """

    target: str
    answer: Answer

    @property
    def location(self) -> str:
        return self.answer.field("location")

    @property
    def provider(self) -> str:
        """The provider's address without its query."""
        return self.location.partition("?")[0]

    def parameters(self, name: str) -> list[str]:
        """The values of a parameter for the provider."""
        return self.query.get(name, [])

    @property
    def query(self) -> dict[str, list[str]]:
        """All that the provider is told; the address may be no URL at all."""
        return parse_qs(self.location.partition("#")[0].partition("?")[2])

    @property
    def state(self) -> str:
        return "".join(self.parameters("state")[:1])

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that remember it in the browser."""
        return cookies.named(self.answer)
