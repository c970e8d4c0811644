"""A domain name of one's own: its certificate, and the records that lead to the distribution."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Token
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from ..errors import SettingsError


@dataclass(frozen=True, slots=True)
class CustomDomain:
    """Where the site is to be found.

    Attributes:
        hosted_zone: of Route 53; its records prove to the certificate's issuer whose domain it is.
        domain_name: in that zone, for example `assets.example.com`.
    """

    hosted_zone: route53.IHostedZone
    domain_name: str

    def __post_init__(self) -> None:
        zone, name = self.hosted_zone.zone_name, self.domain_name
        if not Token.is_unresolved(zone) and name != zone and not name.endswith(f".{zone}"):
            raise SettingsError(f"{name} is not in the zone {zone}", setting="custom_domain")


def certificate(scope: Construct, domain: CustomDomain) -> acm.Certificate:
    """A certificate for the domain, which renews itself as long as its records stay."""
    validation = acm.CertificateValidation.from_dns(domain.hosted_zone)
    return acm.Certificate(scope, "Certificate", domain_name=domain.domain_name, validation=validation)


def records(scope: Construct, domain: CustomDomain, distribution: cloudfront.IDistribution) -> None:
    """Lead the domain name to the distribution, over IPv4 and IPv6."""
    target = route53.RecordTarget.from_alias(targets.CloudFrontTarget(distribution))
    route53.ARecord(scope, "Ipv4", zone=domain.hosted_zone, record_name=domain.domain_name, target=target)
    route53.AaaaRecord(scope, "Ipv6", zone=domain.hosted_zone, record_name=domain.domain_name, target=target)
