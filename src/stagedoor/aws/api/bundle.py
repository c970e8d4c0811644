"""Makes the zip of the function behind `/-/*`: what it needs of this package, its settings, and `cryptography`.

`cryptography` is always included, because Python's own arithmetic cannot do this function's work safely: signing with a
private key would leak the key by the time that it takes, issuers may sign with elliptic curves, and cursors are sealed
with AES. boto3 and botocore belong to the runtime and are left out, as are the gateway, the commands and the demo.

No secret gets into the zip, because everyone who may read the function's code would have it; AWS keeps secrets better.
The same settings and the same release of `cryptography` make the same bytes.
"""

from __future__ import annotations

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
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from ...core.errors import StagedoorError
from ...settings import PREFIX, SECTIONS, Settings
from ...settings.reader import Reader
from .. import packing

Architecture: TypeAlias = Literal["arm64", "x86_64"]
"""Names of Lambda."""

ARCHITECTURE: Architecture = "arm64"
"""The default, because it costs less."""
HANDLER = "stagedoor.aws.api.lambda_function.handler"
MAX_UNPACKED_BYTES = 250 * 1_048_576
"""Lambda Developer Guide, "Lambda quotas"."""

_OPENAPI = "core/endpoints/openapi.json"
_WHEEL_ARCHITECTURE = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Architecture -> its name in wheels (PEP 600)."""
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
"""Wheels for these run on the runtime's Amazon Linux 2023, whose C library is newer (2.34)."""
_DEPENDENCIES = {
    "cryptography": re.compile(r"cryptography/|.*\.dist-info/"),
    "cffi": re.compile(r"_cffi_backend\.|.*\.dist-info/"),
}
"""Distribution -> beginnings of the names of its files that are needed."""
_NOT_NEEDED = re.compile(r".*(\.pyi|py\.typed|/RECORD|/sboms/.*)")
_NEVER_IMPORTED = frozenset(
    ("catalogue/sqlite.py", "store/cache.py", "store/folder.py", "store/memory.py", "store/s3.py")
)
"""Modules for stores and catalogues that the function refuses."""
_UNUSED_SECTIONS = ("gateway",)
_SECRETS = ("passes.private_key", "passes.passphrase", "login.session_keys")
_PUBLIC_KEYS = "passes.public_keys"
_OF_SIGN_IN = {"login": ("issuer", "client_id", "client_secret"), "issuers": ("client_id", "client_secret")}
"""What makes people sign in at the gateway; the function signs no one in."""


class BundleError(StagedoorError):
    """The zip cannot be made, and the settings are not the reason."""


def make_api_zip(
    settings: Settings,
    *,
    variables: frozenset[str] = frozenset(),
    architecture: Architecture = ARCHITECTURE,
    wheels: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> packing.Bundle:
    """Make the zip.

    Args:
        settings: of the site, as `settings.load` returned them.
        variables: names of environment variables that the function will have (`STAGEDOOR_SITE_STORE`,
            `STAGEDOOR_PASSES_PRIVATE_KEY`, …); what they set is left out of the zip, and not checked.
        architecture: of the function.
        wheels: folder with wheels of `cryptography` and `cffi` for this architecture; default: pip downloads them.
        environ: the environment that `settings` were loaded with; default: the process's own.

    Returns:
        The bundle; its hash is of settings and code, without the dependencies.

    Raises:
        SettingsError: the function cannot do what a setting asks for, or a secret would get into the zip.
        BundleError: pip could not download the wheels, they do not fit, or the zip is too large.
    """
    files = settings_files(settings, variables, os.environ if environ is None else environ)
    files |= packing.sources("aws/api/lambda_function.py", leave_out=_NEVER_IMPORTED)
    files[f"stagedoor/{_OPENAPI}"] = Path(__file__).parents[2].joinpath(_OPENAPI).read_bytes()
    hashes = {name: packing.sha256(content) for name, content in sorted(files.items())}
    bundle_hash = packing.sha256(json.dumps(hashes).encode())[:12]
    files["bundle.json"] = json.dumps({"stagedoor": packing.stagedoor_version(), "bundle": bundle_hash}).encode()
    with tempfile.TemporaryDirectory() as folder:
        files |= _dependencies(wheels or _download(architecture, Path(folder)), architecture)
    bundle = packing.pack(files, bundle_hash)
    if sum(bundle.files.values()) > MAX_UNPACKED_BYTES:
        raise BundleError(f"unpacked the zip has more than {MAX_UNPACKED_BYTES} bytes")
    return bundle


# --- settings


def named_secrets(settings: Settings, variables: frozenset[str], environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """List the secrets that the function reads when it starts; arguments as for `make_api_zip`.

    Returns:
        Name and value of each setting: `ssm:…` or `secretsmanager:…`, or what the function cannot read.
    """
    reader = packing.read_again(settings, environ)
    secrets = [(name, text) for name in _SECRETS for text in reader.texts(name)]
    public = [(_PUBLIC_KEYS, text) for text in reader.table(_PUBLIC_KEYS).values() if not text.startswith("file:")]
    return [(name, text) for name, text in (*secrets, *public) if _variable(name) not in variables]


def settings_files(settings: Settings, variables: frozenset[str], environ: Mapping[str, str]) -> dict[str, bytes]:
    """Write `stagedoor.toml` for the function, and copy the files of public keys that it names.

    Returns:
        Name in the zip -> content.

    Arguments and errors as for `make_api_zip`.
    """
    return _SettingsWriter(packing.read_again(settings, environ), variables).write()


class _SettingsWriter:
    """Copies settings, without what the function has no use for, gets from its variables, or must not have.

    Args:
        reader: of the settings.
        variables: as for `make_api_zip`.
    """

    def __init__(self, reader: Reader, variables: frozenset[str]) -> None:
        self._reader, self._variables = reader, variables
        self._copies: dict[str, bytes] = {}

    def write(self) -> dict[str, bytes]:
        for name in _SECRETS:
            self._check_secret(name)
        self._check_scheme("site.store", "s3:", "the function reads from S3 alone", "s3://bucket")
        self._check_scheme("catalogue.url", "dynamodb:", "a function keeps no database file", "dynamodb://table")
        self._check_scheme("state.url", "dynamodb:", "the function remembers in DynamoDB alone", "dynamodb://table")
        self._check_session_keys()
        sections = {name: self._section(name) for name in SECTIONS if name not in _UNUSED_SECTIONS}
        lines = [f"{name} = {_toml(content)}\n" for name, content in sections.items() if content]
        return {"stagedoor.toml": "".join(lines).encode(), **self._copies}

    def _section(self, name: str) -> object:
        content = self._reader.get(name)
        if name == "issuers":
            issuers = self._reader.tables(name)
            return [self._issuer(f"issuers[{number}]", issuer) for number, issuer in enumerate(issuers)]
        if not isinstance(content, dict):
            return content
        kept = {key: value for key, value in content.items() if not self._is_variable(f"{name}.{key}")}
        for key in _OF_SIGN_IN.get(name, ()):
            kept.pop(key, None)
        if isinstance(kept.get("ca"), str):
            kept["ca"] = self._copy("site.ca", str(kept["ca"]).removeprefix("file:"))
        if "public_keys" in kept:
            keys = self._reader.table(_PUBLIC_KEYS)
            kept["public_keys"] = {key: self._public_key(text) for key, text in keys.items()}
        return kept

    def _issuer(self, name: str, whole: Mapping[str, object]) -> dict[str, object]:
        issuer = {key: value for key, value in whole.items() if key not in _OF_SIGN_IN["issuers"]}
        jwks = self._reader.text(f"{name}.jwks")
        if jwks is None or re.match("https?:", jwks):
            return issuer
        path = unquote(urlsplit(jwks).path) if jwks.startswith("file:") else jwks
        return {**issuer, "jwks": self._copy(f"{name}.jwks", path)}

    def _public_key(self, text: str) -> str:
        scheme, _, path = text.partition(":")
        return f"file:{self._copy(_PUBLIC_KEYS, path)}" if scheme == "file" else text

    def _copy(self, name: str, path: str) -> str:
        """Put the file that a setting names into the zip; return its path there."""
        content = self._reader.file(name, path).read_bytes()
        target = f"files/{packing.sha256(content)[:16]}{Path(path).suffix}"
        self._copies[target] = content
        return target

    def _check_secret(self, name: str) -> None:
        for text in () if self._is_variable(name) else self._reader.texts(name):
            if not text.startswith(("ssm:", "secretsmanager:", "env:")):
                mend = f'"ssm:/…", or {_variable(name)} for the function'
                self._reader.fail(name, "a secret does not go into the zip", mend)

    def _check_scheme(self, name: str, scheme: str, problem: str, better: str) -> None:
        text = None if self._is_variable(name) else self._reader.text(name)
        if text is not None and not text.startswith(scheme):
            self._reader.fail(name, problem, f'"{better}", or {_variable(name)} for the function')

    def _check_session_keys(self) -> None:
        """Refuse what `lambda_function.with_shared_keys` would refuse after the deployment."""
        name = "login.session_keys"
        has_store = self._is_variable("site.store") or self._reader.text("site.store") is not None
        if has_store and not self._is_variable(name) and not self._reader.texts(name):
            problem = "every instance of the function needs the same keys, for sessions and for cursors of listings"
            self._reader.fail(name, problem, f'["ssm:/…"], or {_variable(name)} for the function')

    def _is_variable(self, name: str) -> bool:
        return _variable(name) in self._variables


def _variable(name: str) -> str:
    return PREFIX + name.replace(".", "_").upper()


def _toml(value: object) -> str:
    """Write a value in TOML, on one line. A JSON string is a TOML string, but for DEL."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# --- dependencies


def _download(architecture: Architecture, folder: Path) -> Path:
    """Download wheels of the releases that run here, from the index that pip is configured with."""
    wanted = [f"{name}=={version(name)}" for name in _DEPENDENCIES]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--dest", str(folder), "--python-version", packing.RUNTIME, "--only-binary", ":all:"]
    for platform in _PLATFORMS:
        command += ["--platform", f"{platform}_{_WHEEL_ARCHITECTURE[architecture]}"]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        mend = "put wheels of both into a folder, and name it"
        raise BundleError(f"pip could not get {' and '.join(wanted)}: {done.stderr.strip()[-500:]}\n  {mend}")
    return folder


def _dependencies(folder: Path, architecture: Architecture) -> dict[str, bytes]:
    """Unpack what is needed of the wheels in a folder."""
    suffix = _WHEEL_ARCHITECTURE[architecture]
    files: dict[str, bytes] = {}
    for distribution, wanted in _DEPENDENCIES.items():
        found = sorted(folder.glob(f"{distribution}-*{suffix}.whl"))
        if len(found) != 1:
            raise BundleError(
                f"there are {len(found)} wheels of {distribution} for {suffix}, and exactly one is needed"
            )
        with zipfile.ZipFile(found[0]) as wheel:
            for name in wheel.namelist():
                if wanted.match(name) and not name.endswith("/") and not _NOT_NEEDED.fullmatch(name):
                    files[name] = wheel.read(name)
    return files
