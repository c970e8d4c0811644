"""What the functions have in common: their Python, and a role that may write to its own log and do nothing else."""

from __future__ import annotations

from aws_cdk import Annotations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from ..aws import packing
from .log_group import log_group

RUNTIME = lambda_.Runtime(f"python{packing.RUNTIME}", lambda_.RuntimeFamily.PYTHON, supports_inline_code=True)


def role_and_log(scope: Construct, name: str) -> tuple[iam.Role, logs.LogGroup]:
    """Make the role of a function, and the log group that the role may write to."""
    group = log_group(scope, f"{name}Log")
    role = iam.Role(scope, f"{name}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
    role.add_to_policy(
        iam.PolicyStatement(actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[group.log_group_arn])
    )
    return role, group


def warn_without_bytecode(scope: Construct, bundle: packing.Bundle, function: str, cost: str) -> None:
    """Warn the owner if a bundle holds no bytecode; the warning names the function and what this costs."""
    if not bundle.compiled:
        python = f"python{packing.RUNTIME}"
        problem = f"{function} has no bytecode, because there is no {python} on this machine: {cost}"
        warning = f"{problem}. Install {python}, and make the template again"
        Annotations.of(scope).add_warning_v2("stagedoor:noBytecode", warning)
