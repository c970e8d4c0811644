"""The views in the how-to about backends that sign: what they sign opens at the door."""

from __future__ import annotations

import re
import runpy
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from stagedoor import StagedoorError, load_signer
from stagedoor.core.drivers import run
from stagedoor.core.messages import Reply, Serve
from stagedoor.core.passes.verify import Passes
from stagedoor.keys.pass_keys import check_with, new_pair, read_public
from tests.helpers.support import Visitor, request

PAGE = (Path(__file__).parents[2] / "docs/how-to/sign-from-your-backend.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SITE = "https://assets.example.com"
COURSE = "7 & 8"


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visitor:
    """A site that accepts passes of the shop, and nothing else; the shop sold one course."""
    pair = new_pair("ec")
    (tmp_path / "stagedoor-shop.private.pem").write_bytes(pair.private)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "shop", SimpleNamespace(has_bought=lambda course: course == COURSE))
    return Visitor((), passes=Passes(SITE, {"shop": check_with(read_public(pair.public))}))


def example(number: int) -> dict[str, Any]:
    Path("views.py").write_text(EXAMPLES[number], encoding="utf-8")
    return runpy.run_path("views.py")


def opens(door: Visitor, target: str, after: float = 0, **fields: str) -> bool:
    answer = run(door.door.answer(request(target, **fields), time.time() + after), door.outside)
    assert isinstance(answer, Serve | Reply)
    return isinstance(answer, Serve)


def test_a_view_of_flask_signs_what_was_bought(door: Visitor) -> None:
    client = example(0)["app"].test_client()
    assert client.post("/courses/9/film").status_code == 403
    heard = client.post("/courses/7 & 8/film")
    assert heard.headers["Cache-Control"] == "no-store"
    url: str = heard.get_json()["url"]
    target = url.removeprefix(SITE)
    assert target.startswith("/courses/7%20%26%208/film.mp4?")
    assert opens(door, target)
    assert not opens(door, target, after=3601)
    assert not opens(door, target.replace("film.mp4", "other.mp4"))


async def test_a_view_of_starlette_sets_cookies_for_what_was_bought(door: Visitor) -> None:
    transport = httpx.ASGITransport(example(1)["app"])
    async with httpx.AsyncClient(transport=transport, base_url="https://app.example.com") as client:
        assert (await client.post("/courses/9/cookies")).status_code == 403
        heard = await client.post("/courses/7 & 8/cookies")
    assert (heard.status_code, heard.headers["cache-control"]) == (204, "no-store")
    lines = heard.headers.get_list("set-cookie")
    assert len(lines) == 4
    for line in lines:
        parts = line.lower().split("; ")
        assert {"path=/courses/7%20%26%208/", "domain=example.com", "secure", "httponly", "samesite=lax"} < set(parts)
    cookie = "; ".join(line.partition(";")[0] for line in lines)
    assert opens(door, "/courses/7%20%26%208/film/1.ts", cookie=cookie)
    assert not opens(door, "/courses/7%20%26%208/film/1.ts", after=3601, cookie=cookie)
    assert not opens(door, "/courses/9/film/1.ts", cookie=cookie)


def test_what_cannot_be_signed_is_an_error_of_ours(door: Visitor) -> None:
    key = Path("stagedoor-shop.private.pem").read_text()
    signer = load_signer("shop", key.replace("\n", " "))
    assert opens(door, signer.url(f"{SITE}/a", int(time.time()) + 60).removeprefix(SITE))
    with pytest.raises(StagedoorError):
        signer.url(f"{SITE}/a", int(time.time()) + 60, network="2001:db8::1")
    with pytest.raises(StagedoorError):
        load_signer("shop", "no key")


def test_a_signer_does_not_show_its_key() -> None:
    pair = new_pair("ec")
    text = repr(load_signer("shop", pair.private))
    assert "shop" in text
    assert "PrivateKey" not in text
    assert "lambda" not in text
