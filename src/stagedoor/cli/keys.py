"""`stagedoor keys`: makes key pairs for passes, and prints the settings and commands for them. Changes no settings."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import typer

from . import key_pairs
from .key_pairs import KeyPair
from .options import AsJson, SettingsFile, WrongUsage, load_settings
from .output import complain, help_without_command, moment, say, say_json

if TYPE_CHECKING:
    from ..keys.pass_keys import PublicKey
    from ..settings import Settings
    from ..settings.reader import Reader

Kind: TypeAlias = Literal["rsa", "ec"]
KeyId = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="name of the key; default: made from the public key")
]
Der = Annotated[bool, typer.Option("--der", help="files in DER, which Java needs, instead of PEM")]

CDK_REGION = "us-east-1"
"""Where `stagedoor.cdk` puts everything, and so where the secrets are read."""

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def command(context: typer.Context) -> int:
    """make key pairs for signed URLs and cookies.

    \b
    example:
      stagedoor keys new
    """
    return help_without_command(context)


@app.command("new")
def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder for the files; default: here")] = Path(),
    kind: Annotated[Kind, typer.Option("--type", help="ec signs faster; the edge door checks rsa alone")] = "rsa",
    key_id: KeyId = None,
    der: Der = False,
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """make a key pair, and show where its halves go.

    Writes two files and never overwrites one. Only you can read the file of the
    private key; the key itself is not printed.

    \b
    examples:
      stagedoor keys new
      stagedoor keys new --type ec --id 2026-10 /etc/stagedoor
    """
    reader = _reader(file)
    present = reader.text("passes.key_id")
    pair = _make(folder, kind, key_id, der, reader)
    settings = key_pairs.section({"key_id": pair.id, "private_key": pair.private_setting})
    if as_json:
        say_json({**key_pairs.facts(pair), "ssm": _to_ssm(pair, reader), "settings": settings})
    else:
        _say_new(pair, settings, reader)
    _note_kind(pair)
    if present not in (None, pair.id):
        complain("note", f"this site signs with {present}; to change keys and refuse no one: stagedoor keys rotate")
    return 0


@app.command("rotate")
def rotate(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="folder for the files; default: that of the present key")
    ] = None,
    kind: Annotated[Kind | None, typer.Option("--type", help="default: the type of the present key")] = None,
    key_id: KeyId = None,
    der: Der = False,
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """make the next key pair, and show the steps that change to it.

    No valid pass is refused on the way. The settings stay as they are: make the
    change of one step, let every gateway reload (SIGHUP; on AWS: cdk deploy),
    then go on to the next.

    \b
    example:
      stagedoor keys rotate --settings /etc/stagedoor/stagedoor.toml
    """
    settings, now = load_settings(file), int(time.time())
    if settings.passes.key_id is None:
        complain("error", "this site signs with no key yet\n  make the first one: stagedoor keys new")
        return 1
    if key_id in (settings.passes.key_id, *settings.passes.public_keys):
        raise WrongUsage(f"this site has a key {key_id!r} already: choose another --id")
    reader = _reader(file)
    pair, present = _make_next(folder, kind, key_id, der, settings, reader)
    passes: Any = reader.get("passes")
    plan = key_pairs.rotation(
        pair,
        passes,
        _setting(present.path, reader) if present else None,
        max_lifetime=settings.pass_lifetime,
        now=now,
        region=settings.aws_region,
    )
    variables = [f"STAGEDOOR_PASSES_{name.upper()}" for name in passes]
    plan["environment"] = [name for name in variables if name in os.environ]
    if as_json:
        say_json(plan)
    else:
        _say_plan(plan, pair, present, reader.source, now)
    complain("note", *plan["notes"])
    if plan["environment"]:
        complain("note", f"these variables win over the file, so change them there: {', '.join(plan['environment'])}")
    _note_kind(pair)
    return 0


# --- files


def _reader(file: Path | None) -> Reader:
    """Read the settings without checking them: they may name the very key that is about to be made."""
    from ..settings import DEFAULT_FILE, LISTS, PREFIX, TABLE
    from ..settings.reader import Reader

    named = file or os.environ.get(f"{PREFIX}SETTINGS")
    source = Path(named or DEFAULT_FILE)
    if not named and not source.exists():
        return Reader(TABLE, LISTS, "", None, os.environ)
    try:
        return Reader(TABLE, LISTS, source.read_text(encoding="utf-8"), source, os.environ)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise WrongUsage(f"{source} cannot be read: {reason}") from None


def _make(
    folder: Path, kind: Kind, key_id: str | None, der: bool, reader: Reader, more: Mapping[Path, str] | None = None
) -> KeyPair:
    """Make a pair and write its files, and with them the public keys in `more`."""
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
    return KeyPair(name, kind, private, public, _setting(private, reader), _setting(public, reader), pem)


def _make_next(
    folder: Path | None, kind: Kind | None, key_id: str | None, der: bool, settings: Settings, reader: Reader
) -> tuple[KeyPair, _PublicFile | None]:
    """Make a pair like the present one; return also the present public key's file, if the settings name none."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    folder = folder or _present_folder(reader)
    passes, public_file = settings.passes, None
    if kind is None or passes.key_id not in passes.public_keys:
        present = _present_key(settings)
        kind = kind or ("rsa" if isinstance(present, RSAPublicKey) else "ec")
        if passes.key_id not in passes.public_keys:
            public_file = _public_file(folder, str(passes.key_id), present)
    more = {public_file.path: public_file.pem} if public_file and not public_file.exists else {}
    return _make(folder, kind, key_id, der, reader, more), public_file


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


class _PublicFile(NamedTuple):
    """The file of a public key, which exists or is to be written."""

    path: Path
    pem: str
    exists: bool


def _public_file(folder: Path, key_id: str, present: PublicKey) -> _PublicFile:
    """Find the file that was written when the key was made."""
    from ..core.errors import InvalidKey
    from ..keys.pass_keys import read_public

    for ending in ("pem", "der"):
        path = folder / f"stagedoor-{key_id}.public.{ending}"
        with contextlib.suppress(OSError, InvalidKey):
            if read_public(path.read_bytes()) == present:
                return _PublicFile(path, "", exists=True)
    return _PublicFile(folder / f"stagedoor-{key_id}.public.pem", _pem(present), exists=False)


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


def _setting(path: Path, reader: Reader) -> str:
    """A file as settings name it: relative to the settings file if it is below it."""
    full, base = path.resolve(), reader.base.resolve()
    return f"file:{full.relative_to(base) if full.is_relative_to(base) else full}"


def _pem(key: PublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _parameter(pair: KeyPair) -> str:
    """The name at AWS: one for each key, so that a rotation does not overwrite the key in use."""
    return f"/{key_pairs.FOLDER}/{pair.id}"


def _to_ssm(pair: KeyPair, reader: Reader) -> str:
    region = None if reader.text("site.endpoint") else reader.text("site.region")
    return key_pairs.to_ssm(pair, _parameter(pair), region or CDK_REGION)


# --- what is printed


def _say_new(pair: KeyPair, settings: str, reader: Reader) -> None:
    _say_written(pair)
    say(f"\nin {reader.source or 'stagedoor.toml'}:")
    _say_block(settings)
    say("\nto keep the private key out of git:")
    _say_block(f"echo 'stagedoor-*.private.*' >> {shlex.quote(str(pair.private.parent / '.gitignore'))}")
    say(f'\nto keep the private key at AWS: set private_key = "ssm:{_parameter(pair)}", run this, and delete the file.')
    say(f"the region is the one where the key is read: {CDK_REGION} with stagedoor.cdk, else that of the gateway.")
    _say_block(_to_ssm(pair, reader))
    say("\nwith stagedoor.cdk, name the public key in [passes], too; CloudFront gets it from there:")
    _say_block(f'public_keys = {{ {pair.id} = "{pair.public_setting}" }}')
    say("\nif you set CloudFront up yourself, to check passes: upload the public key, add it to the key group, and set")
    say("key_id to the id that CloudFront shows:")
    _say_block(key_pairs.to_cloudfront(pair))


def _say_plan(
    plan: Mapping[str, Any], pair: KeyPair, present: _PublicFile | None, source: Path | None, now: int
) -> None:
    old, where = plan["previous"], source or "stagedoor.toml"
    first, second, third = (step["settings"] for step in plan["steps"])
    _say_written(pair)
    if present is not None and not present.exists:
        say(f"wrote {present.path}, the public key of {old}, which step 1 needs")
    say("\nno settings were changed. after each step reload every gateway (SIGHUP, systemctl reload stagedoor; on AWS:")
    say("cdk deploy), and wait until all have done so.")
    say(f"\n1. every gateway accepts the new key. in {where}:")
    _say_block(first)
    if plan["keep"]:
        say("\n2. store the new private key at AWS, and sign with it:")
        _say_block(plan["keep"])
    else:
        say("\n2. sign with the new key:")
    _say_block(second)
    say(f"\n3. if step 2 is done now, the last pass of {old} ends {moment(plan['removable'], now)}.")
    say("after that remove it, and delete its private key:")
    _say_block(third)
    say("\nwith stagedoor.cdk, that is all. if you set CloudFront up yourself, to check passes: before step 1 upload")
    say("the new public key, add it to the key group, and in every step write the id that CloudFront shows instead")
    say(f"of {pair.id}; with step 3 remove {old} from the group:")
    _say_block(key_pairs.to_cloudfront(pair))
    say(f"\nURLs and cookies that stagedoor sign made to last longer than [passes] max_lifetime end with {old}, too.")


def _say_written(pair: KeyPair) -> None:
    say(f"wrote {pair.private}, which only you can read")
    say(f"wrote {pair.public}, which anyone may have")


def _say_block(text: str) -> None:
    say("\n" + "\n".join(f"  {line}" for line in text.rstrip("\n").split("\n")))


def _note_kind(pair: KeyPair) -> None:
    if pair.kind == "ec":
        complain("note", "EC signs several times faster, but the edge door checks RSA alone")
