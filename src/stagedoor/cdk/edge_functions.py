"""The edge functions: one zip, two handlers, within the strictest limits that CloudFront has had for them.

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
from .functions import RUNTIME
from .nag import acknowledge, acknowledge_wildcard

MEMORY_MB = 128
TIMEOUT = Duration.seconds(5)

_NO_BYTECODE = (
    f"the edge functions go without bytecode, for there is no python{packing.RUNTIME} here: whenever one starts, "
    f"a visitor waits while Python compiles it. Install python{packing.RUNTIME}, and make the template again"
)
_KEYS_INSIDE = (
    "session keys are in the code of the edge functions: whoever may read the functions, cdk.out or CDK's bucket of "
    "assets can make sessions"
)


class EdgeFunctions(Construct):
    """Functions of one distribution; each is made when a behaviour first needs it.

    Args:
        settings, keys: as for `bundle.make`.
        own_domain: False: CloudFront chooses the domain name, and tells the function with each request.
    """

    def __init__(
        self, scope: Construct, id_: str, *, settings: Settings, keys: Mapping[str, bytes], own_domain: bool
    ) -> None:
        super().__init__(scope, id_)
        self._settings, self._keys, self._own_domain = settings, keys, own_domain

    @cached_property
    def bundle(self) -> bundle.Bundle:
        """Their zip; the owner hears what is special about it."""
        made = bundle.make(self._settings, self._keys, own_domain=self._own_domain)
        if not made.compiled:
            Annotations.of(self).add_warning_v2("stagedoor:noBytecode", _NO_BYTECODE)
        if made.secret:
            Annotations.of(self).add_info(_KEYS_INSIDE)
        return made

    @cached_property
    def objects(self) -> cloudfront.EdgeLambda:
        """Decides about objects, before the cache is asked."""
        return self._viewer_request("Objects", bundle.OBJECTS)

    @cached_property
    def api(self) -> cloudfront.EdgeLambda:
        """Lets requests for `/-/*` through to the API, in one spelling."""
        return self._viewer_request("Api", bundle.API)

    def _viewer_request(self, id_: str, handler: str) -> cloudfront.EdgeLambda:
        trusted = iam.CompositePrincipal(
            iam.ServicePrincipal("lambda.amazonaws.com"), iam.ServicePrincipal("edgelambda.amazonaws.com")
        )
        role = iam.Role(self, f"{id_}Role", assumed_by=trusted)
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
            # the edge keeps copies of a version for hours; and an old version is the way back
            current_version_options=lambda_.VersionOptions(removal_policy=RemovalPolicy.RETAIN),
        )
        self._let_it_log(id_, role, function)
        acknowledge(function, L1="the bytecode in the zip is that of this Python")
        return cloudfront.EdgeLambda(
            event_type=cloudfront.LambdaEdgeEventType.VIEWER_REQUEST, function_version=function.current_version
        )

    def _code(self) -> lambda_.Code:
        file = scratch.write("edge.zip", self.bundle.content)
        file.chmod(0o600)  # CDK keeps a copy in its own folder, with these permissions; session keys may be in it
        return lambda_.Code.from_asset(str(file))

    def _let_it_log(self, id_: str, role: iam.Role, function: lambda_.Function) -> None:
        """The log is written in the region whose edge ran the function, under the name of its home region."""
        stack = Stack.of(self)
        group = f"/aws/lambda/us-east-1.{function.function_name}"
        logs = f"arn:{stack.partition}:logs:*:{stack.account}:log-group:{group}"
        # the first is the ARN of the group as IAM's reference has it, the second as CloudWatch Logs writes it
        groups, streams = [logs, f"{logs}:*"], f"{logs}:log-stream:*"
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
            acknowledge_wildcard(policy, resource, "its own log alone, in whichever region the edge runs it")
