"""What arguments and settings change in the template of a site, and what is refused, with what to do instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import assertions
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_route53 as route53

from stagedoor import settings
from stagedoor.aws import packing
from stagedoor.cdk import CustomDomain, inputs
from stagedoor.cdk.http_api import OwnUrl
from stagedoor.core.door import ASKED_HEADERS, EXPOSED_HEADERS
from stagedoor.core.errors import SettingsError
from stagedoor.core.messages import Fetch, Fetched
from stagedoor.keys.pass_keys import new_pair
from tests.helpers.synth import CLIENT, POOL, POOL_URL, Template, distribution, keys, made, of_type, plain, site, stack

pytestmark = pytest.mark.needs("node")

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
    """Write settings, with additions."""

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


def test_headers_of_s3_about_itself_are_removed() -> None:
    removed = {one["Header"] for one in object_headers(plain())["RemoveHeadersConfig"]["Items"]}
    assert removed == {
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-server-side-encryption-bucket-key-enabled",
        "x-amz-version-id",
    }


def test_scripts_of_listed_origins_have_the_rights_of_every_door(write: Callable[..., Path]) -> None:
    listed = '[cors]\norigins = ["https://b.example.com", "https://a.example.com"]\nheaders = ["x-own"]\n'
    cors = object_headers(made(lambda scope: site(scope, settings=write(listed))))["CorsConfig"]
    assert cors["AccessControlAllowOrigins"]["Items"] == ["https://a.example.com", "https://b.example.com"]
    assert cors["AccessControlAllowCredentials"] is True
    assert cors["AccessControlAllowMethods"]["Items"] == ["GET", "HEAD", "OPTIONS"]
    assert tuple(cors["AccessControlAllowHeaders"]["Items"]) == (*ASKED_HEADERS, "x-own")
    assert ", ".join(cors["AccessControlExposeHeaders"]["Items"]).encode() == EXPOSED_HEADERS
    assert cors["OriginOverride"] is True


def test_scripts_in_objects_run_only_with_trust_html(write: Callable[..., Path]) -> None:
    trusting = made(lambda scope: site(scope, settings=write(site_too="trust_html = true")))
    assert "ContentSecurityPolicy" not in object_headers(trusting)["SecurityHeadersConfig"]
    assert "ContentSecurityPolicy" in object_headers(plain())["SecurityHeadersConfig"]


# --- the edge functions


def test_without_bytecode_the_owner_is_warned_of_the_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "bytecode", lambda _: {"stagedoor/paths.pyc": b"bytecode"})
    scope = stack()
    site(scope)
    assert not warnings_of(scope)
    monkeypatch.setattr(packing, "bytecode", lambda _: {})
    scope = stack()
    site(scope)
    (warning,) = warnings_of(scope)
    assert "a visitor waits while Python compiles it" in warning
    assert "Install python3.13" in warning


def test_the_owner_is_informed_that_session_keys_are_in_the_code(write: Callable[..., Path]) -> None:
    (Path(write().parent) / "session.key").write_text("k" * 43)
    scope = stack()
    site(scope, settings=write('[login]\nsession_keys = ["file:session.key"]\n'))
    (info,) = infos_of(scope)
    assert "session keys are in the code" in info
    scope = stack()
    site(scope, settings=write())
    assert not infos_of(scope)


def test_the_owner_is_informed_that_nobody_signs_in_on_aws(write: Callable[..., Path]) -> None:
    scope = stack()
    site(scope, settings=write('[login]\nclient_id = "app"\n'))
    (info,) = infos_of(scope)
    assert "/-/login answers 404 there" in info


def test_no_other_user_of_this_machine_can_read_code_with_session_keys(
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


# --- where objects are


def test_a_prefix_of_the_settings_is_where_objects_are(write: Callable[..., Path]) -> None:
    template = made(lambda scope: site(scope, settings=write()))
    config = distribution(template)
    chosen = config["DefaultCacheBehavior"]["TargetOriginId"]
    (origin,) = (one for one in config["Origins"] if one["Id"] == chosen)
    assert origin["OriginPath"] == "/team/files"
    assert all("OriginPath" not in one for one in distribution(plain())["Origins"])


def test_an_imported_bucket_is_asked_to_open_no_more_than_the_prefix(write: Callable[..., Path]) -> None:
    template = made(lambda scope: site(scope, settings=write(), asset_bucket_name_import="theirs"))
    objects, listing = statements_to_add(template)
    assert (objects["Action"], objects["Resource"]) == ("s3:GetObject", "arn:aws:s3:::theirs/team/files/*")
    assert (listing["Action"], listing["Resource"]) == ("s3:ListBucket", "arn:aws:s3:::theirs")
    assert listing["Condition"]["StringLike"] == {"s3:prefix": "team/files/*"}
    for one in (objects, listing):
        assert one["Condition"]["StringEquals"]["AWS:SourceArn"].endswith(":distribution/<SiteDistribution390DED28>")


def test_an_imported_bucket_lists_nothing_at_the_passes_door(with_passes: Path) -> None:
    arguments: dict[str, Any] = {"settings": with_passes, "asset_bucket_name_import": "theirs", "door": "passes"}
    (objects,) = statements_to_add(made(lambda scope: site(scope, **arguments)))
    assert (objects["Action"], objects["Resource"]) == ("s3:GetObject", "arn:aws:s3:::theirs/team/files/*")


def statements_to_add(template: Template) -> Any:
    """The statements that the owner of an imported bucket should add."""
    parts = template["Outputs"]["BucketPolicyStatements"]["Value"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else f"<{part['Ref']}>" for part in parts)
    return json.loads(text.replace("<AWS::Partition>", "aws"))


def test_an_imported_bucket_is_asked_in_its_region() -> None:
    arguments = {"asset_bucket_name_import": "theirs", "asset_bucket_region": "eu-central-1"}
    origin = distribution(made(lambda scope: site(scope, **arguments)))["Origins"][0]
    assert ".s3.eu-central-1." in str(origin["DomainName"])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"asset_bucket_region": "eu-central-1"}, "asset_bucket_name_import"),
        ({"asset_bucket_name_import": "theirs", "asset_bucket_region": "Frankfurt"}, "not the name of a region"),
    ],
)
def test_a_region_that_would_be_wrong_is_refused(arguments: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        site(stack(), **arguments)
    assert refused.value.setting == "asset_bucket_region"


def test_a_new_bucket_has_the_chosen_name_and_removal_policy() -> None:
    chosen = {"asset_bucket_name": "our-assets", "removal_policy": cdk.RemovalPolicy.DESTROY}
    template = made(lambda scope: site(scope, **chosen))
    ((name, bucket),) = (one for one in of_type(template, "AWS::S3::Bucket").items() if "SiteAssets" in one[0])
    assert bucket["BucketName"] == "our-assets"
    assert template["Resources"][name]["DeletionPolicy"] == "Delete"


# --- the distribution


def test_the_price_class_can_be_chosen() -> None:
    everywhere = cloudfront.PriceClass.PRICE_CLASS_ALL
    assert distribution(made(lambda scope: site(scope, price_class=everywhere)))["PriceClass"] == "PriceClass_All"


def test_a_site_can_do_without_a_firewall() -> None:
    template = made(lambda scope: site(scope, firewall=False))
    assert not [one["Type"] for one in template["Resources"].values() if one["Type"].startswith("AWS::WAF")]
    assert "WebACLId" not in distribution(template)


def test_the_api_is_asked_over_https_alone() -> None:
    def with_api(scope: cdk.Stack) -> None:
        site(scope).add_api(origins.HttpOrigin("api.example.com"))

    (ours,) = (one for one in distribution(made(with_api))["CacheBehaviors"] if one["PathPattern"] == "/-/*")
    assert ours["ViewerProtocolPolicy"] == "https-only"


def test_a_second_api_is_refused() -> None:
    both = site(stack())
    both.add_api(origins.HttpOrigin("api.example.com"))
    with pytest.raises(SettingsError, match="has an API already"):
        both.add_api(origins.HttpOrigin("api.example.com"))


@pytest.mark.parametrize("door", ["pass", "Edge", ""])
def test_an_unknown_door_is_refused(door: str) -> None:
    with pytest.raises(SettingsError, match="it is one of edge, passes") as refused:
        site(stack(), door=door)
    assert refused.value.setting == "door"


def test_making_a_site_warns_of_nothing_intended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "bytecode", lambda _: {"stagedoor/paths.pyc": b"bytecode"})
    scope = stack()
    site(scope, asset_bucket_name_import="theirs")
    assert not warnings_of(scope)


# --- the domain


def zone(scope: cdk.Stack, name: str = "example.com") -> route53.IHostedZone:
    return route53.HostedZone.from_hosted_zone_attributes(scope, "Zone", hosted_zone_id="Z0123456789", zone_name=name)


@pytest.mark.parametrize(
    ("name", "write_this"),
    [
        ("https://assets.example.com", "write assets.example.com"),
        ("https://assets.example.com/files", "write assets.example.com"),
        ("Assets.Example.com", "write assets.example.com"),
        ("assets.example.com.", "write assets.example.com"),
        ("assets.example.com:443", "write assets.example.com"),
        ("*.example.com", "for example assets.example.com"),
        ("assets_.example.com", "for example assets.example.com"),
        ("", "for example assets.example.com"),
    ],
)
def test_an_invalid_host_name_is_refused_with_the_likely_one(name: str, write_this: str) -> None:
    with pytest.raises(SettingsError, match="not a host name") as refused:
        CustomDomain(zone(stack()), name)
    assert (refused.value.setting, refused.value.source) == ("custom_domain", "")
    assert write_this in refused.value.mend


@pytest.mark.parametrize(("of", "name"), [("example.com", "example.com"), ("Example.com.", "a.b.example.com")])
def test_a_domain_may_be_the_zone_itself_or_anywhere_below_it(of: str, name: str) -> None:
    assert CustomDomain(zone(stack(), of), name).domain_name == name


def test_a_domain_outside_of_its_zone_is_refused_with_one_inside() -> None:
    with pytest.raises(SettingsError, match="not in the zone") as refused:
        CustomDomain(zone(stack()), "assets.notexample.com")
    assert "assets.example.com" in refused.value.mend


def test_a_domain_without_its_zone_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"CustomDomain\(zone") as refused:
        site(stack(), custom_domain="assets.example.com")
    assert refused.value.setting == "custom_domain"


# --- settings, issuers and keys


def test_settings_must_be_a_file() -> None:
    with pytest.raises(SettingsError, match=r"stagedoor\.toml"):
        site(stack(), settings=settings.parse(SETTINGS))


def test_variables_that_override_the_file_are_named_without_their_values(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEDOOR_TOKENS_COOKIE", "something-private")
    monkeypatch.setenv("STAGEDOOR_SITE_URL", "https://elsewhere.example.com")
    scope = stack()
    assert site(scope, settings=write()).settings.token_sources.cookie == "something-private"
    (info,) = infos_of(scope)
    assert info.endswith(": STAGEDOOR_TOKENS_COOKIE")
    scope = stack()
    assert site(scope).settings.token_sources.cookie == "token"  # a pool alone: there is no file to override
    assert not infos_of(scope)


@pytest.mark.parametrize("client", ['x"]\n[cors]\norigins=["https://evil.example"]#', "a b", "x" * 129, "\u00fc"])
def test_an_invalid_client_id_is_refused(client: str) -> None:
    with pytest.raises(SettingsError, match="not the id of an app client") as refused:
        site(stack(), user_pool_client_id=client)
    assert refused.value.setting == "user_pool_client_id"


def test_swapped_ids_are_recognised() -> None:
    with pytest.raises(SettingsError, match="swapped"):
        site(stack(), user_pool_id=CLIENT, user_pool_client_id=POOL)


@pytest.mark.parametrize("as_given", [lambda text: text.decode(), json.loads], ids=["text", "object"])
def test_keys_are_taken_as_text_and_as_an_object(as_given: Callable[[bytes], Any]) -> None:
    given = {POOL_URL: as_given(keys()[POOL_URL])}
    assert edge_zip(made(lambda scope: site(scope, issuer_keys=given))) == edge_zip(plain())


UPDATED = POOL_URL.replace("//", "//issuer-")


@pytest.mark.parametrize(
    ("arguments", "issuers"),
    [
        ({"issuer_keys": {UPDATED: keys()[POOL_URL]}}, [UPDATED]),
        ({"issuer_keys": {UPDATED: keys()[POOL_URL]}, "updated_issuer": True}, [UPDATED]),
        ({"issuer_keys": {POOL_URL: keys()[POOL_URL], UPDATED: keys()[POOL_URL]}}, [POOL_URL, UPDATED]),
    ],
    ids=["named by its keys", "told", "both, while the pool changes"],
)
def test_a_pool_may_have_the_updated_issuer(arguments: dict[str, Any], issuers: list[str]) -> None:
    made_site = site(stack(), **arguments)
    assert [one.url for one in made_site.settings.issuers] == issuers
    assert all(one.token_use == {"access", "id"} for one in made_site.settings.issuers)


def test_the_keys_of_the_updated_issuer_are_fetched_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(wish: Fetch, *_: object) -> Fetched:
        asked.append(wish.url)
        return Fetched(keys()[POOL_URL])

    monkeypatch.setattr(inputs, "fetch", answer)
    site(stack(), issuer_keys=None, updated_issuer=True)
    assert asked == [f"{UPDATED}/.well-known/jwks.json"]


def test_settings_name_the_form_of_the_issuer_themselves(with_passes: Path) -> None:
    with pytest.raises(SettingsError, match="name the issuers already"):
        site(stack(), settings=with_passes, updated_issuer=True)


def edge_zip(template: Template) -> Any:
    functions = of_type(template, "AWS::Lambda::Function").values()
    (function,) = (one for one in functions if one["Handler"].startswith("stagedoor.aws.edge."))
    return function["Code"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({POOL_URL: Path("jwks.json")}, "PosixPath"),
        ({f"{POOL_URL}/": "{}"}, f"{POOL_URL}/' is not an issuer of the settings"),
    ],
)
def test_keys_of_another_type_or_issuer_are_refused(given: Any, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as refused:
        site(stack(), issuer_keys=given)
    assert refused.value.setting == "issuer_keys"


def test_keys_of_an_unknown_issuer_are_refused_with_the_known_ones(with_passes: Path) -> None:
    """Also at the passes door, whose edge function needs no keys."""
    with pytest.raises(SettingsError, match="not an issuer of the settings") as refused:
        site(stack(), settings=with_passes, door="passes", issuer_keys={"https://id.example.com": b"{}"})
    assert POOL_URL in refused.value.mend


def test_a_pool_that_cognito_does_not_know_is_questioned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "fetch", lambda *_: Fetched(b"", "the answer was 400, not 200"))
    with pytest.raises(SettingsError, match="the answer was 400") as refused:
        site(stack(), issuer_keys=None)
    assert refused.value.mend.startswith("is the pool id right?")
    assert 'jwks = "./jwks.json"' in refused.value.mend
    assert "issuer_keys=" in refused.value.mend
