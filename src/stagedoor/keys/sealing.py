"""Sealing: what clients keep for us, hidden from them and from everybody else."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..core.errors import InvalidToken
from ..core.jose import base64url

SEAL_STEP = 256
"""Sealed texts are filled up to a multiple of so many bytes."""


class Seal:
    """AES-256-GCM under keys that are made from secrets of the site (NIST SP 800-38D).

    Args:
        secrets: what only this site, and each of its workers, knows; the first seals, all unseal.
    """

    def __init__(self, *secrets: bytes) -> None:
        self._ciphers = [AESGCM(hashlib.sha256(b"stagedoor seal " + secret).digest()) for secret in secrets]

    def seal(self, plain: str, purpose: str) -> str:
        """Hide a text without NUL; it can be read again for the same purpose alone."""
        nonce, raw = os.urandom(12), plain.encode(errors="surrogatepass")
        raw += b"\0" * (-len(raw) % SEAL_STEP)  # its length is nobody's business either
        sealed = self._ciphers[0].encrypt(nonce, raw, purpose.encode(errors="surrogatepass"))
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def unseal(self, sealed: str, purpose: str) -> str | None:
        """The text; None if it was not sealed here for this purpose, or is written in another way than `seal` does."""
        try:
            raw = base64url(sealed)
        except InvalidToken:
            return None
        for cipher in self._ciphers:
            with contextlib.suppress(InvalidTag, ValueError):
                plain = cipher.decrypt(raw[:12], raw[12:], purpose.encode(errors="surrogatepass"))
                return plain.rstrip(b"\0").decode(errors="surrogatepass")
        return None
