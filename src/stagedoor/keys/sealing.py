"""Sealing: encrypting what clients keep for us, so that they can neither read nor change it."""

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
"""Texts are padded to a multiple of this many bytes."""


class Seal:
    """AES-256-GCM with keys derived from the site's secrets (NIST SP 800-38D).

    Args:
        secrets: known to every worker of this site and to no one else; the first seals, all unseal.
    """

    def __init__(self, *secrets: bytes) -> None:
        self._ciphers = [AESGCM(hashlib.sha256(b"stagedoor seal " + secret).digest()) for secret in secrets]

    def seal(self, plain: str, purpose: str) -> str:
        """Encrypt a text that holds no NUL; only the same purpose unseals it."""
        nonce, raw = os.urandom(12), plain.encode(errors="surrogatepass")
        raw += b"\0" * (-len(raw) % SEAL_STEP)  # so that its length stays hidden too
        sealed = self._ciphers[0].encrypt(nonce, raw, purpose.encode(errors="surrogatepass"))
        return base64.urlsafe_b64encode(nonce + sealed).decode().rstrip("=")

    def unseal(self, sealed: str, purpose: str) -> str | None:
        """Return the text; None unless `sealed` is exactly what `seal` returned for this purpose."""
        try:
            raw = base64url(sealed)
        except InvalidToken:
            return None
        for cipher in self._ciphers:
            with contextlib.suppress(InvalidTag, ValueError):
                plain = cipher.decrypt(raw[:12], raw[12:], purpose.encode(errors="surrogatepass"))
                return plain.rstrip(b"\0").decode(errors="surrogatepass")
        return None
