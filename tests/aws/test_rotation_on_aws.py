"""The keys of passes change on AWS, one deployment after the other, and no valid pass is refused meanwhile.

During a deployment the function that signs may be one step older or newer than what checks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from aws_cdk import assertions
from aws_cdk import aws_lambda as lambda_
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from stagedoor.aws.api import bundle
from stagedoor.aws.api.lambda_function import start
from stagedoor.aws.edge import bundle as edge_bundle
from stagedoor.cdk import ContentApi
from stagedoor.core.errors import InvalidKey
from stagedoor.keys.pass_keys import Pair, new_pair, open_passes
from stagedoor.outside import aws
from tests.helpers import native_passes
from tests.helpers.cloudfront import DOMAIN, Edge, event, unpacked
from tests.helpers.support import NOW
from tests.helpers.synth import CLIENT, POOL_URL, Template, keys, of_type, site, stack

pytestmark = pytest.mark.needs("node")

SITE = f"https://{DOMAIN}"
TARGET = "/courses/1.txt"
END = int(NOW) + 600
SETTINGS = f"""
[site]
url = "{SITE}"
store = "s3://files"
[[issuers]]
issuer = "{POOL_URL}"
audience = ["{CLIENT}"]
[[rules]]
path = "courses/**"
allow = "signed-in"
[login]
session_keys = ["ssm:/stagedoor/session-key"]
[passes]
"""
FIRST, BOTH, SECOND = (
    "public_keys = {" + ", ".join(f'{name} = "file:{name}.pem"' for name in names) + "}"
    for names in (("mine",), ("mine", "mine-2"), ("mine-2",))
)
OLD, NEW = (f'key_id = "mine{suffix}"\nprivate_key = "ssm:/stagedoor/private-key{suffix}"\n' for suffix in ("", "-2"))
STEPS = [f"{OLD}{FIRST}", f"{OLD}{BOTH}", f"{NEW}{BOTH}", f"{NEW}{SECOND}"]
"""As in docs/how-to/rotate-keys.md: add the new public key, sign with the new key, remove the old public key."""


class Owner(NamedTuple):
    """What the owner of a site has: a folder of settings, parameters of SSM, pairs of keys."""

    folder: Path
    parameters: dict[str, bytes]
    pairs: Mapping[str, Pair]

    def write(self, passes: str) -> Path:
        file = self.folder / f"{len(list(self.folder.glob('*.toml')))}.toml"
        file.write_text(SETTINGS + passes)
        return file


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Owner:
    pairs = {name: new_pair("rsa") for name in ("mine", "mine-2")}
    for name, pair in pairs.items():
        (tmp_path / f"{name}.pem").write_bytes(pair.public)
    parameters = {
        "ssm:/stagedoor/private-key": pairs["mine"].private,
        "ssm:/stagedoor/private-key-2": pairs["mine-2"].private,
        "ssm:/stagedoor/session-key": b"s" * 40,
    }
    monkeypatch.setattr(aws, "read_secret", lambda name, region=None: parameters.get(name, b"s" * 40))
    return Owner(tmp_path, parameters, pairs)


class Deployment(NamedTuple):
    """The result of one deployment: its signing function, and template and settings of what checks passes."""

    sign: Callable[[], str]
    template: Template
    settings: Any


def deploy(owner: Owner, passes: str, door: str) -> Deployment:
    scope = stack()
    whole = site(scope, settings=owner.write(passes), door=door)
    ContentApi(scope, "Content", site=whole, code=lambda_.Code.from_asset(str(Path(__file__).parents[1] / "vectors")))
    template: Template = assertions.Template.from_stack(scope).to_json()
    (function,) = (
        one for one in of_type(template, "AWS::Lambda::Function").values() if one["Handler"] == bundle.HANDLER
    )
    environ = {name: _deployed(value) for name, value in function["Environment"]["Variables"].items()}

    def sign() -> str:
        """A signed URL, from a function that starts now."""
        task = owner.folder / "task"
        for name, content in bundle.settings_files(whole.settings, frozenset(environ), {}).items():
            (task / name).parent.mkdir(parents=True, exist_ok=True)
            (task / name).write_bytes(content)
        started = start(task / "stagedoor.toml", {**environ, "STAGEDOOR_SITE_URL": SITE})
        started.outside.close()
        signer = open_passes(started.settings.passes, None)[1]
        assert signer is not None
        return signer.url(SITE + TARGET, END)

    return Deployment(sign, template, whole.settings)


def _deployed(value: Any) -> str:
    """A value that AWS knows after the deployment; here the id of a resource is its name in the template."""
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        return "".join(map(_deployed, value["Fn::Join"][1]))
    return str(value.get("Ref", "known-later"))


def opens_natively(deployment: Deployment, url: str) -> bool:
    """Does CloudFront accept it, with the key group of a deployment?"""
    made = of_type(deployment.template, "AWS::CloudFront::PublicKey")
    (group,) = of_type(deployment.template, "AWS::CloudFront::KeyGroup").values()
    pems = {one["Ref"]: made[one["Ref"]]["PublicKeyConfig"]["EncodedKey"] for one in group["KeyGroupConfig"]["Items"]}
    trusted = {name: cast("native_passes.PublicKey", load_pem_public_key(pem.encode())) for name, pem in pems.items()}
    fields, _ = native_passes.from_query(url.partition("?")[2])
    return native_passes.opens(fields, SITE + TARGET, trusted, "203.0.113.7", NOW)


def edge_of(deployment: Deployment, folder: Path) -> Edge:
    """The edge functions of a deployment."""
    zipped = edge_bundle.make(deployment.settings, keys(), own_domain=False).content
    return Edge(unpacked(zipped, folder), NOW)


def test_at_the_passes_door_each_pass_opens_before_and_after_each_step(owner: Owner) -> None:
    deployments = [deploy(owner, step, "passes") for step in STEPS]
    urls = [deployment.sign() for deployment in deployments]
    for number, url in enumerate(urls):
        for near in deployments[max(number - 1, 0) : number + 2]:
            assert opens_natively(near, url)
    assert opens_natively(deployments[2], urls[0]), "a pass of the old key is valid until that key is removed"
    assert not opens_natively(deployments[3], urls[1])


def test_at_the_edge_door_each_pass_opens_before_and_after_each_step(owner: Owner, tmp_path: Path) -> None:
    deployments = [deploy(owner, step, "edge") for step in STEPS]
    edges = [edge_of(deployment, tmp_path / f"edge-{number}") for number, deployment in enumerate(deployments)]
    urls = [deployment.sign().removeprefix(SITE) for deployment in deployments]
    opened = {
        (signed, checked)
        for signed, url in enumerate(urls)
        for checked, edge in enumerate(edges)
        if "status" not in edge.objects(event(url))
    }
    all_ = {(signed, checked) for signed in range(4) for checked in range(4)}
    assert all_ - opened == {(2, 0), (3, 0), (0, 3), (1, 3)}, "more than a step apart, or of a key that is removed"


def test_the_function_may_read_the_key_that_signs_now(owner: Owner) -> None:
    for step in STEPS[1:3]:
        policies = json.dumps(of_type(deploy(owner, step, "passes").template, "AWS::IAM::Policy"))
        assert ("parameter/stagedoor/private-key-2" in policies) == step.startswith(NEW)


@pytest.mark.parametrize("step", STEPS[:2], ids=["before", "after the first step"])
def test_another_key_in_the_same_parameter_signs_nothing(owner: Owner, step: str) -> None:
    """The wrong way to rotate: a function that starts then refuses, because its passes would open nothing."""
    deployment = deploy(owner, step, "edge")
    owner.parameters["ssm:/stagedoor/private-key"] = owner.pairs["mine-2"].private
    with pytest.raises(InvalidKey, match="does not belong to public key mine"):
        deployment.sign()
