"""Makes the zip of the edge functions: the core, two handlers, and `config.json` with settings, policy and keys.

Whatever the edge could not decide is refused here, with the setting's name, and not at the first request. Made twice
from the same settings the zip has the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa as openssl_rsa

from ...core import rsa
from ...core.errors import InvalidKeySet, SettingsError
from ...core.issuers import Issuer, parse_key_set
from ...core.policy.rules import Rule
from ...keys import pass_keys
from ...settings import LISTS, TABLE, Settings
from ...settings.reader import Reader
from .. import packing
from .config import FORM

OBJECTS, API = "stagedoor.aws.edge.lambda_function.objects", "stagedoor.aws.edge.lambda_function.api"
"""The handlers: for every behaviour of objects, and for `/-/*`."""
MAX_ZIP_BYTES = 1_048_576
"""A viewer-request function, in the stricter of AWS's tables ("Quotas on Lambda@Edge")."""


class Bundle(NamedTuple):
    """A zip that is ready to be uploaded.

    Attributes:
        content: its bytes.
        hash: of the configuration; the functions write it to their log.
        compiled: True: bytecode for the runtime is in it, and the first request is quicker.
        secret: True: session keys are in it.
        files: names, with sizes in bytes.
    """

    content: bytes
    hash: str
    compiled: bool
    secret: bool
    files: Mapping[str, int]


def make(settings: Settings, keys: Mapping[str, bytes], *, own_domain: bool = True) -> Bundle:
    """Make the bundle.

    Args:
        settings: of the site.
        keys: JWKS document of each issuer, by its exact URL, as it is published now.
        own_domain: False: the site's origin is the distribution's domain name, which nobody knows yet.

    Raises:
        SettingsError: the edge cannot do what a setting asks for.
    """
    config = configuration(settings, keys, own_domain=own_domain)
    files = {**packing.sources("aws/edge/lambda_function.py"), "config.json": _json(config)}
    compiled = packing.compiled(files)
    files |= compiled
    content = packing.zipped(files)
    if len(content) > MAX_ZIP_BYTES:
        problem = f"the edge bundle has {len(content):,} bytes, and CloudFront takes {MAX_ZIP_BYTES:,}"
        raise _refusal(settings, "rules", problem, "write fewer rules: a claim in a path stands for many")
    sizes = {name: len(body) for name, body in sorted(files.items())}
    return Bundle(content, config["hash"], bool(compiled), config["sessions"] is not None, sizes)


def configuration(settings: Settings, keys: Mapping[str, bytes], *, own_domain: bool = True) -> dict[str, Any]:
    """What `config.json` holds; arguments and errors as for `make`."""
    _refuse_what_the_edge_cannot(settings, keys)
    sources = settings.token_sources
    content: dict[str, Any] = {
        "form": FORM,
        "version": packing.stagedoor_version(),
        "url": settings.url if own_domain else None,
        "site": {
            "sources": {
                "order": list(sources.order),
                "cookie": sources.cookie,
                "query": sources.query,
                "session": sources.session,
            },
            "index": settings.index,
            "login_page": settings.login_page,
            "origins": sorted(settings.origins),
        },
        "issuers": [_issuer(number, one, keys[one.url]) for number, one in enumerate(settings.issuers)],
        "sessions": None,
        "passes": dict(_pass_keys(settings)),
        "rules": [_table(rule) for rule in settings.policy.rules],
    }
    if not settings.session_keys_are_temporary:
        keys_in_hex = [key.hex() for key in settings.session_keys]
        content["sessions"] = {"keys": keys_in_hex, "lifetime": settings.session}
    return {**content, "hash": hashlib.sha256(_json(content)).hexdigest()[:12]}


def _refuse_what_the_edge_cannot(settings: Settings, keys: Mapping[str, bytes]) -> None:
    for number, issuer in enumerate(settings.issuers):
        for other in sorted(issuer.algorithms - rsa.ALGORITHMS):
            raise _refusal(
                settings,
                f"issuers[{number}].algorithms",
                f"the edge checks RS256, RS384 and RS512 alone, not {other}",
                "let the provider sign with RS256, or trade its tokens for sessions: POST /-/session",
            )
        try:
            parse_key_set(keys[issuer.url], rsa, issuer.algorithms)
        except InvalidKeySet as error:
            mend = "the provider must publish RSA keys for these algorithms"
            raise _refusal(settings, f"issuers[{number}].issuer", f"its keys: {error}", mend) from error
    if settings.fallback is not None:
        problem = "the edge cannot know that an object is missing"
        raise _refusal(settings, "site.fallback", problem, 'leave it out for this site, and link to "/#route"')
    if not settings.secure:
        raise _refusal(settings, "site.url", "a site at CloudFront is https", "write its domain")


def _refusal(settings: Settings, name: str, problem: str, mend: str) -> SettingsError:
    """An error with file and line, as if the settings had been read a moment ago."""
    if settings.source is not None and settings.source.is_file():
        text = settings.source.read_text(encoding="utf-8")
        return Reader(TABLE, LISTS, text, settings.source, {}).error(name, problem, mend)
    return SettingsError(problem, setting=name, mend=mend)


def _issuer(number: int, issuer: Issuer, keys: bytes) -> dict[str, Any]:
    is_file = issuer.jwks is not None and issuer.jwks.startswith("file:")
    return {
        "issuer": issuer.url,
        "audience": sorted(issuer.audience),
        "name": issuer.name,
        "token_use": sorted(issuer.token_use),
        "jwks": f"file:baked/{number}" if is_file else issuer.jwks,
        "algorithms": sorted(issuer.algorithms),
        "claims": dict(sorted(issuer.claims.items())),
        "leeway": issuer.leeway,
        "keys": keys.decode(),  # as published: written anew it could be another document
    }


def _pass_keys(settings: Settings) -> Iterator[tuple[str, dict[str, str]]]:
    """Public keys of passes as JWKs; at the edge RSA alone can be checked."""
    for name, key in sorted(pass_keys.read_public_keys(settings.passes, settings.aws_region).items()):
        if not isinstance(key, openssl_rsa.RSAPublicKey):
            setting = "passes.public_keys" if name in settings.passes.public_keys else "passes.private_key"
            problem = f"the edge checks passes by RSA keys alone, and {name} is another"
            mend = "make an RSA pair (stagedoor keys new), or let CloudFront check them: the passes door"
            raise _refusal(settings, setting, problem, mend)
        numbers = key.public_numbers()
        yield name, {"kty": "RSA", "n": _base64url(numbers.n), "e": _base64url(numbers.e)}


def _table(rule: Rule) -> dict[str, Any]:
    """A rule as `[[rules]]` has it."""
    who: Any = rule.who
    if rule.who == "matching":
        conditions = (("groups", rule.groups), ("issuer", rule.issuers), ("emails", rule.emails))
        who = {name: sorted(values) for name, values in conditions if values}
        if rule.claims:
            who["claims"] = {name: sorted(values) for name, values in rule.claims.items()}
    return {"path": rule.pattern, rule.effect: who}


def _base64url(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
