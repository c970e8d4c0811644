"""The contestants in front of a store, and the store: an nginx that serves a bucket and looks at no signature."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench import keys, peers
from bench.load import Load
from bench.peers import FOLDER, Cores, Server

RELAY, AUTH, HAPROXY, ENVOY, BY_HAND = "nginx", "nginx auth_request", "haproxy", "envoy", "by hand"
OURS, CACHED, OURS_FOLDER = "stagedoor", "stagedoor, cache", "stagedoor, folder"
CACHING, STORE = "nginx auth_request, cache", "store"

HERE = Path(__file__).parent
BUCKET = "assets"
NAME = "store.example"
"""The store's name in its certificate."""
AWAY_MS = 30
NO_WAITING = "tcp_nopush off;"
"""With it on, nginx keeps the end of some answers back for 40 ms."""
NAMES = {"1k.bin": 500, "64k.bin": 100}
"""Names of each small object: more than are asked for at the same time, and less than the cache holds."""
FILLED_WITH = {"1k.bin": 1 << 10, "64k.bin": 64 << 10, "1m.bin": 1 << 20}
"""What the cache is filled with for the figures of memory; 1 MB is the largest that it takes."""
CACHE_BYTES = 64_000_000
"""`[site] cache` by itself."""
FILL_WITHIN = 25.0
"""Seconds."""
RELAYING = (RELAY, AUTH, HAPROXY, ENVOY, BY_HAND, OURS)


class Row(NamedTuple):
    """One row of the comparison: a kind of request, how far the store is, who is asked, whom they are compared with."""

    load: Load
    place: str
    servers: tuple[str, ...]
    base: str


ROWS = (
    Row(Load("1 KB", "1k.bin", names=NAMES["1k.bin"]), "near", RELAYING, RELAY),
    Row(Load("64 KB", "64k.bin", names=NAMES["64k.bin"]), "near", RELAYING, RELAY),
    Row(Load("10 MB", "10m.bin", connections=16), "near", RELAYING, RELAY),
    Row(Load("1 MB ranges", "1g.bin", ranges=True), "near", RELAYING, RELAY),
    Row(Load("1 KB, TLS", "1k.bin", names=NAMES["1k.bin"]), "tls", (RELAY, BY_HAND, OURS), RELAY),
    Row(
        Load("1 KB, 30 ms away", "1k.bin", names=NAMES["1k.bin"], connections=256),
        "far",
        (STORE, RELAY, BY_HAND, OURS),
        RELAY,
    ),
    Row(Load("1 KB, cached", "1k.bin", names=NAMES["1k.bin"]), "near", (CACHING, OURS_FOLDER, CACHED), OURS_FOLDER),
    Row(Load("64 KB, cached", "64k.bin", names=NAMES["64k.bin"]), "near", (CACHING, OURS_FOLDER, CACHED), OURS_FOLDER),
)


class Site(peers.Site):
    """The site, with small objects under many names for the folder, and a certificate for the store."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        (self.www / FOLDER / "1m.bin").write_bytes(os.urandom(1 << 20))
        for file, names in NAMES.items():
            for number in range(1, names + 1):
                folder = self.www / FOLDER / str(number)
                folder.mkdir(exist_ok=True)
                (folder / file).hardlink_to(self.www / FOLDER / file)
        key = ec.generate_private_key(ec.SECP256R1())
        (root / "store.pem").write_bytes(_certificate(key))
        (root / "store.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate for `NAME` and 127.0.0.1 that is its own authority, for a day."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    now, identifier = dt.datetime.now(dt.UTC), x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
    builder = builder.add_extension(names, critical=False).add_extension(identifier, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class Store(NamedTuple):
    """Where contestants find the store, and the servers whose processor time is its."""

    scheme: str
    port: int
    servers: list[Server]

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


def start_stores(site: Site, cores: Cores, stack: ExitStack) -> dict[str, Store]:
    """One nginx, over HTTP, over TLS, and from far away. Small objects have any number of names, as in `Load.names`."""
    port, tls, far = (peers.free_port() for _ in range(3))
    serving = f"""
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    listen 127.0.0.1:{tls} ssl backlog=1024;
    ssl_certificate {site.root}/store.pem; ssl_certificate_key {site.root}/store.key;
    root {site.www};
    {NO_WAITING}
    rewrite ^/{BUCKET}/(.*)$ /$1;
    rewrite "^/{FOLDER}/[0-9]+/(.*)$" /{FOLDER}/$1;
  }}"""
    path = f"/{FOLDER}/1k.bin"
    store = stack.enter_context(peers.nginx(site, cores.backend, "store", port, serving, path=path))
    command = [sys.executable, str(HERE / "delay.py"), str(far), str(port), str(AWAY_MS)]
    away = stack.enter_context(peers.start("store", far, command, cores.backend, site.root, path=path))
    away.refuses = False
    return {
        "near": Store("http", port, [store]),
        "tls": Store("https", tls, [store]),
        "far": Store("http", far, [away, store]),
    }


def start_all(site: Site, cores: Cores, stack: ExitStack) -> dict[str, dict[str, Server]]:
    """Start everybody who is asked in a row; by place, then by name."""
    stores = start_stores(site, cores, stack)
    asked = stack.enter_context(start_by_hand(site, cores.backend, stores["near"]))
    servers: dict[str, dict[str, Server]] = {place: {} for place in stores}
    servers["far"][STORE] = stores["far"].servers[0]
    for row in ROWS:
        for name in row.servers:
            if name not in servers[row.place]:
                server = start_one(name, site, cores.server, stores[row.place], asked)
                servers[row.place][name] = stack.enter_context(server)
    return servers


def start_one(name: str, site: Site, core: str, store: Store, asked: Server) -> Server:
    """Start one contestant; `asked` answers nginx's `auth_request`."""
    relay = f"http-request set-path /{BUCKET}%[path]\n  http-request del-header cookie"
    starters: dict[str, Callable[[], Server]] = {
        RELAY: lambda: start_relay(site, core, store),
        AUTH: lambda: start_auth_request(site, core, store, asked),
        CACHING: lambda: start_auth_request(site, core, store, asked, cache=True),
        HAPROXY: lambda: peers.haproxy(site, core, store.servers[0], relay),
        ENVOY: lambda: start_envoy(site, core, store),
        BY_HAND: lambda: start_by_hand(site, core, store),
        OURS: lambda: start_ours(site, core, store),
        CACHED: lambda: start_ours(site, core, store, cache=True),
        OURS_FOLDER: lambda: peers.start_stagedoor(site, core, OURS_FOLDER),
    }
    return starters[name]()


def _relaying(store: Store, more: str = "") -> str:
    """nginx's lines that hand a request on to the store: connections kept, the token left out, nothing on disk."""
    return f"""
      proxy_pass {store.scheme}://store/{BUCKET}/;
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Cookie "";
      proxy_buffers 8 64k; proxy_max_temp_file_size 0;
      {more}"""


def _upstream(name: str, port: int) -> str:
    return f"upstream {name} {{ server 127.0.0.1:{port}; keepalive 256; keepalive_requests 100000000; }}"


def start_relay(site: Site, core: str, store: Store) -> Server:
    """nginx that relays and checks nobody: the ceiling of relaying."""
    port = peers.free_port()
    tls = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {site.root}/store.pem; proxy_ssl_name {NAME};"
    serving = f"""
  {_upstream("store", store.port)}
  server {{
    listen 127.0.0.1:{port} backlog=1024; {NO_WAITING}
    location = /-/healthz {{ return 200; }}
    location / {{ {_relaying(store, tls if store.scheme == "https" else "")} }}
  }}"""
    server = peers.nginx(site, core, RELAY, port, serving)
    server.behind.extend(store.servers)
    server.refuses = False
    return server


def start_auth_request(site: Site, core: str, store: Store, asked: Server, *, cache: bool = False) -> Server:
    """nginx that asks a service about each caller and folder, and remembers a yes for 30 s.

    Args:
        cache: small objects are remembered, too, for 5 s.
    """
    port = peers.free_port()
    kept = """proxy_cache objects; proxy_cache_key $uri; proxy_cache_valid 200 5s; proxy_cache_revalidate on;
      proxy_cache_lock on; proxy_cache_bypass $http_range; proxy_no_cache $http_range;
      proxy_set_header Range $http_range;"""
    # The path of a subrequest is its own, so the one that was asked for is kept in a variable.
    serving = f"""
  proxy_cache_path {site.root}/authz-{port} keys_zone=authz:10m inactive=60s use_temp_path=off;
  proxy_cache_path {site.root}/objects-{port} keys_zone=objects:10m max_size=64m inactive=60s use_temp_path=off;
  map $asked $folder {{ "~^(/[^/]+/[^/]+/)" $1; default /; }}
  {_upstream("store", store.port)}
  {_upstream("auth", asked.port)}
  server {{
    listen 127.0.0.1:{port} backlog=1024; {NO_WAITING}
    location = /-/healthz {{ return 200; }}
    location / {{ set $asked $uri; auth_request /-/auth; {_relaying(store, kept if cache else "")} }}
    location = /-/auth {{
      internal; proxy_pass http://auth; proxy_pass_request_body off; proxy_set_header Content-Length "";
      proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Path $asked;
      proxy_cache authz; proxy_cache_key "$cookie_token|$folder"; proxy_cache_valid 200 204 30s; proxy_cache_lock on;
      proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
    }}
  }}"""
    server = peers.nginx(site, core, CACHING if cache else AUTH, port, serving)
    server.behind.extend([*store.servers, asked])
    return server


def start_envoy(site: Site, core: str, store: Store) -> Server:
    """Envoy with `jwt_authn`, which remembers tokens that it has checked, on one thread."""
    port = peers.free_port()
    config = site.root / f"envoy-{port}.json"
    config.write_text(json.dumps(_envoy(port, store.port, (site.root / "jwks.json").read_text())))
    program = str(Path(sys.executable).with_name("envoy"))
    command = [program, "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
    server = peers.start(ENVOY, port, command, core, site.root)
    server.behind.extend(store.servers)
    return server


def _envoy(port: int, store: int, key_set: str) -> dict[str, Any]:
    def typed(name: str, type_: str, **more: Any) -> dict[str, Any]:
        kind = f"type.googleapis.com/envoy.extensions.filters.{type_}"
        return {"name": f"envoy.filters.{name}", "typed_config": {"@type": kind, **more}}

    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    issuer = {
        "issuer": keys.ISSUER,
        "audiences": [keys.AUDIENCE],
        "local_jwks": {"inline_string": key_set},
        "from_cookies": ["token"],
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    health = {"match": {"path": "/-/healthz"}, "direct_response": {"status": 200}}
    folder = {
        "match": {"prefix": f"/{FOLDER}/"},
        "route": {"cluster": "store", "prefix_rewrite": f"/{BUCKET}/{FOLDER}/", "timeout": "0s"},
        "request_headers_to_remove": ["cookie"],
    }
    other = {"match": {"prefix": "/"}, "direct_response": {"status": 403}}
    manager = typed(
        "network.http_connection_manager",
        "network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        generate_request_id=False,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        http_filters=[
            typed(
                "http.jwt_authn",
                "http.jwt_authn.v3.JwtAuthentication",
                providers={"issuer": issuer},
                rules=[
                    {"match": {"path": "/-/healthz"}},
                    {"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}},
                ],
            ),
            typed("http.router", "http.router.v3.Router", suppress_envoy_headers=True),
        ],
        route_config={"virtual_hosts": [{"name": "site", "domains": ["*"], "routes": [health, folder, other]}]},
    )
    most = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests"), 4096)
    cluster = {
        "name": "store",
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {
            "cluster_name": "store",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(store)}}]}],
        },
    }
    listener = {"name": "site", "address": address(port), "filter_chains": [{"filters": [manager]}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _credentials(site: Site) -> dict[str, str]:
    """What SDKs need to sign; nothing of the person who measures is used."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
        "AWS_SESSION_TOKEN": "",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_CA_BUNDLE": str(site.root / "store.pem"),
        "NO_PROXY": "127.0.0.1",
    }


def start_by_hand(site: Site, core: str, store: Store) -> Server:
    """Starlette, PyJWT and boto3 on uvicorn, without access log."""
    port = peers.free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "--port", str(port)]
    command += ["--log-level", "warning", "--no-access-log", "by_hand:app"]
    env = _credentials(site) | {
        "ENDPOINT": store.url,
        "BUCKET": BUCKET,
        "ISSUER": keys.ISSUER,
        "AUDIENCE": keys.AUDIENCE,
        "ISSUER_KEY": str(site.root / "issuer.pem"),
    }
    server = peers.start(BY_HAND, port, command, core, site.root, env=env)
    server.behind.extend(store.servers)
    return server


def start_ours(site: Site, core: str, store: Store, *, cache: bool = False) -> Server:
    """Ourselves in front of the store, otherwise as in front of a folder; the cache is off, or as it is by itself."""
    lines = [f'store = "s3://{BUCKET}"', f'endpoint = "{store.url}"']
    if not cache:
        lines.append('cache = "0"')
    if store.scheme == "https":
        lines.append('ca = "file:store.pem"')
    name = CACHED if cache else OURS
    server = peers.start_stagedoor(site, core, name, "\n".join(lines), _credentials(site))
    server.behind.extend(store.servers)
    return server
