"""What the values of settings look like: each parser reads one kind of value and refuses every other text."""

from __future__ import annotations

import ipaddress
import re
import ssl
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, unquote, urlsplit

from ..core import paths
from ..core.errors import InvalidTarget
from ..core.issuers import is_safe_url
from .reader import Parser, Reader

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110 §5.6.2."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")

_TABLE = r"dynamodb://[A-Za-z0-9_.-]{3,255}"

TEXT = Parser("text", Reader.text)
TEXTS = Parser("texts", Reader.texts)
FLAG = Parser("flag", Reader.flag)
DURATION = Parser("duration", Reader.duration)
SIZE = Parser("size", Reader.size)
TABLE_OF_TEXTS = Parser("table", Reader.table)
SECRET = Parser("secret", Reader.text)
SECRETS = Parser("secrets", Reader.texts)
SECRET_TABLE = Parser("secret table", Reader.table)
RULE = Parser("rule", Reader.get)
CONDITIONS = Parser("table", Reader.get)
"""The policy owns the syntax of rules and their conditions."""


def choice(*choices: str) -> Parser[str]:
    """One of these texts."""
    return Parser("text", lambda reader, name: reader.choice(name, choices))


def number(most: int) -> Parser[int]:
    """A whole number from 1 to `most`."""
    return Parser("number", lambda reader, name: reader.number(name, most))


def origin(reader: Reader, name: str, text: str) -> str:
    """Scheme and host, as browsers write an origin (RFC 6454 §6.2)."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not _HOST.fullmatch(parts.netloc) or parts.scheme not in ("http", "https"):
        reader.fail(name, f"{text!r} is not an origin", 'for example "https://assets.example.com"')
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        reader.fail(name, f"{text!r} has more than scheme and host", f'write "{parts.scheme}://{parts.netloc}"')
    if not is_safe_url(text):
        reader.fail(name, f"{text!r} is not https", "http is for this machine only (localhost, 127.0.0.1)")
    hostname = parts.hostname or ""
    host = f"[{hostname}]" if ":" in hostname else hostname
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port and port != default else "")


def _site_url(reader: Reader, name: str) -> str:
    return origin(reader, name, reader.required(name, 'for example url = "https://assets.example.com"'))


def _origins(reader: Reader, name: str) -> frozenset[str]:
    return frozenset(origin(reader, name, text) for text in reader.texts(name))


def _header_names(reader: Reader, name: str) -> tuple[str, ...]:
    """Names of request headers, each of them once."""
    names = dict.fromkeys(text.lower() for text in reader.texts(name))
    for text in names:
        if text == "*":
            problem = "'*' means nothing where scripts send credentials (Fetch standard, \"CORS protocol\")"
            reader.fail(name, problem, 'name each header, for example "x-client-version"')
        if not _TOKEN.fullmatch(text):
            reader.fail(name, f"{text!r} is not the name of a header", 'for example "x-client-version"')
    return tuple(names)


def _store(reader: Reader, name: str) -> str | None:
    """The store's URL: `s3://…`, `memory:`, or `file:///…` for every way to write a folder."""
    store = reader.text(name)
    if store is None or store == "memory:":
        return store
    scheme = store.partition(":")[0] if ":" in store else None
    if scheme == "s3":
        if not _BUCKET.fullmatch(urlsplit(store).netloc) or "?" in store or "#" in store:
            reader.fail(name, f"{store!r} names no bucket", 'write "s3://bucket" or "s3://bucket/prefix"')
        return store
    if scheme and re.fullmatch(r"[a-z][a-z0-9+.-]+", scheme) and scheme != "file":
        reader.fail(name, f"there is no store {scheme}:", 'use "s3://bucket/prefix", a folder or "memory:"')
    path = unquote(urlsplit(store).path) if scheme == "file" else store
    folder = (reader.base / Path(path).expanduser()).absolute()
    if not folder.is_dir():
        reader.fail(name, f"there is no folder {folder}", "paths are relative to the settings file")
    return folder.as_uri()


def _endpoint(reader: Reader, name: str) -> str | None:
    endpoint = reader.text(name)
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        is_url = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.netloc) and parts.port != 0
    except ValueError:
        is_url = None
    if not is_url or parts.query or parts.fragment:
        reader.fail(name, f"{endpoint!r} is not a URL of a server", 'for example "https://s3.internal:9000"')
    return endpoint


def _authorities(reader: Reader, name: str) -> str:
    """Certificates in PEM, from a file: `file:ca.pem`, or its path alone."""
    text = reader.text(name)
    if text is None:
        return ""
    path = reader.file(name, text.removeprefix("file:"))
    try:
        found = path.read_text(encoding="ascii")
        ssl.create_default_context(cadata=found)
    except (OSError, ValueError) as error:
        reader.fail(name, f"{path} holds no certificates: {error}", "write the authority's certificate in PEM")
    return found


def _key(reader: Reader, name: str) -> str | None:
    key = reader.text(name)
    try:
        paths.check_key(key or "")
    except InvalidTarget as error:
        reader.fail(name, str(error), 'write the key of an object, for example "app/index.html"')
    if key is not None and key.startswith(paths.OWN_PREFIX):
        reader.fail(name, "keys that start with '-/' are never served", 'for example "app/index.html"')
    return key


def _file_name(reader: Reader, name: str) -> str | None:
    text = reader.text(name)
    if text is not None and "/" in text:
        reader.fail(name, "this is the name of a file, without a slash", 'for example "index.html"')
    return _key(reader, name)


def _place(reader: Reader, name: str, what: str, scheme: str, mend: str) -> str | None:
    """The URL of a catalogue or state, with the absolute path of a database; `scheme` matches those that stay."""
    url = reader.text(name)
    if url is None or re.fullmatch(scheme, url):
        return url
    path = _database(reader, url)
    if path is None:
        reader.fail(name, what, mend)
    return path


def _catalogue(reader: Reader, name: str) -> str | None:
    url = reader.text(name)
    return _place(reader, name, f"{url!r} is not a catalogue", _TABLE, '"sqlite:///catalogue.db" or "dynamodb://table"')


def _state(reader: Reader, name: str) -> str | None:
    """Its URL is not repeated in messages: it may hold a password."""
    mend = '"sqlite:///state.db", "redis://host:6379/0" or "dynamodb://table"'
    return _place(reader, name, "this is not a state", rf"{_TABLE}|rediss?://[^/?#\s]+(/\d{{1,4}})?", mend)


def _database(reader: Reader, url: str) -> str | None:
    """The URL of a SQLite file, with its absolute path; None if this is none."""
    if not re.match(r"sqlite:///[^/?#]|sqlite:////[^/?#]", url):
        return None
    path = Path(unquote(url.removeprefix("sqlite:///"))).expanduser()
    return "sqlite://" + quote(str((reader.base / path).absolute()))


def _address(reader: Reader, name: str) -> tuple[str, int] | None:
    text = reader.text(name)
    if text is None:
        return None
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})", text)
    if not match or int(match[2]) > 65535:
        reader.fail(name, f"{text!r} is not address and port", 'for example "127.0.0.1:8080" or "[::]:8080"')
    return match[1].strip("[]"), int(match[2])


def _networks(reader: Reader, name: str) -> tuple[Network, ...]:
    networks = []
    for text in reader.texts(name):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            reader.fail(name, f"{text!r} is not an address or network", 'for example "10.0.0.0/8" or "192.0.2.7"')
    return tuple(networks)


def _tls(reader: Reader, name: str) -> tuple[Path, Path] | None:
    tls = reader.table(name)
    if not tls:
        return None
    if set(tls) != {"certificate", "key"}:
        reader.fail(name, "tls takes certificate and key", '{ certificate = "cert.pem", key = "key.pem" }')
    return reader.file(name, tls["certificate"]), reader.file(name, tls["key"])


AUTHORITIES = Parser("text", _authorities)
SITE_URL = Parser("text", _site_url)
ORIGINS = Parser("texts", _origins)
HEADER_NAMES = Parser("texts", _header_names)
STORE = Parser("text", _store)
ENDPOINT = Parser("text", _endpoint)
KEY = Parser("text", _key)
FILE_NAME = Parser("text", _file_name)
CATALOGUE = Parser("text", _catalogue)
STATE = Parser("text", _state)
ADDRESS = Parser("text", _address)
NETWORKS = Parser("texts", _networks)
TLS = Parser("table", _tls)
