"""Keys and tokens, made on the spot and never written down; only public keys reach a file."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://issuer.example/"
AUDIENCE = "assets"
TOKEN_BYTES = 1024
"""What an access token with a few claims and groups has; Cognito's are about as long."""


class Signer:
    """One issuer's private key.

    Args:
        algorithm: `RS256`, `ES256` or `EdDSA`.
    """

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
        if algorithm == "RS256":
            self._key = rsa.generate_private_key(65537, 2048)
        elif algorithm == "ES256":
            self._key = ec.generate_private_key(ec.SECP256R1())
        else:
            self._key = ed25519.Ed25519PrivateKey.generate()

    @property
    def public_pem(self) -> bytes:
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def key_set(self) -> bytes:
        """The public key as a JWKS document (RFC 7517 §5)."""
        key = self._key.public_key()
        if isinstance(key, rsa.RSAPublicKey):
            numbers = key.public_numbers()
            members = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        elif isinstance(key, ec.EllipticCurvePublicKey):
            point = key.public_numbers()
            members = {"kty": "EC", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)}
        else:
            members = {"kty": "OKP", "crv": "Ed25519", "x": _text(key.public_bytes_raw())}
        return json.dumps({"keys": [{"kid": "k1", "alg": self.algorithm, "use": "sig", **members}]}).encode()

    def token(self, claims: Mapping[str, object]) -> str:
        """Sign claims as a compact JWS."""
        header = {"alg": self.algorithm, "typ": "JWT", "kid": "k1"}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_text(self._sign(signed.encode()))}"

    def _sign(self, message: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)


def claims_of(now: int, **more: object) -> dict[str, object]:
    """Claims such as identity providers issue, for somebody in `team-a`; they hold for a day."""
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
        "iat": now,
        "exp": now + 86_400,
        "scope": "openid profile email assets:read",
        "groups": ["team-a", "team-b", "viewers"],
        "email": "someone@example.com",
        "email_verified": True,
        **more,
    }


def padded_token(signer: Signer, claims: Mapping[str, object]) -> str:
    """A token of about `TOKEN_BYTES`, filled up with a claim that says nothing."""
    missing = TOKEN_BYTES - len(signer.token({**claims, "pad": ""}))
    return signer.token({**claims, "pad": "p" * max(0, missing * 3 // 4)})


def tampered(token: str) -> str:
    """The same signature under another subject."""
    header, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims["sub"] = "auth0|000000000000000000000000"
    return f"{header}.{_text(json.dumps(claims).encode())}.{signature}"


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _number(value: int, size: int = 0) -> str:
    return _text(value.to_bytes(size or (value.bit_length() + 7) // 8))
