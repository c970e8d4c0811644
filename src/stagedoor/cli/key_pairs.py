"""Texts about a key pair: settings that name it, commands that give it to AWS, and the plan of a rotation.

Nothing here reads or writes files.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = "stagedoor"
"""Prefix of a key's name at AWS, unless the settings use another one."""


class KeyPair(NamedTuple):
    """A key pair in files.

    Attributes:
        id: its name.
        kind: `rsa` or `ec`.
        private, public: the files.
        private_setting, public_setting: the files as settings name them (`file:…`).
        pem: the public key as PEM, even if its file is DER.
    """

    id: str
    kind: str
    private: Path
    public: Path
    private_setting: str
    public_setting: str
    pem: str


def section(values: Mapping[str, object]) -> str:
    """The `[passes]` section of a settings file."""
    return "\n".join(["[passes]", *(f"{name} = {_toml(value)}" for name, value in values.items())]) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_toml(one)}' for name, one in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)  # JSON's strings and numbers are valid TOML


def facts(pair: KeyPair) -> dict[str, str]:
    """What `--json` prints about every new pair; of the private key only where it is."""
    return {
        "id": pair.id,
        "type": pair.kind,
        "private": str(pair.private),
        "public": str(pair.public),
        "publicKey": pair.pem,
        "cloudfront": to_cloudfront(pair),
    }


# --- commands for AWS


def to_cloudfront(pair: KeyPair) -> str:
    """The command that gives CloudFront the public key; CloudFront takes PEM only."""
    public = shlex.quote(str(pair.public))
    read = f"openssl pkey -pubin -inform DER -in {public}" if _is_der(pair) else f"cat {public}"
    config = f"CallerReference={pair.id},Name=stagedoor-{pair.id},EncodedKey='$({read})'"
    return f'aws cloudfront create-public-key --public-key-config "{config}"'


def to_ssm(pair: KeyPair, name: str, region: str | None = None) -> str:
    """The command that stores the private key in SSM Parameter Store, which takes text only."""
    return _upload(pair, "ssm put-parameter --type SecureString", name, "--value", region)


def _to_secrets_manager(pair: KeyPair, name: str, region: str | None) -> str:
    return _upload(pair, "secretsmanager create-secret", name, "--secret-string", region)


def _upload(pair: KeyPair, command: str, name: str, option: str, region: str | None) -> str:
    private, where = shlex.quote(str(pair.private)), f" --region {region}" if region else ""
    head = f"aws {command}{where} --name {shlex.quote(name)} {option}"
    if _is_der(pair):  # piped, because other users of the machine can see a command's arguments
        return f"openssl pkey -inform DER -in {private} | {head} file:///dev/stdin"
    return f"{head} file://{private}"


def _is_der(pair: KeyPair) -> bool:
    return pair.private.suffix == ".der"


# --- rotation


def rotation(
    pair: KeyPair,
    passes: Mapping[str, Any],
    present_public: str | None,
    *,
    max_lifetime: int,
    now: int,
    region: str | None = None,
) -> dict[str, Any]:
    """Plan the change to a new key in three steps; after each step every gateway reloads its settings.

    No valid pass is refused, even if one gateway is a step ahead of another.

    Args:
        pair: the new one.
        passes: `[passes]` as the settings file has it.
        present_public: the present public key, as settings name it; None if `passes` names it already.
        max_lifetime: seconds until the last pass of the present key expires.
        now: epoch seconds.
        region: of the site's AWS services; None: the settings name none.

    Returns:
        What `--json` prints.
    """
    old = passes["key_id"]
    known = dict(passes.get("public_keys", {}))
    if present_public is not None:  # after step 2 nothing else holds it
        known = {old: present_public, **known}
    private, upload, notes = _private_setting(passes["private_key"], pair, region)
    first = {**passes, "public_keys": {**known, pair.id: pair.public_setting}}
    second = {**first, "key_id": pair.id, "private_key": private}
    if second.pop("passphrase", None) is not None:
        notes.append("the new private key has no passphrase, so step 2 removes that setting")
    third = {**second, "public_keys": {name: one for name, one in second["public_keys"].items() if name != old}}
    return {
        **facts(pair),
        "previous": old,
        "steps": [{"settings": section(_in_order(step))} for step in (first, second, third)],
        "keep": upload,
        "maxLifetime": max_lifetime,
        "removable": now + max_lifetime,
        "notes": notes,
    }


def _in_order(passes: Mapping[str, object]) -> Mapping[str, object]:
    names = ("key_id", "private_key", "passphrase", "public_keys")
    return {name: passes[name] for name in (*names, *passes) if name in passes}


def _private_setting(present: str, pair: KeyPair, region: str | None) -> tuple[str, str | None, list[str]]:
    """Keep the new private key as the present one is kept: its setting, the command that stores it, and notes."""
    scheme, _, rest = present.partition(":")
    if scheme == "env":
        note = f"a reload cannot change the environment variable {rest}, so step 2 names the new key's file"
        return pair.private_setting, None, [note]
    if scheme == "file":
        return pair.private_setting, None, []
    if rest.startswith("arn:"):
        note = f"AWS keeps the present private key: store the new one there, and write its ARN in step 2 ({scheme}:…)"
        return pair.private_setting, None, [note]
    folder, slash, _ = rest.rpartition("/")
    name = f"{folder}{slash}{pair.id}" if slash else f"{FOLDER}-{pair.id}"
    command = to_ssm(pair, name, region) if scheme == "ssm" else _to_secrets_manager(pair, name, region)
    return f"{scheme}:{name}", command, []
