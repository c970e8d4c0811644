"""Wheels made of the installed packages, so that no test has to download them."""

from __future__ import annotations

import zipfile
from importlib.metadata import distribution
from pathlib import Path

_TAGS = {"cryptography": "cp311-abi3-manylinux_2_28_", "cffi": "cp313-cp313-manylinux_2_17_"}
"""Tags of the wheels for the runtime; the files inside run in this interpreter."""


def put_wheels(folder: Path, architecture: str = "aarch64", *, small: bool = False) -> Path:
    """Write wheels of `cryptography` and `cffi` into a folder.

    Args:
        folder: is made if it does not exist.
        architecture: in their names.
        small: True: compiled code, which takes seconds to pack, is left empty.
    """
    folder.mkdir(exist_ok=True)
    for name, tags in _TAGS.items():
        found = distribution(name)
        with zipfile.ZipFile(folder / f"{name}-{found.version}-{tags}{architecture}.whl", "w") as wheel:
            for file in found.files or ():
                path = Path(str(found.locate_file(file)))
                if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                    wheel.writestr(str(file), b"" if small and file.suffix == ".so" else path.read_bytes())
    return folder
