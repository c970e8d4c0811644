"""Keys that AWS keeps: fetched from a server that speaks its API, and what its owner is told when that fails."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest

from stagedoor.core.errors import InvalidKey, StagedoorError, StoreRefused, Unavailable
from stagedoor.outside import aws as aws_secrets
from stagedoor.settings import parse
from tests.helpers.servers import free_port
from tests.helpers.serving import (
    PATIENCE,
    Recorded,
    ask,
    bearer_line,
    command,
    environment,
    fresh_token,
    plain_answer,
    prepare,
    scripted,
    serving,
    settings_text,
)
from tests.helpers.stores import endpoint, let_in
from tests.helpers.support import VECTORS

KEYS = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
REGION = "eu-central-1"


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials, one question instead of three, and a server that keeps secrets."""
    let_in(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint())
    monkeypatch.setitem(aws_secrets._CONFIG, "retries", {"total_max_attempts": 1})


def service(name: str) -> Any:
    """For the owner, who puts secrets there."""
    keys = {"aws_access_key_id": "owner", "aws_secret_access_key": "owner"}
    return boto3.client(name, endpoint_url=endpoint(), region_name=REGION, **keys)


def put_parameter(name: str, value: str, type_: str = "SecureString") -> str:
    service("ssm").put_parameter(Name=name, Value=value, Type=type_, Overwrite=True)
    return f"ssm:{name}"


def put_secret(name: str, value: str | bytes) -> Any:
    kind = {"SecretBinary": value} if isinstance(value, bytes) else {"SecretString": value}
    return service("secretsmanager").create_secret(Name=name, **kind)


# --- found


@pytest.mark.parametrize("type_", ["SecureString", "String"])
def test_a_parameter_is_read_and_decrypted(type_: str) -> None:
    name = put_parameter(f"/stagedoor/{type_}", KEYS["rsa"]["priv"], type_)
    assert aws_secrets.read(name, REGION) == KEYS["rsa"]["priv"].encode()


def test_a_secret_is_read_by_name_and_by_arn_in_the_arns_region() -> None:
    arn = put_secret("stagedoor/text", "ü")["ARN"]
    assert aws_secrets.read("secretsmanager:stagedoor/text", REGION) == "ü".encode()
    assert aws_secrets.read(f"secretsmanager:{arn}", None) == "ü".encode()
    assert aws_secrets.read(f"secretsmanager:{arn}", "us-west-2") == "ü".encode()


def test_a_binary_secret_is_read_to_the_byte() -> None:
    put_secret("stagedoor/der", bytes(range(256)))
    assert aws_secrets.read("secretsmanager:stagedoor/der", REGION) == bytes(range(256))


def test_the_region_comes_from_the_environment_if_nothing_else_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = put_parameter("/stagedoor/here", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    assert aws_secrets.read(name) == b"x"


# --- not found


FAULTS: Mapping[str, tuple[str, str, dict[str, str], type[StagedoorError], str]] = {
    "no access": ("ssm:/a", "400 Bad Request", {"__type": "AccessDeniedException"}, StoreRefused, "ssm:GetParameter"),
    "no access to a secret": (
        "secretsmanager:a",
        "400 Bad Request",
        {"__type": "AccessDeniedException"},
        StoreRefused,
        "secretsmanager:GetSecretValue",
    ),
    "no key to decrypt with": ("ssm:/a", "400 Bad Request", {"__type": "InvalidKeyId"}, StoreRefused, "kms:Decrypt"),
    "a wrong signature": (
        "ssm:/a",
        "403 Forbidden",
        {"__type": "InvalidSignatureException"},
        StoreRefused,
        "InvalidSignatureException",
    ),
    "no such parameter": ("ssm:/a", "400 Bad Request", {"__type": "ParameterNotFound"}, InvalidKey, "does not exist"),
    "no such version": (
        "ssm:/a:7",
        "400 Bad Request",
        {"__type": "ParameterVersionNotFound"},
        InvalidKey,
        "does not exist",
    ),
    "no such secret": (
        "secretsmanager:a",
        "400 Bad Request",
        {"__type": "ResourceNotFoundException"},
        InvalidKey,
        "does not exist",
    ),
    "too many questions": ("ssm:/a", "400 Bad Request", {"__type": "ThrottlingException"}, Unavailable, "Throttling"),
    "a fault of theirs": ("ssm:/a", "500 Oh", {"__type": "InternalServerError"}, Unavailable, "InternalServerError"),
    "no words at all": ("ssm:/a", "503 Service Unavailable", {}, Unavailable, "ssm:/a"),
    "an answer without a value": ("ssm:/a", "200 OK", {}, Unavailable, "ssm:/a"),
    "an answer without a secret": ("secretsmanager:a", "200 OK", {}, Unavailable, "secretsmanager:a"),
}


@pytest.mark.parametrize(("name", "status", "body", "kind", "told"), FAULTS.values(), ids=FAULTS)
async def test_each_fault_is_told_with_the_secret_it_is_about(
    monkeypatch: pytest.MonkeyPatch, name: str, status: str, body: dict[str, str], kind: type[StagedoorError], told: str
) -> None:
    seen: Recorded = []
    made = plain_answer(status, json.dumps(body).encode(), "content-type: application/x-amz-json-1.1")
    async with scripted(lambda _: made, seen) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(kind, match=told) as caught:
            await asyncio.to_thread(aws_secrets.read, name, "eu-west-3")
    assert str(caught.value).startswith(name)
    assert len(seen) == 1
    assert b"/eu-west-3/" in seen[0]


@pytest.mark.parametrize("name", ["ssm:/nothing/here", "secretsmanager:nothing-here"])
def test_what_is_not_there_is_told(name: str) -> None:
    with pytest.raises(InvalidKey, match=f"^{name} does not exist in this account and region"):
        aws_secrets.read(name, REGION)


def unreachable(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")


def no_credentials(patch: pytest.MonkeyPatch) -> None:
    patch.delenv("AWS_ACCESS_KEY_ID")
    patch.delenv("AWS_SECRET_ACCESS_KEY")


def half_credentials(patch: pytest.MonkeyPatch) -> None:
    patch.delenv("AWS_SECRET_ACCESS_KEY")


def no_profile(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_PROFILE", "nobody")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (unreachable, "Could not connect"),
        (no_credentials, "there are no AWS credentials"),
        (half_credentials, "Partial credentials"),
        (no_profile, "nobody"),
    ],
)
def test_what_keeps_us_from_asking_is_told(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[pytest.MonkeyPatch], None], told: str
) -> None:
    spoil(monkeypatch)
    with pytest.raises((Unavailable, StoreRefused), match=f"^ssm:/stagedoor/there cannot be read: .*{told}"):
        aws_secrets.read("ssm:/stagedoor/there", REGION)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ssm:/stagedoor/x", "region"),
        ("secretsmanager:arn:aws", "cannot be read"),
        ("secretsmanager:arn:aws:secretsmanager::1:secret:x", "region"),
        ("ssm:", "cannot be read"),
    ],
)
def test_a_name_that_cannot_be_asked_for_is_told(name: str, told: str) -> None:
    with pytest.raises(StagedoorError, match=f"^{name} .*{told}"):
        aws_secrets.read(name)


# --- from settings to a pass


PASSES = """
[passes]
key_id = "K1"
private_key = "ssm:/site/private"
passphrase = "secretsmanager:site/words"
public_keys = { K1 = "ssm:/site/public", K2 = "secretsmanager:site/other" }
"""


def put_all() -> None:
    """The private key as a console keeps it: with spaces for line ends."""
    put_parameter("/site/private", KEYS["rsa_enc"]["priv"].replace("\n", " "))
    put_parameter("/site/public", KEYS["rsa_enc"]["pub"], "String")
    secrets = service("secretsmanager")
    for name, value in (("site/words", KEYS["rsa_enc"]["passphrase"]), ("site/other", KEYS["ec"]["pub"])):
        try:
            secrets.create_secret(Name=name, SecretString=value)
        except secrets.exceptions.ResourceExistsException:
            secrets.put_secret_value(SecretId=name, SecretString=value)


async def test_a_site_takes_all_its_keys_from_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put_all()
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    prepare(tmp_path, {"team/a.txt": b"team"})
    async with serving(tmp_path, settings_text(more=PASSES)) as here:
        body = b'{"file":"team/a.txt"}'
        lines = (bearer_line(fresh_token()), f"Content-Length: {len(body)}")
        heard = await ask(here.port, "/-/urls", "POST", *lines, body=body)
        assert heard.status == 201
        signed = json.loads(heard.body)["signedUrl"]
        assert (await ask(here.port, signed.partition(":8080")[2])).body == b"team"
        assert set(here.gateway.door.passes.keys) == {"K1", "K2"}


def test_settings_that_name_them_are_read_without_asking_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`stagedoor check` needs no account."""
    unreachable(monkeypatch)
    prepare(tmp_path)
    settings = parse(settings_text(more=PASSES), tmp_path / "stagedoor.toml")
    assert settings.passes.private_key == "ssm:/site/private"


def test_serve_says_which_secret_is_missing_and_ends(tmp_path: Path) -> None:
    prepare(tmp_path)
    lines = '[passes]\nkey_id = "K1"\nprivate_key = "ssm:/nothing/there"'
    (tmp_path / "stagedoor.toml").write_text(settings_text(more=lines))
    arguments = command("serve", "--settings", str(tmp_path / "stagedoor.toml"), "--listen", "127.0.0.1:0")
    account = {
        "AWS_ENDPOINT_URL": endpoint(),
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": REGION,
    }
    done = subprocess.run(
        arguments, capture_output=True, text=True, env=environment(**account), timeout=PATIENCE, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "stagedoor: ssm:/nothing/there does not exist in this account and region\n"
    assert done.stdout == ""
