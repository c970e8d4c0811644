"""`stagedoor keys`: the files it writes, what it never prints, and that its own plan for a rotation refuses no one."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stagedoor.cli import main
from stagedoor.core.door import Door
from stagedoor.core.drivers import run
from stagedoor.core.messages import Serve
from stagedoor.core.passes.signer import Signer
from stagedoor.keys.pass_keys import is_pair, load_signer, read_private, read_public
from stagedoor.outside import aws
from stagedoor.settings import load, parse
from stagedoor.settings.site import make_door
from tests.helpers import commands
from tests.helpers.commands import Said
from tests.helpers.support import NOW, VECTORS, request

KEYS = json.loads((VECTORS / "cloudfront/keys.json").read_text("utf-8"))
SITE = '[site]\nurl = "https://assets.example.com"\nstore = "./assets"\n'
RULES = '[[rules]]\npath = "team/**"\nallow = { claims = { plan = ["pro"] } }\n'
URL = "https://assets.example.com/team/a.txt"

Command = Callable[..., Said]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return commands.stage(tmp_path, monkeypatch)


@pytest.fixture
def stagedoor(stage: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return lambda *words: commands.say(capsys, *words)


def write(stage: Path, passes: str, name: str = "stagedoor.toml") -> None:
    (stage / name).write_text(f"{SITE}{passes}\n{RULES}")


def as_json(said: Said) -> dict[str, Any]:
    assert said.code == 0, said.err
    facts: dict[str, Any] = json.loads(said.out)
    return facts


# --- files


@pytest.mark.parametrize("options", [(), ("--type", "ec"), ("--der",), ("--type", "ec", "--der")])
def test_a_new_pair_fits_together_and_signs(options: tuple[str, ...], stagedoor: Command) -> None:
    facts = as_json(stagedoor("keys", "new", "--json", *options))
    private, public = Path(facts["private"]).read_bytes(), Path(facts["public"]).read_bytes()
    assert is_pair(read_private(private), read_public(public))
    assert read_public(facts["publicKey"]) == read_public(public)
    assert private.startswith(b"-----BEGIN") == ("--der" not in options)
    assert facts["type"] == ("ec" if "ec" in options else "rsa")
    assert f"Key-Pair-Id={facts['id']}" in load_signer(facts["id"], private).url(URL, int(NOW) + 60)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_only_its_owner_reads_the_private_key_from_the_first_moment_on(
    umask: int, stage: Path, stagedoor: Command
) -> None:
    before = os.umask(umask)
    try:
        as_json(stagedoor("keys", "new", "--type", "ec", "--json", "--id", "x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((stage / "stagedoor-x.private.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((stage / "stagedoor-x.public.pem").stat().st_mode) == 0o644 & ~umask


def secret_parts(path: Path) -> list[str]:
    """Pieces of a private key in every form that it could be printed in."""
    raw = path.read_bytes()
    key = read_private(raw)
    texts = [raw.decode("latin-1"), base64.b64encode(raw).decode(), raw.hex()]
    numbers: Any = key.private_numbers()
    number = numbers.d if hasattr(numbers, "d") else numbers.private_value
    lines = [line for text in texts for line in text.splitlines() if "-----" not in line]
    return [str(number), f"{number:x}", *(line[at : at + 24] for line in lines for at in range(24, len(line) - 24, 24))]


@pytest.mark.parametrize("options", [(), ("--json",), ("--type", "ec"), ("--der", "--type", "ec", "--json")])
def test_no_command_shows_the_private_key(options: tuple[str, ...], stage: Path, stagedoor: Command) -> None:
    ending = "der" if "--der" in options else "pem"
    write(stage, f'[passes]\nkey_id = "a"\nprivate_key = "file:stagedoor-a.private.{ending}"')
    said = [
        stagedoor("keys", "new", "--id", "a", *options),
        stagedoor("keys", "rotate", "--id", "b", *options),
        stagedoor("keys", "new", "--id", "a", *options),
        stagedoor("keys", "rotate", "--id", "b", *options),
        stagedoor("sign", "url", "team/a.txt"),
        stagedoor("sign", "cookies", "team/"),
        stagedoor("check"),
        stagedoor("check", "--online", "--json"),
    ]
    text = "".join(one.out + one.err for one in said)
    assert "BEGIN PRIVATE" not in text
    for name in ("a", "b"):
        parts = secret_parts(stage / f"stagedoor-{name}.private.{ending}")
        assert len(parts) > 4
        assert not [part for part in parts if part in text]


@pytest.mark.parametrize("there", ["stagedoor-x.private.pem", "stagedoor-x.public.pem"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_nothing_is_written_over_and_no_half_pair_stays(there: str, kind: str, stage: Path, stagedoor: Command) -> None:
    other = stage / "other"
    if kind == "file":
        (stage / there).write_text("mine")
    else:
        (stage / there).symlink_to(other)
    if kind == "link":
        other.write_text("mine")
    said = stagedoor("keys", "new", "--type", "ec", "--id", "x")
    assert (said.code, said.out) == (1, "")
    assert f"{there} exists already" in said.err
    assert [path.name for path in stage.glob("stagedoor-*")] == [there]
    assert (stage / there).exists() == (kind != "dangling link")
    assert not other.exists() or other.read_text() == "mine"


def test_a_full_disk_leaves_no_half_pair(stage: Path, stagedoor: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    fdopen, opened = os.fdopen, list[int]()

    def second_fails(descriptor: int, mode: str) -> Any:
        opened.append(descriptor)
        if len(opened) < 2:
            return fdopen(descriptor, mode)
        os.close(descriptor)
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fdopen", second_fails)
    said = stagedoor("keys", "new", "--type", "ec", "--id", "x")
    assert said.code == 1
    assert "stagedoor-x.public.pem cannot be written: No space left on device" in said.err
    assert not list(stage.glob("stagedoor-*"))


@pytest.mark.parametrize(
    ("store", "folder"),
    [
        ("./assets", "assets"),
        ("assets", "assets/keys"),
        (".", "."),
        ("file:{stage}/assets", "assets"),
        ("./assets", "linked"),
        ("./linked", "assets"),
    ],
)
def test_keys_are_not_put_where_the_site_would_serve_them(
    store: str, folder: str, stage: Path, stagedoor: Command
) -> None:
    (stage / "assets/keys").mkdir()
    (stage / "linked").symlink_to(stage / "assets")
    text = SITE.replace("./assets", store.format(stage=stage)) + '[passes]\nkey_id = "not yet"\n'
    (stage / "stagedoor.toml").write_text(text)
    said = stagedoor("keys", "new", "--type", "ec", folder)
    assert said.code == 2
    assert "the site serves what is in" in said.err
    assert not list(stage.rglob("stagedoor-*"))


def test_the_store_of_the_environment_counts_too(
    stage: Path, stagedoor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEDOOR_SITE_STORE", str(stage / "assets"))
    assert stagedoor("keys", "new", "assets").code == 2
    assert stagedoor("keys", "new").code == 0


def test_settings_that_cannot_be_read_keep_keys_from_being_made(stage: Path, stagedoor: Command) -> None:
    (stage / "stagedoor.toml").write_text("[site\n")
    said = stagedoor("keys", "new")
    assert said.code == 1
    assert "not valid TOML" in said.err
    (stage / "stagedoor.toml").write_bytes(b"\xff")
    said = stagedoor("keys", "new")
    assert said.code == 2
    assert "it is not UTF-8 text" in said.err
    assert not list(stage.glob("stagedoor-*"))


@pytest.mark.parametrize("id_", ["../x", "a b", "", "x" * 129, "ö", "x\n"])
def test_an_id_cannot_lead_elsewhere(id_: str, stage: Path, stagedoor: Command) -> None:
    said = stagedoor("keys", "new", "--id", id_)
    assert said.code == 2
    assert "cannot be the id of a key" in said.err
    assert not list(stage.rglob("*.private.*"))


# --- what to put where


@pytest.mark.parametrize(
    ("settings", "folder", "place"),
    [
        ("stagedoor.toml", ".", "stagedoor-x.private.pem"),
        ("stagedoor.toml", "keys", "keys/stagedoor-x.private.pem"),
        ("site/own.toml", "site/keys", "keys/stagedoor-x.private.pem"),
        ("site/own.toml", "keys", "{stage}/keys/stagedoor-x.private.pem"),
    ],
)
def test_the_settings_that_are_shown_are_accepted(
    settings: str, folder: str, place: str, stage: Path, stagedoor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("keys", "site/keys"):
        (stage / name).mkdir(parents=True)
    text = '[site]\nurl = "https://assets.example.com"\n'
    (stage / settings).write_text(text)
    monkeypatch.setenv("STAGEDOOR_SETTINGS", settings)
    facts = as_json(stagedoor("keys", "new", "--type", "ec", "--id", "x", "--json", folder))
    shown = tomllib.loads(facts["settings"])["passes"]
    assert shown == {"key_id": "x", "private_key": f"file:{place.format(stage=stage)}"}
    assert (stage / settings).read_text() == text
    (stage / settings).write_text(text + facts["settings"])
    assert load().passes.key_id == "x"
    assert main(["sign", "url", "a"]) == 0


def test_without_settings_paths_are_those_of_settings_beside_the_keys(stage: Path, stagedoor: Command) -> None:
    facts = as_json(stagedoor("keys", "new", "--id", "x", "--json"))
    assert tomllib.loads(facts["settings"])["passes"]["private_key"] == "file:stagedoor-x.private.pem"


def test_a_site_that_has_a_key_is_pointed_to_rotate(stage: Path, stagedoor: Command) -> None:
    write(stage, '[passes]\nkey_id = "now"\nprivate_key = "file:not-there-yet.pem"')
    assert "stagedoor keys rotate" in stagedoor("keys", "new", "--type", "ec", "--id", "next").err
    assert "stagedoor keys rotate" not in stagedoor("keys", "new", "--type", "ec", "--id", "now").err


@pytest.mark.parametrize("options", [(), ("--der",)])
def test_the_commands_for_aws_hand_on_the_keys_as_text(
    options: tuple[str, ...], stage: Path, stagedoor: Command
) -> None:
    """Run by a shell, with a program instead of `aws` that prints its arguments and the files that they name."""
    (stage / "a b").mkdir()
    facts = as_json(stagedoor("keys", "new", "--id", "x", "--json", "a b", *options))
    (stage / "bin").mkdir()
    (stage / "bin/aws").write_text(
        '#!/bin/sh\nfor one in "$@"; do printf \'%s\\0\' "$one"; done\n'
        'case "$*" in *file:///dev/stdin) cat;; *file://*) cat "${*##*file://}";; esac\n'
    )
    (stage / "bin/aws").chmod(0o700)

    def given(command: str) -> list[str]:
        environ = {**os.environ, "PATH": f"{stage / 'bin'}:{os.environ['PATH']}"}
        return subprocess.run(
            ["sh", "-c", command], env=environ, capture_output=True, text=True, check=True
        ).stdout.split("\0")

    *_, config, _ = given(facts["cloudfront"])
    key = facts["publicKey"].strip()
    assert config == f"CallerReference=x,Name=stagedoor-x,EncodedKey='{key}'"
    *words, stored = given(facts["ssm"])
    assert words[:6] == ["ssm", "put-parameter", "--type", "SecureString", "--region", "us-east-1"]
    assert words[6:8] == ["--name", "/stagedoor/x"]
    assert is_pair(read_private(stored), read_public(key))


# --- rotation


def door(stage: Path, passes: str) -> Door:
    return make_door(parse(f"{SITE}{passes}\n{RULES}", stage / "stagedoor.toml", {}))


def signer(stage: Path, passes: str) -> Signer:
    """What a gateway with these settings signs with."""
    own = parse(f"{SITE}{passes}", stage / "stagedoor.toml", {}).passes
    assert own.key_id is not None
    assert own.private_key is not None
    return load_signer(own.key_id, own.private_key, passphrase=own.passphrase, hash=own.hash)


def opens(gateway: Door, url: str, now: float) -> bool:
    def nothing(wish: object) -> Any:
        raise AssertionError(f"the door asked for {wish}")

    path = url.removeprefix("https://assets.example.com")
    return isinstance(run(gateway.answer(request(path), now), nothing), Serve)


STARTS = {
    "without public_keys": (KEYS["rsa"], "", ""),
    "with public_keys": (KEYS["rsa"], "", 'public_keys = { K1 = "file:K1.public.pem" }'),
    "with others beside": (KEYS["rsa"], "", 'public_keys = { K0 = "file:K0.pem", K1 = "file:K1.public.pem" }'),
    "with others but its own": (KEYS["rsa"], "", 'public_keys = { K0 = "file:K0.pem" }'),
    "EC": (KEYS["ec"], "", ""),
    "with a passphrase": (KEYS["rsa_enc"], 'passphrase = "file:passphrase"', ""),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_rotation_refuses_no_one(name: str, stage: Path, stagedoor: Command) -> None:
    """Every pass opens until it ends, also at gateways that are one step behind or ahead."""
    key, passphrase, public = STARTS[name]
    (stage / "keys").mkdir()
    (stage / "keys/K1.pem").write_text(key["priv"])
    (stage / "K1.public.pem").write_text(key["pub"])
    (stage / "K0.pem").write_text(KEYS["ec" if key is KEYS["rsa"] else "rsa"]["pub"])
    (stage / "passphrase").write_text("probe")
    start = f'[passes]\nmax_lifetime = "2h"\nkey_id = "K1"\nprivate_key = "file:keys/K1.pem"\n{passphrase}\n{public}\n'
    write(stage, start)
    facts = as_json(stagedoor("keys", "rotate", "--id", "K2", "--json"))
    assert (stage / "stagedoor.toml").read_text() == f"{SITE}{start}\n{RULES}"
    assert Path(facts["private"]) == Path("keys/stagedoor-K2.private.pem")
    assert facts["type"] == ("ec" if key is KEYS["ec"] else "rsa")
    assert (facts["previous"], facts["maxLifetime"], facts["removable"]) == ("K1", 7200, NOW + 7200)

    states = [start, *(step["settings"] for step in facts["steps"])]
    doors = [door(stage, state) for state in states]
    made = [signer(stage, state).url(URL, int(NOW) + facts["maxLifetime"]) for state in states]
    assert [f"Key-Pair-Id={key_id}" in url for key_id, url in zip(["K1", "K1", "K2", "K2"], made, strict=True)] == [
        True
    ] * 4
    # Steps 1 and 2 may meet passes of the state before, and gateways that are still in it.
    for number in range(3):
        for other in (number - 1, number, number + 1):
            if 0 <= other < 3:
                assert opens(doors[number], made[other], NOW), (number, other)
    # Step 3 comes when the old passes are over; then the old key counts no more.
    assert opens(doors[2], made[1], facts["removable"] - 1)
    assert not opens(doors[2], made[1], facts["removable"])
    for number in (2, 3):
        assert opens(doors[3], made[number], NOW)
    assert not opens(doors[3], made[0], NOW)
    assert all("K0" in step["settings"] for step in facts["steps"]) == ("K0" in public)
    assert all('max_lifetime = "2h"' in step["settings"] for step in facts["steps"])


def test_the_public_half_that_is_here_already_is_used_and_a_strange_one_is_left(
    stage: Path, stagedoor: Command
) -> None:
    write(stage, '[passes]\nkey_id = "a"\nprivate_key = "file:stagedoor-a.private.der"')
    as_json(stagedoor("keys", "new", "--type", "ec", "--id", "a", "--der", "--json"))
    first = as_json(stagedoor("keys", "rotate", "--id", "b", "--json"))
    assert 'a = "file:stagedoor-a.public.der"' in first["steps"][0]["settings"]
    assert not (stage / "stagedoor-a.public.pem").exists()
    (stage / "stagedoor-a.public.der").write_bytes(b"another")
    second = as_json(stagedoor("keys", "rotate", "--id", "c", "--json"))
    assert 'a = "file:stagedoor-a.public.pem"' in second["steps"][0]["settings"]
    (stage / "stagedoor-a.public.pem").write_bytes(b"another")
    said = stagedoor("keys", "rotate", "--id", "d")
    assert said.code == 1
    assert "stagedoor-a.public.pem exists already" in said.err
    assert not list(stage.glob("stagedoor-d*"))
    assert (stage / "stagedoor-a.public.pem").read_bytes() == b"another"


def test_a_rotation_can_change_the_kind_of_key(stage: Path, stagedoor: Command) -> None:
    (stage / "K1.pem").write_text(KEYS["rsa"]["priv"])
    write(stage, '[passes]\nkey_id = "K1"\nprivate_key = "file:K1.pem"')
    said = stagedoor("keys", "rotate", "--type", "ec", "--json")
    assert as_json(said)["type"] == "ec"
    assert "the edge door" in said.err


@pytest.mark.parametrize(
    ("place", "new", "command"),
    [
        ("ssm:/school/K1", "ssm:/school/K2", "ssm put-parameter --type SecureString --name /school/K2"),
        ("ssm:passes", "ssm:stagedoor-K2", "ssm put-parameter --type SecureString --name stagedoor-K2"),
        ("secretsmanager:school/K1", "secretsmanager:school/K2", "secretsmanager create-secret --name school/K2"),
        ("secretsmanager:arn:aws:secretsmanager:eu-central-1:1:secret:K1-a", "file:stagedoor-K2.private.pem", None),
        ("env:PASS_KEY", "file:stagedoor-K2.private.pem", None),
    ],
)
def test_the_new_key_is_kept_where_the_present_one_is(
    place: str, new: str, command: str | None, stage: Path, stagedoor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def keep(secret: str, region: str | None) -> bytes:
        asked.append(secret)
        kept: bytes = KEYS["ec"]["priv"].encode()
        return kept

    monkeypatch.setattr(aws, "read_secret", keep)
    monkeypatch.setenv("PASS_KEY", KEYS["ec"]["priv"])
    write(stage, f'[passes]\nkey_id = "K1"\nprivate_key = "{place}"')
    facts = as_json(stagedoor("keys", "rotate", "--id", "K2", "--json"))
    assert facts["type"] == "ec"
    assert asked == ([] if place.startswith("env:") else [place])
    shown = [tomllib.loads(step["settings"])["passes"] for step in facts["steps"]]
    assert [one["private_key"] for one in shown] == [place, new, new]
    assert facts["keep"] is None if command is None else facts["keep"].startswith(f"aws {command} --")
    assert bool(facts["notes"]) == (command is None)
    assert read_public((stage / "stagedoor-K1.public.pem").read_bytes()) == read_public(KEYS["ec"]["pub"])


def test_a_new_key_is_stored_in_the_region_of_the_settings_if_they_name_one(stage: Path, stagedoor: Command) -> None:
    site = '[site]\nurl = "https://assets.example.com"\nstore = "s3://bucket"\nregion = "eu-central-1"\n'
    (stage / "stagedoor.toml").write_text(site)
    assert (
        "--region eu-central-1 --name /stagedoor/a" in as_json(stagedoor("keys", "new", "--id", "a", "--json"))["ssm"]
    )
    (stage / "stagedoor.toml").write_text(site + 'endpoint = "https://s3.internal:9000"\n')
    assert "--region us-east-1 --name /stagedoor/b" in as_json(stagedoor("keys", "new", "--id", "b", "--json"))["ssm"]


def test_the_public_key_is_named_as_the_constructs_want_it(stage: Path, stagedoor: Command) -> None:
    said = stagedoor("keys", "new", "--id", "a")
    (named,) = [line.strip() for line in said.out.splitlines() if "public_keys" in line]
    (stage / "stagedoor.toml").write_text(f'{SITE}[passes]\nkey_id = "a"\nprivate_key = "ssm:/stagedoor/a"\n{named}\n')
    assert read_public((stage / "stagedoor-a.public.pem").read_bytes()) == read_public(
        load(stage / "stagedoor.toml").passes.public_keys["a"]
    )


def test_a_region_of_the_settings_is_that_of_the_commands(stage: Path, stagedoor: Command) -> None:
    (stage / "K1.pem").write_text(KEYS["ec"]["pub"])
    passes = '[passes]\nkey_id = "K1"\nprivate_key = "ssm:/a/K1"\npublic_keys = { K1 = "file:K1.pem" }\n'
    site = '[site]\nurl = "https://assets.example.com"\nstore = "s3://bucket"\nregion = "eu-central-1"\n'
    (stage / "stagedoor.toml").write_text(site + passes)
    assert "--region eu-central-1 --name /a/K2" in as_json(stagedoor("keys", "rotate", "--id", "K2", "--json"))["keep"]


def test_aws_that_refuses_is_an_error_and_nothing_is_written(stage: Path, stagedoor: Command) -> None:
    write(stage, '[passes]\nkey_id = "K1"\nprivate_key = "ssm:/a/K1"')
    said = stagedoor("keys", "rotate")
    assert (said.code, said.out) == (1, "")
    assert "ssm:/a/K1 cannot be read" in said.err
    assert not list(stage.glob("stagedoor-*"))


def test_what_the_environment_sets_is_pointed_out(
    stage: Path, stagedoor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    (stage / "K1.pem").write_text(KEYS["ec"]["priv"])
    write(stage, '[passes]\nprivate_key = "file:K1.pem"\nmax_lifetime = "1h"')
    monkeypatch.setenv("STAGEDOOR_PASSES_KEY_ID", "K1")
    said = stagedoor("keys", "rotate", "--id", "K2", "--json")
    facts = as_json(said)
    assert facts["environment"] == ["STAGEDOOR_PASSES_KEY_ID"]
    assert "win over the file, so change them there: STAGEDOOR_PASSES_KEY_ID" in said.err
    assert tomllib.loads(facts["steps"][1]["settings"])["passes"]["key_id"] == "K2"


def test_machines_get_stable_keys(stage: Path, stagedoor: Command) -> None:
    write(stage, '[passes]\nkey_id = "a"\nprivate_key = "file:stagedoor-a.private.pem"')
    pair = {"id", "type", "private", "public", "publicKey", "cloudfront"}
    assert as_json(stagedoor("keys", "new", "--id", "a", "--json")).keys() == pair | {"ssm", "settings"}
    facts = as_json(stagedoor("keys", "rotate", "--json"))
    change = {"previous", "steps", "keep", "maxLifetime", "removable", "notes", "environment"}
    assert facts.keys() == pair | change
    assert [step.keys() for step in facts["steps"]] == [{"settings"}] * 3
