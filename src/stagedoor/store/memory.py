"""Objects in memory: for tests, and for trying things out."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace

from ..messages import Pairs
from . import Changed, Meta, NotSatisfiable, Opened, Range, no_chunks, nothing
from .types import content_type


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

    async def head(self, key: str) -> Meta | None:
        found = self._objects.get(key)
        return replace(found[0]) if found else None

    async def open(self, key: str, span: Range | None = None, etag: bytes | None = None) -> Opened | None:
        found = self._objects.get(key)
        if found is None:
            return None
        meta, body = found
        if etag is not None and etag != meta.etag:
            raise Changed
        part = span.resolve(meta.size) if span else (0, meta.size)
        if part is None:
            raise NotSatisfiable(meta.size)
        return Opened(meta, *part, body[slice(*part)], no_chunks, nothing)

    async def ready(self) -> None:
        return

    async def aclose(self) -> None:
        return
