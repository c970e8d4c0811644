"""Zips of functions: bytecode for the runtime, and the same bytes whenever they are made of the same files."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)


def compiled(files: Mapping[str, bytes], runtime: str) -> dict[str, bytes]:
    """Bytecode for a runtime, if its Python is here; it counts without looking at the source (PEP 552).

    Args:
        files: by their names in the zip; only sources are looked at.
        runtime: version of its Python, `3.13`.

    Returns:
        Files of bytecode; nothing if no such Python is here.
    """
    python = _python(runtime)
    if python is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        for name, body in files.items():
            if name.endswith(".py"):
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
        command = [python, "-m", "compileall", "-q", "-s", folder, "-p", "/var/task"]
        command += ["--invalidation-mode", "unchecked-hash", folder]
        steady = {**os.environ, "PYTHONHASHSEED": "0"}  # the order of constants in bytecode
        subprocess.run(command, check=True, capture_output=True, env=steady)
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
