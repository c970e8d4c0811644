"""The page for 5xx: what viewers see while something behind CloudFront is away.

It is for 5xx only. A page for 403 or 404 would belong to the whole distribution, and replace what the edge function,
the API and CloudFront's own check of passes say. It lies in a bucket of its own, which holds nothing else, so that
no key is taken from the assets and the behaviour that serves it needs no check.
"""

from __future__ import annotations

from aws_cdk import CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from . import functions
from .nag import acknowledge

PATTERN = "/-/errors/*"
PAGE = "-/errors/unavailable.html"
STATUSES = (500, 502, 503, 504)

_WRITER = """
import boto3, cfnresponse

def handler(event, context):
    page = event["ResourceProperties"]
    place = {"Bucket": page["Bucket"], "Key": page["Key"]}
    try:
        if event["RequestType"] == "Delete":
            boto3.client("s3").delete_object(**place)
        else:
            boto3.client("s3").put_object(**place, Body=page["Html"].encode(), ContentType="text/html; charset=utf-8")
        cfnresponse.send(event, context, cfnresponse.SUCCESS, {}, "page")
    except Exception as error:
        cfnresponse.send(event, context, cfnresponse.FAILED, {}, "page", reason=str(error))
"""
"""Runs at deployment alone; CloudFormation itself can write no object."""

_HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Not available now</title>
<style>body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 34rem; margin: 20vh auto; padding: 0 1rem }</style>
<h1>Not available now</h1>
<p>Something behind this site did not answer. Please try again in a minute.</p>
</html>
"""


def behavior(scope: Construct, headers: cloudfront.ResponseHeadersPolicy) -> cloudfront.BehaviorOptions:
    """The page, and the behaviour that serves it."""
    bucket = s3.Bucket(
        scope,
        "ErrorPages",
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        encryption=s3.BucketEncryption.S3_MANAGED,
        removal_policy=RemovalPolicy.DESTROY,
    )
    acknowledge(bucket, S1="it holds one page, which is for everyone")
    _write(scope, bucket)
    return cloudfront.BehaviorOptions(
        origin=origins.S3BucketOrigin.with_origin_access_control(bucket),
        viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
        cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
        response_headers_policy=headers,
    )


def responses() -> list[cloudfront.ErrorResponse]:
    """The statuses that the page stands for; each stays what it is."""
    return [
        cloudfront.ErrorResponse(
            http_status=status, response_http_status=status, response_page_path=f"/{PAGE}", ttl=Duration.seconds(0)
        )
        for status in STATUSES
    ]


def _write(scope: Construct, bucket: s3.Bucket) -> None:
    """Put the page into its bucket at deployment, and take it out when the stack goes."""
    role, group = functions.own_log(scope, "ErrorPageWriter")
    writer = lambda_.Function(
        scope,
        "ErrorPageWriter",
        description="Stagedoor: writes one page at deployment",
        runtime=functions.RUNTIME,
        handler="index.handler",
        code=lambda_.Code.from_inline(_WRITER),
        timeout=Duration.seconds(30),
        role=role,
        log_group=group,
    )
    role.add_to_policy(
        iam.PolicyStatement(actions=["s3:PutObject", "s3:DeleteObject"], resources=[bucket.arn_for_objects(PAGE)])
    )
    acknowledge(writer, L1="the Python that the functions at the edge have")
    page = {"Bucket": bucket.bucket_name, "Key": PAGE, "Html": _HTML}
    CustomResource(
        scope,
        "ErrorPage",
        resource_type="Custom::StagedoorErrorPage",
        service_token=writer.function_arn,
        properties=page,
    ).node.add_dependency(role)
