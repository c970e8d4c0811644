"""The two entrances of the API: `/-/*` of the site, behind CloudFront, and a URL of its own with the stage `v1`."""

from __future__ import annotations

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from constructs import Construct

from ..aws.api.event import ENTRANCE
from ..core import rsa
from ..core.errors import SettingsError
from ..core.issuers import Issuer
from ..settings import Settings
from . import monitoring
from .nag import acknowledge

STAGE = "v1"
GET, POST = apigateway.HttpMethod.GET, apigateway.HttpMethod.POST
OWN_URL = {"/s3objects": GET, "/urls": POST, "/contents/{id}": GET, "/whoami": GET}
"""What the API's own URL answers; cookies would be of no use there, for they belong to the site."""


class SiteEntrance(Construct):
    """What CloudFront asks for `/-/*`. Cookies have to count there, so the function alone decides, as a door does.

    Args:
        per_second: requests of all callers together.
        alarm_topic: who hears that it answers with 5xx.
    """

    def __init__(self, scope: Construct, id_: str, *, per_second: int, alarm_topic: sns.ITopic | None = None) -> None:
        super().__init__(scope, id_)
        self._api = apigateway.HttpApi(self, "Api", create_default_stage=False, description="Stagedoor: /-/")
        _stage(self, self._api, "$default", per_second, alarm_topic)

    def origin(self, secret: secretsmanager.Secret) -> cloudfront.IOrigin:
        """The origin for CloudFront, which shows with a secret that it is CloudFront."""
        stack = Stack.of(self)
        return origins.HttpOrigin(
            f"{self._api.api_id}.execute-api.{stack.region}.{stack.url_suffix}",
            protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY,
            origin_ssl_protocols=[cloudfront.OriginSslPolicy.TLS_V1_2],
            # a reference in the template, which CloudFormation resolves: the secret itself is not in it
            custom_headers={ENTRANCE.decode(): secret.secret_value.unsafe_unwrap()},
        )

    def answer_by(self, function: lambda_.Function) -> None:
        """Route what comes in to the function."""
        routes = self._api.add_routes(
            path="/-/{proxy+}",
            methods=[apigateway.HttpMethod.ANY],
            integration=integrations.HttpLambdaIntegration("Function", function),
        )
        for route in routes:
            acknowledge(route, APIG4="the function decides, from tokens, sessions and passes: cookies must count")


class OwnUrl(Construct):
    """The API's own URL, for programs that bring a bearer token; the function still decides about each request.

    Args:
        settings: with one issuer; API Gateway asks no more than one.
        per_second, alarm_topic: as for `SiteEntrance`.
        function: answers.

    Attributes:
        url: of the stage, with a slash at the end.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        settings: Settings,
        per_second: int,
        function: lambda_.Function,
        alarm_topic: sns.ITopic | None = None,
    ) -> None:
        super().__init__(scope, id_)
        issuer = _only_issuer(settings)
        authorizer = authorizers.HttpJwtAuthorizer(
            "Token", issuer.url, jwt_audience=sorted(issuer.audience), authorizer_name="token"
        )
        api = apigateway.HttpApi(
            self,
            "Api",
            create_default_stage=False,
            description="Stagedoor: the API's own URL",
            default_authorizer=authorizer,
            cors_preflight=_cors(settings),
        )
        integration = integrations.HttpLambdaIntegration("Function", function)
        for path, method in OWN_URL.items():
            api.add_routes(path=path, methods=[method], integration=integration)
        _stage(self, api, STAGE, per_second, alarm_topic)
        self.url = f"{api.api_endpoint}/{STAGE}/"


def _only_issuer(settings: Settings) -> Issuer:
    if len(settings.issuers) != 1:
        raise SettingsError(
            f"there are {len(settings.issuers)} issuers, and API Gateway checks the tokens of one",
            setting="own_url",
            mend="own_url=False: programs can use the site's /-/ with any of them",
        )
    (issuer,) = settings.issuers
    for other in sorted(issuer.algorithms - rsa.ALGORITHMS):
        # API Gateway Developer Guide, "Control access to HTTP APIs with JWT authorizers": RSA alone; and the keys are
        # those that the issuer's discovery document leads to, whatever `jwks` says
        raise SettingsError(
            f"tokens signed with {other} would be refused there: API Gateway checks RSA signatures alone",
            setting="own_url",
            mend="own_url=False: programs can use the site's /-/ with these tokens",
        )
    return issuer


def _cors(settings: Settings) -> apigateway.CorsPreflightOptions | None:
    if not settings.origins:
        return None
    return apigateway.CorsPreflightOptions(
        allow_origins=sorted(settings.origins),
        allow_methods=[apigateway.CorsHttpMethod.GET, apigateway.CorsHttpMethod.POST],
        allow_headers=["authorization", "content-type"],
    )


def _stage(
    scope: Construct, api: apigateway.HttpApi, name: str, per_second: int, alarm_topic: sns.ITopic | None
) -> None:
    """A stage with a limit, an alarm, and a log in which no query, cookie or token is written."""
    monitoring.watch_api(scope, api, name, alarm_topic)
    group = logs.LogGroup(scope, "Log", retention=logs.RetentionDays.ONE_MONTH, removal_policy=RemovalPolicy.DESTROY)
    made = apigateway.HttpStage(
        scope,
        "Stage",
        http_api=api,
        stage_name=name,
        auto_deploy=True,
        throttle=apigateway.ThrottleSettings(rate_limit=per_second, burst_limit=2 * per_second),
    )
    stage = made.node.default_child
    assert isinstance(stage, apigateway.CfnStage)
    stage.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
        destination_arn=group.log_group_arn,
        format='{"request":"$context.requestId","client":"$context.identity.sourceIp",'
        '"method":"$context.httpMethod","path":"$context.path","status":"$context.status",'
        '"bytes":"$context.responseLength","error":"$context.authorizer.error"}',
    )
