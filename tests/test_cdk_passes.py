"""The passes door: CloudFront itself checks signed URLs and cookies."""

from __future__ import annotations

from pathlib import Path

import pytest
from synth import CLIENT, POOL_URL, distribution, made, of_type, only, site, stack, statements

from stagedoor.errors import SettingsError
from stagedoor.pass_keys import Kind, Pair, new_pair

pytestmark = pytest.mark.needs("node")


@pytest.fixture(scope="session")
def pairs() -> tuple[Pair, Pair]:
    return new_pair("rsa"), new_pair("rsa")


def settings(folder: Path, *pairs: Pair, more: str = "") -> Path:
    """Settings that sign with the first key, and trust all of them."""
    for number, pair in enumerate(pairs):
        (folder / f"{number}.pem").write_bytes(pair.public)
    (folder / "private.pem").write_bytes(pairs[0].private)
    names = ", ".join(f'key{number} = "file:{number}.pem"' for number in range(len(pairs)))
    file = folder / "stagedoor.toml"
    file.write_text(
        f"""
[site]
url = "https://assets.example.com"
[[issuers]]
issuer = "{POOL_URL}"
audience = ["{CLIENT}"]
[[rules]]
path = "courses/**"
allow = "signed-in"
{more}
[passes]
key_id = "key0"
private_key = "file:private.pem"
public_keys = {{ {names} }}
"""
    )
    return file


def test_every_object_demands_a_pass_and_no_function_runs(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    template = made(lambda scope: site(scope, settings=settings(tmp_path, *pairs), door="passes"))
    objects = distribution(template)["DefaultCacheBehavior"]
    (group,) = of_type(template, "AWS::CloudFront::KeyGroup")
    assert objects["TrustedKeyGroups"] == [{"Ref": group}]
    assert "LambdaFunctionAssociations" not in objects
    assert not any("edge" in one["Handler"] for one in of_type(template, "AWS::Lambda::Function").values())


def test_all_keys_count_so_that_they_can_change(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    template = made(lambda scope: site(scope, settings=settings(tmp_path, *pairs), door="passes"))
    keys = of_type(template, "AWS::CloudFront::PublicKey")
    assert {one["PublicKeyConfig"]["EncodedKey"] for one in keys.values()} == {one.public.decode() for one in pairs}
    group = only(template, "AWS::CloudFront::KeyGroup")["KeyGroupConfig"]
    assert sorted(item["Ref"] for item in group["Items"]) == sorted(keys)


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_both_kinds_of_keys_are_taken(tmp_path: Path, kind: Kind) -> None:
    template = made(lambda scope: site(scope, settings=settings(tmp_path, new_pair(kind)), door="passes"))
    assert only(template, "AWS::CloudFront::PublicKey")


def test_a_pass_for_everything_lists_nothing(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    template = made(lambda scope: site(scope, settings=settings(tmp_path, *pairs), door="passes"))
    policies = of_type(template, "AWS::S3::BucketPolicy").values()
    allowed = [one for policy in policies for one in statements(policy) if one["Effect"] == "Allow"]
    assert not any("s3:ListBucket" in one["Action"] for one in allowed)


def test_a_rule_that_needs_no_pass_is_named(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    open_to_all = '[[rules]]\npath = "public/**"\nallow = "anyone"'
    with pytest.raises(SettingsError, match='door="edge"') as refused:
        site(stack(), settings=settings(tmp_path, *pairs, more=open_to_all), door="passes")
    assert refused.value.setting == "rules[1]"
    assert "public/**" in refused.value.problem


def test_a_name_that_stands_for_another_is_refused(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    file = settings(tmp_path, *pairs)
    file.write_text(file.read_text().replace("[site]", '[site]\nindex = "index.html"'))
    with pytest.raises(SettingsError, match=r"index\.html"):
        site(stack(), settings=file, door="passes")


def test_a_door_without_keys_is_refused() -> None:
    with pytest.raises(SettingsError, match="stagedoor keys new"):
        site(stack(), door="passes")
