"""Makes tokens that no site may accept: signed with our own keys, unsigned, or good ones that were changed."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

Claims = Mapping[str, object]
Forged = tuple[str, str]
"""What was done, in words for the report, and the token."""

GARBAGE = ("x", "null", "undefined", "a.b.c", "..", "e30.e30.")
_WEAK = ("", "secret", "password", "changeme", "your-256-bit-secret")
_HMACS = ("HS256", "HS512", "hs256")


def decode(token: str) -> tuple[dict[str, object], dict[str, object]] | None:
    """Header and claims of a token, unverified; None if it is not a JWT."""
    try:
        head, payload, _ = token.split(".")
        header, claims = json.loads(_raw(head)), json.loads(_raw(payload))
    except (ValueError, RecursionError):
        return None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None


def claims_of(token: str | None) -> Claims:
    """The claims of a token, unverified; empty if it is not a JWT."""
    parts = decode(token) if token else None
    return parts[1] if parts else {}


def same_person(one: str | None, other: str | None) -> bool | None:
    """Do two tokens name the same person? None: one of them names nobody."""
    people = [claims_of(token).get("sub") for token in (one, other)]
    return None if None in people else people[0] == people[1]


def expired(token: str) -> bool:
    """Is the time in its `exp` claim over?"""
    end = claims_of(token).get("exp")
    return isinstance(end, int | float) and end < time.time()


def other_signatures(header: Claims, claims: Claims, token: str | None) -> Iterator[Forged]:
    """Well-formed tokens whose signature was not made by a key of the issuer."""
    if token is not None:
        head, payload, signature = token.split(".")
        yield "a good token whose signature was changed", f"{head}.{payload}.{changed(signature)}"
        yield "a good token whose signature was left out", f"{head}.{payload}."
        yield "a good token whose claims were changed", f"{head}.{_b64(_json(claims))}.{signature}"
    rs256 = {**header, "alg": "RS256"}
    yield "RS256 with the doctor's own key", _signed(rs256, claims, _rs256)
    yield "RS256 with an unknown key (kid)", _signed({**rs256, "kid": "doctor"}, claims, _rs256)
    yield "ES256 with the doctor's own key", _signed({**header, "alg": "ES256"}, claims, _es256)
    yield "ES256 with a signature of zeros", _signed({**header, "alg": "ES256"}, claims, lambda _: bytes(64))


def unsigned(header: Claims, claims: Claims) -> Iterator[Forged]:
    """`alg: none` (RFC 8725 §3.2), in spellings that get past a list of forbidden names."""
    for name in ("none", "None", "NONE", "nOnE"):
        yield f"alg {name}, no signature", _signed({**header, "alg": name}, claims, lambda _: b"")
    yield "alg none, with a signature", _signed({**header, "alg": "none"}, claims, _rs256)
    yield "alg empty", _signed({**header, "alg": ""}, claims, lambda _: b"")
    yield "no alg", _signed(_without(header, "alg"), claims, lambda _: b"")


def hmac_signed(header: Claims, claims: Claims, keys: tuple[Claims, ...]) -> Iterator[Forged]:
    """HS256 with a secret that anyone can know: the public key (RFC 8725 §2.1), or a guessable word."""
    for key in keys:
        kid = {"kid": key["kid"]} if "kid" in key else {}
        for what, secret in encodings(key):
            for alg in _HMACS if what == "PEM" else _HMACS[:1]:
                yield f"{alg} with the public key ({what}) as secret", _mac({**header, **kid}, claims, secret, alg)
    for word in _WEAK:
        yield f"HS256 with the secret {word!r}", _mac(header, claims, word.encode())


def key_tricks(header: Claims, claims: Claims) -> Iterator[Forged]:
    """Tokens whose header contains their key, or names where to find it (RFC 8725 §3.10)."""
    rs256 = {**header, "alg": "RS256"}
    yield "the key in the header (jwk)", _signed({**rs256, "jwk": _own_jwk()}, claims, _rs256)
    yield "the key in the header (jwk), no kid", _signed({**_without(rs256, "kid"), "jwk": _own_jwk()}, claims, _rs256)
    yield "a URL of keys in the header (jku)", _signed({**rs256, "jku": "https://doctor.invalid/k"}, claims, _rs256)
    yield "a certificate in the header (x5c)", _signed({**_without(rs256, "kid"), "x5c": _own_x5c()}, claims, _rs256)
    for kid in ("../../../../../../dev/null", "/dev/null", "' UNION SELECT '' -- ", ""):
        yield f"HS256 with an empty secret, kid {kid!r}", _mac({**header, "kid": kid}, claims, b"")


def with_changed_signature(token: str) -> str:
    """The same token with another signature."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{changed(signature)}"


def changed(text: str) -> str:
    """The text with another letter in the middle; in base64url not all bits of the last letter count."""
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle : middle + 1] != "A" else "B") + text[middle + 1 :]


def _signed(header: Claims, claims: Claims, sign: Callable[[bytes], bytes]) -> str:
    message = f"{_b64(_json(header))}.{_b64(_json(claims))}"
    return f"{message}.{_b64(sign(message.encode()))}"


def _mac(header: Claims, claims: Claims, secret: bytes, alg: str = "HS256") -> str:
    digest = f"sha{alg[-3:]}"
    return _signed({**header, "alg": alg}, claims, lambda message: hmac.digest(secret, message, digest))


def encodings(jwk: Claims) -> Iterator[tuple[str, bytes]]:
    """A public key in the forms in which a program may store it."""
    try:
        key = _public(jwk)
    except (KeyError, ValueError):  # another kind of key, or not a key
        return
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    yield "PEM", pem
    yield "PEM without the final newline", pem.rstrip(b"\n")
    yield "DER", key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(key, rsa.RSAPublicKey):
        yield "PEM of PKCS#1", key.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
        yield "the modulus", _raw(str(jwk["n"]))
    yield "JWK", json.dumps(jwk).encode()


def _public(jwk: Claims) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    def number(name: str) -> int:
        return int.from_bytes(_raw(str(jwk[name])))

    if jwk["kty"] == "RSA":
        return rsa.RSAPublicNumbers(number("e"), number("n")).public_key()
    if jwk["kty"] != "EC":
        raise ValueError("neither RSA nor EC")
    curve: ec.EllipticCurve = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}[str(jwk["crv"])]
    return ec.EllipticCurvePublicNumbers(number("x"), number("y"), curve).public_key()


@cache
def _own_rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _rs256(message: bytes) -> bytes:
    return _own_rsa().sign(message, padding.PKCS1v15(), hashes.SHA256())


def _es256(message: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(ec.generate_private_key(ec.SECP256R1()).sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def _own_jwk() -> dict[str, str]:
    public = _own_rsa().public_key().public_numbers()
    return {"kty": "RSA", "use": "sig", "n": _b64(public.n.to_bytes(256)), "e": _b64(public.e.to_bytes(3))}


def _own_x5c() -> list[str]:
    """A self-signed certificate (RFC 7515 §4.1.6)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "doctor.invalid")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, _own_rsa().public_key(), 1, now, now + timedelta(days=1))
    return [base64.b64encode(made.sign(_own_rsa(), hashes.SHA256()).public_bytes(Encoding.DER)).decode()]


def _without(header: Claims, name: str) -> Claims:
    return {found: value for found, value in header.items() if found != name}


def _json(value: Claims) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
