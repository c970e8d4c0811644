"""Objects in memory, for tests and for trying things out."""

from __future__ import annotations

import hashlib
import time

from ..core.messages import Item, List, Listed, Pairs
from .media_types import content_type
from .names import as_bytes, resume_after, usable
from .port import Head, Meta, Open, Opened, extent


class MemoryStore:
    """A store whose objects are lost when the process ends."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[Meta, bytes]] = {}

    def put(
        self, key: str, body: bytes, headers: Pairs = (), *, media_type: bytes = b"", modified: float = 0.0
    ) -> None:
        """Store an object.

        Args:
            key: its name.
            body: its bytes.
            headers: as in `Meta`.
            media_type: found by the key's ending if empty.
            modified: epoch seconds; 0 is now.
        """
        etag = b'"' + hashlib.md5(body, usedforsecurity=False).hexdigest().encode() + b'"'
        meta = Meta(len(body), etag, int(modified or time.time()), media_type or content_type(key), headers)
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
        return Opened(meta, start, stop, body[start:stop])

    async def head(self, wish: Head) -> Meta | None:
        return self.head_now(wish)

    async def open(self, wish: Open) -> Opened | None:
        return self.open_now(wish)

    async def list(self, wish: List) -> Listed:
        as_bytes(wish)
        names = {_listed_name(key, wish) for key in self._objects if key.startswith(wish.prefix)}
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


def _listed_name(key: str, wish: List) -> str:
    """The key itself, or the folder that stands for it."""
    slash = key.find("/", len(wish.prefix)) if wish.folders else -1
    return key if slash < 0 else key[: slash + 1]
