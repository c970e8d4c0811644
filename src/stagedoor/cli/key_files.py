"""Makes key pairs for passes and writes their files."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from .key_pairs import KeyPair
from .options import WrongUsage

if TYPE_CHECKING:
    from ..keys.pass_keys import PublicKey
    from ..settings import Settings
    from ..settings.reader import Reader

Kind: TypeAlias = Literal["rsa", "ec"]


class PublicFile(NamedTuple):
    """The file of a public key, which exists or is to be written."""

    path: Path
    pem: str
    exists: bool


def make(
    folder: Path, kind: Kind, key_id: str | None, der: bool, reader: Reader, more: Mapping[Path, str] | None = None
) -> KeyPair:
    """Make a pair and write its files.

    Args:
        folder: where the files go.
        kind: of the keys.
        key_id: name of the key; None: made from the public key.
        der: write DER instead of PEM.
        reader: the settings, to which paths are relative.
        more: public keys as PEM to write with the pair, by path.

    Raises:
        WrongUsage: a bad name, or the site would serve the files.
        OSError: a file exists or cannot be written; then none is.
    """
    from ..keys.pass_keys import new_pair, read_public

    if key_id is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key_id):
        raise WrongUsage(f"{key_id!r} cannot be the id of a key: use letters, digits, - and _")
    served = _served_folder(reader)
    if served is not None and folder.resolve().is_relative_to(served):
        raise WrongUsage(f"the site serves what is in {served}: name another folder for its keys")
    made = new_pair(kind, der=der)
    name, ending = key_id or made.id, "der" if der else "pem"
    private, public = (folder / f"stagedoor-{name}.{half}.{ending}" for half in ("private", "public"))
    others = {path: (text.encode(), 0o644) for path, text in (more or {}).items()}
    _write({private: (made.private, 0o600), public: (made.public, 0o644), **others})
    pem = _pem(read_public(made.public))
    return KeyPair(name, kind, private, public, setting(private, reader), setting(public, reader), pem)


def make_next(
    folder: Path | None, kind: Kind | None, key_id: str | None, der: bool, settings: Settings, reader: Reader
) -> tuple[KeyPair, PublicFile | None]:
    """Make a pair to follow the present one; None means as there. Other arguments and errors as for `make`.

    Returns:
        The pair, and the file of the present public key if the settings do not name one.

    Raises:
        InvalidKey, StoreRefused, Unavailable: the present key cannot be read.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    folder = folder or _present_folder(reader)
    passes, public_file = settings.passes, None
    if kind is None or passes.key_id not in passes.public_keys:
        present = _present_key(settings)
        kind = kind or ("rsa" if isinstance(present, RSAPublicKey) else "ec")
        if passes.key_id not in passes.public_keys:
            public_file = _public_file(folder, str(passes.key_id), present)
    more = {public_file.path: public_file.pem} if public_file and not public_file.exists else {}
    return make(folder, kind, key_id, der, reader, more), public_file


def _present_key(settings: Settings) -> PublicKey:
    """The public half of the key that signs now; AWS is asked only if the settings do not hold it.

    Raises:
        InvalidKey, StoreRefused, Unavailable: as for `read_keys`.
    """
    from ..keys.pass_keys import read_keys, read_public

    passes = settings.passes
    assert passes.key_id is not None
    public = passes.public_keys.get(passes.key_id)
    if isinstance(public, bytes):
        return read_public(public)
    return read_keys(replace(passes, public_keys={}), settings.aws_region)[0][passes.key_id]


def _present_folder(reader: Reader) -> Path:
    """The folder of the present private key, relative to the current one if it is below it."""
    scheme, _, rest = str(reader.text("passes.private_key")).partition(":")
    folder = (reader.base / Path(rest).expanduser()).parent if scheme == "file" else reader.base
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _public_file(folder: Path, key_id: str, present: PublicKey) -> PublicFile:
    """Find the file that was written when the key was made."""
    from ..core.errors import InvalidKey
    from ..keys.pass_keys import read_public

    for ending in ("pem", "der"):
        path = folder / f"stagedoor-{key_id}.public.{ending}"
        with contextlib.suppress(OSError, InvalidKey):
            if read_public(path.read_bytes()) == present:
                return PublicFile(path, "", exists=True)
    return PublicFile(folder / f"stagedoor-{key_id}.public.pem", _pem(present), exists=False)


def _served_folder(reader: Reader) -> Path | None:
    """The folder that is the site's store, if it is one."""
    store = reader.text("site.store") or "memory:"
    if store.startswith(("memory:", "s3:")):
        return None
    path = unquote(urlsplit(store).path) if store.startswith("file:") else store
    return (reader.base / Path(path).expanduser()).resolve()


def _write(files: Mapping[Path, tuple[bytes, int]]) -> None:
    """Write all files or none, and overwrite none."""
    written: list[Path] = []
    try:
        for path, (content, mode) in files.items():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            written.append(path)
            with os.fdopen(descriptor, "wb") as out:
                out.write(content)
    except OSError as error:
        for one in written:
            one.unlink()
        if isinstance(error, FileExistsError):
            mend = "keys are never overwritten: move it away, or choose another --id or folder"
            raise OSError(f"{path} exists already\n  {mend}") from None
        raise OSError(f"{path} cannot be written: {error.strerror}\n  name another folder") from None


def setting(path: Path, reader: Reader) -> str:
    """A file as settings name it: relative to the settings file if it is below it."""
    full, base = path.resolve(), reader.base.resolve()
    return f"file:{full.relative_to(base) if full.is_relative_to(base) else full}"


def _pem(key: PublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
