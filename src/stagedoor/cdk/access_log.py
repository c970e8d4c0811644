"""CloudFront's access log, by standard logging (v2): the fields that hold no credential.

Source: CloudFront Developer Guide, "Standard logging (v2)".
"""

from __future__ import annotations

from aws_cdk import Names, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

LEFT_OUT = ("cs-uri-query", "cs(Cookie)", "cs(Referer)")
"""Tokens and passes travel in them."""
FIELDS = (
    *("date", "time", "x-edge-location", "sc-bytes", "c-ip", "cs-method", "cs(Host)", "cs-uri-stem", "sc-status"),
    *("cs(User-Agent)", "x-edge-result-type", "x-edge-request-id", "x-host-header", "cs-protocol", "cs-bytes"),
    *("time-taken", "ssl-protocol", "ssl-cipher", "x-edge-response-result-type", "cs-protocol-version"),
    *("time-to-first-byte", "x-edge-detailed-result-type", "sc-content-type", "sc-content-len"),
    *("sc-range-start", "sc-range-end"),
)


def access_log(scope: Construct, distribution: cloudfront.Distribution, bucket: s3.Bucket) -> None:
    """Write the log to `cloudfront/` in a bucket, as JSON, by day."""
    name = Names.unique_resource_name(distribution, max_length=50, separator="-", allowed_special_characters="-")
    source = logs.CfnDeliverySource(
        scope,
        "AccessLogSource",
        name=f"{name}-source",
        log_type="ACCESS_LOGS",
        resource_arn=distribution.distribution_arn,
    )
    destination = logs.CfnDeliveryDestination(
        scope,
        "AccessLogDestination",
        name=f"{name}-bucket",
        destination_resource_arn=f"{bucket.bucket_arn}/cloudfront",
        output_format="json",
    )
    delivery = logs.CfnDelivery(
        scope,
        "AccessLog",
        delivery_source_name=source.name,
        delivery_destination_arn=destination.attr_arn,
        record_fields=list(FIELDS),
        s3_suffix_path="{yyyy}/{MM}/{dd}",
    )
    delivery.node.add_dependency(source)
    _let_it_write(scope, bucket, f"{name}-source")
    if bucket.policy:
        delivery.node.add_dependency(bucket.policy)


def _let_it_write(scope: Construct, bucket: s3.Bucket, source: str) -> None:
    stack = Stack.of(scope)
    source_arn = f"arn:{stack.partition}:logs:{stack.region}:{stack.account}:delivery-source:{source}"
    bucket.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("delivery.logs.amazonaws.com")],
            actions=["s3:PutObject"],
            resources=[bucket.arn_for_objects("cloudfront/*")],
            conditions={
                "StringEquals": {"aws:SourceAccount": stack.account},
                "ArnLike": {"aws:SourceArn": source_arn},
            },
        )
    )
