"""Secrets: those that the settings name, and those that AWS generates when the site is deployed."""

from __future__ import annotations

from aws_cdk import Stack, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from .nag import acknowledge

LENGTH = 64


def generated(scope: Construct, name: str, purpose: str, no_rotation: str) -> secretsmanager.Secret:
    """A random text that AWS generates and no one needs to see.

    Args:
        scope, name: of the secret.
        purpose: what it is for.
        no_rotation: why it does not rotate automatically.
    """
    secret = secretsmanager.Secret(
        scope,
        name,
        description=f"Stagedoor: {purpose}",
        generate_secret_string=secretsmanager.SecretStringGenerator(password_length=LENGTH, exclude_punctuation=True),
    )
    acknowledge(secret, SMG4=no_rotation)
    return secret


def read_permission(scope: Construct, secret: str) -> iam.PolicyStatement:
    """The permission to read one secret.

    Args:
        scope: in the stack whose account and region the secret is in, unless its name is an ARN.
        secret: `ssm:/name` or `secretsmanager:name-or-arn`, as in the settings.
    """
    stack = Stack.of(scope)
    scheme, _, name = secret.partition(":")
    region_and_account = f"{stack.region}:{stack.account}"
    is_arn = name.startswith("arn:") or Token.is_unresolved(name)  # secrets of this app are named by their ARN alone
    if scheme == "ssm":
        arn = name if is_arn else f"arn:{stack.partition}:ssm:{region_and_account}:parameter/{name.lstrip('/')}"
        return iam.PolicyStatement(actions=["ssm:GetParameter"], resources=[arn])
    # AWS appends six random characters to the name (Secrets Manager User Guide, "Secret ARN")
    arn = name if is_arn else f"arn:{stack.partition}:secretsmanager:{region_and_account}:secret:{name}-??????"
    return iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[arn])
