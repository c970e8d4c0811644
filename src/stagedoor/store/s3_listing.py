"""Listings of S3: what is asked, how the answer is read, what a refusal means, whichever client asks.

The gateway asks through aiobotocore, the Lambda function through botocore; both get the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..core.errors import StoreRefused, StoreUnavailable
from ..core.messages import Item, List, Listed
from ..core.paths import MAX_KEY_BYTES
from ..outside.aws import refusal
from .names import in_bytes, resume_after, usable


class Listing(NamedTuple):
    """One page that is asked for (Amazon S3 API, ListObjectsV2).

    Directory buckets (S3 Express One Zone) do not sort and know no place to go on from: they cannot be listed.

    Attributes:
        bucket: its name.
        prefix: what stands before every key in the bucket, with its slash; "" for nothing.
        wish: the page.
    """

    bucket: str
    prefix: str
    wish: List

    @property
    def place(self) -> str:
        """For the log."""
        return f"bucket {self.bucket}, listing {self.wish.prefix!r}"

    def question(self) -> dict[str, Any] | None:
        """Arguments of `list_objects_v2`; None if no key can be so long, and nothing need be asked.

        Raises:
            InvalidTarget: the wish is no valid Unicode text.
        """
        prefix, after = in_bytes(self.wish)
        before = len(self.prefix.encode())
        if before + len(prefix) > MAX_KEY_BYTES:
            return None
        return {
            "Bucket": self.bucket,
            "Prefix": self.prefix + self.wish.prefix,
            # No name is longer, so none lies between an overlong place and its beginning.
            "StartAfter": self.prefix + after[: MAX_KEY_BYTES - before].decode(errors="ignore"),
            # Servers may tell once more the folder that `after` lies in.
            "MaxKeys": min(self.wish.limit + 1, 1000),
            **({"Delimiter": "/"} if self.wish.folders else {}),
        }

    def read(self, answer: Mapping[str, Any]) -> Listed:
        """Read the answer.

        Raises:
            StoreUnavailable: it is not about what was asked.
        """
        wish = self.wish
        if "IsTruncated" not in answer:  # all listings say it; an answer about something else is no empty bucket
            raise StoreUnavailable(f"{self.place}: the answer is no listing")
        told = self._told(answer)
        if not all(name.startswith(self.prefix + wish.prefix) for name in told):
            raise StoreUnavailable(f"{self.place}: the answer holds names that were not asked for")
        entries = [told[name] for name in sorted(told) if name > self.prefix + wish.after]
        all_found = usable(entries)
        found = all_found[: wish.limit]
        if found == all_found and not answer["IsTruncated"]:
            return Listed(found)
        if not entries:
            raise StoreUnavailable(f"{self.place}: the answer does not go on from where it was told to")
        # A usable name, if there is one: some servers fail when they are told to go on from another.
        return Listed(found, resume_after((found or entries)[-1]))

    def _told(self, answer: Mapping[str, Any]) -> dict[str, Item | str]:
        """What a listing tells, by names in the bucket; those in the store are without the prefix."""
        before = len(self.prefix)
        try:
            folders = [folder["Prefix"] for folder in answer.get("CommonPrefixes", ())]
            items = {item["Key"]: _item(item, before) for item in answer.get("Contents", ())}
        except KeyError as error:
            raise StoreUnavailable(f"{self.place}: the answer lacks {error}") from error
        return {**items, **{name: name[before:] for name in folders}}


def fault(error: Any, place: str) -> StoreRefused | StoreUnavailable:
    """What a refusal (botocore's ClientError) means that has nothing to do with the caller."""
    why = refusal(error)
    if why.is_temporary:
        return StoreUnavailable(f"{place}: {why.status} {why.code}")
    return StoreRefused(f"{place}: {why.status} {why.code} {why.message}".rstrip())


def ask_once(model: Any, context: Any, **_: Any) -> None:
    """For botocore's event `before-parameter-build.s3`, registered last.

    botocore asks a bucket that redirects for its region; if that redirects too, it would ask again without end.
    """
    if model.name == "HeadBucket":
        context["s3_redirect"]["redirected"] = True


def _item(told: Any, before: int) -> Item:
    modified, storage_class = int(told["LastModified"].timestamp()), told.get("StorageClass") or "STANDARD"
    return Item(told["Key"][before:], told["ETag"], modified, told["Size"], storage_class)
