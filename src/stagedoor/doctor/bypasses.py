"""Questions about ways past the site: the bucket behind it, and attributes that users can write at the provider."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ..core.issuers import Issuer, is_cognito
from ..core.policy.decide import Policy
from ..core.policy.patterns import Claim
from ..outside import aws
from .access import LISTING
from .evidence import Evidence, SkipError
from .visit import Visit
from .wire import Origin, Wire

_STANDARD = frozenset(
    (
        *("address", "birthdate", "email", "family_name", "gender", "given_name", "locale", "middle_name", "name"),
        *("nickname", "phone_number", "picture", "preferred_username", "profile", "updated_at", "website", "zoneinfo"),
    )
)
"""Attributes that an app client may write unless it is configured otherwise (Cognito API, `WriteAttributes`)."""


def bucket(visit: Visit) -> Iterator[Evidence]:
    base = visit.subject.bucket
    assert base is not None
    wire, prefix = Wire(Origin.of(base), visit.meter), urlsplit(base).path
    refuses, opened, last = False, False, ""
    for method, target in _bucket_requests(prefix, visit.subject.path):
        answer = wire.ask(target, method)
        last = visit.summary(answer)
        refuses = refuses or answer.status in (401, 403)
        if answer.success or LISTING.search(answer.body):
            opened = True
            yield Evidence(f"{method} {wire.origin}{target}, without credentials", last)
        if b"<Code>NoSuchBucket</Code>" in answer.body:
            raise SkipError(f"there is no such bucket: {base}")
        if not answer.status:
            raise SkipError(f"{wire.origin} cannot be asked: {last}")
    target = f"{prefix}/stagedoor-doctor-{visit.nonce}"
    put = wire.ask(target, "PUT", (("If-None-Match", "*"),))
    if 200 <= put.status < 300:
        deleted = 200 <= wire.ask(target, "DELETE").status < 300
        left = "and deleted again" if deleted else "and could not be deleted: delete it yourself"
        yield Evidence(f"PUT {wire.origin}{target}, without credentials", f"{put.status}: it was stored, {left}")
    elif not (refuses or opened):
        raise SkipError(f"{wire.origin} does not answer like a bucket ({last}): is it the bucket's own address?")


def _bucket_requests(prefix: str, path: str | None) -> Iterator[tuple[str, str]]:
    for query in ("", "?list-type=2", "?versions", "?acl", "?policy"):
        yield "GET", f"{prefix}/{query}"
    if path is not None:
        yield from (("GET", prefix + path), ("HEAD", prefix + path))


def writable_attributes(visit: Visit) -> Iterator[Evidence]:
    """Rules must not depend on attributes that users can write (Cognito Developer Guide, "User pool attributes")."""
    settings = visit.subject.settings
    assert settings is not None
    pools = [issuer for issuer in settings.issuers if is_cognito(issuer.url)]
    if not pools:
        raise SkipError("the settings name no Cognito pool")
    for issuer in pools:
        if used := _attributes(settings.policy, issuer):
            yield from _writable(issuer, used)


def _attributes(policy: Policy, issuer: Issuer) -> dict[str, str]:
    """Cognito attributes that decide access: attribute -> a rule that depends on it."""
    used: dict[str, str] = {}
    for rule in policy.rules:
        names = [segment.name for segment in rule.segments if isinstance(segment, Claim)]
        for name in (*names, *rule.claims):
            attribute = issuer.claims.get(name, name)
            if attribute.startswith("custom:") or attribute in _STANDARD:
                used.setdefault(attribute, rule.name)
    return used


def _writable(issuer: Issuer, used: dict[str, str]) -> Iterator[Evidence]:
    pool = issuer.url.rpartition("/")[2]
    for client in sorted(issuer.audience):
        written = _written(pool, client)
        for attribute, rule in used.items():
            if attribute in written:
                yield Evidence(
                    f"which attributes the app client {client} of {pool} may write",
                    f"{attribute}, which {rule} depends on",
                )


def _written(pool: str, client: str) -> frozenset[str]:
    from botocore.exceptions import BotoCoreError, ClientError

    region = pool.partition("_")[0]
    try:
        api = aws.client("cognito-idp", region)
        described = api.describe_user_pool_client(UserPoolId=pool, ClientId=client)["UserPoolClient"]
    except (BotoCoreError, ClientError, KeyError) as error:
        raise SkipError(
            f"AWS does not say which attributes users may write ({type(error).__name__}): "
            "run it with credentials that may cognito-idp:DescribeUserPoolClient"
        ) from None
    listed = described.get("WriteAttributes")
    return frozenset(listed) if listed else _STANDARD
