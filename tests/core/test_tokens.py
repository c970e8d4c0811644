"""Bearer tokens: shape, then signature, then claims; keys are asked for rarely and never because a token says so."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.core import jose, rsa, tokens
from stagedoor.core.drivers import run
from stagedoor.core.errors import InvalidToken, IssuerUnavailable
from stagedoor.core.issuers import MAX_CANDIDATES, Issuer
from stagedoor.core.jose import ALGORITHMS, MAX_TOKEN_BYTES, SignatureCheck
from stagedoor.core.tokens import Tokens
from stagedoor.keys import signatures
from tests.helpers.support import (
    CLIENT,
    ISSUER,
    KEYS_URL,
    NOW,
    Reader,
    Signer,
    Web,
    claims,
    ec_signer,
    ed_signer,
    finish,
    issuer,
    key_set,
    rsa_signer,
    sealed,
    token,
    web,
)

COGNITO = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example"
ALL = frozenset(ALGORITHMS)


def refusal(text: str, *issuers: Issuer) -> str:
    return Reader(*issuers).refusal(text)


# --- a good token


@pytest.mark.parametrize(
    "signer",
    [
        *(rsa_signer(name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *(ec_signer("ES256"), ec_signer("ES384", "ec-2"), ec_signer("ES512", "ec-3"), ed_signer()),
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


@pytest.mark.parametrize("form", ["lists", "objects", "both"])
def test_json_has_so_many_levels_and_no_more(form: str) -> None:
    """Python's own limit differs between versions, and with how deep the program is in its calls."""
    opening, closing = {"lists": ("[", "]"), "objects": ('{"a":', "}"), "both": ('[{"a":', "}]")}[form]

    def payload(levels: int) -> bytes:
        times = (levels - 1) // opening.count("{") if form == "objects" else (levels - 1)
        times = times // 2 if form == "both" else times
        return GOOD_BODY[:-1] + f',"x":{opening * times}1{closing * times}'.encode() + b"}"

    deepest = jose.MAX_DEPTH - 1 if form == "both" else jose.MAX_DEPTH
    assert Reader().verify(sealed(GOOD_HEAD, payload(deepest), SIGN)).subject == "ann"
    assert refusal(sealed(GOOD_HEAD, payload(deepest + 2), SIGN)) == "token-shape"


def test_brackets_in_texts_are_no_levels() -> None:
    texts = {"x": "[" * 1000, "y": '"' * 100 + "{" * 1000 + "\\", "z": ["[{" * 500] * 4, '"[': "\\" + "[" * 200}
    assert Reader().verify(token(claims(**texts))).subject == "ann"
    wide = {"x": [[] for _ in range(1000)], "y": [{} for _ in range(1000)]}
    assert Reader().verify(token(claims(**wide))).subject == "ann"


@given(st.lists(st.sampled_from([*'[]{}"\\,:1 ', '"a"', '"\\"', '"\\\\"']), max_size=60).map("".join))
def test_a_parser_gets_no_deeper_than_was_counted(text: str) -> None:
    """Beside a counter that walks through the text as a parser does, up to where something is wrong."""
    depth = deepest = 0
    inside = escaped = False
    for letter in text:
        if inside:
            inside, escaped = letter != '"' or escaped, letter == "\\" and not escaped
        elif letter == '"':
            inside = True
        else:
            depth += (letter in "[{") - (letter in "]}")
            deepest = max(deepest, depth)
    padding = "[]" * (jose.MAX_DEPTH + 1)  # so that it counts at all
    assert jose._depth((padding + text).encode()) == max(1, deepest)


def test_a_token_of_a_megabyte_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jose, "base64url", None)  # to read it would be an error
    for text in ("a" * 1_048_576, "." * 1_048_576, token()[:100] + "x" * 16_384):
        assert refusal(text) == "token-too-long"


def test_a_token_of_just_the_longest_size_is_read() -> None:
    room = MAX_TOKEN_BYTES - len(token(claims(x="")))
    text = token(claims(x="x" * (room * 3 // 4 - 3)))
    assert MAX_TOKEN_BYTES - 8 < len(text) <= MAX_TOKEN_BYTES
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
        finish(Tokens((issuer(),), signatures).verify(text, NOW))


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


# --- which key is meant


EVERY = issuer(algorithms=ALL)
STRANGER = rsa_signer(kid="stranger")


def named(signer: Signer, kid: str | None, **more: Any) -> Signer:
    """The same key, published under another kid, or under none."""
    return signer._replace(jwk={**signer.jwk, "kid": kid, **more})


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512", "PS256"])
def test_a_key_that_is_listed_for_each_of_its_algorithms_checks_each(algorithm: str) -> None:
    signer = named(rsa_signer(algorithm), "k")
    listed = [named(signer, "k", alg=name) for name in ("RS256", "RS384", "RS512", "PS256", "RS256")]
    reader = Reader(EVERY, pages=web(*listed))
    assert reader.verify(token(signer=signer)).subject == "ann"
    assert reader.refusal(token(signer=named(rsa_signer(algorithm, "another"), "k"))) == "token-signature"


def test_keys_of_several_kinds_may_have_one_kid() -> None:
    keys = [
        named(rsa_signer(), "k", use="enc"),
        named(STRANGER, "k"),
        named(rsa_signer(), "k"),
        named(ec_signer(), "k"),
    ]
    reader = Reader(EVERY, pages=web(*keys))
    for signer in (rsa_signer(), ec_signer()):
        assert reader.verify(token(signer=named(signer, "k"))).subject == "ann"
    assert reader.refusal(token(signer=named(rsa_signer(kid="another"), "k"))) == "token-signature"


def test_a_token_without_kid_is_checked_with_every_key_that_fits() -> None:
    """While an issuer changes its key it publishes the old one and the new one (RFC 7517 §4.5: kid is optional)."""
    old, new = rsa_signer(), rsa_signer(kid="rsa-2")
    for keys in ([old, new], [named(old, None), named(new, None)], [old, named(new, None), ec_signer()]):
        reader = Reader(EVERY, pages=web(*keys))
        for signer in (old, new):
            assert reader.verify(token(signer=signer, kid=...)).subject == "ann"
        assert reader.refusal(token(signer=STRANGER, kid=...)) == "token-signature"
    assert Reader(EVERY, pages=web(ec_signer())).refusal(token(kid=...)) == "token-key"


def test_a_token_with_kid_may_be_meant_for_a_key_without() -> None:
    reader = Reader(EVERY, pages=web(named(rsa_signer(), None), named(ec_signer(), None)))
    assert reader.verify(token(signer=rsa_signer())).subject == "ann"
    assert reader.verify(token(signer=ec_signer())).subject == "ann"
    assert reader.refusal(token(signer=STRANGER)) == "token-signature"
    mixed = Reader(EVERY, pages=web(rsa_signer(), named(STRANGER, None)))
    assert mixed.refusal(token(signer=STRANGER, kid="rsa-1")) == "token-signature"


@pytest.mark.parametrize("kid", [..., "rsa-1"], ids=["without kid", "with kid"])
def test_an_only_key_without_kid_that_was_replaced_is_asked_for_again(kid: Any) -> None:
    new = rsa_signer(kid="rsa-2")
    reader = Reader(EVERY, pages=web(named(rsa_signer(), None)))
    reader.verify(token(kid=kid))
    reader.web.pages[KEYS_URL] = key_set(named(new, None))
    fresh = token(claims(sub="ben"), signer=new, kid=kid)
    assert reader.refusal(fresh, NOW + 9) == "token-signature"  # asked less than ten seconds ago
    assert reader.verify(fresh, NOW + 10).subject == "ben"
    assert reader.refusal(token(claims(sub="cat"), kid=kid), NOW + 11) == "token-signature"
    assert len(reader.web.asked) == 2


def test_strangers_without_kid_ask_the_issuer_once_per_cool_down() -> None:
    reader = Reader(EVERY, pages=web(named(rsa_signer(), None)))
    for second in range(25):
        for name in ("ann", "ben"):
            assert reader.refusal(token(claims(sub=name), STRANGER, kid=...), NOW + second) == "token-signature"
    assert len(reader.web.asked) == 3  # at 0, 10 and 20 s


def test_where_a_new_key_cannot_be_asked_for_nobody_is_let_in_and_it_is_not_their_fault() -> None:
    reader = Reader(EVERY, pages=web(named(rsa_signer(), None)))
    reader.verify(token(kid=...))
    del reader.web.pages[KEYS_URL]
    for second in (10, 12):
        with pytest.raises(IssuerUnavailable):
            reader.verify(token(signer=STRANGER, kid=...), NOW + second)
    assert reader.verify(token(claims(sub="ben"), kid=...), NOW + 13).subject == "ben"


def test_so_many_keys_are_tried_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[str] = []
    load = signatures.load

    def counted(jwk: Mapping[str, object]) -> SignatureCheck:
        check = load(jwk)

        def count(algorithm: str, message: bytes, signature: bytes) -> bool:
            checks.append(algorithm)
            return check(algorithm, message, signature)

        return count

    monkeypatch.setattr(signatures, "load", counted)
    reader = Reader(EVERY, pages=web(*[named(rsa_signer(), None)] * 20))
    assert reader.refusal(token(signer=STRANGER, kid=...)) == "token-signature"
    assert len(checks) == MAX_CANDIDATES


# --- Ed25519 has two names (RFC 9864)


@pytest.mark.parametrize("stated", [None, "EdDSA", "Ed25519"])
@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
def test_both_names_of_ed25519_mean_one_algorithm(stated: str | None, alg: str) -> None:
    signer, other = ed_signer(), ed_signer("another")
    reader = Reader(issuer(algorithms=frozenset(("EdDSA",))), pages=web(named(signer, "ed-1", alg=stated)))
    assert reader.verify(token(signer=signer, alg=alg)).subject == "ann"
    assert reader.refusal(token(signer=other, kid="ed-1", alg=alg)) == "token-signature"
    assert Reader(pages=web(signer)).refusal(token(signer=signer, alg=alg)) == "token-algorithm"


@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "application/JWT", "application/at+jwt", "", ...]
)
def test_types_of_tokens_for_us(typ: Any) -> None:
    assert Reader().verify(token(typ=typ)).subject == "ann"


@pytest.mark.parametrize(
    "typ",
    [
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "JWE",
        "application/logout+jwt",
        "text/jwt",
        "application/",
        5,
        None,
        ["JWT"],
    ],
)
def test_a_token_made_for_something_else_is_refused(typ: Any) -> None:
    assert refusal(token(typ=typ)) == "token-type"


# --- stage 3: claims

GOOGLE = "https://accounts.google.com"


def test_google_may_leave_out_the_scheme() -> None:
    reader = Reader(issuer(url=GOOGLE))
    for iss in (GOOGLE, "accounts.google.com"):
        assert reader.verify(token(claims(iss=iss))).issuer_url == GOOGLE
    for iss in (
        "http://accounts.google.com",
        "accounts.google.com/",
        "Accounts.google.com",
        "accounts.google.com.evil",
    ):
        assert reader.refusal(token(claims(iss=iss))) == "token-issuer"
    assert refusal(token(claims(iss="accounts.google.com"))) == "token-issuer"
    assert refusal(token(claims(iss="id.example.com/tenant"))) == "token-issuer"


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
    return issuer(url=COGNITO, token_use=frozenset(uses or ("access", "id")), claims={"groups": "cognito:groups"})


def access(**more: Any) -> str:
    return token(claims(**{"iss": COGNITO, "aud": ..., "client_id": CLIENT, "token_use": "access", **more}))


def identity(**more: Any) -> str:
    return token(claims(**{"iss": COGNITO, "token_use": "id", **more}))


@pytest.mark.parametrize("name", ["sub", "client_id"])
@pytest.mark.parametrize("value", [["ann", "ben"], ["ann"], [], {"a": 1}, 5, 1.5, True], ids=str)
def test_who_and_for_whom_is_one_string(name: str, value: Any) -> None:
    """A list in sub would open the folder of everybody that it names."""
    assert refusal(token(claims(**{name: value}))) == "token-subject"


@pytest.mark.parametrize("name", ["sub", "client_id"])
@pytest.mark.parametrize("value", [None, ...], ids=str)
def test_a_token_need_not_say_who_or_for_whom(name: str, value: Any) -> None:
    found = Reader().verify(token(claims(**{name: value})))
    assert found.values(name) == frozenset()


def test_who_is_unicode_text() -> None:
    """Half a character in a name is nobody's business; in `sub` two programs could read two people."""
    assert refusal(token(claims(sub="ann\ud800"))) == "token-subject"
    assert refusal(token(claims(ids=["\udfff"])), issuer(claims={"sub": "ids"})) == "token-subject"
    assert Reader().verify(token(claims(sub="ann\U0001f600", name="a\ud800"))).subject == "ann\U0001f600"


def test_a_claim_that_stands_for_sub_has_one_value_too() -> None:
    entry = issuer(claims={"sub": "ids"})
    assert refusal(token(claims(ids=["ann", "ben"])), entry) == "token-subject"
    assert Reader(entry).verify(token(claims(ids=["ann"]))).subject == "ann"
    assert Reader(entry).verify(token(claims(ids=7))).subject == "7"


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
    other = issuer(url=other_url, name="guests", jwks=other_keys, audience=frozenset(("guest-app",)))
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
    other = issuer(url=other_url, name="guests", algorithms=frozenset(("ES256",)))
    reader = Reader(issuer(), other, pages=pages)
    assert reader.verify(token(claims(iss=other_url), ec_signer())).label == "guests:ann"
    assert reader.refusal(token(signer=ec_signer())) == "token-algorithm"


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


def test_the_memory_of_tokens_is_bounded_and_forgets_the_oldest() -> None:
    texts = [token(claims(sub=f"user-{serial:02}")) for serial in range(10)]
    reader = Reader(remember=3 * len(texts[0]) + 5)
    for text in [*texts, texts[-1], *texts[-2:]]:
        reader.verify(text)
    assert [reader.tokens.known(text, NOW) is not None for text in texts] == [False] * 7 + [True] * 3


def test_the_bound_holds_after_tokens_are_verified_again() -> None:
    """An expired token within its leeway is checked and remembered each time; it must be counted once."""
    texts = [token(claims(sub=f"user-{serial:02}", exp=NOW - 1)) for serial in range(3)]
    reader = Reader(issuer(leeway=60.0), remember=3 * len(texts[0]))
    for text in texts * 5:
        reader.verify(text)
    assert all(text in reader.tokens._verified._callers for text in texts)


def test_after_the_keys_changed_tokens_are_remembered_as_before() -> None:
    """What was counted for the tokens that were forgotten must not count against those that come."""
    path = "file:///jwks.json"
    texts = [token(claims(sub=f"user-{serial}", exp=NOW + 9000)) for serial in range(3)]
    reader = Reader(issuer(jwks=path), pages=Web({path: key_set(rsa_signer())}), remember=3 * len(texts[0]))
    for second in (0, 10, 20, 30):
        now = NOW + second
        reader.web.pages[path] = key_set(rsa_signer(), rsa_signer(kid=f"more-{second % 20}"))
        run(reader.tokens.refresh(now), reader.web)
        assert [reader.tokens.known(text, now) for text in texts] == [None] * 3, "the keys are others"
        for text in texts:
            reader.verify(text, now)
        assert None not in [reader.tokens.known(text, now) for text in texts]
