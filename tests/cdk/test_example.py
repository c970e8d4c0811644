"""The example apps: they make what their pages say, and cdk-nag finds nothing."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import assertions
from aws_cdk import aws_lambda as lambda_

from stagedoor import cdk as constructs
from stagedoor import settings
from stagedoor.cli import main
from stagedoor.cli.new_site import AWS_APP
from stagedoor.keys import pass_keys
from stagedoor.outside import aws
from tests.helpers.synth import CLIENT, POOL, POOL_URL, app, distribution, keys, of_type, only

pytestmark = pytest.mark.needs("node")

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "aws"
DEPLOY = (ROOT / "docs/how-to/deploy-to-aws.md").read_text(encoding="utf-8")
HOLDS = (ROOT / "docs/explanation/what-holds-on-aws.md").read_text(encoding="utf-8")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Path]:
    """The settings of the example, with ids of a pool in them or as they are."""

    def copied(*, deployed: bool) -> Path:
        shutil.copytree(EXAMPLE, tmp_path / "aws")
        file = tmp_path / "aws" / "stagedoor.toml"
        if deployed:
            text = file.read_text().replace("us-east-1.amazonaws", "eu-central-1.amazonaws")
            file.write_text(text.replace("us-east-1_Example", POOL).replace("example-client-id", CLIENT))
        return file

    return copied


def stacks(scope: cdk.App) -> dict[str, cdk.Stack]:
    return {child.node.id: child for child in scope.node.children if isinstance(child, cdk.Stack)}


def test_the_pool_is_made_first(copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    scope = app()
    load("app").build(scope, copy(deployed=False))
    scope.synth()
    assert set(stacks(scope)) == {"Pool"}
    assert "cdk deploy Pool" in capsys.readouterr().err
    template = assertions.Template.from_stack(stacks(scope)["Pool"]).to_json()
    assert set(template["Outputs"]) == {"UserPoolId", "UserPoolClientId"}
    client = only(template, "AWS::Cognito::UserPoolClient")
    assert client["WriteAttributes"] == ["name"]
    assert "GenerateSecret" not in client


@pytest.mark.parametrize("left", ["us-east-1_Example", "example-client-id"])
def test_no_site_is_made_while_an_id_is_missing(
    left: str, copy: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = copy(deployed=False)
    text = file.read_text()
    for placeholder in {"us-east-1_Example", "example-client-id"} - {left}:
        text = text.replace(placeholder, "us-east-1_Real")
    file.write_text(text)
    scope = app()
    load("app").build(scope, file)
    assert set(stacks(scope)) == {"Pool"}
    assert f"stagedoor.toml still has {left}:" in capsys.readouterr().err


def test_a_custom_domain_needs_only_a_zone_and_a_name(
    copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDK_DEFAULT_ACCOUNT", "111111111111")
    module = load("app")
    module.__dict__.update(ZONE="example.com", DOMAIN="assets.example.com")
    scope = app()
    code = lambda_.Code.from_asset(str(EXAMPLE / "content"))
    module.build(scope, copy(deployed=True), keys=keys(), api=code)
    template = assertions.Template.from_stack(stacks(scope)["Site"]).to_json()
    assert distribution(template)["Aliases"] == ["assets.example.com"]
    assert len(of_type(template, "AWS::Route53::RecordSet")) == 2


@pytest.mark.parametrize(
    ("name", "pool", "says"),
    [
        ("app", POOL, "stagedoor.toml:1: nonsense"),
        ("import_app", "nonsense", "'nonsense' is not the id of a user pool"),
    ],
)
def test_a_mistake_is_reported_without_a_traceback(name: str, pool: str, says: str, copy: Callable[..., Path]) -> None:
    file = copy(deployed=True)
    file.write_text("nonsense = 1\n" + file.read_text())
    context = json.dumps({"bucket": "theirs", "pool": pool, "client": CLIENT})
    environ = {**os.environ, "CDK_CONTEXT_JSON": context, "JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION": "1"}
    done = subprocess.run(
        [sys.executable, f"{name}.py"], cwd=file.parent, env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert f"error: {says}" in done.stderr or (done.stderr.startswith("error: ") and says in done.stderr)
    assert "Traceback" not in done.stderr


def test_what_is_commented_out_works_when_it_is_not(copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    file = copy(deployed=True)
    text, count = re.subn(r"^# (?=\[|\w+ += )", "", file.read_text(), flags=re.MULTILINE)
    assert count == 8
    file.write_text(text)
    (file.parent / "stagedoor-mine.public.pem").write_bytes(pass_keys.new_pair("rsa").public)
    asked: list[str] = []

    def read(secret: str, region: str | None = None) -> bytes:
        assert region == "us-east-1"
        asked.append(secret)
        return b"x" * 64

    monkeypatch.setattr(aws, "read_secret", read)
    made = settings.load(file, {"STAGEDOOR_SITE_REGION": "us-east-1"})
    assert made.origins == {"https://app.example.com"}
    assert made.passes.key_id == "mine"
    assert made.session_keys == (b"x" * 64,)
    for secret in (
        *asked,
        made.passes.private_key,
    ):  # made by the commands beside them, and by those that `keys new` prints
        assert f"--name {str(secret).removeprefix('ssm:')}" in f"{text} --name /stagedoor/mine"


def test_then_the_site(copy: Callable[..., Path]) -> None:
    scope = app()
    code = lambda_.Code.from_asset(str(EXAMPLE / "content"))
    load("app").build(scope, copy(deployed=True), keys=keys(), api=code)
    scope.synth()  # cdk-nag raises for findings without a reason
    template = assertions.Template.from_stack(stacks(scope)["Site"]).to_json()
    assert {"BucketName", "SiteUrl", "RestApiUrl", "CatalogueUrl"} <= set(template["Outputs"])


def test_a_bucket_and_a_pool_that_are_there_already() -> None:
    context = {"bucket": "theirs", "pool": POOL, "client": CLIENT}
    scope = cdk.App(builtin_cloud_formation_validation=False, context=context)
    load("import_app").build(scope, keys=keys())
    scope.synth()
    template = assertions.Template.from_stack(stacks(scope)["Site"]).to_json()
    assert "BucketPolicyStatements" in template["Outputs"]
    assert not any("SiteAssets" in name for name in of_type(template, "AWS::S3::Bucket"))


def test_missing_context_is_asked_for() -> None:
    with pytest.raises(SystemExit, match="-c bucket="):
        load("import_app").build(app())


def test_init_writes_a_copy_and_nothing_over_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my-site"
    assert main(["init", "--aws", str(folder)]) == 0
    written = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert {"app.py", "stagedoor.toml", "content/pictures/shore.png"} <= set(written)
    assert all(content == (EXAMPLE / name).read_bytes() for name, content in written.items())
    steps = ["pip install '/path/to/stagedoor[cdk]'", "cdk bootstrap", "cdk deploy Pool", "cdk deploy Site"]
    _, _, instructions = capsys.readouterr().out.partition("next:")
    assert sorted(steps, key=instructions.index) == steps
    (folder / "stagedoor.toml").write_text("mine")
    assert main(["init", "--aws", str(folder)]) == 1
    assert "--force" in capsys.readouterr().err
    assert (folder / "stagedoor.toml").read_text() == "mine"


def test_the_wheel_has_all_that_init_copies() -> None:
    project = tomllib.loads((EXAMPLE.parents[1] / "pyproject.toml").read_text())
    taken = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert taken == {f"examples/aws/{name}": f"stagedoor/examples/aws/{name}" for name in AWS_APP}


def test_the_example_passes_check() -> None:
    assert settings.load(EXAMPLE / "stagedoor.toml", {}).warnings == ()


def test_requirements_name_no_package_that_is_not_released() -> None:
    """A stranger could register the name, and run code with the credentials of every owner who deploys."""
    lines = (EXAMPLE / "requirements.txt").read_text().splitlines()
    assert [line.partition("@")[2].strip()[:5] for line in lines if not line.startswith("#")] == ["file:"]


# --- the pages about it

BLOCKS = re.findall(r"^```python\n(.*?)```", DEPLOY, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_code_of_the_page_runs(
    number: int, copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the page says, each later block replaces the line of the first block that makes the site."""
    file = copy(deployed=True)
    monkeypatch.chdir(file.parent)
    pair = pass_keys.new_pair("rsa")
    (file.parent / "mine.pem").write_bytes(pair.public)
    passes = 'key_id = "mine"\nprivate_key = "ssm:/stagedoor/mine"\npublic_keys = { mine = "file:mine.pem" }'
    text = file.read_text()
    if 'door="passes"' in BLOCKS[number]:
        text = re.sub(r'\[\[rules\]\]\npath  = "public/\*\*"\nallow = "anyone"\n', "", text) + f"\n[passes]\n{passes}\n"
    file.write_text(text)
    (file.parent / "jwks.json").write_bytes(keys()[POOL_URL])
    published = defaultdict(lambda: keys()[POOL_URL], keys())
    site = functools.partial(constructs.PrivateAssetBucket, issuer_keys=published)
    code = lambda_.Code.from_asset(str(EXAMPLE / "content"))
    monkeypatch.setattr(constructs, "PrivateAssetBucket", site)
    monkeypatch.setattr(constructs, "ContentApi", functools.partial(constructs.ContentApi, code=code))
    before, line, after = re.split(r"^(site = .*\n)", BLOCKS[0], flags=re.MULTILINE)
    assert BLOCKS[number].count("\n") <= 8
    scope: dict[str, Any] = {}
    exec(f"{before}{BLOCKS[number] if number else line}", scope)
    template = assertions.Template.from_stack(scope["stack"]).to_json()
    assert only(template, "AWS::CloudFront::Distribution")
    assert after == "app.synth()\n"


def test_the_commands_of_the_page_add_to_a_buckets_policy_and_keep_the_rest(tmp_path: Path) -> None:
    (commands,) = [one for one in re.findall(r"```sh\n(.*?)```", DEPLOY, re.DOTALL) if "put-bucket-policy" in one]
    before = {"Version": "2012-10-17", "Statement": [{"Sid": "theirs"}]}
    (tmp_path / "aws").write_text(
        "#!/bin/sh\n"
        f"case \"$*\" in *get-bucket-policy*) echo '{json.dumps(before)}' ;;\n"
        '*describe-stacks*) echo \'[{"Sid": "ours"}]\' ;;\n'
        '*put-bucket-policy*) cp "${*##*file://}" put.json ;; esac\n'
    )
    (tmp_path / "aws").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-ec", commands], cwd=tmp_path, env=environ, check=True, timeout=300)
    put = json.loads((tmp_path / "put.json").read_text())
    assert put == {**before, "Statement": [{"Sid": "theirs"}, {"Sid": "ours"}]}


SHOWN = sorted(set(re.findall(r"`((?:\w+/)*test_\w+\.py)(?: -k (\"[^\"]+\"|\w+))?`", HOLDS)))


@pytest.mark.parametrize(("file", "words"), SHOWN)
def test_the_page_of_what_holds_names_tests_that_exist(file: str, words: str) -> None:
    names = re.findall(r"^(?:async )?def (test_\w+)", (ROOT / "tests" / file).read_text(encoding="utf-8"), re.MULTILINE)
    for word in words.strip('"').split(" or "):
        assert any(word in name for name in names), word
