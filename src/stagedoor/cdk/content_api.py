"""What is under `/-/`, on AWS: the same door as the gateway's, in a function behind two entrances."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Annotations, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from ..aws import packing
from ..aws.api import bundle
from ..aws.api.lambda_function import ENTRANCE_VARIABLE
from ..core.errors import SettingsError
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

_SIGNING_KEY = "PASSES_SIGNING_KEY"
_NO_BYTECODE = (
    f"the API's function goes without bytecode, for there is no python{packing.RUNTIME} here, and starts take longer. "
    f"Install python{packing.RUNTIME}, and make the template again"
)
_NO_SESSIONS = (
    "sessions that POST /-/session makes open nothing at the edge, for no [login] session_keys are set: "
    'write session_keys = ["ssm:/stagedoor/session-key"], or let browsers bring the token in its cookie'
)


class ContentApi(Construct):
    """Lists, signs and looks up for the callers of a site, under `/-/` of the site and at a URL of its own.

    Args:
        scope: in the stack of the site.
        id_: in the scope.
        site: whose API this is; `/-/*` of its distribution comes here from now on.
        own_url: False: no URL besides the site's.
        code: the function's zip, as `stagedoor.aws.api.bundle.make_api_zip` makes it; None: it is made now.
        per_second: requests of all callers together, at each entrance.
        alarm_topic: who hears the alarms.

    Attributes:
        function: answers.
        table: the catalogue; fill it with `stagedoor catalogue import`.

    Raises:
        SettingsError: the function could not do what a setting asks for, or a secret would get into its code.
        BundleError: the zip cannot be made.

    Sessions that `POST /-/session` makes count at the edge only with `[login] session_keys` in the settings: without
    them AWS makes up a key, which keeps pages of listings together and which the edge does not have.
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
        entrance = SiteEntrance(self, "SiteEntrance", per_second=per_second, alarm_topic=alarm_topic)
        site.add_api(entrance.origin(entrance_secret))
        given = self._given(site, f"secretsmanager:{entrance_secret.secret_arn}")
        self.function = self._function(code or self._code(site.settings, given), given, site)
        entrance.answer_by(self.function)
        if own_url:
            own = OwnUrl(
                self,
                "OwnUrl",
                settings=site.settings,
                per_second=per_second,
                function=self.function,
                alarm_topic=alarm_topic,
            )
            output(self, "RestApiUrl", own.url)
        monitoring.watch_function(self, self.function, alarm_topic)
        output(self, "CatalogueUrl", f"dynamodb://{self.table.table_name}")

    def _given(self, site: PrivateAssetBucket, entrance: str) -> _Given:
        """What the function is told, and which secrets it reads."""
        settings = site.settings
        given = _Given({}, [entrance], [])
        given.set("SITE_URL", site.url)
        given.set("SITE_STORE", f"s3://{site.bucket.bucket_name}{site.prefix or ''}")
        given.set("SITE_REGION", Stack.of(self).region)
        given.set("CATALOGUE_URL", f"dynamodb://{self.table.table_name}")
        given.variables[ENTRANCE_VARIABLE] = entrance
        if settings.session_keys_are_temporary:
            key = secrets.made_up(
                self, "SessionKey", "keeps pages of listings together", "a new key ends every listing"
            )
            given.set("LOGIN_SESSION_KEYS", f'["secretsmanager:{key.secret_arn}"]')
            given.secrets.append(f"secretsmanager:{key.secret_arn}")
            if site.pass_keys is None:
                Annotations.of(self).add_info(_NO_SESSIONS)
        if site.pass_keys is not None:
            id_ = site.pass_keys.signing.public_key_id
            given.set("PASSES_KEY_ID", id_)
            # a private key of another pair is refused when the function starts: its passes would open nothing
            given.set("PASSES_PUBLIC_KEYS", f'{{"{id_}" = "env:{_SIGNING_KEY}"}}')
            given.variables[_SIGNING_KEY] = site.pass_keys.signing_pem
        given.named.extend(_kept_by_aws(settings, given))
        return given

    def _function(self, code: lambda_.Code, given: _Given, site: PrivateAssetBucket) -> lambda_.Function:
        role, group = functions.own_log(self, "Function")
        role.add_to_policy(iam.PolicyStatement(actions=["s3:ListBucket"], resources=[site.bucket.bucket_arn]))
        role.add_to_policy(iam.PolicyStatement(actions=["dynamodb:GetItem"], resources=[self.table.table_arn]))
        for secret in given.secrets:
            role.add_to_policy(secrets.reads(self, secret))
        leave = [self._leave(role, secret) for secret in dict.fromkeys(given.named)]
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
        made.node.add_dependency(*leave)
        acknowledge(made, L1="the bytecode in the zip is that of this Python")
        return made

    def _leave(self, role: iam.Role, secret: str) -> iam.Policy:
        """Leave to read a secret that the settings name. When they name another, this one may be read until the
        function has changed as well.
        """
        digest = hashlib.sha256(secret.encode()).hexdigest()[:8]
        return iam.Policy(self, f"Reads-{digest}", roles=[role], statements=[secrets.reads(self, secret)])

    def _code(self, settings: Settings, given: _Given) -> lambda_.Code:
        made = bundle.make_api_zip(settings, given=frozenset(given.variables), environ=_environ(settings))
        if not made.compiled:
            Annotations.of(self).add_warning_v2("stagedoor:noBytecode", _NO_BYTECODE)
        return lambda_.Code.from_asset(str(scratch.write("api.zip", made.content)))


@dataclass(frozen=True, slots=True)
class _Given:
    """Environment variables of the function, and the secrets that it reads: ours, and those that the settings name."""

    variables: dict[str, str]
    secrets: list[str]
    named: list[str]

    def set(self, name: str, value: str) -> None:
        self.variables[PREFIX + name] = value


def _kept_by_aws(settings: Settings, given: _Given) -> list[str]:
    """Where the secrets are that the settings name.

    Raises:
        SettingsError: one of them is where the function cannot read it.
    """
    named = bundle.secrets_read(settings, frozenset(given.variables), _environ(settings))
    for setting, text in named:
        if not text.startswith(("ssm:", "secretsmanager:")):
            is_key = setting == "passes.private_key"  # each key has a parameter of its own
            name = settings.passes.key_id if is_key else setting.partition(".")[2].removesuffix("s").replace("_", "-")
            put = "aws ssm put-parameter --region us-east-1 --type SecureString --value file://…"
            raise SettingsError(
                "the function reads this when it starts, and it is on this machine",
                setting=setting,
                mend=f'put it there: {put} --name /stagedoor/{name}\n  and write "ssm:/stagedoor/{name}"',
            )
    return [text for _, text in named]


def _environ(settings: Settings) -> Mapping[str, str]:
    """What the settings were loaded with."""
    return {**os.environ, PREFIX + "SITE_URL": settings.url}
