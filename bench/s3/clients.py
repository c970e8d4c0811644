"""CPU that an S3 client takes for a GET of 1 KB: ours, botocore's, and aiohttp with our signer if it is installed.

`python -m bench.s3.clients` starts nginx as the store and asks it over loopback, each client in a process of its own.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from bench.peers import free_port

COUNT, AT_ONCE = 4000, 32
KEY = "public/1k.bin"
Ask = Callable[[], Awaitable[bytes]]


async def ours(endpoint: str) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    from stagedoor.store.port import Open
    from stagedoor.store.s3 import S3Store

    store = S3Store("bucket", endpoint=endpoint)

    async def ask() -> bytes:
        opened = await store.open(Open(KEY))
        assert opened is not None
        return opened.whole or b""

    return ask, store.aclose


async def aiohttp(endpoint: str) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    import aiohttp  # type: ignore[import-not-found,unused-ignore]  # not among the requirements
    from yarl import URL  # type: ignore[import-not-found,unused-ignore]

    from stagedoor.outside.sigv4 import EMPTY_HASH, Credentials, Scope, Signer

    session: Any = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE))
    host = endpoint.removeprefix("http://")

    async def ask() -> bytes:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        fields = [("host", host), ("x-amz-content-sha256", EMPTY_HASH), ("x-amz-date", stamp)]
        signer = Signer(Credentials("AKIAEXAMPLE", "secret"), Scope("us-east-1"), fields)
        headers = {**dict(fields), "authorization": signer.authorization("GET", f"/bucket/{KEY}")}
        async with session.get(URL(f"{endpoint}/bucket/{KEY}", encoded=True), headers=headers) as answer:
            return bytes(await answer.read())

    return ask, session.close


async def botocore(endpoint: str) -> tuple[Ask, Callable[[], Awaitable[None]]]:
    from stagedoor.outside import aws

    client = aws.client("s3", "us-east-1", endpoint=endpoint)

    async def ask() -> bytes:
        return bytes(client.get_object(Bucket="bucket", Key=KEY)["Body"].read())

    async def close() -> None:
        client.close()

    return ask, close


CLIENTS = {"ours": ours, "aiohttp": aiohttp, "botocore": botocore}


async def measure(name: str, endpoint: str) -> float:
    """Microseconds of CPU for one GET."""
    ask, close = await CLIENTS[name](endpoint)

    async def several(count: int) -> None:
        for _ in range(count):
            assert len(await ask()) == 1024

    await asyncio.gather(*(several(10) for _ in range(AT_ONCE)))
    before = time.process_time()
    await asyncio.gather(*(several(COUNT // AT_ONCE) for _ in range(AT_ONCE)))
    taken = time.process_time() - before
    await close()
    return taken / COUNT * 1e6


def main() -> None:
    if len(sys.argv) > 1:
        print(uvloop.run(measure(sys.argv[1], sys.argv[2])))
        return
    os.environ.update(AWS_ACCESS_KEY_ID="AKIAEXAMPLE", AWS_SECRET_ACCESS_KEY="secret", AWS_EC2_METADATA_DISABLED="true")
    with tempfile.TemporaryDirectory() as folder:
        root, port = Path(folder), free_port()
        (root / "bucket" / "public").mkdir(parents=True)
        (root / "bucket" / KEY).write_bytes(bytes(1024))
        root.chmod(0o755)
        (root / "nginx.conf").write_text(
            f"daemon off; worker_processes 1; pid {root}/pid; error_log {root}/errors; events {{}}\n"
            f"http {{ access_log off; keepalive_requests 1000000; "
            f"server {{ listen 127.0.0.1:{port}; root {root}; default_type text/plain; }} }}"
        )
        nginx = subprocess.Popen(["nginx", "-c", str(root / "nginx.conf")])
        try:
            time.sleep(1)
            for name in CLIENTS:
                if name == "aiohttp" and importlib.util.find_spec("aiohttp") is None:
                    print(f"{name:10} not installed")
                    continue
                command = [sys.executable, "-m", "bench.s3.clients", name, f"http://127.0.0.1:{port}"]
                figures = sorted(float(subprocess.check_output(command)) for _ in range(3))
                print(f"{name:10} {figures[1]:6.0f} µs of CPU for a GET of 1 KB (median of 3)")
        finally:
            nginx.terminate()
            nginx.wait()


if __name__ == "__main__":
    main()
