"""Media types by file ending, the same on every machine (the system's own table is not asked)."""

from __future__ import annotations

import mimetypes

_MORE = {
    ".7z": "application/x-7z-compressed",
    ".avif": "image/avif",
    ".flac": "audio/flac",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4a": "audio/mp4",
    ".m4s": "video/iso.segment",
    ".m4v": "video/mp4",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".mkv": "video/x-matroska",
    ".mpd": "application/dash+xml",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".ts": "video/mp2t",
    ".vtt": "text/vtt",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}

_types = mimetypes.MimeTypes(filenames=())
_types.encodings_map = {}  # a.tar.gz is a gzip file; nothing is to be unpacked on the way
_types.suffix_map = {}


def content_type(key: str) -> bytes:
    """The media type for a key by its ending; text is UTF-8, what is unknown is bytes."""
    ending = key[key.rfind(".") :].lower() if "." in key.rpartition("/")[2] else ""
    found = _MORE.get(ending) or _types.types_map[True].get(ending) or "application/octet-stream"
    if found.startswith("text/"):
        found += "; charset=utf-8"
    return found.encode()
