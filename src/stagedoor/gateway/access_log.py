"""One line for each request, on standard output: JSON, or CloudFront's standard log format.

No line holds a query, a cookie or a referrer, so no credential can get into it. Lines are gathered and handed over
a few times a second; a full disk, a closed pipe or a slow reader loses lines, never requests.
"""

from __future__ import annotations

import asyncio
import os
import time
from json.encoder import encode_basestring_ascii as quoted
from typing import NamedTuple

from ..core.messages import Request
from ..settings import AccessLog as Format
from .log_writer import LogWriter, Write

FLUSH_AFTER = 0.2
"""Seconds after which gathered lines are handed over."""
FLUSH_SIZE = 65_536
"""Characters of gathered lines that are handed over at once."""

CLOUDFRONT_FIELDS = (
    "date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) "
    "cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken "
    "x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status "
    "fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len "
    "sc-range-start sc-range-end"
)
"""CloudFront Developer Guide, "Standard log file fields"."""


class Entry(NamedTuple):
    """One request that has been answered, for its line."""

    request: Request
    client: str
    status: int
    size: int
    seconds: float
    caller: str
    rule: str
    reason: str
    cache: str
    host: str = "-"


class AccessLog:
    """Gathers lines and writes them.

    Args:
        format_: `json`, `cloudfront` or `off`.
        write: takes the text; default: standard output.
    """

    def __init__(self, format_: Format, write: Write | None = None) -> None:
        self._line = {"json": _json_line, "cloudfront": _cloudfront_line, "off": None}[format_]
        self._writer = LogWriter("access log", write or (lambda text: os.write(1, text)))
        self._lines: list[str] = []
        self._size = 0
        self._flushing = False
        self._second, self._date = 0, ""
        if format_ == "cloudfront":
            self._lines.append(f"#Version: 1.0\n#Fields: {CLOUDFRONT_FIELDS}\n")

    def add(self, entry: Entry, now: float) -> None:
        """Note a request; `now` in epoch seconds."""
        if self._line is None:
            return
        second = int(now)
        if second != self._second:
            self._second, self._date = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        line = self._line(entry, self._date, int(now % 1 * 1000))
        self._lines.append(line)
        self._size += len(line)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_later(FLUSH_AFTER, self._flush_later)
        if self._size >= FLUSH_SIZE:
            self.flush()

    def _flush_later(self) -> None:
        self._flushing = False
        self.flush()

    def flush(self) -> None:
        """Hand over the gathered lines; a thread writes them, because their reader may be slow."""
        if self._lines:
            self._writer.put("".join(self._lines).encode())
            self._lines.clear()
            self._size = 0

    def close(self) -> None:
        """Write the last lines, if they can be written soon."""
        self.flush()
        self._writer.flush()


def _json_line(entry: Entry, date: str, milliseconds: int) -> str:
    request, client, status, size, seconds, caller, rule, reason, cache, _ = entry
    return (
        f'{{"time":"{date}.{milliseconds:03d}Z","client":{quoted(client)},"method":{quoted(request.method)},'
        f'"path":{quoted(request.path.decode("latin-1"))},"status":{status},"bytes":{size},'
        f'"ms":{seconds * 1000:.2f},"caller":{quoted(caller)},"rule":"{rule}","reason":"{reason}","cache":"{cache}"}}\n'
    )


_RESULTS = {"hit": "Hit", "revalidated": "RefreshHit", "miss": "Miss"}


def _cloudfront_line(entry: Entry, date: str, _milliseconds: int) -> str:
    request = entry.request
    result = "Error" if entry.status >= 400 else _RESULTS.get(entry.cache, "Hit" if entry.status == 304 else "Miss")
    agent = b" ".join(request.headers.get(b"user-agent", ()))
    day, _, clock = date.partition("T")
    values = (
        *(day, clock, "-", str(entry.size), entry.client, _escaped(request.method.encode()), entry.host),
        *(_escaped(request.path), str(entry.status), "-", _escaped(agent), "-", "-", result, "-", entry.host),
        *("-", "-", f"{entry.seconds:.3f}", "-", "-", "-", result, "-", "-", "-", "-", f"{entry.seconds:.3f}"),
        *(result, "-", str(entry.size), "-", "-"),
    )
    return "\t".join(values) + "\n"


def _escaped(raw: bytes) -> str:
    """Percent-encoded where a tab, a space or a control character would break the line."""
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"%{byte:02X}" for byte in raw) or "-"
