"""Log groups: what is written into them stays for a month."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct


def log_group(scope: Construct, id_: str, name: str | None = None) -> logs.LogGroup:
    """Make a log group; CDK chooses its name if none is given. It is deleted with the stack."""
    return logs.LogGroup(
        scope,
        id_,
        log_group_name=name,
        retention=logs.RetentionDays.ONE_MONTH,
        removal_policy=RemovalPolicy.DESTROY,
    )
