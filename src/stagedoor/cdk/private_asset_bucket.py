"""The whole site: a private bucket, a distribution in front of it, and a check of every request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from aws_cdk import Annotations, RemovalPolicy, Stack, Token
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from ..core.errors import SettingsError
from . import access_log, bucket, caching, domain, error_page, inputs, monitoring, passes, waf
from .domain import CustomDomain
from .edge_functions import EdgeFunctions
from .inputs import REGION, KeyDocuments
from .nag import acknowledge
from .outputs import output

DOORS = ("edge", "passes")


class PrivateAssetBucket(Construct):
    """A private bucket behind CloudFront, where the policy decides who may read which object.

    With `settings` it is the policy of the settings file, as at every other door. With `user_pool_id` and
    `user_pool_client_id` instead, every user of the pool may read everything.

    Args:
        scope: in a stack of us-east-1.
        id_: in the scope.
        asset_bucket_name: of a new bucket; None: CDK chooses one.
        asset_bucket_name_import: of a bucket that exists already; then `asset_bucket_name` is ignored. Its policy is
            not changed: add the statements of the output `BucketPolicyStatements` to it.
        asset_bucket_region: of the imported bucket; None: the stack's.
        custom_domain: None: CloudFront chooses the domain name.
        user_pool_id, user_pool_client_id: of Cognito, as plain text, instead of settings.
        updated_issuer: True: the pool's issuer type is UPDATED (its tokens' `iss` is `https://issuer-cognito-idp.…`).
            An issuer of the pool that `issuer_keys` names counts, too, so that a pool can change its type.
        settings: path of the settings file. This construct sets `site.url` and `site.store` itself; it uses only the
            prefix of a store `s3://bucket/prefix`.
        issuer_keys: issuer's URL -> JWKS document; the keys of other issuers are fetched while the template is made.
        door: `edge`: a function checks tokens, sessions and passes. `passes`: CloudFront checks signed URLs and
            cookies itself, which is quicker and cheaper; a `ContentApi` issues them.
        cache: False: every request goes to the bucket.
        price_class: the parts of the world where CloudFront serves the site.
        firewall: False: no web ACL is made; attach one yourself, or go without.
        requests_per_address: that the firewall allows within five minutes.
        alarm_topic: is notified of alarms.
        removal_policy: of a new bucket, for when the stack is deleted.

    Attributes:
        bucket: the assets.
        distribution: in front of them.
        settings: of the site, as loaded.
        url: origin of the site.
        edge: the edge functions.
        pass_keys: the public keys that CloudFront checks passes with; None at the edge door.

    Raises:
        SettingsError: a value is missing, contradictory, impossible at this door, or not known yet.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        asset_bucket_name: str | None = None,
        asset_bucket_name_import: str | None = None,
        asset_bucket_region: str | None = None,
        custom_domain: CustomDomain | None = None,
        user_pool_id: str | None = None,
        user_pool_client_id: str | None = None,
        updated_issuer: bool = False,
        settings: Path | str | None = None,
        issuer_keys: KeyDocuments | None = None,
        door: Literal["edge", "passes"] = "edge",
        cache: bool = True,
        price_class: cloudfront.PriceClass = cloudfront.PriceClass.PRICE_CLASS_100,
        firewall: bool = True,
        requests_per_address: int = waf.REQUESTS_PER_ADDRESS,
        alarm_topic: sns.ITopic | None = None,
        removal_policy: RemovalPolicy = RemovalPolicy.RETAIN,
    ) -> None:
        super().__init__(scope, id_)
        _require_region(self)
        _check_arguments(door, custom_domain, asset_bucket_name_import, asset_bucket_region)
        self._has_api = False
        name = custom_domain.domain_name if custom_domain else None
        self.settings = inputs.site_settings(
            settings,
            user_pool_id,
            user_pool_client_id,
            name,
            updated_issuer=updated_issuer,
            documents=issuer_keys,
        )
        if settings is not None:
            self._list_overriding_variables()
        logs = bucket.log_bucket(self)
        self.bucket = (
            bucket.imported_bucket(self, asset_bucket_name_import, asset_bucket_region)
            if asset_bucket_name_import
            else bucket.asset_bucket(self, logs, asset_bucket_name, removal_policy)
        )
        self.pass_keys = self._pass_keys() if door == "passes" else None
        self.edge = self._edge(inputs.key_documents(self.settings, issuer_keys), own_domain=custom_domain is not None)
        acl = waf.firewall(self, requests_per_address).attr_arn if firewall else None
        error_pages = error_page.make_bucket(self)
        self.distribution = self._distribution(custom_domain, cache, price_class, acl, error_pages)
        host = name or self.distribution.distribution_domain_name
        self.url = f"https://{host}"
        error_page.write(self, error_pages, error_page.html(host, "/" if self.settings.index else ""))
        if asset_bucket_name_import:
            self._print_statements_to_add()
        if custom_domain:
            domain.records(self, custom_domain, self.distribution)
        access_log.access_log(self, self.distribution, logs)
        monitoring.watch(self, self.distribution, alarm_topic)
        output(self, "BucketName", self.bucket.bucket_name)
        output(self, "SiteUrl", self.url)
        output(self, "DistributionId", self.distribution.distribution_id)

    def _list_overriding_variables(self) -> None:
        names = inputs.overriding_variables()
        if names:
            Annotations.of(self).add_info(f"environment variables override the settings file: {', '.join(names)}")

    def _pass_keys(self) -> passes.PassKeys:
        passes.refuse_what_passes_cannot(self.settings)
        return passes.PassKeys(self, "PassKeys", settings=self.settings)

    def _edge(self, documents: Mapping[str, bytes], *, own_domain: bool) -> EdgeFunctions:
        settings = passes.for_api_alone(self.settings) if self.pass_keys else self.settings
        keys = inputs.issuer_keys(settings, documents)
        return EdgeFunctions(self, "Edge", settings=settings, keys=keys, own_domain=own_domain)

    def _distribution(
        self,
        custom_domain: CustomDomain | None,
        cache: bool,
        price_class: cloudfront.PriceClass,
        acl: str | None,
        error_pages: s3.Bucket,
    ) -> cloudfront.Distribution:
        self._api_headers = caching.api_headers(self)
        distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment="Stagedoor: private files",
            default_behavior=self._objects(cache),
            additional_behaviors={error_page.PATTERN: error_page.behavior(error_pages, self._api_headers)},
            error_responses=error_page.responses(),
            domain_names=[custom_domain.domain_name] if custom_domain else None,
            certificate=domain.certificate(self, custom_domain) if custom_domain else None,
            minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021 if custom_domain else None,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            enable_ipv6=True,
            price_class=price_class,
            web_acl_id=acl,
            publish_additional_metrics=True,
        )
        reasons = {
            "CFR1": "who may read is decided by the policy, not by country",
            "CFR3": "standard logging (v2) is on, which leaves tokens out; the rule looks for the old logging only",
        }
        if not custom_domain:
            reasons["CFR4"] = "without a custom domain CloudFront chooses the versions of TLS"
        if not acl:
            reasons["CFR2"] = "the owner has switched the firewall off"
        acknowledge(distribution, **reasons)
        return distribution

    def _objects(self, cache: bool) -> cloudfront.BehaviorOptions:
        """The behaviour that serves objects: the check first, then the cache, then the bucket."""
        checks = [self.edge.objects] if self.pass_keys is None else None
        return cloudfront.BehaviorOptions(
            origin=origins.S3BucketOrigin.with_origin_access_control(
                self.bucket, origin_access_levels=self._levels(), origin_path=self.prefix
            ),
            edge_lambdas=checks,
            trusted_key_groups=[self.pass_keys.group] if self.pass_keys else None,
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
            allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD_OPTIONS,
            cached_methods=cloudfront.CachedMethods.CACHE_GET_HEAD,
            compress=True,
            cache_policy=caching.cache_policy(self, cache=cache),
            response_headers_policy=caching.object_headers(
                self,
                origins=self.settings.origins,
                trust_html=self.settings.trust_html,
                asked_headers=self.settings.asked_headers,
            ),
        )

    def _levels(self) -> list[cloudfront.AccessLevel]:
        """What CloudFront may do with the bucket.

        At the edge door it may list, because otherwise S3 answers 403 for a missing object; the edge function never
        asks for the empty key, which would list the bucket. At the passes door nothing refuses that key, so CloudFront
        may not list, and a missing object is a 403.
        """
        if self.pass_keys is not None:
            return [cloudfront.AccessLevel.READ]
        Annotations.of(self).acknowledge_warning(
            "@aws-cdk/aws-cloudfront-origins:listBucketSecurityRisk", "the edge function asks for no empty key"
        )
        return [cloudfront.AccessLevel.READ, cloudfront.AccessLevel.LIST]

    @property
    def prefix(self) -> str | None:
        """The folder of the bucket that all objects are in, with a slash before it; None: the whole bucket."""
        store = urlsplit(self.settings.store or "")
        return store.path.rstrip("/") or None if store.scheme == "s3" else None

    def _print_statements_to_add(self) -> None:
        prefix = f"{self.prefix.removeprefix('/')}/" if self.prefix else ""
        can_list = self.pass_keys is None
        bucket.print_statements_to_add(self, self.distribution, self.bucket, prefix, can_list=can_list)

    def add_api(self, origin: cloudfront.IOrigin) -> None:
        """Send `/-/*` to the site's API, with all credentials and without a cache.

        Raises:
            SettingsError: the site has an API already.
        """
        if self._has_api:
            problem = "this site has an API already, and /-/* can go to one only"
            raise SettingsError(problem, setting="site", mend="make one ContentApi for each site")
        self._has_api = True
        self.distribution.add_behavior(
            "/-/*",
            origin,
            edge_lambdas=[self.edge.api],
            viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
            allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
            cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
            origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
            response_headers_policy=self._api_headers,
        )


def _check_arguments(door: object, custom_domain: object, imported: str | None, region: str | None) -> None:
    """Refuse wrong arguments that a type checker would have found, and a region that does not fit."""
    if door not in DOORS:
        raise SettingsError(f"there is no door {door!r}", setting="door", mend=f"it is one of {', '.join(DOORS)}")
    if custom_domain is not None and not isinstance(custom_domain, CustomDomain):
        raise SettingsError(
            f"{custom_domain!r} names no zone for the certificate and the records",
            setting="custom_domain",
            mend='give CustomDomain(zone, "assets.example.com")',
        )
    if region is None or Token.is_unresolved(region):
        return
    if not imported:
        raise SettingsError(
            f"a new bucket is in the region of its stack, {REGION}",
            setting="asset_bucket_region",
            mend="leave it out, or import a bucket: asset_bucket_name_import",
        )
    if not re.fullmatch(r"([a-z]{2}|eusc)(-[a-z]+)+-\d+", region):
        raise SettingsError(
            f"{region!r} is not the name of a region", setting="asset_bucket_region", mend="for example eu-central-1"
        )


def _require_region(construct: Construct) -> None:
    region = Stack.of(construct).region
    if region != REGION:
        place = "no region" if Token.is_unresolved(region) else region
        raise SettingsError(
            f"the stack is in {place}, but CloudFront takes functions, firewall and certificate from {REGION} alone",
            setting="env",
            mend=f'give the stack env=cdk.Environment(region="{REGION}"); a bucket of another region can be imported',
        )
