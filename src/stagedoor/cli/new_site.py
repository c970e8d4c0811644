"""What `stagedoor init` writes: a few answers turned into files that work and teach.

Nothing here asks or writes; `init` does. The settings are the start of somebody's own policy, so each
rule says what it is for, and what would open more than a newcomer expects stands there as a comment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ..core.issuers import DISCOVERY, cognito_issuer, is_cognito, is_safe_url
from ..core.jose import ALGORITHMS

if TYPE_CHECKING:
    from ..settings import Settings

AWS = (
    *(".gitignore", "README.md", "app.py", "cdk.json", "import_app.py", "requirements.txt", "stagedoor.toml"),
    *("try-on-a-real-account.sh", "content"),
)
"""What is copied of `examples/aws`."""
SESSION_KEY = "session.key"
LOCAL = "127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Answers:
    """What has to be known for a first `stagedoor.toml`.

    Attributes:
        store: as it stands in the settings: `s3://bucket/prefix` or a folder relative to the file.
        issuer: exact issuer URL.
        audience: client ids whose tokens count.
        url: public origin of the site.
        listen: address and port of the gateway.
        algorithms: accepted signature algorithms; empty: the default, RS256.
        login_page: the sign-in page that exists already, or None. With it sessions outlive a restart: a key is made.
    """

    store: str
    issuer: str
    audience: tuple[str, ...]
    url: str = "http://localhost:8080"
    listen: str = LOCAL
    algorithms: tuple[str, ...] = ()
    login_page: str | None = None


class NewFile(NamedTuple):
    """A file to write: its text, and its permissions for the owner of the machine."""

    text: str
    mode: int = 0o644


# --- from what people type to what settings hold


def issuer_url(text: str) -> str:
    """Read an issuer as people write it: its URL, its discovery address, or the id of a Cognito user pool.

    Raises:
        ValueError: it is none of them; the message says what to write.
    """
    text = text.strip().removesuffix(DISCOVERY)
    with suppress(ValueError):
        return cognito_issuer(text)
    if "://" not in text and re.match(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+(/|$)", text):
        text = f"https://{text}"
    if not is_safe_url(text) or re.search(r"[\s?#]", text):
        raise ValueError(
            f"{text!r} is no issuer: write its https URL, or a Cognito pool id like eu-central-1_AbC123"
            " (http is for this machine only)"
        )
    return text


def store_setting(text: str, here: Path, home: Path) -> tuple[str, Path | None]:
    """Read a store as people write it.

    Args:
        text: a bucket (`s3://…`), `memory:`, or a folder as seen from `here`.
        here: the folder that the person is in.
        home: the folder that the settings file goes to; folders in settings are relative to it.

    Returns:
        The setting, and the folder where it is one.

    Raises:
        ValueError: there is no such kind of store, or the settings file itself would be in it.
    """
    text = text.strip()
    if not text:
        raise ValueError("name a folder, or a bucket as s3://bucket")
    if text == "memory:" or text.startswith("s3://"):
        return text, None
    if re.match(r"[a-z][a-z0-9+.-]+:", text) and not text.startswith("file:"):
        raise ValueError(f"there is no store {text.partition(':')[0]}: name a folder, or a bucket as s3://bucket")
    folder = (here / Path(text.removeprefix("file://")).expanduser()).resolve()
    home = home.resolve()
    if home.is_relative_to(folder):
        raise ValueError("the settings would lie among the files: name a folder of their own, for example ./assets")
    return (f"./{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)), folder


def site_url(listen: str) -> str:
    """The origin under which browsers on this machine reach a gateway that listens there."""
    port = listen.rpartition(":")[2]
    return f"http://localhost:{port if port.isdecimal() else 8080}".removesuffix(":80")


def listen_address(url: str) -> str:
    """Where a gateway listens for an origin: on its port if that is this machine, else behind a proxy."""
    match = re.fullmatch(r"http://(.+?)(?::(\d+))?/?", url)
    if not match:
        return LOCAL
    host = match[1] if match[1] == "[::1]" or match[1].startswith("127.") else "127.0.0.1"
    return f"{host}:{match[2] or 80}"


class Discovered(NamedTuple):
    """What an issuer says of itself, as far as settings depend on it; `note` is a sentence for the owner."""

    issuer: str
    algorithms: tuple[str, ...]
    note: str = ""


def discovered(issuer: str, document: Mapping[str, object]) -> Discovered:
    """Compare an issuer with its discovery document (OpenID Connect Discovery 1.0 §3, §4.3).

    A slash at the end is corrected, for `iss` is compared exactly; any other name is left to the owner.
    """
    named = document.get("issuer")
    note = ""
    if named != issuer and isinstance(named, str):
        if named.rstrip("/") == issuer.rstrip("/"):
            issuer, note = named, f"it writes itself {named!r}, so that is what the settings say"
        else:
            note = f"it calls itself {named[:200]!r}: its tokens will not count until [[issuers]] issuer says the same"
    supported = document.get("id_token_signing_alg_values_supported")
    usable = tuple(name for name in ALGORITHMS if isinstance(supported, list) and name in supported)
    return Discovered(issuer, () if "RS256" in usable else usable, note)


# --- the files


def aws_files() -> dict[str, bytes]:
    """The example for AWS, by name: from the wheel, or from the repository that this was installed from."""
    package = Path(__file__).parents[1]
    wheel, repository = package / "examples" / "aws", package.parents[1] / "examples" / "aws"
    home = wheel if wheel.is_dir() else repository
    return {str(file.relative_to(home)): file.read_bytes() for name in AWS for file in _files(home / name)}


def _files(place: Path) -> Iterator[Path]:
    yield from sorted(found for found in place.rglob("*") if found.is_file()) if place.is_dir() else (place,)


def check(answers: Answers) -> Settings:
    """Read what would be written, before anything is: as if folder and session key were there already.

    Raises:
        SettingsError: the answer that makes no setting.
    """
    from ..settings import parse

    store = answers.store if answers.store.startswith("s3:") else "memory:"
    text = settings_text(replace(answers, store=store)).replace(f'"file:{SESSION_KEY}"', '"env:NEW"')
    return parse(text, None, {"NEW": "-" * 64})


def files(answers: Answers, *, session_key: str | None = None, gitignore: str = "") -> dict[str, NewFile]:
    """The files that these answers come to, by name.

    Args:
        answers: as checked.
        session_key: random text for a new session key; None if there is one already. Used where sessions matter.
        gitignore: what `.gitignore` says now.
    """
    found = {"stagedoor.toml": NewFile(settings_text(answers))}
    if answers.login_page is None:
        return found
    if session_key is not None:
        found[SESSION_KEY] = NewFile(session_key + "\n", 0o600)
    if SESSION_KEY not in gitignore.split():
        start = gitignore if not gitignore or gitignore.endswith("\n") else gitignore + "\n"
        found[".gitignore"] = NewFile(f"{start}{SESSION_KEY}\n")
    return found


def settings_text(answers: Answers) -> str:
    """The text of `stagedoor.toml`."""
    cognito = is_cognito(answers.issuer)
    name = "cognito" if cognito else urlsplit(answers.issuer).hostname or "issuer"
    later = "; your https address once you have one" if answers.url.startswith("http:") else ""
    lines = [
        "# Who may read which file. What no rule allows is denied.",
        "# After a change: stagedoor check. Why somebody may or may not: stagedoor explain.",
        "",
        "[site]",
        f"url   = {_toml(answers.url)}   # what browsers ask for{later}",
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
        lines.append(f"algorithms = {_list(answers.algorithms)}   # it does not sign with RS256")
    if not cognito:
        lines.append('# claims = { groups = "roles" }   # where its tokens keep the groups, if not in "groups"')
    login = _LOGIN.format(page=_toml(answers.login_page)) if answers.login_page else _NO_LOGIN
    return "\n".join([*lines, "", _RULES, login, "[gateway]", f"listen = {_toml(answers.listen)}", ""])


_S3 = (
    '# region = "eu-central-1"                    # default: as the AWS tools find it, credentials too',
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

# More, to begin with; take the # away:
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
# Browsers that bring no token can be sent to your sign-in page:
#
# [login]
# page = "https://app.example.com/login"
"""

_LOGIN = f"""\
# Browsers that bring no token are sent here; sessions last over restarts because their key is in a file.
[login]
page = {{page}}
session_keys = ["file:{SESSION_KEY}"]
"""


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_toml, texts))}]"


def _toml(text: str) -> str:
    """A basic string of TOML; JSON's escapes are among its own."""
    return json.dumps(text, ensure_ascii=False)
