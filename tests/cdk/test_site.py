"""The template of a site: it is private, every request is checked, and CloudFront's limits are kept."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_route53 as route53

from stagedoor.cdk import CustomDomain
from stagedoor.core.errors import SettingsError
from tests.helpers.synth import (
    CLIENT,
    POOL,
    POOL_URL,
    Template,
    actions,
    distribution,
    made,
    of_type,
    only,
    plain,
    site,
    stack,
    statements,
)

pytestmark = pytest.mark.needs("node")


@pytest.fixture(scope="session")
def template() -> Template:
    return plain()


def assets(template: Template) -> tuple[str, Any]:
    """Logical id and properties of the bucket with the assets."""
    ((name, bucket),) = (item for item in of_type(template, "AWS::S3::Bucket").items() if "SiteAssets" in item[0])
    return name, bucket


def bucket_policy(template: Template, name: str) -> list[Any]:
    policies = of_type(template, "AWS::S3::BucketPolicy").values()
    (found,) = (policy for policy in policies if policy["Bucket"] == {"Ref": name})
    return statements(found)


# --- the bucket


def test_no_bucket_is_public(template: Template) -> None:
    for bucket in of_type(template, "AWS::S3::Bucket").values():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
        assert bucket["BucketEncryption"]


def test_the_assets_are_read_by_this_distribution_alone(template: Template) -> None:
    name, _ = assets(template)
    (its_id,) = of_type(template, "AWS::CloudFront::Distribution")
    allowed = [one for one in bucket_policy(template, name) if one["Effect"] == "Allow"]
    assert {name for one in allowed for name in actions(one)} == {"s3:GetObject", "s3:ListBucket"}
    for one in allowed:
        assert one["Principal"] == {"Service": "cloudfront.amazonaws.com"}
        (source,) = one["Condition"]["StringEquals"].values()
        assert source["Fn::Join"][1][-1] == {"Ref": its_id}


def test_buckets_answer_over_tls_alone(template: Template) -> None:
    for name in of_type(template, "AWS::S3::Bucket"):
        denied = [one for one in bucket_policy(template, name) if one["Effect"] == "Deny"]
        conditions = [one["Condition"] for one in denied]
        assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
        assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in conditions


def test_what_is_overwritten_or_deleted_can_be_restored(template: Template) -> None:
    name, bucket = assets(template)
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert template["Resources"][name]["DeletionPolicy"] == "Retain"


def test_what_is_seldom_read_costs_less(template: Template) -> None:
    (rule,) = assets(template)[1]["LifecycleConfiguration"]["Rules"]
    assert rule["Transitions"] == [{"StorageClass": "INTELLIGENT_TIERING", "TransitionInDays": 30}]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}


def test_cloudfront_signs_its_requests_to_a_bucket(template: Template) -> None:
    for control in of_type(template, "AWS::CloudFront::OriginAccessControl").values():
        config = control["OriginAccessControlConfig"]
        assert (config["SigningBehavior"], config["SigningProtocol"]) == ("always", "sigv4")
    for origin in distribution(template)["Origins"]:
        assert origin["OriginAccessControlId"]


# --- the distribution


def test_every_behaviour_of_assets_is_checked_before_the_cache(template: Template) -> None:
    config = distribution(template)
    for behavior in (config["DefaultCacheBehavior"], *config["CacheBehaviors"]):
        (check,) = behavior.get("LambdaFunctionAssociations", [None])
        if check is None:
            assert behavior["PathPattern"] == "/-/errors/*"
            assert behavior["TargetOriginId"] != config["DefaultCacheBehavior"]["TargetOriginId"]
        else:
            assert check["EventType"] == "viewer-request"


def test_viewers_use_https_alone(template: Template) -> None:
    config = distribution(template)
    behaviors = (config["DefaultCacheBehavior"], *config["CacheBehaviors"])
    assert {behavior["ViewerProtocolPolicy"] for behavior in behaviors} == {"https-only"}
    assert config["HttpVersion"] == "http2and3"
    assert config["IPV6Enabled"] is True
    assert config["PriceClass"] == "PriceClass_100"


def test_one_copy_is_kept_for_all_who_may_read_it(template: Template) -> None:
    policy = only(template, "AWS::CloudFront::CachePolicy")["CachePolicyConfig"]
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["CookiesConfig"] == {"CookieBehavior": "none"}
    assert key["HeadersConfig"] == {"HeaderBehavior": "none"}
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "none"}
    assert (key["EnableAcceptEncodingGzip"], key["EnableAcceptEncodingBrotli"]) == (True, True)
    assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 86_400)
    objects = distribution(template)["DefaultCacheBehavior"]
    assert objects["Compress"] is True
    assert "OriginRequestPolicyId" not in objects


def test_caching_can_be_switched_off() -> None:
    uncached = made(lambda scope: site(scope, cache=False))
    assert not of_type(uncached, "AWS::CloudFront::CachePolicy")
    managed = distribution(uncached)["DefaultCacheBehavior"]["CachePolicyId"]
    assert managed == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # CachingDisabled ("Use managed cache policies")


def test_viewers_keep_objects_private_and_run_no_scripts_in_them(template: Template) -> None:
    policies = of_type(template, "AWS::CloudFront::ResponseHeadersPolicy").items()
    (policy,) = (one["ResponseHeadersPolicyConfig"] for name, one in policies if "ObjectHeaders" in name)
    (control,) = policy["CustomHeadersConfig"]["Items"]
    assert control == {"Header": "Cache-Control", "Value": "private, no-cache", "Override": True}
    security = policy["SecurityHeadersConfig"]
    assert security["ContentTypeOptions"] == {"Override": True}
    assert security["ContentSecurityPolicy"]["ContentSecurityPolicy"].startswith("sandbox;")
    assert security["StrictTransportSecurity"]["AccessControlMaxAgeSec"] == 31_536_000
    assert "CorsConfig" not in policy


def test_error_pages_replace_5xx_alone_and_change_no_status(template: Template) -> None:
    responses = distribution(template)["CustomErrorResponses"]
    assert {one["ErrorCode"] for one in responses} == {500, 502, 503, 504}
    assert all(one["ResponseCode"] == one["ErrorCode"] for one in responses)
    page = only(template, "Custom::StagedoorErrorPage")
    assert {one["ResponsePagePath"] for one in responses} == {f"/{page['Key']}"}


def error_html(template: Template) -> str:
    html = only(template, "Custom::StagedoorErrorPage")["Html"]
    return html if isinstance(html, str) else _text(html)


def test_the_error_page_names_the_site_and_leads_on(template: Template) -> None:
    html = error_html(template)
    (distribution_id,) = of_type(template, "AWS::CloudFront::Distribution")
    assert f'<p class="site"><{distribution_id}></p>' in html, "the name that CloudFront chooses"
    assert '<a class="button" href="">Reload this page</a>' in html
    assert "first page" not in html


def test_with_a_domain_and_an_index_the_error_page_leads_to_the_first_page(tmp_path: Path) -> None:
    settings = tmp_path / "stagedoor.toml"
    issuer = f'[[issuers]]\nissuer = "{POOL_URL}"\naudience = ["{CLIENT}"]\n'
    settings.write_text(f'[site]\nindex = "index.html"\n{issuer}')

    def build(scope: cdk.Stack) -> None:
        zone = route53.HostedZone.from_hosted_zone_attributes(
            scope, "Zone", hosted_zone_id="Z1", zone_name="example.com"
        )
        site(scope, settings=settings, custom_domain=CustomDomain(zone, "assets.example.com"))

    html = error_html(made(build))
    assert '<p class="site">assets.example.com</p>' in html
    assert '<a href="/">Go to the first page</a>' in html


def test_the_error_page_keeps_to_its_own_policy(template: Template) -> None:
    """Its style sheet is the one that the policy names, so a browser shows it as it is meant, and runs nothing."""
    behaviors = distribution(template)["CacheBehaviors"]
    (behavior,) = (one for one in behaviors if one["PathPattern"] == "/-/errors/*")
    policies = of_type(template, "AWS::CloudFront::ResponseHeadersPolicy")
    config = policies[behavior["ResponseHeadersPolicyId"]["Ref"]]["ResponseHeadersPolicyConfig"]
    policy = config["SecurityHeadersConfig"]["ContentSecurityPolicy"]
    (style,) = re.findall(r"<style>(.*?)</style>", error_html(template), re.DOTALL)
    named = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy["Override"] is False, "the API's pages have their own"
    assert f"default-src 'none'; style-src 'sha256-{named}'" in policy["ContentSecurityPolicy"]
    assert not re.search(r"<script|\son\w+=|style=", error_html(template))


# --- the edge functions


def edge_functions(template: Template) -> list[Any]:
    found = of_type(template, "AWS::Lambda::Function").values()
    return [one for one in found if one["Handler"].startswith("stagedoor.aws.edge.")]


def test_edge_functions_keep_cloudfronts_limits(template: Template) -> None:
    (function,) = edge_functions(template)
    assert (function["MemorySize"], function["Timeout"]) == (128, 5)
    assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["x86_64"])
    for name in ("Environment", "Layers", "VpcConfig", "DeadLetterConfig", "TracingConfig", "KmsKeyArn"):
        assert name not in function


def test_an_old_version_of_an_edge_function_stays_for_rolling_back(template: Template) -> None:
    versions = [one for one in template["Resources"].values() if one["Type"] == "AWS::Lambda::Version"]
    assert [one["DeletionPolicy"] for one in versions] == ["Retain"]


def test_both_services_may_run_an_edge_function(template: Template) -> None:
    trusted = {
        one["Principal"]["Service"]
        for role in of_type(template, "AWS::IAM::Role").values()
        for one in role["AssumeRolePolicyDocument"]["Statement"]
    }
    assert trusted == {"lambda.amazonaws.com", "edgelambda.amazonaws.com"}


def test_no_role_may_do_more_than_write_its_log_and_the_error_page(template: Template) -> None:
    allowed = {
        action
        for policy in of_type(template, "AWS::IAM::Policy").values()
        for one in statements(policy)
        for action in actions(one)
    }
    assert {action for action in allowed if not action.startswith("logs:")} == {"s3:PutObject", "s3:DeleteObject"}
    for policy in of_type(template, "AWS::IAM::Policy").values():
        assert all(one["Resource"] != "*" for one in statements(policy))
    assert not any(role.get("ManagedPolicyArns") for role in of_type(template, "AWS::IAM::Role").values())


def test_an_edge_function_may_write_its_own_log_in_every_region_and_no_other(template: Template) -> None:
    ((name, _),) = (one for one in of_type(template, "AWS::Lambda::Function").items() if "Objects" in one[0])
    policies = of_type(template, "AWS::IAM::Policy").items()
    (policy,) = (one for id_, one in policies if "ObjectsLogs" in id_)
    allowed = {
        (action, _text(resource))
        for one in statements(policy)
        for action in actions(one)
        for resource in (one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]])
    }
    group = f"arn:<AWS::Partition>:logs:*:111111111111:log-group:/aws/lambda/us-east-1.<{name}>"
    assert allowed == {
        ("logs:CreateLogGroup", group),
        ("logs:CreateLogGroup", f"{group}:*"),
        ("logs:CreateLogStream", f"{group}:log-stream:*"),
        ("logs:PutLogEvents", f"{group}:log-stream:*"),
    }


def _text(value: Any) -> str:
    """A joined value, with its references in angle brackets."""
    return "".join(
        part if isinstance(part, str) else f"<{part.get('Ref') or part['Fn::GetAtt'][0]}>"
        for part in value["Fn::Join"][1]
    )


# --- an imported bucket


def test_an_imported_bucket_keeps_its_policy_and_the_statements_to_add_are_printed() -> None:
    template = made(lambda scope: site(scope, asset_bucket_name="ignored", asset_bucket_name_import="theirs"))
    written = [policy["Bucket"] for policy in of_type(template, "AWS::S3::BucketPolicy").values()]
    assert all("Ref" in bucket for bucket in written)
    assert not any("SiteAssets" in bucket["Ref"] for bucket in written)
    printed = template["Outputs"]["BucketPolicyStatements"]["Value"]
    (its_id,) = of_type(template, "AWS::CloudFront::Distribution")
    text = _text(printed).replace("<AWS::Partition>", "aws").replace(f"<{its_id}>", "E2EXAMPLE")
    condition = {"StringEquals": {"AWS:SourceArn": "arn:aws:cloudfront::111111111111:distribution/E2EXAMPLE"}}
    reader = {"Effect": "Allow", "Principal": {"Service": "cloudfront.amazonaws.com"}, "Condition": condition}
    assert json.loads(text) == [
        {**reader, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::theirs/*"},
        {**reader, "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::theirs"},
    ]


# --- what is refused


def test_a_pool_made_in_the_same_app_is_refused_with_what_to_do() -> None:
    scope = stack()
    pool = cognito.UserPool(scope, "Pool")
    with pytest.raises(SettingsError, match="deploy the stack that makes it first") as refused:
        site(scope, user_pool_id=pool.user_pool_id)
    assert refused.value.setting == "user_pool_id"


@pytest.mark.parametrize("region", ["eu-central-1", cdk.Aws.REGION], ids=["elsewhere", "not said"])
def test_a_stack_elsewhere_is_refused(region: str) -> None:
    with pytest.raises(SettingsError, match="us-east-1"):
        site(stack(region=region))


def test_issuers_are_named_in_one_way(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="whose tokens count"):
        site(stack(), user_pool_client_id=None)
    with pytest.raises(SettingsError, match="name the issuers already"):
        site(stack(), settings=tmp_path / "stagedoor.toml", user_pool_id=POOL, user_pool_client_id=CLIENT)


def test_an_invalid_pool_id_is_refused() -> None:
    with pytest.raises(SettingsError, match="not the id of a user pool"):
        site(stack(), user_pool_id="Abc123")
