"""Requests exactly as an attacker would write them, and not more of them than a site can take.

HTTP clients normalise targets and follow redirects; the questions are about what would get lost that way.
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
ANSWER_TIMEOUT = 15.0
"""Seconds for a whole answer, however slowly its pieces come."""
MAX_BODY = 65_536
"""Bytes of a body that are read: enough to recognise it."""
MAX_REQUESTS = 800
MAX_SECONDS = 300.0
"""Seconds for an examination; more at a slow rate, so that it can be finished."""
MAX_SILENT = 8
"""Requests in a row without an answer before the doctor checks whether the site is still there."""
RATE = 20.0
"""Requests per second to other machines."""
DEFAULT_PORTS = {"http": 80, "https": 443}

Fields = Sequence[tuple[str, str]]


class Unreachable(StagedoorError):
    """The site does not answer, or a limit of the examination is reached."""


class Untrusted(StagedoorError):
    """The site's certificate is not valid."""


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
            ValueError: it is not an http or https URL.
        """
        parts = urlsplit(url)
        port = parts.port
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname or parts.username is not None:
            raise ValueError(f"{url!r} is not an https://… or http://… URL")
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
    """The answer to a request.

    Attributes:
        method: of the request; an answer to HEAD has no body.
        status: 0 if there was no HTTP answer.
        fields: header fields, with lower-case names.
        body: the first `MAX_BODY` bytes.
        error: why there was no answer.
    """

    method: str
    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    error: str = ""

    def values(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found == name]

    def field(self, name: str) -> str:
        """The values of a field in one line; "" if it is absent."""
        return ", ".join(self.values(name))

    @property
    def success(self) -> bool:
        """Does the status mean that there is content for this caller?"""
        return self.status in (200, 203, 206, 207, 304)


@dataclass(slots=True)
class Meter:
    """Limits the number and the rate of requests; all wires of one examination share it."""

    rate: float
    left: int = MAX_REQUESTS
    asked: int = 0
    started: float = field(default_factory=time.monotonic)
    _next: float = 0.0

    def wait(self) -> None:
        """Wait until the next request may be sent.

        Raises:
            Unreachable: the limit of requests or of time is reached.
        """
        now = time.monotonic()
        if not self.left or now > self.started + self.time_limit:
            limit = "time" if self.left else "requests"
            raise Unreachable(f"after {self.asked} requests and {self.seconds:.0f} s: the limit of {limit} is reached")
        if self.rate:
            if self._next > now:
                time.sleep(self._next - now)
            self._next = max(now, self._next) + 1 / self.rate
        self.left -= 1
        self.asked += 1

    @property
    def time_limit(self) -> float:
        """Seconds after which the examination stops."""
        return max(MAX_SECONDS, 1.5 * MAX_REQUESTS / self.rate if self.rate else 0.0)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Wire:
    """Sends requests to one origin, each on its own connection, and follows no redirects."""

    def __init__(self, origin: Origin, meter: Meter) -> None:
        self.origin, self._meter = origin, meter
        self._silent = 0
        self._tls = ssl.create_default_context() if origin.scheme == "https" else None

    def ask(self, target: str, method: str = "GET", fields: Fields = (), body: bytes = b"") -> Answer:
        """Send a request as it is written here.

        Args:
            target: for the request line; ` HTTP/1.0` at its end replaces our version.
            method: for the request line.
            fields: header fields; a `Host` replaces ours.
            body: sent with its Content-Length.

        Raises:
            Unreachable: the site does not answer any more, or a limit is reached.
            Untrusted: the certificate is not valid.
        """
        self._meter.wait()
        answer = self._exchange(method, self._request(target, method, fields, body))
        self._silent = 0 if answer.status else self._silent + 1
        if self._silent >= MAX_SILENT:
            self._check_that_it_answers(answer.error)
        return answer

    def _check_that_it_answers(self, error: str) -> None:
        """After many requests without an answer: is the site gone, or does it hang up on nonsense?"""
        self._meter.wait()
        if not self._exchange("GET", self._request("/", "GET", (), b"")).status:
            raise Unreachable(f"{self.origin} does not answer any more: {error}")
        self._silent = 0

    def _request(self, target: str, method: str, fields: Fields, body: bytes) -> bytes:
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
            with self._connection() as connection:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # there may be an answer all the same
                    connection.sendall(raw)
                stream: Any = _TimedStream(connection, time.monotonic() + ANSWER_TIMEOUT)
                response = HTTPResponse(stream, method=method)
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
            return Answer(method, 0, error=_in_words(error))

    @contextlib.contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        with socket.create_connection((self.origin.host, self.origin.port), TIMEOUT) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                yield plain
            else:
                with self._tls.wrap_socket(plain, server_hostname=self.origin.host) as encrypted:
                    yield encrypted

    def speaks_old_tls(self) -> str:
        """The version that the site accepts when offered only TLS 1.1 and older; "" if it refuses."""
        self._meter.wait()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it warns that they are old, which is the point
            offer = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            offer.check_hostname, offer.verify_mode = False, ssl.CERT_NONE  # nothing is sent on this connection
            offer.set_ciphers("ALL:@SECLEVEL=0")
            offer.minimum_version, offer.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        try:
            with (
                socket.create_connection((self.origin.host, self.origin.port), TIMEOUT) as plain,
                offer.wrap_socket(plain, server_hostname=self.origin.host) as encrypted,
            ):
                return encrypted.version() or ""
        except OSError:
            return ""


class _TimedStream(io.RawIOBase):
    """Reads from a connection until a deadline, however slowly the other end sends."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002 - HTTPResponse calls it as a socket's method
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(min(TIMEOUT, left))
        return self._connection.recv_into(buffer)


_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")
"""What versions of OpenSSL report when the answer is not TLS."""


def _in_words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return "this port does not speak TLS; is it http?"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, RemoteDisconnected | ConnectionError):
        return "the connection was closed without an answer"
    return f"the answer is not HTTP: {error}" if isinstance(error, HTTPException) else str(error)
