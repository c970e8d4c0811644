"""Checking the signatures of issuers' tokens with OpenSSL (`cryptography`)."""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ..core.errors import InvalidKeySet
from ..core.jose import ALGORITHMS as ALL
from ..core.jose import SignatureCheck, octets

ALGORITHMS = frozenset(ALL)

_HASH: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_RSA = frozenset(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"))
_CURVES: dict[object, tuple[str, ec.EllipticCurve]] = {
    "P-256": ("ES256", ec.SECP256R1()),
    "P-384": ("ES384", ec.SECP384R1()),
    "P-521": ("ES512", ec.SECP521R1()),
}


def load(jwk: Mapping[str, object]) -> SignatureCheck:
    """Make the signature check for one public key (RFC 7518 §3, RFC 8037 §3.1).

    Args:
        jwk: a JWK that `core.issuers` accepted.

    Returns:
        A function of algorithm, signed bytes and signature; True means that the signature is right.

    Raises:
        InvalidKeySet: OpenSSL refuses the key, for example because its point is not on the curve.
    """
    try:
        if jwk.get("kty") == "RSA":
            return _rsa(rsa.RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n")).public_key())
        if jwk.get("kty") == "EC":
            name, curve = _CURVES[jwk.get("crv")]
            return _ec(name, ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), curve).public_key())
        return _ed25519(ed25519.Ed25519PublicKey.from_public_bytes(octets(jwk, "x")))
    except (ValueError, KeyError) as error:
        raise InvalidKeySet(f"OpenSSL does not take this key: {error}") from error


def _number(jwk: Mapping[str, object], member: str) -> int:
    return int.from_bytes(octets(jwk, member))


def _rsa(key: rsa.RSAPublicKey) -> SignatureCheck:
    def check(algorithm: str, message: bytes, signature: bytes) -> bool:
        if algorithm not in _RSA:
            return False
        digest = _HASH[algorithm[2:]]
        scheme = padding.PSS(padding.MGF1(digest), digest.digest_size) if algorithm[0] == "P" else padding.PKCS1v15()
        try:
            key.verify(signature, message, scheme, digest)
        except InvalidSignature:
            return False
        return True

    return check


def _ec(name: str, key: ec.EllipticCurvePublicKey) -> SignatureCheck:
    size = (key.curve.key_size + 7) // 8
    digest = ec.ECDSA(_HASH[name[2:]])

    def check(algorithm: str, message: bytes, signature: bytes) -> bool:
        if algorithm != name or len(signature) != 2 * size:  # r and s, each of full length (RFC 7518 §3.4)
            return False
        der = encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
        try:
            key.verify(der, message, digest)
        except InvalidSignature:
            return False
        return True

    return check


def _ed25519(key: ed25519.Ed25519PublicKey) -> SignatureCheck:
    def check(algorithm: str, message: bytes, signature: bytes) -> bool:
        if algorithm != "EdDSA":
            return False
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return check
