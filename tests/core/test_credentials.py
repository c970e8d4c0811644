"""Where a credential is found and which one decides: the first that is present, also when it is bad."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagedoor.core import cookies
from stagedoor.core.credentials import (
    Credential,
    Sources,
    _cookie_names,
    find,
    find_session,
    is_signed,
    other_scheme,
    strip_query,
    without_pass,
)
from stagedoor.core.errors import InvalidCredential, InvalidPass
from stagedoor.core.messages import Headers
from tests.helpers.support import fields_of, token

ALL = Sources(("header", "cookie", "query"))
BACKWARDS = Sources(("query", "cookie", "header"))


def found(places: Sources = ALL, query: str = "", **fields: str | list[str]) -> Credential | None:
    return find(fields_of(**fields), query.encode("latin-1"), places)


def signed_url(**fields: str) -> Credential:
    """A pass in the query; its fields as keywords (`Key_Pair_Id="K"`)."""
    return Credential("signed-url", "", {name.replace("_", "-"): value for name, value in fields.items()})


def signed_cookies(**fields: str) -> Credential:
    return signed_url(**fields)._replace(kind="signed-cookies")


# --- order


def test_without_a_credential_there_is_none() -> None:
    assert found(cookie="theme=dark", query="page=2", accept="*/*") is None


def test_the_order_is_pass_then_tokens_then_session_then_pass_cookies() -> None:
    """Taking the strongest away uncovers the next."""
    cookies = ["token=c", "__Host-stagedoor=s", "CloudFront-Signature=x"]
    fields: dict[str, Any] = {"authorization": "Bearer h"}
    assert found(query="Signature=x&token=q", cookie=cookies, **fields) == signed_url(Signature="x")
    assert found(query="token=q", cookie=cookies, **fields) == Credential("header", "h")
    assert found(query="token=q", cookie=cookies) == Credential("cookie", "c")
    assert found(query="token=q", cookie=cookies[1:]) == Credential("query", "q")
    assert found(cookie=cookies[1:]) == Credential("session", "s")
    assert found(cookie=cookies[2:]) == signed_cookies(Signature="x")


def test_the_owner_chooses_the_order_of_the_middle() -> None:
    every: dict[str, Any] = {"authorization": "Bearer h", "cookie": "token=c"}
    assert found(BACKWARDS, query="token=q", **every) == Credential("query", "q")
    assert found(BACKWARDS, **every) == Credential("cookie", "c")
    assert found(BACKWARDS, authorization="Bearer h") == Credential("header", "h")


def test_a_place_that_is_not_listed_is_not_looked_at() -> None:
    only_header = Sources(("header",))
    assert found(only_header, cookie="token=c", query="token=q") is None
    assert found(Sources(("cookie",)), authorization="Bearer h") is None


def test_a_bad_cookie_is_not_ignored_for_a_weaker_one() -> None:
    assert found(cookie="token=rubbish; __Host-stagedoor=good") == Credential("cookie", "rubbish")
    assert found(cookie="token=; __Host-stagedoor=good") == Credential("cookie", "")


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "bearer  \t", "Bearer\tabc"])
def test_a_bad_header_is_not_ignored_for_a_cookie(header: str) -> None:
    with pytest.raises(InvalidCredential) as caught:
        found(authorization=header, cookie="token=good")
    assert (caught.value.code, caught.value.place) == ("credential-scheme", "header")


OTHER_SCHEMES = {
    "Basic dXNlcjpwYXNz": "has the scheme Basic",
    "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0": "has the scheme AWS4-HMAC-SHA256",
    "Negotiate YII=": "has the scheme Negotiate",
    "Basic": "does not begin with the word Bearer",
    "": "does not begin with the word Bearer",
    "abc": "does not begin with the word Bearer",
    "BearerX abc": "does not begin with the word Bearer",
    "Bearer=abc": "does not begin with the word Bearer",
    "eyJhbGciOiJSUzI1NiJ9eyJhbGciOiJSUzI1NiJ9 x": "does not begin with the word Bearer",
}


@pytest.mark.parametrize(("header", "said"), OTHER_SCHEMES.items())
def test_another_scheme_is_no_credential_of_ours(header: str, said: str) -> None:
    """What is said of it holds no part of a token, even where the header is nothing but one."""
    assert found(authorization=header) is None
    assert found(authorization=header, cookie="token=good") == Credential("cookie", "good")
    assert found(authorization=[header, "Bearer good"]) == Credential("header", "good")
    assert other_scheme(fields_of(authorization=header), ALL) == said
    assert other_scheme(fields_of(authorization=["Bearer x", header]), ALL) == said


@pytest.mark.parametrize("scheme", ["JWT ", "Token ", "DPoP ", "Basic ", ""])
def test_a_token_under_another_scheme_is_told_so_where_nothing_else_is_brought(scheme: str) -> None:
    header = f"{scheme}{token()}"
    with pytest.raises(InvalidCredential) as caught:
        found(authorization=header)
    assert (caught.value.code, caught.value.place) == ("credential-scheme", "header")
    assert token()[:20] not in str(caught.value)
    assert found(authorization=header, cookie="token=good") == Credential("cookie", "good")
    assert found(authorization=header, cookie="__Host-stagedoor=s") == Credential("session", "s")
    assert found(Sources(("cookie",)), authorization=header) is None


def test_only_where_the_header_is_looked_at_its_scheme_explains_anything() -> None:
    assert other_scheme(fields_of(authorization="Basic eDp5"), Sources(("cookie",))) is None
    assert other_scheme(fields_of(authorization="Bearer x"), ALL) is None
    assert other_scheme({}, ALL) is None


def test_our_session_is_found_whatever_else_there_is() -> None:
    fields = fields_of(authorization="Bearer x", cookie=["token=a; token=b", "x=y; __Host-stagedoor=s"])
    assert find_session(fields, ALL) == Credential("session", "s")
    assert find_session(fields_of(cookie="__Host-stagedoor=s; __Host-stagedoor=s"), ALL) == Credential("session", "s")
    assert find_session(fields_of(cookie="__Host-stagedoor=s; __Host-stagedoor=t"), ALL) is None
    assert find_session(fields_of(cookie="token=a"), ALL) is None


@pytest.mark.parametrize("value", ["Bearer abc", '"Bearer abc"', "Bearer%20abc", "bearer+abc"])
def test_a_cookie_that_holds_the_word_bearer_too_is_told_so(value: str) -> None:
    with pytest.raises(InvalidCredential, match="begins with the word Bearer") as caught:
        found(cookie=f"token={value}")
    assert (caught.value.code, caught.value.place) == ("credential-scheme", "cookie")


@pytest.mark.parametrize(
    "header", ["Bearer abc", "bearer abc", "BEARER abc", "Bearer   abc  ", "Bearer abc\t", "Bearer abc \t "]
)
def test_the_scheme_is_read_without_regard_to_case(header: str) -> None:
    assert found(authorization=header) == Credential("header", "abc")


# --- twice


@pytest.mark.parametrize(
    "fields",
    [
        {"cookie": "token=a; token=b"},
        {"cookie": ["token=a", "token=b"]},
        {"cookie": "__Host-stagedoor=a; __Host-stagedoor=b"},
        {"authorization": ["Bearer a", "Bearer b"]},
        {"authorization": ["Bearer a", "bearer a"]},
        {"query": "token=a&token=b"},
        {"query": "token=a&%74oken=b"},
    ],
    ids=str,
)
def test_the_same_credential_twice_with_different_values_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidCredential) as caught:
        found(**fields)
    assert caught.value.code == "credential-twice"


def test_the_same_credential_twice_with_one_value_is_one() -> None:
    assert found(cookie=["token=a; x=y", "token=a"]) == Credential("cookie", "a")
    assert found(authorization=["Bearer a", "Bearer a"]) == Credential("header", "a")
    assert found(query="token=a&b=c&token=a") == Credential("query", "a")


def test_two_values_of_a_place_that_does_not_decide_do_no_harm() -> None:
    assert found(authorization="Bearer h", cookie="token=a; token=b") == Credential("header", "h")


# --- cookies


@pytest.mark.parametrize(
    "foreign",
    [
        '{"a":1,"b":[2]}',
        'prefs={"theme":"dark","x":[1,2]}',
        "a[b]=c",
        'q="unclosed',
        "=nameless",
        "naked",
        "a=b=c==",
        "\xff\xfe=\xfa",
        "",
        ";;;",
        "Path=/",
        "a b c=d e f",
        'x="token=stolen"',
    ],
)
def test_a_foreign_cookie_does_not_hide_ours(foreign: str) -> None:
    for line in (f"{foreign}; token=ours", f"token=ours; {foreign}", f"{foreign};token=ours;{foreign}"):
        assert found(cookie=line) == Credential("cookie", "ours")
    assert found(cookie=[foreign, "token=ours"]) == Credential("cookie", "ours")


def test_a_cookie_is_found_in_any_of_several_field_lines() -> None:
    assert found(cookie=["a=1; b=2", "c=3", "token=ours; d=4"]) == Credential("cookie", "ours")


def test_names_of_cookies_are_matched_exactly() -> None:
    for name in ("Token", "TOKEN", "token2", "xtoken", "tok%65n", "token[]"):
        assert found(cookie=f"{name}=x") is None


def test_values_of_cookies_are_taken_as_they_are() -> None:
    assert found(cookie='token="abc"') == Credential("cookie", '"abc"')
    assert found(cookie="token=a%2Eb") == Credential("cookie", "a%2Eb")
    assert found(cookie="token =  abc\t; x=y") == Credential("cookie", "abc")


def test_the_mistake_with_curl_is_explained() -> None:
    with pytest.raises(InvalidCredential, match='--cookie "token=…"') as caught:
        found(cookie="Cookie: token=abc")
    assert caught.value.code == "credential-misnamed"
    assert "abc" not in str(caught.value)


def test_other_names_for_the_cookies_are_the_ones_that_count() -> None:
    places = Sources(("cookie", "query"), "jwt", "access", "stagedoor")
    assert found(places, cookie="token=a; jwt=b") == Credential("cookie", "b")
    assert found(places, cookie="__Host-stagedoor=a; stagedoor=b") == Credential("session", "b")
    assert found(places, query="token=a&access=b") == Credential("query", "b")


@given(
    st.lists(
        st.one_of(st.binary(max_size=60), st.text(alphabet='token=;, "\\ab[]{}:Cookie', max_size=60).map(str.encode)),
        max_size=5,
    )
)
def test_no_cookie_header_whatever_breaks_the_search(lines: list[bytes]) -> None:
    assert outcome({b"cookie": lines}, b"") in {
        None,
        *("cookie", "session", "signed-cookies"),
        *("credential-twice", "credential-misnamed", "credential-scheme"),
    }


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_query_and_no_authorization_whatever_break_the_search(query: bytes, header: bytes) -> None:
    found_or_not = outcome({b"authorization": [header]}, query)
    assert found_or_not in (None, "signed-url", "query", "header", "credential-scheme", "credential-twice")


def outcome(headers: Headers, query: bytes) -> str | None:
    """The kind of the credential, or the code of the refusal; any other error is a fault."""
    try:
        credential = find(headers, query, BACKWARDS)
    except InvalidCredential as error:
        return error.code
    return credential.kind if credential else None


# --- passes


SIGNING = ("Expires", "Policy", "Signature", "Key-Pair-Id", "Hash-Algorithm")
"""Of a signed URL (CloudFront, "Create a signed URL using a canned policy", "… a custom policy")."""


@pytest.mark.parametrize("field", SIGNING)
def test_any_signing_parameter_makes_the_url_a_signed_one(field: str) -> None:
    assert found(query=f"a=b&{field}=x", authorization="Bearer h") == signed_url(**{field: "x"})
    assert found(query=field) == signed_url(**{field: ""})


def test_a_signing_parameter_counts_however_its_name_is_encoded() -> None:
    assert found(query="%53ignature=x") == signed_url(Signature="x")
    assert found(query="Key%2DPair%2dId=x") == signed_url(Key_Pair_Id="x")
    assert found(query="signature=x") is None


def test_the_fields_of_a_pass_are_decoded_once_and_nothing_else_is_among_them() -> None:
    query = "Policy=p%7E~%2525&a=b&Signature=s+t&token=q&Key-Pair-Id=k&Expires=1&Hash-Algorithm=SHA256"
    fields = {"Policy": "p~~%25", "Signature": "s+t", "Key-Pair-Id": "k", "Expires": "1", "Hash-Algorithm": "SHA256"}
    assert found(query=query) == signed_url(**fields)
    cookie = "a=b; CloudFront-Policy=p; CloudFront-Key-Pair-Id=k; Policy=other; CloudFront-Signature=s%7E"
    assert found(cookie=cookie) == signed_cookies(Policy="p", Key_Pair_Id="k", Signature="s%7E")


@pytest.mark.parametrize("field", SIGNING)
def test_a_pass_cookie_is_the_last_resort(field: str) -> None:
    assert found(cookie=f"CloudFront-{field}=x") == signed_cookies(**{field: "x"})
    assert found(cookie=f"CloudFront-{field}=x; __Host-stagedoor=s") == Credential("session", "s")


@pytest.mark.parametrize(
    "fields",
    [
        {"query": "Expires=1&Signature=a&Signature=b"},
        {"query": "Expires=1&%45xpires=2"},
        {"cookie": "CloudFront-Signature=a; CloudFront-Signature=b; CloudFront-Policy=p"},
        {"cookie": ["CloudFront-Policy=a", "CloudFront-Policy=b; CloudFront-Policy=a; CloudFront-Signature=s"]},
        {"cookie": "; ".join(f"CloudFront-Policy={n}; CloudFront-Signature=s" for n in range(9))},
    ],
    ids=str,
)
def test_a_pass_with_two_values_of_one_field_is_refused_as_a_pass(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidPass) as caught:
        found(**fields)
    assert caught.value.code == "credential-twice"


@given(
    st.lists(
        st.sampled_from(
            [
                "token",
                "Cookie: token",
                "x",
                "__Host-stagedoor",
                "CloudFront-Policy",
                "=",
                ";",
                " ",
                "\t",
                "; ",
                "\n",
                ",",
            ]
        ),
        max_size=14,
    ).map("".join)
)
@example("token=1;token =2; token= 3 ;token")
@example("xtoken=1; token=")
@example("; token=1")
def test_a_cookie_line_is_read_as_pair_after_pair(line: str) -> None:
    sources = Sources()
    pairs = [(name, value) for name, equals, value in (pair.partition("=") for pair in line.split(";")) if equals]
    wanted = [(name.strip(" \t"), value.strip(" \t")) for name, value in pairs]
    names = _cookie_names(sources)
    read = [(name.decode(), value.decode()) for name, value in cookies.read([line.encode()], names)]
    assert read == [(name, value) for name, value in wanted if name.encode() in names]


def test_pass_cookies_are_sorted_into_sets_by_position() -> None:
    first, second = {"Policy": "a", "Signature": "x"}, {"Policy": "b", "Signature": "y"}
    for line in (
        "CloudFront-Policy=a; CloudFront-Signature=x; CloudFront-Policy=b; CloudFront-Signature=y",
        "CloudFront-Policy=a; CloudFront-Policy=b; CloudFront-Signature=x; CloudFront-Signature=y",
        "CloudFront-Signature=x; CloudFront-Policy=a; CloudFront-Policy=b; other=1; CloudFront-Signature=y",
    ):
        assert found(cookie=line) == signed_cookies(**first)._replace(other_sets=(second,))
    eight = "; ".join(f"CloudFront-Policy={n}; CloudFront-Signature=s" for n in range(8))
    credential = found(cookie=eight)
    assert credential is not None
    assert [one["Policy"] for one in (credential.fields, *credential.other_sets)] == list("01234567")


def test_the_same_field_of_a_pass_twice_with_one_value_is_one() -> None:
    assert found(query="Signature=a&Signature=a") == signed_url(Signature="a")
    assert found(cookie=["CloudFront-Policy=a", "CloudFront-Policy=a"]) == signed_cookies(Policy="a")


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        ("", ""),
        ("Expires=1&Signature=s&Key-Pair-Id=k&x=y", "x=y"),
        ("a=%20+%zz&Policy=p&&Hash-Algorithm=SHA256&%50olicy=q", "a=%20+%zz&"),
        ("token=x&Signature=s&expires=1", "token=x&expires=1"),
    ],
)
def test_a_url_without_its_pass_is_the_same_byte_for_byte(query: str, rest: str) -> None:
    assert without_pass(query.encode("latin-1")) == rest.encode("latin-1")
    assert is_signed(query.encode("latin-1")) is (query != rest)


# --- taking credentials out


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        ("", ""),
        ("a=1", "a=1"),
        ("token=x", ""),
        ("a=1&token=x&b=2", "a=1&b=2"),
        ("tok%65n=x&a=%20+%zz", "a=%20+%zz"),
        ("a=1&&b&=&c=", "a=1&&b&=&c="),
        ("token&a", "a"),
        ("token=x&token=y", ""),
        ("Token=x&tokens=y", "Token=x&tokens=y"),
        ("Expires=1&Signature=s&Key-Pair-Id=k&x=y", "x=y"),
        ("Policy=p&Hash-Algorithm=SHA256&%50olicy=q", ""),
        ("next=%3Ftoken%3Dx", "next=%3Ftoken%3Dx"),
        ("a=\xff&token=x", "a=\xff"),
    ],
)
def test_credentials_are_taken_out_and_the_rest_is_kept_byte_for_byte(query: str, rest: str) -> None:
    assert strip_query(query.encode("latin-1"), ALL) == rest.encode("latin-1")


@given(
    st.lists(
        st.sampled_from([b"a=1", b"", b"token=x", b"t%6Fken=y", b"Signature=s", b"b", b"%zz=%", b"=="]), max_size=6
    )
)
def test_what_is_left_brings_no_credential_and_lost_nothing_else(parts: list[bytes]) -> None:
    rest = strip_query(b"&".join(parts), ALL)
    assert find({}, rest, ALL) is None
    assert rest == b"&".join(part for part in parts if part in (b"a=1", b"", b"b", b"%zz=%", b"=="))
