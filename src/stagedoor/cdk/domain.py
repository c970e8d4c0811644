"""The site's own domain name: its certificate, and the records that lead to the distribution."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aws_cdk import Token
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from ..core.errors import SettingsError

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})+")
"""RFC 1123 §2.1, in lower case, as in the origins that browsers send."""


@dataclass(frozen=True, slots=True)
class CustomDomain:
    """The site's own domain name.

    Attributes:
        hosted_zone: of Route 53; its records show the certificate's issuer that the domain is yours.
        domain_name: in that zone, for example `assets.example.com`.

    Raises:
        SettingsError: it is not a host name, or not in that zone.
    """

    hosted_zone: route53.IHostedZone
    domain_name: str

    def __post_init__(self) -> None:
        zone, name = self.hosted_zone.zone_name, self.domain_name
        if Token.is_unresolved(name):
            return  # `PrivateAssetBucket` refuses it, and says what to do
        if not _HOST.fullmatch(name):
            bare = re.sub(r".*?://", "", name.lower()).partition("/")[0].partition(":")[0].removesuffix(".")
            write = bare if _HOST.fullmatch(bare) else "for example assets.example.com"
            raise SettingsError(f"{name!r} is not a host name", setting="custom_domain", mend=f"write {write}")
        if not Token.is_unresolved(zone) and not f".{name}".endswith(f".{zone.removesuffix('.').lower()}"):
            raise SettingsError(
                f"{name} is not in the zone {zone}",
                setting="custom_domain",
                mend=f"name one that is, for example assets.{zone}, or give the zone that {name} is in",
            )


def certificate(scope: Construct, domain: CustomDomain) -> acm.Certificate:
    """A certificate for the domain; AWS renews it as long as the DNS records stay."""
    validation = acm.CertificateValidation.from_dns(domain.hosted_zone)
    return acm.Certificate(scope, "Certificate", domain_name=domain.domain_name, validation=validation)


def records(scope: Construct, domain: CustomDomain, distribution: cloudfront.IDistribution) -> None:
    """Lead the domain name to the distribution, over IPv4 and IPv6."""
    target = route53.RecordTarget.from_alias(targets.CloudFrontTarget(distribution))
    route53.ARecord(scope, "Ipv4", zone=domain.hosted_zone, record_name=domain.domain_name, target=target)
    route53.AaaaRecord(scope, "Ipv6", zone=domain.hosted_zone, record_name=domain.domain_name, target=target)
