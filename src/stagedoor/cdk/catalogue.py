"""The catalogue's table."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct


def table(scope: Construct) -> dynamodb.TableV2:
    """The table that `stagedoor catalogue` fills: encrypted, paid per request, restorable for 35 days."""
    return dynamodb.TableV2(
        scope,
        "Catalogue",
        partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
        billing=dynamodb.Billing.on_demand(),
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        deletion_protection=True,
        removal_policy=RemovalPolicy.RETAIN,
    )
