"""Questions about the ways around the site: its connection, the bucket behind it, the provider's attributes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..core.issuers import Issuer, is_cognito
from ..core.policy.decide import Policy
from ..core.policy.patterns import Claim
from .objects import _LISTS
from .visit import Evidence, SkipError, Visit
from .wire import DEFAULT_PORTS, Origin, Wire

LEAST_AGE = 2_592_000
"""Seconds, 30 days: what browsers remember for less is forgotten between two visits."""
_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

_STANDARD = frozenset(
    (
        *("address", "birthdate", "email", "family_name", "gender", "given_name", "locale", "middle_name", "name"),
        *("nickname", "phone_number", "picture", "preferred_username", "profile", "updated_at", "website", "zoneinfo"),
    )
)
"""Attributes that an app client may write where nobody said which (Cognito API, `WriteAttributes`)."""


def certificate(visit: Visit) -> Iterator[Evidence]:
    """The wire itself refuses to go on without one that holds."""
    if visit.subject.origin.scheme == "http":
        if visit.subject.origin.local:
            raise SkipError("http on this machine")
        yield Evidence(str(visit.subject.origin), "http: everybody on the way reads tokens and objects")
        return
    visit.ask("/")


def old_tls(visit: Visit) -> Iterator[Evidence]:
    if visit.subject.origin.scheme == "http":
        raise SkipError("http on this machine" if visit.subject.origin.local else "it is http")
    if version := visit.wire.speaks_old_tls():
        yield Evidence("a connection with nothing newer than TLS 1.1", f"it speaks {version}")


def plain_http(visit: Visit) -> Iterator[Evidence]:
    """Nobody there, a plain no, or the way to https at the same name; all else is said, or asked for, in the open."""
    origin = visit.subject.origin
    if origin.scheme == "http" or origin.port != DEFAULT_PORTS["https"]:
        raise SkipError("there is no port 80 that belongs to this URL")
    plain = Origin("http", origin.host, DEFAULT_PORTS["http"])
    target = visit.subject.path or "/"
    answer = Wire(plain, visit.meter).ask(target)
    to_https = answer.status in (301, 302, 303, 307, 308) and _is_of(origin, answer.field("location"))
    if answer.status and answer.status not in (403, 426) and not to_https:
        yield Evidence(f"GET {plain}{target}", visit.got(answer))


def _is_of(origin: Origin, url: str) -> bool:
    try:
        return Origin.of(url) == origin
    except ValueError:
        return False


def strict_transport(visit: Visit) -> Iterator[Evidence]:
    if visit.subject.origin.scheme == "http":
        raise SkipError("http on this machine" if visit.subject.origin.local else "it is http")
    told = visit.ask(visit.subject.path or "/").field("strict-transport-security")
    age = re.search(r"(?i)max-age\s*=\s*\"?([0-9]{1,12})", told)
    if age is None or int(age[1]) < LEAST_AGE:
        got = f"Strict-Transport-Security: {told}" if told else "no Strict-Transport-Security"
        yield Evidence(f"GET {visit.subject.path or '/'}", got)


def treated(visit: Visit) -> Iterator[Evidence]:
    """A firewall that refuses all that the doctor asks makes every site look good."""
    target = visit.subject.public or visit.subject.path or "/"
    answer, browsers = visit.ask(target), visit.ask(target, fields=(("User-Agent", _FIREFOX),))
    if answer.status != browsers.status:
        yield visit.evidence(answer, target, said=f"which is {visit.got(browsers)} for a browser")
    elif visit.subject.public is not None and answer.status != 200:
        yield visit.evidence(answer, target, said="which anybody may read")._replace(sure=False)


def bucket(visit: Visit) -> Iterator[Evidence]:
    base = visit.subject.bucket
    assert base is not None
    wire, prefix = Wire(Origin.of(base), visit.meter), urlsplit(base).path
    targets = [f"{prefix}/", f"{prefix}/?list-type=2", f"{prefix}/?versions", f"{prefix}/?acl", f"{prefix}/?policy"]
    if visit.subject.path is not None:
        targets += [prefix + visit.path]
    refused, last = False, ""
    for target in targets:
        for method in ("GET", "HEAD") if target.endswith(visit.subject.path or "\n") else ("GET",):
            answer = wire.ask(target, method)
            refused, last = refused or answer.status in (401, 403), visit.got(answer)
            if answer.given or _LISTS.search(answer.body):
                refused = True
                yield Evidence(f"{method} {wire.origin}{target}, without credentials", last)
            if b"<Code>NoSuchBucket</Code>" in answer.body:
                raise SkipError(f"there is no such bucket: {base}")
            if not answer.status:
                raise SkipError(f"{wire.origin} cannot be asked: {last}")
    made = f"{prefix}/stagedoor-doctor-{visit.nonce}"
    put = wire.ask(made, "PUT", (("If-None-Match", "*"),))
    if 200 <= put.status < 300:
        gone = wire.ask(made, "DELETE")
        left = "taken away again" if 200 <= gone.status < 300 else "it is there now: take it away"
        yield Evidence(f"PUT {wire.origin}{made}, without credentials", f"{put.status}; {left}")
    elif not refused:
        raise SkipError(f"{wire.origin} answers like no bucket that refuses ({last}): is it the bucket's own address?")


def writable_attributes(visit: Visit) -> Iterator[Evidence]:
    """A rule on what people can write about themselves is no rule (Cognito Developer Guide, "User pool attributes")."""
    settings = visit.subject.settings
    assert settings is not None
    pools = [issuer for issuer in settings.issuers if is_cognito(issuer.url)]
    if not pools:
        raise SkipError("the settings name no Cognito pool")
    for issuer in pools:
        if used := _attributes(settings.policy, issuer):
            yield from _writable(issuer, used)


def _attributes(policy: Policy, issuer: Issuer) -> dict[str, str]:
    """Attributes of Cognito's that decide: attribute -> the rule that asks for it."""
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
                    f"{attribute}, which {rule} decides by",
                )


def _written(pool: str, client: str) -> frozenset[str]:
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import get_session

    region = pool.partition("_")[0]
    config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 2})
    try:
        api: Any = get_session().create_client("cognito-idp", region_name=region, config=config)
        described = api.describe_user_pool_client(UserPoolId=pool, ClientId=client)["UserPoolClient"]
    except (BotoCoreError, ClientError, KeyError) as error:
        raise SkipError(
            f"AWS does not tell which attributes users may write ({type(error).__name__}): "
            "run it with credentials that may cognito-idp:DescribeUserPoolClient"
        ) from None
    listed = described.get("WriteAttributes")
    return frozenset(listed) if listed else _STANDARD
