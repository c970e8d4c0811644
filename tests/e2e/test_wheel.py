"""What users install: the wheel, made from the source distribution, in an environment with the pinned requirements."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.helpers.servers import HOST, SOURCE, Server, environment, free_port

ROOT = SOURCE.parent
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


class Built(NamedTuple):
    wheel: Path
    sdist: Path


class Installed(NamedTuple):
    """The environment of somebody who has the wheel and nothing of the source."""

    python: Path
    stagedoor: Path
    home: Path

    @property
    def env(self) -> dict[str, str]:
        env = environment(self.home, PATH=f"{self.stagedoor.parent}:{os.environ['PATH']}")
        del env["PYTHONPATH"]
        return env

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.home, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _run(*command: str | Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _uv() -> str:
    """The one that requirements/install takes, too."""
    found = shutil.which("uv", path=f"{os.environ['PATH']}:{Path(sys.executable).parent}")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv/bin/python"
    pinned = ROOT / "requirements/runtime.txt"
    _run(_uv(), "pip", "install", "--quiet", "--python", python, "--require-hashes", "--no-deps", "-r", pinned)
    _run(*PIP, "--python", python, "install", "--no-deps", built.wheel)
    home = folder / "home"
    home.mkdir()
    return Installed(python, python.with_name("stagedoor"), home)


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    about = f"stagedoor-{VERSION}.dist-info"
    package = {name for name in names if not name.startswith(about)}
    source = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "stagedoor").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    example = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "examples/aws").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package == source | {f"stagedoor/{name}" for name in example}
    assert {"stagedoor/py.typed", "stagedoor/demo/files/users/ann/lanterns.png", f"{about}/licenses/LICENSE"} <= names


def test_the_source_distribution_can_be_tested_and_carries_no_litter(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "src/stagedoor/core/door.py",
        "tests/helpers/support.py",
        "tests/e2e/package-lock.json",
        "LICENSE",
        "README.md",
    } <= names
    litter = ("node_modules", "__pycache__", ".venv", ".mypy_cache")
    assert [name for name in names if any(part in litter for part in name.split("/"))] == []


def test_the_pinned_requirements_are_all_it_needs(installed: Installed) -> None:
    _run(*PIP, "--python", installed.python, "check")
    where = installed.run(str(installed.python), "-c", "import stagedoor; print(stagedoor.__file__)")
    assert Path(where.strip()).is_relative_to(installed.python.parents[1])
    assert installed.run("stagedoor", "--version") == f"stagedoor {VERSION}\n"


def test_every_public_name_is_there(installed: Installed) -> None:
    installed.run(str(installed.python), "-W", "error", "-c", "from stagedoor import *; print(Gateway, load_settings)")


def test_init_check_serve(installed: Installed) -> None:
    address = f"{HOST}:{free_port()}"
    issuer, nobody = f"http://{HOST}:{free_port()}", ("--audience", "web", "--yes")
    said = installed.run(
        "stagedoor", "init", "site", "--store", "site/assets", "--issuer", issuer, "--listen", address, *nobody
    )
    assert "stagedoor serve --settings site/stagedoor.toml" in said
    settings = ("--settings", "site/stagedoor.toml")
    assert installed.run("stagedoor", "check", *settings).endswith("fine\n")
    server = Server(["stagedoor", "serve", *settings], installed.home, installed.env, "serve")
    try:
        server.until(lambda: "listening on" in server.err)
        with httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
            opened = client.get("/public/hello.txt")
            assert (opened.status_code, opened.text) == (200, "hello from behind the stage door\n")
            assert client.get("/users/ann/a.txt").status_code == 401
    finally:
        code = server.stop()
    assert code in (0, -signal.SIGTERM)


def test_init_aws_copies_an_app(installed: Installed) -> None:
    installed.run("stagedoor", "init", "--aws", "my-site")
    copied = {path.name: path for path in (installed.home / "my-site").iterdir()}
    assert {".gitignore", "app.py", "cdk.json", "stagedoor.toml"} <= set(copied)
    assert os.access(copied["try-on-a-real-account.sh"], os.X_OK)


def test_demo(installed: Installed) -> None:
    port = free_port()
    demo = Server(["stagedoor", "demo", "--port", str(port), "--no-browser"], installed.home, installed.env, "demo")
    try:
        demo.until(lambda: "Ctrl-C" in demo.out)
        with httpx.Client(base_url=f"http://{HOST}:{port}", trust_env=False) as client:
            assert "Stagedoor demo" in client.get("/").text
            assert client.get("/public/harbour.png").headers["content-type"] == "image/png"
            assert client.get("/users/ann/notes.md").status_code == 401
    finally:
        code = demo.stop()
    assert (code, demo.err) == (0, "")
