"""`stagedoor keys`: key pairs for passes are written, and what to put where is said. No settings are ever changed."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import typer

from . import key_pairs
from .output import AsJson, SettingsFile, WrongUsage, complain, moment, say, say_json

if TYPE_CHECKING:
    from ..keys.pass_keys import PublicKey
    from ..settings import Settings
    from ..settings.reader import Reader

Kind: TypeAlias = Literal["rsa", "ec"]
Id = Annotated[
    str | None, typer.Option("--id", metavar="ID", help="what it is called; default: a name made from the public key")
]
Der = Annotated[bool, typer.Option("--der", help="files in DER, as Java wants them, instead of PEM")]

CDK_REGION = "us-east-1"
"""Where `stagedoor.cdk` sets everything up, and so reads secrets."""

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def command(context: typer.Context) -> int:
    """make key pairs for signed URLs and cookies.

    \b
    example:
      stagedoor keys new
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        return 2
    return 0


@app.command("new")
def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where the files go; default: here")] = Path(),
    kind: Annotated[Kind, typer.Option("--type", help="ec signs faster; the edge door checks rsa alone")] = "rsa",
    id_: Id = None,
    der: Der = False,
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """make a key pair, and say what to put where.

    Two files are written; none is ever written over. The private key is yours
    alone to read, and is not printed.

    \b
    examples:
      stagedoor keys new
      stagedoor keys new --type ec --id 2026-10 /etc/stagedoor
    """
    read = _reader(file)
    present = read.text("passes.key_id")
    made = _make(folder, kind, id_, der, read)
    settings = key_pairs.section({"key_id": made.id, "private_key": made.place})
    if as_json:
        say_json({**key_pairs.about(made), "ssm": _to_ssm(made, read), "settings": settings})
    else:
        _say_new(made, settings, read)
    _note_kind(made)
    if present not in (None, made.id):
        complain("note", f"this site signs with {present}; to change over and refuse nobody: stagedoor keys rotate")
    return 0


@app.command("rotate")
def rotate(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="where the files go; default: where the present key is")
    ] = None,
    kind: Annotated[Kind | None, typer.Option("--type", help="default: as the present key")] = None,
    id_: Id = None,
    der: Der = False,
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """make the next key pair, and say how to change to it and refuse nobody.

    The settings stay as they are. Put in what each of the three steps shows,
    and have every gateway read it (SIGHUP; on AWS: cdk deploy) before you go on
    to the next.

    \b
    example:
      stagedoor keys rotate --settings /etc/stagedoor/stagedoor.toml
    """
    from ..settings import load

    settings, now = load(file), int(time.time())
    if settings.passes.key_id is None:
        complain("error", "this site signs with no key yet\n  make the first one: stagedoor keys new")
        return 1
    if id_ in (settings.passes.key_id, *settings.passes.public_keys):
        raise WrongUsage(f"this site has a key {id_!r} already: choose another --id")
    read = _reader(file)
    made, own_public = _make_next(folder, kind, id_, der, settings, read)
    passes: Any = read.get("passes")
    lifetime = settings.pass_lifetime
    change = key_pairs.change(
        made,
        passes,
        _place(own_public.path, read) if own_public else None,
        max_lifetime=lifetime,
        now=now,
        region=settings.aws_region,
    )
    variables = [f"STAGEDOOR_PASSES_{name.upper()}" for name in passes]
    change["environment"] = [name for name in variables if name in os.environ]
    if as_json:
        say_json(change)
    else:
        _say_change(change, made, own_public, read.source, now)
    for note in change["notes"]:
        complain("note", note)
    if change["environment"]:
        complain("note", f"set in the environment, which is stronger than the file: {', '.join(change['environment'])}")
    _note_kind(made)
    return 0


# --- files


def _reader(file: Path | None) -> Reader:
    """The settings as they stand there: they may wait for the very key that is to be made."""
    from ..settings import DEFAULT_FILE, LISTS, PREFIX, TABLE
    from ..settings.reader import Reader

    named = file or os.environ.get(f"{PREFIX}SETTINGS")
    chosen = Path(named or DEFAULT_FILE)
    if not named and not chosen.exists():
        return Reader(TABLE, LISTS, "", None, os.environ)
    try:
        return Reader(TABLE, LISTS, chosen.read_text(encoding="utf-8"), chosen, os.environ)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise WrongUsage(f"{chosen} cannot be read: {reason}") from None


def _make(
    folder: Path, kind: Kind, id_: str | None, der: bool, read: Reader, beside: Mapping[Path, str] | None = None
) -> key_pairs.Made:
    """Make a pair and write its files, and these public ones beside them."""
    from ..keys.pass_keys import new_pair, read_public

    if id_ is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", id_):
        raise WrongUsage(f"{id_!r} is no id for a key: letters, digits, '-' and '_'")
    served = _served(read)
    if served is not None and folder.resolve().is_relative_to(served):
        raise WrongUsage(f"the site serves what is in {served}: name a folder elsewhere for its keys")
    pair = new_pair(kind, der=der)
    name, ending = id_ or pair.id, "der" if der else "pem"
    private, public = (folder / f"stagedoor-{name}.{half}.{ending}" for half in ("private", "public"))
    others = {path: (text.encode(), 0o644) for path, text in (beside or {}).items()}
    _write({private: (pair.private, 0o600), public: (pair.public, 0o644), **others})
    pem = _pem(read_public(pair.public))
    return key_pairs.Made(name, kind, private, public, _place(private, read), _place(public, read), pem)


def _make_next(
    folder: Path | None, kind: Kind | None, id_: str | None, der: bool, settings: Settings, read: Reader
) -> tuple[key_pairs.Made, _OwnPublic | None]:
    """Make a pair that is like the present one; and the file of the present public key, if settings name none."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    from .services import present_key

    if folder is None:
        folder = _folder_of(read)
    own_public = None
    if kind is None or settings.passes.key_id not in settings.passes.public_keys:
        present = present_key(settings)
        kind = kind or ("rsa" if isinstance(present, RSAPublicKey) else "ec")
        if settings.passes.key_id not in settings.passes.public_keys:
            own_public = _own_public(folder, str(settings.passes.key_id), present)
    beside = {own_public.path: own_public.pem} if own_public and not own_public.is_here else {}
    return _make(folder, kind, id_, der, read, beside), own_public


def _folder_of(read: Reader) -> Path:
    """Where the present private key is, as seen from here."""
    scheme, _, rest = str(read.text("passes.private_key")).partition(":")
    folder = (read.base / Path(rest).expanduser()).parent if scheme == "file" else read.base
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


class _OwnPublic(NamedTuple):
    """The public half of the present key, in a file that settings can name."""

    path: Path
    pem: str
    is_here: bool


def _own_public(folder: Path, id_: str, present: PublicKey) -> _OwnPublic:
    """Find the file that was written when the key was made, or say what to write."""
    from ..core.errors import InvalidKey
    from ..keys.pass_keys import read_public

    for ending in ("pem", "der"):
        path = folder / f"stagedoor-{id_}.public.{ending}"
        with contextlib.suppress(OSError, InvalidKey):
            if read_public(path.read_bytes()) == present:
                return _OwnPublic(path, "", is_here=True)
    return _OwnPublic(folder / f"stagedoor-{id_}.public.pem", _pem(present), is_here=False)


def _served(read: Reader) -> Path | None:
    """The folder whose files the site serves."""
    store = read.text("site.store") or "memory:"
    if store.startswith(("memory:", "s3:")):
        return None
    path = unquote(urlsplit(store).path) if store.startswith("file:") else store
    return (read.base / Path(path).expanduser()).resolve()


def _write(files: Mapping[Path, tuple[bytes, int]]) -> None:
    """Write all of them or none; what is there stays."""
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
            mend = "keys are never written over: move it away, or choose another --id or folder"
            raise OSError(f"{path} is here already\n  {mend}") from None
        raise OSError(f"{path} cannot be written: {error.strerror}\n  name another folder") from None


def _place(path: Path, read: Reader) -> str:
    """A file as settings name it."""
    full, base = path.resolve(), read.base.resolve()
    return f"file:{full.relative_to(base) if full.is_relative_to(base) else full}"


def _pem(key: PublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _parameter(made: key_pairs.Made) -> str:
    """One parameter for each key, so that a rotation writes none over that is in use."""
    return f"/{key_pairs.SHELF}/{made.id}"


def _to_ssm(made: key_pairs.Made, read: Reader) -> str:
    own = None if read.text("site.endpoint") else read.text("site.region")
    return key_pairs.to_ssm(made, _parameter(made), own or CDK_REGION)


# --- what is said


def _say_new(made: key_pairs.Made, settings: str, read: Reader) -> None:
    _say_written(made)
    say(f"\nin {read.source or 'stagedoor.toml'}:")
    _say_block(settings)
    say("\nto keep the private key out of git:")
    _say_block(f"echo 'stagedoor-*.private.*' >> {shlex.quote(str(made.private.parent / '.gitignore'))}")
    say(f'\nif AWS is to keep the private key: private_key = "ssm:{_parameter(made)}", and delete the file after.')
    say(f"the region is the one it is read in: {CDK_REGION} where stagedoor.cdk sets the site up, else the gateway's:")
    _say_block(_to_ssm(made, read))
    say("\nif stagedoor.cdk sets the site up, it gives CloudFront the public key; name it in [passes]:")
    _say_block(f'public_keys = {{ {made.id} = "{made.public_place}" }}')
    say("\nif you set CloudFront up yourself, to check passes: upload the public key, put it into the key group, and")
    say("let key_id be the id that CloudFront shows:")
    _say_block(key_pairs.to_cloudfront(made))


def _say_change(
    change: Mapping[str, Any], made: key_pairs.Made, own_public: _OwnPublic | None, source: Path | None, now: int
) -> None:
    old, where = change["previous"], source or "stagedoor.toml"
    first, second, third = (step["settings"] for step in change["steps"])
    _say_written(made)
    if own_public is not None and not own_public.is_here:
        say(f"wrote {own_public.path}, the public half of {old}: after step 2 it is told nowhere else")
    say("\nno settings were changed. after each step reload every gateway (SIGHUP, systemctl reload stagedoor; on AWS:")
    say("cdk deploy), and go on when all of them have done so.")
    say(f"\n1. all learn the new public key. in {where}:")
    _say_block(first)
    if change["keep"]:
        say("\n2. give AWS the new private key to keep, and let it sign:")
        _say_block(change["keep"])
    else:
        say("\n2. the new key signs:")
    _say_block(second)
    say(f"\n3. if step 2 is done now, the last pass of {old} is over {moment(change['removable'], now)}.")
    say("from then on it can go, and its private key be deleted:")
    _say_block(third)
    say("\nif stagedoor.cdk sets the site up, that is all. if you set CloudFront up yourself, to check passes: before")
    say("step 1 upload the new public key, put it into the key group, and write the id that CloudFront shows instead")
    say(f"of {made.id} in every step; with step 3 take {old} out of the group:")
    _say_block(key_pairs.to_cloudfront(made))
    say(f"\nURLs and cookies that stagedoor sign made to last longer than [passes] max_lifetime end with {old}, too.")


def _say_written(made: key_pairs.Made) -> None:
    say(f"wrote {made.private}, which only you can read")
    say(f"wrote {made.public}, which anybody may have")


def _say_block(text: str) -> None:
    say("\n" + "\n".join(f"  {line}" for line in text.rstrip("\n").split("\n")))


def _note_kind(made: key_pairs.Made) -> None:
    if made.kind == "ec":
        complain("note", "EC signs several times faster, but the edge door checks RSA alone")
