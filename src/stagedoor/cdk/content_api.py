"""What is under `/-/`, on AWS: the same door as the gateway's, in a function behind two entrances."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from ..errors import SettingsError
from ..lambda_api import bundle
from ..lambda_api.lambda_function import ENTRANCE_VARIABLE
from ..settings import PREFIX, Settings
from . import catalogue, functions, monitoring, scratch, secrets
from .http_api import OwnUrl, SiteEntrance
from .nag import acknowledge
from .outputs import output
from .private_asset_bucket import PrivateAssetBucket

MEMORY_MB = 512
TIMEOUT = Duration.seconds(15)
PER_SECOND = 100
"""Requests of all callers together, at each entrance."""


class ContentApi(Construct):
    """Lists, signs and looks up for the callers of a site, under `/-/` of the site and at a URL of its own.

    Args:
        scope: in the stack of the site.
        id_: in the scope.
        site: whose API this is; `/-/*` of its distribution comes here from now on.
        own_url: False: no URL besides the site's.
        code: the function's zip, as `stagedoor.lambda_api.bundle.make_api_zip` makes it; None: it is made now.
        per_second: requests of all callers together, at each entrance.
        alarm_topic: who hears the alarms.

    Attributes:
        function: answers.
        table: the catalogue; fill it with `stagedoor catalogue import`.

    Sessions that `POST /-/session` makes count at the edge only with `[login] session_keys` in the settings: without
    them AWS makes up a key, which keeps pages of listings together and which the edge does not have.

    Raises:
        SettingsError: the function could not do what a setting asks for, or a secret would get into its code.
        BundleError: the zip cannot be made.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        site: PrivateAssetBucket,
        own_url: bool = True,
        code: lambda_.Code | None = None,
        per_second: int = PER_SECOND,
        alarm_topic: sns.ITopic | None = None,
    ) -> None:
        super().__init__(scope, id_)
        self.table = catalogue.table(self)
        entrance_secret = secrets.made_up(
            self, "Entrance", "shows the API that CloudFront asks", "CloudFront and the function have to change at once"
        )
        entrance = SiteEntrance(self, "SiteEntrance", per_second=per_second)
        site.add_api(entrance.origin(entrance_secret))
        given = self._given(site, f"secretsmanager:{entrance_secret.secret_arn}")
        self.function = self._function(code or _code(site.settings, given), given, site)
        entrance.answer_by(self.function)
        if own_url:
            own = OwnUrl(self, "OwnUrl", settings=site.settings, per_second=per_second, function=self.function)
            output(self, "RestApiUrl", own.url)
        monitoring.watch_function(self, self.function, alarm_topic)
        output(self, "CatalogueUrl", f"dynamodb://{self.table.table_name}")

    def _given(self, site: PrivateAssetBucket, entrance: str) -> _Given:
        """What the function is told, and which secrets it reads."""
        settings = site.settings
        given = _Given({}, [entrance])
        given.set("SITE_URL", site.url)
        given.set("SITE_STORE", f"s3://{site.bucket.bucket_name}{site.prefix or ''}")
        given.set("SITE_REGION", Stack.of(self).region)
        given.set("CATALOGUE_URL", f"dynamodb://{self.table.table_name}")
        given.variables[ENTRANCE_VARIABLE] = entrance
        if settings.sessions_end_with_us:
            key = secrets.made_up(
                self, "SessionKey", "keeps pages of listings together", "a new key ends every listing"
            )
            given.set("LOGIN_SESSION_KEYS", f'["secretsmanager:{key.secret_arn}"]')
            given.secrets.append(f"secretsmanager:{key.secret_arn}")
        else:
            given.secrets.extend(_kept_keys(settings))
        if settings.passes.key_id is not None:
            given.secrets.extend(_kept_by_aws(settings))
        if site.pass_keys is not None:
            given.set("PASSES_KEY_ID", site.pass_keys.signing.public_key_id)
            given.set("PASSES_PUBLIC_KEYS", "{}")
        return given

    def _function(self, code: lambda_.Code, given: _Given, site: PrivateAssetBucket) -> lambda_.Function:
        role, group = functions.own_log(self, "Function")
        role.add_to_policy(iam.PolicyStatement(actions=["s3:ListBucket"], resources=[site.bucket.bucket_arn]))
        role.add_to_policy(iam.PolicyStatement(actions=["dynamodb:GetItem"], resources=[self.table.table_arn]))
        for secret in dict.fromkeys(given.secrets):
            role.add_to_policy(secrets.reads(self, secret))
        made = lambda_.Function(
            self,
            "Function",
            description="Stagedoor: what is under /-/",
            runtime=functions.RUNTIME,
            architecture=lambda_.Architecture.custom(bundle.ARCHITECTURE),
            handler=bundle.HANDLER,
            code=code,
            memory_size=MEMORY_MB,
            timeout=TIMEOUT,
            environment=given.variables,
            role=role,
            log_group=group,
        )
        acknowledge(made, L1="the bytecode in the zip is that of this Python")
        return made


@dataclass(frozen=True, slots=True)
class _Given:
    """Environment variables of the function, and the secrets that it may read."""

    variables: dict[str, str]
    secrets: list[str]

    def set(self, name: str, value: str) -> None:
        self.variables[PREFIX + name] = value


def _kept_by_aws(settings: Settings) -> list[str]:
    """Where the private key of passes is, and its passphrase."""
    found = [secret for secret in (settings.passes.private_key, settings.passes.passphrase) if secret is not None]
    for secret in found:
        if not isinstance(secret, str):
            raise _here("passes.private_key", "private-key", "private.pem", '"ssm:/stagedoor/private-key"')
    return [str(secret) for secret in found]


def _kept_keys(settings: Settings) -> list[str]:
    """Where the session keys are."""
    assert settings.source is not None
    login = tomllib.loads(settings.source.read_text(encoding="utf-8")).get("login", {})
    named = login.get("session_keys", [])
    found = [named] if isinstance(named, str) else list(named)
    for secret in found:
        if not secret.startswith(("ssm:", "secretsmanager:")):
            raise _here("login.session_keys", "session-key", "session.key", '["ssm:/stagedoor/session-key"]')
    return found


def _here(setting: str, name: str, file: str, write: str) -> SettingsError:
    put = f"aws ssm put-parameter --region us-east-1 --type SecureString --name /stagedoor/{name} --value file://{file}"
    problem = "the function reads this secret when it starts, and it is on this machine"
    return SettingsError(problem, setting=setting, mend=f"put it there: {put}\n  and write {write}")


def _code(settings: Settings, given: _Given) -> lambda_.Code:
    if settings.source is None:
        raise SettingsError("these settings come from no file", setting="settings", mend="give the path of their file")
    names = frozenset(given.variables)
    environ = {**os.environ, PREFIX + "SITE_URL": settings.url}
    zipped = bundle.make_api_zip(settings, given=names, environ=environ)
    return lambda_.Code.from_asset(str(scratch.write("api.zip", zipped.content)))
