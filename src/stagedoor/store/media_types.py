"""Media types by file ending, the same on every machine because the system's own table is not read."""

from __future__ import annotations

import mimetypes

_ADDED = {
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
_types.encodings_map = {}  # a.tar.gz is sent as a gzip file, not as a tar file in gzip encoding
_types.suffix_map = {}


def content_type(key: str) -> bytes:
    """The media type of a key, by its ending: text is taken for UTF-8, an unknown ending for plain bytes."""
    ending = key[key.rfind(".") :].lower() if "." in key.rpartition("/")[2] else ""
    found = _ADDED.get(ending) or _types.types_map[True].get(ending) or "application/octet-stream"
    if found.startswith("text/"):
        found += "; charset=utf-8"
    return found.encode()
