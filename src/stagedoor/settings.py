"""stagedoor.toml and the environment, turned into one frozen `Settings`.

`TABLE` lists every setting once; file, environment, error messages and the reference page all come from it.
An unknown, contradictory or unsafe setting is an error that names file, line, setting and mend.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, TypeAlias
from urllib.parse import unquote, urlsplit

from . import crypto, lint, paths
from .credentials import Places, Source
from .errors import InvalidKeySet, InvalidTarget, RuleError, SettingsError
from .policy import Policy, compile_rules
from .session import MIN_KEY_BYTES
from .tokens import ALGORITHMS, Issuer, is_cognito, is_safe_url, parse_key_set

DEFAULT_FILE = "stagedoor.toml"
PREFIX = "STAGEDOOR_"
AccessLog: TypeAlias = Literal["json", "cloudfront", "off"]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Setting(NamedTuple):
    """One row of the reference: where it stands, what it takes, what holds without it, what it is for."""

    section: str
    name: str
    kind: Literal["text", "texts", "flag", "duration", "number", "table", "secret", "secrets", "rule"]
    default: str
    help: str


TABLE = (
    Setting("site", "url", "text", "(required)", "Public origin; cookies, redirects and passes are for it."),
    Setting("site", "store", "text", "(none)", "`s3://bucket/prefix`, a folder, `file:///…` or `memory:`."),
    Setting("site", "region", "text", "(AWS chain)", "Region of the bucket."),
    Setting("site", "endpoint", "text", "(AWS)", "URL of an S3-compatible store."),
    Setting("site", "index", "text", "(none)", "File that stands for a folder: `/docs/` answers `docs/index.html`."),
    Setting("site", "fallback", "text", "(none)", "Key for missing ones when a browser navigates (single-page apps)."),
    Setting("site", "trust_html", "flag", "false", "Let scripts in HTML and SVG objects run in the site's origin."),
    Setting("issuers", "name", "text", "(the issuer)", "What rules and logs call it."),
    Setting("issuers", "issuer", "text", "(required)", "Exact `iss` of its tokens; discovery starts there."),
    Setting("issuers", "audience", "texts", "(required)", "`aud`, or `client_id` of a Cognito access token."),
    Setting("issuers", "token_use", "texts", 'Cognito: `["access", "id"]`', "Cognito only: which tokens count."),
    Setting("issuers", "jwks", "text", "(discovery)", "URL or file of the keys; a file works offline."),
    Setting("issuers", "algorithms", "texts", '`["RS256"]`', f"Any of {', '.join(ALGORITHMS)}."),
    Setting("issuers", "claims", "table", "`groups`", "Our name = the provider's claim: exact name, else dotted path."),
    Setting("issuers", "leeway", "duration", "`0s`", "Clock difference that `exp` and `nbf` forgive."),
    Setting("tokens", "from", "texts", '`["header", "cookie"]`', "Where tokens may be; the first present decides."),
    Setting("tokens", "cookie", "text", "`token`", "Name of the cookie that carries a bare token."),
    Setting("tokens", "query", "text", "`token`", "Name of the query parameter that carries a token."),
    Setting("rules", "path", "rule", "(required)", "Pattern of keys: `*`, `**`, `{claim}`, `{claim|sha256}`."),
    Setting("rules", "allow", "rule", "", '`"anyone"`, `"signed-in"` or conditions; see the policy reference.'),
    Setting("rules", "deny", "rule", "", "The same; deny wins over allow."),
    Setting("login", "page", "text", "(none)", "Your sign-in page: navigations without a credential go there."),
    Setting("login", "issuer", "text", "(the only one)", "Which issuer signs people in."),
    Setting("login", "client_id", "text", "(the audience)", "Client id at the issuer."),
    Setting("login", "client_secret", "secret", "(none)", "Client secret at the issuer."),
    Setting("login", "scopes", "texts", '`["openid", "email", "profile"]`', "Scopes asked for at sign-in."),
    Setting("login", "session", "duration", "`8h`", "How long a session lasts; never longer than its token."),
    Setting("login", "session_keys", "secrets", "(made at start)", "The newest signs, all verify."),
    Setting("passes", "key_id", "text", "(none)", "Id of the public key at CloudFront."),
    Setting("passes", "private_key", "secret", "(none)", "The key that signs passes."),
    Setting("passes", "public_keys", "table", "(none)", "Key id = public key file; all of them verify."),
    Setting("passes", "hash", "text", "`sha256`", "`sha1` or `sha256`, for issuing."),
    Setting("passes", "max_lifetime", "duration", "`12h`", "Longest life of a pass that is issued."),
    Setting("catalogue", "url", "text", "(none)", "`sqlite:///file.db` or `dynamodb://table`."),
    Setting("gateway", "listen", "text", "`127.0.0.1:8080`", "Address and port."),
    Setting("gateway", "workers", "number", "`1`", "Processes that answer requests."),
    Setting("gateway", "tls", "table", "(none)", "`{ certificate = file, key = file }`, both PEM."),
    Setting("gateway", "trusted_proxies", "texts", "`[]`", "Addresses or networks whose forwarded headers count."),
    Setting("gateway", "metrics", "text", "(off)", "Address and port for metrics."),
    Setting("cors", "origins", "texts", "`[]`", "Other origins whose scripts may read answers."),
    Setting("log", "access", "text", "`json`", "`json`, `cloudfront` or `off`; goes to standard output."),
)
LISTS = ("issuers", "rules")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")
SECTIONS = tuple(dict.fromkeys(row.section for row in TABLE))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was set, checked and ready to use.

    Attributes are named after the settings; `docs/reference/settings.md` explains each. `source` is the file,
    `warnings` are sentences for the owner, `inactive` are sections that this version reads but does not act on.
    """

    source: Path | None
    url: str
    store: str | None
    region: str | None
    endpoint: str | None
    index: str | None
    fallback: str | None
    trust_html: bool
    issuers: tuple[Issuer, ...]
    places: Places
    policy: Policy
    login_page: str | None
    session: float
    session_keys: tuple[bytes, ...] = field(repr=False)
    listen: tuple[str, int]
    workers: int
    tls: tuple[Path, Path] | None
    trusted_proxies: tuple[Network, ...]
    origins: frozenset[str]
    access_log: AccessLog
    warnings: tuple[str, ...]
    inactive: tuple[str, ...]

    @property
    def secure(self) -> bool:
        """False only for an http site on this machine, where browsers take no Secure cookie."""
        return self.url.startswith("https:")


def load(path: Path | str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file and the environment.

    Args:
        path: the file; default: `STAGEDOOR_SETTINGS`, else `stagedoor.toml` here. Without any file the
            environment alone has to do.
        environ: environment variables; default: the process's own.

    Raises:
        SettingsError: the first setting that is wrong.
    """
    environ = os.environ if environ is None else environ
    chosen = Path(path or environ.get(PREFIX + "SETTINGS") or DEFAULT_FILE)
    if path is None and PREFIX + "SETTINGS" not in environ and not chosen.exists():
        if not any(name.startswith(PREFIX) for name in environ):
            raise SettingsError(
                f"there is no {DEFAULT_FILE} here", mend="make one with: stagedoor init, or see it work: stagedoor demo"
            )
        return parse("", None, environ)
    try:
        text = chosen.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot be read: {reason}", source=str(chosen)) from error
    return parse(text, chosen, environ)


def parse(text: str, source: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Check settings that are already in memory; arguments and errors as for `load`."""
    return _Reader(text, source, environ or {}).settings()


class _Reader:
    """Reads values by dotted name, each with the place it came from, so that every error can name it."""

    def __init__(self, text: str, source: Path | None, environ: Mapping[str, str]) -> None:
        self._path = source
        self._base = source.parent.absolute() if source else Path.cwd()
        self._lines = dict(_locate(text))
        self._environ: dict[str, str] = {}
        self._secret_environ = environ
        self.warnings: list[str] = []
        try:
            self._tree: dict[str, object] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            raise SettingsError(
                f"not valid TOML: {error}", source=str(source), line=int(line[1]) if line else None
            ) from error
        self._check_names()
        self._overlay(environ)

    # --- places

    def _fail(self, name: str, problem: str, mend: str = "") -> NoReturn:
        raise self._error(name, problem, mend)

    def _error(self, name: str, problem: str, mend: str = "") -> SettingsError:
        """An error with its place: the environment variable, or the file and the nearest line that is known."""
        variable = self._environ.get(name) or self._environ.get(re.split(r"[.\[]", name)[0])
        if variable:
            return SettingsError(problem, source="environment", setting=variable, mend=mend)
        line = next((self._lines[place] for place in _outwards(name) if place in self._lines), None)
        source = str(self._path) if self._path else "settings"
        return SettingsError(problem, source=source, line=line, setting=name, mend=mend)

    def _warn(self, name: str, problem: str, mend: str = "") -> None:
        self.warnings.append(str(self._error(name, problem, mend)))

    def _check_names(self) -> None:
        for section, content in self._tree.items():
            if section not in SECTIONS:
                self._fail(section, "unknown section", _did_you_mean(section, SECTIONS))
            if section in LISTS:
                tables = content if isinstance(content, list) else None
                if tables is None or not all(isinstance(table, dict) for table in tables):
                    self._fail(section, "this is a list of tables", f"write [[{section}]]")
            elif not isinstance(content, dict):
                self._fail(section, "this is a section", f"write [{section}]")
            if section != "rules":  # the policy owns the syntax of rules
                self._check_setting_names(section, content)

    def _check_setting_names(self, section: str, content: object) -> None:
        known = [row.name for row in TABLE if row.section == section]
        for index, table in enumerate(content if isinstance(content, list) else [content]):
            place = f"{section}[{index}]" if section in LISTS else section
            for name in table:
                if name not in known:
                    self._fail(f"{place}.{name}", "unknown setting", _did_you_mean(name, known))

    def _overlay(self, environ: Mapping[str, str]) -> None:
        """Environment over file: STAGEDOOR_SITE_URL, …; lists of tables as one TOML value, STAGEDOOR_RULES='[…]'."""
        variables = {f"{PREFIX}{row.section}_{row.name}".upper(): row for row in TABLE if row.section not in LISTS}
        lists = {PREFIX + name.upper(): name for name in LISTS}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX) or variable == PREFIX + "SETTINGS":
                continue
            if variable in lists:
                self._environ[lists[variable]] = variable
                self._tree[lists[variable]] = self._toml_value(lists[variable], text)
                self._check_names()
            elif variable in variables:
                row = variables[variable]
                name = f"{row.section}.{row.name}"
                self._environ[name] = variable
                section = self._tree.setdefault(row.section, {})
                assert isinstance(section, dict)
                section[row.name] = self._environment_value(name, row.kind, text)
            else:
                known = [*variables, *lists, PREFIX + "SETTINGS"]
                raise SettingsError(
                    "unknown setting", source="environment", setting=variable, mend=_did_you_mean(variable, known)
                )

    def _environment_value(self, name: str, kind: str, text: str) -> object:
        if kind in ("texts", "secrets") and not text.lstrip().startswith("["):
            return [part.strip() for part in text.split(",") if part.strip()]
        if kind in ("texts", "secrets", "table", "number", "flag"):
            return self._toml_value(name, text)
        return text

    def _toml_value(self, name: str, text: str) -> object:
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            self._fail(name, "the variable is not a TOML value", 'for example ["a", "b"], true, 2 or { key = "value" }')

    # --- values

    def _get(self, name: str) -> object:
        value: object = self._tree
        for part in re.findall(r"[^.\[\]]+", name):
            if isinstance(value, list):
                value = value[int(part)]
            elif isinstance(value, dict):
                value = value.get(part)
        return value

    def text(self, name: str) -> str | None:
        value = self._get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            self._fail(name, "this is a text", 'write it in quotes: "…"')
        if re.search(r"[\x00-\x1f\x7f]", value):
            self._fail(name, "the text holds a control character")
        return value

    def required(self, name: str, mend: str) -> str:
        value = self.text(name)
        return self._fail(name, "this setting is required", mend) if value is None else value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._get(name)
        if value is None:
            return ()
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
            self._fail(name, "this is a list of texts", 'for example ["a", "b"]')
        if len(set(items)) != len(items):
            self._fail(name, "the list names something twice")
        return tuple(items)

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = self.text(name)
        if value is not None and value not in choices:
            self._fail(name, f"{value!r} is not known", _did_you_mean(value, choices))
        return value or default

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if value is not None and not isinstance(value, bool):
            self._fail(name, "this is true or false", "without quotes")
        return bool(value)

    def number(self, name: str, default: int) -> int:
        value = self._get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
            self._fail(name, "this is a whole number from 1 to 1024")
        return value

    def duration(self, name: str, default: float) -> float:
        """Seconds from `30s`, `15m`, `8h` or `2d`."""
        value = self._get(name)
        if value is None:
            return default
        match = re.fullmatch(r"([0-9]{1,9})(s|m|h|d)", value) if isinstance(value, str) else None
        if not match:
            self._fail(name, "this is a duration", 'for example "30s", "15m", "8h" or "2d"')
        return float(int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]])

    def table(self, name: str) -> dict[str, str]:
        value = self._get(name)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(v, str) and v for v in value.values()):
            self._fail(name, "this is a table of texts", 'for example { name = "value" }')
        return dict(value)

    def file(self, name: str, path: str) -> Path:
        """A path in settings is relative to the settings file."""
        found = self._base / Path(path).expanduser()
        if not found.is_file():
            self._fail(name, f"there is no file {found}", "paths are relative to the settings file")
        return found

    def _key(self, name: str, key: str | None) -> None:
        try:
            paths.check_key(key or "")
        except InvalidTarget as error:
            self._fail(name, str(error), 'write the key of an object, for example "app/index.html"')
        if key is not None and key.startswith(paths.OWN_PREFIX):
            self._fail(name, "keys that start with '-/' are never served", 'for example "app/index.html"')

    def secret(self, name: str, text: str) -> bytes | None:
        """The secret itself, or None where only AWS could tell it. Its text is never part of a message."""
        scheme, _, rest = text.partition(":")
        if scheme == "env" and rest:
            value = self._secret_environ.get(rest)
            if not value:
                self._fail(name, f"the environment variable {rest} is not set", "set it where stagedoor is started")
            return os.fsencode(value)
        if scheme == "file" and rest:
            try:
                return self.file(name, rest).read_bytes().strip()
            except OSError as error:
                self._fail(name, f"the file {rest} cannot be read: {error.strerror}")
        if scheme in ("ssm", "secretsmanager") and rest:
            return None
        return self._fail(name, "a secret does not stand here itself", 'write "env:NAME" or "file:path"')

    def origin(self, name: str, text: str) -> str:
        """Scheme and host, as browsers write an origin (RFC 6454 §6.2)."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if not _HOST.fullmatch(parts.netloc) or parts.scheme not in ("http", "https"):
            self._fail(name, f"{text!r} is not an origin", 'for example "https://assets.example.com"')
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            self._fail(name, f"{text!r} has more than scheme and host", f'write "{parts.scheme}://{parts.netloc}"')
        if not is_safe_url(text):
            self._fail(name, f"{text!r} is not https", "http is for this machine only (localhost, 127.0.0.1)")
        name_or_address = parts.hostname or ""
        host = f"[{name_or_address}]" if ":" in name_or_address else name_or_address
        default = {"http": 80, "https": 443}[parts.scheme]
        return f"{parts.scheme}://{host}" + (f":{port}" if port and port != default else "")

    # --- sections

    def settings(self) -> Settings:
        url = self.origin("site.url", self.required("site.url", 'for example url = "https://assets.example.com"'))
        store = self._store()
        issuers = self._issuers()
        places = self._places(url)
        policy = self._policy(len(issuers))
        inactive = self._inactive()
        index, trust_html = self.text("site.index"), self.flag("site.trust_html")
        if index is not None and "/" in index:
            self._fail("site.index", "this is the name of a file, without a slash", 'for example "index.html"')
        self._key("site.index", index)
        self._key("site.fallback", self.text("site.fallback"))
        if index is not None and not trust_html:
            self._warn("site.index", "pages run no scripts", "a site of your own pages wants trust_html = true")
        workers = self.number("gateway.workers", 1)
        return Settings(
            source=self._path,
            url=url,
            store=store,
            region=self.text("site.region"),
            endpoint=self.text("site.endpoint"),
            index=index,
            fallback=self.text("site.fallback"),
            trust_html=trust_html,
            issuers=issuers,
            places=places,
            policy=policy,
            login_page=self._login_page(issuers),
            session=self.duration("login.session", 8 * 3600.0),
            session_keys=self._session_keys(workers),
            listen=self._address("gateway.listen", self.text("gateway.listen") or "127.0.0.1:8080"),
            workers=workers,
            tls=self._tls(),
            trusted_proxies=self._networks("gateway.trusted_proxies"),
            origins=frozenset(self.origin("cors.origins", text) for text in self.texts("cors.origins")),
            access_log=self._access_log(),
            warnings=tuple(self.warnings),
            inactive=inactive,
        )

    def _access_log(self) -> AccessLog:
        chosen = self.choice("log.access", ("json", "cloudfront", "off"), "json")
        return "cloudfront" if chosen == "cloudfront" else "off" if chosen == "off" else "json"

    def _store(self) -> str | None:
        """The store's URL: `s3://…`, `memory:`, or `file:///…` for every way to write a folder."""
        store = self.text("site.store")
        scheme = store.partition(":")[0] if store else None
        for name in ("region", "endpoint"):
            if scheme != "s3" and self._get(f"site.{name}") is not None:
                self._fail(f"site.{name}", "only a store in S3 has this", 'store = "s3://bucket", or leave it out')
        endpoint = self.text("site.endpoint")
        if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
            self._fail("site.endpoint", f"{endpoint!r} is not a URL", 'for example "https://s3.internal:9000"')
        if store is None or store == "memory:":
            return store
        if scheme == "s3":
            bucket = urlsplit(store).netloc
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]", bucket) or "?" in store or "#" in store:
                self._fail("site.store", f"{store!r} names no bucket", 'write "s3://bucket" or "s3://bucket/prefix"')
            return store
        if scheme and re.fullmatch(r"[a-z][a-z0-9+.-]+", scheme) and ":" in store and scheme != "file":
            self._fail("site.store", f"there is no store {scheme}:", 'use "s3://bucket/prefix", a folder or "memory:"')
        path = unquote(urlsplit(store).path) if scheme == "file" and ":" in store else store
        folder = (self._base / Path(path).expanduser()).absolute()
        if not folder.is_dir():
            self._fail("site.store", f"there is no folder {folder}", "paths are relative to the settings file")
        return folder.as_uri()

    def _issuers(self) -> tuple[Issuer, ...]:
        tables = self._tree.get("issuers", [])
        assert isinstance(tables, list)
        issuers = tuple(self._issuer(f"issuers[{index}]") for index in range(len(tables)))
        for what, names in (("issuer", [i.issuer for i in issuers]), ("name", [i.name for i in issuers])):
            for index, name in enumerate(names):
                if name in names[:index]:
                    self._fail(f"issuers[{index}].{what}", f"{name!r} stands in two [[issuers]]", "keep one of them")
        if not issuers:
            self._warn("issuers", "there is no issuer, so nobody can be signed in", "add [[issuers]]")
        return issuers

    def _issuer(self, place: str) -> Issuer:
        issuer = self.required(f"{place}.issuer", 'for example issuer = "https://accounts.google.com"')
        if not is_safe_url(issuer) or urlsplit(issuer).query or urlsplit(issuer).fragment:
            self._fail(f"{place}.issuer", f"{issuer!r} is not an https URL", "http is for this machine only")
        audience = self.texts(f"{place}.audience")
        if not audience:
            self._fail(f"{place}.audience", "this setting is required", 'for example audience = ["my-client-id"]')
        cognito = is_cognito(issuer)
        uses = self.texts(f"{place}.token_use")
        if uses and not cognito:
            self._fail(f"{place}.token_use", "only Cognito's tokens have a token_use", "leave it out")
        if not {"access", "id"}.issuperset(uses):
            self._fail(f"{place}.token_use", "token_use is access, id or both", 'token_use = ["access", "id"]')
        algorithms = self.texts(f"{place}.algorithms") or ("RS256",)
        for name in algorithms:
            if name not in ALGORITHMS:
                self._fail(f"{place}.algorithms", f"{name!r} is not accepted", f"any of {', '.join(ALGORITHMS)}")
        default_groups = "cognito:groups" if cognito else "groups"
        return Issuer(
            issuer=issuer,
            audience=frozenset(audience),
            name=self.text(f"{place}.name") or issuer,
            token_use=frozenset(uses or ("access", "id")) if cognito else frozenset(),
            jwks=self._jwks(place, frozenset(algorithms)),
            algorithms=frozenset(algorithms),
            claims={"groups": default_groups, **self.table(f"{place}.claims")},
            leeway=self.duration(f"{place}.leeway", 0.0),
        )

    def _jwks(self, place: str, algorithms: frozenset[str]) -> str | None:
        """The keys' URL; a file is read once here, so that a wrong one is found before the first request."""
        name = f"{place}.jwks"
        jwks = self.text(name)
        if jwks is None:
            return None
        if re.match(r"https?:", jwks):
            if not is_safe_url(jwks):
                self._fail(name, f"{jwks!r} is not https", "http is for this machine only")
            return jwks
        path = self.file(name, unquote(urlsplit(jwks).path) if jwks.startswith("file:") else jwks)
        try:
            parse_key_set(path.read_bytes(), crypto, algorithms)
        except OSError as error:
            self._fail(name, f"{path} cannot be read: {error.strerror}")
        except InvalidKeySet as error:
            self._fail(name, f"{path}: {error}", "it must be a JWKS with public keys for these algorithms")
        return path.as_uri()

    def _places(self, url: str) -> Places:
        order: list[Source] = []
        for source in self.texts("tokens.from") if self._get("tokens.from") is not None else ("header", "cookie"):
            if source not in ("header", "cookie", "query"):
                self._fail("tokens.from", f"{source!r} is no place for tokens", 'any of "header", "cookie", "query"')
            order.append("header" if source == "header" else "cookie" if source == "cookie" else "query")
        cookie, query = self.text("tokens.cookie") or "token", self.text("tokens.query") or "token"
        session = "__Host-stagedoor" if url.startswith("https:") else "stagedoor"
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", cookie) or cookie == session:
            self._fail("tokens.cookie", f"{cookie!r} cannot be the name of this cookie (RFC 6265 §4.1.1)")
        if not re.fullmatch(r"[A-Za-z0-9_.~-]+", query):
            self._fail("tokens.query", f"{query!r} cannot be the name of a query parameter", "letters, digits, _ . ~ -")
        return Places(tuple(order), cookie, query, session)

    def _policy(self, issuers: int) -> Policy:
        tables = self._tree.get("rules", [])
        assert isinstance(tables, list)
        try:
            policy = compile_rules(tables)
        except RuleError as error:
            place = f"rules[{error.index}]" + (f".{error.field}" if error.field else "")
            raise self._error(place, str(error), error.mend) from error
        if not policy.rules:
            self._warn("rules", "there is no rule, so everything is denied", 'add [[rules]] with path and allow = "…"')
        for finding in lint.findings(policy, issuers):
            self._warn(finding.rule.name, finding.problem, finding.mend)
        return policy

    def _login_page(self, issuers: tuple[Issuer, ...]) -> str | None:
        self.texts("login.scopes")
        self.text("login.client_id")
        secret, chosen, page = self.text("login.client_secret"), self.text("login.issuer"), self.text("login.page")
        if secret:
            self.secret("login.client_secret", secret)
        if chosen and chosen not in {name for issuer in issuers for name in (issuer.name, issuer.issuer)}:
            self._fail("login.issuer", f"{chosen!r} is none of the [[issuers]]", "use its name or its issuer URL")
        if page is not None and (not is_safe_url(page) or not page.isascii() or "#" in page or " " in page):
            self._fail("login.page", f"{page!r} is not an https URL", "http is for this machine only; no #fragment")
        return page

    def _session_keys(self, workers: int) -> tuple[bytes, ...]:
        """Keys of the session cookie; made at start for one process, none where several would need to agree."""
        keys = []
        for text in self.texts("login.session_keys"):
            key = self.secret("login.session_keys", text)
            if key is None:
                self._fail(
                    "login.session_keys", "secrets of AWS cannot be read here", 'write "env:NAME" or "file:path"'
                )
            if len(key) < MIN_KEY_BYTES:
                mend = "make one with: openssl rand -base64 48"
                self._fail("login.session_keys", f"a session key has at least {MIN_KEY_BYTES} bytes", mend)
            keys.append(key)
        if keys or workers > 1:
            if not keys and "login" in self._tree:
                self._fail("login.session_keys", "several workers need keys that they share", '["file:session.key"]')
            return tuple(keys)
        return (_made_at_start(),)

    def _inactive(self) -> tuple[str, ...]:
        """Check the sections of later capabilities, and name those that are set."""
        for name in ("passes.private_key",):
            text = self.text(name)
            if text:
                self.secret(name, text)
        self.text("passes.key_id")
        self.choice("passes.hash", ("sha1", "sha256"), "sha256")
        self.duration("passes.max_lifetime", 12 * 3600.0)
        for text in self.table("passes.public_keys").values():
            self.secret("passes.public_keys", text)
        catalogue = self.text("catalogue.url")
        if catalogue and not re.match(r"(sqlite:///|dynamodb://)[^/]", catalogue):
            self._fail(
                "catalogue.url", f"{catalogue!r} is no catalogue", '"sqlite:///catalogue.db" or "dynamodb://table"'
            )
        metrics = self.text("gateway.metrics")
        if metrics:
            self._address("gateway.metrics", metrics)
        set_but_idle = {
            "[passes]": "passes" in self._tree,
            "[catalogue]": "catalogue" in self._tree,
            "[login] without page": "login" in self._tree and self._get("login.page") is None,
            "[gateway] metrics": metrics is not None,
            "forward-auth ([site] without store)": self._get("site.store") is None,
        }
        return tuple(name for name, idle in set_but_idle.items() if idle)

    def _address(self, name: str, text: str) -> tuple[str, int]:
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})", text)
        if not match or int(match[2]) > 65535:
            self._fail(name, f"{text!r} is not address and port", 'for example "127.0.0.1:8080" or "[::]:8080"')
        return match[1].strip("[]"), int(match[2])

    def _tls(self) -> tuple[Path, Path] | None:
        tls = self.table("gateway.tls")
        if not tls:
            return None
        if set(tls) != {"certificate", "key"}:
            self._fail("gateway.tls", "tls takes certificate and key", '{ certificate = "cert.pem", key = "key.pem" }')
        return self.file("gateway.tls", tls["certificate"]), self.file("gateway.tls", tls["key"])

    def _networks(self, name: str) -> tuple[Network, ...]:
        networks = []
        for text in self.texts(name):
            try:
                networks.append(ipaddress.ip_network(text))
            except ValueError:
                self._fail(name, f"{text!r} is no address or network", 'for example "10.0.0.0/8" or "192.0.2.7"')
        return tuple(networks)


@lru_cache(maxsize=1)
def _made_at_start() -> bytes:
    """One key for the life of this process, so that sessions outlast a reload of the settings."""
    return secrets.token_bytes(MIN_KEY_BYTES)


def _did_you_mean(word: str, known: tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _outwards(name: str) -> Iterator[str]:
    """A setting's name, then what it stands in: `rules[2].path`, `rules[2]`, `rules`."""
    yield name
    if "." in name:
        yield from _outwards(name.rpartition(".")[0])
    else:
        section = name.partition("[")[0]
        yield from (section, f"{section}[0]")


def _locate(text: str) -> Iterator[tuple[str, int]]:
    """Dotted names of sections and settings with the line that they stand on; tomllib does not tell."""
    section, counts = "", dict.fromkeys(LISTS, -1)
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]", line)
        setting = re.match(r"\s*\"?([A-Za-z0-9_:-]+)\"?\s*(?:\.[^=]*)?=", line)
        if header:
            section, dot, rest = header[2].partition(".")
            if header[1] == "[[" and section in counts and not dot:
                counts[section] += 1
            if section in counts:
                section = f"{section}[{max(counts[section], 0)}]"
            section += dot + rest
            yield section, number
        elif setting:
            yield f"{section}.{setting[1]}" if section else setting[1], number
