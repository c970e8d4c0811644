"""Makes the zip of the edge functions: the handlers with all of ours that they import, and `config.json`.

A setting that the edge cannot obey is refused here, by its name, and not at the first request. The same settings and
keys make the same bytes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa as openssl_rsa

from ...core import rsa
from ...core.errors import InvalidKeySet, SettingsError
from ...core.issuers import Issuer, parse_key_set
from ...keys import pass_keys
from ...settings import Settings
from .. import packing
from .config import FORM

OBJECTS, API = "stagedoor.aws.edge.lambda_function.objects", "stagedoor.aws.edge.lambda_function.api"
"""The handlers: for every behaviour that serves objects, and for `/-/*`."""
MAX_ZIP_BYTES = 1_048_576
"""Limit of a viewer-request function, in the stricter of AWS's tables ("Quotas on Lambda@Edge")."""


def make(settings: Settings, keys: Mapping[str, bytes], *, own_domain: bool = True) -> packing.Bundle:
    """Make the bundle.

    Args:
        settings: of the site.
        keys: issuer's exact URL -> the JWKS document that it publishes now.
        own_domain: False: the site's origin is the distribution's domain name, which CloudFront has yet to choose.

    Returns:
        The bundle; its hash is that of the configuration.

    Raises:
        SettingsError: the edge cannot do what a setting asks for.
    """
    config = configuration(settings, keys, own_domain=own_domain)
    files = {**packing.sources("aws/edge/lambda_function.py"), "config.json": _json(config)}
    bundle = packing.pack(files, config["hash"], secret=config["sessions"] is not None)
    if len(bundle.content) > MAX_ZIP_BYTES:
        problem = f"the edge bundle has {len(bundle.content):,} bytes, and CloudFront takes {MAX_ZIP_BYTES:,}"
        raise _error(settings, "rules", problem, "write fewer rules: one rule with a claim in its path replaces many")
    return bundle


def configuration(settings: Settings, keys: Mapping[str, bytes], *, own_domain: bool = True) -> dict[str, Any]:
    """Make the content of `config.json`; arguments and errors as for `make`."""
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
            "asked_headers": list(settings.asked_headers),
        },
        "issuers": [_issuer(number, issuer, keys[issuer.url]) for number, issuer in enumerate(settings.issuers)],
        "sessions": None,
        "passes": dict(_pass_keys(settings)),
        "rules": [rule.table() for rule in settings.policy.rules],
    }
    if not settings.session_keys_are_temporary:
        keys_in_hex = [key.hex() for key in settings.signing_keys]
        content["sessions"] = {"keys": keys_in_hex, "lifetime": settings.session, "renew": settings.renew}
    return {**content, "hash": packing.sha256(_json(content))[:12]}


def _refuse_what_the_edge_cannot(settings: Settings, keys: Mapping[str, bytes]) -> None:
    for number, issuer in enumerate(settings.issuers):
        if not issuer.algorithms <= rsa.ALGORITHMS:
            raise _error(settings, f"issuers[{number}].algorithms", *_unchecked(issuer.algorithms))
        try:
            parse_key_set(keys[issuer.url], rsa, issuer.algorithms)
        except InvalidKeySet as error:
            mend = "the provider must publish RSA keys for these algorithms"
            raise _error(settings, f"issuers[{number}].issuer", f"its keys: {error}", mend) from error
    if settings.fallback is not None:
        problem = "the edge cannot know that an object is missing"
        raise _error(settings, "site.fallback", problem, 'leave it out for this site, and link to "/#route"')
    if not settings.secure:
        raise _error(settings, "site.url", "a site at CloudFront is https", "write its domain")


def _unchecked(algorithms: frozenset[str]) -> tuple[str, str]:
    """Problem and mend of algorithms that need more than the standard library: their tokens would open nothing here."""
    others, kept = (sorted(part) for part in (algorithms - rsa.ALGORITHMS, algorithms & rsa.ALGORITHMS))
    problem = f"the edge checks RS256, RS384 and RS512 alone, not {', '.join(others)}"
    elsewhere = "the gateway, and the API of the passes door, verify the others"
    if kept:
        return problem, f"algorithms = {json.dumps(kept)}, if the provider signs with nothing else; {elsewhere}"
    return problem, f'let the provider sign with RS256, the default of "algorithms"; {elsewhere}'


def _error(settings: Settings, name: str, problem: str, mend: str) -> SettingsError:
    """An error that names the line of a setting."""
    return packing.read_again(settings, {}).error(name, problem, mend)


def _issuer(number: int, issuer: Issuer, keys: bytes) -> dict[str, Any]:
    is_file = issuer.jwks is not None and issuer.jwks.startswith("file:")
    return {
        "issuer": issuer.url,
        "audience": sorted(issuer.audience),
        "name": issuer.name,
        "token_use": sorted(issuer.token_use),
        "jwks": f"file:issuer/{number}" if is_file else issuer.jwks,
        "algorithms": sorted(issuer.algorithms),
        "claims": dict(sorted(issuer.claims.items())),
        "leeway": issuer.leeway,
        "keys": keys.decode(),  # exactly as published, because JSON that is parsed and written again may differ
    }


def _pass_keys(settings: Settings) -> Iterator[tuple[str, dict[str, str]]]:
    """Public keys of passes: id -> JWK. The edge can check RSA signatures alone."""
    for name, key in sorted(pass_keys.read_public_keys(settings.passes, settings.aws_region).items()):
        if not isinstance(key, openssl_rsa.RSAPublicKey):
            setting = "passes.public_keys" if name in settings.passes.public_keys else "passes.private_key"
            problem = f"the edge checks passes with RSA keys alone, and {name} is of another kind"
            mend = "make an RSA pair (stagedoor keys new), or let CloudFront check them: the passes door"
            raise _error(settings, setting, problem, mend)
        numbers = key.public_numbers()
        yield name, {"kty": "RSA", "n": _base64url(numbers.n), "e": _base64url(numbers.e)}


def _base64url(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
