"""What is examined: the site, an object of it, and the tokens to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .wire import Origin

if TYPE_CHECKING:
    from ..settings import Settings


@dataclass(frozen=True, slots=True)
class Subject:
    """A site, and what the user gave for examining it.

    Attributes:
        origin: the site.
        path: an object that must not be public, as it is written in a request target.
        public: an object that anyone may read.
        token: of a caller who may read `path`, its owner.
        other: of a caller who may not.
        expired: an expired token of the owner.
        foreign: a token of the owner, from the same issuer, for another application.
        pass_target: path and query of a signed URL.
        bucket: URL of the bucket behind the site, without a trailing slash.
        keys: public keys of the issuer, as JWK.
        settings: the site's own, if it runs Stagedoor.
        cookie: name of the cookie that carries a token.
        query: name of the query parameter that carries a token; None if none does.
        session: name of the site's session cookie.
        admin: token of a caller who may take access back.
        spend: of a caller who may read `path`; it is taken back.
    """

    origin: Origin
    path: str | None = None
    public: str | None = None
    token: str | None = field(default=None, repr=False)
    other: str | None = field(default=None, repr=False)
    expired: str | None = field(default=None, repr=False)
    foreign: str | None = field(default=None, repr=False)
    pass_target: str | None = field(default=None, repr=False)
    bucket: str | None = None
    keys: tuple[Mapping[str, object], ...] = ()
    settings: Settings | None = None
    cookie: str = "token"
    query: str | None = None
    session: str = ""
    admin: str | None = field(default=None, repr=False)
    spend: str | None = field(default=None, repr=False)
