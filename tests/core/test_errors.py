"""One tree of errors, each with a code of its own; a settings error names its place."""

from __future__ import annotations

import inspect
import re

import pytest

from stagedoor.core import errors
from stagedoor.core.errors import SettingsError, StagedoorError

CLASSES = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, StagedoorError)]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: list[tuple[int, str]] = [
        (len(found[1]) // 4, found[2]) for found in re.finditer(r"^([│├└─ ]*)(\w+)", _drawing(), re.MULTILINE)
    ]
    assert sorted(name for _, name in drawn) == sorted(one.__name__ for one in CLASSES)
    above: list[str] = []
    for depth, name in drawn:
        above[depth:] = [name]
        one: type[StagedoorError] = getattr(errors, name)
        assert one.__base__ is not None
        assert one.__base__.__name__ == (above[depth - 1] if depth else "Exception")


def _drawing() -> str:
    lines = (errors.__doc__ or "").splitlines()
    return "\n".join(line for line in lines if re.match(r"[│├└]|StagedoorError$", line))


def test_codes_are_short_stable_and_all_different() -> None:
    codes = [one.code for one in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_one_error_may_have_a_closer_code() -> None:
    assert errors.InvalidToken("x").code == "token"
    assert errors.InvalidToken("x", code="token-expired").code == "token-expired"
    assert errors.InvalidToken("x").code == "token"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SettingsError("it is wrong"), "it is wrong"),
        (SettingsError("it is wrong", source="a.toml"), "a.toml: it is wrong"),
        (SettingsError("it is wrong", source="a.toml", line=3, setting="site.url"), "a.toml:3: site.url: it is wrong"),
        (SettingsError("it is wrong", setting="site.url", mend="write x"), "site.url: it is wrong\n  write x"),
    ],
)
def test_a_settings_error_says_where_what_and_how_to_mend_it(error: SettingsError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("'https://me:s3cr3t@h.example/x' is no URL", "'https://…@h.example/x' is no URL"),
        ("'https://me:s3 cr/3t?@h.example' is no URL", "'https://…@h.example' is no URL"),
        ("https://s3cr3t@h.example: connection refused", "https://…@h.example: connection refused"),
        ("could not ask https://h.example/k?key=s3cr3t twice", "could not ask https://h.example/k?… twice"),
        ("https://h.example/#s3cr3t", "https://h.example/#…"),
        ("'me:s3cr3t@h.example/x' is not an https URL", "'…@h.example/x' is not an https URL"),
        ("redis://:s3cr3t@h.example:6379/0 is away", "redis://…@h.example:6379/0 is away"),
        ("there is no file /srv/https:/me:s3cr3t@h/x", "there is no file /srv/https:/…@h/x"),
        ("there is no file /srv/me:s3cr3t@h/x", "there is no file /srv/…@h/x"),
        ("'//me:s3cr3t@h.example' is no URL", "'//…@h.example' is no URL"),
    ],
)
def test_no_message_quotes_the_credentials_of_a_url(said: str, shown: str) -> None:
    assert str(StagedoorError(said)) == shown
    error = SettingsError(said, source="a.toml", setting="site.url", mend=said)
    for text in (str(error), error.problem, error.mend):
        assert "s3cr3t" not in text


@pytest.mark.parametrize(
    "said",
    [
        'write "ann@example.com" or "@example.com"',
        "https://id.example.com/tenant: connection refused",
        "there is no file /srv/a.pem",
        "rules[0].path: 'users/ann@example.com/**' never matches",
        'link to "/#route"',
        "127.0.0.1:8080 is in use",
    ],
)
def test_a_message_without_them_stays_as_it_is(said: str) -> None:
    assert str(StagedoorError(said)) == said
