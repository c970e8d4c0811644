"""The three kinds of store, filled alike, for tests that must come out the same whichever it is."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from stagedoor.core.messages import Item, List
from stagedoor.store.folder import FolderStore
from stagedoor.store.memory import MemoryStore
from stagedoor.store.port import Head, Open, Opened, Range, Store
from stagedoor.store.s3 import S3Store

ROOT = Path(__file__).parents[2]
KINDS = ("folder", "memory", "s3")
MODIFIED = 1_700_000_000
_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}

ODD_KEYS = (
    "a b+c%.txt",
    "ü.txt",
    "u\u0308.txt",
    "..hidden",
    "...",
    "a%2Fb",
    "%41",
    "100%",
    "a#b",
    "q?m",
    "it's",
    'say "hi"',
    "🎭/🎟.png",
    "~",
    "*",
    "+",
    "a&b=c;d,e",
    "a:b@c",
    "(a)[b]{c}|d^e`f",
    "$HOME",
    "-",
    " lead and trail ",
    "deep/er/and/deep/er",
)
"""Legal keys that somebody on the way could take for others; every store has each of them, and its own bytes in it."""

FLAT_KEYS = ("x//y", "trail/", "a//", "a///b")
"""Keys that are no paths of files: only stores without folders have them."""


def state_table(dynamodb: Any) -> str:
    """A new table as the page about taking access back has it; returns its name."""
    page = (ROOT / "docs" / "how-to" / "take-access-back.md").read_text(encoding="utf-8")
    found = re.search(r"create-table --cli-input-json '(\{.*?\})'", page, re.DOTALL)
    assert found
    described = json.loads(found[1]) | {"TableName": f"state-{os.getpid()}-{next(_numbers)}"}
    dynamodb.create_table(**described)
    return str(described["TableName"])


class Fields(NamedTuple):
    """What is stored beside the bytes, in S3's words."""

    ContentType: str = ""
    CacheControl: str = ""
    ContentDisposition: str = ""
    ContentEncoding: str = ""
    ContentLanguage: str = ""
    Expires: str = ""


@cache
def endpoint() -> str:
    """A server that speaks S3's API, started once; it ends with the tests.

    Known faults of it (moto), none of which a test here relies on: everybody is let in, whatever the signature;
    If-Range and a list of entity tags are not understood (the gateway judges both itself); a missing key is always
    NoSuchKey. `test_store_s3.py` scripts what it does not do.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@cache
def client() -> Any:
    """Writes to the buckets, for Stagedoor never does."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint(),
        region_name="us-east-1",
        aws_access_key_id="writer",
        aws_secret_access_key="writer",
        config=Config(s3={"addressing_style": "path"}),
    )


_numbers = itertools.count()


def new_bucket() -> str:
    name = f"bucket-{next(_numbers)}"
    client().create_bucket(Bucket=name)
    return name


def let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process credentials, and nothing of those of whoever runs the tests."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    for name, value in _ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def make(kind: str, folder: Path, objects: Mapping[str, bytes], fields: Mapping[str, Fields] | None = None) -> Store:
    """A store of this kind that holds these objects. A folder knows no `fields`."""
    fields = fields or {}
    if kind == "folder":
        root = folder / "store"
        root.mkdir(exist_ok=True)
        for key, body in objects.items():
            path = root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            os.utime(path, (MODIFIED, MODIFIED))
        return FolderStore(str(root))
    if kind == "memory":
        memory = MemoryStore()
        for key, body in objects.items():
            stored = fields.get(key, Fields())
            pairs = tuple((_header(name), value.encode()) for name, value in stored._asdict().items() if value)
            type_ = dict(pairs).get(b"content-type", b"")
            kept = tuple(pair for pair in pairs if pair[0] != b"content-type")
            memory.put(key, body, kept, media_type=type_, modified=MODIFIED)
        return memory
    bucket = new_bucket()
    for key, body in objects.items():
        beside = {name: value for name, value in fields.get(key, Fields())._asdict().items() if value}
        client().put_object(Bucket=bucket, Key=key, Body=body, **beside)
    return S3Store(bucket, endpoint=endpoint())


def _header(name: str) -> bytes:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-").encode()


async def read(opened: Opened | None) -> bytes | None:
    """The bytes of an answer of a store; None if there is no such object."""
    if opened is None:
        return None
    try:
        return opened.whole if opened.whole is not None else b"".join([chunk async for chunk in opened.chunks()])
    finally:
        opened.close()


async def body(store: Store, key: str, span: Range | None = None, etag: bytes | None = None) -> bytes | None:
    return await read(await store.open(Open(key, span, etag)))


async def size(store: Store, key: str) -> int | None:
    meta = await store.head(Head(key))
    return None if meta is None else meta.size


def name_of(one: Item | str) -> str:
    return one if isinstance(one, str) else one.key


async def listed(
    store: Store, prefix: str = "", *, after: str = "", limit: int = 1000, folders: bool = False
) -> list[str]:
    """The names that a store tells, through all pages; each page must bring the end nearer."""
    names: list[str] = []
    while True:
        page = await store.list(List(prefix, after, limit, folders))
        assert len(page.found) <= limit
        names += map(name_of, page.found)
        if page.resume is None:
            return names
        assert page.resume.encode() > after.encode()
        after = page.resume


def expected(keys: Iterable[str], prefix: str = "", *, after: str = "", folders: bool = False) -> list[str]:
    """What every store has to tell, said as plainly as it can be."""
    names = set()
    for key in keys:
        if key.startswith(prefix):
            below, slash, _ = key[len(prefix) :].partition("/")
            names.add(prefix + below + slash if folders else key)
    return sorted((name for name in names if name.encode() > after.encode()), key=str.encode)
