"""The passes door: CloudFront checks signed URLs and cookies itself, by a group of public keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from aws_cdk import aws_cloudfront as cloudfront
from constructs import Construct
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .. import pass_keys
from ..errors import SettingsError
from ..policy import compile_rules
from ..settings import Settings


class PassKeys(Construct):
    """The public keys of a site's passes at CloudFront.

    Attributes:
        group: passes signed with any of its keys count.
        signing: the key that the settings sign with; CloudFront chooses its id when it is deployed.
    """

    def __init__(self, scope: Construct, id_: str, *, settings: Settings) -> None:
        super().__init__(scope, id_)
        found = pass_keys.read_keys(settings.passes, settings.aws_region)[0]
        if not found or settings.passes.key_id not in found:
            raise SettingsError(
                "CloudFront checks passes here, and the settings name no key that signs them",
                setting="passes.key_id",
                mend="make a pair with stagedoor keys new, and set key_id, private_key and public_keys",
            )
        made = self._keys(found)
        self.signing = made[settings.passes.key_id]
        self.group = cloudfront.KeyGroup(self, "Group", items=list(made.values()))

    def _keys(self, found: Mapping[str, pass_keys.PublicKey]) -> dict[str, cloudfront.PublicKey]:
        pems = {
            name: key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            for name, key in found.items()
        }
        return {name: cloudfront.PublicKey(self, name, encoded_key=pem) for name, pem in sorted(pems.items())}


def refuse_what_passes_cannot(settings: Settings) -> None:
    """A pass is demanded for every object, under exactly its name: nothing is open, and no name stands for another.

    Raises:
        SettingsError: a rule or setting needs another door; it is named.
    """
    if settings.index is not None:
        problem = f"CloudFront asks the bucket for what is in the URL, and not for {settings.index}"
        raise SettingsError(problem, setting="site.index", mend='take door="edge", or link to the files themselves')
    for rule in settings.policy.rules:
        if rule.effect == "allow" and rule.who == "anyone":
            raise SettingsError(
                f"{rule.pattern!r} is open to anyone, and CloudFront demands a pass for everything here",
                setting=rule.name,
                mend='take door="edge", or keep open files in a site of their own',
            )


def for_api_alone(settings: Settings) -> Settings:
    """Settings for the function in front of the API, which reads paths, and neither tokens nor passes."""
    nobody = compile_rules([])
    return replace(settings, issuers=(), policy=nobody, passes=pass_keys.PassSettings(), session_keys=())
