"""Signature checks through OpenSSL: every algorithm that Stagedoor offers, by the vectors of others."""

from __future__ import annotations

import base64
from string import ascii_letters, digits

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.core.errors import InvalidKeySet
from stagedoor.core.issuers import parse_key_set
from stagedoor.core.jose import ALGORITHMS
from stagedoor.keys import signatures
from stagedoor.keys.sealing import Seal
from tests.helpers.support import Signer, b64, ec_signer, ed_signer, key_set, rsa_signer
from tests.helpers.wycheproof import Vector, accepts, key_sets, signature_vectors

PUBLIC = [vector for vector in signature_vectors() if not vector.secret]
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
OFFERED = {*RSA, "ES256", "ES384", "ES512", "EdDSA"}
"""Written out, so that one that is gone from the code is missed here."""
NOT_OFFERED = {"ES521", "ES256K", "Ed448", "HS256", "HS384", "HS512", "None", "none"}


def ids(vector: Vector) -> str:
    return f"{vector.algorithm}-{vector.id}"


def signers() -> list[Signer]:
    return [
        *(rsa_signer(name) for name in RSA),
        *(ec_signer("ES256"), ec_signer("ES384", "ec-2"), ec_signer("ES512", "ec-3"), ed_signer()),
    ]


@pytest.mark.parametrize("vector", PUBLIC, ids=ids)
def test_wycheproof_signatures(vector: Vector) -> None:
    assert accepts(signatures, vector) is (vector.valid and vector.algorithm in OFFERED)


@pytest.mark.parametrize("vector", PUBLIC, ids=ids)
def test_a_longer_list_of_algorithms_lets_no_more_in(vector: Vector) -> None:
    if accepts(signatures, vector, signatures.ALGORITHMS):
        assert vector.valid
        assert vector.algorithm in OFFERED


def test_vectors_of_algorithms_that_are_not_offered_are_refused() -> None:
    refused = [vector for vector in PUBLIC if vector.algorithm not in OFFERED]
    assert {vector.algorithm for vector in refused} == {"ES521", "None"}
    for vector in refused:
        assert not accepts(signatures, vector), vector.id
        assert not accepts(signatures, vector, signatures.ALGORITHMS | NOT_OFFERED), vector.id


def test_a_key_on_another_edwards_curve_is_refused() -> None:
    """`EdDSA` names Ed448, too (RFC 8037 §3.1), which is not offered."""
    public = ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw()
    jwk = {"kty": "OKP", "crv": "Ed448", "kid": "ed-2", "x": b64(public)}
    for alg in ("EdDSA", "Ed448"):
        with pytest.raises(InvalidKeySet, match="fits no accepted algorithm"):
            parse_key_set(key_set({**jwk, "alg": alg}), signatures, signatures.ALGORITHMS)


def test_the_vectors_cover_what_is_offered() -> None:
    covered = {vector.algorithm for vector in PUBLIC if vector.valid}
    assert covered & OFFERED == {*RSA, "ES256"}
    assert len(PUBLIC) > 350


@pytest.mark.parametrize("vector", key_sets(), ids=ids)
def test_wycheproof_key_sets(vector: Vector) -> None:
    """Sets with secrets are refused whole, because secrets must not be published."""
    assert accepts(signatures, vector) is (vector.valid and not vector.secret)


def test_everything_offered_is_offered_here() -> None:
    assert OFFERED == signatures.ALGORITHMS == set(ALGORITHMS)


@pytest.mark.parametrize("signer", signers(), ids=lambda signer: signer.algorithm)
@given(message=st.binary(max_size=100), place=st.integers(0, 63), mask=st.integers(1, 255))
@settings(max_examples=15, deadline=None)
def test_a_right_signature_is_right_and_a_changed_one_wrong(
    signer: Signer, message: bytes, place: int, mask: int
) -> None:
    check, signature = signatures.load(signer.jwk), signer.sign(message)
    changed = bytearray(signature)
    changed[place] ^= mask
    assert check(signer.algorithm, message, signature)
    assert not check(signer.algorithm, message, bytes(changed))
    assert not check(signer.algorithm, message + b"x", signature)


@pytest.mark.parametrize("signer", signers(), ids=lambda signer: signer.algorithm)
@given(st.binary(max_size=140))
@settings(max_examples=20, deadline=None)
def test_no_bytes_whatever_make_the_check_raise(signer: Signer, signature: bytes) -> None:
    assert signatures.load(signer.jwk)(signer.algorithm, b"message", signature) is False


@pytest.mark.parametrize("signer", signers(), ids=lambda signer: signer.algorithm)
def test_a_signature_counts_under_its_own_algorithm_only(signer: Signer) -> None:
    check, signature = signatures.load(signer.jwk), signer.sign(b"message")
    right = {name for name in (*OFFERED, *NOT_OFFERED, "") if check(name, b"message", signature)}
    assert right == {signer.algorithm}


@pytest.mark.parametrize("signer", signers(), ids=lambda signer: signer.algorithm)
def test_a_signature_that_is_longer_or_shorter_is_wrong(signer: Signer) -> None:
    check, good = signatures.load(signer.jwk), signer.sign(b"message")
    for signature in (b"", good[:-1], good[1:], b"\x00" + good, good + b"\x00", good * 2):
        assert not check(signer.algorithm, b"message", signature)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_the_two_numbers_of_a_signature_have_their_full_length_and_no_more(algorithm: str) -> None:
    """RFC 7518 §3.4: a zero put before the second number leaves its value, and is refused all the same."""
    check, good = signatures.load(ec_signer(algorithm).jwk), ec_signer(algorithm).sign(b"message")
    half = len(good) // 2
    assert check(algorithm, b"message", good)
    assert not check(algorithm, b"message", good[:half] + b"\x00" + good[half:])


@pytest.mark.parametrize(("algorithm", "size"), [("ES256", 32), ("ES384", 48), ("ES512", 66)])
def test_psychic_signatures_are_wrong(algorithm: str, size: int) -> None:
    """CVE-2022-21449: r or s of zero, or of the group's order."""
    check = signatures.load(ec_signer(algorithm).jwk)
    zero, one, most = b"\x00" * size, b"\x00" * (size - 1) + b"\x01", b"\xff" * size
    for signature in (zero + zero, zero + one, one + zero, most + most, one + one):
        assert not check(algorithm, b"message", signature)


@pytest.mark.parametrize(
    "change",
    [
        {"x": b64(b"\x01" * 32)},
        {"x": ""},
        {"y": None},
        {"x": b64(b"\x00" * 32), "y": b64(b"\x00" * 32)},
        {"crv": "P-384"},
        {"x": 5},
    ],
    ids=str,
)
def test_a_point_that_is_not_on_its_curve_is_no_key(change: dict[str, object]) -> None:
    with pytest.raises(InvalidKeySet):
        signatures.load({**ec_signer().jwk, **change})


@pytest.mark.parametrize("x", ["", b64(b"\x01" * 31), b64(b"\x01" * 33), None, "not base64!"])
def test_an_ed25519_key_has_32_bytes(x: object) -> None:
    with pytest.raises(InvalidKeySet):
        signatures.load({**ed_signer().jwk, "x": x})


def test_what_is_sealed_can_be_read_by_us_for_the_same_purpose_alone() -> None:
    seal = Seal(b"a secret of the site")
    sealed = seal.seal("users/ben/diary.txt", "listing users/")
    assert b"users" not in base64.urlsafe_b64decode(sealed + "==")
    assert sealed != seal.seal("users/ben/diary.txt", "listing users/")
    assert seal.unseal(sealed, "listing users/") == "users/ben/diary.txt"
    assert seal.unseal(sealed, "listing ") is None
    assert Seal(b"another").unseal(sealed, "listing users/") is None
    for at in range(len(sealed)):
        bent = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        assert seal.unseal(bent, "listing users/") is None
    for nonsense in ("", "A", "ü", "%%%", sealed[:-4], "A" * 100):
        assert seal.unseal(nonsense, "listing users/") is None


def test_what_is_sealed_is_read_in_one_spelling_alone() -> None:
    """A decoder that is not strict also takes other spellings of the same bytes."""
    seal = Seal(b"a secret of the site")
    sealed = next(text for text in iter(lambda: seal.seal("x", ""), "") if "-" in text and "_" in text)
    raw = base64.urlsafe_b64decode(f"{sealed}=")
    others = {sealed[:-1] + last for last in ascii_letters + digits + "-_"} - {sealed}
    same_bytes = {other for other in others if base64.urlsafe_b64decode(f"{other}=") == raw}
    assert len(same_bytes) == 3, "the last of its characters has two bits that hold nothing"
    same_bytes |= {f"{sealed}{filler}" for filler in ("=", "==", "\n", " ", "%")}
    same_bytes |= {f"{sealed[:40]}{stray}{sealed[40:]}" for stray in ("\n", " ", "%", "%%%%", ".", "\0")}
    same_bytes |= {sealed.replace("-", "+"), sealed.replace("_", "/")}
    assert seal.unseal(sealed, "") == "x"
    assert [other for other in same_bytes if seal.unseal(other, "") is not None] == []


def test_secrets_rotate_the_newest_seals_and_all_unseal() -> None:
    old, new = Seal(b"old"), Seal(b"new", b"old")
    assert new.unseal(old.seal("x", ""), "") == "x"
    assert old.unseal(new.seal("x", ""), "") is None
