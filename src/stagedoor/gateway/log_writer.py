"""Writing logs without waiting: a thread writes them, and what their reader does not take in time is lost.

A pipe that nobody reads is full after 64 KB, and a write to it would stop every request.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable

WAITING_BYTES = 4 * 1_048_576
"""Most bytes that wait for a slow reader."""
CLOSE_WITHIN = 2.0
"""Seconds that the last lines have to be taken when the process ends."""
TRY_AGAIN = 0.05
"""Seconds until a stream that is full and does not block, because another program has set it so, is tried again."""

Write = Callable[[bytes], int | None]

_log = logging.getLogger("stagedoor")


class LogWriter:
    """Takes texts from any thread and never waits.

    Args:
        name: what is lost is reported with it.
        write: writes bytes and returns how many it took, as `os.write` does; it may block.
        limit: bytes that may wait; texts beyond are lost.
    """

    def __init__(self, name: str, write: Write, limit: int = WAITING_BYTES) -> None:
        self._name, self._write, self._limit = name, write, limit
        self._texts: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = self._lost = 0
        self._thread: threading.Thread | None = None

    def put(self, text: bytes) -> None:
        """Hand over whole lines."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            if self._waiting + len(text) > self._limit:
                self._lost += text.count(b"\n")
                return
            self._waiting += len(text)
        self._texts.put(text)

    def flush(self) -> None:
        """Wait until everything is written, if that can be done soon."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._texts.put(None)
            thread.join(CLOSE_WITHIN)

    def _run(self) -> None:
        while (text := self._texts.get()) is not None:
            size = len(text)
            with contextlib.suppress(OSError):
                self._write_all(text)
            with self._lock:
                self._waiting -= size
                lost, self._lost = self._lost, 0
            if lost:
                _log.error("%s: %d lines were lost because nobody read them", self._name, lost)

    def _write_all(self, text: bytes) -> None:
        while text:
            try:
                text = text[self._write(text) or len(text) :]
            except BlockingIOError:
                time.sleep(TRY_AGAIN)


class StandardError(logging.Handler):
    """Writes log records to standard error."""

    def __init__(self) -> None:
        super().__init__()
        self._writer = LogWriter("standard error", lambda text: os.write(2, text))

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.put(f"{self.format(record)}\n".encode(errors="backslashreplace"))

    def flush(self) -> None:
        self._writer.flush()
