"""The bucket with the assets: a new one, private in every way there is, or one that is there already."""

from __future__ import annotations

from aws_cdk import Annotations, Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .nag import acknowledge
from .outputs import output

COOL_AFTER = Duration.days(30)
OLD_VERSIONS_FOR = Duration.days(90)
READS_LOGGED_FOR = Duration.days(90)


def log_bucket(scope: Construct) -> s3.Bucket:
    """The bucket of the logs, for `READS_LOGGED_FOR`."""
    bucket = s3.Bucket(
        scope,
        "Logs",
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        encryption=s3.BucketEncryption.S3_MANAGED,
        lifecycle_rules=[
            s3.LifecycleRule(expiration=READS_LOGGED_FOR, abort_incomplete_multipart_upload_after=Duration.days(7))
        ],
        removal_policy=RemovalPolicy.RETAIN,
    )
    acknowledge(bucket, S1="this is the bucket that the logs go to")
    return bucket


def asset_bucket(scope: Construct, logs: s3.Bucket, name: str | None, removal_policy: RemovalPolicy) -> s3.Bucket:
    """A new bucket: not public, over TLS only, encrypted, with versions, and cheaper for what is seldom asked for."""
    bucket = s3.Bucket(
        scope,
        "Assets",
        bucket_name=name,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        encryption=s3.BucketEncryption.S3_MANAGED,
        versioned=True,
        lifecycle_rules=[
            s3.LifecycleRule(
                transitions=[
                    s3.Transition(storage_class=s3.StorageClass.INTELLIGENT_TIERING, transition_after=COOL_AFTER)
                ],
                noncurrent_version_expiration=OLD_VERSIONS_FOR,
                abort_incomplete_multipart_upload_after=Duration.days(7),
            )
        ],
        removal_policy=removal_policy,
    )
    _log_reads(bucket, logs)
    return bucket


def _log_reads(bucket: s3.Bucket, logs: s3.Bucket) -> None:
    """Write server access logs, by leave of the log bucket's policy: its ACLs, which CDK might use, are off."""
    stack = Stack.of(bucket)
    made = bucket.node.default_child
    assert isinstance(made, s3.CfnBucket)
    made.logging_configuration = s3.CfnBucket.LoggingConfigurationProperty(
        destination_bucket_name=logs.bucket_name, log_file_prefix="s3/"
    )
    logs.add_to_resource_policy(
        iam.PolicyStatement(
            principals=[iam.ServicePrincipal("logging.s3.amazonaws.com")],
            actions=["s3:PutObject"],
            resources=[logs.arn_for_objects("s3/*")],
            conditions={
                "StringEquals": {"aws:SourceAccount": stack.account},
                "ArnLike": {"aws:SourceArn": bucket.bucket_arn},
            },
        )
    )


def imported_bucket(scope: Construct, name: str, region: str | None) -> s3.IBucket:
    """A bucket that is there already; nothing about it is changed."""
    return s3.Bucket.from_bucket_attributes(scope, "Assets", bucket_name=name, region=region or Stack.of(scope).region)


def statement_to_merge(
    scope: Construct, distribution: cloudfront.Distribution, bucket: s3.IBucket, prefix: str, *, listed: bool
) -> None:
    """Print what an imported bucket's policy has to say; its policy may say more, so it is never written over.

    Args:
        scope: of the output.
        distribution: the only one that may read.
        bucket: the imported one.
        prefix: what it may read starts with this; "" or with a slash at the end.
        listed: True: it may know that an object is missing.
    """
    source = {"StringEquals": {"AWS:SourceArn": distribution.distribution_arn}}
    allow = {"Effect": "Allow", "Principal": {"Service": "cloudfront.amazonaws.com"}}
    objects = bucket.arn_for_objects(f"{prefix}*")
    statements = [{**allow, "Action": "s3:GetObject", "Resource": objects, "Condition": source}]
    if listed:
        # S3 takes the name of an object that is missing for the prefix of a listing, when it decides on 404 or 403
        below = {"StringLike": {"s3:prefix": f"{prefix}*"}} if prefix else {}
        listing = {"Action": "s3:ListBucket", "Resource": bucket.bucket_arn, "Condition": {**source, **below}}
        statements.append({**allow, **listing})
    told = "Add these to the bucket's policy; until then every object is refused."
    output(scope, "BucketPolicyStatements", Stack.of(scope).to_json_string(statements), told)
    Annotations.of(scope).acknowledge_warning(
        "@aws-cdk/aws-cloudfront-origins:updateImportedBucketPolicyOac", "the output BucketPolicyStatements says it"
    )
