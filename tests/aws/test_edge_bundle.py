"""The zip of the edge functions: what it holds, what it never holds, what is refused, and what the command prints."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stagedoor.aws import packing
from stagedoor.aws.edge import bundle
from stagedoor.core.errors import SettingsError
from stagedoor.core.session import signing_key
from stagedoor.keys.pass_keys import new_pair
from stagedoor.settings import parse
from tests.helpers import commands
from tests.helpers.cloudfront import Edge, event, unpacked
from tests.helpers.commands import Said
from tests.helpers.support import ISSUER, KEYS_URL, NOW, SESSION_KEY, bearer, ec_signer, key_set, rsa_signer, token

KEYS = {ISSUER: key_set(rsa_signer())}
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
TEXT = f"""[site]
url = "https://assets.example.com"

[[issuers]]
issuer = "{ISSUER}"
audience = ["my-client-id"]
jwks = "{KEYS_URL}"

[[rules]]
path = "users/{{sub}}/**"
allow = "signed-in"

[[rules]]
path = "courses/**"
allow = {{ groups = ["students"], issuer = ["{ISSUER}"], emails = ["@example.com"], claims = {{ plan = ["pro"] }} }}
"""
PASSES = '\n[passes]\npublic_keys = { K1 = "env:PUBLIC" }\n'


def make(text: str = TEXT, **environ: str) -> packing.Bundle:
    return bundle.make(parse(text, None, environ), KEYS)


def archive(made: packing.Bundle) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(made.content))


def inside_file(path: str) -> bytes:
    with zipfile.ZipFile(path) as file:
        return file.read("config.json")


def config(made: packing.Bundle) -> str:
    return archive(made).read("config.json").decode()


# --- what it holds


def test_it_is_small_and_the_same_settings_make_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "RUNTIME", HERE)
    first = make()
    assert first.compiled
    assert len(first.content) < 300_000
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert make() == first
    assert make(TEXT.replace("[[rules]]", "# nothing new\n[[rules]]", 1)) == first
    assert make(TEXT.replace("courses", "lessons")).hash != first.hash


def test_it_holds_only_what_is_needed() -> None:
    names = {name for name in make().files if name.endswith(".py")}
    assert names == {
        f"stagedoor/{name}.py"
        for name in (
            *("__init__", "aws/__init__", "aws/events", "core/__init__", "outside/__init__", "pages/__init__"),
            *(f"aws/edge/{name}" for name in ("__init__", "config", "event", "lambda_function")),
            *(
                f"core/{name}"
                for name in (
                    "caller",
                    "callers",
                    "cookies",
                    "credentials",
                    "door",
                    "drivers",
                    "errors",
                    "issuers",
                    "jose",
                )
            ),
            *(f"core/{name}" for name in ("messages", "parameters", "paths", "replies", "rsa", "session", "tokens")),
            *(
                f"core/policy/{name}"
                for name in ("__init__", "decide", "denies", "floating", "globs", "patterns", "rules", "tree")
            ),
            *(f"core/passes/{name}" for name in ("__init__", "terms", "verify", "wildcards")),
            *("outside/fetch_sync", "pages/error", "pages/layout", "pages/sign_in"),
        )
    }
    others = set(make().files) - names
    assert all(name == "config.json" or name.endswith(".pyc") for name in others)


def test_nothing_but_the_standard_library_is_imported() -> None:
    made = make()
    for name in made.files:
        if name.endswith(".py"):
            for node in ast.walk(ast.parse(archive(made).read(name))):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    modules = [node.module or ""]
                assert {module.split(".")[0] for module in modules} <= {*sys.stdlib_module_names, "__future__"}, name


def test_a_start_imports_nothing_that_a_decision_does_not_need(tmp_path: Path) -> None:
    """`inspect` (through dataclasses) alone takes more processor time than all of the core; `hmac` is for sessions."""
    archive(make()).extractall(tmp_path)
    heavy = {"asyncio", "dataclasses", "hmac", "html", "http", "inspect", "pathlib", "ssl", "threading"}
    script = (
        f"import sys, stagedoor.aws.edge.lambda_function as f; print(sorted({heavy} & set(sys.modules)), f.__file__)"
    )
    # -S: an editable installation imports some of these itself
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == f"[] {tmp_path}/stagedoor/aws/edge/lambda_function.py"


def test_all_users_may_read_the_files_and_none_has_a_date() -> None:
    for entry in archive(make()).infolist():
        assert (entry.external_attr >> 16) & 0o777 == 0o644
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)


def test_bytecode_is_for_the_runtime_and_is_used_without_checking_the_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packing, "RUNTIME", HERE)
    made = make()
    tag = f"cpython-{HERE.replace('.', '')}"
    sources = [name for name in made.files if name.endswith(".py")]
    for name in sources:
        parent, _, file = name.rpartition("/")
        raw = archive(made).read(f"{parent}/__pycache__/{file[:-3]}.{tag}.pyc")
        assert raw[4:8] == b"\x01\x00\x00\x00", "unchecked-hash (PEP 552)"
        assert f"/var/task/{name}".encode() in raw, "tracebacks name the paths that files have at AWS"
    folder = unpacked(made.content, tmp_path)
    (folder / "stagedoor/aws/edge/event.py").write_text("raise ImportError")
    code = "import stagedoor.aws.edge.lambda_function as made; print(made.objects({})['status'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n400\n")


def test_without_the_runtimes_python_it_has_no_bytecode_and_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packing, "RUNTIME", "2.6")
    made = make()
    assert not made.compiled
    assert not any(name.endswith(".pyc") for name in made.files)
    edge = Edge(unpacked(made.content, tmp_path), NOW)
    assert edge.objects(event("/users/ann/a", authorization=bearer(token())))["uri"] == "/users/ann/a"


# --- secrets


def test_it_holds_no_secret_but_session_keys() -> None:
    pair = new_pair("rsa")
    secrets = {
        "SECRET": "the client secret",
        "PRIVATE": pair.private.decode(),
        "PUBLIC": pair.public.decode(),
        "SESSION": SESSION_KEY.decode(),
    }
    text = (
        TEXT
        + '\n[passes]\nkey_id = "K1"\nprivate_key = "env:PRIVATE"\npublic_keys = { K2 = "env:PUBLIC" }\n'
        + '[login]\nclient_secret = "env:SECRET"\n'
    )
    made = make(text, **secrets)
    assert not made.secret
    assert json.loads(config(made))["sessions"] is None
    assert set(json.loads(config(made))["passes"]) == {"K1", "K2"}
    assert all(set(key) == {"kty", "n", "e"} for key in json.loads(config(made))["passes"].values())
    assert "client secret" not in config(made)
    made = make(text + 'session_keys = ["env:SESSION"]\n', **secrets)
    assert made.secret
    assert SESSION_KEY.hex() not in config(made)
    assert signing_key(SESSION_KEY).hex() in config(made)
    assert "PRIVATE" not in config(made)


def test_the_private_key_is_not_read_where_its_public_half_is_named() -> None:
    """The person who bundles need not be allowed to sign."""
    text = TEXT + '\n[passes]\nkey_id = "K1"\nprivate_key = "ssm:/never/asked"\npublic_keys = { K1 = "env:PUBLIC" }\n'
    assert '"K1"' in config(make(text, PUBLIC=new_pair("rsa").public.decode()))


# --- what the edge cannot do


def refusal(text: str, folder: Path, **environ: str) -> SettingsError:
    file = folder / "stagedoor.toml"
    file.write_text(text)
    settings = parse(text, file, environ)
    with pytest.raises(SettingsError) as caught:
        bundle.make(settings, KEYS)
    return caught.value


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "PS256"])
def test_an_issuer_whose_keys_cannot_be_checked_is_refused(tmp_path: Path, algorithm: str) -> None:
    text = TEXT.replace("jwks =", f'algorithms = ["RS256", "{algorithm}"]\njwks =')
    error = refusal(text, tmp_path)
    assert (error.setting, error.line) == ("issuers[0].algorithms", 7)
    assert error.source == str(tmp_path / "stagedoor.toml")
    assert algorithm in error.problem
    assert error.mend.startswith('algorithms = ["RS256"], if')
    (mended,) = re.findall(r"algorithms = \[.*?\]", error.mend)
    edge = Edge(unpacked(make(TEXT.replace("jwks =", f"{mended}\njwks =")).content, tmp_path / "edge"), NOW)
    assert edge.objects(event("/users/ann/a", authorization=bearer(token())))["uri"] == "/users/ann/a"


def test_an_issuer_none_of_whose_keys_can_be_checked_is_refused_with_the_way_out(tmp_path: Path) -> None:
    error = refusal(TEXT.replace("jwks =", 'algorithms = ["ES256", "EdDSA"]\njwks ='), tmp_path)
    assert "ES256, EdDSA" in error.problem
    assert "sign with RS256" in error.mend
    assert "the passes door" in error.mend


def test_keys_of_passes_on_curves_are_refused(tmp_path: Path) -> None:
    error = refusal(TEXT + PASSES, tmp_path, PUBLIC=new_pair("ec").public.decode())
    assert (error.setting, error.line) == ("passes.public_keys", 18)
    assert "K1" in error.problem
    own = '\n[passes]\nkey_id = "K9"\nprivate_key = "env:PRIVATE"\n'
    error = refusal(TEXT + own, tmp_path, PRIVATE=new_pair("ec").private.decode())
    assert (error.setting, error.line) == ("passes.private_key", 19)


def test_a_fallback_is_refused(tmp_path: Path) -> None:
    error = refusal(TEXT.replace("\n\n", '\nfallback = "index.html"\n\n', 1), tmp_path)
    assert (error.setting, error.line) == ("site.fallback", 3)


def test_a_site_that_is_not_https_is_refused(tmp_path: Path) -> None:
    error = refusal(TEXT.replace("https://assets.example.com", "http://127.0.0.1:8080"), tmp_path)
    assert (error.setting, error.line) == ("site.url", 2)


def test_no_zip_is_made_that_cloudfront_would_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_ZIP_BYTES", 20_000)
    with pytest.raises(SettingsError, match="CloudFront takes 20,000"):
        make()


@pytest.mark.parametrize("more", ['"issued":1e999', '"x":"\\ud800"'])
def test_a_key_set_that_cannot_be_serialised_again_works_as_it_was_published(tmp_path: Path, more: str) -> None:
    document = key_set(rsa_signer()).decode().replace("{", "{" + more + ",", 1).encode()
    made = bundle.make(parse(TEXT, None, {}), {ISSUER: document})
    assert Edge(unpacked(made.content, tmp_path), NOW).objects(event("/users/ann/a", authorization=bearer(token())))


def test_published_keys_that_do_not_fit_the_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"issuers\[0\]"):
        bundle.make(parse(TEXT), {ISSUER: key_set(ec_signer())})


# --- the command


@pytest.fixture
def bundle_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    commands.stage(tmp_path, monkeypatch)
    (tmp_path / "stagedoor.toml").write_text(TEXT)
    return lambda *words: commands.say(capsys, "bundle", *words)


def test_the_command_fetches_the_keys_and_says_what_to_do_next(bundle_command: Callable[..., Said]) -> None:
    said = bundle_command("edge", "--out", "build")
    assert said.code == 0
    content = Path("build/edge.zip").read_bytes()
    assert hashlib.sha256(content).hexdigest() in said.out
    assert f"{len(content):,} bytes" in said.out
    assert bundle.OBJECTS in said.out
    assert bundle.API in said.out
    assert "next: " in said.err
    assert "session cookies count for nothing" in said.err
    inside = json.loads(inside_file("build/edge.zip"))
    assert [issuer["keys"] for issuer in inside["issuers"]] == [key_set(rsa_signer()).decode()]


def test_it_says_whether_there_is_bytecode(
    bundle_command: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "RUNTIME", "2.6")
    assert "no python2.6 was found" in bundle_command("edge").err
    monkeypatch.setattr(packing, "RUNTIME", HERE)
    assert "was found" not in bundle_command("edge").err


def test_it_says_that_session_keys_are_inside_and_keeps_them_from_others(
    bundle_command: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("stagedoor.toml").write_text(TEXT + '\n[login]\nsession_keys = ["env:SESSION"]\n')
    monkeypatch.setenv("SESSION", SESSION_KEY.decode())
    Path("dist").mkdir()
    Path("dist/edge.zip").touch(0o666)
    said = bundle_command("edge")
    assert "session keys are in the zip" in said.err
    assert stat.S_IMODE(Path("dist/edge.zip").stat().st_mode) & 0o077 == 0
    assert SESSION_KEY.decode() not in said.out + said.err


@pytest.mark.parametrize(("login", "said"), [('client_id = "app"', True), ('session = "1h"', False)])
def test_it_says_that_nobody_signs_in_on_aws(bundle_command: Callable[..., Said], login: str, said: bool) -> None:
    Path("stagedoor.toml").write_text(f"{TEXT}\n[login]\n{login}\n")
    assert (packing.NO_SIGN_IN in " ".join(bundle_command("edge").err.split())) is said


def test_json_holds_the_same(bundle_command: Callable[..., Said]) -> None:
    printed = json.loads(bundle_command("edge", "--json", "--cloudfront-domain").out)
    content = Path(printed["zip"]).read_bytes()
    assert printed["bytes"] == len(content)
    assert printed["sha256"] == hashlib.sha256(content).hexdigest()
    assert printed["handlers"] == {"objects": bundle.OBJECTS, "api": bundle.API}
    assert printed["secret"] is False
    inside = json.loads(inside_file(printed["zip"]))
    assert inside["url"] is None
    assert inside["hash"] == printed["config"]


def test_an_issuer_that_does_not_answer_stops_it(bundle_command: Callable[..., Said]) -> None:
    Path("stagedoor.toml").write_text(TEXT.replace(KEYS_URL, "https://away.example/keys"))
    said = bundle_command("edge")
    assert said.code == 1
    assert "https://away.example/keys" in said.err
    assert "stagedoor check --online" in said.err
    assert not Path("dist").exists()


def test_a_setting_that_the_edge_cannot_obey_is_named_with_its_line(bundle_command: Callable[..., Said]) -> None:
    Path("stagedoor.toml").write_text(TEXT.replace("\n\n", '\nfallback = "index.html"\n\n', 1))
    said = bundle_command("edge")
    assert said.code == 1
    assert "stagedoor.toml:3: site.fallback: the edge cannot know" in said.err
    assert not Path("dist").exists()
