"""`stagedoor init`: asks a few questions and writes the files of a new site (`new_site`)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ..core.errors import InvalidToken, SettingsError
from ..core.issuers import discovery_url
from ..core.jose import json_object
from ..core.messages import Fetch
from . import new_site
from .options import WrongUsage
from .output import complain, remark, say, say_table
from .providers import GOOGLE, PROVIDERS, issuer_of, read_provider

T = TypeVar("T")
HELLO = Path("public/hello.txt")
_WHERE = "where do people sign in? here, or the URL of a sign-in page of yours"
_KEPT_WHERE = "where is the secret of this client? none, env:NAME or file:PATH"
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
    provider: Annotated[
        str | None, typer.Option(metavar="KIND", help=f"{', '.join(PROVIDERS)}; default: as the issuer shows")
    ] = None,
    issuer: Annotated[str | None, typer.Option(metavar="URL", help="issuer URL, or a Cognito pool id")] = None,
    client_id: Annotated[
        str | None, typer.Option(metavar="ID", help="people sign in here, by this client; with --issuer asks nothing")
    ] = None,
    client_secret: Annotated[
        str | None, typer.Option(metavar="WHERE", help="where the client's secret is: env:NAME or file:PATH")
    ] = None,
    audience: Annotated[
        str | None, typer.Option(metavar="ID", help="client ids whose tokens count, with commas; default: --client-id")
    ] = None,
    url: Annotated[str | None, typer.Option(metavar="URL", help="public origin; default: localhost")] = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="default: 127.0.0.1:8080")] = None,
    login_page: Annotated[
        str | None, typer.Option(metavar="URL", help="people sign in at this page of yours instead")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite existing files")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="ask nothing")] = False,
    aws: Annotated[bool, typer.Option("--aws", help="write an AWS CDK app instead, to adapt and deploy")] = False,
) -> int:
    """ask a few questions and write a stagedoor.toml that works.

    \b
    examples:
      stagedoor init
      stagedoor init --store s3://my-bucket --issuer eu-central-1_AbC123 --client-id my-client-id
      stagedoor init --aws my-site
    """
    target = folder / "stagedoor.toml"
    obstacle = _obstacle(folder, None if aws or force else target)
    if obstacle:
        complain("error", obstacle)
        return 1
    if aws:
        return _copy_aws_app(folder, force=force)
    yes = yes or bool(issuer and client_id)
    setting, files = _ask_store(store, folder, yes)
    answers = new_site.Answers(
        store=setting,
        issuer=_ask_issuer(provider, issuer, yes),
        audience=_ask("--audience", audience, "", _client_ids, yes) if audience is not None else (),
        url=url or new_site.site_url(listen or new_site.LOCAL),
        listen=listen or new_site.listen_address(url or ""),
        client_id=client_id,
        client_secret=_ask("--client-secret", client_secret or "", "", new_site.secret_setting, yes),
        login_page=login_page,
    )
    answers = _ask_sign_in(answers, yes)
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


def _obstacle(folder: Path, target: Path | None) -> str:
    """Why nothing can be written there; "" if it can. `target`: a file that must not exist yet."""
    in_the_way = next((place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()), None)
    if in_the_way is not None:
        return f"{in_the_way} is a file\n  name the folder that stagedoor.toml belongs in"
    if target is not None and target.exists():
        return f"{target} exists already\n  check it: stagedoor check; or overwrite it with --force"
    return ""


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


def _ask_issuer(kind: str | None, issuer: str | None, yes: bool) -> str:
    """The issuer, by its kind of provider if that is known."""
    known = None
    if kind is not None or (issuer is None and not yes):
        question = f"which provider signs people in? {', '.join(PROVIDERS)}"
        kind, known = _ask("--provider", kind, question, read_provider, yes)
    if known is None and kind == "google":
        known = GOOGLE
    if known is not None and issuer is None:
        return known
    question = PROVIDERS[kind or "other"].question
    return _ask("--issuer", issuer, question, partial(issuer_of, kind or "other"), yes)


def _ask_sign_in(answers: new_site.Answers, yes: bool) -> new_site.Answers:
    """Ask where people sign in, and by which client, unless options have said so."""
    if answers.client_id is not None:
        return replace(answers, audience=answers.audience or (answers.client_id,))
    if answers.audience:  # the site only accepts tokens
        return answers
    page = answers.login_page
    if page is None and not yes:
        page = _ask("--login-page", None, _WHERE, new_site.page_setting, yes, "here")
    ids = _ask("--client-id", None, "client id of the app there", _client_ids, yes)
    if page is not None:
        return replace(answers, audience=ids, login_page=page)
    secret = answers.client_secret
    if secret is None:
        secret = _ask("--client-secret", None, _KEPT_WHERE, new_site.secret_setting, yes, "none")
    return replace(answers, audience=ids, client_id=ids[0], client_secret=secret)


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
    file = f" --settings {target}" if target.parent != Path() else ""
    if answers.client_id is not None:
        _say_what_to_register(answers)
    say("next:")
    for step in _secret_steps(target.parent, answers):
        say(f"  {step}")
    say(f"  stagedoor check --online{file}")
    say(f"  stagedoor serve{file}")
    if hello:
        say(f"  curl {site}/{HELLO}")
    if answers.client_id is not None:
        say(f"  open {answers.url}/-/login?next=/-/whoami in a browser: sign in, and see who you are")
    else:
        say(f'  curl -H "Authorization: Bearer $TOKEN" {site}/-/whoami')


def _say_what_to_register(answers: new_site.Answers) -> None:
    say("register at the provider, exactly:")
    say_table(("", name, address) for name, address in new_site.registered(answers))


def _secret_steps(folder: Path, answers: new_site.Answers) -> Iterator[str]:
    """What is missing of the client secret."""
    kind, _, where = (answers.client_secret or "").partition(":")
    if kind == "env" and where not in os.environ:
        yield f"export {where}=…   # the client secret"
    elif kind == "file" and not (folder / where).is_file():
        yield f"put the client secret into {folder / where}, and: chmod 600 {folder / where}"
