"""The settings file on the disk: read as a whole, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..core.errors import SettingsError

MAX_BYTES = 16 * 1_048_576
"""Longest settings file."""


def version(file: Path | None) -> tuple[int, ...]:
    """Differs as soon as a file has been written or replaced; () if there is no file."""
    try:
        found = None if file is None else file.stat()
    except OSError:
        found = None
    return () if found is None else (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def changed(file: Path | None) -> SettingsError:
    """The error about a file that was written while it was read: its last rules may be missing."""
    return SettingsError(
        "the file changed while it was read",
        source=str(file),
        mend="write a new file beside it and rename it over this one, so that nobody sees half of it",
    )


def read(file: Path) -> str:
    """The text of a settings file.

    Raises:
        SettingsError: it cannot be read, or was written meanwhile.
    """
    before = version(file)
    try:
        with open(file, "rb", opener=_open_without_waiting) as opened:
            if stat.S_ISFIFO(os.fstat(opened.fileno()).st_mode):
                mend = "give the name of a file: settings are read at every start and reload"
                raise SettingsError("this is a pipe", source=str(file), mend=mend)
            text = opened.read(MAX_BYTES + 1).decode("utf-8-sig")  # some editors put a byte order mark in front
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot be read: {reason}", source=str(file)) from error
    if len(text) > MAX_BYTES:
        raise SettingsError(f"this is longer than {MAX_BYTES} bytes", source=str(file))
    if version(file) != before:
        raise changed(file)
    return text


def _open_without_waiting(file: str, flags: int) -> int:
    return os.open(file, flags | os.O_NONBLOCK)  # a pipe would wait for a program that writes into it
