"""The two drivers of flows: `run` where waiting is fine (Lambda, commands), `arun` where it is not (the gateway).

A flow is a generator: it yields a wish, is sent the answer, and returns its result. What `ask` raises is thrown into
the flow, which may know what to do; what it does not catch comes out here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

W = TypeVar("W")
A = TypeVar("A")
T = TypeVar("T")


def run(flow: Generator[W, A, T], ask: Callable[[W], A]) -> T:
    """Drive a flow to its end.

    Args:
        flow: what to drive.
        ask: answers its wishes.

    Returns:
        What the flow returns.
    """
    try:
        wish = next(flow)
        while True:
            try:
                answer = ask(wish)
            except Exception as error:
                wish = flow.throw(error)
            else:
                wish = flow.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
    except BaseException:
        flow.close()  # what is under way may have something to put in order
        raise


async def arun(flow: Generator[W, A, T], ask: Callable[[W], Awaitable[A]], wish: W | None = None) -> T:
    """Drive a flow to its end without blocking the event loop.

    Args:
        flow: what to drive.
        ask: answers its wishes.
        wish: what the flow waits for, if it has been started already.

    Returns:
        What the flow returns.
    """
    try:
        wish = wish or next(flow)
        while True:
            try:
                answer = await ask(wish)
            except Exception as error:
                wish = flow.throw(error)
            else:
                wish = flow.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
    except BaseException:
        flow.close()  # what is under way may have something to put in order
        raise
