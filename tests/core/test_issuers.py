"""Keys of issuers: which sets are taken, when they are asked for, and where."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.core import issuers, rsa
from stagedoor.core.drivers import run
from stagedoor.core.errors import InvalidKeySet, InvalidToken, IssuerUnavailable
from stagedoor.core.issuers import Issuer, IssuerKeys, Outages, parse_key_set
from stagedoor.core.jose import ALGORITHMS, SignaturePort
from stagedoor.core.messages import Fetch
from stagedoor.core.steady_time import SteadyTime
from stagedoor.core.tokens import Tokens
from stagedoor.keys import signatures
from tests.helpers.support import (
    ISSUER,
    KEYS_URL,
    NOW,
    Reader,
    Signer,
    Web,
    claims,
    ec_signer,
    ed_signer,
    issuer,
    key_set,
    number,
    rsa_signer,
    token,
    web,
)

POOLS = (
    ("eu-central-1_Example", "cognito-idp.eu-central-1.amazonaws.com"),
    ("us-gov-west-1_Ab12", "cognito-idp.us-gov-west-1.amazonaws.com"),
    ("cn-north-1_Ab12", "cognito-idp.cn-north-1.amazonaws.com.cn"),
    ("eusc-de-east-1_Ab12", "cognito-idp.eusc-de-east-1.amazonaws.eu"),
)
"""Ids of Cognito user pools in every partition, and the host of their original issuer."""
ALL = frozenset(ALGORITHMS)


# --- key sets


def keys_of(*jwks: dict[str, Any], algorithms: frozenset[str] = ALL) -> list[str | None]:
    return [key.kid for key in parse_key_set(key_set(*jwks), signatures, algorithms)]


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
        parse_key_set(document, signatures, ALL)


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


def test_a_byte_order_mark_in_front_is_read_over() -> None:
    (key,) = parse_key_set(b"\xef\xbb\xbf" + key_set(rsa_signer()), signatures, ALL)
    assert key.kid == "rsa-1"
    with pytest.raises(InvalidKeySet):
        parse_key_set(b"\xef\xbb\xbf" * 2 + key_set(rsa_signer()), signatures, ALL)


RSA = rsa_signer().jwk
WEAK = {
    "for encryption": {"use": "enc"},
    "for other operations": {"key_ops": ["encrypt"]},
    "operations that are no list": {"key_ops": "verify"},
    "kid is a number": {"kid": 5},
    "another algorithm": {"alg": "RSA-OAEP"},
    "an algorithm that is not offered": {"alg": "ES256K"},
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


MEMBERS = ("use", "key_ops", "alg", "kid", "crv", "d", "p", "q", "dp", "dq", "qi", "oth", "k", "x", "y", "n", "e")
X509 = ("x5u", "x5c", "x5t", "x5t#S256")


@pytest.mark.parametrize("signer", [rsa_signer(), ec_signer(), ed_signer()], ids=lambda signer: signer.algorithm)
def test_a_member_that_is_null_counts_as_absent(signer: Signer) -> None:
    """Some libraries write every member that a key could have (RFC 7517 §4)."""
    empty: dict[str, Any] = dict.fromkeys((*MEMBERS, *X509))
    names = {"kty", "crv", "n", "e", "x", "y"}.intersection(signer.jwk)
    needed: dict[str, Any] = {name: signer.jwk[name] for name in names}
    assert keys_of({**empty, **needed}) == [None]
    for name in (*MEMBERS, *X509):
        assert keys_of({**signer.jwk, name: signer.jwk.get(name)}) == [signer.jwk["kid"]], name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"n": None}, "the key has no n"),
        ({"n": "a+b/"}, r"n is not base64url \(RFC 7515 §2\); it has \+ or /"),
        ({"n": "a b"}, r"n is not base64url \(RFC 7515 §2\)$"),
        ({"e": "AQABA"}, "e is not base64url .*cut"),
        ({"e": 65537}, "e is not base64url"),
        ({"n": "=="}, "n is not base64url"),
        ({"n": rsa_signer(kid="small", bits=1024).jwk["n"]}, "2048 to 8192 bits, this one 1024"),
        ({"alg": "ES256"}, "kty 'RSA', alg 'ES256': fits no accepted algorithm"),
        ({"kty": None}, "alg 'RS256': fits no accepted algorithm"),
    ],
    ids=lambda part: part if isinstance(part, str) else "-".join(part),
)
def test_the_reason_is_the_true_one(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidKeySet, match=reason):
        keys_of({**RSA, **change})


@pytest.mark.parametrize("signer", [rsa_signer(), ec_signer(), ed_signer()], ids=lambda signer: signer.algorithm)
@pytest.mark.parametrize("padding", ["=", "==", "==="])
def test_padding_in_a_published_key_is_read_over(signer: Signer, padding: str) -> None:
    padded = {name: value + padding for name, value in signer.jwk.items() if name in ("n", "e", "x", "y")}
    (key,) = parse_key_set(key_set({**signer.jwk, **padded}), signatures, ALL)
    assert key.check(signer.algorithm, b"message", signer.sign(b"message"))


NOT_BASE64URL: tuple[object, ...] = (
    "A",
    "A=B=",
    "!",
    "a+b/",
    "a b",
    "AQAB\n",
    "",
    None,
    [],
    {},
    5,
    True,
    "é",
    "\ud800",
)


@pytest.mark.parametrize("port", [signatures, rsa], ids=["OpenSSL", "standard library"])
@pytest.mark.parametrize("value", NOT_BASE64URL, ids=repr)
@pytest.mark.parametrize("signer", [rsa_signer(), ec_signer(), ed_signer()], ids=lambda signer: signer.algorithm)
def test_a_broken_key_beside_a_good_one_takes_nothing_down(signer: Signer, value: object, port: SignaturePort) -> None:
    for member in {"n", "e", "x", "y"}.intersection(signer.jwk):
        for broken in ({**signer.jwk, "kid": "bad", member: value}, {**signer.jwk, "kid": "rsa-1", member: value}):
            for listed in ([broken, RSA], [RSA, broken]):
                (key,) = parse_key_set(key_set(*listed), port, ALL)
                assert key.kid == "rsa-1"
                assert key.check("RS256", b"message", rsa_signer().sign(b"message"))


def test_a_key_of_the_faulty_generator_is_passed_over() -> None:
    """ROCA: the modulus is a power of 65537 modulo each small prime; a product made to be so is recognised."""
    step = math.prod(issuers._ROCA_PRIMES)
    n = pow(65537, 12345, step) + step * ((1 << 2047) // step + 1)
    n += step if n % 2 == 0 else 0
    with pytest.raises(InvalidKeySet, match="ROCA"):
        keys_of({**RSA, "n": number(n)})


def test_keys_that_fit_no_accepted_algorithm_are_passed_over() -> None:
    assert keys_of(RSA, ec_signer().jwk, ed_signer().jwk, algorithms=frozenset(("ES256",))) == ["ec-1"]
    assert keys_of(RSA, {**ec_signer().jwk, "crv": "secp256k1"}, {**ed_signer().jwk, "crv": "X25519"}) == ["rsa-1"]
    assert keys_of({**ec_signer().jwk, "alg": "ES384"}, RSA) == ["rsa-1"]


def test_a_key_without_alg_serves_every_accepted_algorithm_of_its_type() -> None:
    jwk = {name: value for name, value in RSA.items() if name != "alg"}
    (key,) = parse_key_set(key_set(jwk), signatures, frozenset(("RS256", "PS256", "ES256")))
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
            parse_key_set(json.dumps({"keys": [jwk]}).encode(), signatures, ALL)


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


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    reader = Reader(pages=Web())
    with pytest.raises(IssuerUnavailable):
        reader.verify(token(), NOW + 120)
    reader.web.pages[KEYS_URL] = key_set(rsa_signer())
    assert reader.verify(token(), NOW).subject == "ann"


def test_requests_that_waited_ask_no_oftener_than_others() -> None:
    """They are decided by the time at which they came, and whoever holds bodies back chooses their order."""
    reader = Reader()
    reader.verify(token())
    for second in (30, 25, 20, 15):
        with pytest.raises(InvalidToken):
            reader.verify(token(kid="rsa-2"), NOW + second)
    assert len(reader.web.asked) == 2


def test_flows_that_wait_at_the_same_time_ask_for_the_same() -> None:
    """The driver joins equal wishes into one exchange; all who waited are served by it."""
    everybody = Tokens((issuer(),), signatures)
    flows = [everybody.verify(token(claims(sub=name)), NOW) for name in "abc"]
    wishes = {next(flow) for flow in flows}
    assert wishes == {Fetch(KEYS_URL)}
    for flow, name in zip(flows, "abc", strict=True):
        with pytest.raises(StopIteration) as done:
            flow.send(web()(next(iter(wishes))))
        assert done.value.value.subject == name


def test_who_hangs_up_while_waiting_does_not_keep_the_others_out() -> None:
    everybody = Tokens((issuer(),), signatures)
    gone = everybody.verify(token(), NOW)
    next(gone)
    gone.close()
    with pytest.raises(IssuerUnavailable) as caught:
        run(everybody.verify(token(), NOW + 1), Web())
    assert "broken off" in str(caught.value)
    assert run(everybody.verify(token(), NOW + 11), web()).subject == "ann"


def test_without_any_answer_nobody_is_let_in_and_it_is_not_their_fault() -> None:
    reader = Reader(pages=Web())
    for second in (0, 1, 11):
        with pytest.raises(IssuerUnavailable, match="connection refused"):
            reader.verify(token(), NOW + second)
    assert len(reader.web.asked) == 2
    reader.web.pages[KEYS_URL] = key_set(rsa_signer())
    assert reader.verify(token(), NOW + 30).subject == "ann"


@pytest.mark.parametrize(
    "document", [b"", b"<html>busy</html>", b'{"keys":[]}', key_set({**RSA, "use": "enc"}), b'{"keys":[{"kty":"oct"}]}']
)
def test_a_bad_key_set_is_no_answer(document: bytes) -> None:
    with pytest.raises(IssuerUnavailable):
        Reader(pages=Web({KEYS_URL: document})).verify(token())


@pytest.mark.parametrize("document", [None, b"<html>busy</html>", b'{"keys":[]}', b'{"keys":[{"kty":"oct"}]}'])
def test_the_last_good_set_is_kept(document: bytes | None) -> None:
    reader = Reader()
    reader.verify(token())
    if document is None:
        del reader.web.pages[KEYS_URL]
    else:
        reader.web.pages[KEYS_URL] = document
    later = NOW + issuers.KEYS_MAX_AGE
    run(reader.tokens.refresh(later), reader.web)
    assert len(reader.web.asked) == 2
    assert reader.verify(token(claims(exp=later + 9)), later).subject == "ann"
    with pytest.raises(IssuerUnavailable):  # it may well be a new key, but that cannot be found out
        reader.verify(token(claims(exp=later + 9), kid="rsa-2"), later)


def test_a_withdrawn_key_stops_to_count_also_for_remembered_tokens() -> None:
    reader, text = Reader(), token(claims(exp=NOW + 9000))
    reader.verify(text)
    reader.web.pages[KEYS_URL] = key_set(rsa_signer(kid="rsa-2"))
    later = NOW + issuers.KEYS_MAX_AGE
    run(reader.tokens.refresh(later - 1), reader.web)
    assert reader.tokens.known(text, later) is not None
    run(reader.tokens.refresh(later), reader.web)
    assert reader.tokens.known(text, later) is None
    assert reader.refusal(text, later) == "token-key"


def test_keys_that_did_not_change_forget_nobody() -> None:
    reader, text = Reader(), token(claims(exp=NOW + 9000))
    reader.verify(text)
    later = NOW + issuers.KEYS_MAX_AGE
    run(reader.tokens.refresh(later), reader.web)
    assert len(reader.web.asked) == 2
    assert reader.tokens.known(text, later) is not None


@pytest.mark.parametrize(
    ("jwks", "had_before", "asked_at"),
    [
        (KEYS_URL, False, (0, 10, 20, 30, 40, 50)),
        (KEYS_URL, True, (3600, 3610, 3620, 3630, 3640, 3650)),
        ("file:///jwks.json", False, (0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55)),
    ],
    ids=["never had", "had once", "a file"],
)
def test_in_the_background_an_issuer_that_is_away_is_asked_once_per_cool_down(
    jwks: str, had_before: bool, asked_at: tuple[int, ...]
) -> None:
    """Driven every second for a minute; when the issuer is back, one question is enough for an hour."""
    reader = Reader(issuer(jwks=jwks), pages=Web({jwks: key_set(rsa_signer())} if had_before else {}))
    start = asked_at[0]
    if had_before:
        run(reader.tokens.refresh(NOW), reader.web)
    reader.web.pages.clear()
    seen = []
    for second in range(start, start + 60):
        before = len(reader.web.asked)
        run(reader.tokens.refresh(NOW + second), reader.web)
        seen += [second] * (len(reader.web.asked) - before)
    assert tuple(seen) == asked_at
    reader.web.pages[jwks] = key_set(rsa_signer())
    run(reader.tokens.refresh(NOW + start + 60), reader.web)
    asked = len(reader.web.asked)
    assert asked == had_before + len(asked_at) + 1
    assert reader.tokens.issuers[ISSUER].failure == ""
    run(reader.tokens.refresh(NOW + start + 60 + reader.tokens.issuers[ISSUER].max_age - 1), reader.web)
    assert len(reader.web.asked) == asked


def test_the_background_asks_no_oftener_for_what_requests_ask_too() -> None:
    """A request with an unknown kid and the background share one cool-down."""
    reader = Reader(pages=Web())
    for second in range(0, 40, 2):
        run(reader.tokens.refresh(NOW + second), reader.web)
        with pytest.raises(IssuerUnavailable):
            reader.verify(token(kid=f"k{second}"), NOW + second + 1)
    assert len(reader.web.asked) == 4


def test_an_issuer_that_is_away_keeps_the_background_from_no_other() -> None:
    far = issuer(name="far", url="https://far.example", jwks="https://far.example/keys")
    for both in ((far, issuer()), (issuer(), far)):
        reader = Reader(*both)
        run(reader.tokens.refresh(NOW), reader.web)
        assert sorted(reader.web.asked) == sorted((KEYS_URL, "https://far.example/keys"))
        assert reader.tokens.issuers[ISSUER].keys
        assert reader.tokens.issuers[far.url].failure


def test_a_key_file_is_read_again_within_ten_seconds() -> None:
    path = "file:///etc/stagedoor/jwks.json"
    reader = Reader(issuer(jwks=path), pages=Web({path: key_set(rsa_signer())}))
    reader.verify(token())
    reader.web.pages[path] = key_set(rsa_signer(kid="rsa-2"))
    run(reader.tokens.refresh(NOW + 9), reader.web)
    assert reader.refusal(token(), NOW + 9.5) == "token-key"


def test_a_clock_that_is_put_back_keeps_no_withdrawn_key() -> None:
    """Only `exp` hangs on what the clock says; ages go on, also through a reload of the settings."""
    path, passed = "file:///etc/stagedoor/jwks.json", [1000.0]
    kept, reloaded = (Tokens((issuer(jwks=path),), signatures, steady=SteadyTime(lambda: passed[0])) for _ in range(2))
    pages = Web({path: key_set(rsa_signer())})
    run(kept.verify(token(), NOW), pages)
    pages.pages[path] = key_set(rsa_signer(kid="rsa-2"))
    passed[0] += 1
    reloaded.adopt(kept)
    for tokens in (kept, reloaded):
        run(tokens.refresh(NOW - 3600), pages)
        assert run(tokens.verify(token(), NOW - 3600), pages).subject == "ann", "the file is read once in five seconds"
    passed[0] += 6
    for tokens in (kept, reloaded):
        run(tokens.refresh(NOW - 3594), pages)
        with pytest.raises(InvalidToken):
            run(tokens.verify(token(), NOW - 3594), pages)


def test_keys_that_are_baked_in_need_no_asking() -> None:
    keys = IssuerKeys(issuer(), rsa, lambda: None)
    keys.install(key_set(rsa_signer()), NOW)
    assert keys.candidates("RS256", "rsa-1")
    assert not keys.stale(NOW + 1)


# --- a reload

FAR = issuer(name="far", url="https://far.example", jwks="https://far.example/keys")
FAR_SIGNER = rsa_signer(kid="far-1")
FAR_TOKEN = token(claims(iss=FAR.url), FAR_SIGNER)


def reloaded(old: Reader, *issuers: Issuer) -> Reader:
    """A reader with these issuers that took over what the old one had; it sees the same web."""
    new = Reader(*issuers, pages=Web(old.web.pages))
    new.tokens.adopt(old.tokens)
    return new


def both_issuers(*issuers: Issuer) -> Reader:
    """A reader that has asked every one of these for its keys."""
    pages = Web({KEYS_URL: key_set(rsa_signer(), ec_signer()), "https://far.example/keys": key_set(FAR_SIGNER)})
    reader = Reader(*issuers, pages=pages)
    run(reader.tokens.refresh(NOW), reader.web)
    return reader


def test_a_reload_that_adds_an_issuer_asks_that_one_alone() -> None:
    new = reloaded(both_issuers(issuer()), issuer(), FAR)
    assert new.verify(token()).subject == "ann"
    assert new.web.asked == []
    assert new.verify(FAR_TOKEN).issuer == "far"
    assert new.web.asked == ["https://far.example/keys"]


def test_after_a_reload_that_removes_an_issuer_its_tokens_count_no_more() -> None:
    old = both_issuers(issuer(), FAR)
    assert old.verify(FAR_TOKEN).issuer == "far"
    new = reloaded(old, issuer())
    assert new.refusal(FAR_TOKEN) == "token-issuer"
    assert new.tokens.known(FAR_TOKEN, NOW) is None
    assert new.verify(token()).subject == "ann"
    assert new.web.asked == []


def test_a_reload_that_changes_every_issuer_takes_nothing_over() -> None:
    new = reloaded(both_issuers(FAR), issuer())
    assert new.verify(token()).subject == "ann"
    assert new.web.asked == [KEYS_URL]


@pytest.mark.parametrize(
    ("before", "after"),
    [(("RS256",), ("RS256", "ES256")), (("RS256", "ES256"), ("ES256",)), (("RS256",), ("ES256",))],
    ids=["one more", "one fewer", "another"],
)
def test_after_a_reload_the_algorithms_are_the_new_ones(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """Of a set, the keys that fit no accepted algorithm were not kept, so it is read again."""
    new = reloaded(
        both_issuers(issuer(algorithms=frozenset(before))), issuer(algorithms=frozenset(after), claims={"a": "b"})
    )
    for signer in (rsa_signer(), ec_signer()):
        text = token(signer=signer)
        if signer.algorithm in after:
            assert new.verify(text).subject == "ann"
        else:
            assert new.refusal(text) == "token-algorithm"


@pytest.mark.parametrize(
    "change",
    [{"audience": frozenset(("other",))}, {"name": "new"}, {"claims": {"groups": "roles"}}, {"leeway": 5.0}],
    ids=lambda change: next(iter(change)),
)
def test_a_reload_that_changes_anything_else_of_an_issuer_keeps_its_keys(change: dict[str, Any]) -> None:
    new = reloaded(both_issuers(issuer()), issuer(**change))
    text = token(claims(aud="other")) if "audience" in change else token()
    assert new.verify(text).issuer == change.get("name", "staff")
    assert new.web.asked == []


def test_keys_grow_old_through_reloads() -> None:
    """Or a site that reloads every half hour would never notice that a key was withdrawn."""
    reader = both_issuers(issuer())
    for _ in range(3):
        reader = reloaded(reader, issuer())
    run(reader.tokens.refresh(NOW + issuers.KEYS_MAX_AGE - 1), reader.web)
    assert reader.web.asked == []
    run(reader.tokens.refresh(NOW + issuers.KEYS_MAX_AGE), reader.web)
    assert reader.web.asked == [KEYS_URL]


# --- outages


def test_an_outage_is_reported_when_it_begins_and_when_it_ends() -> None:
    other = issuer(name="others", url="https://other.example.com", jwks="https://other.example.com/keys")
    reader = Reader(issuer(), other, pages=Web())
    all_keys, outages = reader.tokens.issuers, Outages()

    def changes() -> list[tuple[str, str]]:
        return [(keys.issuer.url, keys.news) for keys in outages.changes(all_keys.values())]

    assert changes() == []
    all_keys[ISSUER].failure = "nobody answers"
    assert changes() == [(ISSUER, "nobody answers")]
    all_keys[ISSUER].failure = "the answer was 500, not 200"  # the same outage
    assert changes() == []
    all_keys[other.url].failure = "away, too"
    assert changes() == [(other.url, "away, too")]
    all_keys[ISSUER].failure = all_keys[other.url].failure = ""
    assert changes() == [(url, f"keys of issuer {url}: they are here again") for url in (ISSUER, other.url)]
    assert changes() == []


# --- discovery

DISCOVERY = f"{ISSUER}/.well-known/openid-configuration"


def described(**more: Any) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": KEYS_URL, **more}).encode()


def test_keys_are_found_by_discovery() -> None:
    pages = Web({DISCOVERY: described(), KEYS_URL: key_set(rsa_signer())})
    reader = Reader(issuer(jwks=None), pages=pages)
    assert reader.verify(token()).subject == "ann"
    assert reader.web.asked == [DISCOVERY, KEYS_URL]


def test_an_address_for_every_tenant_is_explained() -> None:
    """Microsoft Entra describes common, organizations and consumers so."""
    every = "https://login.microsoftonline.com/{tenantid}/v2.0"
    reader = Reader(issuer(jwks=None), pages=Web({DISCOVERY: described(issuer=every)}))
    with pytest.raises(IssuerUnavailable, match="every tenant, so write the id of yours"):
        reader.verify(token())


def test_a_byte_order_mark_in_front_of_discovery_is_read_over() -> None:
    pages = Web({DISCOVERY: b"\xef\xbb\xbf" + described(), KEYS_URL: b"\xef\xbb\xbf" + key_set(rsa_signer())})
    assert Reader(issuer(jwks=None), pages=pages).verify(token()).subject == "ann"


def test_discovery_starts_below_an_issuer_with_a_slash_at_its_end() -> None:
    slashed = ISSUER + "/"
    pages = Web({DISCOVERY: described(issuer=slashed), KEYS_URL: key_set(rsa_signer())})
    reader = Reader(issuer(url=slashed, jwks=None), pages=pages)
    assert reader.verify(token(claims(iss=slashed))).subject == "ann"


@pytest.mark.parametrize(
    "document",
    [
        described(issuer="https://evil.example"),
        described(issuer=ISSUER + "/"),
        described(issuer=None),
        described(jwks_uri="http://id.example.com/keys"),
        described(jwks_uri="file:///etc/passwd"),
        described(jwks_uri="file://localhost/etc/passwd"),
        described(jwks_uri="file://127.0.0.1/etc/passwd"),
        described(jwks_uri="FILE://localhost/etc/passwd"),
        described(jwks_uri="ftp://id.example.com/keys"),
        described(jwks_uri="ftp://localhost/keys"),
        described(jwks_uri="data:application/json,{}"),
        described(jwks_uri="data://localhost/application/json,{}"),
        described(jwks_uri="http://localhost/keys"),
        described(jwks_uri="http://localhost:8080/keys"),
        described(jwks_uri="http://127.0.0.1/keys"),
        described(jwks_uri="http://[::1]/keys"),
        described(jwks_uri="http://keys.localhost/"),
        described(jwks_uri="HTTP://localhost/keys"),
        described(jwks_uri=" http://localhost/keys"),
        described(jwks_uri="ht\ntp://localhost/keys"),
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
    with pytest.raises(IssuerUnavailable):
        reader.verify(token())
    assert reader.web.asked == [DISCOVERY]


@pytest.mark.parametrize("keys", ["http://localhost:8080/keys", "http://127.0.0.1:9/k", "https://id.example.com/keys"])
def test_an_issuer_on_this_machine_may_have_its_keys_here_or_elsewhere(keys: str) -> None:
    local = "http://localhost:8080/realms/x"
    pages = Web({local + "/.well-known/openid-configuration": described(issuer=local, jwks_uri=keys)})
    pages.pages[keys] = key_set(rsa_signer())
    assert Reader(issuer(url=local, jwks=None), pages=pages).verify(token(claims(iss=local))).subject == "ann"


@pytest.mark.parametrize(
    "address", ["http://id.example.com/keys", "file://localhost/etc/passwd", "ftp://localhost/keys"]
)
def test_nor_does_an_issuer_on_this_machine_lead_anywhere_else(address: str) -> None:
    local = "http://localhost:8080/realms/x"
    pages = Web({local + "/.well-known/openid-configuration": described(issuer=local, jwks_uri=address)})
    pages.pages[address] = key_set(rsa_signer())
    with pytest.raises(IssuerUnavailable, match="jwks_uri"):
        Reader(issuer(url=local, jwks=None), pages=pages).verify(token(claims(iss=local)))


@pytest.mark.parametrize("form", ["", "issuer-"], ids=["original", "updated"])
@pytest.mark.parametrize(("pool", "host"), POOLS, ids=[pool for pool, _ in POOLS])
def test_the_keys_of_a_cognito_pool_are_below_its_issuer_in_either_form(form: str, pool: str, host: str) -> None:
    url = f"https://{form}{host}/{pool}"
    address = f"{url}/.well-known/jwks.json"
    reader = Reader(issuer(url=url, jwks=None), pages=Web({address: key_set(rsa_signer())}))
    assert reader.verify(token(claims(iss=url))).subject == "ann"
    assert reader.web.asked == [address]


@pytest.mark.parametrize(("pool", "host"), POOLS, ids=[pool for pool, _ in POOLS])
def test_a_pool_id_says_both_issuers(pool: str, host: str) -> None:
    original, updated = f"https://{host}/{pool}", f"https://issuer-{host}/{pool}"
    assert (issuers.cognito_issuer(pool), issuers.cognito_issuer(pool, updated=True)) == (original, updated)
    assert (issuers.other_form(original), issuers.other_form(updated)) == (updated, original)


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer-cognito-idp.us-east-1.amazonaws.com.evil.example/us-east-1_A",
        "https://cognito-idp.us-east-1.amazonaws.com.evil.example/us-east-1_A",
        "https://evil.example/cognito-idp.us-east-1.amazonaws.com/us-east-1_A",
        "https://evil-cognito-idp.us-east-1.amazonaws.com/us-east-1_A",
        "https://issuer-issuer-cognito-idp.us-east-1.amazonaws.com/us-east-1_A",
        "https://cognito-idp.evil.example.amazonaws.com/us-east-1_A",
        "https://cognito-idp.us-east-1.amazonaws.org/us-east-1_A",
        "http://cognito-idp.us-east-1.amazonaws.com/us-east-1_A",
        "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_A/b",
        "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_A\n",
    ],
)
def test_an_address_that_looks_like_cognito_is_another_issuer(url: str) -> None:
    assert not issuers.is_cognito(url)
    assert issuers.other_form(url) is None


@pytest.mark.parametrize("text", ["", "AbC123", "eu-central_Ab", "EU-central-1_Ab", "eu-central-1_Ab/c", "euscde-1_A"])
def test_what_is_not_the_id_of_a_pool(text: str) -> None:
    with pytest.raises(ValueError, match="not the id of a user pool"):
        issuers.cognito_issuer(text)


def test_discovery_is_made_again_when_keys_are_asked_for_again() -> None:
    moved = "https://id.example.com/moved"
    pages = Web({DISCOVERY: described(), KEYS_URL: key_set(rsa_signer())})
    reader = Reader(issuer(jwks=None), pages=pages)
    reader.verify(token())
    reader.web.pages = {DISCOVERY: described(jwks_uri=moved), moved: key_set(rsa_signer(kid="rsa-2"))}
    assert reader.verify(token(signer=rsa_signer(kid="rsa-2")), NOW + 10).subject == "ann"


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://a",
            "https://a:1/b",
            "http://localhost:1",
            "http://127.0.0.1/",
            "http://127.9.9.9",
            "http://[::1]:8/",
        ),
        *("http://kc.localhost:8080/realms/x", "http://a.b.localhost", "http://LOCALHOST/"),
    ],
)
def test_addresses_of_keys_that_are_safe(url: str) -> None:
    assert issuers.is_safe_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://a",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://evillocalhost",
        "http://.localhost",
        "http://a..localhost",
        "http://evil.example#.localhost",
        "http://evil.example/.localhost",
        "http://localhost.",
        "http://1270.0.0.1",
        *("file:///x", "file://localhost/x", "file://127.0.0.1/x", "ftp://localhost/x", "ws://localhost/x"),
        *("data://localhost/,x", "gopher://[::1]/x", "//localhost/x", "localhost", "http:localhost"),
        "https://",
        "https:a",
        "//a",
        "http://[::2]/",
        "http://127.0.0.1@evil.example/",
    ],
)
def test_addresses_of_keys_that_are_not_safe(url: str) -> None:
    assert not issuers.is_safe_url(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://id.example.com/a", "id.example.com"),
        ("https://ID.example.com:8443", "id.example.com"),
        ("http://127.0.0.1:80/a", "127.0.0.1"),
        ("http://[::1]:80", "::1"),
        ("http://localhost:80", "localhost"),
        ("http://id.localhost:80", "localhost"),
        ("https://id.localhost:80", "id.localhost"),
        ("http://evillocalhost", "evillocalhost"),
    ],
)
def test_names_below_localhost_are_this_machine_where_no_certificate_says_so(url: str, host: str) -> None:
    assert issuers.host_to_connect(url) == host
