"""A Cognito user pool and a private bucket (both moto's), asked with curl as the people who wrote about it did."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import boto3
import httpx
import pytest

from tests.helpers.servers import HOST, Gateway, Server, environment, free_port, poll

pytestmark = pytest.mark.needs("curl")

REGION, BUCKET, PASSWORD = "eu-central-1", "image-assets", "Curtain-Call-1"
CREDENTIALS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "only-for-tests"}
SIGN_IN = "https://example.auth.eu-central-1.amazoncognito.com/login?client_id=web"

SETTINGS = """
[site]
url = "$SITE"
store = "s3://$BUCKET/live"
region = "$REGION"
endpoint = "$AWS"

[[issuers]]
name = "pool"
issuer = "$ISSUER"
audience = ["$CLIENT"]
jwks = "$AWS/$POOL/.well-known/jwks.json"
$USE

[tokens]
from = ["header", "cookie", "query"]

[[rules]]
path = "*.png"
allow = "signed-in"

[[rules]]
path = "users/{sub}/**"
allow = "signed-in"

[[rules]]
path = "groups/{groups}/**"
allow = "signed-in"

[[rules]]
path = "courses/**"
allow = { groups = ["students"] }

[[rules]]
path = "tenants/{custom:tenant}/**"
allow = "signed-in"

[[rules]]
path = "hashed/{custom:tenant|md5}/**"
allow = "signed-in"
"""


class Account(NamedTuple):
    """Somebody's `sub` and what Cognito gave them."""

    sub: str
    id_token: str
    access_token: str


class Cloud:
    """Moto in a process of its own, with a pool, two of its clients, another pool, and a bucket."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://{HOST}:{port}"
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)]
        self.server = Server(command, folder, environment(folder), "moto")
        self.server.until(self._is_up)
        self._cognito: Any = boto3.client("cognito-idp", region_name=REGION, endpoint_url=self.url, **CREDENTIALS)
        self.s3: Any = boto3.client("s3", region_name=REGION, endpoint_url=self.url, **CREDENTIALS)
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.pool, self.other_pool = self._make_pool("users"), self._make_pool("others")
        self.client, self.other_client = self._make_client("web"), self._make_client("mobile")
        self.issuer = f"https://cognito-idp.{REGION}.amazonaws.com/{self.pool}"

    def close(self) -> None:
        self._cognito.close()
        self.s3.close()
        self.server.stop()

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/moto-api/", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _make_pool(self, name: str) -> str:
        tenant = {"Name": "tenant", "AttributeDataType": "String", "Mutable": True}
        pool: str = self._cognito.create_user_pool(PoolName=name, Schema=[tenant])["UserPool"]["Id"]
        for group in ("students", "teachers"):
            self._cognito.create_group(UserPoolId=pool, GroupName=group)
        return pool

    def _make_client(self, name: str, pool: str = "") -> str:
        flows = ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_ADMIN_USER_PASSWORD_AUTH"]
        made = self._cognito.create_user_pool_client(
            UserPoolId=pool or self.pool, ClientName=name, ExplicitAuthFlows=flows
        )
        found: str = made["UserPoolClient"]["ClientId"]
        return found

    def make_user(self, name: str, group: str, tenant: str, pool: str = "") -> None:
        who = {"UserPoolId": pool or self.pool, "Username": name}
        self._cognito.admin_create_user(**who, UserAttributes=[{"Name": "custom:tenant", "Value": tenant}])
        self._cognito.admin_set_user_password(**who, Password=PASSWORD, Permanent=True)
        if group:
            self._cognito.admin_add_user_to_group(**who, GroupName=group)

    def sign_in(self, name: str, client: str = "") -> Account:
        """With a password, from the client's side."""
        answer = self._cognito.initiate_auth(
            ClientId=client or self.client,
            AuthFlow="USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
        )
        return self._account(name, answer, self.pool)

    def sign_in_elsewhere(self, name: str) -> Account:
        """In the other pool, from a server's side."""
        answer = self._cognito.admin_initiate_auth(
            UserPoolId=self.other_pool,
            ClientId=self._make_client("web", self.other_pool),
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
        )
        return self._account(name, answer, self.other_pool)

    def _account(self, name: str, answer: Any, pool: str) -> Account:
        user = self._cognito.admin_get_user(UserPoolId=pool, Username=name)
        sub = next(one["Value"] for one in user["UserAttributes"] if one["Name"] == "sub")
        issued = answer["AuthenticationResult"]
        return Account(sub, issued["IdToken"], issued["AccessToken"])

    def settings(self, use: str = "") -> str:
        text = SETTINGS.replace("$USE", use).replace("$REGION", REGION).replace("$BUCKET", BUCKET)
        text = text.replace("$AWS", self.url).replace("$POOL", self.pool).replace("$CLIENT", self.client)
        return text.replace("$ISSUER", self.issuer)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    cloud.make_user("ann", "students", "acme")
    cloud.make_user("ben", "", "globex")
    cloud.make_user("eve", "students", "acme", cloud.other_pool)
    yield cloud
    cloud.close()


@pytest.fixture(scope="module")
def ann(cloud: Cloud) -> Account:
    return cloud.sign_in("ann")


@pytest.fixture(scope="module")
def ben(cloud: Cloud) -> Account:
    return cloud.sign_in("ben")


@pytest.fixture(scope="module", autouse=True)
def objects(cloud: Cloud, ann: Account, ben: Account) -> dict[str, bytes]:
    """What is in the bucket: content by key, each below the prefix `live/`; and one object beside it."""
    acme = hashlib.md5(b"acme", usedforsecurity=False).hexdigest()
    keys = (
        *("funny.png", f"users/{ann.sub}/essay.txt", f"users/{ben.sub}/essay.txt"),
        *("groups/students/plan.txt", "groups/teachers/plan.txt", "courses/leçon 1+2 & 100%.txt"),
        *("tenants/acme/offer.txt", "tenants/globex/offer.txt", f"hashed/{acme}/offer.txt"),
    )
    objects = {key: f"this is {key}".encode() for key in keys}
    for key, content in objects.items():
        kind = "image/png" if key.endswith(".png") else "text/plain; charset=utf-8"
        cloud.s3.put_object(Bucket=BUCKET, Key=f"live/{key}", Body=content, ContentType=kind)
    cloud.s3.put_object(Bucket=BUCKET, Key="outside.png", Body=b"beside the prefix")
    return objects


def _gateway(folder: Path, settings: str) -> Gateway:
    names = {name.upper(): value for name, value in CREDENTIALS.items()}
    return Gateway(folder, settings, env=names)


@pytest.fixture(scope="module")
def gateway(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = _gateway(tmp_path_factory.mktemp("gateway"), cloud.settings())
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def strict(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Access tokens only, and a hosted sign-in page to go to."""
    settings = cloud.settings('token_use = ["access"]') + f'\n[login]\npage = "{SIGN_IN}"\n'
    gateway = _gateway(tmp_path_factory.mktemp("strict"), settings)
    yield gateway
    gateway.stop()


class Transcript(NamedTuple):
    status: int
    head: str
    body: bytes


def curl(*arguments: str) -> Transcript:
    """What curl prints with -i; nothing of the person's own configuration or proxies."""
    command = ["curl", "-q", "-sS", "-i", "--max-time", "30", "--noproxy", "*", *arguments]
    done = subprocess.run(command, capture_output=True, check=True, env={"PATH": os.environ["PATH"]})
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    return Transcript(int(head.split()[1]), head.decode("latin-1"), body)


# --- a private asset bucket


@pytest.mark.parametrize("which", ["id_token", "access_token"])
def test_curl_gets_the_picture_with_the_cookie(
    gateway: Gateway, ann: Account, objects: dict[str, bytes], which: str
) -> None:
    token: str = getattr(ann, which)
    for arguments in (
        ("--cookie", f"token={token}", f"{gateway.url}/funny.png"),
        ("-H", f"Authorization: Bearer {token}", f"{gateway.url}/funny.png"),
        (f"{gateway.url}/funny.png?token={token}",),
    ):
        status, head, body = curl(*arguments)
        assert (status, body) == (200, objects["funny.png"])
        assert "content-type: image/png" in head
        assert "x-amz-" not in head


def test_curl_with_a_cookie_of_the_wrong_name_is_told_so(gateway: Gateway, ann: Account) -> None:
    status, head, body = curl("--cookie", f"Cookie: token={ann.access_token}", f"{gateway.url}/funny.png")
    assert status == 401
    assert 'error_description="credential-misnamed"' in head
    assert rb"with curl write --cookie \"token=" in body


def test_nobody_gets_the_picture(gateway: Gateway) -> None:
    status, head, body = curl(f"{gateway.url}/funny.png")
    assert status == 401
    assert 'www-authenticate: Bearer realm="stagedoor"' in head
    assert b'"code":"no-credential"' in body


def test_the_prefix_of_the_bucket_is_its_whole_world(gateway: Gateway, ann: Account) -> None:
    assert gateway.bearer("/outside.png", ann.access_token).status_code == 404
    for way_out in ("/../outside.png", "/%2e%2e/outside.png", "/users/..%2foutside.png"):
        done = curl("--path-as-is", "--cookie", f"token={ann.access_token}", gateway.url + way_out)
        assert done.status == 400


def test_parts_versions_and_missing_objects(gateway: Gateway, ann: Account, objects: dict[str, bytes]) -> None:
    bearer, target = ("-H", f"Authorization: Bearer {ann.access_token}"), f"{gateway.url}/funny.png"
    part = curl(*bearer, "--range", "8-", target)
    assert (part.status, part.body) == (206, objects["funny.png"][8:])
    whole = curl(*bearer, "--head", target)
    assert f"content-length: {len(objects['funny.png'])}" in whole.head
    etag = re.search(r"(?m)^etag: (\S+)", whole.head)
    assert etag
    assert curl(*bearer, "-H", f"If-None-Match: {etag[1]}", target).status == 304
    assert curl("-H", f"If-None-Match: {etag[1]}", target).status == 401  # asked before any cache
    assert curl(*bearer, f"{gateway.url}/none.png").status == 404
    assert curl(f"{gateway.url}/none.png").status == 401  # and nobody learns which there are


# --- checks of the path against the token


@pytest.mark.parametrize("which", ["id_token", "access_token"])
def test_folders_of_people_and_groups(
    gateway: Gateway, ann: Account, ben: Account, objects: dict[str, bytes], which: str
) -> None:
    for key, for_ann, for_ben in (
        (f"users/{ann.sub}/essay.txt", 200, 403),
        (f"users/{ben.sub}/essay.txt", 403, 200),
        ("groups/students/plan.txt", 200, 403),
        ("groups/teachers/plan.txt", 403, 403),
        ("courses/leçon 1+2 & 100%.txt", 200, 403),
    ):
        for account, status in ((ann, for_ann), (ben, for_ben)):
            answer = gateway.bearer(f"/{quote(key)}", getattr(account, which))
            assert (answer.status_code, key) == (status, key)
            assert (answer.content == objects[key]) is (status == 200)


def test_a_custom_attribute_is_in_id_tokens_only(gateway: Gateway, ann: Account, ben: Account) -> None:
    acme = hashlib.md5(b"acme", usedforsecurity=False).hexdigest()
    for key in ("tenants/acme/offer.txt", f"hashed/{acme}/offer.txt"):
        assert gateway.bearer(f"/{key}", ann.id_token).status_code == 200
        assert gateway.bearer(f"/{key}", ann.access_token).status_code == 403
        assert gateway.bearer(f"/{key}", ben.id_token).status_code == 403
    assert gateway.bearer("/hashed/acme/offer.txt", ann.id_token).status_code == 403
    assert gateway.bearer("/tenants/globex/offer.txt", ben.id_token).status_code == 200


def test_tokens_of_other_clients_and_other_pools_do_not_count(cloud: Cloud, gateway: Gateway) -> None:
    mobile, elsewhere = cloud.sign_in("ann", cloud.other_client), cloud.sign_in_elsewhere("eve")
    for token, why in (
        (mobile.id_token, "token-audience"),
        (mobile.access_token, "token-audience"),
        (elsewhere.id_token, "token-issuer"),  # though moto signs both pools with the same key
        (elsewhere.access_token, "token-issuer"),
    ):
        refused = gateway.bearer("/funny.png", token)
        assert (refused.status_code, refused.json()["code"]) == (401, why)


def test_only_the_token_use_that_was_asked_for(strict: Gateway, ann: Account) -> None:
    assert strict.bearer("/funny.png", ann.access_token).status_code == 200
    refused = strict.bearer("/funny.png", ann.id_token)
    assert (refused.status_code, refused.json()["code"]) == (401, "token-use")


def test_browsers_are_sent_to_the_hosted_sign_in_page_and_programs_are_not(strict: Gateway) -> None:
    target = "/courses/le%C3%A7on%201+2.txt?a=1&b=%2F"
    sent = strict.get(target, {"accept": "text/html", "sec-fetch-mode": "navigate"})
    assert sent.status_code == 302
    assert sent.headers["location"] == f"{SIGN_IN}&next={quote(strict.url + target, safe='')}"
    assert strict.get(target).status_code == 401


def test_a_session_made_from_an_id_token_carries_what_the_rules_ask(gateway: Gateway, ann: Account) -> None:
    made = curl("-X", "POST", "-H", f"Authorization: Bearer {ann.id_token}", f"{gateway.url}/-/session")
    assert made.status == 204
    cookie = re.search(r"(?m)^set-cookie: (stagedoor-[0-9]+=[^;]+); (.*)", made.head)
    assert cookie
    assert "HttpOnly" in cookie[2]
    for key, status in ((f"users/{ann.sub}/essay.txt", 200), ("tenants/acme/offer.txt", 200), ("funny.png", 200)):
        assert curl("--cookie", cookie[1], f"{gateway.url}/{key}").status == status
    assert curl("--cookie", cookie[1], f"{gateway.url}/tenants/globex/offer.txt").status == 403


def test_no_token_went_further_than_the_door(cloud: Cloud, gateway: Gateway, ann: Account) -> None:
    assert gateway.get(f"/funny.png?token={ann.id_token}&v=2").status_code == 200
    poll(lambda: "/funny.png" in gateway.out, 5, "a line of the access log")
    written = gateway.out + gateway.err + cloud.server.out + cloud.server.err
    assert "GET /image-assets/live/funny.png" in written
    for token in (ann.id_token, ann.access_token):
        assert token not in written
        assert token.rpartition(".")[2] not in written
