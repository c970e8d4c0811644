"""`stagedoor init`: three questions, and what `new_site` makes of the answers is written."""

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
from .output import WrongUsage, complain, say

T = TypeVar("T")
HELLO = Path("public/hello.txt")
_AWS_STEPS = (
    "python3 -m venv .venv && . .venv/bin/activate",
    "pip install '/path/to/stagedoor[cdk]'         # your clone: nothing is released yet",
    "npm install --global aws-cdk@2                # Node.js 22 or newer",
    "cdk bootstrap aws://ACCOUNT/us-east-1         # once for an account",
    "cdk deploy Pool                               # and write the two ids into stagedoor.toml",
    "cdk deploy Site",
)


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="where the settings go; default: here")] = Path(),
    store: Annotated[str | None, typer.Option(metavar="STORE", help="folder with the files, or s3://bucket")] = None,
    issuer: Annotated[str | None, typer.Option(metavar="URL", help="issuer URL, or a Cognito pool id")] = None,
    audience: Annotated[str | None, typer.Option(metavar="ID", help="client id; several with commas")] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="public origin; default: localhost")] = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="default: 127.0.0.1:8080")] = None,
    login_page: Annotated[
        str | None, typer.Option(metavar="URL", help="your sign-in page; also makes session.key")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="write over settings that are there")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="ask nothing")] = False,
    aws: Annotated[bool, typer.Option("--aws", help="an app of the AWS CDK instead, to change and deploy")] = False,
) -> int:
    """ask three questions and write a stagedoor.toml that works.

    \b
    examples:
      stagedoor init
      stagedoor init --store s3://my-bucket --issuer eu-central-1_AbC123 --audience my-client-id
      stagedoor init --aws my-site
    """
    if aws:
        return _copy_aws(folder, force=force)
    target = folder / "stagedoor.toml"
    if target.exists() and not force:
        again = "look it over with: stagedoor check, or write over it with --force"
        complain("error", f"{target} is here already\n  {again}")
        return 1
    setting, files = _ask_store(store, folder, yes)
    answers = new_site.Answers(
        store=setting,
        issuer=_ask(
            "--issuer", issuer, "who signs people in? issuer URL, or Cognito pool id", new_site.issuer_url, yes
        ),
        audience=_ask("--audience", audience, "client id of the app there?", _commas, yes),
        url=url or new_site.site_url(listen or new_site.LOCAL),
        listen=listen or new_site.listen_address(url or ""),
        login_page=login_page,
    )
    try:
        new_site.check(answers)
    except SettingsError as error:
        raise WrongUsage(f"{error.setting}: {error.problem}{error.mend and f' ({error.mend})'}") from None
    answers = _discover(answers)
    if files is not None and not files.is_dir() and not _make(files, yes):
        return 1
    _write(folder, answers)
    _say_next(target, answers, hello=files is not None and (files / HELLO).exists())
    return 0


def _copy_aws(folder: Path, *, force: bool) -> int:
    """Copy the example for AWS; what is there already stays, unless the owner says otherwise."""
    for target in (folder / name for name in new_site.aws_files()):
        if target.exists() and not force:
            complain("error", f"{target} is here already\n  name another folder, or write over it with --force")
            return 1
    for name, content in new_site.aws_files().items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if target.suffix == ".sh":
            target.chmod(0o755)
        say(f"wrote {target}")
    say("next:")
    say(f"  cd {folder}                                # README.md says more about each step")
    for step in _AWS_STEPS:
        say(f"  {step}")
    return 0


def _ask_store(given: str | None, folder: Path, yes: bool) -> tuple[str, Path | None]:
    default = str(folder / "assets")

    def read(text: str) -> tuple[str, Path | None]:
        return new_site.store_setting(text, Path.cwd(), folder)

    given = default if given is None and yes else given
    return _ask("--store", given, "where are the files? a folder, or s3://bucket", read, yes, default)


def _ask(
    option: str, given: str | None, question: str, read: Callable[[str], T], yes: bool, default: str | None = None
) -> T:
    """The answer from its option, or from the person at the keyboard until it can be read."""
    if given is None and yes:
        raise WrongUsage(f"--yes asks nothing, so give {option}")
    while True:
        try:
            return read(typer.prompt(question, default=default, err=True) if given is None else given)
        except ValueError as error:
            if given is not None:
                raise WrongUsage(f"{option}: {error}") from None
            complain("", f"  {error}")


def _commas(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise ValueError("it is at the provider, on the page of the app client")
    return parts


def _discover(answers: new_site.Answers) -> new_site.Answers:
    """Look whether the issuer answers, and say what that means; without an answer the settings are written too."""
    from .services import fetch

    fetched = fetch(Fetch(discovery_url(answers.issuer)))
    error, document = fetched.error, {}
    if not error:
        try:
            document = json_object(fetched.body, "discovery document")
        except InvalidToken:
            error = "it answered, but not with a discovery document"
    if error:
        complain("note", f"{answers.issuer} could not be asked ({error})\n  try again later: stagedoor check --online")
        return answers
    say(f"{answers.issuer} answers")
    found = new_site.discovered(answers.issuer, document)
    if found.note:
        complain("note", found.note)
    return replace(answers, issuer=found.issuer, algorithms=found.algorithms)


def _make(files: Path, yes: bool) -> bool:
    """Make the folder of the files, with something to see in it, if the owner wants that."""
    if not yes and not typer.confirm(f"there is no folder {files}: make it?", default=True, err=True):
        complain("error", f"there is no folder {files}\n  make it, then: stagedoor init")
        return False
    (files / HELLO).parent.mkdir(parents=True)
    (files / HELLO).write_text("hello from behind the stage door\n", encoding="utf-8")
    say(f"made {files}, with {HELLO} in it")
    return True


def _write(folder: Path, answers: new_site.Answers) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    made = new_site.files(
        answers,
        session_key=None if (folder / new_site.SESSION_KEY).exists() else secrets.token_urlsafe(48),
        gitignore=ignore.read_text(encoding="utf-8") if ignore.exists() else "",
    )
    for name, new in made.items():
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, new.mode), "w") as out:
            out.write(new.text)
        say(f"wrote {folder / name}")


def _say_next(target: Path, answers: new_site.Answers, *, hello: bool) -> None:
    at = f"http://{answers.listen}" if answers.url.startswith("https:") else answers.url
    say("next:")
    say("  stagedoor serve" + (f" --settings {target}" if target.parent != Path() else ""))
    if hello:
        say(f"  curl {at}/{HELLO}")
    say(f'  curl -H "Authorization: Bearer $TOKEN" {at}/-/whoami')
