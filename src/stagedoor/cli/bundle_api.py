"""`stagedoor bundle api`: the zip of the function behind `/-/*`."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .output import AsJson, SettingsFile, complain, say, say_json


class Architecture(StrEnum):
    """As Lambda has them."""

    arm64 = "arm64"
    x86_64 = "x86_64"


def command(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="default: dist, here")] = Path("dist"),
    file: SettingsFile = None,
    architecture: Annotated[
        Architecture, typer.Option(metavar="NAME", help="arm64 or x86_64; default: arm64")
    ] = Architecture.arm64,
    given: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME", help="a variable that the function will have; may be repeated"),
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="wheels of cryptography and cffi; default: pip downloads them"),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """make the zip of the function behind /-/*, for API Gateway.

    Settings and public keys are baked in, secrets never: name where AWS keeps
    them (ssm:/…), or with --env the variables that the function will have.

    \b
    example:
      stagedoor bundle api --out dist --env STAGEDOOR_SITE_STORE
    """
    from ..aws.api.bundle import HANDLER, make_api_zip
    from ..aws.packing import RUNTIME
    from ..settings import load

    settings = load(file)
    for warning in settings.warnings:
        complain("warning", warning)
    made = make_api_zip(
        settings,
        given=frozenset(given or ()),
        architecture=architecture.value,
        wheels=wheels,
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "api.zip"
    path.write_bytes(made.content)
    if not made.compiled:
        complain("note", f"no python{RUNTIME} was found, so there is no bytecode inside and starts are slower")
    digest, unpacked = hashlib.sha256(made.content).hexdigest(), sum(made.files.values())
    if as_json:
        told = {"zip": str(path), "bytes": len(made.content), "unpacked": unpacked, "sha256": digest}
        more = {"bundle": made.hash, "runtime": f"python{RUNTIME}", "architecture": architecture.value}
        say_json({**told, **more, "compiled": made.compiled, "handler": HANDLER})
        return 0
    say(f"{path}  {len(made.content):,} bytes, {len(made.files)} files, {unpacked:,} unpacked")
    say(f"  sha256   {digest}")
    say(f"  bundle   {made.hash}, which the function writes to its log when it starts")
    say(f"  runtime  python{RUNTIME}, {architecture.value}, payload format 2.0")
    say(f"  handler  {HANDLER}")
    return 0
