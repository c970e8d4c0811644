"""The function behind `/-/*` as Lambda runs it: the exact zip in AWS's runtime client, with moto's S3 and SSM."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from stagedoor.aws import packing
from stagedoor.aws.api.bundle import HANDLER, make_api_zip
from stagedoor.aws.packing import Bundle
from stagedoor.settings import load
from tests.helpers import lambda_runtime
from tests.helpers.http_api import event
from tests.helpers.lambda_runtime import Function
from tests.helpers.serving import bearer_line, fresh_token, prepare, settings_text
from tests.helpers.stores import client, endpoint, let_in, new_bucket
from tests.helpers.support import VECTORS
from tests.helpers.wheels import put_wheels

KEYS = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
REGION = "eu-central-1"
SITE = "https://d111111abcdef8.cloudfront.net"
MORE = """
[login]
session_keys = ["ssm:/runtime/session"]
[passes]
key_id = "K1"
private_key = "ssm:/runtime/private"
"""
MEMORY_MB = 256
AT_DEPLOYMENT = ("STAGEDOOR_SITE_URL", "STAGEDOOR_SITE_STORE")


@pytest.fixture(scope="module")
def environ() -> dict[str, str]:
    """The function's variables: a role's credentials, and what only the deployment knows."""
    keys = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner", "region_name": REGION}
    ssm = boto3.client("ssm", endpoint_url=endpoint(), **keys)
    for name, value in (("session", "a session key of more than 32 bytes!"), ("private", KEYS["ec"]["priv"])):
        ssm.put_parameter(Name=f"/runtime/{name}", Value=value, Type="SecureString", Overwrite=True)
    bucket = new_bucket()
    for key in ("team/a.txt", "team/secret/x", "users/ann/1"):
        client().put_object(Bucket=bucket, Key=key, Body=b"x")
    return {
        "AWS_ACCESS_KEY_ID": "role",
        "AWS_SECRET_ACCESS_KEY": "role",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": endpoint(),
        "AWS_CONFIG_FILE": os.devnull,
        **dict(zip(AT_DEPLOYMENT, (SITE, f"s3://{bucket}"), strict=True)),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, environ: dict[str, str]) -> Bundle:
    folder: Path = tmp_path_factory.mktemp("site")
    prepare(folder)
    (folder / "stagedoor.toml").write_text(settings_text('store = "./files"', MORE))
    with pytest.MonkeyPatch.context() as patch:
        let_in(patch)
        for name, value in environ.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        patch.setattr(packing, "RUNTIME", f"{sys.version_info[0]}.{sys.version_info[1]}")  # what runs it here
        settings = load(folder / "stagedoor.toml", {})
        return make_api_zip(
            settings, variables=frozenset(AT_DEPLOYMENT), wheels=put_wheels(folder / "wheels"), environ={}
        )


@pytest.fixture(scope="module")
def function(made: Bundle, environ: dict[str, str]) -> Iterator[Function]:
    plain = lambda_runtime._environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lambda_runtime, "_environment", lambda *arguments: {**plain(*arguments), **environ})
        patch.setattr(lambda_runtime, "MEMORY_MB", MEMORY_MB)
        patch.setattr(lambda_runtime, "ADDRESS_SPACE_MB", 3 * MEMORY_MB)
        with Function(made.content, HANDLER) as running:
            yield running


def ask(function: Function, *arguments: Any, **more: Any) -> tuple[int, Any]:
    answer = function(event(*arguments, **more)).value
    return answer["statusCode"], json.loads(answer["body"])


def test_it_answers_at_both_entrances(function: Function) -> None:
    ann = bearer_line(fresh_token())
    assert ask(function, "/-/whoami", "GET", ann)[1]["sub"] == "ann"
    status, page = ask(function, "/-/s3objects", "GET", ann)
    assert (status, [one["Key"] for one in page["Contents"]]) == (200, ["team/a.txt", "users/ann/1"])
    status, made = ask(function, "/v1/urls", "POST", ann, body=b'{"file": "team/a.txt"}', stage="v1")
    assert status == 201
    assert made["signedUrl"].startswith(f"{SITE}/team/a.txt?")
    assert ask(function, "/v1/urls", "POST", ann, body=b'{"file": "team/secret/x"}', stage="v1")[0] == 403
    assert ask(function, "/v1/urls", "POST", body=b'{"file": "team/a.txt"}', stage="v1")[0] == 401


@pytest.mark.parametrize("asked", [None, [], {}, "x", {"version": "1.0", "httpMethod": "GET", "path": "/"}])
def test_every_event_gets_an_answer(function: Function, asked: object) -> None:
    assert function(asked).value["statusCode"] == 400


def test_it_starts_within_lambdas_time_and_stays_small(made: Bundle, function: Function) -> None:
    """`Function` does not wait longer than Lambda does."""
    assert function.peak_mb < MEMORY_MB / 2
    assert made.hash in function.log.splitlines()[0]


def test_its_log_holds_no_credential(function: Function) -> None:
    secret = fresh_token(jti="for the log")
    ask(function, f"/-/whoami?token={secret}", "GET", bearer_line(secret), f"Cookie: token={secret}")
    assert '"path": "/-/whoami"' in function.log
    assert secret.rpartition(".")[2] not in function.log
