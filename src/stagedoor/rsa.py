"""RS256, RS384 and RS512 with the standard library alone, for places where nothing can be installed.

The whole expected block is built and compared with what the public key opens (RFC 8017 §8.2.2), so there is
no parser of padding that a forged signature could lead astray. Verifying uses public values only; it need not
run in constant time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from .errors import InvalidKeySet
from .tokens import SignatureCheck, octets

ALGORITHMS = frozenset(("RS256", "RS384", "RS512"))

# DER of DigestInfo up to the digest itself (RFC 8017 §9.2, note 1).
_DIGEST_INFO = {
    "RS256": ("sha256", bytes.fromhex("3031300d060960864801650304020105000420")),
    "RS384": ("sha384", bytes.fromhex("3041300d060960864801650304020205000430")),
    "RS512": ("sha512", bytes.fromhex("3051300d060960864801650304020305000440")),
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
    if jwk.get("kty") != "RSA":
        raise InvalidKeySet("only RSA keys can be checked with the standard library")
    n, e = int.from_bytes(octets(jwk, "n")), int.from_bytes(octets(jwk, "e"))
    size = (n.bit_length() + 7) // 8

    def check(algorithm: str, message: bytes, signature: bytes) -> bool:
        if algorithm not in ALGORITHMS or len(signature) != size:
            return False
        number = int.from_bytes(signature)
        if number >= n:
            return False
        name, prefix = _DIGEST_INFO[algorithm]
        tail = prefix + hashlib.new(name, message).digest()
        expected = b"\x00\x01" + b"\xff" * (size - len(tail) - 3) + b"\x00" + tail
        return pow(number, e, n).to_bytes(size) == expected

    return check
