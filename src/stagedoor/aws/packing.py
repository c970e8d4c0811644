"""Zips of functions: what of ours a handler needs, and its bytecode; of the same files always the same bytes."""

from __future__ import annotations

import ast
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RUNTIME = "3.13"
"""Python of the Lambda runtime that all functions are made for, `python3.13`."""

_PACKAGE = Path(__file__).parents[1]
_EPOCH = (1980, 1, 1, 0, 0, 0)


def stagedoor_version() -> str:
    """Of this installation; "0" if it is none."""
    try:
        return version("stagedoor")
    except PackageNotFoundError:
        return "0"


def sources(entry: str, *, leave_out: frozenset[str] = frozenset()) -> dict[str, bytes]:
    """A module of ours and all that it imports of ours, directly or not, with the packages that they are in.

    Args:
        entry: path of the module in the package.
        leave_out: paths of modules whose imports are never reached.

    Returns:
        Sources, by their names in the zip. That of the package itself imports nothing.
    """
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += (one for one in _imports(name) if one not in leave_out)
    files = {f"stagedoor/{name}": (_PACKAGE / name).read_bytes() for name in sorted(found)}
    return files | {"stagedoor/__init__.py": b'"""As much of Stagedoor as a function needs."""\n'}


def _imports(name: str) -> Iterator[str]:
    folder = Path(name).parent
    yield from (f"{package}/__init__.py" for package in (folder, *folder.parents) if package != Path())
    for node in ast.walk(ast.parse((_PACKAGE / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = (folder, *folder.parents)[node.level - 1]
            module = package / (node.module or "").replace(".", "/")
            for one in (module, *(module / alias.name for alias in node.names)):
                found = (f"{one}.py", f"{one}/__init__.py")
                yield from (path for path in found if path != "./__init__.py" and (_PACKAGE / path).is_file())


def compiled(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Bytecode for the runtime, if its Python is here; it counts without looking at the source (PEP 552).

    Args:
        files: by their names in the zip; only sources are looked at.

    Returns:
        Files of bytecode; nothing if no such Python is here.
    """
    python = _python(RUNTIME)
    if python is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        for name, body in files.items():
            if name.endswith(".py"):
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
        # -I: PYTHONOPTIMIZE and the like would make files of other names, or elsewhere
        command = [python, "-I", "-m", "compileall", "-q", "-s", folder, "-p", "/var/task"]
        subprocess.run([*command, "--invalidation-mode", "unchecked-hash", folder], check=True, capture_output=True)
        made = sorted(Path(folder).rglob("*.pyc"))
        return {str(path.relative_to(folder)): path.read_bytes() for path in made}


def _python(runtime: str) -> str | None:
    """The interpreter of the runtime's version; others write bytecode that it cannot read."""
    for candidate in (sys.executable, shutil.which(f"python{runtime}")):
        if candidate:
            asked = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            told = subprocess.run(asked, capture_output=True, text=True, check=False)
            if told.stdout.strip() == runtime:
                return candidate
    return None


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip of these files; of the same files it always has the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, body in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, body, compresslevel=9)
    return out.getvalue()
