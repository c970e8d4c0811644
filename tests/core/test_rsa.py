"""RS256, RS384 and RS512 with the standard library: right by the vectors of others, no more lenient than OpenSSL."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagedoor.core import rsa
from stagedoor.core.errors import InvalidKeySet
from stagedoor.core.jose import octets
from stagedoor.keys import signatures
from tests.helpers.support import b64, ec_signer, rsa_signer
from tests.helpers.wycheproof import Vector, accepts, key_sets, signature_vectors

NAMES = ("RS256", "RS384", "RS512")
"""Written out, so that one that is gone from the code is missed here."""
OFFERED = [vector for vector in signature_vectors() if vector.algorithm in NAMES]
OTHERS = [vector for vector in signature_vectors() if vector.algorithm not in NAMES]


def ids(vector: Vector) -> str:
    return f"{vector.algorithm}-{vector.id}"


@pytest.mark.parametrize("vector", OFFERED, ids=ids)
def test_wycheproof_signatures(vector: Vector) -> None:
    assert accepts(rsa, vector) is vector.valid


def test_wycheproof_has_right_and_wrong_tokens_for_us() -> None:
    assert {vector.valid for vector in OFFERED} == {True, False}
    assert {vector.algorithm for vector in OFFERED} == set(NAMES)
    assert len(OFFERED) > 200


def test_what_the_standard_library_cannot_check_is_refused() -> None:
    assert OTHERS
    for vector in OTHERS:
        assert not accepts(rsa, vector), vector.id
        assert not accepts(rsa, vector, rsa.ALGORITHMS), vector.id
        assert not accepts(rsa, vector, signatures.ALGORITHMS), vector.id


@pytest.mark.parametrize("vector", key_sets(), ids=ids)
def test_wycheproof_key_sets(vector: Vector) -> None:
    assert accepts(rsa, vector) is (vector.valid and vector.algorithm in NAMES)


def test_what_is_offered_is_rsa_with_each_of_its_hashes() -> None:
    assert set(NAMES) == rsa.ALGORITHMS


def test_only_rsa_keys_are_loaded() -> None:
    with pytest.raises(InvalidKeySet):
        rsa.load(ec_signer().jwk)


# --- beside OpenSSL

ALGORITHM = st.sampled_from(NAMES)


def both(algorithm: str, message: bytes, signature: bytes, jwk: dict[str, object]) -> set[bool]:
    return {port.load(jwk)(algorithm, message, signature) for port in (rsa, signatures)}


@given(ALGORITHM, st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_both_ports_take_a_right_signature(algorithm: str, message: bytes) -> None:
    signer = rsa_signer(algorithm)
    assert both(algorithm, message, signer.sign(message), signer.jwk) == {True}


@given(ALGORITHM, ALGORITHM, st.binary(max_size=60), st.integers(0, 255), st.integers(1, 255), st.booleans())
@settings(max_examples=80, deadline=None)
def test_both_ports_refuse_what_was_tampered_with(
    made: str, claimed: str, message: bytes, place: int, mask: int, tamper_message: bool
) -> None:
    signer = rsa_signer(made)
    signature = bytearray(signer.sign(message))
    if tamper_message:
        message += bytes((mask,))
    else:
        signature[place] ^= mask
    assert both(claimed, message, bytes(signature), signer.jwk) == {False}


@given(st.binary(max_size=300), st.binary(max_size=20))
@settings(max_examples=60, deadline=None)
def test_both_ports_refuse_any_bytes_as_a_signature(signature: bytes, message: bytes) -> None:
    assert both("RS256", message, signature, rsa_signer().jwk) == {False}


@given(st.sampled_from([b"", b"\x00", b"\x00\x00", b"\xff"]), st.sampled_from([0, 1, 2, 128]), st.binary(max_size=20))
@settings(max_examples=40, deadline=None)
def test_both_ports_refuse_a_signature_of_the_wrong_length(more: bytes, less: int, message: bytes) -> None:
    good = rsa_signer().sign(message)
    for signature in (more + good, good + more, good[less:], good[: len(good) - less], b""):
        assert both("RS256", message, signature, rsa_signer().jwk) == {signature == good}


def test_a_signature_plus_the_modulus_is_refused() -> None:
    """The same number modulo n, a byte string of the same length if it still fits: malleable, so refused."""
    n = int.from_bytes(octets(rsa_signer().jwk, "n"))
    for value in (n, n + 1, n - 1, 0, 1, 2**2048 - 1):
        assert both("RS256", b"message", value.to_bytes(256), rsa_signer().jwk) == {False}


def messages() -> Iterator[tuple[bytes, bytes]]:
    """Messages with their right signatures, without end."""
    return ((message, rsa_signer().sign(message)) for message in (b"%d" % serial for serial in count()))


def test_a_right_signature_to_which_the_modulus_was_added_is_refused() -> None:
    """It opens to the same block; two texts for one signature would make tokens malleable."""
    n = int.from_bytes(octets(rsa_signer().jwk, "n"))
    sums = ((message, int.from_bytes(signature) + n) for message, signature in messages())
    message, twin = next((message, number) for message, number in sums if number < 1 << 2048)
    assert both("RS256", message, twin.to_bytes(256), rsa_signer().jwk) == {False}


def test_a_right_signature_without_its_leading_zero_is_refused() -> None:
    message, signature = next((message, signature) for message, signature in messages() if signature[0] == 0)
    assert both("RS256", message, signature, rsa_signer().jwk) == {True}
    assert both("RS256", message, signature[1:], rsa_signer().jwk) == {False}


def test_a_digest_alone_or_with_loose_padding_is_refused() -> None:
    """Bleichenbacher's forgery needs a verifier that parses; with e = 3 these would be cubes of chosen numbers."""
    jwk = {**rsa_signer().jwk, "n": b64(b"\xff" * 256), "e": "Aw"}  # any modulus will do: nothing below may verify
    digest = hashlib.sha256(b"message").digest()
    block = b"\x00\x01\xff\x00" + bytes.fromhex("3031300d060960864801650304020105000420") + digest
    for padded in (block + b"\x00" * (256 - len(block)), b"\x00" * (256 - len(block)) + block):
        root = _cube_root(int.from_bytes(padded))
        assert not rsa.load(jwk)("RS256", b"message", root.to_bytes(256))


def _cube_root(value: int) -> int:
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if middle**3 < value else (low, middle)
    return low


@pytest.mark.parametrize("algorithm", ["none", "HS256", "PS256", "ES256", "EdDSA", "", "RS", "rs256", "RS1"])
def test_an_algorithm_of_another_kind_is_never_right(algorithm: str) -> None:
    assert both(algorithm, b"message", rsa_signer().sign(b"message"), rsa_signer().jwk) == {False}
