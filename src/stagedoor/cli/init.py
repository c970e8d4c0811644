"""`stagedoor init`: asks three questions and writes the files of a new site (`new_site`)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ..core.errors import InvalidToken, SettingsError
from ..core.issuers import discovery_url
from ..core.jose import json_object
from ..core.messages import Fetch
from . import new_site
from .options import WrongUsage
from .output import complain, remark, say

T = TypeVar("T")
HELLO = Path("public/hello.txt")
_AWS_STEPS = (
    "python3 -m venv .venv && . .venv/bin/activate",
    "pip install '/path/to/stagedoor[cdk]'         # your clone: nothing is released yet",
    "npm install --global aws-cdk@2                # Node.js 22 or newer",
    "cdk bootstrap aws://ACCOUNT/us-east-1         # once per account",
    "cdk deploy Pool                               # and write the two ids into stagedoor.toml",
    "cdk deploy Site",
)


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder for the settings; default: here")] = Path(),
    store: Annotated[str | None, typer.Option(metavar="STORE", help="folder with the files, or s3://bucket")] = None,
    issuer: Annotated[str | None, typer.Option(metavar="URL", help="issuer URL, or a Cognito pool id")] = None,
    audience: Annotated[str | None, typer.Option(metavar="ID", help="client id; several with commas")] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="public origin; default: localhost")] = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="default: 127.0.0.1:8080")] = None,
    login_page: Annotated[
        str | None, typer.Option(metavar="URL", help="your sign-in page; also makes session.key")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite existing files")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="ask nothing")] = False,
    aws: Annotated[bool, typer.Option("--aws", help="write an AWS CDK app instead, to adapt and deploy")] = False,
) -> int:
    """ask three questions and write a stagedoor.toml that works.

    \b
    examples:
      stagedoor init
      stagedoor init --store s3://my-bucket --issuer eu-central-1_AbC123 --audience my-client-id
      stagedoor init --aws my-site
    """
    in_the_way = next((place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()), None)
    if in_the_way is not None:
        complain("error", f"{in_the_way} is a file\n  name the folder that stagedoor.toml belongs in")
        return 1
    if aws:
        return _copy_aws_app(folder, force=force)
    target = folder / "stagedoor.toml"
    if target.exists() and not force:
        complain("error", f"{target} exists already\n  check it: stagedoor check; or overwrite it with --force")
        return 1
    setting, files = _ask_store(store, folder, yes)
    answers = new_site.Answers(
        store=setting,
        issuer=_ask(
            "--issuer", issuer, "who signs people in? issuer URL, or Cognito pool id", new_site.issuer_url, yes
        ),
        audience=_ask("--audience", audience, "client id of the app there?", _client_ids, yes),
        url=url or new_site.site_url(listen or new_site.LOCAL),
        listen=listen or new_site.listen_address(url or ""),
        login_page=login_page,
    )
    try:
        new_site.check(answers)
    except SettingsError as error:
        raise WrongUsage(f"{error.setting}: {error.problem}{error.mend and f' ({error.mend})'}") from None
    answers = _discover(answers)
    if files is not None and not files.is_dir() and not _create_store(files, yes):
        return 1
    _write(folder, answers)
    _say_next(target, answers, hello=files is not None and (files / HELLO).exists())
    return 0


def _copy_aws_app(folder: Path, *, force: bool) -> int:
    files = new_site.aws_files()
    for target in (folder / name for name in files):
        if target.exists() and not force:
            complain("error", f"{target} exists already\n  name another folder, or overwrite it with --force")
            return 1
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if target.suffix == ".sh":
            target.chmod(0o755)
        say(f"wrote {target}")
    say("next:")
    say(f"  cd {folder}                                # its README.md explains each step")
    for step in _AWS_STEPS:
        say(f"  {step}")
    return 0


# --- questions


def _ask_store(given: str | None, folder: Path, yes: bool) -> tuple[str, Path | None]:
    default = str(folder / "assets")

    def read(text: str) -> tuple[str, Path | None]:
        return new_site.store_setting(text, Path.cwd(), folder)

    given = default if given is None and yes else given
    return _ask("--store", given, "where are the files? a folder, or s3://bucket", read, yes, default)


def _ask(
    option: str, given: str | None, question: str, read: Callable[[str], T], yes: bool, default: str | None = None
) -> T:
    """Read an answer from its option, or ask at the keyboard until it can be read."""
    if given is None and yes:
        raise WrongUsage(f"with --yes nothing is asked: give {option}")
    while True:
        try:
            return read(typer.prompt(question, default=default, err=True) if given is None else given)
        except ValueError as error:
            if given is not None:
                raise WrongUsage(f"{option}: {error}") from None
            remark(f"  {error}")


def _client_ids(text: str) -> tuple[str, ...]:
    ids = tuple(part.strip() for part in text.split(",") if part.strip())
    if not ids:
        raise ValueError("the provider shows it on the page of the app")
    return ids


def _discover(answers: new_site.Answers) -> new_site.Answers:
    """Take what settings need from the issuer's discovery document; without it they stay as they are."""
    from ..outside.fetch_sync import fetch

    fetched = fetch(Fetch(discovery_url(answers.issuer)))
    error, document = fetched.error, {}
    if not error:
        try:
            document = json_object(fetched.body, "discovery document")
        except InvalidToken:
            error = "its answer is not a discovery document"
    if error:
        complain("note", f"{answers.issuer} could not be asked ({error})\n  try again later: stagedoor check --online")
        return answers
    say(f"{answers.issuer} answers")
    found = new_site.discovered(answers.issuer, document)
    if found.note:
        complain("note", found.note)
    return replace(answers, issuer=found.issuer, algorithms=found.algorithms)


# --- files


def _create_store(folder: Path, yes: bool) -> bool:
    """Create the folder of the store with one file in it, if that is wanted."""
    if not yes and not typer.confirm(f"there is no folder {folder}: create it?", default=True, err=True):
        complain("error", f"there is no folder {folder}\n  create it, then: stagedoor init")
        return False
    (folder / HELLO).parent.mkdir(parents=True)
    (folder / HELLO).write_text("hello from behind the stage door\n", encoding="utf-8")
    say(f"created {folder}, with {HELLO} in it")
    return True


def _write(folder: Path, answers: new_site.Answers) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    files = new_site.files(
        answers,
        session_key=None if (folder / new_site.SESSION_KEY).exists() else secrets.token_urlsafe(48),
        gitignore=ignore.read_text(encoding="utf-8") if ignore.exists() else "",
    )
    for name, new in files.items():
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, new.mode), "w") as out:
            out.write(new.text)
        say(f"wrote {folder / name}")


def _say_next(target: Path, answers: new_site.Answers, *, hello: bool) -> None:
    site = f"http://{answers.listen}" if answers.url.startswith("https:") else answers.url
    say("next:")
    say("  stagedoor serve" + (f" --settings {target}" if target.parent != Path() else ""))
    if hello:
        say(f"  curl {site}/{HELLO}")
    say(f'  curl -H "Authorization: Bearer $TOKEN" {site}/-/whoami')
