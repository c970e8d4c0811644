"""The page that viewers see for a 5xx: something behind CloudFront does not answer.

Error pages belong to the whole distribution, so a page for 403 or 404 would replace the answers of the edge function,
of the API and of CloudFront's own check of passes. This page has a bucket of its own, so that it takes no key from the
assets, and so that the behaviour that serves it needs no check.

It looks like our other pages, and works under the Content-Security-Policy of objects, too, in case CloudFront gives it
the header fields of the behaviour that failed.
"""

from __future__ import annotations

from aws_cdk import CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from constructs import Construct

from ..pages import layout
from . import functions
from .bucket import private_bucket
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
"""Runs during deployments only, because CloudFormation itself cannot write an object."""


def make_bucket(scope: Construct) -> s3.Bucket:
    """Make the bucket of the page."""
    bucket = private_bucket(scope, "ErrorPages", removal_policy=RemovalPolicy.DESTROY)
    acknowledge(bucket, S1="it holds one page, which is for everyone")
    return bucket


def behavior(bucket: s3.Bucket, headers: cloudfront.ResponseHeadersPolicy) -> cloudfront.BehaviorOptions:
    """Make the behaviour that serves the page."""
    return cloudfront.BehaviorOptions(
        origin=origins.S3BucketOrigin.with_origin_access_control(bucket),
        viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
        cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
        response_headers_policy=headers,
    )


def responses() -> list[cloudfront.ErrorResponse]:
    """The statuses that are answered with the page; no status is changed."""
    return [
        cloudfront.ErrorResponse(
            http_status=status, response_http_status=status, response_page_path=f"/{PAGE}", ttl=Duration.seconds(0)
        )
        for status in STATUSES
    ]


def html(site: str, home: str) -> str:
    """Make the page.

    Args:
        site: name of the site.
        home: path of the site's first page; "" if there is none.
    """
    ways = layout.button("", "Reload this page") + (f'<a href="{home}">Go to the first page</a>' if home else "")
    body = f"<p>Something behind this site did not answer. Try again in a minute.</p>{ways}"
    return layout.page("This site cannot answer now", site, body).decode()


def write(scope: Construct, bucket: s3.Bucket, page: str) -> None:
    """Write the page when the stack is deployed, and delete it with the stack."""
    role, group = functions.role_and_log(scope, "ErrorPageWriter")
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
    acknowledge(writer, L1="it has the same Python as the functions at the edge")
    object_ = {"Bucket": bucket.bucket_name, "Key": PAGE, "Html": page}
    CustomResource(
        scope,
        "ErrorPage",
        resource_type="Custom::StagedoorErrorPage",
        service_token=writer.function_arn,
        properties=object_,
    ).node.add_dependency(role)
