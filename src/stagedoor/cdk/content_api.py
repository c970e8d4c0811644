"""The API on AWS: one function that answers `/-/*` as the gateway does, behind two entrances."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aws_cdk import Annotations, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from ..aws.api import bundle
from ..aws.api.lambda_function import ENTRANCE_VARIABLE
from ..aws.packing import sha256
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
"""Limit of requests, of all callers together, at each entrance."""

STATE_ACTIONS = ("BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem")

_SIGNING_KEY = "PASSES_SIGNING_KEY"
_NO_SESSIONS = (
    "sessions that POST /-/session makes open nothing at the edge, because no [login] session_keys are set: "
    'write session_keys = ["ssm:/stagedoor/session-key"], or let browsers bring the token in its cookie'
)


class ContentApi(Construct):
    """The API of a site (listings, passes, the catalogue, …), under `/-/` of the site and at a URL of its own.

    Args:
        scope: in the stack of the site.
        id_: in the scope.
        site: the site, whose distribution sends `/-/*` to this API.
        own_url: False: the API has no URL besides the site's.
        code: the function's zip, as `stagedoor.aws.api.bundle.make_api_zip` makes it; None: it is made now.
        per_second: limit of requests, of all callers together, at each entrance.
        alarm_topic: is notified of alarms.

    Attributes:
        function: answers the requests.
        table: the catalogue; fill it with `stagedoor catalogue import`.

    Raises:
        SettingsError: the function cannot do what a setting asks for, or a secret would get into its code.
        BundleError: the zip cannot be made.

    The edge accepts sessions that `POST /-/session` makes only if the settings have `[login] session_keys`. Otherwise
    AWS generates a key, which the function needs for cursors of listings and which the edge does not have.
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
        entrance_secret = secrets.generated(
            self,
            "Entrance",
            purpose="by it the API recognises CloudFront",
            no_rotation="CloudFront and the function have to change at once",
        )
        entrance = SiteEntrance(self, "SiteEntrance", per_second=per_second, alarm_topic=alarm_topic)
        site.add_api(entrance.origin(entrance_secret))
        environment = self._environment(site, f"secretsmanager:{entrance_secret.secret_arn}")
        self.function = self._function(code or self._code(site.settings, environment), environment, site)
        entrance.route_to(self.function)
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

    def _environment(self, site: PrivateAssetBucket, entrance: str) -> _Environment:
        """Collect the function's variables, and the secrets that it reads."""
        settings = site.settings
        environment = _Environment()
        environment.set("SITE_URL", site.url)
        environment.set("SITE_STORE", f"s3://{site.bucket.bucket_name}{site.prefix or ''}")
        environment.set("SITE_REGION", Stack.of(self).region)
        environment.set("CATALOGUE_URL", f"dynamodb://{self.table.table_name}")
        environment.variables[ENTRANCE_VARIABLE] = entrance
        environment.generated.append(entrance)
        if settings.session_keys_are_temporary:
            secret = secrets.generated(
                self,
                "SessionKey",
                purpose="seals the cursors of listings",
                no_rotation="a new key ends every listing",
            )
            key = f"secretsmanager:{secret.secret_arn}"
            environment.set("LOGIN_SESSION_KEYS", f'["{key}"]')
            environment.generated.append(key)
            if site.pass_keys is None:
                Annotations.of(self).add_info(_NO_SESSIONS)
        if site.pass_keys is not None:
            key_id = site.pass_keys.signing.public_key_id
            environment.set("PASSES_KEY_ID", key_id)
            # with its public half here, the function refuses to start with a private key of another pair
            environment.set("PASSES_PUBLIC_KEYS", f'{{"{key_id}" = "env:{_SIGNING_KEY}"}}')
            environment.variables[_SIGNING_KEY] = site.pass_keys.signing_pem
        environment.named.extend(_named_secrets(settings, environment.names))
        return environment

    def _function(self, code: lambda_.Code, environment: _Environment, site: PrivateAssetBucket) -> lambda_.Function:
        role, group = functions.role_and_log(self, "Function")
        role.add_to_policy(iam.PolicyStatement(actions=["s3:ListBucket"], resources=[site.bucket.bucket_arn]))
        role.add_to_policy(iam.PolicyStatement(actions=["dynamodb:GetItem"], resources=[self.table.table_arn]))
        if site.settings.state is not None:
            role.add_to_policy(self._state_permission(urlsplit(site.settings.state).netloc))
        for secret in environment.generated:
            role.add_to_policy(secrets.read_permission(self, secret))
        policies = [self._policy(role, secret) for secret in dict.fromkeys(environment.named)]
        function = lambda_.Function(
            self,
            "Function",
            description="Stagedoor: what is under /-/",
            runtime=functions.RUNTIME,
            architecture=lambda_.Architecture.custom(bundle.ARCHITECTURE),
            handler=bundle.HANDLER,
            code=code,
            memory_size=MEMORY_MB,
            timeout=TIMEOUT,
            environment=environment.variables,
            role=role,
            log_group=group,
        )
        function.node.add_dependency(*policies)
        acknowledge(function, L1="the bytecode in the zip is that of this Python")
        return function

    def _state_permission(self, table: str) -> iam.PolicyStatement:
        """Permit the function to ask for what was taken back, and to take back."""
        arn = Stack.of(self).format_arn(service="dynamodb", resource="table", resource_name=table)
        return iam.PolicyStatement(
            actions=[f"dynamodb:{one}" for one in STATE_ACTIONS], resources=[arn, f"{arn}/index/ends"]
        )

    def _policy(self, role: iam.Role, secret: str) -> iam.Policy:
        """Permit the function to read a secret that the settings name.

        Each secret has a policy of its own, so that CloudFormation removes the permission for an old secret only after
        the function has changed.
        """
        id_ = f"Reads-{sha256(secret.encode())[:8]}"
        return iam.Policy(self, id_, roles=[role], statements=[secrets.read_permission(self, secret)])

    def _code(self, settings: Settings, environment: _Environment) -> lambda_.Code:
        made = bundle.make_api_zip(settings, variables=environment.names, environ=_environ(settings))
        functions.warn_without_bytecode(self, made, "the API's function", "cold starts take longer")
        return lambda_.Code.from_asset(str(scratch.write("api.zip", made.content)))


@dataclass(slots=True)
class _Environment:
    """Environment variables of the function, and the secrets that it reads.

    Attributes:
        variables: name -> value.
        generated: secrets of this construct, as `secretsmanager:arn`.
        named: secrets that the settings name, as `ssm:/name` or `secretsmanager:name-or-arn`.
    """

    variables: dict[str, str] = field(default_factory=dict)
    generated: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)

    def set(self, name: str, value: str) -> None:
        self.variables[PREFIX + name] = value

    @property
    def names(self) -> frozenset[str]:
        """Of the variables."""
        return frozenset(self.variables)


def _named_secrets(settings: Settings, variables: frozenset[str]) -> list[str]:
    """The secrets that the settings name, except those that variables stand for.

    Raises:
        SettingsError: the function cannot read one of them.
    """
    found = bundle.named_secrets(settings, variables, _environ(settings))
    for setting, text in found:
        if not text.startswith(("ssm:", "secretsmanager:")):
            is_key = setting == "passes.private_key"  # each key has a parameter of its own
            name = settings.passes.key_id if is_key else setting.partition(".")[2].removesuffix("s").replace("_", "-")
            put = "aws ssm put-parameter --region us-east-1 --type SecureString --value file://…"
            raise SettingsError(
                "the function reads this when it starts, but it is on this machine",
                setting=setting,
                mend=f'store it at AWS: {put} --name /stagedoor/{name}\n  and write "ssm:/stagedoor/{name}"',
            )
    return [text for _, text in found]


def _environ(settings: Settings) -> Mapping[str, str]:
    """The environment that the settings were loaded with."""
    return {**os.environ, PREFIX + "SITE_URL": settings.url}
