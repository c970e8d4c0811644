"""CloudFront's side of Lambda@Edge: the events that it makes, and a strict check of every answer.

Source: CloudFront Developer Guide, "Lambda@Edge event structure", "Restrictions on edge functions" and "Quotas".
"""

from __future__ import annotations

import copy
import importlib
import io
import json
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

DOMAIN = "d111111abcdef8.cloudfront.net"
MAX_ANSWER_BYTES = 40_960
READ_ONLY = ("cdn-loop", "content-length", "host", "transfer-encoding", "via")
"""Header fields of a viewer request that a function may not add, change or remove."""
FORBIDDEN = (
    *("connection", "expect", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
    *("trailer", "upgrade", "x-accel-buffering", "x-accel-charset", "x-accel-limit-rate", "x-accel-redirect"),
    *("x-cache", "x-forwarded-proto", "x-real-ip"),
)
FORBIDDEN_PREFIXES = ("x-amz-cf-", "x-amzn-", "x-edge-")
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")

Event = dict[str, Any]


def event(
    target: str = "/public/a.txt", method: str = "GET", *, client: str = "203.0.113.7", **fields: str | Sequence[str]
) -> Event:
    """A viewer request: a raw target, header fields as keywords; several values are several fields."""
    path, _, query = target.partition("?")
    headers = {"host": [{"key": "Host", "value": "assets.example.com"}]}
    for name, value in fields.items():
        key = "-".join(part.capitalize() for part in name.split("_"))
        values = [value] if isinstance(value, str) else value
        headers[key.lower()] = [{"key": key, "value": one} for one in values]
    config = {
        "distributionDomainName": DOMAIN,
        "distributionId": "EDFDVBD6EXAMPLE",
        "eventType": "viewer-request",
        "requestId": "4TyzHTaYWb1GX1qTfsHhEqV6HUDd_BzoBZnwfnvQc_1oF26ClkoUSEQ==",
    }
    asked = {"clientIp": client, "method": method, "uri": path, "querystring": query, "headers": headers}
    return {"Records": [{"cf": {"config": config, "request": asked}}]}


def request_of(asked: Event) -> Event:
    request: Event = asked["Records"][0]["cf"]["request"]
    return request


def check(asked: object, answer: object) -> Event:
    """Return an answer that CloudFront would accept; for any other, where CloudFront answers 502, raise an error."""
    json.dumps(answer, ensure_ascii=False).encode()  # as Lambda's runtime of Python 3.12 and later writes it
    assert isinstance(answer, dict)
    if "status" in answer:
        _check_response(asked, answer)
    else:
        _check_request(asked, answer)
    return answer


def _check_response(asked: object, answer: Event) -> None:
    assert set(answer) <= {"status", "statusDescription", "headers", "body", "bodyEncoding"}
    assert isinstance(answer["status"], str)
    assert 200 <= int(answer["status"]) <= 599
    assert isinstance(answer.get("statusDescription", ""), str)
    _check_headers(answer["headers"])
    for name in answer["headers"]:
        assert name not in (*READ_ONLY, *FORBIDDEN), name
        assert not name.startswith(FORBIDDEN_PREFIXES), name
    body = answer.get("body", "")
    assert isinstance(body, str)
    if "body" in answer:
        assert answer["bodyEncoding"] in ("text", "base64")
        assert answer["status"] not in ("204", "304")
        assert not isinstance(asked, dict) or _method(asked) != "HEAD"
    size = len(body.encode()) + sum(
        len(field["key"]) + len(field["value"]) for fields in answer["headers"].values() for field in fields
    )
    assert size <= MAX_ANSWER_BYTES


def _method(asked: Event) -> object:
    try:
        return request_of(asked)["method"]
    except (LookupError, TypeError):
        return None


def _check_request(asked: object, answer: Event) -> None:
    """Check a request that is sent on: what a function may not change is unchanged."""
    assert isinstance(asked, dict)
    before = request_of(asked)
    assert set(answer) <= {*before, "body"}
    assert {"clientIp", "method", "uri", "querystring", "headers"} <= set(answer)
    assert answer["clientIp"] == before["clientIp"]
    assert answer["method"] == before["method"]
    assert isinstance(answer["uri"], str)
    assert answer["uri"].startswith("/")
    assert answer["uri"].isascii()
    assert not set(answer["uri"]) & set(' ?#\\"<>^`{|}')
    assert len(answer["uri"]) + len(answer["querystring"]) <= 8192
    _check_headers(answer["headers"])
    for name in READ_ONLY:
        assert answer["headers"].get(name) == before["headers"].get(name), name
    for name in set(answer["headers"]) - set(before["headers"]):
        assert name not in FORBIDDEN
        assert not name.startswith(FORBIDDEN_PREFIXES)


def _check_headers(headers: Mapping[str, Any]) -> None:
    assert isinstance(headers, dict)
    for name, fields in headers.items():
        assert name, "a name is empty"
        assert set(name) <= _TOKEN, f"{name!r} is not a name in lower case"
        assert isinstance(fields, list)
        assert fields
        if name != "set-cookie" and name != "cookie":
            assert len({field["key"].lower() for field in fields}) == 1
        for field in fields:
            assert set(field) == {"key", "value"}
            assert field["key"].lower() == name, "key and name differ"
            assert isinstance(field["value"], str)
            assert not set(field["value"]) & {"\r", "\n", "\0"}
        if name == "set-cookie":
            for field in fields:
                pair, *_ = field["value"].split(";")
                assert pair.partition("=")[1] == "=", "a cookie is name=value"
                assert "," not in pair, "each cookie is a field of its own"


class Edge:
    """The two functions of a zip, loaded into this process; every answer is checked.

    Args:
        folder: where the zip was unpacked.
        now: the time on its clock, in epoch seconds; None: the current time.
    """

    def __init__(self, folder: Path, now: float | None = None) -> None:
        self._modules: dict[str, ModuleType] = {}
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        try:
            with self._own_modules():
                self.functions = importlib.import_module("stagedoor.aws.edge.lambda_function")
                importlib.import_module("stagedoor.outside.fetch_sync")
        finally:
            sys.path.remove(str(folder))
        for module in self._modules.values():
            assert Path(module.__file__ or "").is_relative_to(folder), "only what is in the zip was imported"
        if now is not None:
            vars(self.functions)["time"] = SimpleNamespace(time=lambda: now, monotonic=time.monotonic)

    def objects(self, asked: object) -> Event:
        return self._answer(self.functions.objects, asked)

    def api(self, asked: object) -> Event:
        return self._answer(self.functions.api, asked)

    def _answer(self, handler: Any, asked: object) -> Event:
        kept = copy.deepcopy(asked)
        with self._own_modules():
            answer = check(asked, handler(asked, None))
        assert asked == kept, "the event was changed"
        return answer

    @contextmanager
    def _own_modules(self) -> Iterator[None]:
        """Import from the zip inside the block; afterwards the installed package is back."""
        others = _take_modules()
        sys.modules.update(self._modules)
        try:
            yield
        finally:
            self._modules = _take_modules()
            sys.modules.update(others)


def _take_modules() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "stagedoor"}


def unpacked(content: bytes, folder: Path) -> Path:
    zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
    return folder
