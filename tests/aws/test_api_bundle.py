"""The zip of the function behind `/-/*`: what it holds, what it never holds, and that it needs nothing else to run."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.aws.api import bundle
from stagedoor.aws.api.bundle import BundleError, _toml, make_api_zip
from stagedoor.aws.packing import Bundle
from stagedoor.core.errors import SettingsError
from stagedoor.outside import aws
from stagedoor.settings import Settings, load
from tests.helpers import commands
from tests.helpers.serving import environment, prepare, settings_text
from tests.helpers.support import VECTORS
from tests.helpers.wheels import put_wheels

KEYS = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
STORE = 'store = "s3://bucket/site"'
MORE = """
[login]
page = "https://app.example.com/login"
client_secret = "file:client.secret"
session_keys = ["ssm:/site/session"]
[passes]
key_id = "K1"
private_key = "secretsmanager:site/private"
public_keys = { K1 = "file:keys/public.pem", K2 = "ssm:/site/public" }
[catalogue]
url = "dynamodb://contents"
[gateway]
listen = "0.0.0.0:1"
tls = { certificate = "stagedoor.toml", key = "stagedoor.toml" }
[cors]
origins = ["https://app.example.com"]
"""
NO_PRIVATE = MORE.replace('key_id = "K1"', "").replace('private_key = "secretsmanager:site/private"', "")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put_wheels(tmp_path_factory.mktemp("wheels"), small=True)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    (folder / "keys").mkdir(parents=True)
    prepare(folder)
    (folder / "keys/public.pem").write_text(KEYS["rsa"]["pub"])
    for name in ("client.secret", "session.key"):
        (folder / name).write_text("a secret of more than thirty-two bytes")
    (folder / "private.pem").write_text(KEYS["rsa"]["priv"])
    monkeypatch.setattr(aws, "read_secret", lambda *_: b"a session key of more than 32 bytes!")
    return folder


def saved(folder: Path, site: str = STORE, more: str = MORE, *, text: str = "") -> Settings:
    (folder / "stagedoor.toml").write_text(text or settings_text(site, more))
    return load(folder / "stagedoor.toml", {})


def names(made: Bundle) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        return archive.namelist()


def unpacked(made: Bundle, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        archive.extractall(folder)
    return folder


def test_the_function_reads_the_same_settings(site: Path, tmp_path: Path, wheels: Path) -> None:
    settings = saved(site)
    made = make_api_zip(settings, wheels=wheels, environ={})
    there = load(unpacked(made, tmp_path / "task") / "stagedoor.toml", {})
    assert there.policy.rules == settings.policy.rules
    assert (there.url, there.store, there.catalogue) == (settings.url, settings.store, settings.catalogue)
    assert (there.token_sources.order, there.origins, there.login_page) == (
        settings.token_sources.order,
        settings.origins,
        settings.login_page,
    )
    assert there.passes == settings.passes
    (one,), (other,) = there.issuers, settings.issuers
    assert (one.url, one.audience, one.algorithms) == (other.url, other.audience, other.algorithms)
    assert str(one.jwks).startswith((tmp_path / "task/files").as_uri())


def test_the_function_signs_no_one_in(site: Path, tmp_path: Path, wheels: Path) -> None:
    """Sign-in works at the gateway alone as yet, so its secrets stay at home."""
    text = settings_text(STORE, MORE).replace(
        "[[issuers]]", '[[issuers]]\nclient_id = "web"\nclient_secret = "file:client.secret"'
    )
    settings = saved(site, text=text)
    assert [client.id for client in settings.clients] == ["web"]
    task = unpacked(make_api_zip(settings, wheels=wheels, environ={}), tmp_path / "task")
    assert load(task / "stagedoor.toml", {}).clients == ()
    assert "client_secret" not in (task / "stagedoor.toml").read_text()


def test_the_same_settings_make_the_same_bytes(site: Path, wheels: Path) -> None:
    first = make_api_zip(saved(site), wheels=wheels, environ={})
    second = make_api_zip(saved(site), wheels=wheels, environ={})
    assert first == second
    other = make_api_zip(saved(site, STORE.replace("bucket", "other")), wheels=wheels, environ={})
    assert other.hash != first.hash


def test_it_holds_no_secret_and_neither_gateway_nor_commands(site: Path, wheels: Path) -> None:
    made = make_api_zip(saved(site), wheels=wheels, environ={})
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        ours = b"".join(archive.read(name) for name in archive.namelist() if not name.startswith("cryptography"))
    assert b"PRIVATE KEY-----\n" not in ours
    assert b"a secret of more" not in ours
    assert b"a session key of" not in ours
    tops = {"/".join(name.split("/")[:2]) for name in names(made)}
    assert not {"stagedoor/gateway", "stagedoor/cli", "stagedoor/demo", "stagedoor/cdk"} & tops
    assert not [name for name in names(made) if name.startswith(("boto", "pip", "typer"))]


SECRETS: dict[str, tuple[str, str]] = {
    "passes.private_key": ("secretsmanager:site/private", "file:private.pem"),
    "passes.passphrase": ("[passes]", '[passes]\npassphrase = "file:session.key"'),
    "login.session_keys": ("ssm:/site/session", "file:session.key"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_file_is_refused_unless_a_variable_replaces_it(site: Path, wheels: Path, name: str) -> None:
    change = SECRETS[name]
    more = MORE.replace(*change) if name != "passes.passphrase" else NO_PRIVATE.replace(*change)
    settings = saved(site, STORE, more)
    variable = "STAGEDOOR_" + name.replace(".", "_").upper()
    with pytest.raises(SettingsError, match=f"a secret does not go into the zip(.|\n)*{variable}") as caught:
        make_api_zip(settings, wheels=wheels, environ={})
    assert caught.value.setting == name
    assert caught.value.line is not None
    made = make_api_zip(settings, variables=frozenset((variable,)), wheels=wheels, environ={})
    with zipfile.ZipFile(io.BytesIO(made.content)) as archive:
        assert change[1].encode() not in archive.read("stagedoor.toml")


@pytest.mark.parametrize(
    ("site_table", "more", "name"),
    [
        ('store = "./files"', MORE, "site.store"),
        ('store = "memory:"', MORE, "site.store"),
        (STORE, MORE.replace("dynamodb://contents", "sqlite:///contents.db"), "catalogue.url"),
        (STORE, MORE.replace("session_keys", "# session_keys"), "login.session_keys"),
        (STORE, f'{MORE}\n[state]\nurl = "sqlite:///state.db"', "state.url"),
        (STORE, f'{MORE}\n[state]\nurl = "redis://127.0.0.1:1/0"', "state.url"),
    ],
)
def test_what_cannot_work_in_a_function_is_refused_when_the_zip_is_made(
    site: Path, wheels: Path, site_table: str, more: str, name: str
) -> None:
    settings = saved(site, site_table, more)
    with pytest.raises(SettingsError) as caught:
        make_api_zip(settings, wheels=wheels, environ={})
    assert caught.value.setting == name
    variable = "STAGEDOOR_" + name.replace(".", "_").upper()
    assert variable in str(caught.value)
    assert make_api_zip(settings, variables=frozenset((variable,)), wheels=wheels, environ={}).files


def test_variables_override_the_file_in_the_zip_too(site: Path, tmp_path: Path, wheels: Path) -> None:
    environ = {"STAGEDOOR_SITE_URL": "https://assets.example.com", "STAGEDOOR_SITE_STORE": "s3://real"}
    (site / "stagedoor.toml").write_text(settings_text('store = "./files"', MORE))
    made = make_api_zip(load(site / "stagedoor.toml", environ), wheels=wheels, environ=environ)
    there = load(unpacked(made, tmp_path / "task") / "stagedoor.toml", {})
    assert (there.url, there.store) == ("https://assets.example.com", "s3://real")


JSONISH = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSONISH)
def test_values_survive_being_written_as_toml(value: object) -> None:
    assert tomllib.loads(f"value = {_toml(value)}") == {"value": value}


# --- it runs on its own


def test_it_runs_with_the_runtimes_botocore_and_nothing_else(site: Path, tmp_path: Path) -> None:
    """No folder of installed packages is on the path, so the zip holds everything else that it imports."""
    settings = saved(site, "", "[passes]\npublic_keys = { K1 = 'file:keys/public.pem' }")
    made = make_api_zip(settings, wheels=put_wheels(tmp_path / "wheels"), environ={})
    task, runtime = unpacked(made, tmp_path / "task"), tmp_path / "runtime"
    runtime.mkdir()
    for package in ("botocore", "jmespath", "dateutil", "urllib3", "six"):
        spec = find_spec(package)
        assert spec is not None
        origin = Path(spec.origin or "")
        (runtime / (origin.name if origin.name == "six.py" else package)).symlink_to(
            origin if origin.name == "six.py" else origin.parent
        )
    code = f"""
import sys
sys.path[:0] = [{str(task)!r}, {str(runtime)!r}]
import json
sys.path.insert(0, {str(Path(__file__).parents[1] / "helpers")!r})
from http_api import event
from {bundle.HANDLER.rpartition(".")[0]} import handler
answers = [handler(event(target)) for target in ("/-/whoami", "/-/openapi.json", "/-/explain?key=a")]
heavy = [m for m in sys.modules if m.split(".")[0] in ("aiobotocore", "aiohttp", "asyncio", "httpx", "rich", "typer")]
print(json.dumps([[answer["statusCode"] for answer in answers], heavy]))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code],
        capture_output=True,
        text=True,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[200, 200, 401], []]
    assert json.loads(done.stdout.splitlines()[0])["bundle"] == made.hash


def test_it_fits_into_a_function(site: Path, tmp_path: Path) -> None:
    made = make_api_zip(saved(site), wheels=put_wheels(tmp_path / "wheels"), environ={})
    assert len(made.content) < 10 * 1_048_576
    assert sum(made.files.values()) < bundle.MAX_UNPACKED_BYTES


# --- wheels


def test_pip_downloads_the_releases_that_run_here(site: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    settings = saved(site)
    assert make_api_zip(settings, environ={}) == make_api_zip(settings, wheels=wheels, environ={})


def test_wheels_that_cannot_be_downloaded_are_named(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(BundleError, match="pip could not get cryptography=="):
        make_api_zip(saved(site), environ={})


def test_a_wheel_for_another_processor_is_not_used(site: Path, wheels: Path) -> None:
    with pytest.raises(BundleError, match="0 wheels of cryptography for x86_64"):
        make_api_zip(saved(site), architecture="x86_64", wheels=wheels, environ={})


# --- the command


def test_the_command_writes_the_zip_and_says_what_to_upload(
    site: Path, tmp_path: Path, wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(site)
    out, file = tmp_path / "dist", site / "stagedoor.toml"
    said = commands.say(capsys, "bundle", "api", "--settings", str(file), "--out", str(out), "--wheels", str(wheels))
    assert said.code == 0, said.err
    assert bundle.HANDLER in said.out
    assert zipfile.is_zipfile(out / "api.zip")
