"""The files of a new site, made from a few answers; `init` asks for them and writes the files.

The settings are where owners begin their own policy. So each rule says what it is for, and rules that would open more
than a newcomer expects are commented out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ..core.issuers import is_cognito, other_form
from ..core.jose import ALGORITHMS, algorithm_name
from ..core.login import CALLBACK, LOGOUT
from .providers import ENTRA, PROVIDERS, kind_of

if TYPE_CHECKING:
    from ..settings import Settings

AWS_APP = (
    *(".gitignore", "README.md", "app.py", "cdk.json", "import_app.py", "requirements.txt", "stagedoor.toml"),
    *("try-on-a-real-account.sh", "content"),
)
"""Files and folders of `examples/aws` that `--aws` copies."""
SESSION_KEY = "session.key"
LOCAL = "127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Answers:
    """What a first `stagedoor.toml` needs.

    Attributes:
        store: as in settings: `s3://bucket/prefix`, or a folder relative to the file.
        issuer: exact issuer URL.
        audience: client ids whose tokens are accepted.
        url: public origin of the site.
        listen: address and port of the gateway.
        algorithms: accepted signature algorithms; empty: the default, RS256.
        client_id: of the client that signs people in here; None: they bring tokens, or sign in elsewhere.
        client_secret: where its secret is (`env:NAME`), or None.
        login_page: URL of an existing sign-in page, or None.
    """

    store: str
    issuer: str
    audience: tuple[str, ...]
    url: str = "http://localhost:8080"
    listen: str = LOCAL
    algorithms: tuple[str, ...] = ()
    client_id: str | None = None
    client_secret: str | None = None
    login_page: str | None = None

    @property
    def has_sessions(self) -> bool:
        """A session key is made, so that sessions outlive a restart."""
        return self.client_id is not None or self.login_page is not None


class NewFile(NamedTuple):
    """A file to write: its text and its permissions."""

    text: str
    mode: int = 0o644


# --- answers as people type them


def secret_setting(text: str) -> str | None:
    """Return the setting for a client secret: where it is, and never the secret itself; None for no secret.

    Raises:
        ValueError: the text says no such place. The message does not repeat it, because it may be the secret.
    """
    text = text.strip()
    if text.lower() in ("none", "no", ""):
        return None
    if not re.fullmatch(r"(env:[A-Za-z_][A-Za-z0-9_]*|(file|ssm|secretsmanager):.+)", text):
        raise ValueError("say where the secret is, not what it is: env:NAME, file:PATH, ssm:/NAME")
    return text


def page_setting(text: str) -> str | None:
    """Return the setting for a sign-in page; None if people sign in at the site itself."""
    return None if text.strip().lower() in ("here", "") else text.strip()


def store_setting(text: str, here: Path, home: Path) -> tuple[str, Path | None]:
    """Return the setting for a store.

    Args:
        text: a bucket (`s3://…`), `memory:`, or a folder relative to `here`.
        here: the current folder.
        home: the folder of the settings file; folders in settings are relative to it.

    Returns:
        The setting, and the folder if the store is one.

    Raises:
        ValueError: there is no such kind of store, or it would contain the settings file.
    """
    text = text.strip()
    if not text:
        raise ValueError("name a folder, or a bucket as s3://bucket")
    if text == "memory:" or text.startswith("s3://"):
        return text, None
    if re.match(r"[a-z][a-z0-9+.-]+:", text) and not text.startswith("file:"):
        raise ValueError(f"{text.partition(':')[0]}: is not a kind of store; name a folder, or a bucket as s3://bucket")
    folder = (here / Path(text.removeprefix("file://")).expanduser()).resolve()
    home = home.resolve()
    if home.is_relative_to(folder):
        raise ValueError("it would contain the settings: name a folder for the files alone, for example ./assets")
    return (f"./{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)), folder


def site_url(listen: str) -> str:
    """The origin for browsers on this machine."""
    port = listen.rpartition(":")[2]
    return f"http://localhost:{port if port.isdecimal() else 8080}".removesuffix(":80")


def listen_address(url: str) -> str:
    """The gateway's address for an origin; a proxy answers https, so the gateway keeps the default then."""
    match = re.fullmatch(r"http://(.+?)(?::(\d+))?/?", url)
    if not match:
        return LOCAL
    host = match[1] if match[1] == "[::1]" or match[1].startswith("127.") else "127.0.0.1"
    return f"{host}:{match[2] or 80}"


class Discovered(NamedTuple):
    """What a discovery document says that settings depend on; `note` is a sentence for the owner."""

    issuer: str
    algorithms: tuple[str, ...]
    note: str = ""


def discovered(issuer: str, document: Mapping[str, object]) -> Discovered:
    """Compare an issuer with its discovery document (OpenID Connect Discovery 1.0 §3, §4.3).

    A slash at the end and the form of a Cognito issuer are corrected, because `iss` is compared exactly; any other
    difference is left to the owner.
    """
    named = document.get("issuer")
    note = ""
    if named != issuer and isinstance(named, str):
        if named.rstrip("/") == issuer.rstrip("/") or named == other_form(issuer) or _same_tenant(named, issuer):
            issuer, note = named, f"the issuer calls itself {named!r}, so the settings do, too"
        else:
            note = f"the issuer calls itself {named[:200]!r}: no token counts until [[issuers]] issuer says the same"
    supported = document.get("id_token_signing_alg_values_supported")
    named = [algorithm_name(name) for name in supported] if isinstance(supported, list) else []
    usable = tuple(name for name in ALGORITHMS if name in named)
    return Discovered(issuer, () if "RS256" in usable else usable, note)


def _same_tenant(named: str, issuer: str) -> bool:
    """Is one the name and the other the id of the same directory of Entra? Their tokens always carry the id."""
    a, b = (re.fullmatch(rf"https://{re.escape(ENTRA)}/[A-Za-z0-9.-]+/v2\.0", url) for url in (named, issuer))
    return bool(a and b)


# --- the files


def aws_files() -> dict[str, bytes]:
    """The files of the AWS app by name: from the wheel, or from the repository if that is installed."""
    package = Path(__file__).parents[1]
    wheel, repository = package / "examples" / "aws", package.parents[1] / "examples" / "aws"
    home = wheel if wheel.is_dir() else repository
    return {str(file.relative_to(home)): file.read_bytes() for name in AWS_APP for file in _files_of(home / name)}


def _files_of(path: Path) -> Iterable[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else (path,)


def check(answers: Answers) -> Settings:
    """Load the settings before they are written, as if the store's folder and the session key existed.

    Raises:
        SettingsError: an answer is not valid as a setting.
    """
    from ..settings import parse

    store = answers.store if answers.store.startswith("s3:") else "memory:"
    secret = answers.client_secret and "env:NEW"
    text = settings_text(replace(answers, store=store, client_secret=secret))
    return parse(text.replace(f'"file:{SESSION_KEY}"', '"env:NEW"'), None, {"NEW": "-" * 64})


def files(answers: Answers, *, session_key: str | None = None, gitignore: str = "") -> dict[str, NewFile]:
    """The files to write, by name.

    Args:
        answers: checked.
        session_key: random text for a new session key, which is used if people sign in; None: one exists.
        gitignore: the present text of `.gitignore`.
    """
    found = {"stagedoor.toml": NewFile(settings_text(answers))}
    if not answers.has_sessions:
        return found
    if session_key is not None:
        found[SESSION_KEY] = NewFile(session_key + "\n", 0o600)
    secrets = [SESSION_KEY]
    if answers.client_secret and answers.client_secret.startswith("file:"):
        secrets.append(answers.client_secret.removeprefix("file:").removeprefix("./"))
    new = [name for name in secrets if not name.startswith(("/", "..")) and name not in gitignore.split()]
    if new:
        start = gitignore if not gitignore or gitignore.endswith("\n") else gitignore + "\n"
        found[".gitignore"] = NewFile(start + "".join(f"{name}\n" for name in new))
    return found


def settings_text(answers: Answers) -> str:
    """The text of `stagedoor.toml`."""
    cognito = is_cognito(answers.issuer)
    name = "cognito" if cognito else urlsplit(answers.issuer).hostname or "issuer"
    later = "; change it when there is an https one" if answers.url.startswith("http:") else ""
    lines = [
        "# Who may read which file. What no rule allows is denied.",
        "# After a change: stagedoor check. Why a caller may read a file, or may not: stagedoor explain.",
        "",
        "[site]",
        f"url   = {_toml(answers.url)}   # the address of the site{later}",
        f"store = {_toml(answers.store)}",
        *(_S3 if answers.store.startswith("s3://") else ()),
        "",
        "# Whose tokens count. A second provider is a second [[issuers]].",
        "[[issuers]]",
        f"name     = {_toml(name)}",
        f"issuer   = {_toml(answers.issuer)}",
        f"audience = {_list(answers.audience)}   # client ids of the apps that people sign in to",
    ]
    if answers.algorithms:
        lines.append(f"algorithms = {_list(answers.algorithms)}   # this issuer does not sign with RS256")
    if not cognito:
        lines.append('# claims = { groups = "roles" }   # where its tokens keep the groups, if not in "groups"')
    login = _sign_in(answers) if answers.client_id else _NO_LOGIN
    if answers.login_page and not answers.client_id:
        login = _PAGE.format(page=_toml(answers.login_page))
    return "\n".join([*lines, "", _RULES, login, "[gateway]", f"listen = {_toml(answers.listen)}", ""])


_S3 = (
    '# region = "eu-central-1"                    # default: found as the AWS tools find it, like the credentials',
    '# endpoint = "https://s3.internal:9000"      # MinIO, Ceph, R2 and others that speak S3',
)

_RULES = """\
# Files that everyone may read, signed in or not.
[[rules]]
path  = "public/**"
allow = "anyone"

# A folder for each person: users/<the token's sub>/… is theirs alone.
[[rules]]
path  = "users/{sub}/**"
allow = "signed-in"

# More rules; to use one, remove the # before it:
#
# [[rules]]                      # files at the top, not in folders, for everyone who is signed in
# path  = "*"
# allow = "signed-in"
#
# [[rules]]                      # a folder for one group
# path  = "courses/**"
# allow = { groups = ["students"] }
#
# [[rules]]                      # everything for everyone who is signed in, other people's users/… too
# path  = "**"
# allow = "signed-in"
"""

_NO_LOGIN = """\
# People can sign in here, at a client that you register at the issuer:
#
# [login]
# client_id = "my-client-id"
#
# Or browsers that bring no token are sent to a sign-in page of yours:
#
# [login]
# page = "https://app.example.com/login"
"""

_PAGE = f"""\
# Browsers that bring no token are sent here; sessions outlive a restart because their key is in a file.
[login]
page = {{page}}
session_keys = ["file:{SESSION_KEY}"]
"""


def registered(answers: Answers) -> tuple[tuple[str, str], ...]:
    """What has to be registered at the provider: what its page calls it, and our address."""
    provider = PROVIDERS[kind_of(answers.issuer)]
    both = ((provider.callback, answers.url + CALLBACK), (provider.signed_out, answers.url + LOGOUT))
    return tuple((name, address) for name, address in both if name)


def _sign_in(answers: Answers) -> str:
    """The `[login]` of a site where people sign in."""
    provider = PROVIDERS[kind_of(answers.issuer)]
    addresses = registered(answers)
    width = max(len(name) for name, _ in addresses)
    secret = f"client_secret = {_toml(answers.client_secret or 'env:CLIENT_SECRET')}"
    settings = [
        (f"client_id = {_toml(answers.client_id or '')}", "as the provider shows it"),
        (secret if answers.client_secret else f"# {secret}", "where it is, not what it is"),
        ('# scopes = ["openid", "email", "profile"]', "what is asked for; openid has to be there"),
        ('# session = "8h"', "how long people stay signed in"),
        (f'session_keys = ["file:{SESSION_KEY}"]', "sessions outlive a restart: their key is in a file"),
    ]
    if answers.login_page is not None:
        settings.append((f"page = {_toml(answers.login_page)}", "browsers go there first; it leads on to /-/login"))
    lines = (
        "# People sign in here: browsers without a session go to the issuer and back. Register there, exactly:",
        *(f"#   {name:{width}}  {address}" for name, address in addresses),
        *((f"# {provider.note}",) if provider.note else ()),
        "[login]",
        *(f"{setting:42} # {purpose}" for setting, purpose in settings),
        "",
    )
    return "\n".join(lines)


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_toml, texts))}]"


def _toml(text: str) -> str:
    """A TOML string; JSON's are valid in TOML."""
    return json.dumps(text, ensure_ascii=False)
