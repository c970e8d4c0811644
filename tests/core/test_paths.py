"""Request target <-> key: whatever two programs could read differently is refused (invariant 1)."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stagedoor.core import paths
from stagedoor.core.errors import InvalidTarget

ODD_KEYS = (
    "funny.png",
    "a b+c%.txt",
    "ü.txt",
    "u\u0308.txt",
    "..hidden",
    "...",
    ".well-known/x",
    "a#b",
    "q?m",
    "a%2Fb",
    "trail/",
    "x//y",
    "a//",
    "quote\"'.txt",
    "a;b,c:d@e=f&g",
    "\u202e.exe",
    "🎬/film.mp4",
    "{sub}/*",
    "-",
    "~home",
)

REFUSED = {
    "no leading slash": b"a",
    "empty": b"",
    "two leading slashes": b"//x",
    "three leading slashes": b"///",
    "encoded NUL": b"/%00",
    "encoded NUL in the middle": b"/a%00b",
    "encoded slash": b"/a%2fb",
    "encoded slash, upper case": b"/a%2Fb",
    "encoded backslash": b"/a%5cb",
    "encoded backslash, upper case": b"/a%5Cb",
    "raw backslash": b"/a\\b",
    "dot": b"/.",
    "dot segment": b"/a/./b",
    "dot-dot": b"/..",
    "dot-dot segment": b"/a/../b",
    "dot-dot at the end": b"/a/..",
    "encoded dot": b"/%2e",
    "encoded dot-dot": b"/a/%2e%2e/b",
    "encoded dot-dot, upper case": b"/a/%2E%2E",
    "half encoded dot-dot": b"/a/.%2e/b",
    "other half encoded dot-dot": b"/a/%2e./b",
    "percent at the end": b"/a%",
    "percent and one digit": b"/a%2",
    "percent and no digits": b"/a%zz",
    "percent u": b"/%u0041",
    "percent percent": b"/%%41",
    "percent and a sign": b"/%+1",
    "percent and a space": b"/% 1",
    "byte that is never UTF-8": b"/%ff",
    "lone continuation": b"/%80",
    "cut off sequence": b"/%c3",
    "overlong slash": b"/%c0%af",
    "overlong dot": b"/%c0%ae%c0%ae/",
    "overlong slash, three bytes": b"/%e0%80%af",
    "overlong NUL": b"/%c0%80",
    "surrogate": b"/%ed%a0%80",
    "surrogate pair": b"/%ed%a0%bd%ed%b8%80",
    "beyond Unicode": b"/%f4%90%80%80",
    "encoded newline": b"/a%0ab",
    "encoded carriage return": b"/a%0db",
    "encoded tab": b"/%09",
    "encoded unit separator": b"/%1f",
    "encoded DEL": b"/%7f",
    "first C1 control": b"/%c2%80",
    "next line, a C1 control": b"/%c2%85",
    "last C1 control": b"/%c2%9f",
    "raw NUL": b"/\x00",
    "raw newline": b"/a\nb",
    "raw newline at the end": b"/a\n",
    "raw tab": b"/a\tb",
    "raw DEL": b"/\x7f",
    "raw space": b"/a b",
    "raw number sign": b"/a#b",
    "raw question mark": b"/a?b",
    "raw quotation mark": b'/a"b',
    "raw less-than sign": b"/a<b",
    "raw greater-than sign": b"/a>b",
    "raw UTF-8": "/ü".encode(),
    "raw Latin-1": b"/\xfc",
    "absolute form": b"https://example.com/a",
    "asterisk form": b"*",
    "too long": b"/" + b"a" * 1025,
    "too long once decoded": b"/" + b"%c3%bc" * 513,
}

READ = {
    b"/": "",
    b"/a": "a",
    b"/a/": "a/",
    b"/a//b": "a//b",
    b"/a+b": "a+b",
    b"/a%2Bb": "a+b",
    b"/a%20b": "a b",
    b"/%61": "a",
    b"/A": "A",
    b"/%C3%BC": "ü",
    b"/%c3%bc": "ü",
    b"/%c2%a0": "\xa0",
    b"/%252e%252e": "%2e%2e",
    b"/%252e%252e/x": "%2e%2e/x",
    b"/a%252fb": "a%2fb",
    b"/%25": "%",
    b"/a%3fb": "a?b",
    b"/a%23b": "a#b",
    b"/a;b=c": "a;b=c",
    b"/a!$&'()*,=:@b": "a!$&'()*,=:@b",
    b"/..a": "..a",
    b"/a..": "a..",
    b"/...": "...",
    b"/.a/b": ".a/b",
    b"/%2d/x": "-/x",
    b"/" + b"a" * 1024: "a" * 1024,
}


def is_key(text: str) -> bool:
    try:
        paths.check_key(text)
    except InvalidTarget:
        return False
    return True


KEYS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="aA.%/+ 2fFeEü~?#", max_size=20),
    st.lists(st.sampled_from(ODD_KEYS), min_size=1, max_size=4).map("/".join),
)


@pytest.mark.parametrize("target", REFUSED.values(), ids=REFUSED.keys())
def test_an_ambiguous_target_is_refused(target: bytes) -> None:
    with pytest.raises(InvalidTarget):
        paths.decode(target)


@pytest.mark.parametrize(("target", "key"), READ.items(), ids=[str(target)[2:40] for target in READ])
def test_a_target_is_decoded_once_and_nothing_else_is_done_to_it(target: bytes, key: str) -> None:
    assert paths.decode(target) == key


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_survive_the_way_out_and_back(key: str) -> None:
    assert paths.decode(paths.encode(key).encode("ascii")) == key


@given(KEYS.filter(is_key))
def test_every_key_has_one_path_that_names_it(key: str) -> None:
    path = paths.encode(key)
    assert re.fullmatch(r"/(?:[A-Za-z0-9\-._~/]|%[0-9A-F]{2})*", path)
    assert paths.decode(path.encode("ascii")) == key


@given(st.one_of(st.binary(max_size=30), KEYS.map(lambda key: ("/" + key).encode("utf-8", "surrogatepass"))))
@example(b"/%7Euser")
@example(b"/a%2eb")
def test_whatever_is_read_can_be_written_and_means_the_same(target: bytes) -> None:
    try:
        key = paths.decode(target)
    except InvalidTarget:
        return
    canonical = paths.encode(key).encode()
    assert paths.decode(canonical) == key
    assert paths.encode(paths.decode(canonical)).encode() == canonical


@given(st.text(alphabet="abcAB.~-_/", max_size=20))
def test_the_quick_way_for_plain_targets_says_what_the_long_way_says(tail: str) -> None:
    """A percent-encoded first letter takes the long way; both must agree."""
    quick, slow = b"/a" + tail.encode(), b"/%61" + tail.encode()
    assert read(quick) == read(slow)


def read(target: bytes) -> str | None:
    try:
        return paths.decode(target)
    except InvalidTarget:
        return None


def test_letters_that_look_the_same_are_different_keys() -> None:
    assert paths.decode(b"/%C3%BC") != paths.decode(b"/u%CC%88")  # composed and decomposed
    assert paths.decode(b"/File") != paths.decode(b"/file")
    assert paths.decode(b"/a//b") != paths.decode(b"/a/b")


@pytest.mark.parametrize(
    "key",
    ["/a", "//", "a/../b", "..", ".", "a/.", "a\\b", "a\x00", "a\x85", "\ud800", "a\udfffb", "ü" * 513, "a" * 1025],
)
def test_a_key_that_no_target_names_is_not_encoded(key: str) -> None:
    with pytest.raises(InvalidTarget):
        paths.encode(key)


def test_a_key_of_exactly_the_longest_size_is_fine() -> None:
    key = "ü" * 512
    assert paths.decode(paths.encode(key).encode()) == key


def test_a_very_long_target_is_refused_quickly() -> None:
    for target in (b"/" + b"a/" * 500_000, b"/" + b"%41" * 300_000, b"/a" * 500_000 + b"%"):
        with pytest.raises(InvalidTarget):
            paths.decode(target)


def test_the_message_says_what_is_wrong() -> None:
    with pytest.raises(InvalidTarget, match="encoded slash") as caught:
        paths.decode(b"/a%2fb")
    assert caught.value.code == "target"
