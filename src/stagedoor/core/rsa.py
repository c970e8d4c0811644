"""RSA signatures with PKCS#1 v1.5 padding, checked with the standard library alone, where nothing can be
installed. RS256, RS384 and RS512 of tokens, SHA-1 and SHA-256 of passes.

The whole expected block is built and compared with what the public key opens (RFC 8017 §8.2.2), so there is
no parser of padding that a forged signature could lead astray. Verifying uses public values only; it need not
run in constant time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from .errors import InvalidKeySet
from .jose import SignatureCheck, octets

ALGORITHMS = frozenset(("RS256", "RS384", "RS512"))

# DER of DigestInfo up to the digest itself (RFC 8017 §9.2, note 1).
_DIGEST_INFO = {
    "sha1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def load(jwk: Mapping[str, object]) -> SignatureCheck:
    """Make the signature check for one RSA public key.

    Args:
        jwk: a JWK that `tokens` has found fit to be used (RFC 7517, RFC 7518 §6.3.1).

    Returns:
        A function of algorithm, signed bytes and signature; True means the signature is right.

    Raises:
        InvalidKeySet: not an RSA key.
    """
    opens = _load(jwk)

    def check(algorithm: str, message: bytes, signature: bytes) -> bool:
        return algorithm in ALGORITHMS and opens(f"sha{algorithm[2:]}", message, signature)

    return check


def load_for_passes(jwk: Mapping[str, object]) -> Callable[[str, bytes, bytes], bool]:
    """Make the check of passes (`signing.PassCheck`) for one RSA public key; arguments and errors as for `load`."""
    opens = _load(jwk)

    def check(hash_: str, message: bytes, signature: bytes) -> bool:
        return hash_ in ("sha1", "sha256") and opens(hash_, message, signature)

    return check


def _load(jwk: Mapping[str, object]) -> Callable[[str, bytes, bytes], bool]:
    if jwk.get("kty") != "RSA":
        raise InvalidKeySet("only RSA keys can be checked with the standard library")
    n, e = int.from_bytes(octets(jwk, "n")), int.from_bytes(octets(jwk, "e"))
    size = (n.bit_length() + 7) // 8

    def opens(hash_: str, message: bytes, signature: bytes) -> bool:
        if len(signature) != size:
            return False
        number = int.from_bytes(signature)
        if number >= n:
            return False
        tail = _DIGEST_INFO[hash_] + hashlib.new(hash_, message).digest()
        expected = b"\x00\x01" + b"\xff" * (size - len(tail) - 3) + b"\x00" + tail
        return pow(number, e, n).to_bytes(size) == expected

    return opens
