"""stagedoor.toml and the environment, turned into one frozen `Settings`.

`table.py` has every setting in one row. An unknown, contradictory or unsafe setting is an error that names file, line,
setting and mend.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import SettingsError
from . import checks
from .file import read
from .parsers import Network as Network
from .reader import PREFIX as PREFIX
from .reader import Reader
from .reader import Setting as Setting
from .sections import MADE_AT_START as MADE_AT_START
from .table import FIELDS, LISTS, SECTIONS, TABLE, Settings
from .table import AccessLog as AccessLog

__all__ = ["LISTS", "SECTIONS", "TABLE", "Settings", "find", "load", "open_reader", "parse"]

DEFAULT_FILE = "stagedoor.toml"


def load(path: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file and the environment.

    Args:
        path: the file; default: `STAGEDOOR_SETTINGS`, else `stagedoor.toml` here. Without any file the
            environment alone has to do.
        environ: environment variables; default: the process's own.

    Raises:
        SettingsError: the first setting that is wrong.
    """
    environ = os.environ if environ is None else environ
    chosen = find(path, environ)
    if chosen is None:
        if not any(name.startswith(PREFIX) for name in environ):
            raise SettingsError(
                f"there is no {DEFAULT_FILE} here", mend="make one with: stagedoor init, or see it work: stagedoor demo"
            )
        return parse("", None, environ)
    return parse(read(chosen), chosen, environ)


def find(path: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """The settings file that `load` reads; None: the environment alone. Arguments as for `load`."""
    environ = os.environ if environ is None else environ
    chosen = Path(path or environ.get(PREFIX + "SETTINGS") or DEFAULT_FILE)
    named = path is not None or PREFIX + "SETTINGS" in environ
    return chosen if named or chosen.exists() else None


def parse(text: str, source: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Check settings that are already in memory; arguments and errors as for `load`."""
    reader = open_reader(text, source, environ or {})
    built: dict[str, Any] = {}
    for one in FIELDS:
        built[one.name] = one.metadata["build"](reader, built)
    settings = Settings(source=source, **built)
    checks.check(reader, settings)
    return replace(settings, warnings=tuple(reader.warnings), inactive=checks.inactive(settings))


def open_reader(text: str, source: Path | None, environ: Mapping[str, str]) -> Reader:
    """Look into settings without building anything; arguments and errors as for `load`."""
    return Reader(TABLE, LISTS, text, source, environ)
