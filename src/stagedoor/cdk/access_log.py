"""CloudFront's access log, with the fields that hold no credential.

Source: CloudFront Developer Guide, "Standard logging (v2)".
"""

from __future__ import annotations

from aws_cdk import Names, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .bucket import let_service_write

LEFT_OUT = ("cs-uri-query", "cs(Cookie)", "cs(Referer)")
"""Fields that may hold tokens and passes."""
FIELDS = (
    *("date", "time", "x-edge-location", "sc-bytes", "c-ip", "cs-method", "cs(Host)", "cs-uri-stem", "sc-status"),
    *("cs(User-Agent)", "x-edge-result-type", "x-edge-request-id", "x-host-header", "cs-protocol", "cs-bytes"),
    *("time-taken", "ssl-protocol", "ssl-cipher", "x-edge-response-result-type", "cs-protocol-version"),
    *("time-to-first-byte", "x-edge-detailed-result-type", "sc-content-type", "sc-content-len"),
    *("sc-range-start", "sc-range-end"),
)


def access_log(scope: Construct, distribution: cloudfront.Distribution, bucket: s3.Bucket) -> None:
    """Write the log into the folder `cloudfront/` of a bucket, as JSON, in a folder for each day."""
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
    stack = Stack.of(scope)
    source_arn = f"arn:{stack.partition}:logs:{stack.region}:{stack.account}:delivery-source:{name}-source"
    let_service_write(bucket, "cloudfront", "delivery.logs.amazonaws.com", source_arn)
    if bucket.policy:
        delivery.node.add_dependency(bucket.policy)
