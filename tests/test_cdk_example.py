"""The apps to copy: they make what their pages say, and nag has nothing to say about them."""

from __future__ import annotations

import importlib.util
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import aws_cdk as cdk
import pytest
from aws_cdk import assertions
from aws_cdk import aws_lambda as lambda_
from synth import CLIENT, POOL, app, keys, of_type, only

from stagedoor import settings
from stagedoor.cli import main
from stagedoor.cli.starter import AWS

pytestmark = pytest.mark.needs("node")

EXAMPLE = Path(__file__).parent.parent / "examples" / "aws"


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


def test_then_the_site(copy: Callable[..., Path]) -> None:
    scope = app()
    code = lambda_.Code.from_asset(str(EXAMPLE / "content"))
    load("app").build(scope, copy(deployed=True), keys=keys(), api=code)
    scope.synth()  # nag raises for what has no reason
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


def test_what_was_not_given_is_asked_for() -> None:
    with pytest.raises(SystemExit, match="-c bucket="):
        load("import_app").build(app())


def test_init_writes_a_copy_and_nothing_over_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "my-site"
    assert main(["init", "--aws", str(folder)]) == 0
    written = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert {"app.py", "stagedoor.toml", "content/pictures/shore.png"} <= set(written)
    assert all(content == (EXAMPLE / name).read_bytes() for name, content in written.items())
    (folder / "stagedoor.toml").write_text("mine")
    assert main(["init", "--aws", str(folder)]) == 1
    assert "--force" in capsys.readouterr().err
    assert (folder / "stagedoor.toml").read_text() == "mine"


def test_the_wheel_has_all_that_init_copies() -> None:
    project = tomllib.loads((EXAMPLE.parents[1] / "pyproject.toml").read_text())
    taken = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert taken == {f"examples/aws/{name}": f"stagedoor/examples/aws/{name}" for name in AWS}


def test_the_example_passes_check() -> None:
    assert settings.load(EXAMPLE / "stagedoor.toml", {}).warnings == ()
