"""stagedoor.toml and the environment, turned into one frozen `Settings`.

`TABLE` lists every setting once; file, environment, error messages and the reference page all come from it.
An unknown, contradictory or unsafe setting is an error that names file, line, setting and mend.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from ..core import paths
from ..core.caller import ANONYMOUS
from ..core.credentials import PASS_COOKIES, PASS_PARAMETERS, Source, Sources
from ..core.errors import InvalidKey, InvalidKeySet, InvalidTarget, RuleError, SettingsError, StagedoorError
from ..core.issuers import Issuer, is_cognito, is_safe_url, parse_key_set
from ..core.jose import ALGORITHMS
from ..core.policy import lint
from ..core.policy.decide import Deny, Policy, compile_rules
from ..core.session import MIN_KEY_BYTES
from ..keys import signatures
from ..keys.pass_keys import PassSettings, open_passes
from .reader import PREFIX as PREFIX
from .reader import Reader
from .reader import Setting as Setting

MADE_AT_START = "_STAGEDOOR_MADE_AT_START"
"""Environment variable by which a parent tells its workers the key that it made for them, in hexadecimal."""

MAX_PASS_SECONDS = 365 * 86400
DEFAULT_FILE = "stagedoor.toml"
AccessLog: TypeAlias = Literal["json", "cloudfront", "off"]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

TABLE = (
    Setting("site", "url", "text", "(required)", "Public origin; cookies, redirects and passes are for it."),
    Setting("site", "store", "text", "(none)", "`s3://bucket/prefix`, a folder, `file:///…` or `memory:`."),
    Setting("site", "region", "text", "(AWS chain)", "Region of the bucket, and of whatever else is at AWS."),
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
    Setting("passes", "private_key", "secret", "(none)", "The key that signs passes; without it none are issued."),
    Setting("passes", "passphrase", "secret", "(none)", "Passphrase of the private key."),
    Setting("passes", "public_keys", "secret table", "(the private key's)", "Key id = public key; all of them verify."),
    Setting("passes", "hash", "text", "`sha256`", "`sha1` or `sha256`, for issuing."),
    Setting("passes", "max_lifetime", "duration", "`12h`", "Longest life of a pass that is issued, and its default."),
    Setting("passes", "per_minute", "number", "`600`", "Passes that one caller may have issued in a minute."),
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
SECTIONS = tuple(dict.fromkeys(row.section for row in TABLE))

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?")


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
    token_sources: Sources
    policy: Policy
    login_page: str | None
    session: float
    session_keys: tuple[bytes, ...] = field(repr=False)
    seal_secrets: tuple[bytes, ...] = field(repr=False)
    passes: PassSettings
    catalogue: str | None
    listen: tuple[str, int]
    workers: int
    tls: tuple[Path, Path] | None
    trusted_proxies: tuple[Network, ...]
    origins: frozenset[str]
    access_log: AccessLog
    warnings: tuple[str, ...]
    inactive: tuple[str, ...]

    @property
    def aws_region(self) -> str | None:
        """Region of what is at AWS itself; that of a store somewhere else says nothing about it."""
        return None if self.endpoint else self.region

    @property
    def session_keys_are_temporary(self) -> bool:
        """True: nobody set keys for sessions, so those that there are were made at start and are known nowhere else."""
        return self.session_keys in ((), (_made_at_start(),))

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
    return _settings(Reader(TABLE, LISTS, text, source, environ or {}))


# --- sections


def _settings(read: Reader) -> Settings:
    url = _origin(read, "site.url", read.required("site.url", 'for example url = "https://assets.example.com"'))
    store = _store(read)
    issuers = _issuers(read)
    sources = _sources(read, url)
    policy = _policy(read, len(issuers))
    inactive = _inactive(read)
    index, trust_html = read.text("site.index"), read.flag("site.trust_html")
    if index is not None and "/" in index:
        read.fail("site.index", "this is the name of a file, without a slash", 'for example "index.html"')
    _key(read, "site.index", index)
    _key(read, "site.fallback", read.text("site.fallback"))
    if index is not None and not trust_html:
        read.warn("site.index", "pages run no scripts", "a site of your own pages wants trust_html = true")
    workers = read.number("gateway.workers", 1)
    session_keys = _session_keys(read, workers)
    return Settings(
        source=read.source,
        url=url,
        store=store,
        region=read.text("site.region"),
        endpoint=read.text("site.endpoint"),
        index=index,
        fallback=read.text("site.fallback"),
        trust_html=trust_html,
        issuers=issuers,
        token_sources=sources,
        policy=policy,
        login_page=_login_page(read, issuers, url, policy, index),
        session=_session(read),
        session_keys=session_keys,
        seal_secrets=session_keys or (_made_at_start(),),
        passes=_passes(read),
        catalogue=_catalogue(read),
        listen=_address(read, "gateway.listen", read.text("gateway.listen") or "127.0.0.1:8080"),
        workers=workers,
        tls=_tls(read),
        trusted_proxies=_networks(read, "gateway.trusted_proxies"),
        origins=frozenset(_origin(read, "cors.origins", text) for text in read.texts("cors.origins")),
        access_log=_access_log(read),
        warnings=tuple(read.warnings),
        inactive=inactive,
    )


def _session(read: Reader) -> float:
    seconds = read.duration("login.session", 8 * 3600.0)
    if seconds == 0:
        read.fail("login.session", "a session that lasts no time is none", 'for example "8h"')
    return seconds


def _access_log(read: Reader) -> AccessLog:
    chosen = read.choice("log.access", ("json", "cloudfront", "off"), "json")
    return "cloudfront" if chosen == "cloudfront" else "off" if chosen == "off" else "json"


def _store(read: Reader) -> str | None:
    """The store's URL: `s3://…`, `memory:`, or `file:///…` for every way to write a folder."""
    store = read.text("site.store")
    scheme = store.partition(":")[0] if store and ":" in store else None
    if scheme != "s3" and read.get("site.endpoint") is not None:
        read.fail("site.endpoint", "only a store in S3 has this", 'store = "s3://bucket", or leave it out')
    region_of_file = read.get("site.region") is not None and not read.is_from_environment("site.region")
    if scheme != "s3" and region_of_file and not _asks_aws(read):  # one of a machine may be for others
        read.fail("site.region", "nothing here is at AWS", 'store = "s3://bucket", or leave it out')
    endpoint = read.text("site.endpoint")
    if endpoint is not None and urlsplit(endpoint).scheme not in ("http", "https"):
        read.fail("site.endpoint", f"{endpoint!r} is not a URL", 'for example "https://s3.internal:9000"')
    if store is None or store == "memory:":
        return store
    if scheme == "s3":
        bucket = urlsplit(store).netloc
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]", bucket) or "?" in store or "#" in store:
            read.fail("site.store", f"{store!r} names no bucket", 'write "s3://bucket" or "s3://bucket/prefix"')
        return store
    if scheme and re.fullmatch(r"[a-z][a-z0-9+.-]+", scheme) and ":" in store and scheme != "file":
        read.fail("site.store", f"there is no store {scheme}:", 'use "s3://bucket/prefix", a folder or "memory:"')
    path = unquote(urlsplit(store).path) if scheme == "file" and ":" in store else store
    folder = (read.base / Path(path).expanduser()).absolute()
    if not folder.is_dir():
        read.fail("site.store", f"there is no folder {folder}", "paths are relative to the settings file")
    return folder.as_uri()


def _asks_aws(read: Reader) -> bool:
    """Is something besides the store kept at AWS?"""
    named = [read.text("catalogue.url"), read.text("login.client_secret"), *read.texts("login.session_keys")]
    named += [
        read.text("passes.private_key"),
        read.text("passes.passphrase"),
        *read.table("passes.public_keys").values(),
    ]
    return any(text.startswith(("dynamodb:", "ssm:", "secretsmanager:")) for text in named if text)


def _issuers(read: Reader) -> tuple[Issuer, ...]:
    issuers = tuple(_issuer(read, f"issuers[{index}]") for index in range(len(read.tables("issuers"))))
    for what, names in (("issuer", [i.url for i in issuers]), ("name", [i.name for i in issuers])):
        for index, name in enumerate(names):
            if name in names[:index]:
                read.fail(f"issuers[{index}].{what}", f"{name!r} stands in two [[issuers]]", "keep one of them")
    if not issuers:
        read.warn("issuers", "there is no issuer, so nobody can be signed in", "add [[issuers]]")
    return issuers


def _issuer(read: Reader, place: str) -> Issuer:
    issuer = read.required(f"{place}.issuer", 'for example issuer = "https://accounts.google.com"')
    if not is_safe_url(issuer) or urlsplit(issuer).query or urlsplit(issuer).fragment:
        read.fail(f"{place}.issuer", f"{issuer!r} is not an https URL", "http is for this machine only")
    audience = read.texts(f"{place}.audience")
    if not audience:
        read.fail(f"{place}.audience", "this setting is required", 'for example audience = ["my-client-id"]')
    cognito = is_cognito(issuer)
    uses = read.texts(f"{place}.token_use")
    if uses and not cognito:
        read.fail(f"{place}.token_use", "only Cognito's tokens have a token_use", "leave it out")
    if not {"access", "id"}.issuperset(uses):
        read.fail(f"{place}.token_use", "token_use is access, id or both", 'token_use = ["access", "id"]')
    algorithms = read.texts(f"{place}.algorithms") or ("RS256",)
    for name in algorithms:
        if name not in ALGORITHMS:
            read.fail(f"{place}.algorithms", f"{name!r} is not accepted", f"any of {', '.join(ALGORITHMS)}")
    default_groups = "cognito:groups" if cognito else "groups"
    return Issuer(
        url=issuer,
        audience=frozenset(audience),
        name=read.text(f"{place}.name") or issuer,
        token_use=frozenset(uses or ("access", "id")) if cognito else frozenset(),
        jwks=_jwks(read, place, frozenset(algorithms)),
        algorithms=frozenset(algorithms),
        claims={"groups": default_groups, **read.table(f"{place}.claims")},
        leeway=read.duration(f"{place}.leeway", 0.0),
    )


def _jwks(read: Reader, place: str, algorithms: frozenset[str]) -> str | None:
    """The keys' URL; a file is read once here, so that a wrong one is found before the first request."""
    name = f"{place}.jwks"
    jwks = read.text(name)
    if jwks is None:
        return None
    if re.match(r"https?:", jwks):
        if not is_safe_url(jwks):
            read.fail(name, f"{jwks!r} is not https", "http is for this machine only")
        return jwks
    path = read.file(name, unquote(urlsplit(jwks).path) if jwks.startswith("file:") else jwks)
    try:
        parse_key_set(path.read_bytes(), signatures, algorithms)
    except OSError as error:
        read.fail(name, f"{path} cannot be read: {error.strerror}")
    except InvalidKeySet as error:
        read.fail(name, f"{path}: {error}", "it must be a JWKS with public keys for these algorithms")
    return path.as_uri()


def _sources(read: Reader, url: str) -> Sources:
    order: list[Source] = []
    for source in read.texts("tokens.from") if read.get("tokens.from") is not None else ("header", "cookie"):
        if source not in ("header", "cookie", "query"):
            read.fail("tokens.from", f"{source!r} is no place for tokens", 'any of "header", "cookie", "query"')
        order.append("header" if source == "header" else "cookie" if source == "cookie" else "query")
    cookie, query = read.text("tokens.cookie") or "token", read.text("tokens.query") or "token"
    session = "__Host-stagedoor" if url.startswith("https:") else "stagedoor"
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", cookie) or cookie == session:
        read.fail("tokens.cookie", f"{cookie!r} cannot be the name of this cookie (RFC 6265 §4.1.1)")
    if not re.fullmatch(r"[A-Za-z0-9_.~-]+", query):
        read.fail("tokens.query", f"{query!r} cannot be the name of a query parameter", "letters, digits, _ . ~ -")
    for name, text, taken in (("cookie", cookie, PASS_COOKIES), ("query", query, PASS_PARAMETERS)):
        if text.encode() in taken:
            problem = f"{text!r} is a part of passes, so no token would ever be seen there"
            read.fail(f"tokens.{name}", problem, 'another name, for example "token"')
    return Sources(tuple(order), cookie, query, session)


def _policy(read: Reader, issuers: int) -> Policy:
    try:
        policy = compile_rules(read.tables("rules"))
    except RuleError as error:
        place = f"rules[{error.index}]" + (f".{error.field}" if error.field else "")
        raise read.error(place, str(error), error.mend) from error
    if not policy.rules:
        read.warn("rules", "there is no rule, so everything is denied", 'add [[rules]] with path and allow = "…"')
    for finding in lint.findings(policy, issuers):
        read.warn(finding.rule.name, finding.problem, finding.mend)
    return policy


def _login_page(read: Reader, issuers: tuple[Issuer, ...], url: str, policy: Policy, index: str | None) -> str | None:
    read.texts("login.scopes")
    read.text("login.client_id")
    secret, chosen, page = read.text("login.client_secret"), read.text("login.issuer"), read.text("login.page")
    if secret:
        read.secret("login.client_secret", secret)
    if chosen and chosen not in {name for issuer in issuers for name in (issuer.name, issuer.url)}:
        read.fail("login.issuer", f"{chosen!r} is none of the [[issuers]]", "use its name or its issuer URL")
    if page is not None and (not is_safe_url(page) or not page.isascii() or "#" in page or " " in page):
        read.fail("login.page", f"{page!r} is not an https URL", "http is for this machine only; no #fragment")
    if page is not None and _is_closed(page, url, policy, index):
        problem = "this page lies behind the door itself, so whoever has to sign in is sent in circles"
        read.warn("login.page", problem, 'give it a rule with allow = "anyone", or another origin')
    return page


def _is_closed(page: str, url: str, policy: Policy, index: str | None) -> bool:
    """Is a page of this site closed to those who are not signed in?"""
    parts = urlsplit(page)
    if f"{parts.scheme}://{parts.netloc}" != url:
        return False
    try:
        key = paths.object_key(paths.decode(parts.path.encode() or b"/"), index)
    except InvalidTarget:
        return True
    return bool(key) and isinstance(policy.decide(ANONYMOUS, str(key)), Deny)


def _session_keys(read: Reader, workers: int) -> tuple[bytes, ...]:
    """Keys of the session cookie; made at start for one process, none where several would need to agree."""
    keys = []
    for text in read.texts("login.session_keys"):
        key = read.secret("login.session_keys", text)
        if key is None:
            from ..outside import aws as aws_secrets  # heavy, and rarely needed

            try:
                key = aws_secrets.read(text, None if read.text("site.endpoint") else read.text("site.region"))
            except StagedoorError as error:
                read.fail("login.session_keys", str(error))
        key = key.strip()
        if len(key) < MIN_KEY_BYTES:
            mend = "make one with: openssl rand -base64 48"
            read.fail("login.session_keys", f"a session key has at least {MIN_KEY_BYTES} bytes", mend)
        keys.append(key)
    if keys or workers > 1:
        if not keys and read.get("login") is not None:
            read.fail("login.session_keys", "several workers need keys that they share", '["file:session.key"]')
        return tuple(keys)
    return (_made_at_start(),)


def _passes(read: Reader) -> PassSettings:
    key_id, private = read.text("passes.key_id"), read.text("passes.private_key")
    if (key_id is None) != (private is None):
        there, missing = ("key_id", "private_key") if private is None else ("private_key", "key_id")
        read.fail(
            f"passes.{there}", f"{missing} is missing: the two go together", "make a pair with: stagedoor keys new"
        )
    passphrase = read.text("passes.passphrase")
    passes = PassSettings(
        key_id=_key_id(read, "passes.key_id", key_id) if key_id else None,
        private_key=_kept(read, "passes.private_key", private),
        passphrase=_kept(read, "passes.passphrase", passphrase),
        public_keys={
            _key_id(read, "passes.public_keys", name): _kept(read, "passes.public_keys", text) or b""
            for name, text in read.table("passes.public_keys").items()
        },
        hash="sha1" if read.choice("passes.hash", ("sha1", "sha256"), "sha256") == "sha1" else "sha256",
        max_lifetime=int(read.duration("passes.max_lifetime", 12 * 3600.0)),
        per_minute=read.number("passes.per_minute", 600, most=1_000_000),
    )
    if not 0 < passes.max_lifetime <= MAX_PASS_SECONDS:
        read.fail("passes.max_lifetime", "a pass lasts a second at least, and 365 days at most", 'for example "12h"')
    _check_keys(read, passes)
    return passes


def _check_keys(read: Reader, passes: PassSettings) -> None:
    """Look at every key that is here; those that AWS keeps have to wait until they are needed."""
    public = {name: key for name, key in passes.public_keys.items() if isinstance(key, bytes)}
    away = isinstance(passes.private_key, str) or isinstance(passes.passphrase, str)
    setting = "passes.public_keys"
    try:
        open_passes(PassSettings(public_keys=public), None)
        setting = "passes.private_key"
        if not away:
            open_passes(replace(passes, public_keys=public), None)
    except InvalidKey as error:
        read.fail(setting, str(error), "a pair that fits is made by: stagedoor keys new")


def _key_id(read: Reader, name: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text):
        read.fail(name, "this is no key id", "letters and digits, as CloudFront shows it")
    return text


def _kept(read: Reader, name: str, text: str | None) -> bytes | str | None:
    """A secret, or the place where AWS keeps it."""
    if text is None:
        return None
    secret = read.secret(name, text)
    if secret is None:
        return text
    return secret.strip() if name == "passes.passphrase" else secret


def _catalogue(read: Reader) -> str | None:
    """The catalogue's URL; the path of a database is made absolute."""
    url = read.text("catalogue.url")
    if url is None:
        return None
    if re.fullmatch(r"dynamodb://[A-Za-z0-9_.-]{3,255}", url):
        return url
    if not re.match(r"sqlite:///[^/?#]|sqlite:////[^/?#]", url):
        read.fail("catalogue.url", f"{url!r} is no catalogue", '"sqlite:///catalogue.db" or "dynamodb://table"')
    path = Path(unquote(url.removeprefix("sqlite:///"))).expanduser()
    return "sqlite://" + quote(str((read.base / path).absolute()))


def _inactive(read: Reader) -> tuple[str, ...]:
    """Check the settings of later capabilities, and name those that are set."""
    metrics = read.text("gateway.metrics")
    if metrics:
        _address(read, "gateway.metrics", metrics)
    set_but_idle = {
        "[login] without page": read.get("login") is not None and read.get("login.page") is None,
        "[gateway] metrics": metrics is not None,
        "forward-auth ([site] without store)": read.get("site.store") is None,
    }
    return tuple(name for name, idle in set_but_idle.items() if idle)


def _address(read: Reader, name: str, text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(\d{1,5})", text)
    if not match or int(match[2]) > 65535:
        read.fail(name, f"{text!r} is not address and port", 'for example "127.0.0.1:8080" or "[::]:8080"')
    return match[1].strip("[]"), int(match[2])


def _tls(read: Reader) -> tuple[Path, Path] | None:
    tls = read.table("gateway.tls")
    if not tls:
        return None
    if set(tls) != {"certificate", "key"}:
        read.fail("gateway.tls", "tls takes certificate and key", '{ certificate = "cert.pem", key = "key.pem" }')
    return read.file("gateway.tls", tls["certificate"]), read.file("gateway.tls", tls["key"])


def _networks(read: Reader, name: str) -> tuple[Network, ...]:
    networks = []
    for text in read.texts(name):
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError:
            read.fail(name, f"{text!r} is no address or network", 'for example "10.0.0.0/8" or "192.0.2.7"')
    return tuple(networks)


def _key(read: Reader, name: str, key: str | None) -> None:
    try:
        paths.check_key(key or "")
    except InvalidTarget as error:
        read.fail(name, str(error), 'write the key of an object, for example "app/index.html"')
    if key is not None and key.startswith(paths.OWN_PREFIX):
        read.fail(name, "keys that start with '-/' are never served", 'for example "app/index.html"')


def _origin(read: Reader, name: str, text: str) -> str:
    """Scheme and host, as browsers write an origin (RFC 6454 §6.2)."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if not _HOST.fullmatch(parts.netloc) or parts.scheme not in ("http", "https"):
        read.fail(name, f"{text!r} is not an origin", 'for example "https://assets.example.com"')
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        read.fail(name, f"{text!r} has more than scheme and host", f'write "{parts.scheme}://{parts.netloc}"')
    if not is_safe_url(text):
        read.fail(name, f"{text!r} is not https", "http is for this machine only (localhost, 127.0.0.1)")
    name_or_address = parts.hostname or ""
    host = f"[{name_or_address}]" if ":" in name_or_address else name_or_address
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{port}" if port and port != default else "")


@lru_cache(maxsize=1)
def _made_at_start() -> bytes:
    """One key for the life of this process and its workers, so that sessions outlast a reload of the settings."""
    return bytes.fromhex(os.environ.get(MADE_AT_START) or secrets.token_hex(MIN_KEY_BYTES))
