"""What reviewers of AWS set-ups look for, and what the linters say of the whole."""

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
from synth import Template, app, distribution, made, of_type, only, plain, site, stack, statements

from stagedoor.cdk import ContentApi, CustomDomain
from stagedoor.cdk.access_log import LEFT_OUT
from stagedoor.errors import SettingsError

pytestmark = pytest.mark.needs("node")

DOMAIN = "assets.example.com"
CODE = Path(__file__).parent / "vectors"
"""Stands for the API's zip, which pip would have to be asked for."""


def build(scope: cdk.Stack) -> None:
    """Everything that there is."""
    zone = route53.HostedZone.from_hosted_zone_attributes(
        scope, "Zone", hosted_zone_id="Z0123456789", zone_name="example.com"
    )
    topic = sns.Topic.from_topic_arn(scope, "Topic", "arn:aws:sns:us-east-1:111111111111:alarms")
    whole = site(scope, custom_domain=CustomDomain(zone, DOMAIN), alarm_topic=topic)
    ContentApi(scope, "Content", site=whole, code=lambda_.Code.from_asset(str(CODE)), alarm_topic=topic)


@cache
def whole() -> Template:
    return made(build)


@pytest.fixture(scope="session")
def template() -> Template:
    return whole()


# --- linters


@pytest.mark.parametrize("which", [plain, whole])
def test_cfn_lint_finds_nothing(which: Any, tmp_path: Path) -> None:
    file = tmp_path / "template.json"
    file.write_text(json.dumps(which()))
    ignored = ["W3005", "W3045"]  # dependencies that CDK writes twice; bucket ACLs, of which there are none
    command: list[str | Path] = [Path(sys.executable).with_name("cfn-lint"), "--ignore-checks", *ignored, "--", file]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("build_it", [site, build])
def test_cdk_nag_finds_nothing_that_has_no_reason(build_it: Any) -> None:
    scope = app()
    build_it(stack(scope))
    cdk.Validations.of(scope).add_plugins(AwsSolutionsChecks(scope))
    scope.synth()  # raises for what is not acknowledged


def test_cdk_nag_would_say_so() -> None:
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


def test_the_firewall_has_managed_rules_and_a_limit(template: Template) -> None:
    acl = only(template, "AWS::WAFv2::WebACL")
    assert acl["Scope"] == "CLOUDFRONT"
    groups = [one["Statement"].get("ManagedRuleGroupStatement", {}).get("Name") for one in acl["Rules"]]
    assert groups[:2] == ["AWSManagedRulesCommonRuleSet", "AWSManagedRulesKnownBadInputsRuleSet"]
    (limit,) = (one for one in acl["Rules"] if "RateBasedStatement" in one["Statement"])
    assert limit["Action"] == {"Block": {}}
    assert distribution(template)["WebACLId"]


def test_long_tokens_and_passes_come_through_the_firewall(template: Template) -> None:
    common = only(template, "AWS::WAFv2::WebACL")["Rules"][0]["Statement"]["ManagedRuleGroupStatement"]
    counting = {one["Name"] for one in common["RuleActionOverrides"]}
    assert {"SizeRestrictions_QUERYSTRING", "SizeRestrictions_Cookie_HEADER"} <= counting


def test_the_firewall_writes_no_credential_down(template: Template) -> None:
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


def test_services_write_into_the_log_bucket_for_this_account_alone(template: Template) -> None:
    policies = of_type(template, "AWS::S3::BucketPolicy").values()
    writing = [one for policy in policies for one in statements(policy) if one["Action"] == "s3:PutObject"]
    assert {one["Principal"]["Service"] for one in writing} == {
        "logging.s3.amazonaws.com",
        "delivery.logs.amazonaws.com",
    }
    for one in writing:
        assert one["Condition"]["StringEquals"] == {"aws:SourceAccount": "111111111111"}
        assert one["Condition"]["ArnLike"]["aws:SourceArn"]


def test_distribution_edge_functions_and_api_are_watched(template: Template) -> None:
    alarms = of_type(template, "AWS::CloudWatch::Alarm").values()
    assert {one["MetricName"] for one in alarms} == {
        *("5xxErrorRate", "LambdaExecutionError", "LambdaValidationError", "LambdaLimitExceededErrors"),
        *("Errors", "Throttles"),
    }
    assert all(one["AlarmActions"] == ["arn:aws:sns:us-east-1:111111111111:alarms"] for one in alarms)
    assert only(template, "AWS::CloudFront::MonitoringSubscription")
    assert only(template, "AWS::CloudWatch::Dashboard")
