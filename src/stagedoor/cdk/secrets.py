"""Secrets: those that the settings say AWS keeps, and those that AWS makes up when the site is deployed."""

from __future__ import annotations

from aws_cdk import Stack, Token
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from .nag import acknowledge

LENGTH = 64


def made_up(scope: Construct, name: str, purpose: str, why_it_stays: str) -> secretsmanager.Secret:
    """A random text that nobody ever sees.

    Args:
        scope, name: of the secret.
        purpose: what it is for.
        why_it_stays: why it does not rotate by itself.
    """
    secret = secretsmanager.Secret(
        scope,
        name,
        description=f"Stagedoor: {purpose}",
        generate_secret_string=secretsmanager.SecretStringGenerator(password_length=LENGTH, exclude_punctuation=True),
    )
    acknowledge(secret, SMG4=why_it_stays)
    return secret


def reads(scope: Construct, secret: str) -> iam.PolicyStatement:
    """Leave to read one secret.

    Args:
        scope: in the stack whose account and region have it, if its name does not say.
        secret: `ssm:/name` or `secretsmanager:name-or-arn`, as in the settings.
    """
    stack = Stack.of(scope)
    scheme, _, name = secret.partition(":")
    home = f"{stack.region}:{stack.account}"
    whole = name.startswith("arn:") or Token.is_unresolved(name)  # of a secret of this app nothing but its ARN is named
    if scheme == "ssm":
        arn = name if whole else f"arn:{stack.partition}:ssm:{home}:parameter/{name.lstrip('/')}"
        return iam.PolicyStatement(actions=["ssm:GetParameter"], resources=[arn])
    # AWS puts six random characters behind the name (Secrets Manager User Guide, "Secret ARN")
    arn = name if whole else f"arn:{stack.partition}:secretsmanager:{home}:secret:{name}-??????"
    return iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[arn])
