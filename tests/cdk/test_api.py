"""The API on AWS: two entrances, and one function with no more rights than it needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda as lambda_

from stagedoor.aws.api import bundle
from stagedoor.aws.api.lambda_function import Function, start
from stagedoor.cdk import ContentApi
from stagedoor.cdk.content_api import STATE_ACTIONS
from stagedoor.core.errors import InvalidKey, SettingsError
from stagedoor.keys.pass_keys import Pair, new_pair
from stagedoor.outside import aws
from tests.helpers.synth import (
    CLIENT,
    POOL_URL,
    Template,
    actions,
    distribution,
    keys,
    made,
    of_type,
    only,
    site,
    stack,
    statements,
)

pytestmark = pytest.mark.needs("node")

CODE = Path(__file__).parents[1] / "vectors"
SETTINGS = f"""
[site]
url = "http://localhost:8080"
store = "./files"
[[issuers]]
issuer = "{POOL_URL}"
audience = ["{CLIENT}"]
[[rules]]
path = "courses/**"
allow = "signed-in"
[cors]
origins = ["https://app.example.com"]
"""
PASSES = """
[passes]
key_id = "mine"
private_key = "ssm:/stagedoor/private-key"
public_keys = { mine = "file:public.pem" }
"""
SESSIONS = """
[login]
session_keys = ["ssm:/stagedoor/session-key"]
"""


@pytest.fixture(scope="session")
def pair() -> Pair:
    return new_pair("rsa")


@pytest.fixture
def write(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write settings; the secrets that they name are at AWS."""
    kept = {"ssm:/stagedoor/private-key": pair.private, "ssm:/stagedoor/session-key": b"k" * 40}
    monkeypatch.setattr(aws, "read_secret", lambda name, region=None: kept.get(name, b"s" * 40))

    def write_them(*more: str) -> Path:
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "public.pem").write_bytes(pair.public)
        (tmp_path / "private.pem").write_bytes(pair.private)
        file = tmp_path / "stagedoor.toml"
        file.write_text("\n".join([SETTINGS, *more]))
        return file

    return write_them


def api(scope: cdk.Stack, own_url: bool = True, **arguments: Any) -> ContentApi:
    code = lambda_.Code.from_asset(str(CODE))
    return ContentApi(scope, "Content", site=site(scope, **arguments), own_url=own_url, code=code)


@pytest.fixture(scope="session")
def template() -> Template:
    return made(api)


def the_function(template: Template) -> Any:
    found = of_type(template, "AWS::Lambda::Function").values()
    (function,) = (one for one in found if one["Handler"] == bundle.HANDLER)
    return function


# --- the site's entrance


def test_the_site_sends_all_its_endpoints_to_the_api_with_credentials(template: Template) -> None:
    pages, ours = distribution(template)["CacheBehaviors"]
    assert (pages["PathPattern"], ours["PathPattern"]) == ("/-/errors/*", "/-/*")
    assert set(ours["AllowedMethods"]) == {"GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"}
    assert ours["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # CachingDisabled
    assert ours["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"  # AllViewerExceptHostHeader
    (check,) = ours["LambdaFunctionAssociations"]
    assert check["EventType"] == "viewer-request"


def test_both_edge_functions_come_from_one_zip(template: Template) -> None:
    functions = of_type(template, "AWS::Lambda::Function").values()
    edge = {
        one["Handler"]: one["Code"]["S3Key"] for one in functions if one["Handler"].startswith("stagedoor.aws.edge.")
    }
    assert set(edge) == {"stagedoor.aws.edge.lambda_function.objects", "stagedoor.aws.edge.lambda_function.api"}
    assert len(set(edge.values())) == 1


def test_cloudfront_shows_the_api_a_secret_that_is_not_in_the_template(template: Template) -> None:
    (origin,) = (one for one in distribution(template)["Origins"] if "CustomOriginConfig" in one)
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    (header,) = origin["OriginCustomHeaders"]
    assert header["HeaderName"] == "x-stagedoor-entrance"
    assert "{{resolve:secretsmanager:" in json.dumps(header["HeaderValue"])
    assert all("SecretString" not in one for one in of_type(template, "AWS::SecretsManager::Secret").values())


# --- the API's own URL


def test_its_own_url_asks_for_a_token_of_the_pool(template: Template) -> None:
    authorizer = only(template, "AWS::ApiGatewayV2::Authorizer")
    assert authorizer["JwtConfiguration"] == {"Audience": [CLIENT], "Issuer": POOL_URL}
    routes = of_type(template, "AWS::ApiGatewayV2::Route").values()
    guarded = {one["RouteKey"] for one in routes if one["AuthorizationType"] == "JWT"}
    assert guarded == {"GET /s3objects", "POST /urls", "GET /contents/{id}", "GET /whoami"}
    assert {one["RouteKey"] for one in routes} - guarded == {"ANY /-/{proxy+}"}


def test_its_own_url_is_printed_with_the_stage(template: Template) -> None:
    assert template["Outputs"]["RestApiUrl"]["Value"]["Fn::Join"][1][-1] == "/v1/"
    assert {"BucketName", "SiteUrl", "DistributionId", "CatalogueUrl"} <= set(template["Outputs"])


def test_stages_have_a_limit_and_a_log_without_credentials(template: Template) -> None:
    stages = of_type(template, "AWS::ApiGatewayV2::Stage").values()
    assert {one["StageName"] for one in stages} == {"$default", "v1"}
    for stage_ in stages:
        assert stage_["DefaultRouteSettings"] == {"ThrottlingBurstLimit": 200, "ThrottlingRateLimit": 100}
        line = stage_["AccessLogSettings"]["Format"]
        assert "$context.status" in line
        assert not any(word in line.lower() for word in ("query", "cookie", "header", "referer"))


def test_with_two_issuers_there_can_be_no_url_of_its_own(write: Callable[..., Path]) -> None:
    other = "https://id.example.com"
    settings = write(f'[[issuers]]\nissuer = "{other}"\naudience = ["x"]\nname = "other"')
    both = {**keys(), other: keys()[POOL_URL]}
    with pytest.raises(SettingsError, match="own_url=False"):
        made(lambda scope: api(scope, settings=settings, issuer_keys=both))
    template = made(lambda scope: api(scope, own_url=False, settings=settings, issuer_keys=both))
    assert not of_type(template, "AWS::ApiGatewayV2::Authorizer")
    assert [one["RouteKey"] for one in of_type(template, "AWS::ApiGatewayV2::Route").values()] == ["ANY /-/{proxy+}"]


def test_scripts_of_listed_origins_may_call_it(write: Callable[..., Path]) -> None:
    template = made(lambda scope: api(scope, settings=write()))
    apis = of_type(template, "AWS::ApiGatewayV2::Api").values()
    (cors,) = (one["CorsConfiguration"] for one in apis if "CorsConfiguration" in one)
    assert cors["AllowOrigins"] == ["https://app.example.com"]
    assert {"authorization", "content-type", "traceparent", "baggage"} <= set(cors["AllowHeaders"])


# --- the function


def test_the_function_may_list_look_up_and_read_its_secrets_and_nothing_else(template: Template) -> None:
    (policy,) = (one for name, one in of_type(template, "AWS::IAM::Policy").items() if "ContentFunctionRole" in name)
    found = statements(policy)
    assert {name for one in found for name in actions(one)} == {
        *("logs:CreateLogStream", "logs:PutLogEvents", "s3:ListBucket", "dynamodb:GetItem"),
        "secretsmanager:GetSecretValue",
    }
    assert "*" not in json.dumps([one["Resource"] for one in found])


def test_a_state_in_dynamodb_may_be_asked_and_written(write: Callable[..., Path]) -> None:
    settings = write('[state]\nurl = "dynamodb://taken-back"')
    stack = made(lambda scope: api(scope, settings=settings))
    (policy,) = (one for name, one in of_type(stack, "AWS::IAM::Policy").items() if "ContentFunctionRole" in name)
    (found,) = (one for one in statements(policy) if "dynamodb:Query" in actions(one))
    assert set(actions(found)) == {f"dynamodb:{one}" for one in STATE_ACTIONS}
    arns = [json.dumps(one) for one in found["Resource"]]
    assert [("table/taken-back" in arn, "/index/ends" in arn) for arn in arns] == [(True, False), (True, True)]


def test_the_catalogue_can_be_restored(template: Template) -> None:
    table = only(template, "AWS::DynamoDB::GlobalTable")
    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    (replica,) = table["Replicas"]
    assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert replica["DeletionProtectionEnabled"] is True


@pytest.mark.parametrize("more", [(), (PASSES,), (PASSES, SESSIONS)], ids=["plain", "passes", "sessions"])
def test_the_function_starts_with_its_variables(
    more: tuple[str, ...], write: Callable[..., Path], tmp_path: Path
) -> None:
    door = "passes" if more == (PASSES,) else "edge"
    function = started(write(*more), door, tmp_path / "task")
    assert function.settings.store == "s3://known-later"
    assert function.settings.url == "https://known-later"
    assert function.settings.aws_region == "us-east-1"
    assert function.entrance == b"s" * 40
    assert (function.settings.passes.key_id is not None) == bool(more)
    assert function.settings.passes.key_id != "mine" or door == "edge"
    assert function.settings.session_keys == ((b"k" * 40,) if SESSIONS in more else (b"s" * 40,))
    function.outside.close()


def test_with_a_private_key_of_another_pair_the_function_does_not_start(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudFront chooses the ids of keys, so the function compares the keys themselves."""
    settings = write(PASSES)
    monkeypatch.setattr(
        aws, "read_secret", lambda text, *_: new_pair("rsa").private if "private" in text else b"k" * 40
    )
    with pytest.raises(InvalidKey, match="does not belong to"):
        started(settings, "passes", tmp_path / "task")


def started(settings: Path, door: str, task: Path) -> Function:
    """Start the function as AWS does, with the variables of the template."""
    scope = stack()
    whole = site(scope, settings=settings, door=door)
    ContentApi(scope, "Content", site=whole, code=lambda_.Code.from_asset(str(CODE)))
    template = cdk.assertions.Template.from_stack(scope).to_json()
    variables = the_function(template)["Environment"]["Variables"]
    environ = {name: value if isinstance(value, str) else _deployed(value) for name, value in variables.items()}
    files = bundle.settings_files(
        whole.settings, frozenset(environ), {"STAGEDOOR_SITE_URL": "https://distribution.invalid"}
    )
    for name, content in files.items():
        (task / name).parent.mkdir(parents=True, exist_ok=True)
        (task / name).write_bytes(content)
    return start(task / "stagedoor.toml", environ)


def _deployed(value: Any) -> str:
    """A value that AWS knows after the deployment."""
    parts = value["Fn::Join"][1] if "Fn::Join" in value else [value]
    return "".join(part if isinstance(part, str) else "known-later" for part in parts)


def test_the_function_may_read_the_keys_that_the_settings_name(write: Callable[..., Path]) -> None:
    template = made(lambda scope: api(scope, settings=write(PASSES, SESSIONS)))
    policies = of_type(template, "AWS::IAM::Policy").values()
    granted = [one for policy in policies for one in statements(policy) if "ssm:GetParameter" in actions(one)]
    text = json.dumps([one["Resource"] for one in granted])
    assert "parameter/stagedoor/private-key" in text
    assert "parameter/stagedoor/session-key" in text


def granted(template: Template, action: str) -> list[Any]:
    """Resources on which the function's role permits this action."""
    policies = of_type(template, "AWS::IAM::Policy").values()
    mine = [one for one in policies if "ContentFunctionRole" in json.dumps(one["Roles"])]
    return [one["Resource"] for policy in mine for one in statements(policy) if action in actions(one)]


def test_the_function_may_read_the_secrets_of_its_variables_and_no_other(template: Template) -> None:
    """In the template the ARN of a secret is a reference, which must not be taken for a name."""
    joined = [value for value in the_function(template)["Environment"]["Variables"].values() if isinstance(value, dict)]
    references = [part for value in joined for part in value["Fn::Join"][1] if isinstance(part, dict)]
    secrets = set(of_type(template, "AWS::SecretsManager::Secret"))
    arns = [part for part in references if part.get("Ref") in secrets]
    assert len(arns) == len(secrets) == 2
    assert sorted(granted(template, "secretsmanager:GetSecretValue"), key=str) == sorted(arns, key=str)


def test_secrets_of_the_shells_variables_and_public_keys_at_aws_may_be_read_too(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    kept = {"ssm:/from/the/shell": b"k" * 40, "ssm:/x/private": pair.private, "ssm:/x/public": pair.public}
    monkeypatch.setattr(aws, "read_secret", lambda text, *_: kept[text])
    monkeypatch.setenv("STAGEDOOR_LOGIN_SESSION_KEYS", '["ssm:/from/the/shell"]')
    passes = PASSES.replace("ssm:/stagedoor/private-key", "ssm:/x/private").replace("file:public.pem", "ssm:/x/public")
    template = made(lambda scope: api(scope, settings=write(passes, SESSIONS)))
    text = json.dumps(granted(template, "ssm:GetParameter"))
    for name in ("from/the/shell", "x/private", "x/public"):
        assert f"parameter/{name}" in text
    assert "session-key" not in text, "the shell's variable overrides it"


def test_a_secret_stays_readable_until_the_function_names_another(write: Callable[..., Path]) -> None:
    """Each has its own policy, which is made before the function changes and deleted after it."""

    def readers(*more: str) -> dict[str, str]:
        template = made(lambda scope: api(scope, settings=write(PASSES, *more)))
        found = of_type(template, "AWS::IAM::Policy").items()
        (depends,) = (
            one["DependsOn"]
            for one in template["Resources"].values()
            if one.get("Properties") == the_function(template)
        )
        named = {name: json.dumps(one) for name, one in found if "ssm:GetParameter" in json.dumps(one)}
        assert set(named) <= set(depends)
        return named

    both, one = readers(SESSIONS), readers()
    assert len(both) == 2
    assert set(one) < set(both)


def test_secrets_are_read_in_the_region_of_the_functions(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the region of the bucket or of the shell."""
    asked: list[tuple[str, str | None]] = []

    def read(text: str, region: str | None = None) -> bytes:
        asked.append((text, region))
        return b"k" * 40

    monkeypatch.setattr(aws, "read_secret", read)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    settings = write(SESSIONS)
    settings.write_text(
        settings.read_text().replace('store = "./files"', 'store = "s3://my-bucket"\nregion = "eu-central-1"')
    )
    site(stack(), settings=settings)
    assert asked == [("ssm:/stagedoor/session-key", "us-east-1")]


def test_the_owner_is_informed_that_sessions_do_not_work_at_the_edge(write: Callable[..., Path]) -> None:
    def informed(*more: str) -> bool:
        scope = stack()
        api(scope, settings=write(*more))
        found = cdk.assertions.Annotations.from_stack(scope).find_info("*", cdk.assertions.Match.any_value())
        return any("open nothing at the edge" in str(one.entry.data) for one in found)

    assert informed()
    assert not informed(SESSIONS)


def test_a_secret_on_this_machine_is_refused_with_the_command_that_moves_it(write: Callable[..., Path]) -> None:
    settings = write(PASSES.replace("ssm:/stagedoor/private-key", "file:private.pem"))
    with pytest.raises(SettingsError, match="aws ssm put-parameter"):
        made(lambda scope: api(scope, settings=settings))
