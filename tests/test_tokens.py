"""Bearer tokens: shape, then signature, then claims; keys are asked for rarely and never because a token says so."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import (
    CLIENT,
    ISSUER,
    KEYS_URL,
    NOW,
    Signer,
    Web,
    b64,
    caller,
    claims,
    ec_signer,
    ed_signer,
    finish,
    issuer,
    key_set,
    number,
    rsa_signer,
    sealed,
    token,
    web,
)

from stagedoor import crypto, rsa, tokens
from stagedoor.door import run
from stagedoor.errors import InvalidKeySet, InvalidToken, KeysUnavailable
from stagedoor.messages import Fetch
from stagedoor.tokens import ALGORITHMS, Caller, Issuer, IssuerKeys, Tokens, parse_key_set

COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example"
ALL = frozenset(ALGORITHMS)


class Reader:
    """Tokens of one site with the web behind it."""

    def __init__(self, *issuers: Issuer, pages: Web | None = None) -> None:
        self.web = web() if pages is None else pages
        self.tokens = Tokens(issuers or (issuer(),), crypto)

    def verify(self, text: str, now: float = NOW) -> Caller:
        return run(self.tokens.verify(text, now), self.web)

    def refusal(self, text: str, now: float = NOW) -> str:
        """The code of the refusal."""
        with pytest.raises(InvalidToken) as caught:
            self.verify(text, now)
        signature = text.rpartition(".")[2]
        assert len(signature) < 20 or signature[:20] not in str(caught.value), "the message shows the token"
        return caught.value.code


def refusal(text: str, *issuers: Issuer) -> str:
    return Reader(*issuers).refusal(text)


# --- a good token


@pytest.mark.parametrize(
    "signer",
    [
        *(rsa_signer(name) for name in ("RS256", "RS384", "RS512", "PS256")),
        *(ec_signer("ES256"), ec_signer("ES384", "ec-2"), ed_signer()),
    ],
    ids=lambda signer: signer.algorithm,
)
def test_a_good_token_names_its_caller(signer: Signer) -> None:
    reader = Reader(issuer(algorithms=frozenset((signer.algorithm,))), pages=web(signer))
    found = reader.verify(token(claims(email="a@b.c"), signer))
    assert (found.issuer, found.issuer_url, found.subject, found.label) == ("staff", ISSUER, "ann", "staff:ann")
    assert found.signed_in
    assert found.claims["email"] == "a@b.c"
    assert found.expires == NOW + 600


def test_an_issuer_without_a_name_is_called_by_its_url() -> None:
    assert Reader(issuer(name="")).verify(token()).issuer == ISSUER


def test_the_edge_port_reads_the_same_tokens() -> None:
    assert run(Tokens((issuer(),), rsa).verify(token(), NOW), web()).subject == "ann"


# --- stage 1: shape

GOOD_HEAD, GOOD_BODY = b'{"alg":"RS256","kid":"rsa-1"}', json.dumps(claims()).encode()
SIGN: Callable[[bytes], bytes] = rsa_signer().sign


def test_the_pieces_of_the_shape_tests_make_a_good_token() -> None:
    assert Reader().verify(sealed(GOOD_HEAD, GOOD_BODY, SIGN)).subject == "ann"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "...", "a.b", "a.b.c.d", "abc", "{}", "e30.e30.", "  ", "\xff.\xff.\xff"]
)
def test_what_is_not_three_parts_is_no_token(text: str) -> None:
    assert refusal(text) == "token-shape"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"RS256"',
        b"not json",
        b'{"alg":"RS256"',
        b'{"alg":null}',
        b'{"alg":5}',
        b'{"alg":["RS256"]}',
        b'{"alg":"none","alg":"RS256","kid":"rsa-1"}',
        b'{"alg":"RS256","alg":"RS256","kid":"rsa-1"}',
        b'{"alg":"RS256","kid":5}',
        b'{"alg":"RS256","kid":null}',
        b'{"alg":"RS256","kid":["rsa-1"]}',
        b'{"alg":"RS256","kid":"rsa-1","crit":["exp"]}',
        b'{"alg":"RS256","kid":"rsa-1","crit":[]}',
        b'{"alg":"RS256","kid":"rsa-1","crit":null}',
        b'{"alg":"RS256","kid":"rsa-1","b64":false}',
        b'{"alg":"RS256","kid":"rsa-1","x":NaN}',
        b'{"alg":"RS256","kid":"rsa-1","x":-Infinity}',
        b'{"alg":"RS256","kid":"rsa-1","x":"\xff"}',
        b'\xef\xbb\xbf{"alg":"RS256","kid":"rsa-1"}',
        b'{"alg":"RS256","kid":"rsa-1"}x',
        '{"alg":"RS256","kid":"rsa-1"}'.encode("utf-16"),
    ],
    ids=str,
)
def test_a_header_that_could_be_read_in_two_ways_is_refused(head: bytes) -> None:
    assert refusal(sealed(head, GOOD_BODY, SIGN)) == "token-shape"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b"not json",
        GOOD_BODY[:-1] + b',"sub":"root"}',
        GOOD_BODY[:-1] + b',"x":{"a":1,"a":2}}',
        GOOD_BODY[:-1] + b',"x":NaN}',
        GOOD_BODY[:-1] + b',"x":Infinity}',
        GOOD_BODY[:-1] + b',"x":"\xc0\xaf"}',
        GOOD_BODY[:-1] + b',"x":' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: str(body[-30:]),
)
def test_a_payload_that_could_be_read_in_two_ways_is_refused(body: bytes) -> None:
    assert refusal(sealed(GOOD_HEAD, body, SIGN)) == "token-shape"


@pytest.mark.parametrize("open_", [b'{"a":', b"["], ids=["objects", "lists"])
def test_a_bomb_of_nested_json_is_refused(open_: bytes) -> None:
    bomb = b'{"x":' + open_ * 2200
    assert refusal(sealed(GOOD_HEAD, bomb, SIGN)) == "token-shape"
    assert refusal(sealed(bomb, GOOD_BODY, SIGN)) == "token-shape"


def test_a_token_of_a_megabyte_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "base64url", None)  # to read it would be an error
    for text in ("a" * 1_048_576, "." * 1_048_576, token()[:100] + "x" * 16_384):
        assert refusal(text) == "token-too-long"


def test_a_token_of_just_the_longest_size_is_read() -> None:
    room = tokens.MAX_TOKEN_BYTES - len(token(claims(x="")))
    text = token(claims(x="x" * (room * 3 // 4 - 3)))
    assert tokens.MAX_TOKEN_BYTES - 8 < len(text) <= tokens.MAX_TOKEN_BYTES
    assert Reader().verify(text).subject == "ann"


@pytest.mark.parametrize("change", ["=", "==", "\n", " ", "+", "/", "é"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_base64_other_than_the_canonical_form_is_refused(place: int, change: str) -> None:
    parts = token().split(".")
    for spoiled in (parts[place] + change, change + parts[place]):
        assert refusal(".".join([*parts[:place], spoiled, *parts[place + 1 :]])) == "token-shape"


def test_unused_bits_at_the_end_of_base64_are_refused() -> None:
    """256 bytes of signature take 342 characters; the last one has four bits that say nothing."""
    text = token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = text[:-1] + alphabet[alphabet.index(text[-1]) + 1]
    assert refusal(twin) == "token-shape"


@given(
    st.text(max_size=60)
    | st.from_regex(r"[A-Za-z0-9_-]{0,20}\.[A-Za-z0-9_-]{0,20}\.[A-Za-z0-9_-]{0,20}", fullmatch=True)
)
def test_no_text_whatever_is_taken_or_breaks_the_reader(text: str) -> None:
    with pytest.raises(InvalidToken):
        finish(Tokens((issuer(),), crypto).verify(text, NOW))


# --- stage 2: algorithm and signature


@pytest.mark.parametrize(
    "name", ["none", "None", "NONE", "nOnE", "", "HS256", "HS512", "rs256", "RS256 ", "PS256", "ES256"]
)
def test_an_algorithm_that_is_not_configured_is_refused(name: str) -> None:
    assert refusal(token(alg=name)) == "token-algorithm"
    head, body, _ = token(alg=name).split(".")
    assert refusal(f"{head}.{body}.") == "token-algorithm"


def test_a_public_key_is_no_secret_for_hmac() -> None:
    """CVE-2015-9235: HS256 keyed with what everybody knows of the RSA key."""
    known = rsa_signer().jwk
    for secret in (json.dumps(known).encode(), known["n"].encode(), key_set(rsa_signer())):
        text = sealed(b'{"alg":"HS256","kid":"rsa-1"}', GOOD_BODY, partial(hmac.digest, secret, digest="sha256"))
        assert refusal(text) == "token-algorithm"
        assert refusal(text, issuer(algorithms=ALL)) == "token-algorithm"
        assert refusal(text, issuer(algorithms=ALL | {"HS256"})) == "token-key"


def test_a_key_answers_to_its_own_algorithm_only() -> None:
    """The key says RS256; a right PS256 or RS512 signature by it does not count."""
    reader = Reader(issuer(algorithms=ALL), pages=web(rsa_signer("RS256", "one")))
    assert reader.verify(token(signer=rsa_signer("RS256", "one"))).subject == "ann"
    for name in ("PS256", "RS512"):
        other = rsa_signer("RS256", "one")._replace(algorithm=name)
        assert reader.refusal(token(signer=other)) == "token-key"


def test_a_signature_of_another_key_is_refused() -> None:
    stranger = rsa_signer(kid="stranger")
    assert refusal(token(signer=stranger, kid="rsa-1")) == "token-signature"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_token_that_was_changed_is_refused(part: int) -> None:
    ours, other = token().split("."), token(claims(sub="root"), jti="x").split(".")
    mixed = [*ours[:part], other[part], *ours[part + 1 :]]
    assert refusal(".".join(mixed)) == "token-signature"
    head, body, _ = ours
    assert refusal(f"{head}.{body}.") == "token-signature"


@pytest.mark.parametrize("member", ["jwk", "jku", "x5u", "x5c"])
def test_nothing_in_a_token_names_a_key_or_makes_us_fetch(member: str) -> None:
    stranger = rsa_signer(kid="stranger")
    value: Any = stranger.jwk if member == "jwk" else "https://evil.example/keys"
    reader = Reader()
    assert reader.refusal(token(None, stranger, **{member: value})) == "token-key"
    assert set(reader.web.asked) == {KEYS_URL}


def test_a_token_without_kid_needs_the_one_key_that_fits() -> None:
    one, two, ec = rsa_signer(), rsa_signer(kid="rsa-2"), ec_signer()
    every = issuer(algorithms=ALL)
    assert Reader(every, pages=web(one, ec)).verify(token(kid=...)).subject == "ann"
    assert Reader(every, pages=web(one, two)).refusal(token(kid=...)) == "token-key"
    without = Signer(one.algorithm, {**one.jwk, "kid": None}, one.sign)
    assert Reader(every, pages=web(without)).verify(token(kid=...)).subject == "ann"
    assert Reader(every, pages=web(without)).refusal(token()) == "token-key"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", ...])
def test_types_of_tokens_for_us(typ: Any) -> None:
    assert Reader().verify(token(typ=typ)).subject == "ann"


@pytest.mark.parametrize("typ", ["logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", 5, None, ["JWT"]])
def test_a_token_made_for_something_else_is_refused(typ: Any) -> None:
    assert refusal(token(typ=typ)) == "token-type"


# --- stage 3: claims


@pytest.mark.parametrize(
    "iss", [..., None, ISSUER + "/", ISSUER.upper(), " " + ISSUER, [ISSUER], {"a": 1}, "", 1, True]
)
def test_iss_is_exact(iss: Any) -> None:
    reader = Reader()
    assert reader.refusal(token(claims(iss=iss))) == "token-issuer"
    assert reader.web.asked == []


@pytest.mark.parametrize("aud", [CLIENT, [CLIENT], ["other", CLIENT], [5, None, CLIENT]])
def test_aud_is_one_audience_or_a_list_that_holds_ours(aud: Any) -> None:
    assert Reader().verify(token(claims(aud=aud))).subject == "ann"


@pytest.mark.parametrize(
    "aud", [..., None, "", "other", CLIENT.upper(), CLIENT + " ", [], ["other"], [[CLIENT]], {CLIENT: 1}, 5, True]
)
def test_a_token_for_somebody_else_is_refused(aud: Any) -> None:
    assert refusal(token(claims(aud=aud))) == "token-audience"


def test_client_id_is_no_audience_but_at_cognito() -> None:
    assert refusal(token(claims(aud=..., client_id=CLIENT, token_use="access"))) == "token-audience"


@pytest.mark.parametrize("exp", [..., None, "1700000600", True, False, -1, -1e9, [NOW], {}, 2**53, 10**300, "NaN", ""])
def test_exp_is_required_and_a_number(exp: Any) -> None:
    assert refusal(token(claims(exp=exp))) == "token-expiry"


@pytest.mark.parametrize("raw", [b"1e400", b"-1e400", b"9007199254740993"])
def test_exp_beyond_all_numbers_is_refused(raw: bytes) -> None:
    body = json.dumps(claims(exp=7)).encode().replace(b'"exp": 7', b'"exp": ' + raw)
    assert raw in body
    assert refusal(token(body)) == "token-expiry"


@pytest.mark.parametrize("exp", [NOW, NOW - 1, NOW - 0.001, 0, 1, NOW - 1e9])
def test_a_token_ends_when_exp_says(exp: float) -> None:
    assert refusal(token(claims(exp=exp))) == "token-expired"


def test_exp_may_have_a_fraction() -> None:
    assert Reader().verify(token(claims(exp=NOW + 0.5))).expires == NOW + 0.5


def test_leeway_forgives_so_many_seconds_and_no_more() -> None:
    late = issuer(leeway=30.0)
    assert Reader(late).verify(token(claims(exp=NOW - 29))).subject == "ann"
    assert refusal(token(claims(exp=NOW - 30)), late) == "token-expired"
    assert Reader(late).verify(token(claims(nbf=NOW + 30))).subject == "ann"
    assert refusal(token(claims(nbf=NOW + 31)), late) == "token-early"


def test_nbf_is_kept() -> None:
    assert Reader().verify(token(claims(nbf=NOW))).subject == "ann"
    assert refusal(token(claims(nbf=NOW + 1))) == "token-early"


@pytest.mark.parametrize("nbf", [None, "0", True, [], -5, 10**300])
def test_an_nbf_that_is_no_number_is_refused(nbf: Any) -> None:
    assert refusal(token(claims(nbf=nbf))) == "token-expiry"


def cognito(*uses: str) -> Issuer:
    return issuer(issuer=COGNITO, token_use=frozenset(uses or ("access", "id")), claims={"groups": "cognito:groups"})


def access(**more: Any) -> str:
    return token(claims(**{"iss": COGNITO, "aud": ..., "client_id": CLIENT, "token_use": "access", **more}))


def identity(**more: Any) -> str:
    return token(claims(**{"iss": COGNITO, "token_use": "id", **more}))


def test_cognito_access_tokens_have_a_client_id_and_id_tokens_an_aud() -> None:
    reader = Reader(cognito())
    assert reader.verify(access(**{"cognito:groups": ["students"]})).values("groups") == {"students"}
    assert reader.verify(identity()).subject == "ann"


def test_cognito_tokens_for_another_client_are_refused() -> None:
    assert refusal(access(client_id="other"), cognito()) == "token-audience"
    assert refusal(access(client_id=..., aud=CLIENT), cognito()) == "token-audience"
    assert refusal(access(client_id="other", aud=CLIENT), cognito()) == "token-audience"
    assert refusal(identity(aud="other", client_id=CLIENT), cognito()) == "token-audience"


@pytest.mark.parametrize("use", [..., None, "refresh", "ACCESS", ["access"], True, ""])
def test_cognito_tokens_of_another_use_are_refused(use: Any) -> None:
    with pytest.raises(InvalidToken) as caught:
        Reader(cognito()).verify(access(token_use=use, aud=CLIENT))
    assert caught.value.code == "token-use"


def test_the_owner_chooses_which_cognito_tokens_count() -> None:
    assert refusal(access(), cognito("id")) == "token-use"
    assert refusal(identity(), cognito("access")) == "token-use"


# --- several issuers


def test_each_issuer_vouches_with_its_own_keys_only() -> None:
    other_url, other_keys = "https://other.example", "https://other.example/keys"
    ours, theirs = rsa_signer(), rsa_signer(kid="theirs")
    pages = Web({KEYS_URL: key_set(ours), other_keys: key_set(theirs)})
    other = issuer(issuer=other_url, name="guests", jwks=other_keys, audience=frozenset(("guest-app",)))
    reader = Reader(issuer(), other, pages=pages)
    guest = claims(iss=other_url, aud="guest-app")
    assert reader.verify(token(guest, theirs)).label == "guests:ann"
    assert reader.verify(token(signer=ours)).label == "staff:ann"
    assert reader.refusal(token(guest, ours)) == "token-key"
    assert reader.refusal(token(guest, ours, kid="theirs")) == "token-signature"
    assert reader.refusal(token(claims(iss=other_url), theirs)) == "token-audience"


def test_each_issuer_has_its_own_algorithms() -> None:
    other_url = "https://other.example"
    pages = Web({KEYS_URL: key_set(rsa_signer(), ec_signer())})
    other = issuer(issuer=other_url, name="guests", algorithms=frozenset(("ES256",)))
    reader = Reader(issuer(), other, pages=pages)
    assert reader.verify(token(claims(iss=other_url), ec_signer())).label == "guests:ann"
    assert reader.refusal(token(signer=ec_signer())) == "token-algorithm"


# --- key sets


def keys_of(*jwks: dict[str, Any], algorithms: frozenset[str] = ALL) -> list[str | None]:
    return [key.kid for key in parse_key_set(key_set(*jwks), crypto, algorithms)]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[1]}',
        b'{"keys":null}',
        b"<html>",
        b"\xff",
        b'{"keys":[],"keys":[]}',
        b'{"keys":' + b"[" * 100_000,
    ],
    ids=lambda document: str(document[:20]),
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidKeySet):
        parse_key_set(document, crypto, ALL)


@pytest.mark.parametrize(
    "secret",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "s"},
        {"kty": "oct"},
        {**rsa_signer().jwk, "kid": "p", "d": "AQAB"},
        {**ec_signer().jwk, "kid": "p", "d": "AQAB"},
        {**rsa_signer().jwk, "kid": "p", "use": "enc", "d": "AQAB"},
    ],
    ids=["oct", "oct without k", "private RSA", "private EC", "private, for encryption"],
)
def test_one_secret_key_spoils_the_set(secret: dict[str, Any]) -> None:
    with pytest.raises(InvalidKeySet, match="secret or private"):
        keys_of(rsa_signer().jwk, secret)


def test_two_keys_of_one_kid_spoil_the_set() -> None:
    with pytest.raises(InvalidKeySet, match="same kid"):
        keys_of(rsa_signer().jwk, {**rsa_signer(kid="rsa-2").jwk, "kid": "rsa-1"})
    with pytest.raises(InvalidKeySet, match="same kid"):
        keys_of(rsa_signer().jwk, {**ec_signer().jwk, "kid": "rsa-1"})


RSA = rsa_signer().jwk
WEAK = {
    "for encryption": {"use": "enc"},
    "of no use": {"use": None},
    "for other operations": {"key_ops": ["encrypt"]},
    "operations that are no list": {"key_ops": "verify"},
    "kid is a number": {"kid": 5},
    "another algorithm": {"alg": "RSA-OAEP"},
    "an algorithm that is not offered": {"alg": "PS512"},
    "alg is a list": {"alg": ["RS256"]},
    "unknown type": {"kty": "RSB"},
    "type is a list": {"kty": ["RSA"]},
    "1024 bits": {"n": rsa_signer(kid="small", bits=1024).jwk["n"]},
    "16384 bits": {"n": number((1 << 16384) - 1)},
    "no modulus": {"n": None},
    "modulus is not base64url": {"n": "a+b/"},
    "even modulus": {"n": number((1 << 2047) + 2)},
    "exponent 1": {"e": "AQ"},
    "even exponent": {"e": number(65536)},
    "exponent of 33 bits": {"e": number((1 << 32) + 1)},
    "no exponent": {"e": None},
    "exponent 0": {"e": "AA"},
}


@pytest.mark.parametrize("change", WEAK.values(), ids=WEAK.keys())
def test_an_unsuitable_key_is_passed_over_and_the_others_count(change: dict[str, Any]) -> None:
    bad = {"kid": "bad", **RSA, **({"kid": "bad"} if "kid" not in change else {}), **change}
    assert keys_of(bad, RSA) == ["rsa-1"]
    with pytest.raises(InvalidKeySet, match="no key that can be used"):
        keys_of(bad)


def test_a_key_of_the_faulty_generator_is_passed_over() -> None:
    """ROCA: the modulus is a power of 65537 modulo each small prime; a product made to be so is recognised."""
    step = math.prod(tokens._ROCA_PRIMES)
    n = pow(65537, 12345, step) + step * ((1 << 2047) // step + 1)
    n += step if n % 2 == 0 else 0
    with pytest.raises(InvalidKeySet, match="ROCA"):
        keys_of({**RSA, "n": number(n)})


def test_keys_that_fit_no_accepted_algorithm_are_passed_over() -> None:
    assert keys_of(RSA, ec_signer().jwk, ed_signer().jwk, algorithms=frozenset(("ES256",))) == ["ec-1"]
    assert keys_of(RSA, {**ec_signer().jwk, "crv": "P-521"}, {**ed_signer().jwk, "crv": "X25519"}) == ["rsa-1"]
    assert keys_of({**ec_signer().jwk, "alg": "ES384"}, RSA) == ["rsa-1"]


def test_a_key_without_alg_serves_every_accepted_algorithm_of_its_type() -> None:
    jwk = {name: value for name, value in RSA.items() if name != "alg"}
    (key,) = parse_key_set(key_set(jwk), crypto, frozenset(("RS256", "PS256", "ES256")))
    assert key.algorithms == {"RS256", "PS256"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["kty", "n", "e", "x", "y", "crv", "alg", "use", "kid", "key_ops"]), inner, max_size=6
            )
        ),
        max_leaves=8,
    )
)
def test_no_key_whatever_breaks_the_reader(value: object) -> None:
    for jwk in (value, {"kty": "RSA", "n": value, "e": value}, {"kty": "EC", "crv": "P-256", "x": value, "alg": value}):
        with pytest.raises(InvalidKeySet):
            parse_key_set(json.dumps({"keys": [jwk]}).encode(), crypto, ALL)


# --- asking for keys


def test_keys_are_asked_for_once_and_kept() -> None:
    reader = Reader()
    for name in ("ann", "ben", "cat"):
        assert reader.verify(token(claims(sub=name))).subject == name
    assert reader.web.asked == [KEYS_URL]


def test_a_flood_of_unknown_kids_asks_once_per_cool_down() -> None:
    reader = Reader()
    for second in range(25):
        for serial in range(20):
            assert reader.refusal(token(kid=f"k{second}-{serial}"), NOW + second) == "token-key"
    assert len(reader.web.asked) == 3  # at 0, 10 and 20 s


def test_a_new_key_is_found_after_the_cool_down() -> None:
    reader, fresh = Reader(), rsa_signer(kid="rsa-2")
    reader.verify(token())
    reader.web.pages[KEYS_URL] = key_set(rsa_signer(), fresh)
    assert reader.refusal(token(signer=fresh), NOW + 9) == "token-key"
    assert reader.verify(token(signer=fresh), NOW + 10).subject == "ann"


def test_flows_that_wait_at_the_same_time_ask_for_the_same() -> None:
    """The driver joins equal wishes into one exchange; all who waited are served by it."""
    everybody = Tokens((issuer(),), crypto)
    flows = [everybody.verify(token(claims(sub=name)), NOW) for name in "abc"]
    wishes = {next(flow) for flow in flows}
    assert wishes == {Fetch(KEYS_URL)}
    for flow, name in zip(flows, "abc", strict=True):
        with pytest.raises(StopIteration) as done:
            flow.send(web()(next(iter(wishes))))
        assert done.value.value.subject == name


def test_who_hangs_up_while_waiting_does_not_keep_the_others_out() -> None:
    everybody = Tokens((issuer(),), crypto)
    gone = everybody.verify(token(), NOW)
    next(gone)
    gone.close()
    with pytest.raises(KeysUnavailable) as caught:
        run(everybody.verify(token(), NOW + 1), Web())
    assert "broken off" in str(caught.value)
    assert run(everybody.verify(token(), NOW + 11), web()).subject == "ann"


def test_without_any_answer_nobody_is_let_in_and_it_is_not_their_fault() -> None:
    reader = Reader(pages=Web())
    for second in (0, 1, 11):
        with pytest.raises(KeysUnavailable, match="connection refused"):
            reader.verify(token(), NOW + second)
    assert len(reader.web.asked) == 2
    reader.web.pages[KEYS_URL] = key_set(rsa_signer())
    assert reader.verify(token(), NOW + 30).subject == "ann"


@pytest.mark.parametrize(
    "document", [b"", b"<html>busy</html>", b'{"keys":[]}', key_set(RSA, RSA), b'{"keys":[{"kty":"oct"}]}']
)
def test_a_bad_key_set_is_no_answer(document: bytes) -> None:
    with pytest.raises(KeysUnavailable):
        Reader(pages=Web({KEYS_URL: document})).verify(token())


@pytest.mark.parametrize("document", [None, b"<html>busy</html>", b'{"keys":[]}', b'{"keys":[{"kty":"oct"}]}'])
def test_the_last_good_set_is_kept(document: bytes | None) -> None:
    reader = Reader()
    reader.verify(token())
    if document is None:
        del reader.web.pages[KEYS_URL]
    else:
        reader.web.pages[KEYS_URL] = document
    later = NOW + tokens.KEYS_MAX_AGE
    run(reader.tokens.refresh(later), reader.web)
    assert len(reader.web.asked) == 2
    assert reader.verify(token(claims(exp=later + 9)), later).subject == "ann"
    with pytest.raises(KeysUnavailable):  # it may well be a new key, but that cannot be found out
        reader.verify(token(claims(exp=later + 9), kid="rsa-2"), later)


def test_a_withdrawn_key_stops_to_count_also_for_remembered_tokens() -> None:
    reader, text = Reader(), token(claims(exp=NOW + 9000))
    reader.verify(text)
    reader.web.pages[KEYS_URL] = key_set(rsa_signer(kid="rsa-2"))
    later = NOW + tokens.KEYS_MAX_AGE
    run(reader.tokens.refresh(later - 1), reader.web)
    assert reader.tokens.known(text, later) is not None
    run(reader.tokens.refresh(later), reader.web)
    assert reader.tokens.known(text, later) is None
    assert reader.refusal(text, later) == "token-key"


def test_keys_that_did_not_change_forget_nobody() -> None:
    reader, text = Reader(), token(claims(exp=NOW + 9000))
    reader.verify(text)
    later = NOW + tokens.KEYS_MAX_AGE
    run(reader.tokens.refresh(later), reader.web)
    assert len(reader.web.asked) == 2
    assert reader.tokens.known(text, later) is not None


def test_a_key_file_is_read_again_within_ten_seconds() -> None:
    path = "file:///etc/stagedoor/jwks.json"
    reader = Reader(issuer(jwks=path), pages=Web({path: key_set(rsa_signer())}))
    reader.verify(token())
    reader.web.pages[path] = key_set(rsa_signer(kid="rsa-2"))
    run(reader.tokens.refresh(NOW + 9), reader.web)
    assert reader.refusal(token(), NOW + 9.5) == "token-key"


def test_keys_that_are_baked_in_need_no_asking() -> None:
    keys = IssuerKeys(issuer(), rsa, lambda: None)
    keys.install(key_set(rsa_signer()), NOW)
    assert keys.candidates({"alg": "RS256", "kid": "rsa-1"})
    assert not keys.stale(NOW + 1)


# --- discovery

DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"


def described(**more: Any) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": KEYS_URL, **more}).encode()


def test_keys_are_found_by_discovery() -> None:
    pages = Web({DISCOVERY: described(), KEYS_URL: key_set(rsa_signer())})
    reader = Reader(issuer(jwks=None), pages=pages)
    assert reader.verify(token()).subject == "ann"
    assert reader.web.asked == [DISCOVERY, KEYS_URL]


def test_discovery_starts_below_an_issuer_with_a_slash_at_its_end() -> None:
    slashed = ISSUER + "/"
    pages = Web({DISCOVERY: described(issuer=slashed), KEYS_URL: key_set(rsa_signer())})
    reader = Reader(issuer(issuer=slashed, jwks=None), pages=pages)
    assert reader.verify(token(claims(iss=slashed))).subject == "ann"


@pytest.mark.parametrize(
    "document",
    [
        described(issuer="https://evil.example"),
        described(issuer=ISSUER + "/"),
        described(issuer=None),
        described(jwks_uri="http://id.example.com/keys"),
        described(jwks_uri="file:///etc/passwd"),
        described(jwks_uri="ftp://id.example.com/keys"),
        described(jwks_uri="//id.example.com/keys"),
        described(jwks_uri="http://127.0.0.1.evil.example/keys"),
        described(jwks_uri="https://"),
        described(jwks_uri="https://[bad/keys"),
        described(jwks_uri=None),
        described(jwks_uri=[KEYS_URL]),
        b"<html>",
        b"[]",
        b"",
        b'{"issuer":"a","issuer":"b"}',
    ],
    ids=lambda document: str(document[:80]),
)
def test_a_discovery_document_that_is_wrong_is_no_answer(document: bytes) -> None:
    reader = Reader(issuer(jwks=None), pages=Web({DISCOVERY: document, KEYS_URL: key_set(rsa_signer())}))
    with pytest.raises(KeysUnavailable):
        reader.verify(token())
    assert reader.web.asked == [DISCOVERY]


def test_cognitos_keys_are_where_they_always_are() -> None:
    address = f"{COGNITO}/.well-known/jwks.json"
    reader = Reader(issuer(issuer=COGNITO, jwks=None), pages=Web({address: key_set(rsa_signer())}))
    assert reader.verify(token(claims(iss=COGNITO))).subject == "ann"
    assert reader.web.asked == [address]


def test_discovery_is_made_again_when_keys_are_asked_for_again() -> None:
    moved = "https://id.example.com/moved"
    pages = Web({DISCOVERY: described(), KEYS_URL: key_set(rsa_signer())})
    reader = Reader(issuer(jwks=None), pages=pages)
    reader.verify(token())
    reader.web.pages = {DISCOVERY: described(jwks_uri=moved), moved: key_set(rsa_signer(kid="rsa-2"))}
    assert reader.verify(token(signer=rsa_signer(kid="rsa-2")), NOW + 10).subject == "ann"


@pytest.mark.parametrize(
    "url",
    ["https://a", "https://a:1/b", "http://localhost:1", "http://127.0.0.1/", "http://127.9.9.9", "http://[::1]:8/"],
)
def test_addresses_of_keys_that_are_safe(url: str) -> None:
    assert tokens.is_safe_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://a",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://1270.0.0.1",
        "file:///x",
        "https://",
        "https:a",
        "//a",
        "http://[::2]/",
        "http://127.0.0.1@evil.example/",
    ],
)
def test_addresses_of_keys_that_are_not_safe(url: str) -> None:
    assert not tokens.is_safe_url(url)


# --- remembered tokens


def test_a_token_that_was_verified_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, text = Reader(), token()
    first = reader.verify(text)
    monkeypatch.setattr(tokens, "split", None)  # to take it apart again would be an error
    assert reader.verify(text) is first


def test_a_token_is_never_remembered_beyond_its_end() -> None:
    reader, text = Reader(), token(claims(exp=NOW + 5))
    reader.verify(text)
    assert reader.tokens.known(text, NOW + 4.9) is not None
    assert reader.tokens.known(text, NOW + 5) is None
    assert reader.refusal(text, NOW + 5) == "token-expired"


def test_a_refused_token_is_not_remembered() -> None:
    reader, text = Reader(), token(claims(aud="other"))
    reader.refusal(text)
    assert reader.tokens.known(text, NOW) is None


def test_the_memory_of_tokens_is_bounded_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [token(claims(sub=f"user-{serial:02}")) for serial in range(10)]
    monkeypatch.setattr(tokens, "CACHE_BYTES", 3 * len(texts[0]) + 5)
    reader = Reader()
    for text in [*texts, texts[-1], *texts[-2:]]:
        reader.verify(text)
    assert [reader.tokens.known(text, NOW) is not None for text in texts] == [False] * 7 + [True] * 3


def test_the_bound_holds_after_tokens_are_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired token within its leeway is checked and remembered each time; it must be counted once."""
    texts = [token(claims(sub=f"user-{serial:02}", exp=NOW - 1)) for serial in range(3)]
    monkeypatch.setattr(tokens, "CACHE_BYTES", 3 * len(texts[0]))
    reader = Reader(issuer(leeway=60.0))
    for text in texts * 5:
        reader.verify(text)
    assert all(text in reader.tokens._verified._callers for text in texts)


# --- callers


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a", {"a"}),
        (["a", "b", "a"], {"a", "b"}),
        (5, {"5"}),
        (True, {"true"}),
        ([False, 7, "x", None, {"y": 1}, ["z"], 1.5], {"false", "7", "x"}),
        ("", {""}),
        (None, set()),
        ({"a": 1}, set()),
        (1.5, set()),
    ],
)
def test_values_of_a_claim_as_texts(value: object, texts: set[str]) -> None:
    assert caller(claim=value).values("claim") == texts


def test_a_claim_is_looked_up_by_its_exact_name_first_and_then_by_the_path() -> None:
    raw = {"realm_access": {"roles": ["admin"], "a.b": "x"}, "flat.name": "exact", "flat": {"name": "nested"}}
    names = {"roles": "realm_access.roles", "https": "https://example.com/roles"}
    found = Caller("kc", ISSUER, {**raw, "https://example.com/roles": ["r"]}, names)
    assert found.values("roles") == {"admin"}
    assert found.values("realm_access.roles") == {"admin"}
    assert found.values("flat.name") == {"exact"}
    assert found.values("https") == {"r"}
    for missing in ("realm_access", "realm_access.", "realm_access.roles.0", "no.such", "", ".", "sub.x"):
        assert found.values(missing) == frozenset()


@pytest.mark.parametrize(
    "value", ["", ".", "..", "a/b", "/", "a\\b", "*", "a*", "?", "a\x00", "a\n", "\x7f", "\x85", "\ud800", "a\udfff"]
)
def test_a_value_that_a_path_could_read_otherwise_is_no_segment(value: str) -> None:
    assert caller(claim=["good", value]).segments("claim") == {"good"}
    assert caller(claim=value).segments("claim", "sha256") == frozenset()


@pytest.mark.parametrize("value", ["a", "...", ".a", "a b", "ü", "%2e", "{sub}", "a:b", "🎬", "-"])
def test_other_values_are_segments_as_they_are(value: str) -> None:
    assert caller(claim=value).segments("claim") == {value}


def test_hashed_segments_are_lower_case_hex() -> None:
    found = caller(tenant=["Acme", "ü"])
    assert found.segments("tenant", "sha256") == {hashlib.sha256(v.encode()).hexdigest() for v in ("Acme", "ü")}
    assert found.segments("tenant", "md5") == {hashlib.md5(v.encode()).hexdigest() for v in ("Acme", "ü")}


@pytest.mark.parametrize(
    ("claim", "email"),
    [
        ({"email": "Ann@Example.COM", "email_verified": True}, "ann@example.com"),
        ({"email": "a@b.c", "email_verified": "true"}, "a@b.c"),
        ({"email": "a@b.c", "email_verified": False}, ""),
        ({"email": "a@b.c", "email_verified": "True"}, ""),
        ({"email": "a@b.c", "email_verified": 1}, ""),
        ({"email": "a@b.c", "email_verified": [True, False]}, ""),
        ({"email": "a@b.c", "email_verified": None}, ""),
        ({"email": "a@b.c"}, ""),
        ({"email_verified": True}, ""),
        ({"email": ["a@b.c"], "email_verified": True}, "a@b.c"),
        ({"email": ["a@b.c", "d@e.f"], "email_verified": True}, ""),
        ({"email": {"a": 1}, "email_verified": True}, ""),
        ({"email": "\u212a@b.c", "email_verified": True}, "\u212a@b.c"),
    ],
)
def test_only_a_verified_email_address_counts(claim: dict[str, Any], email: str) -> None:
    """The last one starts with the Kelvin sign, which lower-cases to an ASCII letter."""
    assert caller(**claim).email == email


def test_groups_that_entra_left_out_are_noticed() -> None:
    assert caller(_claim_names={"groups": "src1"}).groups_left_out
    assert not caller(_claim_names={"other": "src1"}).groups_left_out
    assert not caller(_claim_names="groups").groups_left_out
    assert not caller(groups=["a"]).groups_left_out


def test_nobody_is_anonymous() -> None:
    assert not tokens.ANONYMOUS.signed_in
    assert tokens.ANONYMOUS.label == ""
    assert tokens.ANONYMOUS.values("sub") == frozenset()


def test_a_subject_that_is_no_text_names_nobody() -> None:
    assert Caller("staff", ISSUER, {"sub": {"a": 1}}).subject == ""
    assert b64(b"x") == "eA"
