"""The passes door: CloudFront itself checks signed URLs and cookies, with a group of public keys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from aws_cdk import Annotations, Stack
from aws_cdk import aws_cloudfront as cloudfront
from constructs import Construct
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..aws.packing import sha256
from ..core.errors import SettingsError
from ..core.policy.decide import Policy, compile_rules
from ..core.policy.patterns import ANY_DEPTH, Claim, Glob, Segment, overlap
from ..core.policy.rules import Rule
from ..keys import pass_keys
from ..settings import Settings

MAX_KEYS = 5
"""Public keys in a group; AWS may raise it (CloudFront Developer Guide, "Quotas on key groups")."""
_SEPARATE_FOLDER = (
    'For cookies, move these objects into a folder of their own, with a rule for all of it: path = "that-folder/**"'
)
_OUTSIDE = "For cookies, move what is denied out of the folder, or ask for cookies of folders that hold none of it"
_ANYTHING = Glob("*", ("", ""))


class PassKeys(Construct):
    """The public keys of a site's passes at CloudFront.

    Attributes:
        group: of all keys; passes that any of them has signed are valid.
        signing: the key that new passes are signed with; CloudFront chooses its id during the deployment.
        signing_pem: the same key as PEM text.
    """

    def __init__(self, scope: Construct, id_: str, *, settings: Settings) -> None:
        super().__init__(scope, id_)
        # secrets are read in the region of the function that signs
        keys = pass_keys.read_public_keys(settings.passes, Stack.of(self).region)
        if not keys or settings.passes.key_id not in keys:
            raise SettingsError(
                "CloudFront checks passes here, and the settings name no key that signs them",
                setting="passes.key_id",
                mend="make a pair with stagedoor keys new, and set key_id, private_key and public_keys",
            )
        if len(keys) > MAX_KEYS:
            raise SettingsError(
                f"there are {len(keys)} keys, and CloudFront takes {MAX_KEYS} in a group",
                setting="passes.public_keys",
                mend="remove those whose last pass has expired",
            )
        resources = self._resources(keys)
        self.signing, self.signing_pem = resources[settings.passes.key_id], _pem(keys[settings.passes.key_id])
        self.group = cloudfront.KeyGroup(self, "Group", items=list(resources.values()))
        for finding in without_cookies(settings.policy):
            Annotations.of(self).add_warning_v2(f"stagedoor:noCookies:{finding.rule.name}", str(finding))

    def _resources(self, keys: Mapping[str, pass_keys.PublicKey]) -> dict[str, cloudfront.PublicKey]:
        """Make a resource for each key. CloudFront cannot change a key, so a resource's name holds the key's digest
        (API Reference, "UpdatePublicKey": "the only value you can change is the comment").
        """
        resources = {}
        for name, key in sorted(keys.items()):
            pem = _pem(key)
            resources[name] = cloudfront.PublicKey(self, f"{name}-{sha256(pem.encode())[:8]}", encoded_key=pem)
        return resources


def _pem(key: pass_keys.PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def refuse_what_passes_cannot(settings: Settings) -> None:
    """Refuse open rules, an index and a sign-in page: CloudFront demands a pass for exactly the object of the URL.

    Raises:
        SettingsError: names the rule or setting that needs another door.
    """
    if settings.index is not None:
        problem = f"CloudFront asks the bucket for the path of the URL, and not for {settings.index}"
        raise SettingsError(problem, setting="site.index", mend='take door="edge", or link to the files themselves')
    if settings.login_page is not None:
        raise SettingsError(
            "CloudFront answers a request without a pass with 403, and not with a redirect to sign-in",
            setting="login.page",
            mend='take door="edge", or leave it out and let your application ask for passes',
        )
    for rule in settings.policy.rules:
        if rule.allows and rule.who == "anyone":
            raise SettingsError(
                f"{rule.pattern!r} is open to anyone, but CloudFront demands a pass for every object here",
                setting=rule.name,
                mend='take door="edge", or keep open files in a site of their own',
            )


# --- cookies open whole folders

_Segments: TypeAlias = tuple[Segment, ...]


class WithoutCookies(NamedTuple):
    """A rule that cookies cannot express; its text says what to do about it."""

    rule: Rule
    problem: str
    mend: str

    def __str__(self) -> str:
        result = "so POST /-/cookies refuses; POST /-/urls still signs the URLs of single objects"
        return f"{self.rule.name}: {self.rule.effect} {self.rule.pattern!r}: {self.problem}, {result}. {self.mend}"


def without_cookies(policy: Policy) -> Iterator[WithoutCookies]:
    """Find the rules that keep some callers or all from getting cookies.

    Cookies of CloudFront open every URL with the same beginning, so a rule must be about a whole folder, or about one
    object, which a signed URL opens.
    """
    folders = [rule for rule in policy.rules if rule.allows and _is_folder(rule)]
    for rule in policy.rules:
        if not rule.allows:
            split = next((folder for folder in folders if _splits(rule, folder)), None)
            if split is not None:
                problem = f"cookies for {split.name}, {split.pattern!r}, would open this part of it too"
                yield WithoutCookies(rule, problem, _OUTSIDE)
        elif not _is_folder(rule) and not all(_is_exact(segment) for segment in rule.segments):
            yield WithoutCookies(rule, "cookies open whole folders, and this is not one", _SEPARATE_FOLDER)


def _is_exact(segment: Segment) -> bool:
    return isinstance(segment, Claim) or (isinstance(segment, str) and segment != ANY_DEPTH)


def _is_folder(rule: Rule) -> bool:
    *before, last = _simplified(rule)
    return last == ANY_DEPTH and all(_is_exact(segment) for segment in before)


def _simplified(rule: Rule) -> _Segments:
    """The rule's segments, with `**` in place of `**/**`."""
    segments = zip(("", *rule.segments), rule.segments, strict=False)
    return tuple(segment for before, segment in segments if not before == segment == ANY_DEPTH)


def _splits(deny: Rule, folder: Rule) -> bool:
    """Does the rule deny a part of the folder? A rule for folders that are not deeper denies all of it or nothing."""
    *before, last = denied = _simplified(deny)
    *path, _ = _simplified(folder)
    if last == ANY_DEPTH and ANY_DEPTH not in before and len(before) <= len(path):
        return False
    if last == ANY_DEPTH and overlap(tuple(path), denied, _matches):
        return False
    return overlap((*path, _ANYTHING, ANY_DEPTH), denied, _may_match)


def _matches(path: Segment, pattern: Segment) -> bool:
    """Does the pattern match, whatever the values of the path's claims are?"""
    if path == pattern or pattern == _ANYTHING:
        return True
    return isinstance(pattern, Glob) and isinstance(path, str) and pattern.matches(path)


def _may_match(path: Segment, pattern: Segment) -> bool:
    """Does the pattern match for some values of the claims?"""
    return path == _ANYTHING or isinstance(path, Claim) or isinstance(pattern, Claim) or _matches(path, pattern)


def for_api_alone(settings: Settings) -> Settings:
    """Settings for the function in front of the API, which checks paths and no credentials."""
    no_rules = compile_rules([])
    return replace(settings, issuers=(), policy=no_rules, passes=pass_keys.PassSettings(), session_keys=())
