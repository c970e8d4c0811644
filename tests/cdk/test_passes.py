"""The passes door: CloudFront itself checks signed URLs and cookies."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from aws_cdk import assertions

from stagedoor.cdk.passes import MAX_KEYS, without_cookies
from stagedoor.core.caller import Caller
from stagedoor.core.errors import SettingsError, StoreRefused
from stagedoor.core.policy.decide import compile_rules
from stagedoor.core.policy.reach import Reach
from stagedoor.keys.pass_keys import Kind, Pair, new_pair
from stagedoor.outside import aws
from tests.helpers.synth import CLIENT, POOL_URL, distribution, made, of_type, only, site, stack, statements

pytestmark = pytest.mark.needs("node")


@pytest.fixture(scope="session")
def pairs() -> tuple[Pair, Pair]:
    return new_pair("rsa"), new_pair("rsa")


def settings(folder: Path, *pairs: Pair, more: str = "") -> Path:
    """Settings that sign with the first key, and trust all keys."""
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


def test_all_keys_are_trusted_so_that_they_can_be_rotated(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    template = made(lambda scope: site(scope, settings=settings(tmp_path, *pairs), door="passes"))
    keys = of_type(template, "AWS::CloudFront::PublicKey")
    assert {one["PublicKeyConfig"]["EncodedKey"] for one in keys.values()} == {one.public.decode() for one in pairs}
    group = only(template, "AWS::CloudFront::KeyGroup")["KeyGroupConfig"]
    assert sorted(item["Ref"] for item in group["Items"]) == sorted(keys)


def test_the_template_can_be_made_by_a_person_who_may_not_sign(
    tmp_path: Path, pairs: tuple[Pair, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def refuse(secret: str, region: str | None) -> bytes:
        asked.append((secret, region))
        raise StoreRefused(f"{secret} cannot be read: AccessDeniedException")

    monkeypatch.setattr(aws, "read_secret", refuse)
    file = settings(tmp_path, *pairs)
    text = file.read_text().replace("file:private.pem", "ssm:/stagedoor/private-key")
    file.write_text(text)
    assert made(lambda scope: site(scope, settings=file, door="passes"))
    assert asked == []
    file.write_text(text.replace('key0 = "file:0.pem", ', ""))
    with pytest.raises(SettingsError, match="AccessDeniedException") as refused:
        site(stack(), settings=file, door="passes")
    assert refused.value.setting == "passes.private_key"
    assert "us-east-1" in refused.value.problem
    assert asked == [("ssm:/stagedoor/private-key", "us-east-1")]


def test_another_key_under_the_same_id_is_another_resource(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    """CloudFront cannot change a key."""
    first = keys_of(tmp_path, *pairs)
    pem = tmp_path / "1.pem"
    pem.write_bytes(pem.read_bytes().replace(b"\n", b"\r\n"))
    assert keys_of(tmp_path) == first, "it is the same key"
    pem.write_bytes(new_pair("rsa").public)
    later = keys_of(tmp_path)
    assert (len(first & later), len(later)) == (1, 2)


def keys_of(folder: Path, *pairs: Pair) -> set[str]:
    """Logical ids of the public keys, after writing settings for these pairs, if any."""
    file = settings(folder, *pairs) if pairs else folder / "stagedoor.toml"
    return set(of_type(made(lambda scope: site(scope, settings=file, door="passes")), "AWS::CloudFront::PublicKey"))


def test_more_keys_than_cloudfront_takes_are_refused(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    assert len(keys_of(tmp_path, *[pairs[0]] * MAX_KEYS)) == MAX_KEYS
    with pytest.raises(SettingsError, match="takes 5 in a group") as refused:
        keys_of(tmp_path, *[pairs[0]] * (MAX_KEYS + 1))
    assert refused.value.setting == "passes.public_keys"


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_both_kinds_of_keys_are_accepted(tmp_path: Path, kind: Kind) -> None:
    template = made(lambda scope: site(scope, settings=settings(tmp_path, new_pair(kind)), door="passes"))
    assert only(template, "AWS::CloudFront::PublicKey")


def test_cloudfront_may_not_list_the_bucket(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    template = made(lambda scope: site(scope, settings=settings(tmp_path, *pairs), door="passes"))
    policies = of_type(template, "AWS::S3::BucketPolicy").values()
    allowed = [one for policy in policies for one in statements(policy) if one["Effect"] == "Allow"]
    assert not any("s3:ListBucket" in one["Action"] for one in allowed)


def test_a_rule_that_needs_no_pass_is_refused(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    open_to_all = '[[rules]]\npath = "public/**"\nallow = "anyone"'
    with pytest.raises(SettingsError, match='door="edge"') as refused:
        site(stack(), settings=settings(tmp_path, *pairs, more=open_to_all), door="passes")
    assert refused.value.setting == "rules[1]"
    assert "public/**" in refused.value.problem


def test_an_index_is_refused(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    file = settings(tmp_path, *pairs)
    file.write_text(file.read_text().replace("[site]", '[site]\nindex = "index.html"'))
    with pytest.raises(SettingsError, match=r"index\.html"):
        site(stack(), settings=file, door="passes")


def test_a_sign_in_page_is_refused(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    login = '[login]\npage = "https://app.example.com/login"'
    with pytest.raises(SettingsError, match="403") as refused:
        site(stack(), settings=settings(tmp_path, *pairs, more=login), door="passes")
    assert refused.value.setting == "login.page"


def test_a_door_without_keys_is_refused() -> None:
    with pytest.raises(SettingsError, match="stagedoor keys new"):
        site(stack(), door="passes")


# --- what cookies cannot express

SIGNED_IN = "signed-in"
RULES: list[tuple[str, list[tuple[str, str]], list[int]]] = [
    ("a folder", [("allow", "courses/**")], []),
    ("everything", [("allow", "**")], []),
    ("a folder for each", [("allow", "users/{sub}/**"), ("allow", "tenants/{tenant|sha256}/files/**")], []),
    ("one object", [("allow", "docs/terms.pdf"), ("allow", "avatars/{sub}")], []),
    ("a star in the middle", [("allow", "courses/*/public/**")], [0]),
    ("a star at the end", [("allow", "courses/*")], [0]),
    ("a kind of file", [("allow", "courses/**"), ("allow", "**/*.png")], [1]),
    ("any depth in the middle", [("allow", "deep/**/end/**")], [0]),
    ("a part of a folder denied", [("allow", "courses/**"), ("deny", "courses/drafts/**")], [1]),
    ("denied before it is allowed", [("deny", "courses/drafts/**"), ("allow", "courses/**")], [0]),
    ("one object of a folder denied", [("allow", "courses/**"), ("deny", "courses/secret.txt")], [1]),
    ("a kind of file denied", [("allow", "courses/**"), ("deny", "**/*.zip")], [1]),
    ("a part of each folder denied", [("allow", "users/{sub}/**"), ("deny", "users/*/private/**")], [1]),
    ("a part of everything denied", [("allow", "**"), ("deny", "private/**")], [1]),
    ("the folder denied", [("allow", "courses/**"), ("deny", "courses/**")], []),
    ("what is around it denied", [("allow", "a/b/**"), ("deny", "a/**"), ("deny", "**")], []),
    ("one whole folder denied", [("allow", "users/{sub}/**"), ("deny", "users/ann/**")], []),
    ("another folder denied", [("allow", "courses/**"), ("deny", "course/**"), ("deny", "courses2/x")], []),
    ("an object beside the folder denied", [("allow", "courses/**"), ("deny", "courses")], []),
    ("another kind of name denied", [("allow", "courses/a/**"), ("deny", "co*/b*/*.txt")], []),
    ("a part of what is not a folder denied", [("allow", "x/*/y"), ("deny", "x/z/y")], [0]),
]


@pytest.mark.parametrize(("rules", "positions"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_rules_that_cookies_cannot_express_are_found(rules: list[tuple[str, str]], positions: list[int]) -> None:
    policy = compile_rules([{"path": path, effect: SIGNED_IN} for effect, path in rules])
    assert [one.rule.position for one in without_cookies(policy)] == positions


def test_the_findings_agree_with_the_policy() -> None:
    """All short patterns: a rule is found for a folder exactly if a caller may read a part of it only."""
    segments = ("a", "ab", "*", "a*", "**", "{sub}")
    patterns = ["/".join(one) for length in (1, 2, 3) for one in product(segments, repeat=length)]
    folders = ["**", "a/**", "{sub}/**", "a/{sub}/**", "{sub}/ab/**"]
    callers = [Caller("staff", POOL_URL, {"sub": name}) for name in ("a", "ab", "b")]
    for folder, denied in product(folders, patterns):
        policy = compile_rules([{"path": folder, "allow": SIGNED_IN}, {"path": denied, "deny": SIGNED_IN}])
        is_split = any(
            Reach(policy).below(caller, folder.replace("{sub}", caller.subject).removesuffix("**")) == "some"
            for caller in callers
        )
        found = bool(list(without_cookies(policy)))
        assert found or not is_split, (folder, denied)
        if "{sub}" not in folder or "{sub}" not in denied:  # both claims have the same value
            assert is_split == found, (folder, denied)


def test_a_rule_without_cookies_is_a_warning_with_what_to_do(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    more = "".join(
        f'[[rules]]\npath = "{path}"\n{effect} = "signed-in"\n'
        for effect, path in (("deny", "courses/drafts/**"), ("allow", "*/preview.jpg"))
    )
    scope = stack()
    site(scope, settings=settings(tmp_path, *pairs, more=more), door="passes")
    found = assertions.Annotations.from_stack(scope).find_warning("*", assertions.Match.any_value())
    warnings = sorted(str(one.entry.data) for one in found if "rules[" in str(one.entry.data))
    assert len(warnings) == 2
    for text, named, mend in zip(
        warnings, ("rules[1]: deny", "rules[2]: allow"), ("out of the folder", "**"), strict=True
    ):
        assert text.startswith(named)
        assert "/-/urls" in text
        assert mend in text


def test_rules_for_whole_folders_are_no_warning(tmp_path: Path, pairs: tuple[Pair, Pair]) -> None:
    scope = stack()
    site(scope, settings=settings(tmp_path, *pairs), door="passes")
    assertions.Annotations.from_stack(scope).has_no_warning("*", assertions.Match.string_like_regexp("cookies"))
