"""What there is to say about a key pair: settings that name it, commands that hand it on, and how to change to it.

Nothing here reads or writes anything.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

SHELF = "stagedoor"
"""Where AWS keeps keys for us, unless the settings name another place."""


class Made(NamedTuple):
    """A pair that was written.

    Attributes:
        id: what it is called.
        kind: `rsa` or `ec`.
        private, public: the files.
        place: the private file, as settings name it.
        public_place: the public file, likewise.
        pem: the public key as PEM, whatever its file is.
    """

    id: str
    kind: str
    private: Path
    public: Path
    place: str
    public_place: str
    pem: str


def section(values: Mapping[str, object]) -> str:
    """The `[passes]` of a settings file."""
    return "\n".join(["[passes]", *(f"{name} = {_toml(value)}" for name, value in values.items())]) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{name} = {_toml(one)}' for name, one in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)  # JSON's texts and numbers are TOML's, too


def about(made: Made) -> dict[str, str]:
    """What programs are told about every new pair; nothing of the private key but where it is."""
    return {
        "id": made.id,
        "type": made.kind,
        "private": str(made.private),
        "public": str(made.public),
        "publicKey": made.pem,
        "cloudfront": to_cloudfront(made),
    }


def to_cloudfront(made: Made) -> str:
    """The command that gives CloudFront the public key; it takes PEM only."""
    public = shlex.quote(str(made.public))
    read = f"openssl pkey -pubin -inform DER -in {public}" if _is_der(made) else f"cat {public}"
    config = f"CallerReference={made.id},Name=stagedoor-{made.id},EncodedKey='$({read})'"
    return f'aws cloudfront create-public-key --public-key-config "{config}"'


def to_ssm(made: Made, name: str, region: str | None = None) -> str:
    """The command that has SSM Parameter Store keep the private key; it takes text only."""
    return _upload(made, "ssm put-parameter --type SecureString", name, "--value", region)


def _to_secrets_manager(made: Made, name: str, region: str | None) -> str:
    return _upload(made, "secretsmanager create-secret", name, "--secret-string", region)


def _upload(made: Made, command: str, name: str, option: str, region: str | None) -> str:
    private, where = shlex.quote(str(made.private)), f" --region {region}" if region else ""
    head = f"aws {command}{where} --name {shlex.quote(name)} {option}"
    if _is_der(made):  # as text, and not as an argument, which other people on the machine could see
        return f"openssl pkey -inform DER -in {private} | {head} file:///dev/stdin"
    return f"{head} file://{private}"


def _is_der(made: Made) -> bool:
    return made.private.suffix == ".der"


# --- changing from one key to the next


def change(
    made: Made,
    passes: Mapping[str, Any],
    own_public: str | None,
    *,
    max_lifetime: int,
    now: int,
    region: str | None = None,
) -> dict[str, Any]:
    """The change to a new key, in steps between which every gateway reads its settings.

    Passes are accepted throughout: those that gateways a step ahead or behind make, too.

    Args:
        made: the new pair.
        passes: `[passes]` as it stands there.
        own_public: where the public half of the present key was written; None if `passes` names it already.
        max_lifetime: seconds that passes of the present key last at most.
        now: epoch seconds.
        region: of the site's AWS services, if the settings name one.
    """
    old = passes["key_id"]
    known = dict(passes.get("public_keys", {}))
    if own_public is not None:  # from step 2 on nothing else would tell it
        known = {old: own_public, **known}
    kept, upload, notes = _kept_alike(passes["private_key"], made, region)
    first = {**passes, "public_keys": {**known, made.id: made.public_place}}
    second = {**first, "key_id": made.id, "private_key": kept}
    if second.pop("passphrase", None) is not None:
        notes.append("the new private key has no passphrase, so step 2 takes it out")
    third = {**second, "public_keys": {name: one for name, one in second["public_keys"].items() if name != old}}
    return {
        **about(made),
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


def _kept_alike(place: str, made: Made, region: str | None) -> tuple[str, str | None, list[str]]:
    """Where the new private key goes if it is kept as the present one is, the command for that, and notes."""
    scheme, _, rest = place.partition(":")
    if scheme == "env":
        note = f"a reload cannot change the environment variable {rest}, so step 2 takes the new key from its file"
        return made.place, None, [note]
    if scheme == "file":
        return made.place, None, []
    if rest.startswith("arn:"):
        note = f"AWS keeps the present private key: have it keep the new one, and write its ARN in step 2 ({scheme}:…)"
        return made.place, None, [note]
    folder, slash, _ = rest.rpartition("/")
    name = f"{folder}{slash}{made.id}" if slash else f"{SHELF}-{made.id}"
    command = to_ssm(made, name, region) if scheme == "ssm" else _to_secrets_manager(made, name, region)
    return f"{scheme}:{name}", command, []
