"""Zips of Lambda functions: the modules that a handler needs, and their bytecode. Same files, same bytes."""

from __future__ import annotations

import ast
import hashlib
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from ..settings import Settings, open_reader
from ..settings.file import read
from ..settings.reader import Reader

RUNTIME = "3.13"
"""Python version of the Lambda runtime that every function uses (`python3.13`)."""

NO_SIGN_IN = (
    "nobody can sign in on AWS itself yet, so /-/login answers 404 there; people sign in at a gateway of this site "
    "with the same session_keys, or at a page of yours ([login] page)"
)
"""What the owner is informed of, if the settings let people sign in."""

_PACKAGE = Path(__file__).parents[1]
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Bundle(NamedTuple):
    """A zip that is ready to be uploaded.

    Attributes:
        content: its bytes.
        hash: of what it was made from; the functions log it when they start.
        compiled: True: it holds bytecode for the runtime, so that functions start in half the time.
        files: name -> size in bytes.
        secret: True: it holds session keys.
    """

    content: bytes
    hash: str
    compiled: bool
    files: Mapping[str, int]
    secret: bool = False


def pack(files: Mapping[str, bytes], hash: str, *, secret: bool = False) -> Bundle:  # noqa: A002 - as the attribute
    """Make a bundle of sources and data, with bytecode if it can be made here.

    Args:
        files: name in the zip -> content.
        hash, secret: as in `Bundle`.
    """
    compiled = bytecode(files)
    packed = {**files, **compiled}
    sizes = {name: len(content) for name, content in sorted(packed.items())}
    return Bundle(zipped(packed), hash, bool(compiled), sizes, secret)


def sha256(content: bytes) -> str:
    """The digest, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def stagedoor_version() -> str:
    """Version of this installation; "0" where Stagedoor runs without being installed."""
    try:
        return version("stagedoor")
    except PackageNotFoundError:
        return "0"


def read_again(settings: Settings, environ: Mapping[str, str]) -> Reader:
    """Read the settings file again: to copy what it says, or to name the line of a setting in an error.

    Args:
        settings: as they were loaded.
        environ: environment variables that win over the file.
    """
    text = read(settings.source) if settings.source is not None else ""
    return open_reader(text, settings.source, environ)


def sources(entry: str, *, leave_out: frozenset[str] = frozenset()) -> dict[str, bytes]:
    """A module of Stagedoor and every module of Stagedoor that it imports, directly or not, with their packages.

    Args:
        entry: path of the module in the package.
        leave_out: paths of modules that are never imported at run time.

    Returns:
        Name in the zip -> source. The zip's own `stagedoor/__init__.py` imports nothing.
    """
    found: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += (path for path in _imports(name) if path not in leave_out)
    files = {f"stagedoor/{name}": (_PACKAGE / name).read_bytes() for name in sorted(found)}
    return files | {"stagedoor/__init__.py": b'"""As much of Stagedoor as a function needs."""\n'}


@cache
def _imports(name: str) -> tuple[str, ...]:
    """Paths of the modules that one module imports, and of the packages that it is in."""
    folder = Path(name).parent
    found = [f"{package}/__init__.py" for package in (folder, *folder.parents) if package != Path()]
    for node in ast.walk(ast.parse((_PACKAGE / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = (folder, *folder.parents)[node.level - 1]
            module = package / (node.module or "").replace(".", "/")
            for candidate in (module, *(module / alias.name for alias in node.names)):
                paths = (f"{candidate}.py", f"{candidate}/__init__.py")
                found += (path for path in paths if path != "./__init__.py" and (_PACKAGE / path).is_file())
    return tuple(found)


def bytecode(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Compile for the runtime, if its Python is on this machine. The bytecode is used unchecked (PEP 552).

    Args:
        files: name in the zip -> content; only Python sources are compiled.

    Returns:
        Name in the zip -> bytecode; empty if there is no such Python here.
    """
    python = _python(RUNTIME)
    if python is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            if name.endswith(".py"):
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        # -I: variables such as PYTHONOPTIMIZE would change the files' names or their folder
        command = [python, "-I", "-m", "compileall", "-q", "-s", folder, "-p", "/var/task"]
        subprocess.run([*command, "--invalidation-mode", "unchecked-hash", folder], check=True, capture_output=True)
        compiled = sorted(Path(folder).rglob("*.pyc"))
        return {str(path.relative_to(folder)): path.read_bytes() for path in compiled}


@cache
def _python(version: str) -> str | None:
    """An interpreter of exactly this version, because other versions cannot read its bytecode."""
    for candidate in (sys.executable, shutil.which(f"python{version}")):
        if candidate:
            command = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.stdout.strip() == version:
                return candidate
    return None


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Zip these files: name -> content. Order, dates and permissions are fixed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=9)
    return out.getvalue()
