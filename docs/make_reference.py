"""Makes `reference/settings.md` and `reference/cli.md` from the code, so that they say what it does.

`python docs/make_reference.py` writes them; `tests/test_docs.py` fails when they are not what it would write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer.main

from stagedoor.cli import app
from stagedoor.settings import LISTS, PREFIX, SECTIONS, TABLE, Setting

HERE = Path(__file__).parent / "reference"
BAR = "\\|"
"""How a cell of a Markdown table holds a bar."""

ABOUT: Mapping[str, str] = {
    "site": "What is guarded, and where its objects live.",
    "issuers": "Whose tokens count. One `[[issuers]]` table for each provider.",
    "tokens": "Where a request may carry a token.",
    "rules": "Who may read what. One `[[rules]]` table for each rule; see the [policy reference](policy.md).",
    "login": (
        "Sign-in here is on when `issuer`, `client_id` or `client_secret` is set, or an issuer has a `client_id`:\n"
        "[sign people in](../how-to/sign-in.md). `session` and `session_keys` alone only make sessions from tokens."
    ),
    "passes": (
        "CloudFront-compatible signed URLs and cookies. With `public_keys` alone they are verified; with `key_id` and\n"
        "`private_key` they are issued, too. Keys are RSA with 2048 bits or ECDSA on P-256, PEM or DER."
    ),
    "admin": "Who may take access back. The condition is written as in a rule.",
    "state": "What the site itself remembers: what was taken back. Gateways of one site share it.",
    "catalogue": "Content ids and their keys, for `/-/contents/{id}`.",
    "gateway": "How `stagedoor serve` listens. `metrics` is checked, and **inactive** in this version.",
    "cors": "Which other origins may ask with scripts.",
    "log": "The access log. Everything else that is logged goes to standard error.",
}

NOTES: Mapping[str, str] = {
    "site": """\
- `url` is scheme and host, nothing more. The Host header decides nothing.
- `store`: `memory:` starts empty and forgets everything. In a folder no symlink is followed; only regular files exist.
  Without `store` there are no objects: every key that may be read answers 404.
- `endpoint` belongs to `s3://` alone; `region` also says where secrets and a catalogue at AWS are, but not next to an
  `endpoint`, whose region it is then. With `endpoint` and no `region` the region is `us-east-1`, and keys are asked
  for path-style. Credentials come from AWS's usual chain: variables, profile, role.
- `index` has no slash. The policy sees the key with `index` in it.
- `trust_html = false` sends HTML, SVG and every type that is not known to be inert with a
  Content-Security-Policy that lets no script run.
""",
    "issuers": """\
- `issuer` is compared letter by letter with the token's `iss`, the slash at the end included. A Cognito pool has one
  of two: `https://cognito-idp.<region>.amazonaws.com/<pool>`, or the updated `https://issuer-cognito-idp.…`.
- `claims` always holds `groups`: `cognito:groups` for a Cognito issuer, `groups` for every other one, until you say
  otherwise. A provider's name is looked for as it is, then as a dotted path: `realm_access.roles`,
  `resource_access.com.example.app.roles` (in which `com.example.app` may be one name; longer names go first).
- Groups may be an object, as ZITADEL writes roles: then the names of its members count, if what they hold is not empty.
  A `scope` or `scp` of one text counts whole and scope by scope.
- `jwks` as a file is read at start and again within 10 seconds after a change. Keys from a URL are asked for every
  hour, and when a token may be signed with a key that is not known, but never twice within 10 seconds.
- A token is checked with the keys of its `kid`, else with those that have none; a token without `kid` with every key
  that fits its `alg`, at most eight. In published keys members that are null count as absent, and padding is read over.
- Without `jwks` the keys' address comes from `<issuer>/.well-known/openid-configuration`; Cognito's is known.
""",
    "tokens": """\
- `from` names each place once, strongest first. Out of the box `query` is off: a URL is seen by many eyes.
- A place that `from` does not name is not looked at.
""",
    "login": """\
- Register `[site] url` + `/-/callback` as redirect URI, and `[site] url` + `/-/logout` as the address after sign-out.
- `client_id`, `client_secret` and `issuer` say at which one issuer people sign in. Where several do, each has
  `client_id` and `client_secret` in its own `[[issuers]]` entry, and these three stay away.
- `scopes` hold `openid`. None is added.
- `session` is absolute: a session that was signed in here ends then, whatever the id token's `exp`.
- `page` gets `?next=` and the URL that was asked for. Only navigations go there; see [HTTP](http.md#sign-in).
  With it `/-/login` still works, but nobody is sent there.
- A session key has at least 32 bytes: `(umask 077; openssl rand -base64 48 > session.key)`. The first of the list
  signs, all verify. Without `session_keys` one worker makes a key at its start, and sessions end with it. Several
  workers and `[login]` need `session_keys`; several workers without `[login]` have no sessions.
- Session keys also seal the cursors of listings: several gateways behind one address need `session_keys` for them, too.
""",
    "passes": """\
- `key_id` and `private_key` go together. The public key that belongs to them need not be listed.
- `public_keys` all verify. To rotate: list the new one, switch `key_id` and `private_key`, and take the old one out
  when its last pass is over.
- A PEM may be in one line, its line ends turned into spaces, as some shells leave it.
- `hash`, `max_lifetime` and `per_minute` are for issuing alone: passes that others issued count as they are.
  `max_lifetime` is 365 days at most.
- `per_minute` goes up to 1,000,000. Each worker counts for itself.
- Keys in files and variables are looked at by `stagedoor check`, those of AWS by `stagedoor check --online`.
""",
    "catalogue": """\
- `sqlite:///catalogue.db` is a file beside the settings file; a whole path has four slashes: `sqlite:////srv/catalogue.db`.
- A DynamoDB table is in `[site] region`, unless there is an `endpoint`; else in the region of AWS's chain.
""",
    "gateway": """\
- `listen` and `workers` are read at start; a reload (SIGHUP) does not change them. There are at most 1,024 workers.
- `trusted_proxies` tells whose `X-Forwarded-For` names the client: in the log, for passes that are bound to a network,
  and for the limit on issuing passes to callers who are not signed in.
- `tls` makes `serve` speak TLS 1.2 and 1.3, with HTTP/1.1: HTTP/2 is for
  [a proxy in front](../how-to/run-in-production.md#tls-without-a-proxy). The key has no passphrase. A reload takes a
  new certificate; turning `tls` on or off needs a restart.
""",
    "cors": """\
- Each is an origin, scheme and host, https but for this machine. There is no wildcard. Credentials are allowed.
- Scripts of such an origin can read what its visitor may read, and have links made that work without the visitor for
  `[passes] max_lifetime`. List your own alone.
- `headers` is for fields that your frontend, or a tool of yours, adds to requests. These need no entry:
  `Authorization`, `Content-Type`, `Range`, the conditional fields, and those of tracing (`traceparent`, `baggage`,
  `sentry-trace`, `x-datadog-…` and the like).
""",
}
"""What a row of the table has no room for."""

KINDS: Mapping[str, str] = {
    "text": "text",
    "texts": "list of texts",
    "flag": "true or false",
    "duration": "duration",
    "size": "size",
    "number": "whole number",
    "table": "table",
    "secret": "secret",
    "secrets": "list of secrets",
    "secret table": "table of secrets",
    "rule": "rule",
}

SETTINGS_HEAD = """\
# Settings

<!-- Made by docs/make_reference.py from stagedoor/settings/table.py. Change it there. -->

Settings stand in one TOML file and in environment variables. The file is the one that `--settings` names, else
the one that `{prefix}SETTINGS` names, else `stagedoor.toml` in the current folder. Without any file the environment
alone can do, if it holds at least one variable that starts with `{prefix}`.

`stagedoor check` reads everything and says what is wrong, in which line, and what to write instead. An unknown
section or setting is an error. So is a setting that contradicts another one.

## How values are written

| kind | how | in an environment variable |
|---|---|---|
| text | `"…"`; not empty, no control characters | as it is, without quotes |
| list of texts | `["a", "b"]`, or one text; no text twice | `a,b`, or a TOML list |
| true or false | `true`, `false` | the same |
| whole number | `2`; at least 1, and no more than its section says | the same |
| size | whole number and unit: `"512KB"`, `"64MB"`, `"1GB"`; or `"0"` | `64MB` |
| duration | whole number and unit: `"30s"`, `"15m"`, `"8h"`, `"2d"` | `8h` |
| table | `{{ name = "value" }}`; values are texts | the same |
| secret | `"env:NAME"`, `"file:path"`, `"ssm:/name"` or `"secretsmanager:name"`; see below | `env:NAME` |
| list of secrets | `["file:session.key"]` | `file:new.key,file:old.key` |
| table of secrets | `{{ K2JCJMDEHXQW5F = "file:public.pem" }}` | the same |

**Secrets** never stand in the settings themselves. `env:NAME` takes the value of an environment variable; choose a
name that does not start with `{prefix}`. `file:path` takes the content of a file. White space at the ends of a session
key or a passphrase does not count. `ssm:/name` is a parameter of AWS's SSM Parameter Store, decrypted, and
`secretsmanager:` with a name or an ARN a secret of Secrets Manager. Both are fetched with AWS's usual chain of
credentials when Stagedoor starts and when it reloads. Their region is the ARN's, else `[site] region` unless there is
an `endpoint`, else that of AWS's chain.

**Paths** of files, and a store that is a folder, are relative to the settings file. `~` is your home folder. The
settings, files with secrets and a catalogue in SQLite must not lie in the folder that is served; nobody but the user
that serves should be able to read a file with a secret (`chmod 600`).

**URLs** of the site, issuers, keys and sign-in page are https. http is accepted for this machine only: `localhost`,
`127.…` and `[::1]`. (`[site] endpoint` may be http anywhere: mind the network in between.)

## Environment variables

A variable is stronger than the file. Its name is `{prefix}`, section, `_`, setting, in capitals: `{prefix}SITE_URL`.
`[[issuers]]` and `[[rules]]` are each one variable with a TOML list, which replaces the whole list of the file:

```sh
{prefix}SITE_URL=https://assets.example.com
{prefix}TOKENS_FROM=header,cookie
{prefix}ISSUERS='[{{ issuer = "https://accounts.google.com", audience = ["my-client-id"] }}]'
{prefix}RULES='[{{ path = "users/{{sub}}/**", allow = "signed-in" }}]'
```

A variable that starts with `{prefix}` and is none of these is an error, so that no misspelt one is overlooked.
"""

CLI_HEAD = """\
# Commands

<!-- Made by docs/make_reference.py from the commands' own help. Change it there. -->

Answers go to standard output, everything else to standard error. `--json` prints JSON.
Exit codes: 0 fine; 1 the answer is no (denied, not valid, settings that will not start); 2 wrong usage.
No command prints a token. `stagedoor COMMAND --help` prints what is on this page.
"""


def pages() -> Mapping[str, str]:
    """File name -> text of every page that is made."""
    return {"settings.md": "".join(_settings()), "cli.md": "".join(_cli())}


def main() -> None:
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")


# --- settings


def _settings() -> Iterator[str]:
    yield SETTINGS_HEAD.format(prefix=PREFIX)
    for section in SECTIONS:
        yield f"\n## {f'[[{section}]]' if section in LISTS else f'[{section}]'}\n\n{ABOUT[section]}\n\n"
        yield from _table(
            ("setting", "kind", "default", "what it is for"),
            [_row(row) for row in TABLE if row.section == section],
        )
        if section in NOTES:
            yield f"\n{NOTES[section]}"


def _row(row: Setting) -> tuple[str, ...]:
    return f"`{row.name}`", KINDS[row.kind], row.default_shown, row.purpose


# --- commands


def _cli() -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    yield f"{CLI_HEAD}\n"
    rows = [(f"[`{name}`](#stagedoor-{name.replace(' ', '-')})", _help(command)[0]) for name, command in _all(group)]
    yield from _table(("command", "what it does"), rows)
    yield "\n`stagedoor --version` prints the version.\n"
    for name, command in _all(group):
        yield from _command(name, command)


def _all(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Every command, and after a group those that it holds."""
    for name, command in group.commands.items():
        if not command.hidden:
            yield before + name, command
            if hasattr(command, "commands"):
                yield from _all(command, f"{before}{name} ")


def _help(command: Any) -> list[str]:
    """Its paragraphs: what it does, more about it, examples (typer's mark for text that is not to be wrapped, \\b)."""
    return [part for part in str(command.help).split("\n\n") if part]


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = [f"stagedoor {name}", "[options]" * bool(options), "COMMAND" * hasattr(command, "commands")]
    usage += [one.metavar if one.required else f"[{one.metavar}]" for one in arguments]
    yield f"\n## stagedoor {name}\n\n```text\n{' '.join(filter(None, usage))}\n```\n"
    for paragraph in _help(command):
        if paragraph.startswith("\b"):
            title, _, lines = paragraph.removeprefix("\b\n").partition("\n")
            yield f"\n{title.capitalize()}\n\n```sh\n{_unindented(lines)}\n```\n"
        else:
            yield f"\n{_sentence(paragraph)}\n"
    rows = [(f"`{one.metavar}`", one.help or "") for one in arguments]
    rows += [(_spelling(one), one.help or "") for one in options]
    if rows:
        yield "\n"
        yield from _table(("argument or option", "meaning"), rows)


def _spelling(option: Any) -> str:
    kind = option.type_descriptor.annotation
    takes = option.metavar or ("|".join(get_args(kind)) if get_origin(kind) is Literal else "")
    metavar = "" if option.is_flag or not takes else f" {takes}"
    return ", ".join(f"`{text}{metavar}`" for text in (*option.opts, *option.secondary_opts))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ("---",) * len(head), *rows):
        rule = cells[0] == "---"
        yield f"|{'|'.join(cells)}|\n" if rule else f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |\n"


if __name__ == "__main__":
    main()
