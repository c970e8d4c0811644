"""`stagedoor doctor`: attacks a running site and reports what it found."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlsplit

from typer import Argument, Option

from ..core.errors import StagedoorError
from .options import AsJson, WrongUsage, load_settings, read_token
from .output import complain, say, say_json, say_table

if TYPE_CHECKING:
    from ..doctor import Outcome, Question, Report, Subject
    from ..doctor.wire import Origin
    from ..settings import Settings

SHORTEST_TOKEN = 24
"""Characters; a shorter text without the dots of a JWT is more likely a misspelt file name."""
SHOWN = 5
"""Pieces of evidence that are shown for a question; `--json` has all of them."""

_COLOURS = {"found": "red", "failed": "red", "note": "yellow", "good": "", "skipped": ""}

Url = Annotated[str, Argument(metavar="URL", help="the site, or a private object on it")]
Private = Annotated[str | None, Option(metavar="/PATH", help="a private object; most questions need one")]
Public = Annotated[str | None, Option(metavar="/PATH", help="an object that anyone may read")]
Token = Annotated[
    str | None, Option(metavar="TOKEN", help="token of a caller who may read it, a file that holds it, or -")
]
OtherToken = Annotated[str | None, Option(metavar="TOKEN", help="token of a caller who may not read it")]
ExpiredToken = Annotated[str | None, Option(metavar="TOKEN", help="expired token of a caller who may read it")]
ForeignToken = Annotated[str | None, Option(metavar="TOKEN", help="token of the same provider for another app")]
AdminToken = Annotated[
    str | None, Option(metavar="TOKEN", help="token of a caller whom [admin] names; takes back --spend-token")
]
SpendToken = Annotated[
    str | None, Option(metavar="TOKEN", help="token of a caller who may read it, made for this: it is taken back")
]
PassUrl = Annotated[str | None, Option(metavar="URL", help="a signed URL of the object; default: ask the site for one")]
BucketUrl = Annotated[str | None, Option(metavar="URL", help="the bucket's own address, which must refuse everyone")]
SiteSettings = Annotated[
    Path | None,
    Option(
        "--settings", "-s", metavar="FILE", help="the site's settings, if it is Stagedoor", exists=True, dir_okay=False
    ),
]
Jwks = Annotated[Path | None, Option(metavar="FILE", help="the provider's public keys", exists=True, dir_okay=False)]
Cookie = Annotated[str | None, Option(metavar="NAME", help="cookie that carries a token; default: token")]
Query = Annotated[str | None, Option(metavar="NAME", help="query parameter that carries a token; default: none")]
Rate = Annotated[
    float | None, Option(metavar="N", min=0.1, help="requests a second; default: 20, on this machine no limit")
]


def command(
    url: Url,
    path: Private = None,
    public: Public = None,
    token: Token = None,
    other_token: OtherToken = None,
    expired_token: ExpiredToken = None,
    foreign_token: ForeignToken = None,
    admin_token: AdminToken = None,
    spend_token: SpendToken = None,
    pass_url: PassUrl = None,
    bucket_url: BucketUrl = None,
    file: SiteSettings = None,
    jwks: Jwks = None,
    cookie: Cookie = None,
    query: Query = None,
    rate: Rate = None,
    as_json: AsJson = False,
) -> int:
    """ask a running site every question that an attacker would.

    Only for sites that you may attack. It sends at most 800 requests; they
    read, and try to write under one random name. Tokens are sent to the site
    alone and never printed. Exit code 1: something was found.

    With --admin-token and --spend-token an admin takes the second one back,
    for good: it opens nothing afterwards. No other token is taken back.

    \b
    examples:
      stagedoor doctor https://assets.example.com --path /users/ann/photo.png
      stagedoor doctor https://assets.example.com --path /users/ann/photo.png --public /public/logo.png
      --token ann.token --other-token ben.token --settings stagedoor.toml
    """
    if rate is not None and not math.isfinite(rate):
        raise WrongUsage("--rate takes a number")
    tokens = {
        "--token": token,
        "--other-token": other_token,
        "--expired-token": expired_token,
        "--foreign-token": foreign_token,
        "--admin-token": admin_token,
        "--spend-token": spend_token,
    }
    settings = load_settings(file) if file else None
    subject = _subject(url, path, public, tokens, pass_url, bucket_url, settings, jwks, cookie, query)
    return _examine(subject, rate, as_json)


def _examine(subject: Subject, rate: float | None, as_json: bool) -> int:
    from ..doctor import examine

    watch = None if as_json or not sys.stderr.isatty() else _show_progress
    try:
        report = examine(subject, rate=rate, watch=watch)
    except StagedoorError as error:
        if not as_json:
            raise
        say_json({"ok": False, "url": str(subject.origin), "error": str(error), "questions": []})
        return 1
    finally:
        if watch:
            sys.stderr.write("\r\x1b[K")
    if as_json:
        say_json(_facts(report, subject))
    else:
        _say(report)
    return 0 if report.fine else 1


def _show_progress(question: Question, requests: int) -> None:
    sys.stderr.write(f"\r\x1b[K{requests} requests: {question.asks}")
    sys.stderr.flush()


# --- what was given


def _subject(
    url: str,
    path: str | None,
    public: str | None,
    tokens: Mapping[str, str | None],
    pass_url: str | None,
    bucket_url: str | None,
    settings: Settings | None,
    jwks: Path | None,
    cookie: str | None,
    query: str | None,
) -> Subject:
    """Check the options and turn them into the subject of an examination.

    Args:
        tokens: option -> what was given for it.

    Raises:
        WrongUsage: options that contradict each other, or a value that makes no sense.
    """
    from ..doctor import Subject

    origin, path_in_url = _origin(url), urlsplit(url).path
    if path_in_url not in ("", "/"):
        if path is not None:
            raise WrongUsage("name the object once: in the URL, or as --path")
        path = path_in_url
    if any((*tokens.values(), pass_url)):
        if path is None:
            raise WrongUsage("a token or a signed URL is for an object: name it with --path")
        if origin.scheme == "http" and not origin.local:
            raise WrongUsage("over http everyone on the way could read it: give the https URL")
    for option, name in (("--cookie", cookie), ("--query", query)):
        if name is not None and not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
            raise WrongUsage(f"{option} takes a name: letters, digits, - and _")
    token, other, expired, foreign, admin, spend = _read_tokens(tokens)
    sources = settings.token_sources if settings else None
    in_query = sources.query if sources and "query" in sources.order else None
    return Subject(
        origin=origin,
        path=_target(path, "--path"),
        public=_target(public, "--public"),
        token=token,
        other=other,
        expired=expired,
        foreign=foreign,
        pass_target=_pass_target(pass_url, origin),
        bucket=_bucket(bucket_url),
        keys=_keys(settings, jwks),
        settings=settings,
        cookie=cookie or (sources.cookie if sources else "token"),
        query=query or in_query,
        session=sources.session if sources else "",
        admin=admin,
        spend=spend,
    )


def _read_tokens(tokens: Mapping[str, str | None]) -> list[str | None]:
    from ..doctor import forge

    if sum(text == "-" for text in tokens.values()) > 1:
        raise WrongUsage("only one token can come from standard input")
    read = [_read_token(option, text) for option, text in tokens.items()]
    if read[0] is not None and forge.expired(read[0]):
        raise WrongUsage("the token has expired: give a new one, and this one as --expired-token")
    for option, value in zip(tokens, read, strict=True):
        if option in ("--admin-token", "--spend-token") and value is not None and forge.expired(value):
            raise WrongUsage(f"the token of {option} has expired: give a new one")
    return read


def _read_token(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    if text != "-" and text.count(".") != 2 and len(text) < SHORTEST_TOKEN and not Path(text).is_file():
        raise WrongUsage(f"{option}: there is no file {text!r}, and it is too short for a token (- takes any)")
    return read_token(text)


def _origin(url: str) -> Origin:
    from ..doctor.wire import Origin

    try:
        return Origin.of(url)
    except ValueError as error:
        raise WrongUsage(str(error)) from None


def _target(path: str | None, option: str) -> str | None:
    if path is None:
        return None
    if "?" in path or "#" in path or "://" in path or not path.strip("/") or path.endswith("/"):
        raise WrongUsage(f"{option} takes the path of an object, for example /users/ann/photo.png")
    return quote(f"/{path.removeprefix('/')}", safe="/%~!$&'()*+,:;=@")


def _pass_target(url: str | None, origin: Origin) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if _origin(url) != origin or not parts.query:
        raise WrongUsage("--pass-url takes a signed URL of the same site, with its query")
    return f"{parts.path}?{parts.query}"


def _bucket(url: str | None) -> str | None:
    if url is None:
        return None
    _origin(url)
    return url.partition("?")[0].rstrip("/")


def _keys(settings: Settings | None, file: Path | None) -> tuple[Mapping[str, object], ...]:
    """The provider's public keys, to forge tokens with; without them fewer tokens can be forged."""
    documents: list[bytes] = []
    if file is not None:
        documents = [file.read_bytes()]
    elif settings is not None:
        from .services import refresh

        documents = [keys.document or b"" for keys in refresh(settings, time.time())]
    found: list[Mapping[str, object]] = []
    for document in documents:
        try:
            found += [key for key in json.loads(document)["keys"] if isinstance(key, dict)]
        except (ValueError, KeyError, TypeError, RecursionError):
            complain("note", "the provider's keys cannot be read, so none is tried as a secret")
    return tuple(found)


# --- what was found


def _facts(report: Report, subject: Subject) -> dict[str, Any]:
    return {
        "ok": report.fine,
        "url": str(subject.origin),
        "path": subject.path,
        "requests": report.requests,
        "seconds": round(report.seconds, 1),
        "stopped": report.stopped or None,
        "time": int(time.time()),
        "questions": [_outcome_facts(outcome) for outcome in report.outcomes],
    }


def _outcome_facts(outcome: Outcome) -> dict[str, Any]:
    question = outcome.question
    facts: dict[str, Any] = {"question": question.name, "asks": question.asks, "state": outcome.state}
    if outcome.skipped:
        facts["skipped"] = outcome.skipped
    if outcome.evidence:
        evidence = [{"asked": one.asked, "got": one.got} for one in outcome.evidence]
        facts |= {"why": question.why, "mend": question.mend, "evidence": evidence}
    return facts


def _say(report: Report) -> None:
    asked = [outcome for outcome in report.outcomes if outcome.state != "skipped"]
    say_table((one.state, one.question.name, one.question.asks) for one in asked)
    for outcome in asked:
        if outcome.evidence or outcome.state == "failed":
            _say_outcome(outcome)
    skipped: dict[str, list[str]] = {}
    for outcome in report.outcomes:
        if outcome.state == "skipped":
            skipped.setdefault(outcome.skipped, []).append(outcome.question.name)
    say("")
    for why, names in skipped.items():
        complain("not asked", f"{', '.join(names)}\n  {why}")
    if report.stopped:
        complain("stopped", report.stopped)
    count = f"{len(asked)} question{'s'[: len(asked) != 1]} in {report.requests} requests, {report.seconds:.1f} s"
    verdict, colour = _verdict(report)
    say(f"{count}, {len(report.outcomes) - len(asked)} not asked: {verdict}", colour)


def _verdict(report: Report) -> tuple[str, str]:
    """The last words and their colour: "all good" only if there is nothing at all to think about."""

    def named(state: str, *, advice: bool) -> str:
        return ", ".join(
            one.question.name for one in report.outcomes if one.state == state and advice >= one.question.advice
        )

    if names := named("found", advice=True):
        return f"{names.count(',') + 1} found something ({names})", "red"
    if names := named("failed", advice=True):
        return f"not done ({names})", "red"
    if report.stopped:
        return "not done", "red"
    if names := named("note", advice=False):
        return f"nothing found, and something to think about ({names})", "yellow"
    return "all good", "green"


def _say_outcome(outcome: Outcome) -> None:
    question = outcome.question
    say("")
    say(f"{outcome.state}: {question.name}", _COLOURS[outcome.state])
    if outcome.skipped:
        say(f"  {outcome.skipped}")
    for one in outcome.evidence[:SHOWN]:
        say(f"  asked  {one.asked}")
        say(f"  got    {one.got}")
    if len(outcome.evidence) > SHOWN:
        say(f"  and {len(outcome.evidence) - SHOWN} more: --json has all of them")
    say(f"  why    {question.why}")
    say(f"  do     {question.mend}")
