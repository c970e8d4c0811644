"""The two entrances of the API: `/-/*` of the site, behind CloudFront, and a URL of its own, with the stage `v1`."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_apigatewayv2_authorizers as authorizers
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from constructs import Construct

from ..aws.api.event import ENTRANCE
from ..core import rsa
from ..core.door import ASKED_HEADERS
from ..core.errors import SettingsError
from ..core.issuers import Issuer
from ..settings import Settings
from . import monitoring
from .log_group import log_group
from .nag import acknowledge

STAGE = "v1"
GET, POST = apigateway.HttpMethod.GET, apigateway.HttpMethod.POST
OWN_URL = {"/s3objects": GET, "/urls": POST, "/contents/{id}": GET, "/whoami": GET}
"""Routes of the API's own URL. Those that set cookies are missing, because cookies belong to the site."""


class SiteEntrance(Construct):
    """The origin of `/-/*`. No authorizer stands before it, because it would not accept cookies: the function decides.

    Args:
        per_second: limit of requests, of all callers together.
        alarm_topic: is notified of 5xx answers.
    """

    def __init__(self, scope: Construct, id_: str, *, per_second: int, alarm_topic: sns.ITopic | None = None) -> None:
        super().__init__(scope, id_)
        self._api = apigateway.HttpApi(self, "Api", create_default_stage=False, description="Stagedoor: /-/")
        _stage(self, self._api, "$default", per_second, alarm_topic)

    def origin(self, secret: secretsmanager.Secret) -> cloudfront.IOrigin:
        """Make the origin for CloudFront, which adds the secret to its requests."""
        stack = Stack.of(self)
        return origins.HttpOrigin(
            f"{self._api.api_id}.execute-api.{stack.region}.{stack.url_suffix}",
            protocol_policy=cloudfront.OriginProtocolPolicy.HTTPS_ONLY,
            origin_ssl_protocols=[cloudfront.OriginSslPolicy.TLS_V1_2],
            # the template holds a reference, which CloudFormation resolves, and not the secret
            custom_headers={ENTRANCE.decode(): secret.secret_value.unsafe_unwrap()},
        )

    def route_to(self, function: lambda_.Function) -> None:
        """Send every request to the function."""
        routes = self._api.add_routes(
            path="/-/{proxy+}",
            methods=[apigateway.HttpMethod.ANY],
            integration=integrations.HttpLambdaIntegration("Function", function),
        )
        for route in routes:
            acknowledge(route, APIG4="the function decides, because an authorizer accepts no cookies")


class OwnUrl(Construct):
    """The API's own URL, for programs with a bearer token. API Gateway checks the token, then the function decides.

    Args:
        settings: with exactly one issuer, because an authorizer of API Gateway has one.
        per_second, alarm_topic: as for `SiteEntrance`.
        function: answers the requests.

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
    for algorithm in sorted(issuer.algorithms - rsa.ALGORITHMS):
        # API Gateway Developer Guide, "Control access to HTTP APIs with JWT authorizers": it checks RSA signatures
        # alone, and finds the keys by the issuer's discovery document, not by our setting `jwks`.
        raise SettingsError(
            f"tokens signed with {algorithm} would be refused there: API Gateway checks RSA signatures alone",
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
        allow_headers=sorted({name.lower() for name in (*ASKED_HEADERS, *settings.asked_headers)}),
    )


def _stage(
    scope: Construct, api: apigateway.HttpApi, name: str, per_second: int, alarm_topic: sns.ITopic | None
) -> None:
    """Make a stage with a limit, an alarm, and a log without queries, cookies and tokens."""
    monitoring.watch_api(scope, api, name, alarm_topic)
    group = log_group(scope, "Log")
    stage = apigateway.HttpStage(
        scope,
        "Stage",
        http_api=api,
        stage_name=name,
        auto_deploy=True,
        throttle=apigateway.ThrottleSettings(rate_limit=per_second, burst_limit=2 * per_second),
    )
    resource = stage.node.default_child
    assert isinstance(resource, apigateway.CfnStage)
    resource.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
        destination_arn=group.log_group_arn,
        format='{"request":"$context.requestId","client":"$context.identity.sourceIp",'
        '"method":"$context.httpMethod","path":"$context.path","status":"$context.status",'
        '"bytes":"$context.responseLength","error":"$context.authorizer.error"}',
    )
