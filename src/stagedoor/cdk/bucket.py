"""Buckets: a new one for the assets, one that exists already, and the one that logs are written to."""

from __future__ import annotations

from typing import Any

from aws_cdk import Annotations, Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .nag import acknowledge
from .outputs import output

INTELLIGENT_TIERING_AFTER = Duration.days(30)
OLD_VERSIONS_FOR = Duration.days(90)
LOGS_FOR = Duration.days(90)
UNFINISHED_UPLOADS_FOR = Duration.days(7)


def private_bucket(scope: Construct, id_: str, **options: Any) -> s3.Bucket:
    """Make an encrypted bucket without public access and without ACLs, which answers over TLS alone.

    Args:
        scope, id_: of the bucket.
        options: more arguments of `s3.Bucket`.
    """
    return s3.Bucket(
        scope,
        id_,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        encryption=s3.BucketEncryption.S3_MANAGED,
        **options,
    )


def log_bucket(scope: Construct) -> s3.Bucket:
    """Make the bucket for logs, which deletes them after `LOGS_FOR`."""
    rule = s3.LifecycleRule(expiration=LOGS_FOR, abort_incomplete_multipart_upload_after=UNFINISHED_UPLOADS_FOR)
    bucket = private_bucket(scope, "Logs", lifecycle_rules=[rule], removal_policy=RemovalPolicy.RETAIN)
    acknowledge(bucket, S1="this is the bucket that the logs go to")
    return bucket


def let_service_write(logs: s3.Bucket, folder: str, service: str, source_arn: str) -> None:
    """Let a service of AWS write logs about one resource of this account into a folder of the log bucket."""
    logs.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal(service)],
            actions=["s3:PutObject"],
            resources=[logs.arn_for_objects(f"{folder}/*")],
            conditions={
                "StringEquals": {"aws:SourceAccount": Stack.of(logs).account},
                "ArnLike": {"aws:SourceArn": source_arn},
            },
        )
    )


def asset_bucket(scope: Construct, logs: s3.Bucket, name: str | None, removal_policy: RemovalPolicy) -> s3.Bucket:
    """Make a private bucket with versions; objects that are seldom read get cheaper storage."""
    rule = s3.LifecycleRule(
        transitions=[
            s3.Transition(storage_class=s3.StorageClass.INTELLIGENT_TIERING, transition_after=INTELLIGENT_TIERING_AFTER)
        ],
        noncurrent_version_expiration=OLD_VERSIONS_FOR,
        abort_incomplete_multipart_upload_after=UNFINISHED_UPLOADS_FOR,
    )
    bucket = private_bucket(
        scope, "Assets", bucket_name=name, versioned=True, lifecycle_rules=[rule], removal_policy=removal_policy
    )
    _log_access(bucket, logs)
    return bucket


def _log_access(bucket: s3.Bucket, logs: s3.Bucket) -> None:
    """Write server access logs. CDK's own way may use the log bucket's ACLs, which are off, so a policy permits it."""
    resource = bucket.node.default_child
    assert isinstance(resource, s3.CfnBucket)
    resource.logging_configuration = s3.CfnBucket.LoggingConfigurationProperty(
        destination_bucket_name=logs.bucket_name, log_file_prefix="s3/"
    )
    let_service_write(logs, "s3", "logging.s3.amazonaws.com", bucket.bucket_arn)


def imported_bucket(scope: Construct, name: str, region: str | None) -> s3.IBucket:
    """Refer to a bucket that exists already; nothing about it is changed."""
    return s3.Bucket.from_bucket_attributes(scope, "Assets", bucket_name=name, region=region or Stack.of(scope).region)


def print_statements_to_add(
    scope: Construct, distribution: cloudfront.Distribution, bucket: s3.IBucket, prefix: str, *, can_list: bool
) -> None:
    """Print the statements that an imported bucket's policy needs; the policy itself may hold more, and is left alone.

    Args:
        scope: of the output.
        distribution: may read the bucket.
        bucket: the imported one.
        prefix: of the keys that it may read; "" or with a slash at the end.
        can_list: True: it may also list them, so that S3 answers 404 for a missing object.
    """
    from_distribution = {"StringEquals": {"AWS:SourceArn": distribution.distribution_arn}}
    allow = {"Effect": "Allow", "Principal": {"Service": "cloudfront.amazonaws.com"}}
    objects = bucket.arn_for_objects(f"{prefix}*")
    statements = [{**allow, "Action": "s3:GetObject", "Resource": objects, "Condition": from_distribution}]
    if can_list:
        # to choose between 404 and 403, S3 takes the missing object's name for the prefix of a listing
        below_prefix = {"StringLike": {"s3:prefix": f"{prefix}*"}} if prefix else {}
        condition = {**from_distribution, **below_prefix}
        statements.append({**allow, "Action": "s3:ListBucket", "Resource": bucket.bucket_arn, "Condition": condition})
    description = "Add these to the bucket's policy; until then every object is refused."
    output(scope, "BucketPolicyStatements", Stack.of(scope).to_json_string(statements), description)
    Annotations.of(scope).acknowledge_warning(
        "@aws-cdk/aws-cloudfront-origins:updateImportedBucketPolicyOac",
        "the output BucketPolicyStatements holds what to add",
    )
