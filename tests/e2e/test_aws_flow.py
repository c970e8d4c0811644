"""The site on AWS from the first sign-in to the last refusal, on this machine: the synthesised template of the example,
the exact zip of the edge in it, a model of CloudFront in front, and moto's Cognito, S3, DynamoDB and SSM behind.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import boto3
import httpx
import pytest
from aws_cdk import aws_lambda as lambda_
from cloudfront import DOMAIN, Edge, unpacked
from stores import endpoint, let_in
from synth import app
from test_cdk_example import EXAMPLE, load

from e2e.cloudfront_model import Answer, Clock, CloudFront, Event, Hook, ask_bucket
from e2e.deployed import ACCOUNT, REGION, Deployed
from stagedoor.lambda_api import lambda_function
from stagedoor.pass_keys import new_pair

pytestmark = pytest.mark.needs("node")

PASSWORD = "Curtain-Call-1!"
SITE = f"https://{DOMAIN}"
PICTURE = "/pictures/shore.png"
PASSES = """
[passes]
key_id = "K1"
private_key = "ssm:/stagedoor/private-key"
public_keys = { K1 = "file:K1.pem" }
"""


class Account(NamedTuple):
    """Somebody's `sub` and what Cognito gave them."""

    sub: str
    id_token: str
    access_token: str


class Pool:
    """A user pool, as the example's stack `Pool` makes it."""

    def __init__(self) -> None:
        self._cognito = aws("cognito-idp")
        self.id: str = self._cognito.create_user_pool(PoolName="Users")["UserPool"]["Id"]
        for group in ("students", "teachers"):
            self._cognito.create_group(UserPoolId=self.id, GroupName=group)
        flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
        made = self._cognito.create_user_pool_client(UserPoolId=self.id, ClientName="Web", ExplicitAuthFlows=flows)
        self.client: str = made["UserPoolClient"]["ClientId"]
        self.issuer = f"https://cognito-idp.{REGION}.amazonaws.com/{self.id}"
        self.jwks = f"{endpoint()}/{self.id}/.well-known/jwks.json"

    def sign_up(self, name: str, *groups: str) -> Account:
        """Make a user, and let them sign in."""
        who = {"UserPoolId": self.id, "Username": name}
        self._cognito.admin_create_user(**who)
        self._cognito.admin_set_user_password(**who, Password=PASSWORD, Permanent=True)
        for group in groups:
            self._cognito.admin_add_user_to_group(**who, GroupName=group)
        secret = {"USERNAME": name, "PASSWORD": PASSWORD}
        flow = "ADMIN_USER_PASSWORD_AUTH"
        answer = self._cognito.admin_initiate_auth(
            UserPoolId=self.id, ClientId=self.client, AuthFlow=flow, AuthParameters=secret
        )
        attributes = self._cognito.admin_get_user(**who)["UserAttributes"]
        sub = next(one["Value"] for one in attributes if one["Name"] == "sub")
        issued = answer["AuthenticationResult"]
        return Account(sub, issued["IdToken"], issued["AccessToken"])


def aws(service: str) -> Any:
    keys = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner"}
    return boto3.client(service, endpoint_url=endpoint(), region_name=REGION, **keys)


class Api:
    """The function behind `/-/*`, in this process, with the environment that the template gives it."""

    def __init__(self, file: Path, environ: dict[str, str]) -> None:
        self._function = lambda_function.make(file, environ)
        self.log = io.StringIO()

    def __call__(self, asked: Event) -> Event:
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(self.log):
            patch.setattr(lambda_function, "_starting", SimpleNamespace(function=lambda: self._function))
            return lambda_function.handler(asked)

    def close(self) -> None:
        self._function.outside.close()


class World(NamedTuple):
    """A site that was deployed."""

    stack: Deployed
    front: CloudFront
    api: Api
    clock: Clock

    def bearer(self, target: str, account: Account, method: str = "GET", body: bytes = b"", **fields: str) -> Answer:
        return self.front.ask(target, method, body=body, authorization=f"Bearer {account.access_token}", **fields)

    @property
    def bucket(self) -> str:
        (name,) = (name for name in self.stack.of_type("AWS::S3::Bucket") if "SiteAssets" in name)
        return self.stack.ref(name)


@pytest.fixture(scope="module", autouse=True)
def _account() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        let_in(patch)
        patch.setenv("AWS_ENDPOINT_URL", endpoint())
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        yield


@pytest.fixture(scope="module")
def pool(_account: None) -> Pool:
    return Pool()


@pytest.fixture(scope="module")
def ann(pool: Pool) -> Account:
    return pool.sign_up("ann", "students")


@pytest.fixture(scope="module")
def ben(pool: Pool) -> Account:
    return pool.sign_up("ben")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Path:
    """The example's own settings, with the ids of the pool and keys of passes."""
    folder = tmp_path_factory.mktemp("aws")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    pair = new_pair("rsa")
    (folder / "K1.pem").write_bytes(pair.public)
    aws("ssm").put_parameter(
        Name="/stagedoor/private-key", Value=pair.private.decode(), Type="SecureString", Overwrite=True
    )
    file = folder / "stagedoor.toml"
    text = file.read_text().replace("us-east-1_Example", pool.id).replace("example-client-id", pool.client)
    text = text.replace("[[issuers]]", f'[[issuers]]\njwks = "{pool.jwks}"')  # moto's; AWS's own is found by itself
    file.write_text(text + PASSES)
    return file


@pytest.fixture(scope="module")
def keys(pool: Pool) -> dict[str, bytes]:
    return {pool.issuer: httpx.get(pool.jwks, trust_env=False).content}


@pytest.fixture(scope="module")
def assembly(settings: Path, keys: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    scope = app()
    code = lambda_.Code.from_asset(str(EXAMPLE / "content"))  # its function runs from source here
    load("app").build(scope, settings, keys=keys, api=code)
    return Path(scope.synth().directory)


@pytest.fixture(scope="module")
def world(
    assembly: Path, settings: Path, ann: Account, ben: Account, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    stack, clock = Deployed(assembly, "Site", endpoint()), Clock()
    api = Api(settings, environment(stack))
    front = CloudFront(stack, in_process(tmp_path_factory.mktemp("edge"), clock), api, clock)
    made = World(stack, front, api, clock)
    for name, kind in (("pictures/shore.png", "image/png"), ("public/hello.txt", "text/plain")):
        content = (EXAMPLE / "content" / name).read_bytes()
        stack.s3.put_object(Bucket=made.bucket, Key=name, Body=content, ContentType=kind)
    for key in ("courses/tides.md", f"users/{ann.sub}/a b+ü.txt", f"users/{ben.sub}/x.txt", "other/x.txt"):
        stack.s3.put_object(Bucket=made.bucket, Key=key, Body=f"this is {key}".encode(), ContentType="text/plain")
    yield made
    api.close()
    stack.close()


def environment(stack: Deployed) -> dict[str, str]:
    """Environment variables of the API's function."""
    (name,) = (
        name
        for name in stack.of_type("AWS::Lambda::Function")
        if stack.properties(name)["Handler"] == "stagedoor.lambda_api.lambda_function.handler"
    )
    variables: dict[str, str] = stack.properties(name)["Environment"]["Variables"]
    return variables


def in_process(folder: Path, clock: Clock) -> Any:
    """Runs the functions of a zip here, unpacked, with a clock that can be set."""
    edges: dict[bytes, Edge] = {}

    def hook(content: bytes, handler: str) -> Hook:
        if content not in edges:
            edges[content] = Edge(unpacked(content, folder / str(len(edges))))
            vars(edges[content].functions)["time"] = SimpleNamespace(time=clock, monotonic=time.monotonic)
        function: Hook = getattr(edges[content], handler.rpartition(".")[2])
        return function

    return hook


@pytest.fixture(autouse=True)
def _as_new(world: World) -> None:
    """Nothing in the cache, nothing written yet, and the right time."""
    world.front.cache.clear()
    world.front.asked.clear()
    world.clock.ahead = 0.0


# --- objects


def test_who_is_signed_in_gets_the_picture(world: World, ann: Account) -> None:
    picture = (EXAMPLE / "content/pictures/shore.png").read_bytes()
    for token in (ann.id_token, ann.access_token):
        by_header = world.front.ask(PICTURE, authorization=f"Bearer {token}")
        by_cookie = world.front.ask(PICTURE, cookie=f"theme=dark; token={token}")
        by_query = world.front.ask(f"{PICTURE}?token={token}&v=2")
        for answer in (by_header, by_cookie, by_query):
            assert (answer.status, answer.body) == (200, picture)
            assert answer.field("content-type") == "image/png"
            assert answer.field("cache-control") == "private, no-cache"
    assert len(world.front.asked) == 1


def test_nobody_and_the_wrong_person_get_nothing(world: World, ann: Account, ben: Account) -> None:
    mine = f"/users/{ann.sub}/a%20b+%C3%BC.txt"
    assert world.front.ask(PICTURE).status == 401
    assert world.front.ask("/public/hello.txt").status == 200
    assert world.bearer(mine, ann).body.decode() == f"this is users/{ann.sub}/a b+ü.txt"
    for target, who in (
        (mine, ben),
        ("/courses/tides.md", ben),
        ("/other/x.txt", ann),
        (f"/users/{ben.sub}/x.txt", ann),
    ):
        assert world.bearer(target, who).status == 403
    assert world.bearer("/courses/tides.md", ann).status == 200


def test_a_copy_in_the_cache_is_for_those_who_may_read_it(world: World, ann: Account, ben: Account) -> None:
    mine = f"/users/{ann.sub}/a%20b+%C3%BC.txt"
    assert world.bearer(mine, ann).field("x-cache") == "Miss from cloudfront"
    assert world.bearer(mine, ann).field("x-cache") == "Hit from cloudfront"
    assert len(world.front.asked) == 1
    for answer in (world.front.ask(mine), world.bearer(mine, ben), world.front.ask(f"{mine}?token=x")):
        assert answer.status in (401, 403)
        assert b"this is" not in answer.body
    assert len(world.front.asked) == 1


def test_the_bucket_lets_in_this_distribution_alone(world: World) -> None:
    mine = f"arn:aws:cloudfront::{ACCOUNT}:distribution/EDFDVBD6EXAMPLE"
    assert ask_bucket(world.stack, world.bucket, "public/hello.txt", mine).status == 200
    for source, tls in ((None, True), (mine.replace("EDF", "EXF"), True), (mine, False)):
        for key in ("public/hello.txt", ""):
            assert ask_bucket(world.stack, world.bucket, key, source, tls=tls).status == 403
