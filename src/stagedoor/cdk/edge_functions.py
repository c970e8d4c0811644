"""The edge functions: one zip with two handlers, within the strictest limits in CloudFront's documentation.

Source: CloudFront Developer Guide, "Restrictions on Lambda@Edge" and "Quotas on Lambda@Edge".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from aws_cdk import Annotations, Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from ..aws import packing
from ..aws.edge import bundle
from ..settings import Settings
from . import scratch
from .functions import RUNTIME, warn_without_bytecode
from .nag import acknowledge, acknowledge_wildcard

MEMORY_MB = 128
TIMEOUT = Duration.seconds(5)

_SESSION_KEYS_INSIDE = (
    "session keys are in the code of the edge functions: everyone who may read the functions, cdk.out or CDK's bucket "
    "of assets can make sessions"
)


class EdgeFunctions(Construct):
    """The functions of one distribution; each is made when a behaviour first needs it.

    Args:
        settings, keys, own_domain: as for `bundle.make`.
    """

    def __init__(
        self, scope: Construct, id_: str, *, settings: Settings, keys: Mapping[str, bytes], own_domain: bool
    ) -> None:
        super().__init__(scope, id_)
        self._settings, self._keys, self._own_domain = settings, keys, own_domain

    @cached_property
    def bundle(self) -> packing.Bundle:
        """Their zip; annotations say what the owner should know about it."""
        made = bundle.make(self._settings, self._keys, own_domain=self._own_domain)
        cost = "at each cold start a visitor waits while Python compiles it"
        warn_without_bytecode(self, made, "the zip of the edge functions", cost)
        if made.secret:
            Annotations.of(self).add_info(_SESSION_KEYS_INSIDE)
        if self._settings.clients and self._settings.login_page is None:
            Annotations.of(self).add_info(packing.NO_SIGN_IN)
        return made

    @cached_property
    def objects(self) -> cloudfront.EdgeLambda:
        """Checks requests for objects, before the cache is used."""
        return self._viewer_request("Objects", bundle.OBJECTS)

    @cached_property
    def api(self) -> cloudfront.EdgeLambda:
        """Sends requests for `/-/*` on to the API, each in its canonical spelling."""
        return self._viewer_request("Api", bundle.API)

    def _viewer_request(self, id_: str, handler: str) -> cloudfront.EdgeLambda:
        services = iam.CompositePrincipal(
            iam.ServicePrincipal("lambda.amazonaws.com"), iam.ServicePrincipal("edgelambda.amazonaws.com")
        )
        role = iam.Role(self, f"{id_}Role", assumed_by=services)
        function = lambda_.Function(
            self,
            id_,
            description=f"Stagedoor at the edge: {id_.lower()} ({self.bundle.hash})",
            runtime=RUNTIME,
            architecture=lambda_.Architecture.X86_64,
            handler=handler,
            code=self._code(),
            memory_size=MEMORY_MB,
            timeout=TIMEOUT,
            role=role,
            # replicas of a version stay at the edge for hours, and rolling back needs the old version
            current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.RETAIN),
        )
        self._let_it_log(id_, role, function)
        acknowledge(function, L1="the bytecode in the zip is that of this Python")
        return cloudfront.EdgeLambda(
            event_type=cloudfront.LambdaEdgeEventType.VIEWER_REQUEST, function_version=function.current_version
        )

    def _code(self) -> lambda_.Code:
        file = scratch.write("edge.zip", self.bundle.content)
        file.chmod(0o600)  # session keys may be in it; CDK copies the file with its permissions
        return lambda_.Code.from_asset(str(file))

    def _let_it_log(self, id_: str, role: iam.Role, function: lambda_.Function) -> None:
        """Permit the log. It is written in the region that ran the function, and named after the home region."""
        stack = Stack.of(self)
        name = f"/aws/lambda/us-east-1.{function.function_name}"
        group = f"arn:{stack.partition}:logs:*:{stack.account}:log-group:{name}"
        # the group's ARN in the form of IAM's reference, and in the form of CloudWatch Logs
        groups, streams = [group, f"{group}:*"], f"{group}:log-stream:*"
        policy = iam.Policy(
            self,
            f"{id_}Logs",
            roles=[role],
            statements=[
                iam.PolicyStatement(actions=["logs:CreateLogGroup"], resources=groups),
                iam.PolicyStatement(actions=["logs:CreateLogStream", "logs:PutLogEvents"], resources=[streams]),
            ],
        )
        for resource in (*groups, streams):
            acknowledge_wildcard(policy, resource, "its own log alone, in every region that may run it")
