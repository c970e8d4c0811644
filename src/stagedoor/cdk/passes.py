"""The passes door: CloudFront checks signed URLs and cookies itself, by a group of public keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from aws_cdk import Annotations, Stack
from aws_cdk import aws_cloudfront as cloudfront
from constructs import Construct
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..core.errors import SettingsError
from ..core.policy.decide import Policy, compile_rules
from ..core.policy.patterns import ANY_DEPTH, Claim, Glob, Segment, overlap
from ..core.policy.rules import Rule
from ..keys import pass_keys
from ..settings import Settings

MAX_KEYS = 5
"""Public keys in a group, if AWS has not raised it (CloudFront Developer Guide, "Quotas on key groups")."""
_FOLDER_OF_ITS_OWN = (
    'For cookies give these objects a folder of their own, with a rule for all of it: path = "that-folder/**"'
)
_BESIDE = "For cookies keep what is denied beside the folder, or ask for the cookies of folders that have nothing of it"
_ANYTHING = Glob("*", ("", ""))


class PassKeys(Construct):
    """The public keys of a site's passes at CloudFront.

    Attributes:
        group: passes signed with any of its keys count.
        signing: the key that the settings sign with; CloudFront chooses its id when it is deployed.
        signing_pem: the same key as text.
    """

    def __init__(self, scope: Construct, id_: str, *, settings: Settings) -> None:
        super().__init__(scope, id_)
        # in the region of the function that signs; whoever makes the template need not be able to sign
        found = pass_keys.read_public_keys(settings.passes, Stack.of(self).region)
        if not found or settings.passes.key_id not in found:
            raise SettingsError(
                "CloudFront checks passes here, and the settings name no key that signs them",
                setting="passes.key_id",
                mend="make a pair with stagedoor keys new, and set key_id, private_key and public_keys",
            )
        if len(found) > MAX_KEYS:
            raise SettingsError(
                f"there are {len(found)} keys, and CloudFront takes {MAX_KEYS} in a group",
                setting="passes.public_keys",
                mend="take out those whose last pass is over",
            )
        made = self._keys(found)
        self.signing, self.signing_pem = made[settings.passes.key_id], _pem(found[settings.passes.key_id])
        self.group = cloudfront.KeyGroup(self, "Group", items=list(made.values()))
        for one in without_cookies(settings.policy):
            Annotations.of(self).add_warning_v2(f"stagedoor:noCookies:{one.rule.name}", str(one))

    def _keys(self, found: Mapping[str, pass_keys.PublicKey]) -> dict[str, cloudfront.PublicKey]:
        """One resource for each key. CloudFront changes no key but makes another, so its digest is in the name
        (API Reference, "UpdatePublicKey": "the only value you can change is the comment").
        """
        made = {}
        for name, key in sorted(found.items()):
            pem = _pem(key)
            digest = hashlib.sha256(pem.encode()).hexdigest()[:8]
            made[name] = cloudfront.PublicKey(self, f"{name}-{digest}", encoded_key=pem)
        return made


def _pem(key: pass_keys.PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def refuse_what_passes_cannot(settings: Settings) -> None:
    """A pass is demanded for every object, under exactly its name: nothing is open, no name stands for another, and
    whoever has no pass is sent nowhere.

    Raises:
        SettingsError: a rule or setting needs another door; it is named.
    """
    if settings.index is not None:
        problem = f"CloudFront asks the bucket for what is in the URL, and not for {settings.index}"
        raise SettingsError(problem, setting="site.index", mend='take door="edge", or link to the files themselves')
    if settings.login_page is not None:
        raise SettingsError(
            "CloudFront answers 403 to whoever has no pass, and sends nobody to sign in",
            setting="login.page",
            mend='take door="edge", or leave it out and let your application ask for passes',
        )
    for rule in settings.policy.rules:
        if rule.allows and rule.who == "anyone":
            raise SettingsError(
                f"{rule.pattern!r} is open to anyone, and CloudFront demands a pass for everything here",
                setting=rule.name,
                mend='take door="edge", or keep open files in a site of their own',
            )


# --- cookies open whole folders

_Segments: TypeAlias = tuple[Segment, ...]


class WithoutCookies(NamedTuple):
    """A rule that the cookies of a folder cannot express; as text, what to do about it."""

    rule: Rule
    problem: str
    mend: str

    def __str__(self) -> str:
        works = "so POST /-/cookies refuses; POST /-/urls signs the URLs of single objects all the same"
        return f"{self.rule.name}: {self.rule.effect} {self.rule.pattern!r}: {self.problem}, {works}. {self.mend}"


def without_cookies(policy: Policy) -> Iterator[WithoutCookies]:
    """Rules under which nobody, or not everybody, can have cookies. CloudFront's open all that begins alike, so a
    rule must speak of a whole folder, or of one object, which a URL opens.
    """
    folders = [rule for rule in policy.rules if rule.allows and _is_folder(rule)]
    for rule in policy.rules:
        if not rule.allows:
            torn = next((folder for folder in folders if _tears(rule, folder)), None)
            if torn is not None:
                problem = f"cookies would open all that {torn.name} allows, {torn.pattern!r}, with this part of it"
                yield WithoutCookies(rule, problem, _BESIDE)
        elif not _is_folder(rule) and not all(_is_exact(segment) for segment in rule.segments):
            yield WithoutCookies(rule, "cookies open whole folders, and this is none", _FOLDER_OF_ITS_OWN)


def _is_exact(segment: Segment) -> bool:
    return isinstance(segment, Claim) or (isinstance(segment, str) and segment != ANY_DEPTH)


def _is_folder(rule: Rule) -> bool:
    *before, last = _shortened(rule)
    return last == ANY_DEPTH and all(_is_exact(segment) for segment in before)


def _shortened(rule: Rule) -> _Segments:
    """Its segments, where `**/**` is `**`."""
    segments = zip(("", *rule.segments), rule.segments, strict=False)
    return tuple(segment for before, segment in segments if not before == segment == ANY_DEPTH)


def _tears(deny: Rule, folder: Rule) -> bool:
    """Does it deny a part of the folder? A rule for folders of no greater depth denies all of it, or nothing."""
    *before, last = denied = _shortened(deny)
    *path, _ = _shortened(folder)
    if last == ANY_DEPTH and ANY_DEPTH not in before and len(before) <= len(path):
        return False
    if last == ANY_DEPTH and overlap(tuple(path), denied, _matches):
        return False
    return overlap((*path, _ANYTHING, ANY_DEPTH), denied, _may_match)


def _matches(path: Segment, pattern: Segment) -> bool:
    """Whatever a claim of the path is."""
    if path == pattern or pattern == _ANYTHING:
        return True
    return isinstance(pattern, Glob) and isinstance(path, str) and pattern.matches(path)


def _may_match(path: Segment, pattern: Segment) -> bool:
    """A claim may be anything."""
    return path == _ANYTHING or isinstance(path, Claim) or isinstance(pattern, Claim) or _matches(path, pattern)


def for_api_alone(settings: Settings) -> Settings:
    """Settings for the function in front of the API, which reads paths, and neither tokens nor passes."""
    nobody = compile_rules([])
    return replace(settings, issuers=(), policy=nobody, passes=pass_keys.PassSettings(), session_keys=())
