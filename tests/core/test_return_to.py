"""Where a visitor goes after sign-in: byte for byte where they wanted to go, and never to another site."""

from __future__ import annotations

from itertools import product
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stagedoor.core.return_to import MAX_BYTES, resolved, return_to
from tests.helpers.support import SITE

KEPT = [
    "/",
    "/a",
    "/a%20b%2Bc?x=1%262&y=%C3%BC#part/2",
    "/a//b",
    "/users/ann/;a=b",
    "/-/whoami",
    "/-/loginx",
    "/-/s3objects?next=/-/login",
    "/?a=https://evil.example/",
    "/a?x=//evil.example",
    "/" + "a" * (MAX_BYTES - 1),
]
HOME = [
    None,
    "",
    "a",
    "https://evil.example/",
    "HTTPS://assets.example.com/a",
    f"{SITE}.evil.example/a",
    f"{SITE}@evil.example/a",
    f"{SITE}:1/a",
    "javascript:alert(1)",
    "\\evil.example",
    "/a\r\nSet-Cookie: x=y",
    "/\t/evil.example",
    "/a\x00",
    "/\x7f",
    "/" + "a" * MAX_BYTES,
    "/" + "a" * MAX_BYTES + "?b",
    *(
        f"/-/{name}{more}"
        for name in ("login", "callback", "renew", "logout")
        for more in ("", "/", "/x", "?next=/a", "#a")
    ),
    "/-\\login",
    "\\-/login",
    "/./-/login",
    "/x/../-/login",
    "/x/%2e%2E/-/login",
    "/-/%2e/login",
    "/-/x/.%2e/login",
    "/../../-/login?x",
    "/-/./logout#a",
    "/./-/login/.",
    "/./-/login/x/..",
]


@pytest.mark.parametrize("asked", KEPT)
def test_an_address_of_this_site_is_kept_byte_for_byte(asked: str) -> None:
    assert return_to(asked, SITE) == asked
    assert return_to(SITE + asked, SITE) == asked


@pytest.mark.parametrize("asked", HOME, ids=ascii)
def test_anything_else_is_the_first_page(asked: str | None) -> None:
    assert return_to(asked, SITE) == "/"


def test_a_long_address_keeps_its_path() -> None:
    assert return_to(f"/a/b?{'x' * MAX_BYTES}", SITE) == "/a/b"
    assert return_to(f"/a/b#{'x' * MAX_BYTES}", SITE) == "/a/b"


def test_letters_beyond_ascii_are_encoded() -> None:
    assert return_to("/ü b?ä", SITE) == "/%C3%BC%20b?%C3%A4"
    assert return_to("/\ud800", SITE) == "/%3F"


@given(st.text(alphabet=st.sampled_from("/\\.:@?#%2eE-login\t\n ax[]é"), max_size=40))
@example("//evil.example")
@example("/\\evil.example")
@settings(max_examples=300, deadline=None)
def test_whatever_is_asked_for_the_site_stays_the_same(asked: str) -> None:
    found = return_to(asked, SITE)
    assert found.startswith("/")
    assert found.isascii()
    assert not set(found) & set("\r\n\t \x00")
    assert urlsplit(SITE + found).netloc == urlsplit(SITE).netloc
    assert not resolved(found.partition("?")[0].partition("#")[0]).startswith(("/-/login/", "/-/logout/"))


@pytest.mark.parametrize("length", range(1, 6))
def test_dot_segments_lead_where_the_standard_library_goes(length: int) -> None:
    """RFC 3986 §5.2.4, whose answers are the browsers' for paths without empty segments and backslashes."""
    for segments in product((".", "..", "-", "login"), repeat=length):
        path = "/" + "/".join(segments)
        wanted = urlsplit(urljoin(SITE, path)).path
        assert resolved(path) == wanted, path
        assert resolved(path.replace("..", "%2e%2E").replace("/.", "\\%2e")) == wanted, path
