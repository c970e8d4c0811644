"""`stagedoor bundle`: what is uploaded to AWS."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import bundle_api
from .output import AsJson, SettingsFile, complain, say, say_json

if TYPE_CHECKING:
    from ..aws.edge.bundle import Bundle
    from ..settings import Settings

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def command(context: typer.Context) -> int:
    """make what is uploaded to AWS: the edge functions, and the API.

    \b
    example:
      stagedoor bundle edge --out dist
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        return 2
    return 0


@app.command("edge")
def edge(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="default: dist, here")] = Path("dist"),
    file: SettingsFile = None,
    cloudfront_domain: Annotated[
        bool, typer.Option("--cloudfront-domain", help="the site has the distribution's own name, d….cloudfront.net")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """make the zip of the edge functions, Lambda@Edge in Python.

    Settings, policy and the issuers' keys of this moment are baked in: bundle
    and deploy again whenever one of them changes. Made twice from the same,
    the zip has the same bytes.

    \b
    example:
      stagedoor bundle edge --out dist
    """
    from ..settings import load

    settings = load(file)
    for warning in settings.warnings:
        complain("warning", warning)
    keys = _keys(settings)
    if keys is None:
        return 1
    from ..aws.edge import bundle
    from ..aws.packing import RUNTIME

    made = bundle.make(settings, keys, own_domain=not cloudfront_domain)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "edge.zip"
    path.unlink(missing_ok=True)
    path.touch(0o600 if made.secret else 0o644)
    path.write_bytes(made.content)
    if made.secret:
        complain("note", "session keys are in the zip: keep it, and whoever may read the function's code, as secret")
    else:
        complain("note", "no [login] session_keys are set, so session cookies count for nothing at the edge")
    if not made.compiled:
        complain("note", f"no python{RUNTIME} was found, so there is no bytecode inside and starts are slower")
    _tell(path, made, as_json)
    return 0


app.command("api")(bundle_api.command)


def _keys(settings: Settings) -> dict[str, bytes] | None:
    """What every issuer publishes now; None, and complaints, if one cannot be asked."""
    from .services import refresh

    sources = refresh(settings, time.time())
    found = {}
    for source in sources:
        if source.document is None:
            complain("error", f"{source.failure}\n  the edge needs the keys now: see stagedoor check --online")
        else:
            found[source.issuer.url] = source.document
    return found if len(found) == len(sources) else None


def _tell(path: Path, made: Bundle, as_json: bool) -> None:
    from ..aws.edge.bundle import API, OBJECTS
    from ..aws.packing import RUNTIME

    digest = hashlib.sha256(made.content).hexdigest()
    if as_json:
        say_json(
            {
                "zip": str(path),
                "bytes": len(made.content),
                "unpacked": sum(made.files.values()),
                "sha256": digest,
                "config": made.hash,
                "runtime": f"python{RUNTIME}",
                "compiled": made.compiled,
                "handlers": {"objects": OBJECTS, "api": API},
                "secret": made.secret,
                "files": dict(made.files),
            }
        )
        return
    say(f"{path}  {len(made.content):,} bytes, {len(made.files)} files, {sum(made.files.values()):,} unpacked")
    say(f"  sha256   {digest}")
    say(f"  config   {made.hash}, which the functions write to their log")
    say(f"  runtime  python{RUNTIME}, x86_64, 128 MB, 5 s, in us-east-1, viewer-request")
    say(f"  objects  {OBJECTS}, for every behaviour but /-/*")
    say(f"  api      {API}, for /-/*")
    complain("", "next: upload it twice, once for each handler, publish a version of each, and name these versions")
    complain("", "  in the distribution's behaviours; roll back by naming the versions before")
