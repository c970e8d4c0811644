"""Calls that wait for a disk or a database wait in threads of their own, and not for ever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from stagedoor.core.errors import CatalogueUnavailable
from stagedoor.outside import threads
from stagedoor.outside.threads import Threads


async def test_a_call_is_answered_from_another_thread() -> None:
    own = Threads(2, "table", CatalogueUnavailable)
    assert await own.call(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ValueError, match="invalid literal"):
        await own.call(int, "x")
    own.close(wait=True)


async def test_a_call_that_finds_all_threads_busy_is_refused_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WAIT", 0.05)
    own, go = Threads(1, "table", CatalogueUnavailable), threading.Event()
    slow = asyncio.create_task(own.call(go.wait))
    await asyncio.sleep(0.01)
    with pytest.raises(CatalogueUnavailable, match="under way"):
        await own.call(int)
    go.set()
    assert await slow
    assert await own.call(int) == 0
    own.close(wait=True)


async def test_a_caller_who_gives_up_frees_no_thread_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WAIT", 0.05)
    own, go = Threads(1, "table", CatalogueUnavailable), threading.Event()
    slow = asyncio.create_task(own.call(go.wait))
    await asyncio.sleep(0.01)
    slow.cancel()
    with pytest.raises(CatalogueUnavailable):
        await own.call(int)
    go.set()
    monkeypatch.setattr(threads, "WAIT", 5.0)
    assert await own.call(int) == 0
    own.close(wait=True)


async def test_after_the_end_nothing_is_called() -> None:
    own = Threads(1, "table", CatalogueUnavailable)
    own.close(wait=True)
    with pytest.raises(CatalogueUnavailable):
        await own.call(int)


async def test_a_result_that_nobody_waits_for_is_discarded() -> None:
    discarded, go = list[str](), threading.Event()
    own = Threads(2, "table", CatalogueUnavailable, discarded.append)

    def late(text: str) -> str:
        go.wait(10)
        return text

    assert await own.call(str, "wanted") == "wanted"
    calls = [asyncio.create_task(own.call(late, text)) for text in ("given up", "kept")]
    await asyncio.sleep(0.01)
    calls[0].cancel()
    go.set()
    assert await calls[1] == "kept"
    own.close(wait=True)
    assert discarded == ["given up"]
