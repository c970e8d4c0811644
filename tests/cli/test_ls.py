"""`stagedoor ls`: what a caller may read, in every kind of store, page by page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from stagedoor.cli import ls, main, services
from stagedoor.core.errors import StoreUnavailable
from stagedoor.core.messages import Item, List, Listed
from stagedoor.store.memory import MemoryStore
from tests.helpers import commands, stores
from tests.helpers.commands import Said
from tests.helpers.support import ISSUER, SITE, Visitor, bearer, claims, token

Command = Callable[..., Said]

ISSUERS = f"""
[[issuers]]
name = "staff"
issuer = "{ISSUER}"
audience = ["my-client-id"]
jwks = "jwks.json"
"""
RULES = """
[[rules]]
path = "public/**"
allow = "anyone"
[[rules]]
path = "users/{sub}/**"
allow = "signed-in"
[[rules]]
path = "groups/{groups}/**"
allow = "signed-in"
[[rules]]
path = "courses/**"
allow = { groups = ["students", "teachers"] }
[[rules]]
path = "courses/drafts/**"
deny = "anyone"
"""
KEYS = (
    *("courses/1/a", "courses/1/b", "courses/2", "courses/drafts/a", "groups/red/a", "groups/blue/a", "other/a"),
    *("public/a", "public/b/c", "top", "users/ann/a", "users/bob/a", "users/ann/ö b"),
)
CALLERS = {
    "anonymous": None,
    "ann": {"sub": "ann"},
    "a student": {"sub": "bob", "groups": ["students", "red"]},
    "a caller with an odd sub": {"sub": "x/y"},
}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = commands.stage(tmp_path, monkeypatch)
    write(folder, 'store = "./assets"')
    return folder


@pytest.fixture
def stagedoor_ls(stage: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return lambda *words: commands.say(capsys, "ls", *words)


def write(folder: Path, site: str) -> None:
    (folder / "stagedoor.toml").write_text(f'[site]\nurl = "{SITE}"\n{site}\n{ISSUERS}{RULES}')


def names(said: Said) -> list[str]:
    """Keys and folders in the lines of JSON."""
    assert said.code == 0, said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    return [one.get("Prefix") or one["Key"] for one in lines]


def have(monkeypatch: pytest.MonkeyPatch, keys: Iterable[str]) -> MemoryStore:
    """Put a store in memory where the settings' store would be."""
    store = MemoryStore()
    for key in keys:
        store.put(key, key.encode(), modified=1)
    monkeypatch.setattr(services, "make_store", lambda *_, **__: store)
    return store


@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize("prefix", ["", "courses/", "users/", "users/an", "public/b/", "nothing/"])
@pytest.mark.parametrize("who", CALLERS)
def test_it_is_what_the_site_itself_lists_for_them(
    who: str, prefix: str, folders: bool, stage: Path, stagedoor_ls: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor()
    visitor.store = have(monkeypatch, KEYS)
    own = CALLERS[who]
    (stage / "who.json").write_text(json.dumps(own))
    said = stagedoor_ls(
        *(["--anonymous"] if own is None else ["--as", "who.json"]), *["--folders"] * folders, "--json", prefix
    )
    fields = {} if own is None else {"authorization": bearer(token(claims(**own)))}
    reply = visitor.reply(f"/-/s3objects?prefix={prefix}{'&delimiter=/' * folders}", **fields)
    page = json.loads(reply.body) if reply.status == 200 else {"Contents": [], "CommonPrefixes": []}
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [one for one in lines if "Key" in one] == page["Contents"]
    assert [one for one in lines if "Prefix" in one] == page["CommonPrefixes"]


def test_the_callers_of_the_test_before_differ(
    stagedoor_ls: Command, stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, KEYS)
    seen = {}
    for who, own in CALLERS.items():
        (stage / "who.json").write_text(json.dumps(own))
        seen[who] = names(stagedoor_ls("--json", *(["--anonymous"] if own is None else ["--as", "who.json"])))
    assert seen["anonymous"] == ["public/a", "public/b/c"]
    assert seen["ann"] == ["public/a", "public/b/c", "users/ann/a", "users/ann/ö b"]
    assert seen["a student"][:4] == ["courses/1/a", "courses/1/b", "courses/2", "groups/red/a"]
    assert seen["a caller with an odd sub"] == seen["anonymous"]


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_every_kind_of_store_is_listed(
    kind: str, stage: Path, stagedoor_ls: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores.let_in(monkeypatch)
    keys = [f"public/{key}" for key in stores.ODD_KEYS]
    if kind == "s3":
        bucket = stores.new_bucket()
        for key in keys:
            stores.client().put_object(Bucket=bucket, Key=key, Body=b"x")
        write(stage, f'store = "s3://{bucket}"\nendpoint = "{stores.endpoint()}"')
    else:
        for key in keys:
            (stage / "assets" / key).parent.mkdir(parents=True, exist_ok=True)
            (stage / "assets" / key).write_bytes(b"x")
    expected = sorted(keys, key=str.encode)
    assert names(stagedoor_ls("--anonymous", "--json")) == expected
    assert [line[29:] for line in stagedoor_ls("--anonymous").out.splitlines()] == expected


def test_all_pages_are_shown_and_no_more_than_the_limit(stagedoor_ls: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"public/{number:04}" for number in range(2500)]
    have(monkeypatch, keys)
    assert names(stagedoor_ls("--anonymous", "--json")) == keys
    for limit in (1, 999, 1000, 1001, 2499):
        said = stagedoor_ls("--anonymous", "--limit", str(limit))
        assert len(said.out.splitlines()) == limit
        assert "there may be more: raise --limit" in said.err
    whole = stagedoor_ls("--anonymous", "--limit", "2500")
    assert len(whole.out.splitlines()) == 2500
    assert "raise --limit" not in whole.err
    assert "2,500 objects, 26.9 KB that anyone may see" in whole.err


def test_each_page_is_shown_before_the_next_is_asked_for(
    stagedoor_ls: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(MemoryStore):
        closed = False

        async def list(self, wish: List) -> Listed:
            if wish.after > "public/1400":
                raise StoreUnavailable("the store went away")
            return await super().list(wish)

        async def aclose(self) -> None:
            self.closed = True

    store = Failing()
    for number in range(2500):
        store.put(f"public/{number:04}", b"")
    monkeypatch.setattr(services, "make_store", lambda *_, **__: store)
    said = stagedoor_ls("--anonymous")
    assert said.code == 1
    assert len(said.out.splitlines()) == 1000
    assert said.err == "error: the store went away\n"
    assert store.closed


def test_memory_does_not_grow_with_the_number_of_objects(stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(MemoryStore):
        async def list(self, wish: List) -> Listed:
            first = int(wish.after.removeprefix("public/") or -1) + 1 if wish.after else 0
            found = tuple(Item(f"public/{number:08}", '"x"', 1.0, 1) for number in range(first, first + wish.limit))
            return Listed(found, found[-1].key)

    def peak(names: int) -> int:
        tracemalloc.start()
        try:
            assert main(["ls", "--anonymous", "--json", "--limit", str(names)]) == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    monkeypatch.setattr(services, "make_store", lambda *_, **__: Endless())
    with Path(os.devnull).open("w") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        peak(1000)  # what is loaded once
        assert peak(10_000) < 1.5 * peak(2000)


def test_short_and_empty_pages_do_not_end_the_listing(
    stage: Path, stagedoor_ls: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, [*(f"mixed/{number:03}/hidden" for number in range(200)), "mixed/999"])
    rule = '[[rules]]\npath = "mixed/*"\nallow = "anyone"\n'
    (stage / "stagedoor.toml").write_text(f'[site]\nurl = "{SITE}"\nstore = "./assets"\n{rule}')
    monkeypatch.setattr("stagedoor.core.listing.MAX_NAMES", 3)
    pages: list[int] = []
    monkeypatch.setattr(ls._Total, "add", lambda total, page: pages.append(len(page.found)))
    assert names(stagedoor_ls("--anonymous", "--json")) == ["mixed/999"]
    assert pages[0] == 0
    assert len(pages) > 2


def test_names_cannot_steer_the_terminal(stagedoor_ls: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, ["public/\u202e[red]x", "public/\u2028y"])
    said = stagedoor_ls("--anonymous")
    assert said.out.splitlines()[0].endswith("public/\\u2028y")
    assert said.out.splitlines()[1].endswith("public/\\u202e[red]x")
    assert stagedoor_ls("--anonymous", "--json").out.isascii()


def test_names_that_no_request_could_name_are_left_out(stagedoor_ls: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, ["public/a", "public//../b", "public/\x1b[2J"])
    assert names(stagedoor_ls("--anonymous", "--json")) == ["public/a"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KB"),
        (1_572_864, "1.5 MB"),
        (5 * 1024**4, "5.0 TB"),
        (2**60, "1024.0 PB"),
    ],
)
def test_sizes_are_for_people(size: int, text: str) -> None:
    assert ls._size(size) == text


def test_a_reader_who_has_seen_enough_is_no_error(stage: Path) -> None:
    """`stagedoor ls … | head -1`, for people and for programs."""
    (stage / "assets/public").mkdir()
    for number in range(3000):
        (stage / f"assets/public/{number:04}-{'x' * 100}").touch()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHON": sys.executable}
    for options in ("", "--json"):
        line = f'"$PYTHON" -m stagedoor ls --anonymous {options} | head -1'
        words = ["sh", "-c", line]
        done = subprocess.run(words, cwd=stage, env=environ, capture_output=True, text=True, check=True)
        assert "public/0000-" in done.stdout
        assert done.stdout.count("\n") == 1
        assert done.stderr == ""


def test_no_token_is_shown(stage: Path, stagedoor_ls: Command) -> None:
    for text in (token(), token(claims(aud="x")), token()[:-9]):
        (stage / "x.jwt").write_text(text)
        for words in (["--token", text], ["--token", "x.jwt"], [text], ["--anonymous", text]):
            said = stagedoor_ls(*words)
            for part in text.split("."):
                assert part not in said.out + said.err, words
