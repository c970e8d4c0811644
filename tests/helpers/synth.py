"""Templates for the tests of the constructs, each made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import aws_cdk as cdk
from aws_cdk import assertions

from stagedoor.cdk import PrivateAssetBucket
from tests.helpers.support import rsa_signer

POOL, CLIENT = "eu-central-1_Abc123", "myclientid"
POOL_URL = f"https://cognito-idp.eu-central-1.amazonaws.com/{POOL}"
Template = Mapping[str, Any]


@cache
def keys() -> Mapping[str, bytes]:
    """The keys that the pool publishes."""
    return {POOL_URL: json.dumps({"keys": [rsa_signer().jwk]}).encode()}


def app() -> cdk.App:
    """An app that leaves checking property types to cfn-lint, which is quicker."""
    return cdk.App(builtin_cloud_formation_validation=False)


def stack(scope: cdk.App | None = None, region: str = "us-east-1") -> cdk.Stack:
    return cdk.Stack(scope or app(), "Site", env=cdk.Environment(account="111111111111", region=region))


def site(scope: cdk.Stack, **arguments: Any) -> PrivateAssetBucket:
    """A site, for the users of the pool unless `settings` are given."""
    if "settings" not in arguments:
        arguments = {"user_pool_id": POOL, "user_pool_client_id": CLIENT, **arguments}
    return PrivateAssetBucket(scope, "Site", **{"issuer_keys": keys(), **arguments})


def made(build: Callable[[cdk.Stack], object]) -> Template:
    """The template of a stack that `build` fills."""
    scope = stack()
    build(scope)
    template: Template = assertions.Template.from_stack(scope).to_json()
    return template


@cache
def plain() -> Template:
    """The template of a site for the users of a pool, without other arguments."""
    return made(site)


def of_type(template: Template, kind: str) -> dict[str, Any]:
    """Properties of the resources of one type, by logical id."""
    resources = template["Resources"].items()
    return {name: one.get("Properties", {}) for name, one in resources if one["Type"] == kind}


def only(template: Template, kind: str) -> Any:
    """Properties of the only resource of one type."""
    (found,) = of_type(template, kind).values()
    return found


def distribution(template: Template) -> Any:
    return only(template, "AWS::CloudFront::Distribution")["DistributionConfig"]


def statements(policy: Mapping[str, Any]) -> list[Any]:
    """Statements of a policy of any type."""
    return list(policy["PolicyDocument"]["Statement"])


def actions(statement: Mapping[str, Any]) -> set[str]:
    found = statement["Action"]
    return {found} if isinstance(found, str) else set(found)
