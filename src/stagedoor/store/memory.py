"""Objects in memory: for tests, and for trying things out."""

from __future__ import annotations

import hashlib
import time

from ..core.messages import Item, List, Listed, Pairs
from .media_types import content_type
from .names import in_bytes, resume_after, usable
from .port import Head, Meta, Open, Opened, extent, no_chunks, nothing


class MemoryStore:
    """A store that forgets everything when the process ends."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[Meta, bytes]] = {}

    def put(self, key: str, body: bytes, headers: Pairs = (), *, type_: bytes = b"", modified: float = 0.0) -> None:
        """Keep an object, as it would be in a bucket.

        Args:
            key: its name.
            body: its bytes.
            headers: as in `Meta`.
            type_: media type; default: by the key's ending.
            modified: epoch seconds; default: now.
        """
        etag = b'"' + hashlib.md5(body, usedforsecurity=False).hexdigest().encode() + b'"'
        meta = Meta(len(body), etag, int(modified or time.time()), type_ or content_type(key), headers)
        self._objects[key] = (meta, body)

    def head_now(self, wish: Head) -> Meta | None:
        found = self._objects.get(wish.key)
        return found[0] if found else None

    def open_now(self, wish: Open) -> Opened | None:
        found = self._objects.get(wish.key)
        if found is None:
            return None
        meta, body = found
        start, stop = extent(meta, wish)
        return Opened(meta, start, stop, body[start:stop], no_chunks, nothing)

    async def head(self, wish: Head) -> Meta | None:
        return self.head_now(wish)

    async def open(self, wish: Open) -> Opened | None:
        return self.open_now(wish)

    async def list(self, wish: List) -> Listed:
        in_bytes(wish)
        names = {_told(key, wish) for key in self._objects if key.startswith(wish.prefix)}
        later = sorted(name for name in names if name > wish.after)  # texts sort as their UTF-8 bytes do
        page = [self._entry(name, wish) for name in later[: wish.limit]]
        return Listed(usable(page), resume_after(page[-1]) if len(later) > wish.limit else None)

    def _entry(self, name: str, wish: List) -> Item | str:
        if wish.folders and name.endswith("/") and name != wish.prefix:
            return name
        meta = self._objects[name][0]
        return Item(name, meta.etag.decode(), meta.modified, meta.size)

    async def ready(self) -> None:
        return

    async def aclose(self) -> None:
        return


def _told(key: str, wish: List) -> str:
    """The name under which a key is listed: its own, or that of the folder it is in."""
    slash = key.find("/", len(wish.prefix)) if wish.folders else -1
    return key if slash < 0 else key[: slash + 1]
