"""Files for CDK to copy into its own folder; they are deleted when this process ends."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path


def write(name: str, content: bytes) -> Path:
    """Write a file into a new folder; return its path."""
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    file = folder / name
    file.write_bytes(content)
    return file


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="stagedoor-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
