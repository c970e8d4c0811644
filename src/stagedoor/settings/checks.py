"""What is wrong between settings that are each right: contradictions, and what was probably not meant."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..core.policy import lint
from .reader import Reader
from .table import Settings

MAX_ENTRIES = 5000
"""Entries of the store's folder that are looked at for names that begin with a dot."""
_MEANT_TO_BE_SERVED = ".well-known"


def check(reader: Reader, settings: Settings) -> None:
    """Refuse settings that contradict one another, and warn about what was probably not meant.

    Raises:
        SettingsError: the first contradiction.
    """
    at_aws = (settings.store or "").startswith("s3:")
    if not at_aws and settings.endpoint is not None:
        reader.fail("site.endpoint", "only a store in S3 has this", 'store = "s3://bucket", or leave it out')
    in_file = settings.region is not None and not reader.is_from_environment("site.region")
    if not at_aws and in_file and not any(_kept_at_aws(reader)):  # a variable of the machine may be for other programs
        reader.fail("site.region", "nothing here is at AWS", 'store = "s3://bucket", or leave it out')
    if settings.index is not None and not settings.trust_html:
        reader.warn("site.index", "pages run no scripts", "a site of your own pages wants trust_html = true")
    secrets = [named for named in dict.fromkeys(reader.secret_files) if named[0] != "passes.public_keys"]
    if settings.tls is not None:
        secrets.append(("gateway.tls", settings.tls[1]))
    _refuse_what_is_served(reader, settings, secrets)
    _warn_of_other_readers(reader, secrets)
    _warn_of_other_sites(reader, settings)
    _warn_of_hidden_files(reader, settings)
    if settings.workers > 1 and not settings.session_keys:
        problem = "several workers share no keys, so none of them makes a session of a token"
        reader.warn("login.session_keys", problem, 'session_keys = ["file:session.key"], or workers = 1')


def inactive(settings: Settings) -> tuple[str, ...]:
    """Name the settings of later capabilities that are set."""
    set_but_idle = {
        "[gateway] metrics": settings.metrics is not None,
        "forward-auth ([site] without store)": settings.store is None,
    }
    return tuple(name for name, idle in set_but_idle.items() if idle)


def _folder(settings: Settings) -> Path | None:
    """The store's folder, if it is one."""
    parts = urlsplit(settings.store or "")
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _refuse_what_is_served(reader: Reader, settings: Settings, secrets: list[tuple[str, Path]]) -> None:
    """Nothing that keeps the door may be an object behind it: one rule too wide, and it is given away."""
    folder = _folder(settings)
    if folder is None:
        return
    files = list(secrets)
    if settings.source is not None:
        files.append(("site.store", settings.source))
    if settings.catalogue is not None and settings.catalogue.startswith("sqlite:"):
        files.append(("catalogue.url", Path(unquote(urlsplit(settings.catalogue).path))))
    if settings.state is not None and settings.state.startswith("sqlite:"):
        files.append(("state.url", Path(unquote(urlsplit(settings.state).path))))
    for name, file in files:
        if file.resolve().is_relative_to(folder.resolve()):
            reader.fail(name, f"{file} lies in the folder that is served", "move it out, or serve another folder")


def _warn_of_other_readers(reader: Reader, secrets: list[tuple[str, Path]]) -> None:
    """No error, because containers are handed secrets that everybody inside may read, and nobody else is inside."""
    for name, file in secrets:
        if file.stat().st_mode & stat.S_IROTH:
            reader.warn(name, f"every user of this machine may read {file}", f"chmod 600 {file}")


def _warn_of_other_sites(reader: Reader, settings: Settings) -> None:
    for origin in sorted(settings.origins):
        if not _may_be_one_site(origin, settings.url):
            problem = f"{origin} is another site than {settings.url}, so browsers send no session cookie from there"
            mend = "its scripts have to send the token in the Authorization header, or it moves to the same domain"
            reader.warn("cors.origins", problem, mend)


def _may_be_one_site(one: str, other: str) -> bool:
    """Are two origins of one site (HTML Standard §7.1.1, "same site")? Yes where that is hard to say."""
    a, b = urlsplit(one), urlsplit(other)
    hosts = (a.hostname or "", b.hostname or "")
    names = [host.split(".") for host in hosts]
    is_domain = all(len(labels) > 1 and not labels[-1].isdecimal() for labels in names) and ":" not in "".join(hosts)
    return a.scheme == b.scheme and (hosts[0] == hosts[1] or (is_domain and names[0][-2:] == names[1][-2:]))


def _warn_of_hidden_files(reader: Reader, settings: Settings) -> None:
    folder = _folder(settings)
    if folder is None:
        return
    for key in _hidden(folder):
        rule = lint.may_open(settings.policy, key)
        if rule is not None:
            below = "**" if key.endswith("/") else ""
            problem = f"{rule.name} opens {key!r} in the store, and names with a dot are rarely meant for others"
            reader.warn("site.store", problem, f'move it out, or add [[rules]] path = "{key}{below}", deny = "anyone"')
            return


def _hidden(folder: Path) -> Iterator[str]:
    """Files and folders (with a slash) whose names begin with a dot, among the first entries from the top."""
    entries = itertools.islice(_entries(folder), MAX_ENTRIES)
    for entry in entries:
        if entry.name.startswith(".") and entry.name != _MEANT_TO_BE_SERVED:
            yield os.path.relpath(entry.path, folder) + "/" * entry.is_dir(follow_symlinks=False)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder and, after that, below; a folder with a dot is not looked into."""
    folders = [str(folder)]
    for one in folders:
        try:
            with os.scandir(one) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                        folders.append(entry.path)
                    yield entry
        except OSError:  # the store says so when it is opened
            continue


def _kept_at_aws(reader: Reader) -> Iterator[str]:
    """What besides the store is kept at AWS."""
    texts = [reader.text(name) for name in ("catalogue.url", "login.client_secret", "passes.private_key")]
    texts += [*reader.texts("login.session_keys"), reader.text("passes.passphrase")]
    texts += [reader.text(f"issuers[{number}].client_secret") for number in range(len(reader.tables("issuers")))]
    texts += reader.table("passes.public_keys").values()
    yield from (text for text in texts if text and text.startswith(("dynamodb:", "ssm:", "secretsmanager:")))
