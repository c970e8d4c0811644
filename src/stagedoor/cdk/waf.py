"""The firewall in front of the distribution: AWS's managed rules and a limit for each address.

Source: AWS WAF Developer Guide, "Baseline rule groups" and "IP reputation rule groups".
"""

from __future__ import annotations

from aws_cdk import Names, RemovalPolicy, Stack
from aws_cdk import aws_logs as logs
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

REQUESTS = 2000
"""Requests of one address within five minutes."""
SECRET_HEADERS = ("authorization", "cookie", "referer")
"""Request headers that are not written down."""
MANAGED = {
    "AWSManagedRulesCommonRuleSet": (
        # programs that give no name of theirs may still be somebody's
        "NoUserAgent_HEADER",
        # The door has limits of its own: tokens of 16 KB, keys of 1,024 bytes, which take three characters each when
        # they are encoded, folders by the list. These rules stop a query of 2,048 bytes, cookies of 10,240, a body of
        # 8,192 and a path of 1,024.
        "SizeRestrictions_QUERYSTRING",
        "SizeRestrictions_Cookie_HEADER",
        "SizeRestrictions_BODY",
        "SizeRestrictions_URIPATH",
        # A path is the name of a file, and nothing behind reads more out of it: what the decoder finds ambiguous is
        # refused there, and of the rest the policy decides. So `server/etc/hosts`, `a<b>.png`, `app.log` or a page of
        # EC2's manual stay files like others.
        "EC2MetaDataSSRF_URIPATH",
        "GenericLFI_URIPATH",
        "GenericRFI_URIPATH",
        "RestrictedExtensions_URIPATH",
        "CrossSiteScripting_URIPATH",
        # /-/explain?key=logs/app.log asks about such a name
        "RestrictedExtensions_QUERYARGUMENTS",
        # cookies of neighbours come along, and some of them hold markup; ours are read strictly, and shown to nobody
        "CrossSiteScripting_COOKIE",
    ),
    # a file below `WEB-INF/` or `.git/` is one too; the other rules look for code that no honest request holds
    "AWSManagedRulesKnownBadInputsRuleSet": ("ExploitablePaths_URIPATH",),
    "AWSManagedRulesAmazonIpReputationList": (),
}
"""Rule group -> its rules that only count; all others stop the request."""


def firewall(scope: Construct, requests: int) -> waf.CfnWebACL:
    """A web ACL for CloudFront, with its log.

    Args:
        scope: in us-east-1.
        requests: as `REQUESTS`.
    """
    rules = [_managed(place, name, counting) for place, (name, counting) in enumerate(MANAGED.items())]
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


def _managed(place: int, name: str, counting: tuple[str, ...]) -> waf.CfnWebACL.RuleProperty:
    overrides = [
        waf.CfnWebACL.RuleActionOverrideProperty(name=rule, action_to_use=waf.CfnWebACL.RuleActionProperty(count={}))
        for rule in counting
    ]
    group = waf.CfnWebACL.ManagedRuleGroupStatementProperty(
        vendor_name="AWS", name=name, rule_action_overrides=overrides or None
    )
    return waf.CfnWebACL.RuleProperty(
        name=name,
        priority=place,
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
        statement=waf.CfnWebACL.StatementProperty(managed_rule_group_statement=group),
        visibility_config=_visible(name),
    )


def _limit(place: int, requests: int) -> waf.CfnWebACL.RuleProperty:
    limit = waf.CfnWebACL.RateBasedStatementProperty(limit=requests, aggregate_key_type="IP")
    return waf.CfnWebACL.RuleProperty(
        name="limit",
        priority=place,
        action=waf.CfnWebACL.RuleActionProperty(block={}),
        statement=waf.CfnWebACL.StatementProperty(rate_based_statement=limit),
        visibility_config=_visible("limit"),
    )


def _visible(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    """Counted; no samples, for the console shows them with their headers."""
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )


def _log(scope: Construct, acl: waf.CfnWebACL) -> None:
    """A log without credentials; its group has to have a name of this form."""
    name = (
        f"aws-waf-logs-{Names.unique_resource_name(acl, max_length=60, separator='-', allowed_special_characters='-')}"
    )
    group = logs.LogGroup(
        scope,
        "FirewallLog",
        log_group_name=name,
        retention=logs.RetentionDays.ONE_MONTH,
        removal_policy=RemovalPolicy.DESTROY,
    )
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
