"""A private site on AWS, with a user pool of its own.

    cdk deploy Pool     prints two ids, which go into stagedoor.toml
    cdk deploy Site     the bucket, CloudFront, the check at its edge, and the API

The edge function carries its settings and the pool's public keys in its code. So the pool has to be there first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_cognito as cognito
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_route53 as route53
from cdk_nag import AwsSolutionsChecks

from stagedoor.cdk import ContentApi, CustomDomain, PrivateAssetBucket
from stagedoor.core.errors import StagedoorError

ZONE, DOMAIN = "", ""
"""A domain of your own: a zone that Route 53 has in this account, and the site's name in it, for example
"example.com", "assets.example.com". Empty: CloudFront chooses a name.
"""
SETTINGS = Path(__file__).with_name("stagedoor.toml")
PLACEHOLDERS = ("us-east-1_Example", "example-client-id")
ENV = cdk.Environment(account=os.environ.get("CDK_DEFAULT_ACCOUNT"), region="us-east-1")


class Pool(cdk.Stack):
    """The people: nobody signs up by themselves, and nobody can write what a rule may ask for."""

    def __init__(self, app: cdk.App) -> None:
        super().__init__(app, "Pool", env=ENV)
        pool = cognito.UserPool(
            self,
            "Users",
            self_sign_up_enabled=False,
            sign_in_aliases=cognito.SignInAliases(email=True),
            password_policy=cognito.PasswordPolicy(
                min_length=12, require_digits=True, require_lowercase=True, require_symbols=True, require_uppercase=True
            ),
            mfa=cognito.Mfa.OPTIONAL,
            mfa_second_factor=cognito.MfaSecondFactor(otp=True, sms=False),
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        for name in ("students", "teachers"):
            pool.add_group(name, group_name=name)
        client = pool.add_client(
            "Web",
            auth_flows=cognito.AuthFlow(admin_user_password=True, user_srp=True),
            disable_o_auth=True,
            prevent_user_existence_errors=True,
            write_attributes=cognito.ClientAttributes().with_standard_attributes(fullname=True),
        )
        cdk.CfnOutput(self, "UserPoolId", value=pool.user_pool_id)
        cdk.CfnOutput(self, "UserPoolClientId", value=client.user_pool_client_id)
        acknowledge(pool, COG2="people choose; ask for it with mfa=REQUIRED", COG8="the Plus tier costs by the user")


class Site(cdk.Stack):
    """The files, for those people."""

    def __init__(
        self, app: cdk.App, settings: Path, keys: Mapping[str, bytes] | None, api: lambda_.Code | None
    ) -> None:
        super().__init__(app, "Site", env=ENV)
        site = PrivateAssetBucket(self, "Site", settings=settings, issuer_keys=keys, custom_domain=self._domain())
        ContentApi(self, "Api", site=site, code=api)

    def _domain(self) -> CustomDomain | None:
        if not DOMAIN:
            return None
        return CustomDomain(route53.HostedZone.from_lookup(self, "Zone", domain_name=ZONE), DOMAIN)


def acknowledge(construct: cdk.aws_cognito.UserPool, **reasons: str) -> None:
    """Say why a finding of cdk-nag is meant."""
    rules = [cdk.Acknowledgment(id=f"AwsSolutions::AwsSolutions-{rule}", reason=why) for rule, why in reasons.items()]
    cdk.Validations.of(construct).acknowledge(*rules)


def build(
    app: cdk.App, settings: Path, *, keys: Mapping[str, bytes] | None = None, api: lambda_.Code | None = None
) -> None:
    """Both stacks; the site only when the settings know the pool.

    Args:
        app: gets the stacks.
        settings: the file.
        keys, api: the pool's keys and the API's code, if they are here already.
    """
    Pool(app)
    text = settings.read_text(encoding="utf-8")
    if missing := [one for one in PLACEHOLDERS if one in text]:
        sys.stderr.write(
            f"note: there is no Site yet, for {settings.name} still has {' and '.join(missing)}: "
            "cdk deploy Pool, write the two ids that it prints into it, then cdk deploy Site\n"
        )
    else:
        Site(app, settings, keys, api)
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))


if __name__ == "__main__":
    the_app = cdk.App()
    try:
        build(the_app, SETTINGS)
    except StagedoorError as error:
        raise SystemExit(f"error: {error}") from None
    the_app.synth()
