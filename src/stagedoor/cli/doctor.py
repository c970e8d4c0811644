"""`stagedoor doctor`: attack a running site, and say what came of it."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from ..core.errors import StagedoorError
from .output import AsJson, WrongUsage, complain, say, say_json, say_table
from .token import read_token

if TYPE_CHECKING:
    from ..doctor import Outcome, Question, Report, Subject
    from ..doctor.wire import Origin
    from ..settings import Settings

SHORTEST = 24
"""Characters: what is shorter, and no JWT, is more likely the name of a file that is not there."""
SHOWN = 5
"""How much evidence is shown for a question; `--json` has all of it."""

_COLOURS = {"found": "red", "failed": "red", "note": "yellow", "good": "", "skipped": ""}


def command(
    url: Annotated[str, typer.Argument(metavar="URL", help="the site, or the URL of a private object of it")],
    path: Annotated[
        str | None, typer.Option(metavar="/PATH", help="an object that must not be public; most questions need it")
    ] = None,
    public: Annotated[str | None, typer.Option(metavar="/PATH", help="an object that anybody may read")] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="of somebody who may read it: a token, a file with one, or -")
    ] = None,
    other: Annotated[str | None, typer.Option("--other-token", metavar="TOKEN", help="of somebody who may not")] = None,
    expired: Annotated[
        str | None, typer.Option("--expired-token", metavar="TOKEN", help="an old one of somebody who may")
    ] = None,
    foreign: Annotated[
        str | None, typer.Option("--foreign-token", metavar="TOKEN", help="of the same provider, for another app")
    ] = None,
    pass_url: Annotated[
        str | None, typer.Option(metavar="URL", help="a signed URL of the object; default: the site is asked for one")
    ] = None,
    bucket_url: Annotated[
        str | None, typer.Option(metavar="URL", help="the bucket's own address, which must refuse everybody")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            *("--settings", "-s"),
            metavar="FILE",
            help="the site's, if it is Stagedoor: names, keys, rules",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    jwks: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the provider's public keys", exists=True, dir_okay=False)
    ] = None,
    cookie: Annotated[
        str | None, typer.Option(metavar="NAME", help="cookie that carries a token; default: token")
    ] = None,
    query: Annotated[
        str | None, typer.Option(metavar="NAME", help="query parameter that carries a token; default: none")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="N", min=0.1, help="requests a second; default: 20, here as fast as it goes")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """ask a running site every question that an attacker would.

    Only for sites that you may attack. It sends 800 requests at most, reads,
    and tries to write under one made-up name. No token is printed, and none is
    sent to anybody but the site. Exit code 1: something was found.

    \b
    examples:
      stagedoor doctor https://assets.example.com --path /users/ann/photo.png
      stagedoor doctor https://assets.example.com --path /users/ann/photo.png --public /public/logo.png
      --token ann.token --other-token ben.token --settings stagedoor.toml
    """
    if rate is not None and not math.isfinite(rate):
        raise WrongUsage("--rate is a number of requests")
    settings = _settings(file)
    subject = _subject(
        url, path, public, [token, other, expired, foreign], pass_url, bucket_url, settings, jwks, cookie, query
    )
    from ..doctor import examine

    watch = None if as_json or not sys.stderr.isatty() else _progress
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
        say_json(_told(report, subject))
    else:
        _say(report)
    return 0 if report.fine else 1


def _progress(question: Question, asked: int) -> None:
    sys.stderr.write(f"\r\x1b[K{asked} requests: {question.asks}")
    sys.stderr.flush()


# --- what was given


def _settings(file: Path | None) -> Settings | None:
    if file is None:
        return None
    from ..settings import load

    return load(file)


def _subject(
    url: str,
    path: str | None,
    public: str | None,
    tokens: list[str | None],
    pass_url: str | None,
    bucket_url: str | None,
    settings: Settings | None,
    jwks: Path | None,
    cookie: str | None,
    query: str | None,
) -> Subject:
    from .. import doctor
    from ..doctor import forge

    origin, inside = _origin(url), urlsplit(url).path
    if inside not in ("", "/"):
        if path is not None:
            raise WrongUsage("name the object once: in the URL, or as --path")
        path = inside
    if path is None and any((*tokens, pass_url)):
        raise WrongUsage("a token or a signed URL is for some object: name it with --path")
    if sum(text == "-" for text in tokens) > 1:
        raise WrongUsage("only one token can come from standard input")
    if origin.scheme == "http" and not origin.local and any((*tokens, pass_url)):
        raise WrongUsage("over http everybody on the way would read it: give the https URL")
    for option, name in (("--cookie", cookie), ("--query", query)):
        if name is not None and not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
            raise WrongUsage(f"{option} takes a name: letters, digits, - and _")
    options = ("--token", "--other-token", "--expired-token", "--foreign-token")
    token, other, expired, foreign = (_token(*one) for one in zip(options, tokens, strict=True))
    if token is not None and forge.expired(token):
        raise WrongUsage("the token has expired: bring a new one, and this one as --expired-token")
    sources = settings.token_sources if settings else None
    in_query = sources.query if sources and "query" in sources.order else None
    return doctor.Subject(
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
    )


def _token(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    if text != "-" and text.count(".") != 2 and len(text) < SHORTEST and not Path(text).is_file():
        raise WrongUsage(
            f"{option}: there is no file {text!r}, and for a token it is short (a short one can come from -)"
        )
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


def _pass_target(url: str | None, origin: object) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if _origin(url) != origin or not parts.query:
        raise WrongUsage("--pass-url is a signed URL of the same site, with its query")
    return f"{parts.path}?{parts.query}"


def _bucket(url: str | None) -> str | None:
    if url is not None:
        _origin(url)
        return url.partition("?")[0].rstrip("/")
    return None


def _keys(settings: Settings | None, file: Path | None) -> tuple[Mapping[str, object], ...]:
    """Public keys for forging with; that they are missing makes questions fewer, not wrong."""
    from ..core.issuers import known_keys_url

    found: list[Mapping[str, object]] = []
    documents = [file.read_bytes()] if file else []
    for issuer in settings.issuers if settings and not file else ():
        from ..core.messages import Fetch
        from .services import fetch

        where = issuer.jwks or known_keys_url(issuer.url) or _discovered(issuer.url)
        if where:
            documents.append(fetch(Fetch(where)).body)
    import json

    for document in documents:
        try:
            found += [key for key in json.loads(document)["keys"] if isinstance(key, dict)]
        except (ValueError, KeyError, TypeError, RecursionError):
            complain("note", "the provider's keys cannot be read, so none is tried as a secret")
    return tuple(found)


def _discovered(issuer: str) -> str:
    import json

    from ..core.issuers import discovery_url, is_safe_url
    from ..core.messages import Fetch
    from .services import fetch

    try:
        where = json.loads(fetch(Fetch(discovery_url(issuer))).body)["jwks_uri"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return where if isinstance(where, str) and is_safe_url(where) else ""


# --- what came of it


def _told(report: Report, subject: Subject) -> dict[str, Any]:
    return {
        "ok": report.fine,
        "url": str(subject.origin),
        "path": subject.path,
        "requests": report.requests,
        "seconds": round(report.seconds, 1),
        "stopped": report.stopped or None,
        "time": int(time.time()),
        "questions": [_one(outcome) for outcome in report.outcomes],
    }


def _one(outcome: Outcome) -> dict[str, Any]:
    question = outcome.question
    told: dict[str, Any] = {"question": question.name, "asks": question.asks, "state": outcome.state}
    if outcome.skipped:
        told["skipped"] = outcome.skipped
    if outcome.evidence:
        evidence = [{"asked": one.asked, "got": one.got} for one in outcome.evidence]
        told |= {"why": question.why, "mend": question.mend, "evidence": evidence}
    return told


def _say(report: Report) -> None:
    asked = [outcome for outcome in report.outcomes if outcome.state != "skipped"]
    say_table((one.state, one.question.name, one.question.asks) for one in asked)
    for outcome in asked:
        if outcome.evidence or outcome.state == "failed":
            _say_found(outcome)
    left_out: dict[str, list[str]] = {}
    for outcome in report.outcomes:
        if outcome.state == "skipped":
            left_out.setdefault(outcome.skipped, []).append(outcome.question.name)
    say("")
    for why, names in left_out.items():
        complain("not asked", f"{', '.join(names)}\n  {why}")
    if report.stopped:
        complain("stopped", report.stopped)
    not_asked = len(report.outcomes) - len(asked)
    said = f"{len(asked)} question{'s'[: len(asked) != 1]} in {report.requests} requests, {report.seconds:.1f} s"
    verdict, colour = _verdict(report)
    say(f"{said}, {not_asked} not asked: {verdict}", colour)


def _verdict(report: Report) -> tuple[str, str]:
    """The last words, and their colour; "all good" only where nothing is left to think about."""

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


def _say_found(outcome: Outcome) -> None:
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
