"""`stagedoor sign`: what it signs opens exactly that, at the door and with curl."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from stagedoor.core.door import Door
from stagedoor.core.drivers import run
from stagedoor.core.messages import Serve
from stagedoor.core.paths import encode
from stagedoor.settings import parse
from stagedoor.settings.site import make_door
from tests.helpers import commands, serving
from tests.helpers.commands import Said
from tests.helpers.servers import free_port
from tests.helpers.stores import ODD_KEYS
from tests.helpers.support import NOW, VECTORS, request

KEYS = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
SITE = "https://assets.example.com"
SETTINGS = f"""
[site]
url = "{SITE}"
store = "./assets"
[passes]
key_id = "K1"
private_key = "file:K1.pem"
max_lifetime = "2h"
[[rules]]
path = "**"
deny = "anyone"
"""
HOUR = 3600

Command = Callable[..., Said]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = commands.stage(tmp_path, monkeypatch)
    (folder / "K1.pem").write_text(KEYS["ec"]["priv"])
    (folder / "stagedoor.toml").write_text(SETTINGS)
    return folder


@pytest.fixture
def stagedoor(stage: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return lambda *words: commands.say(capsys, *words)


@cache
def door_here(folder: Path, text: str) -> Door:
    return make_door(parse(text, folder / "stagedoor.toml", {}))


def opened(target: str, *, now: float = NOW, client: str = "192.0.2.1", **fields: str) -> str | None:
    """The key that a door with the settings here serves for a request target; None: it refuses."""

    def nothing(wish: object) -> Any:
        raise AssertionError(f"the door asked for {wish}")

    door = door_here(Path.cwd(), Path("stagedoor.toml").read_text())
    answer = run(door.answer(request(target, **fields)._replace(client=client), now), nothing)
    return answer.key if isinstance(answer, Serve) else None


def signed(said: Said) -> str:
    """The target of the URL that was signed, which is all of standard output."""
    assert said.code == 0, said.err
    assert said.out.startswith(f"{SITE}/")
    assert len(said.out.split()) == 1
    assert said.out.endswith("\n")
    return said.out.strip().removeprefix(SITE)


# --- URLs


@pytest.mark.parametrize("key", ODD_KEYS)
def test_every_legal_key_can_be_signed_and_opens_that_object_alone(key: str, stagedoor: Command) -> None:
    target = signed(stagedoor("sign", "url", "--", key))
    assert opened(target) == key
    assert opened(target, now=NOW + 2 * HOUR - 1) == key
    assert opened(target, now=NOW + 2 * HOUR) is None
    other = encode(f"{key}x")
    assert opened(f"{other}?{target.partition('?')[2]}") is None


def test_a_url_is_signed_as_it_stands(stagedoor: Command) -> None:
    target = signed(stagedoor("sign", "url", f"{SITE}/a%20b/%7Ex?page=2&lang=de"))
    assert target.startswith("/a%20b/%7Ex?page=2&lang=de&")
    assert opened(target) == "a b/~x"
    assert opened(target.replace("page=2", "page=3")) is None


def test_a_slash_before_the_key_is_that_of_its_path(stagedoor: Command) -> None:
    assert opened(signed(stagedoor("sign", "url", "/a/b"))) == "a/b"


def test_a_folder_is_its_index_as_at_the_door(stage: Path, stagedoor: Command) -> None:
    index = 'index = "index.html"\ntrust_html = true\n[passes]'
    (stage / "stagedoor.toml").write_text(SETTINGS.replace("[passes]", index))
    target = signed(stagedoor("sign", "url", "docs/"))
    assert target.startswith("/docs/index.html?")
    assert opened(target) == "docs/index.html"
    assert opened(signed(stagedoor("sign", "url", f"{SITE}/docs/"))) == "docs/index.html"


def test_it_begins_ends_and_is_for_one_network(stagedoor: Command) -> None:
    target = signed(stagedoor("sign", "url", "x", "--starts-in", "5m", "--expires-in", "1h", "--ip", "192.0.2.0/24"))
    assert opened(target, now=NOW + 300) is None
    assert opened(target, now=NOW + 301) == "x"
    assert opened(target, now=NOW + HOUR) is None
    assert opened(target, now=NOW + 301, client="198.51.100.1") is None
    assert opened(target, now=NOW + 301, client="2001:db8::1") is None


@pytest.mark.parametrize(
    ("pattern", "opens", "keeps_shut"),
    [
        ("courses/7/*", ("courses/7/a", "courses/7/b/c"), ("courses/70/a", "courses/8/a")),
        ("/courses/7/*", ("courses/7/b",), ("courses/8/a",)),
        (f"{SITE}/courses/7/*", ("courses/7/b",), ("courses/8/a",)),
        ("courses/?/a", ("courses/8/a",), ("courses/70/a", "courses/7/b")),
        ("courses/7/a*.ts", ("courses/7/a1.ts",), ("courses/7/b.ts",)),
    ],
)
def test_a_wildcard_opens_what_it_names(
    pattern: str, opens: tuple[str, ...], keeps_shut: tuple[str, ...], stagedoor: Command
) -> None:
    own = "courses/7/a.ts" if ".ts" in pattern else "courses/7/a"
    target = signed(stagedoor("sign", "url", own, "--wildcard", pattern))
    assert opened(target) == own
    query = target.partition("?")[2]
    for key in opens:
        assert opened(f"{encode(key)}?{query}") == key
    for key in keeps_shut:
        assert opened(f"{encode(key)}?{query}") is None


def test_what_is_a_wildcard_in_passes_is_none_in_a_key(stagedoor: Command) -> None:
    query = signed(stagedoor("sign", "url", "a*", "--ip", "192.0.2.1")).partition("?")[2]
    assert opened(f"/a%2A?{query}") == "a*"
    assert opened(f"/ab?{query}") is None
    assert stagedoor("sign", "url", f"{SITE}/a*").code == 2
    odd = signed(stagedoor("sign", "url", "ö/b c", "--wildcard", "ö/*"))
    assert opened(odd) == "ö/b c"


def test_a_pass_for_all_of_the_site_is_pointed_out(stagedoor: Command) -> None:
    for words in (("url", "x", "--wildcard", "*"), ("url", "x", "--wildcard", f"{SITE}/*"), ("cookies", "/")):
        assert "warning: this opens every object of the site" in stagedoor("sign", *words).err
    assert "warning" not in stagedoor("sign", "url", "x", "--wildcard", "x*").err


def test_max_lifetime_is_the_default_and_binds_the_owner_not(stagedoor: Command) -> None:
    at_most, longer = (
        stagedoor("sign", "url", "x", "--expires-in", "2h"),
        stagedoor("sign", "url", "x", "--expires-in", "3d"),
    )
    assert f"Expires={int(NOW) + 2 * HOUR}&" in stagedoor("sign", "url", "x").out
    assert "max_lifetime" not in at_most.err
    assert "warning: this pass lasts longer than [passes] max_lifetime" in longer.err
    assert opened(signed(longer), now=NOW + 71 * HOUR) == "x"


def test_the_hash_is_that_of_the_settings(stage: Path, stagedoor: Command) -> None:
    (stage / "stagedoor.toml").write_text(SETTINGS.replace("[passes]", '[passes]\nhash = "sha1"'))
    target = signed(stagedoor("sign", "url", "x"))
    assert "Hash-Algorithm" not in target
    assert opened(target) == "x"


def test_help_says_that_the_rules_are_not_asked(stagedoor: Command) -> None:
    for words in ((), ("url",), ("cookies",)):
        assert "rules are not asked" in " ".join(stagedoor("sign", *words, "--help").out.split())


# --- cookies


def cookie_lines(said: Said) -> list[str]:
    assert said.code == 0, said.err
    return [line.removeprefix("Cookie: ") for line in said.out.splitlines()]


def test_cookies_open_their_folder(stagedoor: Command) -> None:
    for written in ("courses/ö 7", "courses/ö 7/", "/courses/ö 7/", f"{SITE}/courses/%C3%B6%207/"):
        (cookie,) = cookie_lines(stagedoor("sign", "cookies", written, "--expires-in", "1h"))
        assert opened("/courses/%C3%B6%207/a", cookie=cookie) == "courses/ö 7/a"
        assert opened("/courses/%C3%B6%207/a", cookie=cookie, now=NOW + HOUR) is None
        assert opened("/courses/%C3%B6%2070/a", cookie=cookie) is None
        assert opened("/courses/8/a", cookie=cookie) is None


def test_each_folder_has_cookies_of_its_own(stagedoor: Command) -> None:
    first, second = cookie_lines(stagedoor("sign", "cookies", "a/", "b/", "--ip", "192.0.2.1"))
    assert [opened(f"/{key}", cookie=first) for key in ("a/x", "b/x")] == ["a/x", None]
    assert [opened(f"/{key}", cookie=second) for key in ("a/x", "b/x")] == [None, "b/x"]
    assert opened("/a/x", cookie=first, client="192.0.2.2") is None


def test_header_fields_are_those_that_the_site_sets(stagedoor: Command, stage: Path) -> None:
    said = stagedoor("sign", "cookies", "a/", "b c/", "--format", "set-cookie")
    fields: dict[str, dict[str, str]] = {}
    for line in said.out.splitlines():
        match = re.fullmatch(
            r"Set-Cookie: (CloudFront-[\w-]+)=([\w~-]+); Path=(/[^;]+/); Max-Age=7200; HttpOnly; SameSite=Lax; Secure",
            line,
        )
        assert match, line
        fields.setdefault(match[3], {})[match[1]] = match[2]
    assert list(fields) == ["/a/", "/b%20c/"]
    for path, cookies in fields.items():
        assert opened(f"{path}x", cookie="; ".join(map("=".join, cookies.items()))) is not None
    local = SETTINGS.replace(SITE, "http://localhost:8080")
    (stage / "stagedoor.toml").write_text(local)
    assert "Secure" not in stagedoor("sign", "cookies", "a/", "--format", "set-cookie").out


def test_programs_get_the_cookies_by_name(stagedoor: Command) -> None:
    facts = json.loads(stagedoor("sign", "cookies", "a/", "b c/", "--format", "json", "--starts-in", "5m").out)
    assert facts.keys() == {"expires", "starts", "folders"}
    assert (facts["expires"], facts["starts"]) == (NOW + 2 * HOUR, NOW + 300)
    assert [(one["prefix"], one["path"]) for one in facts["folders"]] == [("a/", "/a/"), ("b c/", "/b%20c/")]
    cookies: Mapping[str, str] = facts["folders"][1]["cookies"]
    line = "; ".join(map("=".join, cookies.items()))
    assert opened("/b%20c/x", cookie=line, now=NOW + 301) == "b c/x"
    assert opened("/b%20c/x", cookie=line, now=NOW + 300) is None


# --- refused


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("url", ""), "the empty key"),
        (("url", f"{SITE}/-/urls"), "never served"),
        (("url", "-/urls"), "no such option"),
        (("url", f"{SITE}.evil.example/x"), "not a URL of this site"),
        (("url", "http://assets.example.com/x"), "not a URL of this site"),
        (("url", f"{SITE}/a b"), "must be percent-encoded"),
        (("url", f"{SITE}/a%2fb"), "encoded slash"),
        (("url", f"{SITE}/a/%2e%2e/b"), "'.' or '..' segment"),
        (("url", f"{SITE}/\udcff"), "must be percent-encoded"),
        (("url", "\udcff"), "not valid Unicode"),
        (("url", f"{SITE}/x?Key%2DPair-Id=K"), "carries a pass already"),
        (("url", "x", "--wildcard", "y*"), "does not match"),
        (("url", "x", "--wildcard", "https://*"), "not a URL of this site"),
        (("url", "x", "--wildcard", "../*"), "segment"),
        (("url", "x", "--wildcard", ""), "does not match"),
        (("url", "x", "--ip", "192.0.2.0/33"), "no IPv4 address or network"),
        (("url", "x", "--ip", "192.0.2.1,192.0.2.2"), "no IPv4 address or network"),
        (("url", "x", "--expires-in", "1 h"), "not a duration"),
        (("url", "x", "--expires-in", "-1h"), "not a duration"),
        (("url", "x", "--expires-in", "\u0661h"), "not a duration"),
        (("url", "x", "--expires-in", "999999999d"), "shorter --expires-in"),
        (("url", "x", "--starts-in", "2h"), "end before it begins"),
        (("cookies", "-/x"), "no such option"),
        (("cookies", "--", "-/x"), "never served"),
        (("cookies", "a/../b"), "segment"),
        (("cookies", "a/", "a"), "one of the folders lies in another"),
        (("cookies", "/", "a"), "one of the folders lies in another"),
        (("cookies", *"abcdefghi"), "up to 8"),
        (("cookies", "a", "--format", "netscape"), "not one of"),
        (("cookies", "https://elsewhere.example/a/"), "not a URL of this site"),
    ],
)
def test_what_is_refused_gets_no_pass(words: tuple[str, ...], problem: str, stagedoor: Command) -> None:
    said = stagedoor("sign", *words)
    assert (said.code, said.out) == (2, "")
    assert problem.lower() in said.err.lower()
    assert f"see: stagedoor sign {words[0]} --help" in said.err
    assert "Signature" not in said.err


@pytest.mark.parametrize(
    ("passes", "problem"),
    [
        ("", "there is no private key to sign with"),
        ('public_keys = { K1 = "file:K1.pem" }', "public key"),
        ('key_id = "K1"\nprivate_key = "file:nothing.pem"', "there is no file"),
        ('key_id = "K1"\nprivate_key = "file:stagedoor.toml"', "not a private key"),
        ('key_id = "K1"\nprivate_key = "ssm:/a/K1"', "ssm:/a/K1 cannot be read"),
    ],
)
def test_without_a_key_the_answer_is_no(passes: str, problem: str, stage: Path, stagedoor: Command) -> None:
    (stage / "stagedoor.toml").write_text(f'[site]\nurl = "{SITE}"\n[passes]\n{passes}\n')
    for words in (("url", "x"), ("cookies", "a/")):
        said = stagedoor("sign", *words)
        assert (said.code, said.out) == (1, "")
        assert problem in said.err
        if not passes:
            assert "stagedoor keys new" in said.err
        assert KEYS["ec"]["priv"].splitlines()[1] not in said.err


# --- as people use it


@pytest.mark.needs("curl")
def test_curl_gets_the_file_with_what_is_printed(tmp_path: Path) -> None:
    """A shell, curl, the command line and a running site, whose rules let no one in."""
    (tmp_path / "K1.pem").write_text(KEYS["rsa"]["priv"])
    serving.prepare(tmp_path, {"shut/a b.txt": b"inside"})
    port = free_port()
    passes = '[passes]\nkey_id = "K1"\nprivate_key = "file:K1.pem"\n'
    text = serving.settings_text(more=passes).replace(serving.SITE, f"http://127.0.0.1:{port}")
    with serving.serve(tmp_path, text, port=port):
        stagedoor = f"{shlex.quote(sys.executable)} -m stagedoor"
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PORT": str(port)}

        def shell(line: str) -> str:
            line = line.replace("stagedoor", stagedoor)
            done = subprocess.run(
                ["sh", "-c", line], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
            )
            return done.stdout

        site = "http://127.0.0.1:$PORT"
        assert shell(f'curl -s -o /dev/null -w "%{{http_code}}" "{site}/shut/a%20b.txt"') == "401"
        assert shell("curl -s \"$(stagedoor sign url 'shut/a b.txt' --expires-in 1m)\"") == "inside"
        assert shell(f'curl -s -H "$(stagedoor sign cookies shut/)" "{site}/shut/a%20b.txt"') == "inside"
        assert "AccessDenied" in shell(f'curl -s -H "$(stagedoor sign cookies open/)" "{site}/shut/a%20b.txt"')
