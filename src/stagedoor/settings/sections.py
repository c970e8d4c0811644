"""Values that are made of several settings: issuers, token sources, the policy, the sign-in page, keys."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from ..core import paths
from ..core.caller import ANONYMOUS
from ..core.credentials import PASS_COOKIES, PASS_PARAMETERS, Source, Sources
from ..core.errors import InvalidKey, InvalidKeySet, InvalidTarget, RuleError, StagedoorError
from ..core.issuers import Issuer, is_cognito, is_safe_url, parse_key_set
from ..core.jose import ALGORITHMS, OTHER_NAMES
from ..core.login import Client
from ..core.policy import lint
from ..core.policy.decide import Policy
from ..core.policy.rules import Rule, read_rules
from ..core.session import MIN_KEY_BYTES
from ..keys import signatures
from ..keys.pass_keys import PassSettings, open_passes
from ..outside import aws
from .parsers import origin
from .reader import Parser, Reader

MADE_AT_START = "_STAGEDOOR_MADE_AT_START"
"""Environment variable by which a parent hands its workers the key that it made for them, in hexadecimal."""

MAX_PASS_SECONDS = 365 * 86400

Built: TypeAlias = Mapping[str, Any]
"""The fields of `Settings` that have been read so far, by name."""

_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


# --- issuers


def issuers(reader: Reader, _: Built) -> tuple[Issuer, ...]:
    """The `[[issuers]]`, of which no two have the same URL or name."""
    found = tuple(_issuer(reader, f"issuers[{index}]") for index in range(len(reader.tables("issuers"))))
    for what, names in (("issuer", [one.url for one in found]), ("name", [one.name for one in found])):
        for index, name in enumerate(names):
            if name in names[:index]:
                reader.fail(f"issuers[{index}].{what}", f"{name!r} stands in two [[issuers]]", "keep one of them")
    if not found:
        reader.warn("issuers", "there is no issuer, so nobody can be signed in", "add [[issuers]]")
    return found


def _issuer(reader: Reader, table: str) -> Issuer:
    url = reader.required(f"{table}.issuer", 'for example issuer = "https://accounts.google.com"')
    if not is_safe_url(url) or urlsplit(url).query or urlsplit(url).fragment:
        reader.fail(f"{table}.issuer", f"{url!r} is not an https URL", "http is for this machine only")
    audience = reader.texts(f"{table}.audience")
    if not audience:
        reader.fail(f"{table}.audience", "this setting is required", 'for example audience = ["my-client-id"]')
    cognito = is_cognito(url)
    uses = reader.texts(f"{table}.token_use")
    if uses and not cognito:
        reader.fail(f"{table}.token_use", "only Cognito's tokens have a token_use", "leave it out")
    if not {"access", "id"}.issuperset(uses):
        reader.fail(f"{table}.token_use", "token_use is access, id or both", 'token_use = ["access", "id"]')
    algorithms = _algorithms(reader, f"{table}.algorithms")
    default_groups = "cognito:groups" if cognito else "groups"
    return Issuer(
        url=url,
        audience=frozenset(audience),
        name=reader.text(f"{table}.name") or url,
        token_use=frozenset(uses or ("access", "id")) if cognito else frozenset(),
        jwks=_jwks(reader, table, algorithms),
        algorithms=algorithms,
        claims={"groups": default_groups, **reader.table(f"{table}.claims")},
        leeway=reader.duration(f"{table}.leeway"),
    )


def _algorithms(reader: Reader, name: str) -> frozenset[str]:
    accepted = (*ALGORITHMS, *OTHER_NAMES)
    texts = reader.texts(name)
    for text in texts:
        if text not in accepted:
            reader.fail(name, f"{text!r} is not accepted", f"any of {', '.join(accepted)}")
    return frozenset(OTHER_NAMES.get(text, text) for text in texts)


def _jwks(reader: Reader, table: str, algorithms: frozenset[str]) -> str | None:
    """The keys' URL; a file is read once here, so that a wrong one is found before the first request."""
    name = f"{table}.jwks"
    jwks = reader.text(name)
    if jwks is None:
        return None
    if re.match(r"https?:", jwks):
        if not is_safe_url(jwks):
            reader.fail(name, f"{jwks!r} is not https", "http is for this machine only")
        return jwks
    path = reader.file(name, unquote(urlsplit(jwks).path) if jwks.startswith("file:") else jwks)
    try:
        parse_key_set(path.read_bytes(), signatures, algorithms)
    except OSError as error:
        reader.fail(name, f"{path} cannot be read: {error.strerror}")
    except InvalidKeySet as error:
        reader.fail(name, f"{path}: {error}", "it must be a JWKS with public keys for these algorithms")
    return path.as_uri()


# --- tokens, rules, sign-in


def token_sources(reader: Reader, built: Built) -> Sources:
    """`[tokens]`, and the name of our own session cookie."""
    order: list[Source] = []
    for source in reader.texts("tokens.from"):
        if source not in ("header", "cookie", "query"):
            reader.fail("tokens.from", f"{source!r} is not a place for tokens", 'any of "header", "cookie", "query"')
        order.append("header" if source == "header" else "cookie" if source == "cookie" else "query")
    cookie = reader.required("tokens.cookie")
    query = reader.required("tokens.query")
    session = _session_cookie(built["url"])
    if not _COOKIE_NAME.fullmatch(cookie) or cookie == session:
        reader.fail("tokens.cookie", f"{cookie!r} cannot be the name of this cookie (RFC 6265 §4.1.1)")
    if not re.fullmatch(r"[A-Za-z0-9_.~-]+", query):
        reader.fail("tokens.query", f"{query!r} cannot be the name of a query parameter", "letters, digits, _ . ~ -")
    for name, text, taken in (("cookie", cookie, PASS_COOKIES), ("query", query, PASS_PARAMETERS)):
        if text.encode() in taken:
            problem = f"{text!r} is a part of passes, so no token would ever be seen there"
            reader.fail(f"tokens.{name}", problem, 'another name, for example "token"')
    return Sources(tuple(order), cookie, query, session)


def _session_cookie(url: str) -> str:
    """The name of our session cookie; on this machine with the port, because all ports of a host share cookies."""
    parts = urlsplit(url)
    return "__Host-stagedoor" if parts.scheme == "https" else f"stagedoor-{parts.port or 80}"


def admin(reader: Reader, _: Built) -> Rule | None:
    """The condition of `[admin]`; None: nobody is an admin."""
    allow = reader.get("admin.allow")
    if allow is None:
        return None
    if not isinstance(allow, Mapping):
        problem = "admins are named by conditions, and are not anyone"
        reader.fail("admin.allow", problem, 'allow = { groups = ["site-admins"] }')
    try:
        return read_rules([{"path": "**", "allow": allow}])[0]
    except RuleError as error:
        raise reader.error("admin.allow", str(error), error.mend) from error


def policy(reader: Reader, built: Built) -> Policy:
    """The `[[rules]]`, compiled."""
    try:
        asked = admin(reader, built)
        compiled = Policy(read_rules(reader.tables("rules")), others=(asked,) if asked else ())
    except RuleError as error:
        name = f"rules[{error.index}]" + (f".{error.field}" if error.field else "")
        raise reader.error(name, str(error), error.mend) from error
    if not compiled.rules:
        reader.warn("rules", "there is no rule, so everything is denied", 'add [[rules]] with path and allow = "…"')
    for finding in lint.findings(compiled, len(built["issuers"])):
        reader.warn(finding.rule.name, finding.problem, finding.mend)
    return compiled


def login_page(reader: Reader, built: Built) -> str | None:
    """The sign-in page of `[login]`."""
    page = reader.text("login.page")
    if page is not None and (not is_safe_url(page) or not page.isascii() or "#" in page or " " in page):
        reader.fail("login.page", f"{page!r} is not an https URL", "http is for this machine only; no #fragment")
    if page is not None and _is_closed(reader, page, built):
        problem = "this page lies behind the door itself, so people who have to sign in are sent in circles"
        reader.fail("login.page", problem, 'give it a rule with allow = "anyone", or another origin')
    return page


def clients(reader: Reader, built: Built) -> tuple[Client, ...]:
    """Where people sign in here: at the issuer that `[login]` means, else at each that has a `client_id`."""
    scopes = _scopes(reader)
    own = [_client(reader, f"issuers[{number}]", issuer, scopes) for number, issuer in enumerate(built["issuers"])]
    chosen = reader.text("login.issuer")
    at_login = any(reader.text(f"login.{name}") is not None for name in ("issuer", "client_id", "client_secret"))
    found = [client for client in own if client is not None]
    if at_login:
        number = _issuer_of_login(reader, built["issuers"], chosen, bool(found))
        found = [_client_of_login(reader, built["issuers"][number], own[number], scopes)]
    if found and "openid" not in scopes:
        reader.fail("login.scopes", "without the scope openid no issuer says who signs in", 'scopes = ["openid", …]')
    return tuple(found)


def _scopes(reader: Reader) -> tuple[str, ...]:
    """The scopes that are asked for, each by itself (RFC 6749 §3.3)."""
    scopes = reader.texts("login.scopes")
    for scope in scopes:
        if not re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", scope):
            parts = ", ".join(f'"{part}"' for part in scope.split())
            reader.fail("login.scopes", f"{scope!r} is not one scope", f"scopes = [{parts}]")
    return scopes


def _client(reader: Reader, table: str, issuer: Issuer, scopes: tuple[str, ...]) -> Client | None:
    """The client of one issuer's own entry; None if people do not sign in by it."""
    id_, secret = reader.text(f"{table}.client_id"), _login_secret(reader, f"{table}.client_secret")
    if id_ is None and secret:
        reader.fail(f"{table}.client_secret", "client_id is missing: the two go together", 'client_id = "…"')
    return None if id_ is None else Client(issuer, id_, secret, scopes)


def _issuer_of_login(reader: Reader, issuers: Sequence[Issuer], chosen: str | None, some_have_clients: bool) -> int:
    """The number of the issuer that `[login]` means."""
    if chosen is not None:
        numbers = [number for number, issuer in enumerate(issuers) if chosen in (issuer.name, issuer.url)]
        if not numbers:
            reader.fail("login.issuer", f"{chosen!r} is not one of the [[issuers]]", "use its name or its issuer URL")
        return numbers[0]
    if len(issuers) == 1:
        return 0
    setting = next(f"login.{name}" for name in ("client_id", "client_secret") if reader.text(f"login.{name}"))
    problem, mend = "there is no issuer to sign in at", "add [[issuers]]"
    if issuers:
        problem, mend = "which of the issuers this is for is not clear", 'add issuer = "…" to [login]'
    if some_have_clients:
        mend = "move it to that issuer's entry"
    raise reader.error(setting, problem, mend)


def _client_of_login(reader: Reader, issuer: Issuer, own: Client | None, scopes: tuple[str, ...]) -> Client:
    """The client of `[login]`, at the issuer that it means."""
    id_, secret = reader.text("login.client_id"), _login_secret(reader, "login.client_secret")
    if id_ is None and own is not None:
        return own._replace(secret=secret or own.secret)
    if id_ is None and len(issuer.audience) != 1:
        setting = "login.issuer" if reader.text("login.issuer") is not None else "login.client_secret"
        problem = "which client id signs people in is not clear, because the issuer has several audiences"
        reader.fail(setting, problem, 'add client_id = "…" to [login]')
    return Client(issuer, id_ or next(iter(issuer.audience)), secret, scopes)


def _login_secret(reader: Reader, name: str) -> str:
    """A client secret; "" if there is none."""
    text = reader.text(name)
    if text is None:
        return ""
    found = _fetched_secret(reader, name, text).strip().decode("ascii", "replace")
    if not found or not found.isascii() or not found.isprintable():
        problem = "there is nothing in it" if not found else "a client secret is one line of ASCII text"
        reader.fail(name, problem, "copy it from the issuer's page again")
    return found


def _fetched_secret(reader: Reader, name: str, text: str) -> bytes:
    """The secret that a setting names, also where AWS keeps it."""
    secret = reader.secret(name, text)
    if secret is not None:
        return secret
    try:
        return aws.read_secret(text, None if reader.text("site.endpoint") else reader.text("site.region"))
    except StagedoorError as error:
        reader.fail(name, str(error))


def _is_closed(reader: Reader, page: str, built: Built) -> bool:
    """Is a page of this site closed to those who are not signed in?"""
    parts = urlsplit(page)
    if origin(reader, "login.page", f"{parts.scheme}://{parts.netloc}") != built["url"]:
        return False
    try:
        key = paths.object_key(paths.decode(parts.path.encode() or b"/"), built["index"])
    except InvalidTarget:
        return True
    rules: Policy = built["policy"]
    return bool(key) and not rules.decide(ANONYMOUS, str(key))


def _session(reader: Reader, name: str) -> float:
    """How long a session lasts, or what is known of its caller."""
    seconds = reader.duration(name)
    if seconds == 0:
        reader.fail(name, "a session that lasts no time is none", 'for example "1h"')
    return seconds


# --- keys


def session_keys(reader: Reader, built: Built) -> tuple[bytes, ...]:
    """Keys of the session cookie; made at start for one process, none where several would need to agree."""
    name = "login.session_keys"
    keys = tuple(_session_key(reader, name, text) for text in reader.texts(name))
    if not keys and built["workers"] > 1:
        if reader.get("login") is not None or built["clients"]:
            reader.fail(name, "several workers need keys that they share", '["file:session.key"]')
        return ()
    return keys or (made_at_start(),)


def _session_key(reader: Reader, name: str, text: str) -> bytes:
    key = _fetched_secret(reader, name, text).strip()
    if len(key) < MIN_KEY_BYTES:
        mend = "make one with: openssl rand -base64 48"
        reader.fail(name, f"a session key has at least {MIN_KEY_BYTES} bytes", mend)
    return key


@lru_cache(maxsize=1)
def made_at_start() -> bytes:
    """One key for the life of this process and its workers, so that sessions outlast a reload of the settings."""
    return bytes.fromhex(os.environ.get(MADE_AT_START) or secrets.token_hex(MIN_KEY_BYTES))


def passes(reader: Reader, _: Built) -> PassSettings:
    """The keys of `[passes]`."""
    key_id, private = reader.text("passes.key_id"), reader.text("passes.private_key")
    if (key_id is None) != (private is None):
        present, missing = ("key_id", "private_key") if private is None else ("private_key", "key_id")
        mend = "make a pair with: stagedoor keys new"
        reader.fail(f"passes.{present}", f"{missing} is missing: the two go together", mend)
    found = PassSettings(
        key_id=_key_id(reader, "passes.key_id", key_id) if key_id else None,
        private_key=_secret(reader, "passes.private_key", private),
        passphrase=_secret(reader, "passes.passphrase", reader.text("passes.passphrase")),
        public_keys={
            _key_id(reader, "passes.public_keys", name): _secret(reader, "passes.public_keys", text) or b""
            for name, text in reader.table("passes.public_keys").items()
        },
        hash="sha1" if reader.choice("passes.hash", ("sha1", "sha256")) == "sha1" else "sha256",
    )
    _check_pass_keys(reader, found)
    return found


def _check_pass_keys(reader: Reader, found: PassSettings) -> None:
    """Look at every key that is here; those that AWS keeps have to wait until they are needed."""
    public = {name: key for name, key in found.public_keys.items() if isinstance(key, bytes)}
    away = isinstance(found.private_key, str) or isinstance(found.passphrase, str)
    setting = "passes.public_keys"
    try:
        open_passes(PassSettings(public_keys=public), None)
        setting = "passes.private_key"
        if not away:
            open_passes(replace(found, public_keys=public), None)
    except InvalidKey as error:
        reader.fail(setting, str(error), "a pair that fits is made by: stagedoor keys new")


def _key_id(reader: Reader, name: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text):
        reader.fail(name, "this is not a key id", "letters and digits, as CloudFront shows it")
    return text


def _secret(reader: Reader, name: str, text: str | None) -> bytes | str | None:
    """A secret, or the name by which AWS keeps it."""
    if text is None:
        return None
    secret = reader.secret(name, text)
    if secret is None:
        return text
    return secret.strip() if name == "passes.passphrase" else secret


def _pass_lifetime(reader: Reader, name: str) -> int:
    """Seconds that a pass may last."""
    seconds = int(reader.duration(name))
    if not 0 < seconds <= MAX_PASS_SECONDS:
        reader.fail(name, "a pass lasts a second at least, and 365 days at most", 'for example "12h"')
    return seconds


SESSION, PASS_LIFETIME = Parser("duration", _session), Parser("duration", _pass_lifetime)
