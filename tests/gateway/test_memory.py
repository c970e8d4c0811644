"""Several gateways and one state: what one takes back the others refuse, soon; and what happens when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from stagedoor.core.endpoints.revocations import revocation
from stagedoor.core.revocations import to_text
from stagedoor.gateway import memory
from stagedoor.state import open_state
from tests.helpers.serving import InProcess, fresh_token, prepare, serving, settings_text
from tests.helpers.support import ISSUER

STATE = '[state]\nurl = "sqlite:///state.db"\nstale = "10s"\n[login]\nsession_keys = ["file:session.key"]\n'


class Clock:
    """Seconds that gateways are ahead of the time."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


Start = Callable[..., Awaitable[InProcess]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def start(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Start one more gateway of the same site."""
    monkeypatch.setattr(memory, "READ_EVERY", 0.05)
    prepare(tmp_path, {"team/a.txt": b"team", "public/a.txt": b"hello"})
    (tmp_path / "session.key").write_bytes(b"k" * 40)
    async with AsyncExitStack() as stack:

        async def started(*, wait: bool = True) -> InProcess:
            text = settings_text(more=STATE)
            gateway = await stack.enter_async_context(serving(tmp_path, text, clock=clock))
            if wait:
                await eventually(lambda: ready(gateway.port))
            return gateway

        yield started


async def ready(port: int) -> bool:
    return await status(port, "/-/readyz") == 200


async def status(port: int, target: str = "/team/a.txt", **fields: str) -> int:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:  # making a TLS context takes long
        return (await client.get(f"http://127.0.0.1:{port}{target}", headers=fields)).status_code


async def eventually(happened: Callable[[], Awaitable[bool]], within: float = 30.0) -> None:
    ends = time.monotonic() + within
    while not await happened():
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)


def mine(**claims: object) -> dict[str, str]:
    return {"authorization": f"Bearer {fresh_token(iat=time.time() - 5, **claims)}"}


async def test_what_is_taken_back_is_refused_by_every_gateway(tmp_path: Path, start: Start) -> None:
    first, second, ann, ben = await start(), await start(), mine(), mine(sub="ben")
    assert [await status(one.port, **ann) for one in (first, second)] == [200, 200]
    found = revocation("person", ISSUER, "ann", time.time())
    open_state(f"sqlite://{tmp_path}/state.db").put(found.name, to_text(found), found.ends, time.time())
    for one in (first, second):

        async def is_refused(port: int = one.port) -> bool:
            return await status(port, **ann) == 401

        await eventually(is_refused)
        assert await status(one.port, **ben) == 200
        assert await status(one.port, "/public/a.txt", **ann) == 200
    third = await start()  # reads the whole list before it is ready
    assert await status(third.port, **ann) == 401


async def test_signing_out_at_one_gateway_counts_at_the_other(start: Start) -> None:
    first, second = await start(), await start()
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        made = await client.post(f"http://127.0.0.1:{first.port}/-/session", headers=mine())
        cookie = made.headers["set-cookie"].partition(";")[0]
        assert await status(second.port, cookie=cookie) == 200
        out = await client.post(f"http://127.0.0.1:{first.port}/-/logout", headers={"cookie": cookie})
        assert out.status_code == 200
    assert await status(first.port, cookie=cookie) == 401  # at once

    async def is_out() -> bool:
        return await status(second.port, cookie=cookie) == 401

    await eventually(is_out)


async def test_while_the_state_is_away_the_last_list_counts_and_then_nobody_comes_in(
    tmp_path: Path, start: Start, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    gateway, ann = await start(), mine()
    assert await status(gateway.port, **ann) == 200
    (tmp_path / "state.db").write_bytes(b"broken" * 1000)

    async def is_noticed() -> bool:
        return "state:" in caplog.text

    await eventually(is_noticed)
    assert await status(gateway.port, **ann) == 200
    clock.ahead = 11.0
    assert await status(gateway.port, **ann) == 503
    assert await status(gateway.port, "/public/a.txt", **ann) == 200
    assert caplog.text.count("state:") == 1  # however often it is asked
    (tmp_path / "state.db").unlink()

    async def is_back() -> bool:
        return await status(gateway.port, **ann) == 200

    await eventually(is_back)
    assert "it answers again" in caplog.text


async def test_an_entry_of_a_newer_version_is_not_passed_over(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wrote it wanted to take something back."""
    open_state(f"sqlite://{tmp_path}/state.db").put("x", '{"kind": "planet"}', time.time() + 60, time.time())
    gateway = await start(wait=False)

    async def is_noticed() -> bool:
        return "newer version" in caplog.text

    await eventually(is_noticed)
    assert await status(gateway.port, **mine()) == 503
    assert await status(gateway.port, "/-/readyz") == 503
    assert await status(gateway.port, "/public/a.txt") == 200
