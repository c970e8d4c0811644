"""What CloudFront caches, and the header fields that it adds for viewers."""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import Duration
from aws_cdk import aws_cloudfront as cloudfront
from constructs import Construct

from ..core.door import ASKED_HEADERS, EXPOSED_HEADERS
from ..gateway.objects import SANDBOX
from ..pages import layout

DEFAULT_TTL = Duration.days(1)
"""For objects that have no Cache-Control."""
MAX_TTL = Duration.days(365)
HSTS_FOR = Duration.days(365)
VIEWER_CACHE_CONTROL = "private, no-cache"
"""Viewers may keep a copy, and ask before each use whether they may still read it.

CloudFront itself obeys the object's Cache-Control in S3. There `private` would switch the cache off.
"""
PREFLIGHT_FOR = Duration.minutes(10)
BUCKET_HEADERS = (
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-version-id",
)
"""Header fields of S3 that viewers do not need; a key's ARN holds the number of the account."""


def cache_policy(scope: Construct, *, cache: bool) -> cloudfront.ICachePolicy:
    """One copy of an object for all who may read it: no cookie, header or query is part of the cache key.

    The exception is compression: CloudFront keeps one copy for each encoding that viewers accept.
    """
    if not cache:
        return cloudfront.CachePolicy.CACHING_DISABLED
    return cloudfront.CachePolicy(
        scope,
        "Cache",
        comment="Stagedoor: one copy of an object for all who may read it",
        min_ttl=Duration.seconds(0),
        default_ttl=DEFAULT_TTL,
        max_ttl=MAX_TTL,
        cookie_behavior=cloudfront.CacheCookieBehavior.none(),
        header_behavior=cloudfront.CacheHeaderBehavior.none(),
        query_string_behavior=cloudfront.CacheQueryStringBehavior.none(),
        enable_accept_encoding_brotli=True,
        enable_accept_encoding_gzip=True,
    )


def object_headers(
    scope: Construct, *, origins: Iterable[str], trust_html: bool, asked_headers: Iterable[str] = ()
) -> cloudfront.ResponseHeadersPolicy:
    """Header fields of objects.

    Args:
        scope: of the policy.
        origins: other origins whose scripts may read objects.
        trust_html: True: scripts in objects run in the site's origin.
        asked_headers: request headers that those scripts may send, besides the usual ones.
    """
    sandbox = cloudfront.ResponseHeadersContentSecurityPolicy(content_security_policy=SANDBOX.decode(), override=True)
    return cloudfront.ResponseHeadersPolicy(
        scope,
        "ObjectHeaders",
        comment="Stagedoor: objects are for this viewer alone, and run no script",
        custom_headers_behavior=cloudfront.ResponseCustomHeadersBehavior(
            custom_headers=[
                cloudfront.ResponseCustomHeader(header="Cache-Control", value=VIEWER_CACHE_CONTROL, override=True),
            ]
        ),
        security_headers_behavior=_security(None if trust_html else sandbox),
        cors_behavior=_cors(sorted(origins), [*ASKED_HEADERS, *asked_headers]),
        remove_headers=list(BUCKET_HEADERS),
    )


def api_headers(scope: Construct) -> cloudfront.ResponseHeadersPolicy:
    """Header fields of `/-/*`, added to those that the API sends itself; the error page has no others."""
    policy = cloudfront.ResponseHeadersContentSecurityPolicy(
        content_security_policy=layout.CONTENT_SECURITY_POLICY, override=False
    )
    return cloudfront.ResponseHeadersPolicy(
        scope,
        "ApiHeaders",
        comment="Stagedoor: the API sends the rest itself",
        security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
            content_security_policy=policy,
            content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
            strict_transport_security=_hsts(),
        ),
    )


def _security(
    sandbox: cloudfront.ResponseHeadersContentSecurityPolicy | None,
) -> cloudfront.ResponseSecurityHeadersBehavior:
    return cloudfront.ResponseSecurityHeadersBehavior(
        content_security_policy=sandbox,
        content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
        referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
            referrer_policy=cloudfront.HeadersReferrerPolicy.SAME_ORIGIN, override=False
        ),
        strict_transport_security=_hsts(),
    )


def _hsts() -> cloudfront.ResponseHeadersStrictTransportSecurity:
    """For this host alone, because its subdomains may belong to others."""
    return cloudfront.ResponseHeadersStrictTransportSecurity(
        access_control_max_age=HSTS_FOR, include_subdomains=False, override=True
    )


def _cors(origins: list[str], asked_headers: list[str]) -> cloudfront.ResponseHeadersCorsBehavior | None:
    if not origins:
        return None
    return cloudfront.ResponseHeadersCorsBehavior(
        access_control_allow_origins=origins,
        access_control_allow_credentials=True,
        access_control_allow_headers=asked_headers,
        access_control_allow_methods=["GET", "HEAD", "OPTIONS"],
        access_control_expose_headers=EXPOSED_HEADERS.decode().split(", "),
        access_control_max_age=PREFLIGHT_FOR,
        origin_override=True,
    )
