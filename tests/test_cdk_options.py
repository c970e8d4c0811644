"""What the arguments and the settings of a site change in its template, and what is refused with what to do instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synth import CLIENT, POOL_URL, Template, made, of_type, plain, site

from stagedoor.door import ASKED_HEADERS, EXPOSED_HEADERS
from stagedoor.pass_keys import new_pair

pytestmark = pytest.mark.needs("node")

TOPIC = "arn:aws:sns:us-east-1:111111111111:alarms"
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
