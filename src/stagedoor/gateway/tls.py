"""TLS for `stagedoor serve`: the context that new connections are made from, and the time that TLS itself may take."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import uvloop

from ..core.errors import SettingsError

HANDSHAKE_WITHIN = 10.0
"""Seconds from the start of a connection to the end of its handshake."""
CLOSE_WITHIN = 20.0
"""Seconds in which a client takes its last bytes and answers the end of the connection (RFC 8446 §6.1)."""


def make_context(files: tuple[Path, Path]) -> ssl.SSLContext:
    """A context for `[gateway] tls`: TLS 1.2 or newer, HTTP/1.1, Python's choice of ciphers.

    Args:
        files: certificate chain and private key, both PEM.

    Raises:
        SettingsError: the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    use_certificate(context, files)
    return context


def use_certificate(context: ssl.SSLContext, files: tuple[Path, Path]) -> None:
    """Let connections that are made from now on have this certificate.

    A context that takes part in handshakes must be changed in the thread of its event loop. If the files do not fit
    each other it is left without a key, so try them with `make_context` first.

    Raises:
        SettingsError: the files cannot be used.
    """
    certificate, key = files

    def refuse_passphrase() -> str:  # without it OpenSSL asks for one at the terminal
        raise _error(f"{key} is encrypted; the key has to be there without a passphrase")

    try:
        context.load_cert_chain(certificate, key, refuse_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _error(f"{key} is not the key of the certificate {certificate}") from error
        raise _error(f"{certificate} and {key} are not a certificate and its key, both PEM ({error})") from error
    except OSError as error:
        raise _error(f"{certificate} or {key} cannot be read: {error.strerror}") from error


def _error(problem: str) -> SettingsError:
    return SettingsError(problem, setting="gateway.tls")


class Loop(uvloop.Loop):
    """uvloop with our time limits for TLS; uvicorn has no setting for them."""

    async def create_server(self, *arguments: Any, **more: Any) -> Any:
        if more.get("ssl") is not None:
            more |= {"ssl_handshake_timeout": HANDSHAKE_WITHIN, "ssl_shutdown_timeout": CLOSE_WITHIN}
        return await super().create_server(*arguments, **more)
