"""Listing a bucket: the arguments of ListObjectsV2, reading its response, and what its errors mean.

The gateway lists with a client of ours and the Lambda function with botocore, and both list the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..core.errors import StoreRefused, StoreUnavailable
from ..core.messages import Item, List, Listed
from ..core.paths import MAX_KEY_BYTES
from ..outside.aws import Refusal
from .names import as_bytes, resume_after, usable


class Listing(NamedTuple):
    """One page (Amazon S3 API Reference, ListObjectsV2).

    Directory buckets (S3 Express One Zone) cannot be listed: they neither sort names nor take `StartAfter`.

    Attributes:
        bucket: its name.
        prefix: stands before every key in the bucket, with its slash; may be empty.
        wish: the page that is wanted.
    """

    bucket: str
    prefix: str
    wish: List

    @property
    def subject(self) -> str:
        """What errors are about."""
        return f"bucket {self.bucket}, listing {self.wish.prefix!r}"

    def arguments(self) -> dict[str, Any] | None:
        """Arguments of `list_objects_v2`; None if the page is empty, because no key can be in it.

        Raises:
            InvalidTarget: the wish is not valid Unicode.
        """
        prefix, after = as_bytes(self.wish)
        before = len(self.prefix.encode())
        if before + len(prefix) > MAX_KEY_BYTES:
            return None
        arguments: dict[str, Any] = {
            "Bucket": self.bucket,
            "Prefix": self.prefix + self.wish.prefix,
            # One more, because servers may repeat the folder that `after` lies in.
            "MaxKeys": min(self.wish.limit + 1, 1000),
            **({"Delimiter": "/"} if self.wish.folders else {}),
        }
        if not after.startswith(prefix):  # some servers return nothing then
            return arguments if after < prefix else None
        # No name is longer than a key, so cutting `after` to that length skips none.
        start = self.prefix + after[: MAX_KEY_BYTES - before].decode(errors="ignore")
        return {**arguments, "StartAfter": start} if start else arguments

    def read(self, answer: Mapping[str, Any]) -> Listed:
        """Read the response.

        Raises:
            StoreUnavailable: it does not fit the question.
        """
        wish = self.wish
        if "IsTruncated" not in answer:  # every listing has it; another document must not look like an empty bucket
            raise StoreUnavailable(f"{self.subject}: the answer is not a listing")
        named = self._named_entries(answer)
        if not all(name.startswith(self.prefix + wish.prefix) for name in named):
            raise StoreUnavailable(f"{self.subject}: the answer holds names that were not asked for")
        entries = [named[name] for name in sorted(named) if name > self.prefix + wish.after]
        all_found = usable(one for one in entries if not _is_folder_object(one))
        found = all_found[: wish.limit]
        if found == all_found and not answer["IsTruncated"]:
            return Listed(found)
        if not entries:
            raise StoreUnavailable(f"{self.subject}: the answer does not go on after the name that was given")
        # A usable name if possible, because some servers cannot go on after another one.
        return Listed(found, resume_after((found or entries)[-1]))

    def _named_entries(self, answer: Mapping[str, Any]) -> dict[str, Item | str]:
        """Full name in the bucket -> object or folder, named without the prefix."""
        before = len(self.prefix)
        try:
            folders = [folder["Prefix"] for folder in answer.get("CommonPrefixes", ())]
            items = {item["Key"]: _item(item, before) for item in answer.get("Contents", ())}
        except KeyError as error:
            raise StoreUnavailable(f"{self.subject}: the answer lacks {error}") from error
        return {**items, **{name: name[before:] for name in folders}}


def store_error(why: Refusal, subject: str) -> StoreRefused | StoreUnavailable:
    """Our error for a refusal that the caller did not cause."""
    if why.is_temporary:
        return StoreUnavailable(f"{subject}: {why.status} {why.code}".rstrip())
    hint = '; set [site] addressing = "virtual"' if why.code == "PathStyleDomainForbidden" else ""
    return StoreRefused(f"{subject}: {why.status} {why.code} {why.message}".rstrip() + hint)


def limit_region_redirects(model: Any, context: Any, **_: Any) -> None:
    """Handle botocore's event `before-parameter-build.s3`; to be registered last.

    botocore asks a bucket that redirects for its region. If that answer redirects too, it would ask for ever.
    """
    if model.name == "HeadBucket":
        context["s3_redirect"]["redirected"] = True


def _is_folder_object(one: Item | str) -> bool:
    """Is it one of the empty objects with which consoles show a folder?"""
    return isinstance(one, Item) and one.key.endswith("/") and not one.size


def _item(content: Any, before: int) -> Item:
    modified, storage_class = int(content["LastModified"].timestamp()), content.get("StorageClass") or "STANDARD"
    return Item(content["Key"][before:], content["ETag"], modified, content["Size"], storage_class)
