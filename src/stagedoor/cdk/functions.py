"""What the functions have in common: their Python, and a role that may write to its own log and nothing else."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from ..aws import packing

RUNTIME = lambda_.Runtime(f"python{packing.RUNTIME}", lambda_.RuntimeFamily.PYTHON, supports_inline_code=True)


def own_log(scope: Construct, name: str) -> tuple[iam.Role, logs.LogGroup]:
    """A log of a month for a function, and the role for it."""
    group = logs.LogGroup(
        scope, f"{name}Log", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY
    )
    role = iam.Role(scope, f"{name}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    role.add_to_policy(
        iam.PolicyStatement(actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[group.log_group_arn])
    )
    return role, group
