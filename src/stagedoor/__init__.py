"""Private files for the people who are signed in. One policy, every door."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .core.caller import ANONYMOUS, Caller
from .core.door import Door
from .core.drivers import arun, run
from .core.errors import InvalidToken, SettingsError, StagedoorError, Unavailable
from .core.messages import Reply, Request, Serve
from .core.policy.decide import Allow, Deny, Policy, compile_rules

if TYPE_CHECKING:
    from .core.passes.signer import Signer
    from .gateway.app import Gateway
    from .keys.pass_keys import load_signer
    from .outside.fetch_async import Fetcher
    from .outside.fetch_sync import fetch
    from .settings import Settings
    from .settings import load as load_settings
    from .settings.guard import Guard
    from .settings.site import make_door
    from .store.memory import MemoryStore
    from .store.port import Store

    __version__: str

__all__ = [
    "ANONYMOUS",
    "Allow",
    "Caller",
    "Deny",
    "Door",
    "Fetcher",
    "Gateway",
    "Guard",
    "InvalidToken",
    "MemoryStore",
    "Policy",
    "Reply",
    "Request",
    "Serve",
    "Settings",
    "SettingsError",
    "Signer",
    "StagedoorError",
    "Store",
    "Unavailable",
    "__version__",
    "arun",
    "compile_rules",
    "fetch",
    "load_settings",
    "load_signer",
    "make_door",
    "run",
]

_RIM = {
    "Fetcher": (".outside.fetch_async", "Fetcher"),
    "Gateway": (".gateway.app", "Gateway"),
    "Guard": (".settings.guard", "Guard"),
    "MemoryStore": (".store.memory", "MemoryStore"),
    "Settings": (".settings", "Settings"),
    "Signer": (".core.passes.signer", "Signer"),
    "Store": (".store.port", "Store"),
    "fetch": (".outside.fetch_sync", "fetch"),
    "load_settings": (".settings", "load"),
    "load_signer": (".keys.pass_keys", "load_signer"),
    "make_door": (".settings.site", "make_door"),
}


if not TYPE_CHECKING:  # a type checker that saw it would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Names of the rim are imported when they are asked for, so that the core alone stays quick to import."""
        if name == "__version__":
            return import_module("importlib.metadata").version("stagedoor")
        if name not in _RIM:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, attribute = _RIM[name]
        return getattr(import_module(module, __name__), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
