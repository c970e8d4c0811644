"""What reviewers of AWS set-ups look for, and what the linters find."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_sns as sns
from cdk_nag import AwsSolutionsChecks

from stagedoor.cdk import ContentApi, CustomDomain
from stagedoor.cdk.access_log import LEFT_OUT
from stagedoor.core.errors import SettingsError
from tests.helpers.synth import Template, app, distribution, made, of_type, only, plain, site, stack, statements

pytestmark = pytest.mark.needs("node")

DOMAIN = "assets.example.com"
TOPIC = "arn:aws:sns:us-east-1:111111111111:alarms"
CODE = Path(__file__).parents[1] / "vectors"
"""In place of the API's zip, for which pip would download wheels."""


def build(scope: cdk.Stack) -> None:
    """A site with everything."""
    zone = route53.HostedZone.from_hosted_zone_attributes(
        scope, "Zone", hosted_zone_id="Z0123456789", zone_name="example.com"
    )
    topic = sns.Topic.from_topic_arn(scope, "Topic", TOPIC)
    whole = site(scope, custom_domain=CustomDomain(zone, DOMAIN), alarm_topic=topic)
    ContentApi(scope, "Content", site=whole, code=lambda_.Code.from_asset(str(CODE)), alarm_topic=topic)


@cache
def whole() -> Template:
    return made(build)


@pytest.fixture(scope="session")
def template() -> Template:
    return whole()


# --- linters


@pytest.mark.thorough("cfn-lint reads its schemas for 10 s")
def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    files = [tmp_path / "plain.json", tmp_path / "whole.json"]
    for file, template in zip(files, (plain(), whole()), strict=True):
        file.write_text(json.dumps(template))
    ignored = ["W3005", "W3045"]  # dependencies that CDK writes twice; bucket ACLs, which are off
    command: list[str | Path] = [Path(sys.executable).with_name("cfn-lint"), "--ignore-checks", *ignored, "--", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("build_it", [site, build])
def test_each_finding_of_cdk_nag_has_a_reason(build_it: Any) -> None:
    scope = app()
    build_it(stack(scope))
    cdk.Validations.of(scope).add_plugins(AwsSolutionsChecks(scope))
    scope.synth()  # raises for findings that are not acknowledged


def test_cdk_nag_raises_for_a_finding() -> None:
    scope = app()
    cdk.aws_s3.Bucket(stack(scope), "Bare")
    cdk.Validations.of(scope).add_plugins(AwsSolutionsChecks(scope))
    with pytest.raises(RuntimeError, match="AwsSolutions-S1"):
        scope.synth()


# --- the domain


def test_the_domain_has_a_certificate_and_leads_to_the_distribution(template: Template) -> None:
    certificate = only(template, "AWS::CertificateManager::Certificate")
    assert (certificate["DomainName"], certificate["ValidationMethod"]) == (DOMAIN, "DNS")
    config = distribution(template)
    assert config["Aliases"] == [DOMAIN]
    assert config["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    records = of_type(template, "AWS::Route53::RecordSet").values()
    assert {(one["Type"], one["Name"]) for one in records} == {("A", f"{DOMAIN}."), ("AAAA", f"{DOMAIN}.")}


def test_a_domain_outside_of_its_zone_is_refused() -> None:
    zone = route53.HostedZone.from_hosted_zone_attributes(
        stack(), "Zone", hosted_zone_id="Z0123456789", zone_name="example.com"
    )
    with pytest.raises(SettingsError, match="not in the zone"):
        CustomDomain(zone, "assets.notexample.com")


# --- the firewall


def test_the_firewall_has_managed_rules_that_stop_requests(template: Template) -> None:
    acl = only(template, "AWS::WAFv2::WebACL")
    assert (acl["Scope"], acl["DefaultAction"]) == ("CLOUDFRONT", {"Allow": {}})
    groups = [one for one in acl["Rules"] if "ManagedRuleGroupStatement" in one["Statement"]]
    assert [one["Statement"]["ManagedRuleGroupStatement"]["Name"] for one in groups] == [
        "AWSManagedRulesCommonRuleSet",
        "AWSManagedRulesKnownBadInputsRuleSet",
        "AWSManagedRulesAmazonIpReputationList",
    ]
    assert all(one["OverrideAction"] == {"None": {}} for one in groups)
    assert distribution(template)["WebACLId"]


def test_the_firewall_only_counts_for_rules_that_would_stop_good_requests(template: Template) -> None:
    rules = only(template, "AWS::WAFv2::WebACL")["Rules"]
    groups = [one["Statement"].get("ManagedRuleGroupStatement", {}) for one in rules]
    changed = [one for group in groups for one in group.get("RuleActionOverrides", [])]
    assert all(one["ActionToUse"] == {"Count": {}} for one in changed)
    assert {one["Name"] for one in changed} == {
        "NoUserAgent_HEADER",  # curl -A ''
        *("SizeRestrictions_QUERYSTRING", "SizeRestrictions_Cookie_HEADER"),  # passes and tokens
        *("SizeRestrictions_BODY", "SizeRestrictions_URIPATH"),  # keys of 1,024 bytes
        *("EC2MetaDataSSRF_URIPATH", "GenericLFI_URIPATH", "GenericRFI_URIPATH"),  # names of files
        *("RestrictedExtensions_URIPATH", "CrossSiteScripting_URIPATH", "ExploitablePaths_URIPATH"),
        "RestrictedExtensions_QUERYARGUMENTS",  # /-/explain?key=logs/app.log
        "CrossSiteScripting_COOKIE",  # of a neighbour
    }


def test_requests_of_one_address_are_limited() -> None:
    template = made(lambda scope: site(scope, requests_per_address=321))
    rules = only(template, "AWS::WAFv2::WebACL")["Rules"]
    (limit,) = (one for one in rules if "RateBasedStatement" in one["Statement"])
    assert limit["Statement"]["RateBasedStatement"] == {"Limit": 321, "AggregateKeyType": "IP"}
    assert limit["Action"] == {"Block": {}}


def test_no_metric_of_the_firewall_has_a_name_that_aws_uses(template: Template) -> None:
    acl = only(template, "AWS::WAFv2::WebACL")
    names = [one["VisibilityConfig"]["MetricName"] for one in (acl, *acl["Rules"])]
    assert names[0] == "firewall"
    assert len(set(names)) == len(names)
    assert not {"all", "default_action"} & {name.lower() for name in names}


def test_the_firewall_logs_no_credential(template: Template) -> None:
    acl = only(template, "AWS::WAFv2::WebACL")
    assert not any(one["VisibilityConfig"]["SampledRequestsEnabled"] for one in acl["Rules"])
    fields = only(template, "AWS::WAFv2::LoggingConfiguration")["RedactedFields"]
    headers = {one["SingleHeader"]["Name"] for one in fields if "SingleHeader" in one}
    assert headers == {"authorization", "cookie", "referer"}
    assert {"QueryString": {}} in fields


# --- logs and alarms


def test_the_access_log_holds_no_query_cookie_or_referer(template: Template) -> None:
    fields = only(template, "AWS::Logs::Delivery")["RecordFields"]
    assert {"date", "cs-uri-stem", "sc-status", "c-ip"} <= set(fields)
    assert not set(LEFT_OUT) & set(fields)
    assert only(template, "AWS::Logs::DeliverySource")["LogType"] == "ACCESS_LOGS"
    assert "Logging" not in distribution(template)


def test_reads_of_the_bucket_are_logged(template: Template) -> None:
    (assets,) = (one for name, one in of_type(template, "AWS::S3::Bucket").items() if "SiteAssets" in name)
    assert assets["LoggingConfiguration"]["LogFilePrefix"] == "s3/"


def test_services_may_write_into_the_log_bucket_for_this_account_alone(template: Template) -> None:
    policies = of_type(template, "AWS::S3::BucketPolicy").values()
    writing = [one for policy in policies for one in statements(policy) if one["Action"] == "s3:PutObject"]
    assert {one["Principal"]["Service"] for one in writing} == {
        "logging.s3.amazonaws.com",
        "delivery.logs.amazonaws.com",
    }
    for one in writing:
        assert one["Condition"]["StringEquals"] == {"aws:SourceAccount": "111111111111"}
    sources = {one["Principal"]["Service"]: one["Condition"]["ArnLike"]["aws:SourceArn"] for one in writing}
    (assets,) = (name for name in of_type(template, "AWS::S3::Bucket") if "SiteAssets" in name)
    assert sources["logging.s3.amazonaws.com"] == {"Fn::GetAtt": [assets, "Arn"]}
    log = sources["delivery.logs.amazonaws.com"]["Fn::Join"][1]
    name = only(template, "AWS::Logs::DeliverySource")["Name"]
    assert log[-1] == f":logs:us-east-1:111111111111:delivery-source:{name}"


def dimensions(alarm: Any) -> dict[str, Any]:
    return {one["Name"]: one["Value"] for one in alarm["Dimensions"]}


def test_distribution_edge_functions_and_api_are_watched(template: Template) -> None:
    alarms = of_type(template, "AWS::CloudWatch::Alarm").values()
    watched = {(one["Namespace"], one["MetricName"]): (one["Statistic"], one["Threshold"]) for one in alarms}
    assert watched == {
        ("AWS/CloudFront", "5xxErrorRate"): ("Average", 1),
        ("AWS/CloudFront", "LambdaExecutionError"): ("Sum", 0),
        ("AWS/CloudFront", "LambdaValidationError"): ("Sum", 0),
        ("AWS/CloudFront", "LambdaLimitExceededErrors"): ("Sum", 0),
        ("AWS/Lambda", "Errors"): ("Sum", 0),
        ("AWS/Lambda", "Throttles"): ("Sum", 0),
        ("AWS/ApiGateway", "5xx"): ("Sum", 0),
    }
    assert {one["ComparisonOperator"] for one in alarms} == {"GreaterThanThreshold"}
    assert all(one["AlarmActions"] == [TOPIC] for one in alarms)
    assert only(template, "AWS::CloudFront::MonitoringSubscription")


def test_metrics_of_cloudfront_have_the_dimensions_of_cloudfront(template: Template) -> None:
    (its_id,) = of_type(template, "AWS::CloudFront::Distribution")
    alarms = of_type(template, "AWS::CloudWatch::Alarm").values()
    for alarm in (one for one in alarms if one["Namespace"] == "AWS/CloudFront"):
        assert dimensions(alarm) == {"DistributionId": {"Ref": its_id}, "Region": "Global"}
    parts = only(template, "AWS::CloudWatch::Dashboard")["DashboardBody"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else next(iter(part.values())) for part in parts)
    asked = [metric for widget in json.loads(text)["widgets"] for metric in widget["properties"]["metrics"]]
    assert [metric[:6] for metric in asked] == [
        ["AWS/CloudFront", name, "DistributionId", its_id, "Region", "Global"]
        for name in (
            *("Requests", "4xxErrorRate", "5xxErrorRate", "CacheHitRate"),
            *("LambdaExecutionError", "LambdaValidationError", "LambdaLimitExceededErrors"),
        )
    ]


def test_both_entrances_of_the_api_are_watched_for_answers_of_5xx(template: Template) -> None:
    alarms = of_type(template, "AWS::CloudWatch::Alarm").values()
    watched = [dimensions(one) for one in alarms if one["Namespace"] == "AWS/ApiGateway"]
    stages = of_type(template, "AWS::ApiGatewayV2::Stage").values()
    entrances = [{"ApiId": one["ApiId"], "Stage": one["StageName"]} for one in stages]
    assert sorted(watched, key=str) == sorted(entrances, key=str)


def test_without_a_topic_alarms_notify_no_one() -> None:
    alarms = of_type(plain(), "AWS::CloudWatch::Alarm")
    assert len(alarms) == 4
    assert not any("AlarmActions" in one for one in alarms.values())
