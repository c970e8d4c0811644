"""Where a bucket is asked: host, port and path, at AWS and at stores that are compatible with S3."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

Addressing: TypeAlias = Literal["auto", "virtual", "path"]

_SUFFIXES = {"cn-": "amazonaws.com.cn", "us-iso-": "c2s.ic.gov", "us-isob-": "sc2s.sgov.gov"}
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]")
REGION = re.compile(r"[a-z0-9-]{1,32}")
"""A region becomes a part of a host name, so that nothing else may be in it."""


class Address(NamedTuple):
    """A bucket's address.

    Attributes:
        host, port, tls: where to connect.
        authority: the Host header field.
        path: stands before every key, with slashes at both ends.
        region: for the signature.
    """

    host: str
    port: int
    tls: bool
    authority: str
    path: str
    region: str


def at_aws(bucket: str, region: str, addressing: Addressing = "auto", *, dualstack: bool, fips: bool) -> Address:
    """A bucket or an access point's alias at AWS (Amazon S3 User Guide, "Virtual hosting of general purpose buckets").

    Buckets with a dot in their name are asked by path, because no certificate fits their host name.
    """
    suffix = next((suffix for start, suffix in _SUFFIXES.items() if region.startswith(start)), "amazonaws.com")
    host = f"s3{'-fips' if fips else ''}{'.dualstack' if dualstack else ''}.{region}.{suffix}"
    if addressing != "path" and (addressing == "virtual" or _LABEL.fullmatch(bucket)):
        return Address(f"{bucket}.{host}", 443, True, f"{bucket}.{host}", "/", region)
    return Address(host, 443, True, host, f"/{bucket}/", region)


def at_endpoint(bucket: str, endpoint: str, region: str, addressing: Addressing = "auto") -> Address:
    """A bucket at another server with the same API.

    Args:
        bucket: its name.
        endpoint: URL of the server, perhaps with a path.
        region: for the signature.
        addressing: `auto` is `path`, because host names for buckets need a wildcard in DNS.
    """
    parts = urlsplit(endpoint)
    tls = parts.scheme == "https"
    default = 443 if tls else 80
    port = parts.port or default
    host = parts.hostname or ""
    base = f"{parts.path.rstrip('/')}/"
    if addressing == "virtual":
        host = f"{bucket}.{host}"
    else:
        base += f"{bucket}/"
    written = f"[{host}]" if ":" in host else host
    return Address(host, port, tls, written if port == default else f"{written}:{port}", base, region)
