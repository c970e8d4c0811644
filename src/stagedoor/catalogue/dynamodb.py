"""The catalogue in a DynamoDB table: partition key `id`; `key`, `title`, `content_type`; `attributes`, a map of texts.

Reads are strongly consistent. That costs a whole read unit for each instead of half of one, and what was written a
moment ago is found at once, as it is in SQLite. (What a stale answer could do is little: the policy decides on the
key that the entry names, whichever it is.)
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)

from ..core.errors import CatalogueUnavailable, InvalidContent, StagedoorError, StoreRefused
from ..core.messages import Content
from ..outside import aws
from .entry import checked, is_id, made

T = TypeVar("T")

BATCH = 25
"""Most items of one BatchWriteItem (Amazon DynamoDB API Reference)."""
DELAYS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Seconds, at most, before each time that an owner's command asks again; requests are not that patient."""
TABLE_WAIT = 60
"""Seconds until a table that is being made counts as not coming."""

MAX_CONNECTIONS = 64
"""At least as many as there are threads that ask."""
_NEVER_SENT = (
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
"""Our own fault: no credentials, or a name that no table can have."""
_JSON = "application/x-amz-json"


class DynamoCatalogue:
    """Entries in a table of DynamoDB.

    Args:
        table: its name.
        region: default: from AWS's usual chain, as are the credentials.
        create: True: `put` makes the table where it is missing, paid by request.
    """

    def __init__(self, table: str, *, region: str | None = None, create: bool = False) -> None:
        self._table, self._region, self._create = table, region, create
        self._client: Any = None
        self._starting = threading.Lock()

    def find(self, id_: str) -> Content | None:
        if not is_id(id_):
            return None
        item = self._ask("get_item", Key={"id": {"S": id_}}, ConsistentRead=True).get("Item")
        if item is None:
            return None
        entry = _entry(item)
        if entry.id != id_:
            raise InvalidContent(f"entry {id_!r}: the table has {entry.id!r} in its place")
        return entry

    def entries(self) -> Iterator[Content]:
        """In no order; what is written meanwhile may be seen or not."""
        start: dict[str, Any] = {}
        while True:
            page = _patiently(lambda: self._ask("scan", ConsistentRead=True, **start))  # noqa: B023 - called at once
            yield from map(_entry, page.get("Items", ()))
            if not page.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def put(self, entries: Iterable[Content]) -> int:
        """Write entries, each in the place of the one that had its id; the last of an id counts.

        Batch by batch: where it breaks off, what was written stays. To put the same again does no harm.
        """
        if self._create:
            self._make_table()
        count, source = 0, map(checked, entries)
        try:
            while batch := list(islice(source, BATCH)):
                self._write({entry.id: entry for entry in batch}.values())
                count += len(batch)
        except StagedoorError as error:
            if not count:
                raise
            raise type(error)(f"{error}\n  {count} entries were written; to put all of them again is safe") from error
        return count

    def remove(self, id_: str) -> bool:
        return "Attributes" in self._ask("delete_item", Key={"id": {"S": id_}}, ReturnValues="ALL_OLD")

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    # --- one question, and many

    def _ask(self, verb: str, **arguments: Any) -> Any:
        """One question about the table.

        Raises:
            CatalogueUnavailable: no answer in time, or "later".
            StoreRefused: our credentials, the table or the question are wrong; to ask again would not help.
        """
        if verb != "batch_write_item":
            arguments["TableName"] = self._table
        try:
            answer = getattr(self._connected(), verb)(**arguments)
        except ClientError as error:
            raise self._refusal(error) from error
        except _NEVER_SENT as error:
            raise StoreRefused(f"table {self._table} cannot be asked: {error}") from error
        except BotoCoreError as error:
            raise CatalogueUnavailable(f"table {self._table}: {type(error).__name__}: {error}") from error
        if not answer["ResponseMetadata"]["HTTPHeaders"].get("content-type", "").startswith(_JSON):
            # botocore reads a page of some proxy as an answer without an item: "there is no such id".
            raise CatalogueUnavailable(f"table {self._table}: something else than DynamoDB answered")
        return answer

    def _refusal(self, error: ClientError) -> StagedoorError:
        why = aws.refusal(error)
        words = f"table {self._table}: {why.status} {why.code} {why.message}".rstrip()
        if why.is_temporary:
            return CatalogueUnavailable(words)
        if why.code == "ResourceNotFoundException":
            return _NoTable(f"there is no table {self._table} in this region and account ({self._where()})")
        if why.code == "ResourceInUseException":
            return _InUse(words)
        return StoreRefused(words)

    def _where(self) -> str:
        return str(self._client.meta.region_name)

    def _write(self, batch: Iterable[Content]) -> None:
        left: list[Any] = [{"PutRequest": {"Item": _item(entry)}} for entry in batch]

        def attempt() -> None:
            nonlocal left
            answer = self._ask("batch_write_item", RequestItems={self._table: left})
            left = answer.get("UnprocessedItems", {}).get(self._table, [])
            if left:
                raise CatalogueUnavailable(f"table {self._table} does not keep up with what is written to it")

        _patiently(attempt)

    def _make_table(self) -> None:
        """Have the table, whoever makes it, and be sure that it is one for entries."""
        for attempt in range(TABLE_WAIT * 2):
            try:
                table = self._ask("describe_table")["Table"]
            except _NoTable:
                if attempt == 0:
                    self._order_table()
            else:
                if table["KeySchema"] != [{"AttributeName": "id", "KeyType": "HASH"}]:
                    raise StoreRefused(f"table {self._table} is for something else: its key is not just `id`")
                if table["TableStatus"] in ("ACTIVE", "UPDATING"):
                    return
            time.sleep(0.5)
        raise CatalogueUnavailable(f"table {self._table} is still being made; try again in a minute")

    def _order_table(self) -> None:
        try:
            self._ask(
                "create_table",
                KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )
        except _InUse:  # somebody else was quicker
            return

    def _connected(self) -> Any:
        with self._starting:  # so that threads share one
            if self._client is None:
                try:
                    self._client = aws.client(
                        "dynamodb", self._region, **aws.REQUEST_LIMITS, max_pool_connections=MAX_CONNECTIONS
                    )
                except (BotoCoreError, ValueError) as error:
                    mend = "set AWS_DEFAULT_REGION, or a profile or role that can be used"
                    raise StoreRefused(f"DynamoDB cannot be asked: {error}\n  {mend}") from error
            return self._client


class _NoTable(StoreRefused):
    """There is no such table, or not yet."""


class _InUse(StoreRefused):
    """The table is there already, or being changed."""


def _patiently(ask: Callable[[], T]) -> T:
    """Ask until there is an answer, with pauses that grow; for the owner's commands."""
    for delay in DELAYS:
        try:
            return ask()
        except CatalogueUnavailable:
            time.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - it only spreads those who ask
    return ask()


def _item(entry: Content) -> dict[str, Any]:
    item: dict[str, Any] = {
        name: {"S": text} for name, text in zip(Content._fields[:4], entry[:4], strict=True) if text
    }
    if entry.attributes:
        item["attributes"] = {"M": {name: {"S": value} for name, value in entry.attributes.items()}}
    return item


def _entry(item: Mapping[str, Any]) -> Content:
    """The entry of an item that somebody else may have written; whatever else it holds is theirs."""
    texts = (_plain(item.get(name, {"S": ""})) for name in Content._fields[:4])
    attributes = item.get("attributes", {"M": {}}).get("M")
    if isinstance(attributes, dict):
        attributes = {name: _plain(value) for name, value in attributes.items()}
    return made((*texts, attributes))


def _plain(value: Mapping[str, Any]) -> Any:
    """The text of a DynamoDB value; None for every other type, which `checked` refuses."""
    return value.get("S")
