"""What the edge decides with: settings, policy and keys, as the bundler wrote them down."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...core import rsa
from ...core.credentials import Sources
from ...core.door import Door, Site
from ...core.issuers import Issuer
from ...core.passes import Passes
from ...core.policy.decide import Policy, compile_rules
from ...core.session import Sessions
from ...core.tokens import Tokens

FORM = 2
"""Version of the form of `config.json`; the bundle's code reads this one alone."""
REMEMBERED_BYTES, DECISIONS = 512 * 1024, 128
"""Tokens, and as much of sessions, in bytes of their text; decisions, each of which keeps its caller. The function has
128 MB, and the claims of one token of the longest kind take 0.1 MB.
"""


class Config(NamedTuple):
    """The settings of one bundle.

    Attributes:
        version: of Stagedoor.
        hash: of everything below, to tell in a log which settings decided.
        url: origin of the site; None: `https://` and the distribution's domain name.
        site, issuers, sessions, passes: arguments of the core's values, as plain data.
        policy: the rules.
        baked: key sets that stand in for files, by the URL that asks for them.
    """

    version: str
    hash: str
    url: str | None
    site: Mapping[str, Any]
    issuers: tuple[Mapping[str, Any], ...]
    sessions: Mapping[str, Any] | None
    passes: Mapping[str, Mapping[str, object]]
    policy: Policy
    baked: Mapping[str, bytes]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Config:
        """Read the content of `config.json`."""
        if document["form"] != FORM:
            raise ValueError("config.json was made by another version; bundle again")
        return cls(
            document["version"],
            document["hash"],
            document["url"],
            document["site"],
            tuple(document["issuers"]),
            document["sessions"],
            document["passes"],
            compile_rules(document["rules"], remember=DECISIONS),
            {
                one["jwks"]: one["keys"].encode()
                for one in document["issuers"]
                if (one["jwks"] or "").startswith("file:")
            },
        )

    def door(self, domain: str) -> Door:
        """The door for a distribution of this domain name. Nobody has asked the issuers for keys since the bundling."""
        url = self.url or f"https://{domain}"
        issuers = tuple(_issuer(one) for one in self.issuers)
        tokens = Tokens(issuers, rsa, remember=REMEMBERED_BYTES)
        for issuer, one in zip(issuers, self.issuers, strict=True):
            tokens.issuers[issuer.url].install(one["keys"].encode(), -math.inf)
        passes = Passes(url, {name: rsa.load_for_passes(jwk) for name, jwk in self.passes.items()})
        return Door(self._site(url), self.policy, tokens, self._sessions(url, issuers), passes)

    def _site(self, url: str) -> Site:
        sources = {**self.site["sources"], "order": tuple(self.site["sources"]["order"])}
        origins = frozenset(self.site["origins"])
        return Site(url, Sources(**sources), self.site["index"], None, self.site["login_page"], origins)

    def _sessions(self, url: str, issuers: tuple[Issuer, ...]) -> Sessions | None:
        if self.sessions is None:
            return None
        keys = tuple(bytes.fromhex(key) for key in self.sessions["keys"])
        names = {issuer.url: issuer.name for issuer in issuers}
        return Sessions(url, keys, names, self.sessions["lifetime"], self.site["sources"]["session"])


def _issuer(one: Mapping[str, Any]) -> Issuer:
    return Issuer(
        one["issuer"],
        frozenset(one["audience"]),
        one["name"],
        frozenset(one["token_use"]),
        one["jwks"],
        frozenset(one["algorithms"]),
        one["claims"],
        one["leeway"],
    )
