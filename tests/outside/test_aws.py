"""One session for all clients of AWS, and keys that AWS keeps: read from a server that speaks its API, or why not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.session import Session

from stagedoor.core.errors import InvalidKey, StagedoorError, StoreRefused, Unavailable
from stagedoor.gateway.server import Reloading
from stagedoor.outside import aws
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
    monkeypatch.setitem(aws.LIMITS, "retries", {"total_max_attempts": 1})


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


# --- one session


SERVICES = ("ssm", "secretsmanager", "s3", "dynamodb", "cognito-idp")


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """Every session that is made."""
    made: list[Session] = []

    def get_session() -> Session:
        made.append(plain())
        return made[-1]

    plain = botocore.session.get_session
    monkeypatch.setattr(botocore.session, "get_session", get_session)
    return made


def test_clients_of_all_services_share_one_session(sessions: list[Session]) -> None:
    clients = [aws.client(name, REGION) for name in SERVICES]
    assert [one.meta.service_model.service_name for one in clients] == list(SERVICES)
    assert len(sessions) == 1


def test_threads_make_one_session_and_one_client_at_a_time(
    sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, together, plain = threading.Lock(), [], Session.create_client

    def create_client(self: Session, *arguments: Any, **more: Any) -> Any:
        if not busy.acquire(blocking=False):
            together.append(arguments)
            return None
        try:
            return plain(self, *arguments, **more)
        finally:
            busy.release()

    monkeypatch.setattr(Session, "create_client", create_client)
    with ThreadPoolExecutor(8) as threads:
        clients = list(threads.map(lambda _: aws.client("ssm", REGION), range(16)))
    assert None not in clients
    assert not together
    assert len(sessions) == 1


def test_a_session_that_was_forgotten_is_made_anew_with_the_credentials_of_now(
    sessions: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.client("ssm", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert sessions[0].get_credentials().access_key != "another"
    aws.forget_session()
    aws.client("ssm", REGION)
    assert sessions[1].get_credentials().access_key == "another"


async def test_a_gateway_that_reloads_finds_credentials_anew(sessions: list[Session], tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "stagedoor.toml").write_text(settings_text())
    site = Reloading(tmp_path / "stagedoor.toml")
    aws.client("ssm", REGION)
    await site._reload()
    aws.client("ssm", REGION)
    await site._stop()
    assert len(sessions) == 2


def test_a_client_has_time_limits_and_those_of_a_request_are_shorter() -> None:
    usual, hurried = aws.client("s3", REGION).meta.config, aws.client("s3", REGION, **aws.REQUEST_LIMITS).meta.config
    assert (usual.connect_timeout, usual.read_timeout) == (3, 5)
    assert (hurried.connect_timeout, hurried.read_timeout, hurried.retries["total_max_attempts"]) == (1, 3, 2)


# --- found


@pytest.mark.parametrize("type_", ["SecureString", "String"])
def test_a_parameter_is_read_and_decrypted(type_: str) -> None:
    name = put_parameter(f"/stagedoor/{type_}", KEYS["rsa"]["priv"], type_)
    assert aws.read_secret(name, REGION) == KEYS["rsa"]["priv"].encode()


def test_a_secret_is_read_by_name_and_by_arn_in_the_arns_region() -> None:
    arn = put_secret("stagedoor/text", "ü")["ARN"]
    assert aws.read_secret("secretsmanager:stagedoor/text", REGION) == "ü".encode()
    assert aws.read_secret(f"secretsmanager:{arn}", None) == "ü".encode()
    assert aws.read_secret(f"secretsmanager:{arn}", "us-west-2") == "ü".encode()


def test_a_binary_secret_is_read_to_the_byte() -> None:
    put_secret("stagedoor/der", bytes(range(256)))
    assert aws.read_secret("secretsmanager:stagedoor/der", REGION) == bytes(range(256))


def test_the_region_comes_from_the_environment_if_nothing_else_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = put_parameter("/stagedoor/here", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    assert aws.read_secret(name) == b"x"


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


@pytest.mark.parametrize(("name", "status", "body", "kind", "message"), FAULTS.values(), ids=FAULTS)
async def test_each_fault_is_reported_with_its_secret(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    status: str,
    body: dict[str, str],
    kind: type[StagedoorError],
    message: str,
) -> None:
    seen: Recorded = []
    made = plain_answer(status, json.dumps(body).encode(), "content-type: application/x-amz-json-1.1")
    async with scripted(lambda _: made, seen) as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(kind, match=message) as caught:
            await asyncio.to_thread(aws.read_secret, name, "eu-west-3")
    assert str(caught.value).startswith(name)
    assert len(seen) == 1
    assert b"/eu-west-3/" in seen[0]


@pytest.mark.parametrize("name", ["ssm:/nothing/here", "secretsmanager:nothing-here"])
def test_a_missing_secret_is_reported(name: str) -> None:
    with pytest.raises(InvalidKey, match=f"^{name} does not exist in this account and region"):
        aws.read_secret(name, REGION)


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
    ("spoil", "message"),
    [
        (unreachable, "Could not connect"),
        (no_credentials, "there are no AWS credentials"),
        (half_credentials, "Partial credentials"),
        (no_profile, "nobody"),
    ],
)
def test_errors_before_asking_are_reported(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[pytest.MonkeyPatch], None], message: str
) -> None:
    spoil(monkeypatch)
    with pytest.raises((Unavailable, StoreRefused), match=f"^ssm:/stagedoor/there cannot be read: .*{message}"):
        aws.read_secret("ssm:/stagedoor/there", REGION)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ssm:/stagedoor/x", "region"),
        ("secretsmanager:arn:aws", "cannot be read"),
        ("secretsmanager:arn:aws:secretsmanager::1:secret:x", "region"),
        ("ssm:", "cannot be read"),
    ],
)
def test_an_impossible_name_is_reported(name: str, message: str) -> None:
    with pytest.raises(StagedoorError, match=f"^{name} .*{message}"):
        aws.read_secret(name)


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
