"""What the log says of an issuer that is away: once that it went, once that it is back, and nothing between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from stagedoor.core.drivers import arun
from stagedoor.core.issuers import COOL_DOWN, KEYS_MAX_AGE
from stagedoor.core.messages import Fetch, Fetched, Reply, Serve
from stagedoor.gateway import app
from stagedoor.gateway.app import Gateway
from stagedoor.outside.fetch_async import Fetcher
from stagedoor.settings import parse
from tests.helpers.support import ISSUER, KEYS_URL, NOW, SITE, key_set, request, rsa_signer, token

SETTINGS = f"""
[site]
url = "{SITE}"
store = "memory:"
[[issuers]]
issuer = "{ISSUER}"
audience = "my-client-id"
jwks = "{KEYS_URL}"
[[rules]]
path = "**"
allow = "signed-in"
"""
REFUSED, BROKEN = Fetched(b"", "connection refused"), Fetched(b"no keys")
KEYS = Fetched(key_set(rsa_signer()))
GONE = f"keys of issuer {ISSUER}: {KEYS_URL}: connection refused"
BACK = f"keys of issuer {ISSUER}: they are here again"


class Played:
    """A gateway whose clock and issuer are scripted, and which looks after its keys without pause."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        self.now, self.answer, self.asked = NOW, REFUSED, 0
        self._caplog = caplog
        monkeypatch.setattr(app, "MAINTAIN_EVERY", 0.0)
        monkeypatch.setattr(Fetcher, "_get", self._get)
        self.gateway = Gateway(parse(SETTINGS), clock=lambda: self.now, write_log=len)

    async def _get(self, wish: Fetch) -> Fetched:
        self.asked += 1
        return self.answer

    async def goes_on(self, answer: Fetched, seconds: float = 60.0) -> list[str]:
        """Let time pass in steps as long as between two looks; what was logged meanwhile."""
        self.answer = answer
        self._caplog.clear()
        for _ in range(int(seconds / 5)):
            self.now += 5
            for _ in range(10):
                await asyncio.sleep(0)
        return [record.getMessage() for record in self._caplog.records]

    async def asks(self, text: str) -> Serve | Reply:
        flow = self.gateway.door.answer(request("/a", authorization=f"Bearer {text}"), self.now)
        return await arun(flow, self.gateway._ask)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], Played]:
    caplog.set_level(logging.INFO, "stagedoor")
    return lambda: Played(monkeypatch, caplog)


async def test_an_issuer_that_is_away_from_the_start_is_said_once_and_so_is_its_return(
    play: Callable[[], Played],
) -> None:
    played = play()
    played.gateway.start()
    assert await played.goes_on(REFUSED) == [f"{GONE}; its tokens cannot be checked until that changes"]
    assert played.asked > 3
    assert await played.goes_on(REFUSED, 600) == []
    assert await played.goes_on(KEYS) == [BACK]
    assert await played.goes_on(KEYS, 600) == []
    await played.gateway.aclose()


async def test_every_departure_is_said_and_another_reason_is_no_other_departure(play: Callable[[], Played]) -> None:
    played = play()
    played.gateway.start()
    assert await played.goes_on(KEYS) == []
    for first, second in ((REFUSED, BROKEN), (BROKEN, REFUSED)):
        said = await played.goes_on(first, KEYS_MAX_AGE + 60)
        assert len(said) == 1
        assert said[0].startswith(f"keys of issuer {ISSUER}: ")
        assert said[0].endswith("; the last good keys stay in use")
        assert await played.goes_on(second) == []
        assert await played.goes_on(KEYS) == [BACK]
    await played.gateway.aclose()


async def test_what_a_request_finds_out_is_said_once_too_and_its_end_does_not_wait_for_old_keys(
    play: Callable[[], Played],
) -> None:
    played = play()
    played.gateway.start()
    await played.goes_on(KEYS)
    played.answer = REFUSED
    played.now += COOL_DOWN
    for _ in range(3):
        answer = await played.asks(token(kid="new"))
        assert isinstance(answer, Reply)
        assert answer.status == 503
    assert await played.goes_on(REFUSED) == [f"{GONE}; the last good keys stay in use"]
    assert await played.goes_on(KEYS) == [BACK]
    await played.gateway.aclose()
