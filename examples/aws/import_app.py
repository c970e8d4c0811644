"""A site in front of a bucket and a user pool that are there already; both stay as they are.

    cdk deploy --app "python3 import_app.py" -c bucket=my-bucket -c pool=eu-central-1_AbC123 -c client=1example23456789

Every user of the pool may read everything, and a token may also come in the URL (?token=…): with a stagedoor.toml both
are yours to say. Add what the output BucketPolicyStatements says to the bucket's policy;
until then every object is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks

from stagedoor.cdk import PrivateAssetBucket
from stagedoor.core.errors import StagedoorError

ENV = cdk.Environment(account=os.environ.get("CDK_DEFAULT_ACCOUNT"), region="us-east-1")


def build(app: cdk.App, *, keys: Mapping[str, bytes] | None = None) -> None:
    """The stack, for the names that were given with `-c`.

    Args:
        app: gets the stack.
        keys: the pool's keys, if they are here already.
    """
    stack = cdk.Stack(app, "Site", env=ENV)
    PrivateAssetBucket(
        stack,
        "Site",
        asset_bucket_name_import=given(app, "bucket"),
        asset_bucket_region=app.node.try_get_context("region"),
        user_pool_id=given(app, "pool"),
        user_pool_client_id=given(app, "client"),
        issuer_keys=keys,
    )
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))


def given(app: cdk.App, name: str) -> str:
    """What was given with `-c name=…`."""
    value = app.node.try_get_context(name)
    if not value:
        raise SystemExit(f"give -c {name}=…")
    return str(value)


if __name__ == "__main__":
    the_app = cdk.App()
    try:
        build(the_app)
    except StagedoorError as error:
        raise SystemExit(f"error: {error}") from None
    the_app.synth()
