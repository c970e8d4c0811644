"""Evidence: what speaks against a site, and the sign that a question cannot be answered here."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

State: TypeAlias = Literal["good", "found", "note", "skipped", "failed"]


class Evidence(NamedTuple):
    """A request, and the answer that it should not have got.

    Attributes:
        asked, got: in words, without credentials.
        sure: False if it proves nothing, but is worth a thought.
    """

    asked: str
    got: str
    sure: bool = True


class SkipError(Exception):
    """The question cannot be answered here; the message says why, and what would help."""
