"""Alarms and a dashboard: does the site answer, do the edge functions fail, does the cache work?

Source: CloudFront Developer Guide, "Types of metrics for CloudFront"; API Gateway Developer Guide, "Monitor CloudWatch
metrics for HTTP APIs".
"""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import Duration
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

PERIOD = Duration.minutes(5)


def watch(scope: Construct, distribution: cloudfront.Distribution, topic: sns.ITopic | None) -> cloudwatch.Dashboard:
    """Watch a distribution.

    Args:
        scope: of the alarms.
        distribution: publishes its additional metrics.
        topic: is notified of alarms; None: CloudWatch alone shows them.
    """
    # CDK leaves Region out, but CloudFront has no metric without it, so such an alarm would never ring
    dimensions = {"DistributionId": distribution.distribution_id, "Region": "Global"}
    unavailable = distribution.metric5xx_error_rate(period=PERIOD, dimensions_map=dimensions)
    refused = distribution.metric4xx_error_rate(period=PERIOD, dimensions_map=dimensions)
    failures = [
        distribution.metric(name, period=PERIOD, statistic="Sum", dimensions_map=dimensions)
        for name in ("LambdaExecutionError", "LambdaValidationError", "LambdaLimitExceededErrors")
    ]
    alarms = [
        _alarm(scope, "Unavailable", unavailable, 1, "more than 1 % of the answers are 5xx"),
        *(_alarm(scope, metric.metric_name, metric, 0, "an edge function failed") for metric in failures),
    ]
    _notify(alarms, topic)
    board = cloudwatch.Dashboard(scope, "Dashboard")
    board.add_widgets(
        _graph("Requests", [distribution.metric_requests(period=PERIOD, dimensions_map=dimensions)]),
        _graph("Refused and unavailable, %", [refused, unavailable]),
        _graph("From the cache, %", [distribution.metric_cache_hit_rate(period=PERIOD, dimensions_map=dimensions)]),
        _graph("Failures of the edge functions", failures),
    )
    return board


def watch_function(scope: Construct, function: lambda_.Function, topic: sns.ITopic | None) -> None:
    """Watch a function for errors and throttling; `topic` as for `watch`."""
    alarms = [
        _alarm(scope, "Errors", function.metric_errors(period=PERIOD), 0, "the API failed"),
        _alarm(scope, "Throttles", function.metric_throttles(period=PERIOD), 0, "a request to the API was throttled"),
    ]
    _notify(alarms, topic)


def watch_api(scope: Construct, api: apigateway.IHttpApi, stage: str, topic: sns.ITopic | None) -> None:
    """Watch an API for 5xx answers; `topic` as for `watch`.

    A function that cannot start answers 500 itself, which Lambda does not count as an error.
    """
    failed = cloudwatch.Metric(
        namespace="AWS/ApiGateway",
        metric_name="5xx",
        dimensions_map={"ApiId": api.api_id, "Stage": stage},
        statistic="Sum",
        period=PERIOD,
    )
    _notify([_alarm(scope, "Unavailable", failed, 0, "the API answered with 5xx")], topic)


def _notify(alarms: Iterable[cloudwatch.Alarm], topic: sns.ITopic | None) -> None:
    if topic:
        for alarm in alarms:
            alarm.add_alarm_action(actions.SnsAction(topic))


def _alarm(scope: Construct, id_: str, metric: cloudwatch.IMetric, more_than: float, means: str) -> cloudwatch.Alarm:
    return cloudwatch.Alarm(
        scope,
        id_,
        alarm_description=f"Stagedoor: {means}",
        metric=metric,
        threshold=more_than,
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        evaluation_periods=2,
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
    )


def _graph(title: str, metrics: Iterable[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=12)
