"""The command line: a thin voice over the same settings, policy and tokens that the doors use.

The voice, kept everywhere below: short, lower case, and after what is wrong comes what to do next. Answers go to
standard output, complaints and talk to standard error; `--json` says the same to programs, with keys that stay.
0 is fine, 1 means that the answer is no (denied, not valid, settings that will not start), 2 means wrong usage.
Colour only helps to find the word that matters, and only on a terminal. No token is ever printed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from .errors import InvalidTarget, InvalidToken, KeysUnavailable, SettingsError, StagedoorError

if TYPE_CHECKING:  # everything else is imported by the command that needs it, so that --help answers at once
    from .init import Discovered
    from .policy import Rule
    from .settings import Settings
    from .tokens import Caller, Issuer

T = TypeVar("T")

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", "-s", metavar="FILE", help="default: $STAGEDOOR_SETTINGS, else stagedoor.toml here"),
]
AsJson = Annotated[bool, typer.Option("--json", help="answer in JSON")]


class WrongUsage(typer.TyperException):
    """The command cannot be understood as it was typed."""

    exit_code = 2


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to stop
    try:
        code = app(arguments, prog_name="stagedoor", standalone_mode=False)
    except typer.TyperException as error:
        words = error.format_message().rstrip(".")
        named = next(iter(sys.argv[1:] if arguments is None else arguments), "")
        known = any(named == (one.name or one.callback.__name__) for one in app.registered_commands if one.callback)
        _complain("error", words[:1].lower() + words[1:])
        _complain("", f"  see: stagedoor {named + ' ' if known else ''}--help")
        return error.exit_code
    except typer.Abort:
        _complain("", "stopped")
        return 1
    except BrokenPipeError:  # `stagedoor … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (StagedoorError, OSError) as error:
        _complain("error", str(error))
        return 1
    return code if isinstance(code, int) else 0


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            _say(f"stagedoor {version('stagedoor')}")
        except PackageNotFoundError:
            _say("stagedoor, from its source")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _stagedoor(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", help="say which version this is", callback=_version, is_eager=True)
    ] = False,
) -> int:
    """private files for the people who are signed in. one policy, every door.

    \b
    see it work:   stagedoor demo
    your own site: stagedoor init, then stagedoor serve
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        return 2
    return 0


# --- demo, serve


@app.command()
def demo(
    port: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65535, help="default: 8080, or the next that is free")
    ] = None,
    browser: Annotated[
        bool | None, typer.Option("--open/--no-browser", help="default: open one where a person sits")
    ] = None,
) -> int:
    """a sample site with a sign-in of its own, on this machine only.

    \b
    example:
      stagedoor demo --port 8080 --no-browser
    """
    from .demo import run

    if browser is None:
        browser = sys.stdout.isatty() and "SSH_CONNECTION" not in os.environ
    return run(port, browser)


@app.command()
def serve(
    file: SettingsFile = None,
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="instead of [gateway] listen")] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", min=1, help="instead of [gateway] workers")] = None,
) -> int:
    """serve the site that the settings describe.

    \b
    example:
      stagedoor serve --settings stagedoor.toml --listen 127.0.0.1:8080
    """
    from .settings import PREFIX, load

    given = {"LISTEN": listen, "WORKERS": workers}
    flags = {f"{PREFIX}GATEWAY_{name}": str(value) for name, value in given.items() if value is not None}
    settings = load(file, {**os.environ, **flags})
    for warning in settings.warnings:
        _complain("warning", warning)
    for name in settings.inactive:
        _complain("inactive", f"{name} is read, and not acted on in this version")

    from .gateway.server import serve as serve_gateway

    return serve_gateway(file, listen=listen, workers=workers)


# --- check


class Found(NamedTuple):
    """What came of one question to the outside."""

    name: str
    ok: bool
    detail: str


@app.command()
def check(
    file: SettingsFile = None,
    online: Annotated[bool, typer.Option("--online", help="also ask the issuers for keys and the store")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="warnings count as errors")] = False,
    as_json: AsJson = False,
) -> int:
    """look over the settings and the policy, without starting.

    \b
    example:
      stagedoor check --settings stagedoor.toml --online
    """
    from .settings import load

    try:
        settings = load(file)
    except SettingsError as error:
        if not as_json:
            raise
        names = ("problem", "source", "line", "setting", "mend")
        _say_json({"ok": False, "errors": [{name: getattr(error, name) for name in names}]})
        return 1
    found = asyncio.run(_ask_outside(settings)) if online else []
    ok = all(one.ok for one in found) and not (strict and settings.warnings)
    if as_json:
        asked = {"online": [one._asdict() for one in found]} if online else {}
        _say_json({"ok": ok, "errors": [], **_summary(settings), **asked})
        return 0 if ok else 1
    _say_summary(settings)
    _say_rows([("" if i else "online  ", _mark(one.ok), one.name, one.detail) for i, one in enumerate(found)])
    for warning in settings.warnings:
        _complain("warning", warning)
    _say("fine" if ok and not settings.warnings else "fine, with warnings" if ok else "not fine")
    return 0 if ok else 1


def _summary(settings: Settings) -> dict[str, object]:
    return {
        "settings": str(settings.source) if settings.source else None,
        "site": settings.url,
        "listen": _listen(settings),
        "store": settings.store,
        "issuers": [
            {
                "name": issuer.name,
                "issuer": issuer.issuer,
                "audience": sorted(issuer.audience),
                "algorithms": sorted(issuer.algorithms),
                "keys": _keys_from(issuer),
            }
            for issuer in settings.issuers
        ],
        "rules": [
            {"rule": rule.name, "path": rule.pattern, "effect": "allow" if rule.allows else "deny", "who": _who(rule)}
            for rule in settings.policy.rules
        ],
        "warnings": list(settings.warnings),
        "inactive": list(settings.inactive),
    }


def _say_summary(settings: Settings) -> None:
    rows = [
        ("settings", str(settings.source or "the environment")),
        ("site", f"{settings.url}, listening on {_listen(settings)}"),
        ("store", settings.store or "none"),
    ]
    for issuer in settings.issuers:
        named = "" if issuer.name == issuer.issuer else f"{issuer.name}: "
        rows.append(("issuer", f"{named}{issuer.issuer}, for {', '.join(sorted(issuer.audience))}"))
        rows.append(("", f"keys from {_keys_from(issuer)}"))
    rows += [("inactive", f"{name}, read and not acted on in this version") for name in settings.inactive]
    _say_rows(rows)
    _say_rows(
        ("" if rule.index else "rules   ", rule.name, "allow" if rule.allows else "deny", rule.pattern, _who(rule))
        for rule in settings.policy.rules
    )


def _listen(settings: Settings) -> str:
    host, port = settings.listen
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _keys_from(issuer: Issuer) -> str:
    from .tokens import is_cognito

    base = issuer.issuer.rstrip("/")
    known = f"{base}/.well-known/jwks.json" if is_cognito(issuer.issuer) else None
    return issuer.jwks or known or f"discovery at {base}/.well-known/openid-configuration"


def _who(rule: Rule) -> str:
    """Who a rule is for, in words."""
    if rule.who != "matching":
        return rule.who
    parts = [f"{name} {' or '.join(sorted(values))}" for name, values in rule.needs()]
    return ", ".join(parts + [f"issuer {' or '.join(sorted(rule.issuers))}"] * bool(rule.issuers))


async def _ask_outside(settings: Settings) -> list[Found]:
    """Ask every issuer for its keys and the store whether it is ready, as the gateway would."""
    from . import crypto
    from .door import arun
    from .gateway.fetch import Fetcher
    from .store import open_store
    from .tokens import Tokens

    _silence_log()
    fetch, found = Fetcher(), []
    sources = Tokens(settings.issuers, crypto).issuers.values()
    await asyncio.gather(*(arun(source.refresh(time.time()), fetch) for source in sources))
    await fetch.aclose()
    for source in sources:
        detail = source.failure or f"{len(source.keys)} {'key' if len(source.keys) == 1 else 'keys'} that can be used"
        found.append(Found(source.issuer.name, not source.failure, detail))
    if settings.store is None:
        return found
    try:
        store = open_store(settings.store, region=settings.region, endpoint=settings.endpoint)
        try:
            async with asyncio.timeout(15):
                await store.ready()
        finally:
            await store.aclose()
    except (StagedoorError, OSError) as error:
        return [*found, Found("store", False, str(error) or type(error).__name__)]
    return [*found, Found("store", True, "ready")]


# --- explain


@app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="the object's key, or its URL on the site")],
    claims: Annotated[
        str | None, typer.Option("--as", metavar="FILE", help="claims of the caller as JSON; - reads standard input")
    ] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="ask for somebody who is not signed in")] = False,
    bearer: Annotated[
        str | None, typer.Option("--token", metavar="TOKEN", help="a token, a file with one, or -; it is verified")
    ] = None,
    issuer: Annotated[str | None, typer.Option(metavar="NAME", help="whose claims, where they name no iss")] = None,
    file: SettingsFile = None,
    as_json: AsJson = False,
) -> int:
    """say whether somebody may read a key, and why, rule by rule.

    \b
    examples:
      stagedoor explain --as claims.json courses/lesson-1.mp4
      echo '{"sub": "ann", "groups": ["students"]}' | stagedoor explain --as - users/ann/essay.pdf
      stagedoor explain --anonymous public/logo.png
    """
    from .door import explanation
    from .settings import load
    from .tokens import ANONYMOUS

    if (claims is not None) + anonymous + (bearer is not None) != 1:
        raise WrongUsage("say who asks: one of --as FILE, --token TOKEN and --anonymous")
    settings = load(file)
    notes: list[str] = []
    wanted = _key(key, settings, notes)
    if claims is not None:
        caller = _caller(_claims(claims), issuer, settings, notes)
    elif bearer is not None:
        try:
            caller = _verify(_token(bearer), settings)
        except InvalidToken as error:
            _complain("error", f"{error}\n  what to do: stagedoor token")
            return 1
    else:
        caller = ANONYMOUS
    told = explanation(settings.policy, caller, wanted)
    if as_json:
        _say_json({**told, "notes": notes})
        return 0 if told["allowed"] else 1
    _say(f"{'allowed' if told['allowed'] else 'denied'}: {told['reason']}", "green" if told["allowed"] else "red")
    _say_rows((("key", wanted), ("caller", str(told["caller"]))))
    _say("")
    _say_rows(
        (
            "->" if one.rule.name == told["rule"] else "  ",
            one.rule.name,
            "allow" if one.rule.allows else "deny",
            one.rule.pattern,
            "applies" if one.applies else f"no: {one.reason}",
        )
        for one in settings.policy.explain(caller, wanted)
    )
    for note in notes:
        _complain("note", note)
    return 0 if told["allowed"] else 1


def _key(text: str, settings: Settings, notes: list[str]) -> str:
    """The key that the door would decide on, from a key or a URL of the site."""
    from . import paths

    try:
        if text.startswith(("https://", "http://")):
            if not text.startswith(settings.url + "/"):
                raise WrongUsage(f"that is not a URL of this site ({settings.url}): give the key itself")
            key = paths.decode(text.removeprefix(settings.url).partition("?")[0].partition("#")[0].encode())
        else:
            key = text.removeprefix("/")
            paths.check_key(key)
            if "%" in key:
                notes.append("a key is not percent-encoded; for what a URL names, give the whole URL")
    except InvalidTarget as error:
        raise WrongUsage(f"no object can have the key {text!r}: {error}") from None
    if settings.index is not None and (key == "" or key.endswith("/")):
        key += settings.index
    if key == "" or key.startswith(paths.OWN_PREFIX):
        raise WrongUsage("the empty key and keys that start with '-/' are never served")
    return key


def _claims(source: str) -> dict[str, object]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        claims = json.loads(text)
    except OSError as error:
        raise WrongUsage(f"{source} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise WrongUsage(f"the claims are not JSON: {error}") from None
    if not isinstance(claims, dict):
        raise WrongUsage('claims are a JSON object, for example {"sub": "ann", "groups": ["students"]}')
    return claims


def _caller(claims: Mapping[str, object], named: str | None, settings: Settings, notes: list[str]) -> Caller:
    """Somebody with these claims; notes what would keep a real token with them out."""
    from .tokens import Caller, check_claims

    known = ", ".join(issuer.name for issuer in settings.issuers) or "there are none"
    by_name = [issuer for issuer in settings.issuers if named is None or named in (issuer.name, issuer.issuer)]
    fitting = [issuer for issuer in by_name if claims.get("iss", issuer.issuer) == issuer.issuer]
    if not by_name:
        raise WrongUsage(f"{named!r} is none of the issuers (known: {known})")
    if not fitting:
        raise WrongUsage(f"iss {claims['iss']!r} is not the issuer: leave iss out, or add it to [[issuers]]")
    if len(fitting) > 1:
        raise WrongUsage(f"there are several issuers: add iss to the claims, or --issuer (known: {known})")
    issuer = fitting[0]
    if "exp" in claims:  # these are a token's, not made up for the occasion
        try:
            check_claims({"iss": issuer.issuer, **claims}, issuer, time.time())
        except InvalidToken as error:
            notes.append(f"this is what the rules say; a token with these claims would not get as far: {error}")
    return Caller(issuer.name, issuer.issuer, claims, issuer.claims)


# --- token

_STAGES: Mapping[str, tuple[str, ...]] = {
    "shape": ("token-too-long", "token-shape", "token-type"),
    "issuer": ("token-issuer", "token-algorithm"),
    "key": ("token-key", "issuer-unavailable"),
    "signature": ("token-signature",),
    "claims": (),
}
"""The stages in which `Tokens.verify` works, and the codes of the errors that end in each; all others: claims."""


@app.command()
def token(
    text: Annotated[list[str] | None, typer.Argument(metavar="TOKEN", help="a token, a file with one, or -")] = None,
    file: SettingsFile = None,
    jwks: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="keys to use instead of the issuer's", exists=True, dir_okay=False),
    ] = None,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="show the claims of a token that fails, too")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """verify a token as the door would; say what is wrong.

    Stage by stage: shape, issuer, key, signature, claims. Reads standard input
    unless a token is named, so that tokens need not be in the shell's history.

    \b
    example:
      pbpaste | stagedoor token
      stagedoor token --jwks jwks.json - < token.txt
    """
    from dataclasses import replace

    from .settings import load

    settings = load(file)
    if jwks is not None:
        keys = jwks.absolute().as_uri()
        settings = replace(settings, issuers=tuple(replace(issuer, jwks=keys) for issuer in settings.issuers))
    value, now = _token(" ".join(text or ["-"])), time.time()
    header, claims = _peek(value)
    issuer = next((one for one in settings.issuers if one.issuer == claims.get("iss")), None)
    caller, failed, problem, code, mend = None, "", "", "", ""
    try:
        caller = _verify(value, settings, now)
    except (InvalidToken, KeysUnavailable) as error:
        problem, code = str(error), error.code
        failed = next((stage for stage, codes in _STAGES.items() if code in codes), "claims")
        mend = _mend(code, value, header, claims, issuer, settings, now)
    verified = failed in ("", "claims")
    told = {
        "shape": f"JWT, {header.get('alg')}",
        "issuer": f"{issuer.name}" if issuer else "",
        "key": f"kid {header['kid']}" if "kid" in header else "the only key that fits",
        "signature": "by a key of the issuer",
        "claims": f"expires {_when(caller.expires, now)}" if caller else "",
    }
    stages = []
    for stage in _STAGES:
        if stage == failed:
            stages.append(Found(stage, False, problem))
            break
        stages.append(Found(stage, True, told[stage]))
    if as_json:
        answer: dict[str, object] = {
            "valid": caller is not None,
            "stages": [{"stage": one.name, "ok": one.ok, "detail": one.detail} for one in stages],
            "code": code or None,
            "problem": problem or None,
            "mend": mend or None,
            "caller": caller.label if caller else None,
            "claims": claims if verified else None,
        }
        _say_json(answer | ({"unverifiedClaims": claims} if unverified and not verified else {}))
        return 0 if caller else 1
    _say_rows((one.name, _mark(one.ok), one.detail) for one in stages)
    if mend:
        _say(f"  {mend}")
    if claims and (verified or unverified):
        _say("")
        if not verified:
            _say("NOT verified, anybody can have written this:", "red")
        _say_rows((f"  {name}", _claim(name, claim, now)) for name, claim in claims.items())
        _say("")
    _say(f"valid: {caller.label}" if caller else "not valid", "green" if caller else "red")
    return 0 if caller else 1


def _token(text: str) -> str:
    """The token from the argument, the file that it names or standard input; `Bearer` may stand before it."""
    if text == "-":
        if sys.stdin.isatty():
            _complain("", "paste the token, then press enter and ctrl-d")
        text = sys.stdin.read(1_000_000)
    elif _is_file(text):
        text = Path(text).read_text(encoding="utf-8", errors="replace")
    words = text.strip().strip("\"'").split()
    if words and words[0].lower() == "authorization:":
        del words[0]
    if words and words[0].lower() == "bearer":
        del words[0]
    if len(words) != 1:
        raise WrongUsage("there is no token" if not words else "a token is one word: there are spaces in it")
    return words[0]


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # tokens are too long to be names of files
        return False


def _verify(value: str, settings: Settings, now: float | None = None) -> Caller:
    """Verify with the very code of the doors."""
    from . import crypto
    from .door import arun
    from .gateway.fetch import Fetcher
    from .tokens import Tokens

    _silence_log()

    async def verify() -> Caller:
        fetch = Fetcher()
        try:
            flow = Tokens(settings.issuers, crypto).verify(value, time.time() if now is None else now)
            return await arun(flow, fetch)
        finally:
            await fetch.aclose()

    return asyncio.run(verify())


def _peek(value: str) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Header and claims, as far as they can be read; nothing of it is verified."""
    from .tokens import json_object, split

    try:
        jws = split(value)
        return jws.header, json_object(jws.payload, "payload")
    except InvalidToken:
        return {}, {}


def _mend(
    code: str,
    value: str,
    header: Mapping[str, object],
    claims: Mapping[str, object],
    issuer: Issuer | None,
    settings: Settings,
    now: float,
) -> str:
    """What to do about a token that failed."""
    alg, kid, name = header.get("alg"), header.get("kid"), issuer.name if issuer else ""
    if code == "token-shape":
        if value.count(".") == 4:
            return "this one is encrypted (JWE): have the provider send signed tokens"
        if value.count(".") == 2:
            return "it was cut or changed on its way: copy it whole, as the provider sent it"
        return "opaque tokens cannot be checked here: bring an id token, or have the provider issue JWT access tokens"
    if code == "token-too-long":
        return "have the provider leave claims out, for example groups that no rule asks for"
    if code == "token-type":
        return "bring the access token or the id token"
    if code == "token-issuer":
        iss, known = str(claims.get("iss")), [one.issuer for one in settings.issuers]
        if iss.rstrip("/") in (one.rstrip("/") for one in known):
            return f"it says iss {iss!r}, yours differs by the slash at the end: write it as the token does"
        return (
            f"it says iss {iss!r}, yours: {', '.join(known) or 'none'}; bring another token, or add it to [[issuers]]"
        )
    if code == "token-algorithm":
        if claims.get("aud") == settings.url:
            return "this is a session cookie of the site: it counts as that cookie, not as a token"
        if str(alg).startswith("HS") or alg == "none":
            return f"{alg} is never accepted: have the provider sign with RS256 or another public-key algorithm"
        return f"if {name} signs with {alg}, add it to [[issuers]] algorithms"
    if code == "token-key":
        if kid is None:
            return "it names no kid, and the issuer has several keys: only a kid can say which"
        return f"kid {kid!r} is not among the issuer's keys for {alg}: the token is old, or of another environment"
    if code == "issuer-unavailable":
        return "ask again later, see stagedoor check --online, or give the keys with --jwks FILE"
    if code == "token-signature":
        return "the token was changed or cut on its way, or another key signed it: get a new one"
    if issuer is None:
        return ""
    if code == "token-audience":
        field = "client_id" if issuer.token_use and claims.get("token_use") == "access" else "aud"
        theirs, ours = json.dumps(claims.get(field)), ", ".join(sorted(issuer.audience))
        mend = "if it is yours too, add it to [[issuers]] audience"
        return f"the token's {field} is {theirs}, your audience is {ours}: {mend}"
    if code == "token-use":
        return f"if {claims.get('token_use')!r} tokens shall count, add it to [[issuers]] token_use"
    if code in ("token-expired", "token-early"):
        at = claims["exp" if code == "token-expired" else "nbf"]
        assert isinstance(at, int | float)
        close = abs(now - at) < 120
        return f"{_when(at, now)}: " + (
            'if the clocks differ, set [[issuers]] leeway = "2m"' if close else "get a new one, or set this clock right"
        )
    return ""


_SPANS = ((86_400, "days"), (3_600, "hours"), (60, "minutes"))


def _when(at: float, now: float) -> str:
    """A moment as people say it, with the date."""
    import datetime as dt

    seconds = int(abs(at - now))
    count, unit = next(((seconds // size, unit) for size, unit in _SPANS if seconds >= 2 * size), (seconds, "seconds"))
    try:
        date = f" ({dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M} UTC)"
    except (ValueError, OverflowError, OSError):
        date = ""
    return f"in {count} {unit}{date}" if at > now else f"{count} {unit} ago{date}"


def _claim(name: str, value: object, now: float) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if name in ("exp", "nbf", "iat", "auth_time") and type(value) in (int, float) and 0 <= float(text) < 2**53:
        return f"{text}, {_when(float(text), now)}"
    return text


# --- init


@app.command()
def init(
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
) -> int:
    """ask three questions and write a stagedoor.toml that works.

    \b
    examples:
      stagedoor init
      stagedoor init --store s3://my-bucket --issuer eu-central-1_AbC123 --audience my-client-id
    """
    import dataclasses
    import secrets

    from . import init as writing

    target = folder / "stagedoor.toml"
    if target.exists() and not force:
        _complain(
            "error", f"{target} is here already\n  look it over with: stagedoor check, or write over it with --force"
        )
        return 1
    setting, place = _ask(
        "--store",
        store,
        "where are the files? a folder, or s3://bucket",
        lambda text: writing.store_setting(text, Path.cwd(), folder),
        yes,
        default=str(folder / "assets"),
    )
    name = _ask("--issuer", issuer, "who signs people in? issuer URL, or Cognito pool id", writing.issuer_url, yes)
    clients = _ask("--audience", audience, "client id of the app there?", _commas, yes)
    try:
        answers = writing.Answers(
            store=setting,
            issuer=name,
            audience=clients,
            url=url or writing.site_url(listen or writing.LOCAL),
            listen=listen or writing.listen_address(url or ""),
            login_page=login_page,
        )
        writing.check(answers)
    except SettingsError as error:
        raise WrongUsage(f"{error.setting}: {error.problem}{error.mend and f' ({error.mend})'}") from None
    found = asyncio.run(_discover(name))
    answers = dataclasses.replace(answers, issuer=found.issuer, algorithms=found.algorithms)
    if place is not None and not place.is_dir():
        if not yes and not typer.confirm(f"there is no folder {place}: make it?", default=True, err=True):
            _complain("error", f"there is no folder {place}\n  make it, then: stagedoor init")
            return 1
        (place / "public").mkdir(parents=True)
        (place / "public/hello.txt").write_text("hello from behind the stage door\n", encoding="utf-8")
        _say(f"made {place}, with public/hello.txt in it")
    folder.mkdir(parents=True, exist_ok=True)
    ignore, session_key = folder / ".gitignore", folder / writing.SESSION_KEY
    made = writing.files(
        answers,
        session_key=None if session_key.exists() else secrets.token_urlsafe(48),
        gitignore=ignore.read_text(encoding="utf-8") if ignore.exists() else "",
    )
    for path, new in made.items():
        with os.fdopen(os.open(folder / path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, new.mode), "w") as out:
            out.write(new.text)
        _say(f"wrote {folder / path}")
    where = "" if folder == Path() else f" --settings {target}"
    at = f"http://{answers.listen}" if answers.url.startswith("https:") else answers.url
    _say("next:")
    _say(f"  stagedoor serve{where}")
    if place is not None and (place / "public/hello.txt").exists():
        _say(f"  curl {at}/public/hello.txt")
    _say(f'  curl -H "Authorization: Bearer $TOKEN" {at}/-/whoami')
    return 0


def _ask(
    option: str, given: str | None, question: str, read: Callable[[str], T], yes: bool, *, default: str | None = None
) -> T:
    """The answer from its option, or from the person at the keyboard until it can be read."""
    text = given if given is not None else default if yes else None
    if text is None and yes:
        raise WrongUsage(f"--yes asks nothing, so give {option}")
    while True:
        try:
            return read(text if text is not None else typer.prompt(question, default=default, err=True))
        except ValueError as error:
            if text is not None:
                raise WrongUsage(f"{option}: {error}") from None
            _complain("", f"  {error}")


def _commas(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        raise ValueError("it is at the provider, on the page of the app client")
    return parts


async def _discover(issuer: str) -> Discovered:
    """Look whether the issuer answers, and say what that means; without an answer the settings are written too."""
    from .gateway.fetch import Fetcher
    from .init import Discovered, discovered
    from .messages import Fetch
    from .tokens import json_object

    _silence_log()
    fetch = Fetcher()
    fetched = await fetch(Fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration"))
    await fetch.aclose()
    try:
        document = json_object(fetched.body, "discovery document") if not fetched.error else {}
    except InvalidToken:
        fetched = fetched._replace(error="it answered, but not with a discovery document")
    if fetched.error:
        _complain("note", f"{issuer} could not be asked ({fetched.error})\n  try again later: stagedoor check --online")
        return Discovered(issuer, ())
    found = discovered(issuer, document)
    _say(f"{issuer} answers")
    if found.note:
        _complain("note", found.note)
    return found


# --- speaking


def _say(text: str, style: str = "") -> None:
    _print(text, style, stderr=False)


def _complain(kind: str, text: str) -> None:
    """One message for people on standard error; what to do about it stands indented below."""
    styles = {"error": "red", "warning": "yellow"}
    text = re.sub(r"\bey[\w-]{8,}\.[\w.-]+", "(a token)", text)  # mistyped options are quoted by the parser
    _print(f"{kind}: {text}" if kind else text, styles.get(kind, ""), stderr=True)


def _print(text: str, style: str, *, stderr: bool) -> None:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    for line in text.split("\n"):
        console.print(_plain(line), style=style or None)


def _say_rows(rows: Iterable[Sequence[str]]) -> None:
    """Columns, each as wide as it must be."""
    from rich.cells import cell_len

    table = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        _say("  ".join(cells).rstrip())


def _say_json(value: Mapping[str, Any]) -> None:
    print(json.dumps(value, indent=2))


def _plain(text: str) -> str:
    """Text of other people's making must not steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _mark(ok: bool) -> str:
    return "ok" if ok else "no"


def _silence_log() -> None:
    """What the log would say is part of the answer here."""
    import logging

    logging.getLogger("stagedoor").addHandler(logging.NullHandler())
