"""Whose certificates count when somebody outside is asked."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache


def tls_context(ca: str = "") -> ssl.SSLContext:
    """A TLS context for asking.

    It trusts the authorities that SSL_CERT_FILE or SSL_CERT_DIR name, else the machine's own, or Mozilla's where the
    machine has none.

    Args:
        ca: further authorities, in PEM.

    Raises:
        OSError: a file that the environment names cannot be read.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folder:
        own = ssl.get_default_verify_paths()
        if not own.cafile and not own.capath:
            import certifi

            file = certifi.where()
    context = ssl.create_default_context(cafile=file or None, capath=None if file else folder or None)
    if ca:
        context.load_verify_locations(cadata=ca)
    return context


@lru_cache(maxsize=8)
def context_for(ca: str) -> ssl.SSLContext | None:
    """The TLS context for `fetch_sync.fetch`, made once; None if there are no further authorities."""
    return tls_context(ca) if ca else None
