"""Refresh tokens: each is kept by the browser of its person, sealed, and nowhere else.

The cookie goes to our own addresses alone, and what is in it counts for one session of one person.
"""

from __future__ import annotations

from . import cookies
from .caller import Caller
from .messages import Headers, Pairs, Seal

MAX_BYTES = 2700
"""Of a refresh token that is kept; sealed, a longer one does not fit into a cookie."""


class RefreshTokens:
    """Keeps and finds refresh tokens.

    Args:
        site: the site's origin.
        seal: hides them from the browser.
        cookie: name of the session cookie, of which their cookie's name is made.
        secure: False only for an http site on loopback.
    """

    def __init__(self, site: str, seal: Seal, cookie: str, secure: bool) -> None:
        self._site, self._seal, self._secure = site, seal, secure
        self._name = refresh_cookie(cookie)

    def keep(self, token: str, of: Caller, sid: str, seconds: float, others: int) -> Pairs:
        """Make the Set-Cookie line that keeps a refresh token, or that removes the cookie, if the token is too long.

        Args:
            token: from the issuer; "" for none.
            of: the person.
            sid: of the session that it renews.
            seconds: that the session goes on.
            others: bytes of the other cookies of ours.
        """
        if not 0 < len(token) <= MAX_BYTES or "\0" in token:
            return self.forget()
        sealed = self._seal.seal(token, self._purpose(of, sid))
        if len(self._name) + len(sealed) + others > cookies.MAX_OURS:
            return self.forget()
        return (self._cookie(sealed, int(seconds)),)

    def find(self, headers: Headers, session: Caller) -> str:
        """Find the refresh token of a session; "" if the browser has none.

        Args:
            headers: of the request.
            session: its caller, as `Sessions.read` returned it.
        """
        purpose = self._purpose(session, str(session.claims.get("sid")))
        for _, value in cookies.read(headers.get(b"cookie", ()), frozenset((self._name.encode(),))):
            token = self._seal.unseal(value.decode("latin-1"), purpose)
            if token is not None:  # a neighbour can have planted another one
                return token
        return ""

    def forget(self) -> Pairs:
        """Make the Set-Cookie line that removes the cookie."""
        return (self._cookie("", 0),)

    def _purpose(self, of: Caller, sid: str) -> str:
        return f"refresh {self._site} {sid} {of.issuer_url} {of.subject}"

    def _cookie(self, value: str, seconds: int) -> tuple[bytes, bytes]:
        return b"set-cookie", cookies.write(self._name, value, seconds, secure=self._secure, path="/-/").encode()


def refresh_cookie(session: str) -> str:
    """Name of the cookie, by the session cookie's. Not `__Host-`, which wants the Path `/` (RFC 6265bis §4.1.3)."""
    return f"{session.replace('__Host-', '__Secure-')}-refresh"
