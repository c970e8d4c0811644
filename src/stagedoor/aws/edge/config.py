"""What the edge decides with: settings, policy and keys, as the bundler wrote them into `config.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...core import rsa
from ...core.credentials import Sources
from ...core.door import Door, Site
from ...core.issuers import Issuer
from ...core.passes.verify import Passes
from ...core.policy.decide import compile_rules
from ...core.tokens import Tokens

if TYPE_CHECKING:
    from ...core.session import Sessions

FORM = 2
"""Version of the form of `config.json`; a bundle's code reads no other."""
REMEMBERED_BYTES, DECISIONS = 512 * 1024, 128
"""Limits of what is remembered: bytes of token text (as many again of session text), and decisions with their callers.

The function has 128 MB; the claims of one token of the greatest length take 0.1 MB.
"""


class Config:
    """The settings of one bundle.

    Args:
        document: the content of `config.json`.

    Attributes:
        version: of Stagedoor.
        hash: of everything else in the document; in a log it names the settings that decided.
        url: origin of the site; None: `https://` and the distribution's domain name.
        key_files: JWKS documents that issuers have in a file, by the `file:` URL that asks for them.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        if document["form"] != FORM:
            raise ValueError("config.json was made by another version; bundle again")
        self.version: str = document["version"]
        self.hash: str = document["hash"]
        self.url: str | None = document["url"]
        self._site, self._sessions, self._passes = document["site"], document["sessions"], document["passes"]
        self._issuers = document["issuers"]
        self._policy = compile_rules(document["rules"], remember=DECISIONS)
        self.key_files: Mapping[str, bytes] = {
            issuer["jwks"]: issuer["keys"].encode()
            for issuer in self._issuers
            if (issuer["jwks"] or "").startswith("file:")
        }

    def door(self, domain: str) -> Door:
        """Make the door for a distribution of this domain name; the issuers' keys are those of the bundle at first."""
        url = self.url or f"https://{domain}"
        issuers = tuple(map(_issuer, self._issuers))
        tokens = Tokens(issuers, rsa, remember=REMEMBERED_BYTES)
        for issuer, values in zip(issuers, self._issuers, strict=True):
            tokens.issuers[issuer.url].install(values["keys"].encode(), -math.inf)
        passes = Passes(url, {name: rsa.load_for_passes(jwk) for name, jwk in self._passes.items()})
        sessions = self._make_sessions(url, issuers) if self._sessions else None
        return Door(self._make_site(url), self._policy, tokens, sessions, passes)

    def _make_site(self, url: str) -> Site:
        values = self._site
        sources = Sources(**{**values["sources"], "order": tuple(values["sources"]["order"])})
        origins, headers = frozenset(values["origins"]), tuple(values["asked_headers"])
        return Site(url, sources, values["index"], None, values["login_page"], origins, headers)

    def _make_sessions(self, url: str, issuers: tuple[Issuer, ...]) -> Sessions:
        from ...core.session import Sessions  # many sites have no session keys here, and start without it

        keys = tuple(map(bytes.fromhex, self._sessions["keys"]))
        lifetime, renew = self._sessions["lifetime"], self._sessions["renew"]
        cookie = self._site["sources"]["session"]
        return Sessions(url, keys, issuers, self._policy.rules, lifetime, cookie, renew=renew)


def _issuer(values: Mapping[str, Any]) -> Issuer:
    return Issuer(
        values["issuer"],
        frozenset(values["audience"]),
        values["name"],
        frozenset(values["token_use"]),
        values["jwks"],
        frozenset(values["algorithms"]),
        values["claims"],
        values["leeway"],
    )
