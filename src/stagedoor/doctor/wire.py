"""Requests exactly as an attacker would write them, and no more of them than a site can take.

HTTP clients tidy up what they send and follow what comes back; the questions are about what they would tidy away.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import socket
import ssl
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse, RemoteDisconnected
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..core.errors import StagedoorError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

TIMEOUT = 5.0
"""Seconds to connect, and between two pieces of an answer."""
LONGEST = 15.0
"""Seconds for one exchange, however little of it comes at a time."""
MAX_BODY = 65_536
"""Bytes of an answer that are read: enough to know it again."""
MAX_REQUESTS = 800
MAX_SECONDS = 300.0
"""Seconds for all of it; more where a slow pace was asked for, so that it can be finished."""
MAX_SILENT = 8
"""Requests in a row that nothing answered, after which it is asked whether the site is still there."""
RATE = 20.0
"""Requests a second to other machines."""
DEFAULT_PORTS = {"http": 80, "https": 443}

Fields = Sequence[tuple[str, str]]


class Unreachable(StagedoorError):
    """The site cannot be asked, or not any more."""


class Untrusted(StagedoorError):
    """The site's certificate does not hold."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a site."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Read the origin of a URL.

        Raises:
            ValueError: it is no http or https URL.
        """
        parts = urlsplit(url)
        port = parts.port
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.username is not None:
            raise ValueError(f"{url!r} is no https://… or http://… URL")
        return cls(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme])

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def local(self) -> bool:
        """Is it this machine?"""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost" or self.host.endswith(".localhost")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        method: of the request, for an answer to HEAD has no body.
        status: 0 if nothing came that is HTTP.
        fields: header fields, lower-case names.
        body: its beginning.
        error: why there is no answer.
    """

    method: str
    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    error: str = ""

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found == name]

    def field(self, name: str) -> str:
        """The values of a field in one line; "" if there is none."""
        return ", ".join(self.all(name))

    @property
    def given(self) -> bool:
        """Success with content, or as good as that."""
        return self.status in (200, 203, 206, 207, 304)


@dataclass(slots=True)
class Meter:
    """Keeps requests few and apart; all wires of one examination share it."""

    rate: float
    left: int = MAX_REQUESTS
    asked: int = 0
    started: float = field(default_factory=time.monotonic)
    _next: float = 0.0

    def wait(self) -> None:
        """Wait for one's turn.

        Raises:
            Unreachable: there have been enough.
        """
        now = time.monotonic()
        if not self.left or now > self.started + self.longest:
            why = "the time ran out" if self.left else "that is as many as it sends"
            raise Unreachable(f"after {self.asked} requests and {self.seconds:.0f} s: {why}")
        if self.rate:
            if self._next > now:
                time.sleep(self._next - now)
            self._next = max(now, self._next) + 1 / self.rate
        self.left -= 1
        self.asked += 1

    @property
    def longest(self) -> float:
        """Seconds after which it stops."""
        return max(MAX_SECONDS, 1.5 * MAX_REQUESTS / self.rate if self.rate else 0.0)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Wire:
    """Asks one origin, each time on a connection of its own, and follows nothing."""

    def __init__(self, origin: Origin, meter: Meter) -> None:
        self.origin, self._meter = origin, meter
        self._silent = 0
        self._tls = ssl.create_default_context() if origin.scheme == "https" else None

    def ask(self, target: str, method: str = "GET", fields: Fields = (), body: bytes = b"") -> Answer:
        """Send a request for this very target.

        Args:
            target: as it is to stand in the request line; ` HTTP/1.0` at its end takes the place of our version.
            method: as it is to be sent.
            fields: header fields; `Host` replaces ours.
            body: sent with its length.

        Raises:
            Unreachable: nothing answers any more, or enough was asked.
            Untrusted: the certificate does not hold.
        """
        self._meter.wait()
        answer = self._exchange(method, self._written(target, method, fields, body))
        self._silent = 0 if answer.status else self._silent + 1
        if self._silent >= MAX_SILENT:
            self._knock(answer.error)
        return answer

    def _knock(self, error: str) -> None:
        """Nothing answered for a while: is the site gone, or does it hang up on nonsense?"""
        self._meter.wait()
        if not self._exchange("GET", self._written("/", "GET", (), b"")).status:
            raise Unreachable(f"{self.origin} does not answer any more: {error}")
        self._silent = 0

    def _written(self, target: str, method: str, fields: Fields, body: bytes) -> bytes:
        lines = [f"{method} {target}{'' if ' HTTP/' in target else ' HTTP/1.1'}"]
        if not any(name.lower() == "host" for name, _ in fields):
            lines.append(f"Host: {self.origin.authority}")
        ours = (("User-Agent", "stagedoor-doctor"), ("Accept", "*/*"))
        lines += [f"{name}: {value}" for name, value in (*(one for one in ours if one[0] not in dict(fields)), *fields)]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8", "surrogateescape") + body

    def _exchange(self, method: str, raw: bytes) -> Answer:
        try:
            with self._connected() as connection:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # an answer may be there all the same
                    connection.sendall(raw)
                patient: Any = _Patient(connection, time.monotonic() + LONGEST)
                response = HTTPResponse(patient, method=method)
                try:
                    response.begin()
                    fields = tuple((name.lower(), value.strip()) for name, value in response.getheaders())
                    body = response.read(MAX_BODY)
                finally:
                    response.close()
                return Answer(method, response.status, fields, body)
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(error.verify_message or str(error)) from error
        except TimeoutError:
            return Answer(method, 0, error=f"no answer within {TIMEOUT:g} s")
        except (HTTPException, OSError) as error:
            return Answer(method, 0, error=_plain(error))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection((self.origin.host, self.origin.port), TIMEOUT) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                yield plain
            else:
                with self._tls.wrap_socket(plain, server_hostname=self.origin.host) as secret:
                    yield secret

    def speaks_old_tls(self) -> str:
        """The version that it agrees to when offered nothing newer than TLS 1.1; "" if it refuses."""
        self._meter.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that they are old is the point
            offer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            offer.check_hostname, offer.verify_mode = False, ssl.CERT_NONE  # nothing is sent on this connection
            offer.set_ciphers("ALL:@SECLEVEL=0")
            offer.minimum_version, offer.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        try:
            with (
                socket.create_connection((self.origin.host, self.origin.port), TIMEOUT) as plain,
                offer.wrap_socket(plain, server_hostname=self.origin.host) as secret,
            ):
                return secret.version() or ""
        except OSError:
            return ""


class _Patient(io.RawIOBase):
    """What comes over a connection, as long as patience lasts; the other end may let it drip."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection, self._until = connection, until

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - what HTTPResponse asks a socket for
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(min(TIMEOUT, left))
        return self._connection.recv_into(buffer)


_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
"""How OpenSSL's versions call it that something else than TLS came."""


def _plain(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return "it speaks no TLS there; is it http?"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, RemoteDisconnected | ConnectionError):
        return "closed without an answer"
    return f"what came is no HTTP: {error}" if isinstance(error, HTTPException) else str(error)
