"""What a deployment prints."""

from __future__ import annotations

from aws_cdk import CfnOutput, Stack
from constructs import Construct


def output(scope: Construct, name: str, value: str, description: str | None = None) -> None:
    """Print a value under exactly this name; a second site in the same stack has its own before it."""
    stack = Stack.of(scope)
    home = scope if stack.node.try_find_child(name) else stack
    CfnOutput(home, name, value=value, description=description)
