"""`stagedoor keys`: makes key pairs for passes, and prints the settings and commands for them. Changes no settings."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import SettingsError
from . import key_files, key_pairs
from .key_files import Kind, PublicFile
from .key_pairs import KeyPair
from .options import AsJson, SettingsFile, WrongUsage, load_settings
from .output import complain, help_without_command, moment, say, say_json

if TYPE_CHECKING:
    from ..settings.reader import Reader

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
    pair = key_files.make(folder, kind, key_id, der, reader)
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

    No valid pass is refused on the way. The settings stay as they are: change
    what one step shows, let every gateway reload (SIGHUP; on AWS: cdk deploy),
    then do the next.

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
    pair, present = key_files.make_next(folder, kind, key_id, der, settings, reader)
    passes: Any = reader.get("passes")
    plan = key_pairs.rotation(
        pair,
        passes,
        key_files.setting(present.path, reader) if present else None,
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


def _reader(file: Path | None) -> Reader:
    """Read the settings without checking them: they may name the very key that is about to be made."""
    from ..settings import find, open_reader
    from ..settings.file import read

    source = find(file)
    try:
        text = "" if source is None else read(source)
    except SettingsError as error:
        raise WrongUsage(str(error)) from None
    return open_reader(text, source, os.environ)


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
    plan: Mapping[str, Any], pair: KeyPair, present: PublicFile | None, source: Path | None, now: int
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
