"""Mypy follows imports into those services of the CDK alone that its settings list; what it skips is all `Any`."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def used(file: Path) -> set[str]:
    """Modules of the CDK that a file may import; names that are no modules are in there too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == "aws_cdk"}


def test_every_service_of_the_cdk_that_is_used_has_types() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    (followed,) = (one["module"] for one in settings["overrides"] if one.get("follow_imports") == "normal")
    files = [file for folder in ("src", "tests", "bench", "examples") for file in (ROOT / folder).rglob("*.py")]
    names = {name for file in files if b"aws_cdk" in file.read_bytes() for name in used(file)}
    modules = {name for name in names if name.rpartition(".")[2].startswith(("aws_", "assertions"))}
    assert len(modules) > 10
    assert modules <= set(followed)
