"""The firewall in front of the distribution: AWS's managed rules, and a limit for each address.

Source: AWS WAF Developer Guide, "Baseline rule groups" and "IP reputation rule groups".
"""

from __future__ import annotations

from aws_cdk import Names, Stack
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from .log_group import log_group

REQUESTS_PER_ADDRESS = 2000
"""Limit for one address within five minutes."""
SECRET_HEADERS = ("authorization", "cookie", "referer")
"""Request headers that the log leaves out."""
MANAGED = {
    "AWSManagedRulesCommonRuleSet": (
        # programs without a User-Agent may be welcome
        "NoUserAgent_HEADER",
        # The door allows more than these rules, which stop queries of 2,048 bytes, cookies of 10,240, bodies of 8,192
        # and paths of 1,024: tokens have up to 16 KB, and a key of 1,024 bytes is three times as long when encoded.
        "SizeRestrictions_QUERYSTRING",
        "SizeRestrictions_Cookie_HEADER",
        "SizeRestrictions_BODY",
        "SizeRestrictions_URIPATH",
        # A path is the name of a file and nothing else: the decoder refuses ambiguous paths, and the policy decides
        # about the others. So `server/etc/hosts`, `a<b>.png`, `app.log` or a page of EC2's manual can be read.
        "EC2MetaDataSSRF_URIPATH",
        "GenericLFI_URIPATH",
        "GenericRFI_URIPATH",
        "RestrictedExtensions_URIPATH",
        "CrossSiteScripting_URIPATH",
        # /-/explain?key=logs/app.log is allowed
        "RestrictedExtensions_QUERYARGUMENTS",
        # cookies of other sites on the domain may hold markup; ours are parsed strictly, and never shown
        "CrossSiteScripting_COOKIE",
    ),
    # files below `WEB-INF/` or `.git/` can be read; the group's other rules look for code that attackers send
    "AWSManagedRulesKnownBadInputsRuleSet": ("ExploitablePaths_URIPATH",),
    "AWSManagedRulesAmazonIpReputationList": (),
}
"""Rule group -> its rules that only count requests; its other rules block them."""


def firewall(scope: Construct, requests: int) -> waf.CfnWebACL:
    """Make a web ACL for CloudFront, with its log.

    Args:
        scope: in us-east-1.
        requests: limit for one address within five minutes.
    """
    rules = [_managed(priority, name, counting) for priority, (name, counting) in enumerate(MANAGED.items())]
    acl = waf.CfnWebACL(
        scope,
        "Firewall",
        scope="CLOUDFRONT",
        default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
        visibility_config=_visible("firewall"),
        rules=[*rules, _limit(len(rules), requests)],
    )
    _log(scope, acl)
    return acl


def _managed(priority: int, name: str, counting: tuple[str, ...]) -> waf.CfnWebACL.RuleProperty:
    overrides = [
        waf.CfnWebACL.RuleActionOverrideProperty(name=rule, action_to_use=waf.CfnWebACL.RuleActionProperty(count={}))
        for rule in counting
    ]
    group = waf.CfnWebACL.ManagedRuleGroupStatementProperty(
        vendor_name="AWS", name=name, rule_action_overrides=overrides or None
    )
    return waf.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
        statement=waf.CfnWebACL.StatementProperty(managed_rule_group_statement=group),
        visibility_config=_visible(name),
    )


def _limit(priority: int, requests: int) -> waf.CfnWebACL.RuleProperty:
    limit = waf.CfnWebACL.RateBasedStatementProperty(limit=requests, aggregate_key_type="IP")
    return waf.CfnWebACL.RuleProperty(
        name="limit",
        priority=priority,
        action=waf.CfnWebACL.RuleActionProperty(block={}),
        statement=waf.CfnWebACL.StatementProperty(rate_based_statement=limit),
        visibility_config=_visible("limit"),
    )


def _visible(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    """Metrics, but no samples, because the console shows samples with their headers."""
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )


def _log(scope: Construct, acl: waf.CfnWebACL) -> None:
    """Write a log without credentials. AWS WAF takes only log groups whose names begin like this."""
    suffix = Names.unique_resource_name(acl, max_length=60, separator="-", allowed_special_characters="-")
    name = f"aws-waf-logs-{suffix}"
    group = log_group(scope, "FirewallLog", name)
    stack = Stack.of(scope)
    field = waf.CfnLoggingConfiguration.FieldToMatchProperty
    waf.CfnLoggingConfiguration(
        scope,
        "FirewallLogging",
        resource_arn=acl.attr_arn,
        log_destination_configs=[f"arn:{stack.partition}:logs:{stack.region}:{stack.account}:log-group:{name}"],
        redacted_fields=[
            field(query_string={}),
            *(field(single_header={"Name": header}) for header in SECRET_HEADERS),
        ],
    ).node.add_dependency(group)
