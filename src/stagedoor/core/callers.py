"""Who asks: the credential that decides, turned into a caller of whom nothing was taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from . import credentials
from .caller import ANONYMOUS, Caller
from .credentials import PASSES, Credential, Sources
from .errors import InvalidCredential, InvalidSession, InvalidToken, IssuerUnavailable, OutdatedSession
from .messages import Flow, Request
from .tokens import CallerCache, Tokens

if TYPE_CHECKING:
    from .session import Sessions  # an edge function without session keys starts without it


class TakenBack(Protocol):
    """Knows whose access was taken back: `revocations.Revocations`, which a door at the edge has no use for."""

    def check(self, caller: Caller, now: float, /) -> None:
        """Raise Revoked, or Unavailable where that is not known."""


class Callers:
    """Finds out who asks.

    Args:
        sources: where credentials may be.
        tokens: turns bearer tokens into callers.
        sessions: reads our session cookies; None where there are none.
        revocations: what was taken back; None where nothing can be.
    """

    def __init__(
        self, sources: Sources, tokens: Tokens, sessions: Sessions | None, revocations: TakenBack | None
    ) -> None:
        self._sources, self._tokens, self._sessions, self._revocations = sources, tokens, sessions, revocations
        self._in_session = CallerCache(tokens.remember)

    def identify(self, request: Request, now: float) -> Flow[tuple[Caller, Credential | None]]:
        """Find out whom the deciding credential names; a pass, which names nobody, is only found.

        Raises:
            InvalidCredential: the credential that decides is bad.
            Unavailable: it could not be checked.
        """
        credential = None
        try:
            credential = credentials.find(request.headers, request.query, self._sources)
            if credential is None or credential.kind in PASSES:
                return ANONYMOUS, credential
            caller = self._known(credential, now) or (yield from self.verify(credential.value, now))
        except (InvalidCredential, IssuerUnavailable) as error:
            place = credential.kind if credential is not None else getattr(error, "place", "")
            if isinstance(error, InvalidCredential):
                error.place = place
            if place != "cookie":
                raise
            return self._beside(request, error, now)
        return caller, credential

    def _beside(
        self, request: Request, error: InvalidCredential | IssuerUnavailable, now: float
    ) -> tuple[Caller, Credential]:
        """The caller of a good session beside a token cookie that does not verify: a neighbour could have planted it.

        Raises:
            InvalidCredential, IssuerUnavailable: the error, if there is none; an outdated session's comes first.
        """
        session = credentials.find_session(request.headers, self._sources)
        if session is None:
            raise error
        try:
            caller = self._known(session, now)
        except OutdatedSession:
            raise
        except InvalidCredential:
            raise error from None
        assert caller is not None  # only an unknown token has none
        return caller, session._replace(beside_bad_token=isinstance(error, InvalidCredential))

    def session(self, request: Request, now: float) -> Caller | None:
        """The caller of the session that a request brings, also of one that was taken back; None if it brings none.

        Raises:
            InvalidCredential: it is not valid, or not any more.
        """
        found = credentials.find_session(request.headers, self._sources)
        return None if found is None else self._verified(found, now)

    def session_owner(self, request: Request, now: float) -> Caller | None:
        """Whom the session that a request brings named once, even if it is stale, outdated or taken back; None: nobody.

        Only to go on with the session, or to end it.
        """
        try:
            found = credentials.find_session(request.headers, self._sources)
            return self._sessions.read(found.value, now) if found and self._sessions else None
        except InvalidCredential:
            return None

    def verify(self, token: str, now: float) -> Flow[Caller]:
        """Find out who brings a bearer token of which nothing was taken back.

        Raises:
            InvalidToken, Revoked: it proves nothing, or not any more.
            Unavailable: it could not be checked.
        """
        caller = yield from self._tokens.verify(token, now)
        if self._revocations is not None:
            self._revocations.check(caller, now)
        return caller

    def _known(self, credential: Credential, now: float) -> Caller | None:
        """The caller of a credential that can be checked without a wish; None for a token not seen before."""
        caller = self._verified(credential, now)
        if caller is not None and self._revocations is not None:
            self._revocations.check(caller, now)
        return caller

    def _verified(self, credential: Credential, now: float) -> Caller | None:
        if credential.kind != "session":
            return self._tokens.known(credential.value, now)
        if self._sessions is None:
            raise InvalidCredential("sessions are not active on this site", code="session-inactive")
        caller = self._in_session.get(credential.value, now)
        if caller is None:
            try:
                caller = self._sessions.verify(credential.value, now)
            except InvalidToken as error:
                raise InvalidSession(str(error), code=error.code) from error
            self._in_session.put(credential.value, caller)
        return caller
