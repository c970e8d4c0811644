"""Findings of cdk-nag that do not apply are acknowledged beside the resource, with the reason."""

from __future__ import annotations

from typing import Any

from aws_cdk import Acknowledgment, Stack, Validations
from constructs import Construct


def acknowledge(construct: Construct, **reasons: str) -> None:
    """Acknowledge findings of AwsSolutions.

    Args:
        construct: the resource, with everything below it.
        reasons: id of the rule, without its prefix -> why it does not apply.
    """
    acknowledgments = [
        Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=reason) for rule, reason in reasons.items()
    ]
    Validations.of(construct).acknowledge(*acknowledgments)


def acknowledge_wildcard(construct: Construct, resource: str, reason: str) -> None:
    """Acknowledge a `*` in one resource of a policy."""
    acknowledge(construct, **{f"IAM5[Resource::{_flat(Stack.of(construct).resolve(resource))}]": reason})


def _flat(value: Any) -> str:
    """A value of a template as cdk-nag writes it, with references in angle brackets."""
    if not isinstance(value, dict):
        return str(value)
    ((function, argument),) = value.items()
    if function == "Fn::Join":
        return "".join(map(_flat, argument[1]))
    return f"<{'.'.join(argument) if isinstance(argument, list) else argument}>"
