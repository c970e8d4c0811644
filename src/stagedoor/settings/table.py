"""Every setting there is, each in one row: its name, how it is read, its default, and what it is for.

The rows stand at the fields of `Settings` that they fill. The settings file, the environment, error messages and the
reference page all come from here; a new setting is one more row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..core.credentials import Sources
from ..core.issuers import Issuer
from ..core.jose import ALGORITHMS, OTHER_NAMES
from ..core.login import Client
from ..core.policy.decide import Policy
from ..core.policy.rules import Rule
from ..core.session import signing_key
from ..keys.pass_keys import PassSettings
from . import sections
from .parsers import (
    ADDRESS,
    AUTHORITIES,
    CATALOGUE,
    CONDITIONS,
    DURATION,
    ENDPOINT,
    FILE_NAME,
    FLAG,
    HEADER_NAMES,
    KEY,
    NETWORKS,
    ORIGINS,
    RULE,
    SECRET,
    SECRET_TABLE,
    SECRETS,
    SITE_URL,
    SIZE,
    STATE,
    STORE,
    TABLE_OF_TEXTS,
    TEXT,
    TEXTS,
    TLS,
    Network,
    choice,
    number,
)
from .reader import Parser, Reader, Setting
from .sections import Built

AccessLog: TypeAlias = Literal["json", "cloudfront", "off"]

_TOKENS, _ISSUER = Sources(), Issuer("", frozenset())
_CLIENT = Client(_ISSUER, "")
"""The defaults of the core."""


def row(name: str, parser: Parser[Any], default: object, purpose: str, shown: str = "") -> Setting:
    """One setting.

    Args:
        name: dotted, for example `site.url`.
        parser: reads its value.
        default: what holds where it is not set, as TOML has it; None: nothing.
        purpose: one sentence for the reference.
        shown: the default in words, where there is no value to show.
    """
    section, _, last = name.partition(".")
    return Setting(section, last, parser, default, purpose, shown)


def one(name: str, parser: Parser[Any], default: object, purpose: str, shown: str = "") -> Any:
    """A field that one setting fills; arguments as for `row`."""
    return several(lambda reader, _: parser.read(reader, name), row(name, parser, default, purpose, shown))


def several(build: Build, *rows: Setting, secret: bool = False) -> Any:
    """A field that several settings fill.

    Args:
        build: makes its value of the settings, and of the fields above it.
        rows: the settings.
        secret: True: no `repr` shows it.
    """
    return field(metadata={"rows": rows, "build": build}, repr=not secret)


Build: TypeAlias = Callable[[Reader, Built], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that was set, checked and ready to use.

    Attributes are named after the settings; `docs/reference/settings.md` explains each. `source` is the file,
    `warnings` are sentences for the owner, `inactive` are settings that this version reads but does not act on.
    """

    source: Path | None = None
    warnings: tuple[str, ...] = ()
    inactive: tuple[str, ...] = ()

    url: str = one("site.url", SITE_URL, None, "Public origin; cookies, redirects and passes are for it.", "(required)")
    store: str | None = one(
        "site.store", STORE, None, "`s3://bucket/prefix`, a folder, `file:///…` or `memory:`.", "(none)"
    )
    region: str | None = one(
        "site.region", TEXT, None, "Region of the bucket, and of whatever else is at AWS.", "(AWS chain)"
    )
    endpoint: str | None = one("site.endpoint", ENDPOINT, None, "URL of an S3-compatible store.", "(AWS)")
    addressing: Literal["auto", "virtual", "path"] = one(
        "site.addressing",
        choice("auto", "virtual", "path"),
        "auto",
        "Where the bucket stands: in the host name (`virtual`) or in the `path`.",
        "`auto`: the name at AWS, else the path",
    )
    ca: str = one(
        "site.ca",
        AUTHORITIES,
        None,
        "`file:ca.pem`: authorities of the store's and the issuers' certificates, besides the machine's own.",
        "(none)",
    )
    cache: int = one(
        "site.cache", SIZE, "64MB", "Memory of each worker for small objects of S3; `0`: every request asks S3."
    )
    fresh: float = one("site.fresh", DURATION, "5s", "How long such an object is answered without asking S3.")
    index: str | None = one(
        "site.index", FILE_NAME, None, "File that stands for a folder: `/docs/` answers `docs/index.html`.", "(none)"
    )
    fallback: str | None = one(
        "site.fallback", KEY, None, "Key for missing ones when a browser navigates (single-page apps).", "(none)"
    )
    trust_html: bool = one(
        "site.trust_html", FLAG, False, "Let scripts in HTML and SVG objects run in the site's origin."
    )
    issuers: tuple[Issuer, ...] = several(
        sections.issuers,
        row("issuers.name", TEXT, None, "What rules and logs call it.", "(the issuer)"),
        row("issuers.issuer", TEXT, None, "Exact `iss` of its tokens; discovery starts there.", "(required)"),
        row("issuers.audience", TEXTS, None, "`aud`, or `client_id` of a Cognito access token.", "(required)"),
        row("issuers.token_use", TEXTS, None, "Cognito only: which tokens count.", 'Cognito: `["access", "id"]`'),
        row("issuers.jwks", TEXT, None, "URL or file of the keys; a file works offline.", "(discovery)"),
        row(
            "issuers.algorithms", TEXTS, sorted(_ISSUER.algorithms), f"Any of {', '.join((*ALGORITHMS, *OTHER_NAMES))}."
        ),
        row(
            "issuers.claims",
            TABLE_OF_TEXTS,
            None,
            "Our name = the provider's claim: exact name, else dotted path.",
            "`groups`",
        ),
        row("issuers.leeway", DURATION, "0s", "Clock difference that `exp` and `nbf` forgive."),
    )
    token_sources: Sources = several(
        sections.token_sources,
        row("tokens.from", TEXTS, list(_TOKENS.order), "Where tokens may be; the first present decides."),
        row("tokens.cookie", TEXT, _TOKENS.cookie, "Name of the cookie that carries a bare token."),
        row("tokens.query", TEXT, _TOKENS.query, "Name of the query parameter that carries a token."),
    )
    policy: Policy = several(
        sections.policy,
        row("rules.path", RULE, None, "Pattern of keys: `*`, `**`, `{claim}`, `{claim|sha256}`.", "(required)"),
        row("rules.allow", RULE, None, '`"anyone"`, `"signed-in"` or conditions; see the policy reference.'),
        row("rules.deny", RULE, None, "The same; deny wins over allow."),
    )
    clients: tuple[Client, ...] = several(
        sections.clients,
        row("login.issuer", TEXT, None, "Which issuer signs people in.", "(the only one; with several a page asks)"),
        row("login.client_id", TEXT, None, "Client id at the issuer.", "(its only audience)"),
        row("login.client_secret", SECRET, None, "Client secret at the issuer.", "(none: a public client)"),
        row("login.scopes", TEXTS, list(_CLIENT.scopes), "Scopes asked for at sign-in."),
        row("issuers.client_id", TEXT, None, "Client id for sign-in, where several issuers sign people in.", "(none)"),
        row("issuers.client_secret", SECRET, None, "Client secret for the same.", "(none: a public client)"),
    )
    login_page: str | None = several(
        sections.login_page,
        row(
            "login.page",
            TEXT,
            None,
            "A sign-in page of your own: navigations without a credential go there.",
            "(`/-/login`, if people sign in here)",
        ),
    )
    session: float = one(
        "login.session",
        sections.SESSION,
        "8h",
        "How long a session lasts; one that was made from a token ends with it at the latest.",
    )
    renew: float = one(
        "login.renew",
        sections.SESSION,
        "1h",
        "How old claims may get until a navigation asks the issuer again; after twice that they open nothing.",
    )
    passes: PassSettings = several(
        sections.passes,
        row("passes.key_id", TEXT, None, "Id of the public key at CloudFront.", "(none)"),
        row("passes.private_key", SECRET, None, "The key that signs passes; without it none are issued.", "(none)"),
        row("passes.passphrase", SECRET, None, "Passphrase of the private key.", "(none)"),
        row(
            "passes.public_keys",
            SECRET_TABLE,
            None,
            "Key id = public key; all of them verify.",
            "(the private key's)",
        ),
        row("passes.hash", choice("sha1", "sha256"), PassSettings().hash, "`sha1` or `sha256`, for issuing."),
    )
    pass_lifetime: int = one(
        "passes.max_lifetime",
        sections.PASS_LIFETIME,
        "12h",
        "Longest life of a pass that is issued, and its default.",
    )
    passes_per_minute: int = one(
        "passes.per_minute", number(1_000_000), 600, "Passes that one caller may have issued in a minute."
    )
    catalogue: str | None = one(
        "catalogue.url", CATALOGUE, None, "`sqlite:///file.db` or `dynamodb://table`.", "(none)"
    )
    state: str | None = one(
        "state.url",
        STATE,
        None,
        "`sqlite:///state.db`; for gateways on several machines `redis://host:6379/0` or `dynamodb://table`.",
        "(none: nothing can be taken back)",
    )
    stale: float = one(
        "state.stale", DURATION, "5m", "How long the last known revocations count while it cannot be asked; then 503."
    )
    admin: Rule | None = several(
        sections.admin,
        row("admin.allow", CONDITIONS, None, "Who may take access back: conditions as in a rule.", "(nobody)"),
    )
    listen: tuple[str, int] = one("gateway.listen", ADDRESS, "127.0.0.1:8080", "Address and port.")
    workers: int = one("gateway.workers", number(1024), 1, "Processes that answer requests.")
    session_keys: tuple[bytes, ...] = several(
        sections.session_keys,
        row("login.session_keys", SECRETS, None, "The newest signs, all verify.", "(made at start)"),
        secret=True,
    )
    tls: tuple[Path, Path] | None = one(
        "gateway.tls", TLS, None, "`{ certificate = file, key = file }`, both PEM.", "(none)"
    )
    trusted_proxies: tuple[Network, ...] = one(
        "gateway.trusted_proxies", NETWORKS, [], "Addresses or networks whose forwarded headers count."
    )
    metrics: tuple[str, int] | None = one("gateway.metrics", ADDRESS, None, "Address and port for metrics.", "(off)")
    origins: frozenset[str] = one("cors.origins", ORIGINS, [], "Other origins whose scripts may read answers.")
    asked_headers: tuple[str, ...] = one(
        "cors.headers",
        HEADER_NAMES,
        [],
        "Request headers that their scripts may send besides the usual ones and those of tracing.",
    )
    access_log: AccessLog = one(
        "log.access",
        choice("json", "cloudfront", "off"),
        "json",
        "`json`, `cloudfront` or `off`; goes to standard output.",
    )

    @property
    def aws_region(self) -> str | None:
        """Region of what is at AWS itself; the region of a store elsewhere says nothing about it."""
        return None if self.endpoint else self.region

    @property
    def session_keys_are_temporary(self) -> bool:
        """True: no keys for sessions are set, so they were made at start and are known to nobody else."""
        return self.session_keys in ((), (sections.made_at_start(),))

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """Keys that sign sessions; the first signs, all verify."""
        return tuple(map(signing_key, self.session_keys))

    @property
    def seal_secrets(self) -> tuple[bytes, ...]:
        """Secrets that seal what clients keep for us; the first seals, all unseal."""
        return self.session_keys or (sections.made_at_start(),)

    @property
    def secure(self) -> bool:
        """False only for an http site on this machine, where browsers take no Secure cookie."""
        return self.url.startswith("https:")


FIELDS = tuple(entry for entry in fields(Settings) if entry.metadata)
"""The fields that settings fill, each of which may use the ones before it."""
TABLE: tuple[Setting, ...] = tuple(found for entry in FIELDS for found in entry.metadata["rows"])
SECTIONS = tuple(dict.fromkeys(found.section for found in TABLE))
LISTS = ("issuers", "rules")
"""Sections that are lists of tables."""
