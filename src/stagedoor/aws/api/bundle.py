"""Makes the zip of the function behind `/-/*`: the package as far as it needs it, its settings, and `cryptography`.

`cryptography` is bundled always, for there is no way around OpenSSL here: passes are signed with a private key, which
arithmetic of Python's own would give away by the time that it takes; issuers may sign with elliptic curves; cursors
are sealed with AES. boto3 and botocore are part of the runtime and are left out, as is whatever serves and shows.

No secret gets into the zip. Whoever may look at the function's code would have it; AWS keeps secrets better. Made twice
from the same settings, with the same release of `cryptography`, the zip has the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, TypeAlias
from urllib.parse import unquote, urlsplit

from ...core.errors import StagedoorError
from ...settings import LISTS, PREFIX, SECTIONS, TABLE, Settings
from ...settings.reader import Reader
from .. import packing

Architecture: TypeAlias = Literal["arm64", "x86_64"]
"""In Lambda's words."""

ARCHITECTURE: Architecture = "arm64"
"""Of functions, if nobody says otherwise: the cheaper one."""
HANDLER = "stagedoor.aws.api.lambda_function.handler"
MAX_UNPACKED_BYTES = 250 * 1_048_576
"""Lambda Developer Guide, "Lambda quotas"."""

_OPENAPI = "core/endpoints/openapi.json"
_WHEELS = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Architecture, in the words of wheels (PEP 600)."""
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""Older than the C library of the runtime's Amazon Linux 2023 (2.34)."""
_BOUGHT = {
    "cryptography": re.compile(r"cryptography/|.*\.dist-info/"),
    "cffi": re.compile(r"_cffi_backend\.|.*\.dist-info/"),
}
"""Distributions that are bundled, and which of their files."""
_LEFT_OUT = re.compile(r".*(\.pyi|py\.typed|/RECORD|/sboms/.*)")
_NOT_CALLED = frozenset(("catalogue/sqlite.py", "store/folder.py", "store/memory.py", "store/s3.py"))
"""Files whose imports are never reached: `checked` settings name other places."""
_AT_HOME = ("gateway",)
"""Sections that say nothing to the function."""
_SECRETS = ("passes.private_key", "passes.passphrase", "login.session_keys")
_PUBLIC = "passes.public_keys"


class BundleError(StagedoorError):
    """The zip cannot be made, for a reason that is not in the settings."""


class ApiBundle(NamedTuple):
    """A zip that is ready to be uploaded.

    Attributes:
        content: its bytes.
        hash: of settings and code without dependencies.
        compiled: True: bytecode for the runtime is in it, and it starts in half the time.
        files: names, with sizes in bytes.
    """

    content: bytes
    hash: str
    compiled: bool
    files: Mapping[str, int]


def make_api_zip(
    settings: Settings,
    *,
    given: frozenset[str] = frozenset(),
    architecture: Architecture = ARCHITECTURE,
    wheels: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> ApiBundle:
    """Make the zip.

    Args:
        settings: of the site, as `settings.load` gave them.
        given: names of environment variables that the function will have; what they set need not be in the settings
            (`STAGEDOOR_SITE_STORE`, `STAGEDOOR_PASSES_PRIVATE_KEY`, …).
        architecture: of the function.
        wheels: folder with wheels of `cryptography` and `cffi` for it; default: pip downloads them.
        environ: the environment that `settings` were loaded with; default: the process's own.

    Raises:
        SettingsError: the function could not do what a setting asks for, or a secret would get into the zip.
        BundleError: pip could not get the wheels.
    """
    files = baked(settings, given, os.environ if environ is None else environ)
    files |= packing.sources("aws/api/lambda_function.py", leave_out=_NOT_CALLED)
    files[f"stagedoor/{_OPENAPI}"] = Path(__file__).parents[2].joinpath(_OPENAPI).read_bytes()
    hash_ = _digest(json.dumps({name: _digest(body) for name, body in sorted(files.items())}).encode())[:12]
    files["bundle.json"] = json.dumps({"stagedoor": packing.stagedoor_version(), "bundle": hash_}).encode()
    with tempfile.TemporaryDirectory() as folder:
        files |= _bought(wheels or _downloaded(architecture, Path(folder)), architecture)
    compiled = packing.compiled(files)
    files |= compiled
    sizes = {name: len(body) for name, body in sorted(files.items())}
    if sum(sizes.values()) > MAX_UNPACKED_BYTES:
        raise BundleError(f"unpacked the zip has more than {MAX_UNPACKED_BYTES} bytes")
    return ApiBundle(packing.zipped(files), hash_, bool(compiled), sizes)


# --- settings


def secrets_read(settings: Settings, given: frozenset[str], environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the function reads when it starts, for nothing of it is in the zip; arguments as for `make_api_zip`.

    Returns:
        Setting, and what it says: `ssm:…`, `secretsmanager:…`, or what the function could not read.
    """
    read = _reader(settings, environ)
    named = [(name, text) for name in _SECRETS for text in read.texts(name)]
    keys = [(_PUBLIC, text) for text in read.table(_PUBLIC).values() if not text.startswith("file:")]
    return [(name, text) for name, text in (*named, *keys) if _variable(name) not in given]


def _reader(settings: Settings, environ: Mapping[str, str]) -> Reader:
    text = settings.source.read_text(encoding="utf-8") if settings.source is not None else ""
    return Reader(TABLE, LISTS, text, settings.source, environ)


def baked(settings: Settings, given: frozenset[str], environ: Mapping[str, str]) -> dict[str, bytes]:
    """`stagedoor.toml` as the function reads it, and the files of public keys that it names.

    Arguments and errors as for `make_api_zip`.
    """
    return _Baker(_reader(settings, environ), given).files()


class _Baker:
    def __init__(self, read: Reader, given: frozenset[str]) -> None:
        self._read, self._given = read, given
        self._files: dict[str, bytes] = {}

    def files(self) -> dict[str, bytes]:
        for name in _SECRETS:
            self._check_secret(name)
        self._check_place("site.store", "s3:", "the function reads from S3 alone", "s3://bucket")
        self._check_place("catalogue.url", "dynamodb:", "no database file lasts in a function", "dynamodb://table")
        self._check_agreement()
        sections = {name: self._section(name) for name in SECTIONS if name not in _AT_HOME}
        lines = [f"{name} = {_toml(content)}\n" for name, content in sections.items() if content]
        return {"stagedoor.toml": "".join(lines).encode(), **self._files}

    def _section(self, name: str) -> object:
        content = self._read.get(name)
        if name == "issuers":
            return [self._issuer(f"issuers[{number}]", one) for number, one in enumerate(self._read.tables(name))]
        if not isinstance(content, dict):
            return content
        kept = {key: value for key, value in content.items() if not self._is_given(f"{name}.{key}")}
        kept.pop("client_secret", None)  # signing in is not the function's part
        if "public_keys" in kept:
            kept["public_keys"] = {key: self._public(_PUBLIC, text) for key, text in self._read.table(_PUBLIC).items()}
        return kept

    def _issuer(self, place: str, issuer: Mapping[str, object]) -> dict[str, object]:
        jwks = self._read.text(f"{place}.jwks")
        if jwks is None or re.match("https?:", jwks):
            return dict(issuer)
        path = unquote(urlsplit(jwks).path) if jwks.startswith("file:") else jwks
        return {**issuer, "jwks": self._baked(f"{place}.jwks", path)}

    def _public(self, name: str, text: str) -> str:
        scheme, _, path = text.partition(":")
        return f"file:{self._baked(name, path)}" if scheme == "file" else text

    def _baked(self, name: str, path: str) -> str:
        """Take a file along; where it is in the zip."""
        content = self._read.file(name, path).read_bytes()
        target = f"files/{_digest(content)[:16]}{Path(path).suffix}"
        self._files[target] = content
        return target

    def _check_secret(self, name: str) -> None:
        for text in () if self._is_given(name) else self._read.texts(name):
            if not text.startswith(("ssm:", "secretsmanager:", "env:")):
                variable = _variable(name)
                self._fail(name, "a secret does not go into the zip", f'"ssm:/…", or {variable} for the function')

    def _check_place(self, name: str, scheme: str, problem: str, better: str) -> None:
        text = None if self._is_given(name) else self._read.text(name)
        if text is not None and not text.startswith(scheme):
            self._fail(name, problem, f'"{better}", or {_variable(name)} for the function')

    def _check_agreement(self) -> None:
        """As the function itself does, when it is too late."""
        name = "login.session_keys"
        stored = self._is_given("site.store") or self._read.text("site.store") is not None
        if stored and not self._is_given(name) and not self._read.texts(name):
            problem = "cursors of listings and sessions count at every instance only with keys that all of them know"
            self._fail(name, problem, f'["ssm:/…"], or {_variable(name)} for the function')

    def _is_given(self, name: str) -> bool:
        return _variable(name) in self._given

    def _fail(self, name: str, problem: str, mend: str) -> NoReturn:
        self._read.fail(name, problem, mend)


def _variable(name: str) -> str:
    return PREFIX + name.replace(".", "_").upper()


def _toml(value: object) -> str:
    """A value in TOML, on one line; JSON's texts are TOML's too, but for DEL."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# --- files


def _downloaded(architecture: Architecture, folder: Path) -> Path:
    """The wheels of the release that runs here, for the function's system; pip looks where it is told to look."""
    wanted = [f"{name}=={version(name)}" for name in _BOUGHT]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--dest", str(folder), "--python-version", packing.RUNTIME, "--only-binary", ":all:"]
    for platform in _PLATFORMS:
        command += ["--platform", f"{platform}_{_WHEELS[architecture]}"]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        mend = "put wheels of both into a folder, and name it"
        raise BundleError(f"pip could not get {' and '.join(wanted)}: {done.stderr.strip()[-500:]}\n  {mend}")
    return folder


def _bought(folder: Path, architecture: Architecture) -> dict[str, bytes]:
    """What is needed of the wheels in a folder."""
    files: dict[str, bytes] = {}
    for name, wanted in _BOUGHT.items():
        found = sorted(folder.glob(f"{name}-*{_WHEELS[architecture]}.whl"))
        if len(found) != 1:
            raise BundleError(f"there are {len(found)} wheels of {name} for {_WHEELS[architecture]}, and one is wanted")
        with zipfile.ZipFile(found[0]) as wheel:
            for one in wheel.namelist():
                if wanted.match(one) and not one.endswith("/") and not _LEFT_OUT.fullmatch(one):
                    files[one] = wheel.read(one)
    return files


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
