"""The core stays pure: it opens no socket and no file, asks no clock, rolls no dice, and imports no rim."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "stagedoor"

# Each layer may import the layers before it and nothing after it; modules of one layer do not import one another.
ORDER = (
    {"errors", "messages"},
    {"paths", "credentials", "jose", "caller"},
    {"rsa", "policy", "issuers"},
    {"lint", "listing", "signing", "tokens"},
    {"session"},
    {"replies"},
    {"door", "limits"},
    {"api"},
)
CORE = [module for layer in ORDER for module in sorted(layer)]
IMPURE = {
    *("asyncio", "concurrent", "ctypes", "ftplib", "getpass", "glob", "http.client", "http.server", "importlib", "io"),
    *("logging", "mmap", "multiprocessing", "os", "pathlib", "pickle", "platform", "random", "secrets", "select"),
    *("selectors", "shelve", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess"),
    *("sys", "tempfile", "threading", "time", "datetime", "urllib.request", "uuid", "xmlrpc", "zipfile"),
}
PURE = {"time", "time.gmtime", "time.strftime"}
"""Of an impure module's names these follow from their arguments alone."""
IMPURE_NAMES = {"open", "input", "print", "eval", "exec", "__import__", "breakpoint", "compile"}


def imports(module: str) -> set[str]:
    """Absolute names of what a module imports; its siblings are `.name`. Names taken from a package count too."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = "." * node.level + (node.module or "")
            found.add(package)
            found |= {f"{package}{'' if package == '.' else '.'}{alias.name}" for alias in node.names}
    return found - {"."}


def siblings(module: str) -> set[str]:
    return {name.split(".")[1] for name in imports(module) if name.startswith(".") and not name.startswith("..")}


def tree(module: str) -> ast.Module:
    return ast.parse((SOURCE / f"{module}.py").read_text())


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_the_standard_library_and_itself(module: str) -> None:
    outside = {name.split(".")[0] for name in imports(module) if not name.startswith(".")}
    assert outside <= set(sys.stdlib_module_names) | {"__future__"}
    assert siblings(module) <= set(CORE)
    assert not any(name.startswith("..") for name in imports(module))


@pytest.mark.parametrize("module", CORE)
def test_the_core_opens_nothing_and_asks_neither_clock_nor_dice(module: str) -> None:
    found = imports(module)
    if "time" in found:
        assert any(name in PURE for name in found if name.startswith("time.")), "import its names, not time itself"
    assert not {name for name in found - PURE if name in IMPURE or name.split(".")[0] in IMPURE}
    called = {
        node.func.id
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not called & IMPURE_NAMES


@pytest.mark.parametrize("number", range(len(ORDER)))
def test_imports_run_one_way(number: int) -> None:
    before = set().union(*ORDER[:number])
    for module in ORDER[number]:
        assert siblings(module) <= before, module


def test_the_core_does_not_import_settings() -> None:
    """Each core module defines the value that it is configured with."""
    assert not [module for module in CORE if "settings" in siblings(module)]


def test_a_module_of_the_core_that_is_not_listed_here_is_noticed() -> None:
    """What stands beside the core is rim: it may import the core."""
    beside = {path.stem for path in SOURCE.glob("*.py")} - set(CORE) - {"__init__"}
    assert all(name not in CORE for name in beside)
    for module in CORE:
        assert not siblings(module) & beside, module
