"""What the arguments and the settings of a site change in its template, and what is refused with what to do instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import assertions
from aws_cdk import aws_lambda as lambda_
from synth import CLIENT, POOL_URL, Template, made, of_type, plain, site, stack

from stagedoor import packing, settings
from stagedoor.cdk.http_api import OwnUrl
from stagedoor.door import ASKED_HEADERS, EXPOSED_HEADERS
from stagedoor.errors import SettingsError
from stagedoor.pass_keys import new_pair

pytestmark = pytest.mark.needs("node")

TOPIC = "arn:aws:sns:us-east-1:111111111111:alarms"
ANYTHING = assertions.Match.any_value()
SETTINGS = f"""
[site]
url = "http://localhost:8080"
store = "s3://their-bucket/team/files"
[[issuers]]
issuer = "{POOL_URL}"
audience = ["{CLIENT}"]
[[rules]]
path = "courses/**"
allow = "signed-in"
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write settings, with more of them."""

    def write_them(more: str = "", site_too: str = "") -> Path:
        file = tmp_path / "stagedoor.toml"
        file.write_text(SETTINGS.replace("[[issuers]]", f"{site_too}\n[[issuers]]", 1) + more)
        return file

    return write_them


@pytest.fixture
def with_passes(write: Callable[..., Path], tmp_path: Path) -> Path:
    """Settings that sign passes."""
    pair = new_pair("rsa")
    (tmp_path / "private.pem").write_bytes(pair.private)
    return write('[passes]\nkey_id = "mine"\nprivate_key = "file:private.pem"\n')


def object_headers(template: Template) -> Any:
    policies = of_type(template, "AWS::CloudFront::ResponseHeadersPolicy").items()
    (policy,) = (one["ResponseHeadersPolicyConfig"] for name, one in policies if "ObjectHeaders" in name)
    return policy


def warnings_of(scope: cdk.Stack) -> list[str]:
    return [str(one.entry.data) for one in assertions.Annotations.from_stack(scope).find_warning("*", ANYTHING)]


def infos_of(scope: cdk.Stack) -> list[str]:
    return [str(one.entry.data) for one in assertions.Annotations.from_stack(scope).find_info("*", ANYTHING)]


# --- response headers


def test_what_s3_says_of_itself_goes_no_further() -> None:
    removed = {one["Header"] for one in object_headers(plain())["RemoveHeadersConfig"]["Items"]}
    assert removed == {
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-server-side-encryption-bucket-key-enabled",
        "x-amz-version-id",
    }


def test_scripts_of_listed_origins_may_do_what_they_may_at_every_door(write: Callable[..., Path]) -> None:
    listed = '[cors]\norigins = ["https://b.example.com", "https://a.example.com"]\n'
    cors = object_headers(made(lambda scope: site(scope, settings=write(listed))))["CorsConfig"]
    assert cors["AccessControlAllowOrigins"]["Items"] == ["https://a.example.com", "https://b.example.com"]
    assert cors["AccessControlAllowCredentials"] is True
    assert cors["AccessControlAllowMethods"]["Items"] == ["GET", "HEAD", "OPTIONS"]
    assert ", ".join(cors["AccessControlAllowHeaders"]["Items"]).encode() == ASKED_HEADERS
    assert ", ".join(cors["AccessControlExposeHeaders"]["Items"]).encode() == EXPOSED_HEADERS
    assert cors["OriginOverride"] is True


def test_scripts_in_objects_run_only_where_the_settings_say_so(write: Callable[..., Path]) -> None:
    trusting = made(lambda scope: site(scope, settings=write(site_too="trust_html = true")))
    assert "ContentSecurityPolicy" not in object_headers(trusting)["SecurityHeadersConfig"]
    assert "ContentSecurityPolicy" in object_headers(plain())["SecurityHeadersConfig"]


# --- the edge functions


def test_without_bytecode_the_owner_hears_what_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "compiled", lambda _: {"stagedoor/paths.pyc": b"bytecode"})
    scope = stack()
    site(scope)
    assert not warnings_of(scope)
    monkeypatch.setattr(packing, "compiled", lambda _: {})
    scope = stack()
    site(scope)
    (warning,) = warnings_of(scope)
    assert "a visitor waits while Python compiles it" in warning
    assert "Install python3.13" in warning


def test_the_owner_hears_that_session_keys_are_in_the_code(write: Callable[..., Path]) -> None:
    (Path(write().parent) / "session.key").write_text("k" * 43)
    scope = stack()
    site(scope, settings=write('[login]\nsession_keys = ["file:session.key"]\n'))
    (info,) = infos_of(scope)
    assert "session keys are in the code" in info
    scope = stack()
    site(scope, settings=write())
    assert not infos_of(scope)


def test_nobody_else_on_this_machine_reads_the_code_with_the_session_keys(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "session.key").write_text("k" * 43)
    scope = cdk.App(builtin_cloud_formation_validation=False, outdir=str(tmp_path / "cdk.out"))
    site(stack(scope), settings=write('[login]\nsession_keys = ["file:session.key"]\n'))
    scope.synth()
    zips = list((tmp_path / "cdk.out").glob("*.zip"))
    assert zips
    assert {file.stat().st_mode & 0o777 for file in zips} == {0o600}


# --- the API's own URL


@pytest.mark.parametrize("algorithms", [("ES256",), ("RS256", "PS256")])
def test_tokens_that_api_gateway_cannot_check_are_named(
    algorithms: tuple[str, ...],
) -> None:
    named = f"[[issuers]]\nalgorithms = {json.dumps(algorithms)}"
    read = settings.parse(SETTINGS.replace("[[issuers]]", named))
    scope = stack()
    code = lambda_.Code.from_inline("def handler(*_): pass")
    function = lambda_.Function(scope, "F", runtime=lambda_.Runtime.PYTHON_3_13, handler="index.handler", code=code)
    with pytest.raises(SettingsError, match="own_url=False") as refused:
        OwnUrl(scope, "OwnUrl", settings=read, per_second=1, function=function)
    assert refused.value.setting == "own_url"
    assert algorithms[-1] in refused.value.problem
