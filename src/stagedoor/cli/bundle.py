"""`stagedoor bundle`: the zips for AWS."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import AsJson, SettingsFile, load_settings
from .output import complain, help_without_command, remark, say, say_json

if TYPE_CHECKING:
    from ..aws.packing import Bundle
    from ..settings import Settings

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for the zip; default: dist")]

app = typer.Typer(rich_markup_mode=None)


class Architecture(StrEnum):
    """Lambda's names."""

    arm64 = "arm64"
    x86_64 = "x86_64"


@app.callback(invoke_without_command=True)
def command(context: typer.Context) -> int:
    """make the zips for AWS: the edge functions and the API.

    \b
    example:
      stagedoor bundle edge --out dist
    """
    return help_without_command(context)


@app.command("edge")
def edge(
    out: Out = Path("dist"),
    file: SettingsFile = None,
    cloudfront_domain: Annotated[
        bool, typer.Option("--cloudfront-domain", help="the site's name is the distribution's own, d….cloudfront.net")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """make the zip of the edge functions, Lambda@Edge in Python.

    It contains the settings, the policy and the issuers' present keys: bundle
    and deploy again when one of them changes. The same input makes the same
    bytes.

    \b
    example:
      stagedoor bundle edge --out dist
    """
    from ..aws import packing
    from ..aws.edge.bundle import API, OBJECTS, make

    settings = load_settings(file, warn=True)
    keys = _issuers_keys(settings)
    if keys is None:
        return 1
    made = make(settings, keys, own_domain=not cloudfront_domain)
    path = _write(out / "edge.zip", made, mode=0o600 if made.secret else 0o644)
    if made.secret:
        complain("note", "session keys are in the zip: keep it secret, and the code of the functions, too")
    else:
        complain("note", "no [login] session_keys are set, so session cookies count for nothing at the edge")
    if settings.clients and settings.login_page is None:
        complain("note", packing.NO_SIGN_IN)
    facts = {"config": made.hash, "handlers": {"objects": OBJECTS, "api": API}, "secret": made.secret}
    if as_json:
        say_json({**_facts(path, made), **facts, "files": dict(made.files)})
        return 0
    _say_zip(path, made)
    say(f"  config   {made.hash}, which the functions write to their log")
    say(f"  runtime  {_runtime()}, x86_64, 128 MB, 5 s, in us-east-1, viewer-request")
    say(f"  objects  {OBJECTS}, for every behaviour but /-/*")
    say(f"  api      {API}, for /-/*")
    remark("next: make one function for each handler, publish a version of each, and name these versions in the")
    remark("  distribution's behaviours; to roll back, name the versions before")
    return 0


@app.command("api")
def api(
    out: Out = Path("dist"),
    file: SettingsFile = None,
    architecture: Annotated[
        Architecture, typer.Option(metavar="NAME", help="arm64 or x86_64; default: arm64")
    ] = Architecture.arm64,
    variables: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME", help="environment variable that the function will have; may be repeated"),
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="wheels of cryptography and cffi; default: pip downloads them"),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """make the zip of the function behind /-/*, for API Gateway.

    It contains the settings and public keys, but no secrets: let the settings
    name them at AWS (ssm:/…), or set them in variables of the function and name
    these with --env.

    \b
    example:
      stagedoor bundle api --out dist --env STAGEDOOR_SITE_STORE
    """
    from ..aws.api.bundle import HANDLER, make_api_zip

    settings = load_settings(file, warn=True)
    made = make_api_zip(settings, variables=frozenset(variables or ()), architecture=architecture.value, wheels=wheels)
    path = _write(out / "api.zip", made)
    if as_json:
        facts = {"bundle": made.hash, "architecture": architecture.value, "handler": HANDLER}
        say_json({**_facts(path, made), **facts})
        return 0
    _say_zip(path, made)
    say(f"  bundle   {made.hash}, which the function writes to its log when it starts")
    say(f"  runtime  {_runtime()}, {architecture.value}, payload format 2.0")
    say(f"  handler  {HANDLER}")
    return 0


def _issuers_keys(settings: Settings) -> dict[str, bytes] | None:
    """The JWKS of every issuer, by its URL; None, after complaints, if one did not answer."""
    from .services import refresh

    documents = {}
    issuers = refresh(settings, time.time())
    for keys in issuers:
        if keys.document is None:
            complain("error", f"{keys.failure}\n  the zip needs these keys; see: stagedoor check --online")
        else:
            documents[keys.issuer.url] = keys.document
    return documents if len(documents) == len(issuers) else None


def _write(path: Path, made: Bundle, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch(mode)
    path.write_bytes(made.content)
    if not made.compiled:
        complain("note", f"no {_runtime()} was found, so the zip has no bytecode and functions start slower")
    return path


def _facts(path: Path, made: Bundle) -> Mapping[str, Any]:
    return {
        "zip": str(path),
        "bytes": len(made.content),
        "unpacked": sum(made.files.values()),
        "sha256": hashlib.sha256(made.content).hexdigest(),
        "runtime": _runtime(),
        "compiled": made.compiled,
    }


def _say_zip(path: Path, made: Bundle) -> None:
    facts = _facts(path, made)
    say(f"{path}  {facts['bytes']:,} bytes, {len(made.files)} files, {facts['unpacked']:,} unpacked")
    say(f"  sha256   {facts['sha256']}")


def _runtime() -> str:
    from ..aws.packing import RUNTIME

    return f"python{RUNTIME}"
