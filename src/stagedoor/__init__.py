"""Private files for the people who are signed in. One policy, every door."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .core.caller import ANONYMOUS, Caller
from .core.door import Door
from .core.drivers import arun, run
from .core.errors import SettingsError, StagedoorError
from .core.messages import Reply, Request, Serve
from .core.policy.decide import Allow, Deny, Policy, compile_rules

if TYPE_CHECKING:
    from .core.passes import Signer
    from .gateway.app import Gateway
    from .keys.pass_keys import load_signer
    from .settings import Settings
    from .settings import load as load_settings

__all__ = [
    "ANONYMOUS",
    "Allow",
    "Caller",
    "Deny",
    "Door",
    "Gateway",
    "Policy",
    "Reply",
    "Request",
    "Serve",
    "Settings",
    "SettingsError",
    "Signer",
    "StagedoorError",
    "arun",
    "compile_rules",
    "load_settings",
    "load_signer",
    "run",
]

_RIM = {
    "Gateway": (".gateway.app", "Gateway"),
    "Settings": (".settings", "Settings"),
    "Signer": (".core.passes", "Signer"),
    "load_settings": (".settings", "load"),
    "load_signer": (".keys.pass_keys", "load_signer"),
}


def __getattr__(name: str) -> object:
    """Names of the rim are imported when they are asked for, so that the core alone stays quick to import."""
    if name not in _RIM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _RIM[name]
    return getattr(import_module(module, __name__), attribute)
