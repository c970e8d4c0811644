"""The shape of the house: imports run one way, there is no circle, and the core is pure.

The core opens no socket and no file, asks neither clock nor dice, and imports the standard library alone.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "stagedoor"

LAYERS = ("core pages", "outside", "keys store catalogue state", "settings", "gateway aws", "cdk doctor demo", "cli")
"""Each wing may import the wings of the layers before its own; the wings of one layer do not know each other."""
RANK = {wing: number for number, layer in enumerate(LAYERS) for wing in layer.split()}

IMPURE = {
    *("asyncio", "concurrent", "ctypes", "ftplib", "getpass", "glob", "http.client", "http.server", "importlib", "io"),
    *("logging", "mmap", "multiprocessing", "os", "pathlib", "pickle", "platform", "random", "secrets", "select"),
    *("selectors", "shelve", "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess"),
    *("sys", "tempfile", "threading", "time", "datetime", "urllib.request", "uuid", "xmlrpc", "zipfile"),
}
PURE = {"time.gmtime", "time.strftime"}
"""Names of impure modules whose result follows from their arguments alone."""
IMPURE_CALLS = {"open", "input", "print", "eval", "exec", "__import__", "breakpoint", "compile"}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


def file_of(module: str) -> Path:
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


@cache
def imports(module: str, *, for_types: bool = True) -> tuple[str, ...]:
    """What a module imports, in functions too: ours as `.core.errors`, others as they are, with each name taken.

    Without `for_types` what only type checkers import is left out.
    """
    body = [node for node in tree(module).body if for_types or not is_for_types(node)]
    return tuple(name for node in body for name in _imported(module, node))


def _imported(module: str, statement: ast.stmt) -> Iterator[str]:
    is_package = file_of(module).name == "__init__.py"
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(statement):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            target = "".join(f".{part}" for part in base if part)
            for alias in node.names:
                is_module = file_of(f"{target}.{alias.name}"[1:]).is_file()
                yield f"{target}.{alias.name}" if is_module else target


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


MODULES = frozenset(map(name_of, SOURCE.rglob("*.py"))) - {"__init__", "__main__"}
CORE = sorted(module for module in MODULES if module.split(".")[0] in ("core", "pages"))
OURS = {module: {name[1:] for name in imports(module) if name[1:] in MODULES} for module in MODULES}
"""Module -> modules of ours that it imports, in functions too."""


def test_the_listing_is_the_architecture() -> None:
    entries = {path.name for path in SOURCE.iterdir()} - {"__pycache__"}
    assert entries == RANK.keys() | {"__init__.py", "__main__.py", "py.typed"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_one_way(module: str) -> None:
    wing = module.split(".")[0]
    others = {name for name in OURS[module] if name.split(".")[0] != wing}
    assert not {name for name in others if RANK[name.split(".")[0]] >= RANK[wing] and (wing, name) not in WITHIN}


WITHIN = {("core", name) for name in MODULES if name.startswith("pages")}
"""Answers of the core are shown on pages."""


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert set(TopologicalSorter(OURS).static_order()) == MODULES  # raises CycleError


def test_aws_is_asked_through_one_session() -> None:
    """Each session of botocore's costs a tenth of a second."""
    names = ("boto3", "botocore.session")
    assert {module for module in MODULES if any(name.startswith(names) for name in imports(module))} == {"outside.aws"}


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_the_standard_library_and_itself(module: str) -> None:
    outside = {name.split(".")[0] for name in imports(module) if not name.startswith(".")}
    assert outside <= {*sys.stdlib_module_names, "__future__"}


@pytest.mark.parametrize("module", CORE)
def test_the_core_opens_nothing_and_asks_neither_clock_nor_dice(module: str) -> None:
    names = {name for name in imports(module, for_types=False) if not name.startswith(".")} - PURE
    if {name for name in imports(module) if name.startswith("time.")} <= PURE:
        names.discard("time")  # `from time import gmtime`
    assert not {name for name in names if name in IMPURE or name.split(".")[0] in IMPURE}
    calls = (node.func for node in ast.walk(tree(module)) if isinstance(node, ast.Call))
    assert not {call.id for call in calls if isinstance(call, ast.Name)} & IMPURE_CALLS
