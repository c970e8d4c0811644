"""The command line: a thin layer over the settings, rules and tokens that the doors use.

One file per command; what they share is in `options` (what is given), `output` (what is printed) and `services` (what
is asked of others). All commands speak alike: short, lower case, first what happened and where, then what to do.
Answers go to standard output, everything else to standard error; `--json` prints the same for programs, with stable
keys. Exit codes: 0 fine; 1 the answer is no (denied, not valid, settings that will not start); 2 wrong usage.
No token is ever printed.

Each command imports what is slow to load when it needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from ..core.errors import SettingsError, StagedoorError
from . import bundle, catalogue, check, doctor, explain, init, keys, ls, revoke, sign, token
from .options import SettingsFile, WrongUsage, load_settings
from .output import complain, help_without_command, remark, say

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_ON_THIS_MACHINE = re.compile(r"http://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code."""
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # for names that the terminal's encoding cannot show
    try:
        code = app(arguments, prog_name="stagedoor", standalone_mode=False)
    except typer.TyperException as error:
        problem = error.format_message().rstrip(".")
        named = _command_words(sys.argv[1:] if arguments is None else arguments)
        complain("error", f"{problem[:1].lower()}{problem[1:]}\n  see: {' '.join(['stagedoor', *named, '--help'])}")
        return error.exit_code
    except typer.Abort:
        remark("stopped")
        return 1
    except BrokenPipeError:  # `stagedoor … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except StagedoorError as error:
        complain("error", str(error))
        return 1
    except OSError as error:
        complain("error", f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        return 1
    return code if isinstance(code, int) else 0


def _open_standard_streams() -> None:
    """Put the null device where a standard stream is closed, or the next file that is opened would be taken for it."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w", closefd=False))


def _command_words(words: list[str]) -> list[str]:
    """The words at the beginning that name a command or a group."""
    if words[:1] and words[0] in GROUPS:
        inner = [command.name for command in GROUPS[words[0]].registered_commands]
        return words[: 2 if words[1:2] and words[1] in inner else 1]
    return [word for word in words[:1] if word in COMMANDS]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            say(f"stagedoor {version('stagedoor')}")
        except PackageNotFoundError:
            say("stagedoor, run from its source")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _stagedoor(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", help="print the version", callback=_print_version, is_eager=True)
    ] = False,
) -> int:
    """private files for the people who are signed in. one policy, every door.

    \b
    see it work:   stagedoor demo
    your own site: stagedoor init, then stagedoor serve
    """
    return help_without_command(context)


def demo(
    port: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65535, help="default: 8080, or the next free port")
    ] = None,
    browser: Annotated[
        bool | None,
        typer.Option("--open/--no-browser", help="default: open a browser on a local terminal"),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="another site on this machine that may use the demo's provider; repeatable"),
    ] = None,
) -> int:
    """run a sample site with its own sign-in, on this machine only.

    \b
    examples:
      stagedoor demo --port 8080 --no-browser
      stagedoor demo --also http://localhost:9000
    """
    others = [url.removesuffix("/") for url in also or ()]
    if not all(map(_ON_THIS_MACHINE.fullmatch, others)):
        raise WrongUsage("--also: this is the origin of a site on this machine, for example http://localhost:9000")
    from ..demo import run

    if browser is None:
        browser = sys.stdout.isatty() and "SSH_CONNECTION" not in os.environ
    return run(port, browser, others)


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
    given = {"LISTEN": listen, "WORKERS": workers}
    overrides = {f"STAGEDOOR_GATEWAY_{name}": str(value) for name, value in given.items() if value is not None}
    try:
        settings = load_settings(file, overrides=overrides, warn=True)
    except SettingsError as error:
        if error.setting not in overrides:
            raise
        option = f"--{error.setting.rpartition('_')[2].lower()}"  # the variable is ours, and nobody set it
        raise WrongUsage(f"{option}: {error.problem}{error.mend and f'; {error.mend}'}") from None
    complain("inactive", *(f"{name} does nothing in this version" for name in settings.inactive))

    from ..gateway.server import serve as serve_gateway

    return serve_gateway(file, listen=listen, workers=workers)


COMMANDS: Mapping[str, Callable[..., int]] = {
    "demo": demo,
    "serve": serve,
    "check": check.command,
    "explain": explain.command,
    "token": token.command,
    "ls": ls.command,
    "revoke": revoke.command,
    "init": init.command,
    "doctor": doctor.command,
}
for _name, _command in COMMANDS.items():
    app.command(_name)(_command)
GROUPS: Mapping[str, typer.Typer] = {
    "keys": keys.app,
    "sign": sign.app,
    "catalogue": catalogue.app,
    "bundle": bundle.app,
}
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)
