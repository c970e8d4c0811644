"""The site on AWS from the first sign-in to the last refusal, on this machine: the synthesised template of the example,
the exact zip of the edge in it, a model of CloudFront in front, and moto's Cognito, S3, DynamoDB and SSM behind.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import unquote

import aws_cdk as cdk
import boto3
import httpx
import pytest
from aws_cdk import aws_lambda as lambda_

from stagedoor.aws.api import driver as outside
from stagedoor.aws.api import lambda_function
from stagedoor.catalogue import open_catalogue
from stagedoor.cdk import ContentApi, PrivateAssetBucket
from stagedoor.core.messages import Content
from stagedoor.keys.pass_keys import load_signer, new_pair
from tests.cdk.test_example import EXAMPLE, load
from tests.e2e.test_doctor import ask as ask_doctor
from tests.helpers import lambda_runtime
from tests.helpers.cloudfront import DOMAIN, Edge, request_of, unpacked
from tests.helpers.cloudfront_model import VIEWER, Answer, Clock, CloudFront, Event, Hook, ask_bucket
from tests.helpers.cloudfront_server import serving
from tests.helpers.deployed import ACCOUNT, REGION, Deployed
from tests.helpers.serving import certificate
from tests.helpers.stores import endpoint, let_in

pytestmark = pytest.mark.needs("node")

PASSWORD = "Curtain-Call-1!"
SITE = f"https://{DOMAIN}"
PICTURE = "/pictures/shore.png"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": "owner", "AWS_DEFAULT_REGION": REGION}
APP = "https://app.example.com"
MORE = f"""
[cors]
origins = ["{APP}"]
[passes]
key_id = "K1"
private_key = "ssm:/stagedoor/private-key"
public_keys = {{ K1 = "file:K1.pem" }}
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
        self.client = self._make_client("Web")
        self.issuer = f"https://cognito-idp.{REGION}.amazonaws.com/{self.id}"
        self.jwks = f"{endpoint()}/{self.id}/.well-known/jwks.json"

    def sign_up(self, name: str, *groups: str) -> Account:
        """Make a user, and let them sign in."""
        who = {"UserPoolId": self.id, "Username": name}
        self._cognito.admin_create_user(**who)
        self._cognito.admin_set_user_password(**who, Password=PASSWORD, Permanent=True)
        for group in groups:
            self._cognito.admin_add_user_to_group(**who, GroupName=group)
        issued = self._sign_in(name, self.client)
        attributes = self._cognito.admin_get_user(**who)["UserAttributes"]
        sub = next(one["Value"] for one in attributes if one["Name"] == "sub")
        return Account(sub, issued["IdToken"], issued["AccessToken"])

    def of_another_app(self, name: str) -> str:
        """A token that the same user got for another client of the pool."""
        return str(self._sign_in(name, self._make_client("Mobile"))["AccessToken"])

    def _make_client(self, name: str) -> str:
        flows = ["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
        made = self._cognito.create_user_pool_client(UserPoolId=self.id, ClientName=name, ExplicitAuthFlows=flows)
        return str(made["UserPoolClient"]["ClientId"])

    def _sign_in(self, name: str, client: str) -> Any:
        answer = self._cognito.admin_initiate_auth(
            UserPoolId=self.id,
            ClientId=client,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
        )
        return answer["AuthenticationResult"]


def aws(service: str) -> Any:
    keys = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner"}
    return boto3.client(service, endpoint_url=endpoint(), region_name=REGION, **keys)


def app(folder: Path) -> cdk.App:
    """An app that leaves the check of property types to cfn-lint."""
    return cdk.App(builtin_cloud_formation_validation=False, outdir=str(folder))


class Api:
    """The function behind `/-/*`, in this process, with the environment that the template gives it."""

    def __init__(self, file: Path, environ: dict[str, str]) -> None:
        self._function = lambda_function.start(file, environ)
        self._function.outside.warm()  # as when Lambda starts it
        self.log = io.StringIO()

    def __call__(self, asked: Event) -> Event:
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(self.log):
            patch.setattr(outside, "ASK_WITHIN", 60.0)  # a machine with much to do is no fault here
            patch.setattr(lambda_function, "_starter", SimpleNamespace(function=lambda: self._function))
            return lambda_function.handler(asked)

    def close(self) -> None:
        self._function.outside.close()


class World(NamedTuple):
    """A site that was deployed."""

    stack: Deployed
    front: CloudFront
    hook: Callable[[bytes, str], Hook]
    api: Api
    clock: Clock

    def close(self) -> None:
        self.api.close()
        self.stack.close()

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
    """The example's own settings, with the ids of the pool, an application elsewhere, and keys of passes."""
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
    file.write_text(text + MORE)
    return file


@pytest.fixture(scope="module")
def keys(pool: Pool) -> dict[str, bytes]:
    return {pool.issuer: httpx.get(pool.jwks, trust_env=False).content}


@pytest.fixture(scope="module")
def assembly(settings: Path, keys: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    scope = app(tmp_path_factory.mktemp("assembly"))
    code = lambda_.Code.from_asset(str(EXAMPLE / "content"))  # its function runs from source here
    load("app").build(scope, settings, keys=keys, api=code)
    return Path(scope.synth().directory)


@pytest.fixture(scope="module")
def world(
    assembly: Path, settings: Path, ann: Account, ben: Account, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    made = world_of(Deployed(assembly, "Site", endpoint()), settings, tmp_path_factory.mktemp("edge"))
    stack = made.stack
    for name, kind in (("pictures/shore.png", "image/png"), ("public/hello.txt", "text/plain")):
        content = (EXAMPLE / "content" / name).read_bytes()
        stack.s3.put_object(Bucket=made.bucket, Key=name, Body=content, ContentType=kind)
    for key in ("courses/tides.md", f"users/{ann.sub}/a b+ü.txt", f"users/{ben.sub}/x.txt", "other/x.txt"):
        stack.s3.put_object(Bucket=made.bucket, Key=key, Body=f"this is {key}".encode(), ContentType="text/plain")
    yield made
    made.close()


def world_of(stack: Deployed, settings: Path, folder: Path) -> World:
    clock = Clock()
    api, hook = Api(settings, environment(stack)), in_process(folder, clock)
    return World(stack, CloudFront(stack, hook, api, clock), hook, api, clock)


def environment(stack: Deployed) -> dict[str, str]:
    """Environment variables of the API's function."""
    (name,) = (
        name
        for name in stack.of_type("AWS::Lambda::Function")
        if stack.properties(name)["Handler"] == "stagedoor.aws.api.lambda_function.handler"
    )
    variables: dict[str, str] = stack.properties(name)["Environment"]["Variables"]
    return variables


def in_process(folder: Path, clock: Clock) -> Callable[[bytes, str], Hook]:
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
    as_new(world)


def as_new(world: World) -> None:
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


def test_the_cache_alone_would_give_it_to_anybody(world: World, ann: Account) -> None:
    """What the check in front is worth here: the model keeps nobody out by itself."""
    mine = f"/users/{ann.sub}/a%20b+%C3%BC.txt"
    careless = CloudFront(world.stack, lambda _content, _handler: request_of, world.api, world.clock)
    assert world.bearer(mine, ann).status == 200
    careless.cache = world.front.cache
    ((_, canonical),) = careless.cache
    answer = careless.ask(canonical)
    assert (answer.status, answer.field("x-cache")) == (200, "Hit from cloudfront")
    assert careless.ask("/").body.count(b"users/") == 2  # and this is why the function asks for no empty key


def test_a_copy_is_kept_as_long_as_the_template_or_the_object_says(world: World) -> None:
    target, day = "/public/hello.txt", 86_400
    for control, ages in (("", (0, day - 60)), ("max-age=60", (0, 30)), ("private", ())):
        world.front.cache.clear()
        world.front.asked.clear()
        world.clock.ahead = 0.0
        stored = {"CacheControl": control} if control else {}
        world.stack.s3.put_object(
            Bucket=world.bucket, Key=target[1:], Body=b"hello", ContentType="text/plain", **stored
        )
        for age in (0, *ages, day + 60):
            world.clock.ahead = age
            assert world.front.ask(target).field("cache-control") == "private, no-cache"
        assert len(world.front.asked) == 2


def test_parts_and_versions_are_asked_about_as_the_whole_is(world: World, ann: Account, ben: Account) -> None:
    mine = f"/users/{ann.sub}/a%20b+%C3%BC.txt"
    whole = world.bearer(mine, ann)
    etag = whole.field("etag") or ""
    part = world.bearer(mine, ann, range="bytes=5-9")
    assert (part.status, part.body) == (206, whole.body[5:10])
    assert part.field("content-range") == f"bytes 5-9/{len(whole.body)}"
    same = world.bearer(mine, ann, if_none_match=etag)
    assert (same.status, same.body) == (304, b"")
    assert same.field("cache-control") == "private, no-cache"
    assert world.bearer(mine, ann, "HEAD").status == 200
    for fields in ({"range": "bytes=5-9"}, {"if_none_match": etag}, {"if_none_match": "*"}):
        assert world.front.ask(mine, **fields).status == 401  # type: ignore[arg-type]
        assert world.bearer(mine, ben, **fields).status == 403  # type: ignore[arg-type]
    assert world.front.ask(mine, "HEAD").status == 401


def test_nobody_learns_what_is_missing_and_no_key_lists_the_bucket(world: World, ann: Account) -> None:
    assert world.bearer("/pictures/none.png", ann).status == 404
    assert world.front.ask("/pictures/none.png").status == 401
    for target in ("/", "/?list-type=2", "//", "/.", "/users/..", "/?"):
        for answer in (world.front.ask(target), world.bearer(target, ann)):
            assert answer.status in (400, 401, 403, 404)
            assert b"pictures" not in answer.body


WAYS_AROUND = [
    "/-/errors/../../pictures/shore.png",
    "/-/errors/%2e%2e/%2e%2e/pictures/shore.png",
    "/-/errors/..%2f..%2fpictures/shore.png",
    "/-/../pictures/shore.png",
    "/-/%2e%2e/pictures/shore.png",
    "/%2D/../pictures/shore.png",
    "/x/../-/errors/../../pictures/shore.png",
    "/pictures//shore.png",
    "/pictures/./shore.png",
    "/public/../pictures/shore.png",
    "/public/%2e%2e/pictures/shore.png",
    "/public%2f..%2fpictures%2fshore.png",
    "//pictures/shore.png",
]


@pytest.mark.parametrize("target", WAYS_AROUND)
def test_no_behaviour_is_a_way_around_the_check(world: World, ann: Account, target: str) -> None:
    assert world.bearer(PICTURE, ann).status == 200  # a copy is in the cache
    answer = world.front.ask(target)
    assert answer.status in (400, 401, 403, 404)
    assert not answer.body.startswith(b"\x89PNG")


def test_http_and_methods_that_write_are_refused_before_anything_is_asked(world: World, ann: Account) -> None:
    assert world.front.ask(PICTURE, scheme="http", authorization=f"Bearer {ann.id_token}").status == 403
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert world.bearer(PICTURE, ann, method).status == 403
    assert world.front.asked == []


def test_a_page_stands_in_while_an_origin_is_away(world: World, ann: Account) -> None:
    world.front.down = True
    try:
        for target in (PICTURE, "/-/whoami"):
            answer = world.bearer(target, ann)
            assert (answer.status, b"This site cannot answer now" in answer.body) == (502, True)
            assert f'<p class="site">{DOMAIN}</p>'.encode() in answer.body
        assert world.front.ask(PICTURE).status == 401
    finally:
        world.front.down = False
    assert world.bearer(PICTURE, ann).status == 200


# --- the API


def test_a_list_tells_each_person_what_is_theirs(world: World, ann: Account, ben: Account) -> None:
    everybody = {"pictures/shore.png", "public/hello.txt"}
    for who, more in (
        (ann, {"courses/tides.md", f"users/{ann.sub}/a b+ü.txt"}),
        (ben, {f"users/{ben.sub}/x.txt"}),
    ):
        answer = world.bearer("/-/s3objects", who)
        assert {one["Key"] for one in json.loads(answer.body)["Contents"]} == everybody | more
    told = world.front.ask("/-/s3objects")
    assert [one["Key"] for one in json.loads(told.body)["Contents"]] == ["public/hello.txt"]
    assert json.loads(world.bearer("/-/whoami", ann).body)["sub"] == ann.sub


def test_a_signed_url_opens_one_object_until_it_ends(world: World, ann: Account, ben: Account) -> None:
    mine = f"users/{ann.sub}/a b+ü.txt"
    answer = world.bearer("/-/urls", ann, "POST", json.dumps({"file": mine, "expires_in": 600}).encode())
    assert answer.status == 201
    url: str = json.loads(answer.body)["signedUrl"]
    assert url.startswith(f"{SITE}/users/")
    target = url.removeprefix(SITE)
    opened = world.front.ask(target)
    assert (opened.status, opened.body.decode()) == (200, f"this is {mine}")
    for tampered in (
        target.replace(ann.sub, ben.sub),
        target.replace("Expires=", "Expires=9"),
        target.replace("Signature=", "Signature=A"),
        target.replace("Key-Pair-Id=K1", "Key-Pair-Id=K2"),
    ):
        assert tampered != target
        assert world.front.ask(tampered).status == 403
    world.clock.ahead = 590
    assert world.front.ask(target).status == 200
    world.clock.ahead = 601  # while the copy is in the cache
    assert world.front.ask(target).status == 403
    assert world.bearer("/-/urls", ben, "POST", json.dumps({"file": mine}).encode()).status == 403
    assert world.front.ask("/-/urls", "POST", body=json.dumps({"file": mine}).encode()).status == 401


def test_signed_cookies_open_a_folder(world: World, ann: Account, ben: Account) -> None:
    asked = json.dumps({"prefix": f"users/{ann.sub}/", "expires_in": 600}).encode()
    answer = world.bearer("/-/cookies", ann, "POST", asked)
    assert 200 <= answer.status < 300
    set_ = [value for name, value in answer.headers if name == "set-cookie"]
    assert all("Secure" in value and "HttpOnly" in value for value in set_)
    cookie = "; ".join(value.partition(";")[0] for value in set_)
    assert world.front.ask(f"/users/{ann.sub}/a%20b+%C3%BC.txt", cookie=cookie).status == 200
    assert world.front.ask(f"/users/{ben.sub}/x.txt", cookie=cookie).status == 403
    world.clock.ahead = 601
    assert world.front.ask(f"/users/{ann.sub}/a%20b+%C3%BC.txt", cookie=cookie).status == 403
    assert world.bearer("/-/cookies", ben, "POST", asked).status == 403


def test_the_catalogue_knows_where_content_is(world: World, ann: Account, ben: Account) -> None:
    table = environment(world.stack)["STAGEDOOR_CATALOGUE_URL"]
    with contextlib.closing(open_catalogue(table)) as catalogue:
        catalogue.put([Content("lesson-1", "courses/tides.md", "Tides", "text/markdown")])
    found = json.loads(world.bearer("/-/contents/lesson-1", ann).body)
    assert found["url"] == f"{SITE}/courses/tides.md"
    assert world.bearer("/-/contents/lesson-1", ben).status == 403
    assert world.front.ask("/-/contents/lesson-1").status == 401


def test_the_api_knows_cloudfront_and_whom_it_names(world: World, ann: Account) -> None:
    world.bearer("/-/whoami", ann, x_forwarded_for="192.0.2.66", x_stagedoor_entrance="guessed")
    assert json.loads(world.api.log.getvalue().splitlines()[-1])["client"] == VIEWER
    (entrance,) = (value for name, value in world.front.asked[-1].headers if name == "x-stagedoor-entrance")
    assert len(entrance) == 64


# --- what is told to whom


def test_credentials_go_to_no_bucket_and_into_no_log(world: World, ann: Account) -> None:
    url = world.bearer("/-/urls", ann, "POST", b'{"file": "pictures/shore.png"}')
    signed = json.loads(url.body)["signedUrl"].removeprefix(SITE)
    world.front.asked.clear()
    for target, fields in (
        (PICTURE, {"authorization": f"Bearer {ann.access_token}"}),
        (PICTURE, {"cookie": f"token={ann.id_token}", "referer": f"{SITE}/?token={ann.id_token}"}),
        (f"{PICTURE}?token={ann.id_token}&a=1", {}),
        (signed, {}),
    ):
        world.front.cache.clear()
        assert world.front.ask(target, **fields).status == 200  # type: ignore[arg-type]
    assert {(one.origin, one.method, one.target) for one in world.front.asked} == {(world.bucket, "GET", PICTURE)}
    world.front.ask(f"/-/whoami?token={ann.id_token}", cookie=f"token={ann.id_token}")
    written = json.dumps(world.front.log) + world.api.log.getvalue()
    assert PICTURE in written
    assert '"path": "/-/whoami"' in written
    for secret in (ann.access_token, ann.id_token):
        assert secret.rpartition(".")[2] not in written
    assert "Signature" not in written


def test_what_goes_on_from_the_function_has_no_credential(world: World, ann: Account) -> None:
    """CloudFront would leave it out as well, as long as nobody changes its cache policy."""
    passed: list[Event] = []

    def watched(content: bytes, handler: str) -> Hook:
        function = world.hook(content, handler)

        def called(asked: Event) -> Event:
            passed.append(function(asked))
            return passed[-1]

        return called

    front = CloudFront(world.stack, watched, world.api, world.clock)
    fields = {"authorization": f"Bearer {ann.id_token}", "cookie": f"token={ann.id_token}", "accept": "*/*"}
    assert front.ask(f"{PICTURE}?token={ann.id_token}&a=1", **fields).status == 200  # type: ignore[arg-type]
    assert passed[-1]["querystring"] == ""
    assert set(passed[-1]["headers"]) == {"host", "accept"}


def test_viewers_are_told_to_run_no_script_and_to_come_by_tls(world: World, ann: Account) -> None:
    answer = world.bearer(PICTURE, ann)
    assert (answer.field("content-security-policy") or "").startswith("sandbox;")
    assert answer.field("x-content-type-options") == "nosniff"
    assert answer.field("strict-transport-security") == "max-age=31536000"
    assert world.bearer("/-/whoami", ann).field("strict-transport-security") == "max-age=31536000"


def test_viewers_are_not_told_how_the_bucket_keeps_objects(world: World, ann: Account) -> None:
    kept = ask_bucket(
        world.stack, world.bucket, PICTURE[1:], f"arn:aws:cloudfront::{ACCOUNT}:distribution/EDFDVBD6EXAMPLE"
    )
    telling = {"x-amz-server-side-encryption", "x-amz-version-id"}
    assert telling <= {name for name, _ in kept.headers}
    assert not telling & {name for name, _ in world.bearer(PICTURE, ann).headers}


# --- scripts of other origins


def cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("access-control-")}


def test_scripts_of_a_listed_origin_read_objects_with_credentials(world: World, ann: Account) -> None:
    for _ in ("from the bucket", "from the cache"):
        told = cors(world.bearer(PICTURE, ann, origin=APP))
        assert told["access-control-allow-origin"] == APP
        assert told["access-control-allow-credentials"] == "true"
        assert "ETag" in told["access-control-expose-headers"]
    assert len(world.front.asked) == 1
    for origin in ("https://evil.example", "null", f"{APP}.evil.example", APP.replace("https", "http")):
        answer = world.bearer(PICTURE, ann, origin=origin)
        assert (answer.status, cors(answer)) == (200, {})
    assert cors(world.bearer(PICTURE, ann)) == {}


def test_a_preflight_is_answered_before_anybody_signs_in_and_asks_no_bucket(world: World) -> None:
    def preflight(origin: str) -> Answer:
        wish = {"access_control_request_method": "GET", "access_control_request_headers": "authorization"}
        return world.front.ask(PICTURE, "OPTIONS", origin=origin, body=b"", scheme="https", **wish)

    answer = preflight(APP)
    told = cors(answer)
    assert (answer.status, told["access-control-allow-origin"]) == (204, APP)
    assert told["access-control-allow-credentials"] == "true"
    assert "authorization" in told["access-control-allow-headers"].lower()
    assert cors(preflight("https://evil.example")) == {}
    assert world.front.asked == []


def test_a_script_may_read_why_it_was_refused(world: World, ben: Account) -> None:
    for answer, status in (
        (world.front.ask(PICTURE, origin=APP), 401),
        (world.bearer("/courses/tides.md", ben, origin=APP), 403),
    ):
        assert (answer.status, cors(answer)["access-control-allow-origin"]) == (status, APP)


# --- the zip as Lambda runs it


def test_the_same_from_lambdas_own_runtime(world: World, ann: Account, ben: Account) -> None:
    with contextlib.ExitStack() as running:

        def hook(content: bytes, handler: str) -> Hook:
            function = running.enter_context(lambda_runtime.Function(content, handler))
            return lambda asked: dict(function(asked, within=30).value)

        front = CloudFront(world.stack, hook, world.api, world.clock)
        mine = f"/users/{ann.sub}/a%20b+%C3%BC.txt"
        for target, who, status in (
            (mine, ann, 200),
            (mine, ben, 403),
            (PICTURE, ben, 200),
            ("/-/whoami", ann, 200),
        ):
            assert front.ask(target, authorization=f"Bearer {who.access_token}").status == status
        assert front.ask(mine).status == 401
        assert front.ask("/public/hello.txt").status == 200


# --- the passes door


@pytest.fixture(scope="module")
def keyed_world(settings: Path, keys: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The same site, where CloudFront itself checks passes; nothing is public there."""
    text = settings.read_text()
    public = '[[rules]]\npath  = "public/**"\nallow = "anyone"\n'
    assert public in text
    file = settings.with_name("passes.toml")
    file.write_text(text.replace(public, ""))
    scope = app(tmp_path_factory.mktemp("assembly"))
    stack = cdk.Stack(scope, "Keyed", env=cdk.Environment(account=ACCOUNT, region=REGION))
    site = PrivateAssetBucket(stack, "Site", settings=file, issuer_keys=keys, door="passes")
    ContentApi(stack, "Api", site=site, code=lambda_.Code.from_asset(str(EXAMPLE / "content")))
    made = world_of(Deployed(Path(scope.synth().directory), "Keyed", endpoint()), file, tmp_path_factory.mktemp("edge"))
    yield made
    made.close()


@pytest.fixture
def keyed(keyed_world: World) -> World:
    as_new(keyed_world)
    return keyed_world


def test_cloudfront_itself_opens_what_the_api_signed(keyed: World, ann: Account, ben: Account) -> None:
    mine = f"users/{ann.sub}/a b+ü.txt"
    keyed.stack.s3.put_object(Bucket=keyed.bucket, Key=mine, Body=b"mine", ContentType="text/plain")
    answer = keyed.bearer("/-/urls", ann, "POST", json.dumps({"file": mine, "expires_in": 600}).encode())
    assert answer.status == 201
    target = json.loads(answer.body)["signedUrl"].removeprefix(SITE)
    assert "Key-Pair-Id=K1" not in target  # CloudFront's own id of the key
    opened = keyed.front.ask(target)
    assert (opened.status, opened.body) == (200, b"mine")
    plain = target.partition("?")[0]
    for wrong in (
        plain,
        f"{plain}?token={ann.id_token}",
        target.replace(ann.sub, ben.sub),
        target.replace("Expires=", "Expires=9"),
    ):
        refused = keyed.front.ask(wrong, authorization=f"Bearer {ann.access_token}")
        assert (refused.status, refused.body[:7]) == (403, b"<Error>")
    assert keyed.bearer("/-/urls", ben, "POST", json.dumps({"file": mine}).encode()).status == 403
    keyed.clock.ahead = 601
    assert keyed.front.ask(target).status == 403
    assert [one.target for one in keyed.front.asked if one.origin == keyed.bucket] == [plain]


def test_a_token_becomes_cookies_that_open_ones_own_folder_and_nothing_else(
    keyed: World, ann: Account, ben: Account
) -> None:
    for who in (ann, ben):
        for name in ("plain.txt", "a b+ü.txt"):
            key = f"users/{who.sub}/{name}"
            keyed.stack.s3.put_object(Bucket=keyed.bucket, Key=key, Body=key.encode(), ContentType="text/plain")
    asked = json.dumps({"prefix": f"users/{ann.sub}/", "expires_in": 600}).encode()
    answer = keyed.bearer("/-/cookies", ann, "POST", asked)
    assert answer.status == 204
    cookie = cookies_of(answer)
    for name in ("plain.txt", "a%20b+%C3%BC.txt"):
        opened = keyed.front.ask(f"/users/{ann.sub}/{name}", cookie=cookie)
        assert (opened.status, opened.body.decode()) == (200, f"users/{ann.sub}/{unquote(name)}")
        assert opened.field("cache-control") == "private, no-cache"
        assert keyed.front.ask(f"/users/{ann.sub}/{name}").status == 403
    keyed.front.asked.clear()
    for target in (f"/users/{ben.sub}/plain.txt", f"/users/{ann.sub}", "/pictures/shore.png", "/"):
        assert keyed.front.ask(target, cookie=cookie).status == 403
    assert keyed.front.asked == []
    keyed.clock.ahead = 601
    assert keyed.front.ask(f"/users/{ann.sub}/plain.txt", cookie=cookie).status == 403


@pytest.mark.parametrize("dots", ["..", "%2e%2e", ".%2E", "..%2f..", "%2e%2e%2f", "../../users"])
def test_cookies_open_nothing_by_a_path_that_climbs_out(keyed: World, ann: Account, ben: Account, dots: str) -> None:
    """The path goes to the bucket as it came, where no object has such a name; nothing is decoded or taken out."""
    body = b"of ben alone"
    keyed.stack.s3.put_object(Bucket=keyed.bucket, Key=f"users/{ben.sub}/plain.txt", Body=body)
    asked = json.dumps({"prefix": f"users/{ann.sub}/"}).encode()
    cookie = cookies_of(keyed.bearer("/-/cookies", ann, "POST", asked))
    answer = keyed.front.ask(f"/users/{ann.sub}/{dots}/{ben.sub}/plain.txt", cookie=cookie)
    assert (answer.status, body in answer.body) == (403, False)


def test_cookies_that_somebody_else_changed_open_nothing(keyed: World, ann: Account, ben: Account) -> None:
    keyed.stack.s3.put_object(Bucket=keyed.bucket, Key=f"users/{ann.sub}/plain.txt", Body=b"of ann")
    issued = {
        who: dict(
            pair.split("=", 1)
            for pair in cookies_of(
                keyed.bearer("/-/cookies", who, "POST", json.dumps({"prefix": f"users/{who.sub}/"}).encode())
            ).split("; ")
        )
        for who in (ann, ben)
    }
    target, good = f"/users/{ann.sub}/plain.txt", issued[ann]
    assert keyed.front.ask(target, cookie=written(good)).status == 200
    for name in (one for one in good if one.startswith("CloudFront-")):
        for value in (issued[ben][name], "", good[name][:-4]):
            if value != good[name]:
                assert keyed.front.ask(target, cookie=written({**good, name: value})).status == 403, name
        assert (
            name == "CloudFront-Hash-Algorithm"
            or keyed.front.ask(
                target, cookie=written({one: value for one, value in good.items() if one != name})
            ).status
            == 403
        )


@pytest.mark.parametrize("prefix", ["", "users/", "courses/"])
def test_no_cookies_for_a_folder_of_which_a_part_is_somebody_elses(keyed: World, ben: Account, prefix: str) -> None:
    answer = keyed.bearer("/-/cookies", ben, "POST", json.dumps({"prefix": prefix}).encode())
    assert (answer.status, answer.field("set-cookie")) == (403, None)


def cookies_of(answer: Answer) -> str:
    """The Cookie header of a browser that took what an answer sets."""
    return "; ".join(value.partition(";")[0] for name, value in answer.headers if name == "set-cookie")


def written(cookies: Mapping[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


@pytest.mark.parametrize("target", WAYS_AROUND)
def test_no_behaviour_is_a_way_around_the_key_group(keyed: World, target: str) -> None:
    keyed.stack.s3.put_object(Bucket=keyed.bucket, Key=PICTURE[1:], Body=b"\x89PNG")
    answer = keyed.front.ask(target)
    assert answer.status in (400, 403, 404)
    assert not answer.body.startswith(b"\x89PNG")


def test_a_pass_for_everything_cannot_list_the_bucket(keyed: World, ann: Account) -> None:
    key_id = environment(keyed.stack)["STAGEDOOR_PASSES_KEY_ID"]
    pem = aws("ssm").get_parameter(Name="/stagedoor/private-key", WithDecryption=True)["Parameter"]["Value"]
    target = load_signer(key_id, pem.encode()).url(f"{SITE}/", int(time.time()) + 600).removeprefix(SITE)
    answer = keyed.front.ask(target)
    assert (answer.status, b"users" in answer.body) == (403, False)
    assert keyed.front.asked[-1].target == "/"


# --- an attack


def test_the_doctor_lacks_only_what_is_advice(
    world: World, pool: Pool, ann: Account, ben: Account, settings: Path, tmp_path: Path
) -> None:
    certificate(tmp_path)
    words = ["--path", f"/users/{ann.sub}/photo.png", "--public", "/public/logo.png", "--settings", str(settings)]
    for name in (f"users/{ann.sub}/photo.png", "public/logo.png"):
        world.stack.s3.put_object(Bucket=world.bucket, Key=name, Body=name.encode(), ContentType="image/png")
    tokens = {
        "--token": ann.access_token,
        "--other-token": ben.access_token,
        "--foreign-token": pool.of_another_app("ann"),
    }
    for option, token in tokens.items():
        (tmp_path / option[2:]).write_text(token)
        words += [option, str(tmp_path / option[2:])]
    with serving(world.front, tmp_path) as url:
        told = ask_doctor(
            tmp_path,
            url,
            *words,
            env={"SSL_CERT_FILE": str(tmp_path / "cert.pem"), "AWS_ENDPOINT_URL": endpoint(), **ENVIRONMENT},
        )
    assert told.named("found") == [], told.answer
    assert told.named("note") == []
    assert told.code == 0
    assert {"pass-tampered", "pass-expired", "certificate"} <= set(told.named("good"))
    written = json.dumps(world.front.log) + world.api.log.getvalue()
    assert all(token.rpartition(".")[2] not in written for token in tokens.values())
