"""Sign-ins that have begun: each is a sealed cookie in the browser that began it, and nothing here.

`state` names one, so that several tabs can sign in at once, and nobody can end a sign-in in another's browser
(RFC 6749 §10.12). Its secret, of which PKCE's verifier and the nonce are made, is in the cookie alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import cookies
from .messages import Headers, Pairs, Seal
from .refresh_tokens import refresh_cookie

SLOTS = 8
LIFETIME = 600
"""Seconds that a sign-in may take."""
MAX_BYTES = 4096
"""Of all the cookies of attempts together, names included."""
MAX_IN_STATE = 256
"""Bytes of a return address that `state` repeats, in case its cookie is displaced; providers limit its length."""
MAX_STATE = 2048


class Attempt(NamedTuple):
    """A sign-in that has begun.

    Attributes:
        id: names it in `state`.
        secret: known to this browser's cookie alone.
        issuer: `tag` of the issuer that is asked.
        next: where the visitor wants to go.
        begun: epoch seconds.
        renews: `sid` of the session that it renews without a word to the visitor; "" for a sign-in.
        slot: number of its cookie.
    """

    id: str
    secret: str
    issuer: str
    next: str
    begun: int
    renews: str = ""
    slot: int = 0

    @property
    def verifier(self) -> str:
        """PKCE's `code_verifier` (RFC 7636 §4.1)."""
        return self._derived("code verifier")

    @property
    def challenge(self) -> str:
        """PKCE's `code_challenge`, by S256 (RFC 7636 §4.2)."""
        return _encode(hashlib.sha256(self.verifier.encode()).digest())

    @property
    def nonce(self) -> str:
        """What binds the id token to this browser (OpenID Connect Core 1.0 §15.5.2)."""
        return self._derived("nonce")

    def _derived(self, purpose: str) -> str:
        return _encode(hmac.digest(self.secret.encode(), purpose.encode(), "sha256"))


class Returned(NamedTuple):
    """What a `state` of ours says.

    Attributes:
        issuer: `tag` of the issuer that was asked.
        next: where the visitor wants to go; "/" if that was too long to be repeated.
        restarts: how often this sign-in was begun again, because its cookie was not there.
        attempt: the sign-in; None if this browser has no cookie of it, or not any more.
    """

    issuer: str
    next: str
    restarts: int
    attempt: Attempt | None


class Attempts:
    """Begins sign-ins and finds them again.

    Args:
        site: the site's origin; another one's attempts do not count, even under the same keys.
        seal: hides them from the browser and from the issuer.
        entropy: returns that many random bytes.
        cookie: name of the session cookie, of which their cookies' names are made.
        secure: False only for an http site on loopback.
    """

    def __init__(self, site: str, seal: Seal, entropy: Callable[[int], bytes], cookie: str, secure: bool) -> None:
        self._in_cookie, self._in_state = f"attempt {site}", f"state {site}"
        self._seal, self._entropy, self._secure = seal, entropy, secure
        others = (cookie, f"{cookie}-done", f"{cookie}-paths", refresh_cookie(cookie))
        self._others = frozenset(name.encode() for name in others)
        self._names = tuple(f"{cookie}-try-{slot}" for slot in range(SLOTS))
        self._wanted = frozenset(name.encode() for name in self._names)

    def begin(
        self, headers: Headers, issuer: str, next_: str, now: float, restarts: int = 0, renews: str = ""
    ) -> tuple[Attempt, str, Pairs]:
        """Begin a sign-in.

        Args:
            headers: of the request.
            issuer: `tag` of the issuer to ask.
            next_: where the visitor wants to go (`return_to`).
            now: epoch seconds.
            restarts: see `Returned`.
            renews: see `Attempt`.

        Returns:
            The attempt, its `state`, and the Set-Cookie lines: a free cookie, or the oldest one, is taken for it, and
            the oldest others are removed until all of them fit into `MAX_BYTES`, and with the rest into `MAX_OURS`.
        """
        sent = self._sent(headers)
        open_ = sorted(self._open(sent, now), key=lambda attempt: attempt.begun)
        free = sorted(set(range(SLOTS)) - {attempt.slot for attempt in open_})
        slot = free[self._entropy(1)[0] % len(free)] if free else open_[0].slot  # tabs that ask at once differ
        id_, secret = _encode(self._entropy(16)), _encode(self._entropy(32))
        attempt = Attempt(id_, secret, issuer, next_, int(now), renews, slot)
        value = self._seal.seal(json.dumps(attempt[:-1]), self._in_cookie)
        others = sum(len(name) + len(text) for name, text in cookies.read(headers.get(b"cookie", ()), self._others))
        taken = len(self._names[slot]) + len(value)
        removed = self._removed(sent, [one for one in open_ if one.slot != slot], taken, others)
        fields = (self._cookie(slot, value, LIFETIME), *(field for old, field in removed.items() if old != slot))
        repeated = next_ if len(next_) <= MAX_IN_STATE else "/"
        state = self._seal.seal(json.dumps((id_, issuer, repeated, restarts)), self._in_state)
        return attempt, state, fields

    def find(self, headers: Headers, state: str, now: float) -> Returned | None:
        """Find the sign-in that a `state` names; None if the state is not one of ours."""
        text = self._seal.unseal(state, self._in_state) if len(state) <= MAX_STATE else None
        if text is None:
            return None
        id_, issuer, next_, restarts = json.loads(text)
        found = (one for one in self._open(self._sent(headers), now) if hmac.compare_digest(one.id, id_))
        return Returned(issuer, next_, restarts, next(found, None))

    def any_cookie(self, headers: Headers) -> bool:
        """Has the browser sent a cookie of any attempt, so that it cannot be one that keeps none?"""
        return bool(self._sent(headers))

    def any_open(self, headers: Headers, now: float) -> bool:
        """Has the browser begun a sign-in that may still end?"""
        return any(self._open(self._sent(headers), now))

    def end(self, headers: Headers, attempt: Attempt | None, now: float, others: int = 0) -> Pairs:
        """Remove the cookie of an attempt, which is used up whatever comes of it.

        Args:
            headers: of the request.
            attempt: that has ended; None: none has, and there is only room to be made.
            now: epoch seconds.
            others: bytes of the other cookies of ours; the oldest attempts make room for them.
        """
        sent = self._sent(headers)
        open_ = sorted(self._open(sent, now), key=lambda one: one.begun)
        kept = [one for one in open_ if attempt is None or one.slot != attempt.slot]
        return tuple(self._removed(sent, kept, 0, others).values())

    def end_all(self, headers: Headers) -> Pairs:
        """Remove the cookies of all attempts that the browser has sent."""
        return tuple(self._cookie(slot, "", 0) for slot in self._sent(headers))

    def _removed(
        self, sent: dict[int, str], kept: list[Attempt], taken: int, others: int
    ) -> dict[int, tuple[bytes, bytes]]:
        """The Set-Cookie lines that remove all that were sent, but the newest of those that may be kept, by slot."""
        sizes = {one.slot: len(self._names[one.slot]) + len(sent[one.slot]) for one in kept}
        room = min(MAX_BYTES, cookies.MAX_OURS - others) - taken
        for one in kept:
            if sum(sizes.values()) > room:
                del sizes[one.slot]
        return {slot: self._cookie(slot, "", 0) for slot in sent if slot not in sizes}

    def _sent(self, headers: Headers) -> dict[int, str]:
        """The cookies that the browser has sent, by their numbers."""
        found = cookies.read(headers.get(b"cookie", ()), self._wanted)
        return {self._names.index(name.decode()): value.decode("latin-1") for name, value in found}

    def _open(self, sent: dict[int, str], now: float) -> Iterator[Attempt]:
        for slot, value in sent.items():
            text = self._seal.unseal(value, self._in_cookie)
            if text is not None:
                attempt = Attempt(*json.loads(text))._replace(slot=slot)
                if abs(now - attempt.begun) < LIFETIME:
                    yield attempt

    def _cookie(self, slot: int, value: str, seconds: int) -> tuple[bytes, bytes]:
        return b"set-cookie", cookies.write(self._names[slot], value, seconds, secure=self._secure).encode()


def tag(issuer: str) -> str:
    """A short name of an issuer's URL, for cookies and `state`."""
    return hashlib.sha256(issuer.encode()).hexdigest()[:8]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
