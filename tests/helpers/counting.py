"""How much work something is, counted: clocks say something else each time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def lines_run(call: Callable[[], object]) -> int:
    """How many lines of Stagedoor are executed by a call in this thread."""
    count, before = 0, sys.gettrace()

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return line

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_globals.get("__name__", "").startswith("stagedoor") else None

    sys.settrace(called)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
