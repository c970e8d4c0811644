"""`/-/explain`, `stagedoor explain` and the door itself mean the same object by the same key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stagedoor.cli import main
from stagedoor.core.credentials import Sources
from stagedoor.core.door import Site
from stagedoor.core.messages import Serve
from tests.helpers.support import SITE, Visitor, bearer, token

ANN = bearer(token())
ONLY_INDEXES = ({"path": "**/index.html", "allow": "signed-in"}, {"path": "index.html", "allow": "signed-in"})
EVERYTHING = ({"path": "**", "allow": "anyone"},)
FOLDERS = ["", "docs/", "docs/more/", "docs", "docs/index.html", "docs/a"]
NEVER = ["-/", "-/whoami", "-/explain", "-/x/"]


def with_index(rules: tuple[dict[str, str], ...] = ONLY_INDEXES) -> Visitor:
    return Visitor(rules, site=Site(SITE, Sources(), index_file="index.html"))


@pytest.mark.parametrize("key", FOLDERS)
def test_a_folder_is_explained_by_its_index(key: str) -> None:
    visitor = with_index()
    explained = json.loads(visitor.reply(f"/-/explain?key={key}", authorization=ANN).body)
    answer = visitor.ask(f"/{key}", authorization=ANN)
    assert explained["allowed"] is isinstance(answer, Serve)
    if isinstance(answer, Serve):
        assert explained["key"] == answer.key
    assert explained["key"] == (key + "index.html" if key == "" or key.endswith("/") else key)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("key", NEVER)
def test_what_is_ours_is_no_object_even_where_everything_may_be_read(key: str, slash: str) -> None:
    for visitor in (Visitor(EVERYTHING), with_index(EVERYTHING)):
        reply = visitor.reply(f"/-/explain?key={slash}{key}", authorization=ANN)
        assert (reply.status, reply.reason, reply.caller) == (404, "not-found", "staff:ann")


def test_without_an_index_nothing_is_at_the_root_and_a_folder_is_a_key_like_others() -> None:
    visitor = Visitor(EVERYTHING)
    assert visitor.reply("/-/explain?key=", authorization=ANN).status == 404
    assert json.loads(visitor.reply("/-/explain?key=docs/", authorization=ANN).body)["key"] == "docs/"
    assert visitor.serve("/docs/").key == "docs/"


def test_who_has_not_signed_in_does_not_learn_which_keys_are_ours() -> None:
    assert Visitor(EVERYTHING).reply("/-/explain?key=-/whoami").status == 401


@pytest.mark.parametrize("index", ["", 'index = "index.html"\ntrust_html = true'])
@pytest.mark.parametrize("key", [*FOLDERS, *NEVER])
def test_the_command_line_means_the_same_key(
    key: str, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stagedoor.toml").write_text(
        f'[site]\nurl = "{SITE}"\nstore = "memory:"\n{index}\n[[rules]]\npath = "**"\nallow = "anyone"\n'
    )
    monkeypatch.chdir(tmp_path)
    visitor = with_index(EVERYTHING) if index else Visitor(EVERYTHING)
    for asked in (["--", key], [f"{SITE}/{key}"]):
        code = main(["explain", "--anonymous", "--json", *asked])
        answer = visitor.ask(f"/{key}")
        said = capsys.readouterr().out
        if isinstance(answer, Serve):
            assert (code, json.loads(said)["key"]) == (0, answer.key)
        else:
            assert (code, said) == (2, "")
            assert key in ("", *NEVER)
