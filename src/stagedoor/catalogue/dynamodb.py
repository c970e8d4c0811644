"""The catalogue in a DynamoDB table: partition key `id`; `key`, `title`, `content_type`; `attributes`, a string map.

Reads are strongly consistent, so that an entry is found as soon as it is written, as in SQLite. Each costs a whole
read unit instead of half of one. (A stale answer would be safe, because the policy decides on the key in the entry.)
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from ..core.errors import CatalogueUnavailable, InvalidContent, StagedoorError, StoreRefused
from ..core.messages import Content
from ..outside.dynamodb import NoTable, Table, TableInUse
from .entry import checked, checked_fields, is_id

T = TypeVar("T")

BATCH = 25
"""Most items in one BatchWriteItem (Amazon DynamoDB API Reference)."""
DELAYS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Longest pauses, in seconds, before each retry of a command of the owner; requests do not wait that long."""
TABLE_WAIT = 60
"""Seconds to wait for a new table."""

MAX_CONNECTIONS = 64
"""At least as many as the gateway has threads for the catalogue."""


class DynamoCatalogue:
    """Entries in a table of DynamoDB.

    Args:
        table: its name.
        region: found as AWS's own tools find it if None.
        create: let `put` create the table, which is then paid by request.
    """

    def __init__(self, table: str, *, region: str | None = None, create: bool = False) -> None:
        self._table, self._create = Table(table, region, CatalogueUnavailable, MAX_CONNECTIONS), create

    def find(self, content_id: str) -> Content | None:
        if not is_id(content_id):
            return None
        item = self._table.call("get_item", Key={"id": {"S": content_id}}, ConsistentRead=True).get("Item")
        if item is None:
            return None
        entry = _entry(item)
        if entry.id != content_id:
            raise InvalidContent(f"entry {content_id!r}: the table returned {entry.id!r} instead")
        return entry

    def entries(self) -> Iterator[Content]:
        """Yield entries in no order. One that is written in the meantime may be missing."""
        start: dict[str, Any] = {}
        while True:
            page = _retrying(lambda: self._table.call("scan", ConsistentRead=True, **start))  # noqa: B023 - called at once
            yield from map(_entry, page.get("Items", ()))
            if not page.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def put(self, entries: Iterable[Content]) -> int:
        """Write entries; an entry replaces an earlier one with its id, here or in the table.

        They are written in batches. After a failure, earlier batches stay; writing all of them again is safe.
        """
        if self._create:
            self._ensure_table()
        count, source = 0, map(checked, entries)
        try:
            while batch := list(islice(source, BATCH)):
                self._write({entry.id: entry for entry in batch}.values())
                count += len(batch)
        except StagedoorError as error:
            if not count:
                raise
            raise type(error)(f"{error}\n  {count} entries were written; writing all of them again is safe") from error
        return count

    def remove(self, content_id: str) -> bool:
        return "Attributes" in self._table.call("delete_item", Key={"id": {"S": content_id}}, ReturnValues="ALL_OLD")

    def close(self) -> None:
        self._table.close()

    def _write(self, batch: Iterable[Content]) -> None:
        left: list[Any] = [{"PutRequest": {"Item": _item(entry)}} for entry in batch]

        def attempt() -> None:
            nonlocal left
            answer = self._table.call("batch_write_item", RequestItems={self._table.name: left})
            left = answer.get("UnprocessedItems", {}).get(self._table.name, [])
            if left:
                raise CatalogueUnavailable(f"table {self._table.name} does not keep up with what is written to it")

        _retrying(attempt)

    def _ensure_table(self) -> None:
        """Create the table unless it exists, wait until it is ready, and check that it is for entries."""
        for attempt in range(TABLE_WAIT * 2):
            try:
                table = self._table.call("describe_table")["Table"]
            except NoTable:
                if attempt == 0:
                    self._create_table()
            else:
                if table["KeySchema"] != [{"AttributeName": "id", "KeyType": "HASH"}]:
                    raise StoreRefused(f"table {self._table.name} is not a catalogue: its key is not just `id`")
                if table["TableStatus"] in ("ACTIVE", "UPDATING"):
                    return
            time.sleep(0.5)
        raise CatalogueUnavailable(f"table {self._table.name} is still being made; try again in a minute")

    def _create_table(self) -> None:
        try:
            self._table.call(
                "create_table",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        except TableInUse:  # another process created it first
            return


def _retrying(call: Callable[[], T]) -> T:
    """Call until it succeeds, with growing pauses; for commands of the owner."""
    for delay in DELAYS:
        try:
            return call()
        except CatalogueUnavailable:
            time.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - it only spreads the retries of several commands
    return call()


def _item(entry: Content) -> dict[str, Any]:
    item: dict[str, Any] = {
        name: {"S": text} for name, text in zip(Content._fields[:4], entry[:4], strict=True) if text
    }
    if entry.attributes:
        item["attributes"] = {"M": {name: {"S": value} for name, value in entry.attributes.items()}}
    return item


def _entry(item: Mapping[str, Any]) -> Content:
    """Check an item, which other programs may have written; their own attributes of the item are ignored."""
    texts = (_string(item.get(name, {"S": ""})) for name in Content._fields[:4])
    attributes = item.get("attributes", {"M": {}}).get("M")
    if isinstance(attributes, dict):
        attributes = {name: _string(value) for name, value in attributes.items()}
    return checked_fields((*texts, attributes))


def _string(value: Mapping[str, Any]) -> Any:
    """The content of a DynamoDB string; None for other types, which `checked` refuses."""
    return value.get("S")
