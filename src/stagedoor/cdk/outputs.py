"""The outputs of the stack, which a deployment prints."""

from __future__ import annotations

from aws_cdk import CfnOutput, Stack
from constructs import Construct


def output(scope: Construct, name: str, value: str, description: str | None = None) -> None:
    """Print a value under exactly this name. For a second site in the same stack, the site's name is put before it."""
    stack = Stack.of(scope)
    parent = scope if stack.node.try_find_child(name) else stack
    CfnOutput(parent, name, value=value, description=description)
