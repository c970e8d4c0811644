"""Every error of Stagedoor, in one tree.

StagedoorError
├── SettingsError        stagedoor.toml or the environment is wrong; names file, line, setting and mend
├── RuleError            one rule of the policy is wrong (settings turn it into a SettingsError)
├── InvalidRequest       a request that cannot be understood                       -> 400
│   └── InvalidTarget    … because its target is not the name of one object
├── WrongOrigin          a script of an origin that [cors] does not list            -> 403
├── InvalidCredential    what the caller brought does not prove who they are        -> 401
│   ├── InvalidToken     … because the token is wrong, in shape, signature or claims
│   │   └── Revoked      … because it, or the session, or the person was taken back
│   ├── InvalidSession   … because our own session cookie is over or not ours any more
│   ├── OutdatedSession  … because what proved our session would be judged otherwise now -> 401, 503 for a new one
│   └── InvalidPass      … because the signed URL or cookies are wrong, over or for something else  -> 403
├── Unavailable          we could not ask, so no one is let in                      -> 503
│   ├── IssuerUnavailable  an issuer, for its keys or about who has signed in
│   ├── StoreUnavailable the store is away, slow or refuses more requests
│   ├── CatalogueUnavailable  the same of the catalogue
│   └── StateUnavailable  the site's own memory: what was taken back is not known, or could not be remembered
├── StoreRefused         the store does not accept *our* credentials or clock       -> 502
├── InvalidContent       an entry that the catalogue cannot hold                    -> 502 if it is found there
├── InvalidKey           a key of passes that cannot be used
├── UnusableKey          a key that this store cannot address exactly               -> 404
├── SessionTooLarge      a caller's claims do not fit into a cookie                   -> 422
├── LoginFailed          nobody has signed in at the issuer                           -> 403
└── InvalidKeySet        a JWKS without keys, or with keys that must not be trusted

Being denied is not an error but a value: `policy.Deny`.
Each error has a short stable `code`, the same in logs and in problem+json.
"""

from __future__ import annotations

import re

_IN_URLS = (
    (re.compile(r"""((['"])[^'"\n]*?(?::/+|//))[^'"\n]*@"""), r"\1…@"),  # quoted: a password may hold blanks
    (re.compile(r"""(:/+|//)[^\s'"]*@"""), r"\1…@"),
    (re.compile(r"""(?<![^\s'"(/])[^\s'"/@:]*:(?!/)[^\s'"@]*@"""), "…@"),
    (re.compile(r"""((?::/+|//)[^\s'"?#]*[?#])[^\s'"]+"""), r"\1…"),
)


def without_credentials(text: str) -> str:
    """The text without what may be secret in its URLs: user and password, query, fragment (RFC 3986 §3.2.1)."""
    if ":/" in text or "//" in text or "@" in text:
        for pattern, instead in _IN_URLS:
            text = pattern.sub(instead, text)
    return text


class StagedoorError(Exception):
    """Base of all errors; `code` is stable, the message is for people and holds no credential, of URLs neither."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(without_credentials(message))
        if code is not None:
            self.code = code


class SettingsError(StagedoorError):
    """A setting that Stagedoor will not start with.

    Attributes:
        problem: what is wrong, without file and line.
        source: the file, or "environment".
        line: 1-based line in the file; None where there is none to name.
        setting: dotted name, for example `site.url` or `rules[2].path`.
        mend: what to write instead.
    """

    code = "settings"

    def __init__(
        self, problem: str, *, source: str = "", line: int | None = None, setting: str = "", mend: str = ""
    ) -> None:
        problem, mend = without_credentials(problem), without_credentials(mend)
        self.problem, self.source, self.line, self.setting, self.mend = problem, source, line, setting, mend
        where = f"{source}:{line}" if line else source
        super().__init__(
            ": ".join(part for part in (where, setting, problem) if part) + (f"\n  {mend}" if mend else "")
        )


class RuleError(StagedoorError):
    """A rule that cannot be compiled. `field` is `path`, `allow`, `deny` or empty for the rule as a whole."""

    code = "rule"

    def __init__(self, problem: str, *, field: str = "", mend: str = "") -> None:
        super().__init__(problem)
        self.field, self.mend, self.index = field, mend, 0


class InvalidRequest(StagedoorError):
    """A request to an endpoint of ours that cannot be understood; `code` says which part of it."""

    code = "request"


class WrongOrigin(StagedoorError):
    """A script of an origin that `[cors]` does not list asks for a session or a pass."""

    code = "origin"


class InvalidTarget(InvalidRequest):
    """A request target that does not name exactly one key."""

    code = "target"


class InvalidCredential(StagedoorError):
    """A credential that is present but not valid.

    Attributes:
        place: where it was found (`credentials.Kind`); "" where that is not known.
    """

    code = "credential"

    def __init__(self, message: str, *, code: str | None = None, place: str = "") -> None:
        super().__init__(message, code=code)
        self.place = place


class InvalidToken(InvalidCredential):
    """A token that fails in shape, signature or claims; `code` says which check (`token-expired`, …)."""

    code = "token"


class InvalidSession(InvalidCredential):
    """A session cookie that is not valid, for example after a change of keys; a navigation's answer removes it."""

    code = "session"


class OutdatedSession(InvalidCredential):
    """A session whose claims may not hold any more: they are old, or settings have changed; the cookie stays.

    Attributes:
        is_new: made a moment ago, so that gateways with different settings must be answering.
        renewable: the issuer can be asked again, at `/-/renew`.
    """

    code = "session-outdated"

    def __init__(self, message: str, *, code: str | None = None, is_new: bool = False, renewable: bool = True) -> None:
        super().__init__(message, code=code)
        self.is_new, self.renewable = is_new, renewable


class Revoked(InvalidToken):
    """A token or session that verifies and was taken back; `code` says by what (`revoked-person`, …)."""

    code = "revoked"


class InvalidPass(InvalidCredential):
    """A signed URL or signed cookies that are not valid here.

    Attributes:
        aws_code, aws_message: what CloudFront says in this case (CloudFront Developer Guide; FAQ of re:Post).
    """

    code = "pass"

    def __init__(self, message: str, *, code: str, aws: tuple[str, str] = ("AccessDenied", "Access denied")) -> None:
        super().__init__(message, code=code)
        self.aws_code, self.aws_message = aws


class Unavailable(StagedoorError):
    """Something outside did not answer; the caller may try again after `retry_after` seconds."""

    code = "unavailable"
    retry_after = 10


class IssuerUnavailable(Unavailable):
    """An issuer could not be asked, or did not answer as it should."""

    code = "issuer-unavailable"


class StoreUnavailable(Unavailable):
    """The store did not answer in time, or asked us to slow down."""

    code = "store-unavailable"
    retry_after = 5


class CatalogueUnavailable(Unavailable):
    """The catalogue did not answer."""

    code = "catalogue-unavailable"
    retry_after = 5


class StateUnavailable(Unavailable):
    """The state did not answer, or takes no more."""

    code = "state-unavailable"
    retry_after = 5


class StoreRefused(StagedoorError):
    """The store refused our own credentials; the caller did nothing wrong."""

    code = "store-refused"


class UnusableKey(StagedoorError):
    """A key that this store cannot be asked for without changing it."""

    code = "unusable-key"


class InvalidContent(StagedoorError):
    """An entry that the catalogue cannot hold: no id, an id or key that no request can name, or too long."""

    code = "content"


class InvalidKey(StagedoorError):
    """A key that cannot sign or check passes."""

    code = "pass-key"


class SessionTooLarge(StagedoorError):
    """The claims that rules ask for do not fit into a cookie."""

    code = "session-too-large"


class LoginFailed(StagedoorError):
    """A sign-in that has come to nothing; `code` says at which step (`login-refused`, `login-token`, …)."""

    code = "login"


class InvalidKeySet(StagedoorError):
    """A JWKS document that must not be used."""

    code = "key-set"
