"""State in a DynamoDB table, for gateways on several machines at AWS.

Partition key `part` (text), sort key `number`, and a local index `ends` by the number `ends`. Items:

- part `entries`: `number` is the sequence number; `name`, `text`, `ends`. Without name and text: it was replaced.
- part `name` and the digest of a name, number 0: `at` is the sequence number of its entry, whose `name`, `text` and
  `ends` it has, too.
- part `count`, number 0: `held` is about how many entries there are.

A reader must never see a number before a smaller one that is still to come. So an entry is put by one conditional write
of one item, under the number after the greatest: of several writers one succeeds, and the others look again. Readers
ask for the greatest number first and then for everything up to it, all of which was there before they asked. Nothing
is deleted within a day, so that a write that comes late finds its number taken, and the greatest number always stays.
(A transaction would not do: its items may show one after the other. Amazon DynamoDB Developer Guide, "Isolation
levels".) A write that had to be repeated may leave an older entry of the same name, which the newest overrules.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

from ..core.errors import StateUnavailable, StoreRefused
from ..core.messages import Entry, Keep
from ..outside.dynamodb import ConditionFailed, Table
from .port import KEPT, MAX_ENTRIES, PAGE, State

WAIT = 5.0
"""Seconds that a write waits for its turn among others."""
SWEPT = 25
"""Entries that one question sweeps, at most."""
RECOUNT_EVERY = 60.0
"""Seconds between two counts of a state that seems to be full; a count reads all of it."""
MAX_CONNECTIONS = 4
_NAMES = {"#name": "name", "#text": "text", "#number": "number", "#at": "at", "#held": "held", "#ends": "ends"}
"""Several of them are reserved words of DynamoDB."""
_COUNT = {"part": {"S": "count"}, "number": {"N": "0"}}


class DynamoState(State):
    """Entries in a table.

    Args:
        table: its name.
        region: found as AWS's own tools find it if None.
    """

    def __init__(self, table: str, *, region: str | None = None) -> None:
        self._table = Table(table, region, StateUnavailable, MAX_CONNECTIONS)
        self._counted = -RECOUNT_EVERY

    def put_all(self, entries: Sequence[Keep], now: float, most: int = MAX_ENTRIES) -> int:
        with _all_unavailable():
            last, own = self._head()
            last, sooner = last or int(max(now, own) * 1000), min(now, own)
            held, added = self._held(most - len(entries)), 0
            try:
                for entry in entries:
                    if entry.ends <= sooner:
                        continue
                    known = self._known(entry.name)
                    if known is not None and self._stays(known, entry):
                        continue
                    if held + added >= most and known is None:
                        raise StateUnavailable(
                            f"table {self._table.name} is full: it holds {most:,} entries", code="state-full"
                        )
                    last = self._append(entry, last)
                    added += self._point(entry, last, own)
            finally:
                self._add_to_count(added)
            self._add_to_count(-self._sweep(sooner - KEPT, last))
            return last

    def after(self, sequence: int) -> Sequence[Entry]:
        with _all_unavailable():
            last, _ = self._head()
            found, start = list[Entry](), dict[str, Any]()
            while last > sequence and len(found) < PAGE:
                answer = self._query(
                    "#number BETWEEN :after AND :last",
                    {":after": _number(sequence + 1), ":last": _number(last)},
                    ("#number", "#name", "#text", "#ends"),
                    FilterExpression="attribute_exists(#text)",
                    Limit=PAGE - len(found),
                    **start,
                )
                found += map(self._entry, answer["Items"])
                if "LastEvaluatedKey" not in answer:
                    break
                start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
            return found

    def named(self, names: Sequence[str]) -> Sequence[Entry]:
        """The entries of these names, as far as there are any: for a function, which keeps no list of its own.

        Args:
            names: up to 100.
        """
        keys = [_name_key(name) for name in names]
        with _all_unavailable():
            answer = self._table.call(
                "batch_get_item", RequestItems={self._table.name: {"Keys": keys, "ConsistentRead": True}}
            )
            if answer.get("UnprocessedKeys"):
                raise StateUnavailable(f"table {self._table.name} has left out some of what it was asked for")
            return [self._entry({**item, "number": item["at"]}) for item in answer["Responses"][self._table.name]]

    def time(self) -> float:
        with _all_unavailable():
            return self._head()[1]

    def close(self) -> None:
        self._table.close()

    # --- entries

    def _head(self) -> tuple[int, float]:
        """The greatest number, 0 in a new table; and DynamoDB's clock."""
        answer = self._query("#number > :zero", {":zero": _number(0)}, ("#number",), ScanIndexForward=False, Limit=1)
        items, date = answer["Items"], answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            own = parsedate_to_datetime(date).timestamp()
        except (TypeError, ValueError):
            own = time.time()
        return (int(items[0]["number"]["N"]) if items else 0), own

    def _append(self, entry: Keep, last: int) -> int:
        """Put an entry under the number after the greatest, which is `last` or greater; returns its number."""
        until = time.monotonic() + WAIT
        texts = {"part": {"S": "entries"}, "name": {"S": entry.name}, "text": {"S": entry.text}}
        while True:
            item = {**texts, "number": _number(last + 1), "ends": _number(entry.ends)}
            try:
                self._table.call(
                    "put_item",
                    Item=item,
                    ConditionExpression="attribute_not_exists(part)",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ConditionFailed as error:
                if all(error.found.get(name) == texts[name] for name in texts):  # put by an attempt before
                    return last + 1
                if time.monotonic() > until:
                    raise StateUnavailable(f"table {self._table.name}: others write all the time") from error
                time.sleep(random.uniform(0, 0.02))  # noqa: S311 - it only spreads the writers
                last = max(last, self._head()[0])
            else:
                return last + 1

    def _point(self, entry: Keep, number: int, now: float) -> bool:
        """Let a name lead to its newest entry that ends last, and empty the other; returns whether the name is new."""
        values = {":name": {"S": entry.name}, ":text": {"S": entry.text}, ":ends": _number(entry.ends)}
        try:
            old = self._update(
                _name_key(entry.name),
                "SET #at = :number, #name = :name, #text = :text, #ends = :ends",
                {":number": _number(number), **values},
                ConditionExpression="attribute_not_exists(#at) OR (#at <= :number AND #ends <= :ends)",
                ReturnValues="UPDATED_OLD",
            )
        except ConditionFailed:  # another has put a newer one already, or one that ends later
            self._empty(number, now)
            return False
        before = int(old.get("Attributes", {}).get("at", {"N": "0"})["N"])
        if 0 < before < number:
            self._empty(before, now)
        return before in (0, number)  # the same number: done by an attempt before

    def _empty(self, number: int, now: float) -> None:
        """Empty an entry; its number stays taken until it is swept."""
        try:
            self._update(
                _key("entries", number),
                "SET #ends = :now REMOVE #name, #text",
                {":now": _number(now)},
                ConditionExpression="attribute_exists(part)",
            )
        except ConditionFailed:
            return

    def _sweep(self, before: float, last: int) -> int:
        """Delete entries that ended before a time, but never the greatest number; returns how many held something."""
        swept = 0
        over = self._query(
            "#ends <= :before", {":before": _number(before)}, ("#number", "#name"), IndexName="ends", Limit=SWEPT
        )
        for item in over["Items"]:
            number = int(item["number"]["N"])
            if number >= last:
                continue
            old = self._table.call("delete_item", Key=_key("entries", number), ReturnValues="ALL_OLD")
            if "name" in old.get("Attributes", {}):
                swept += 1
                self._forget_name(item["name"]["S"], number)
        return swept

    def _forget_name(self, name: str, number: int) -> None:
        try:
            self._table.call(
                "delete_item",
                Key=_name_key(name),
                ConditionExpression="#at = :number",
                ExpressionAttributeNames={"#at": "at"},
                ExpressionAttributeValues={":number": _number(number)},
            )
        except ConditionFailed:  # it leads to a newer one
            return

    def _known(self, name: str) -> Entry | None:
        item = self._table.call("get_item", Key=_name_key(name), ConsistentRead=True).get("Item")
        return None if item is None else self._entry({**item, "number": item["at"]})

    def _stays(self, known: Entry, entry: Keep) -> bool:
        """Is an entry there that ends later, or this one? So a batch that took too long is not begun anew."""
        if known.ends < entry.ends or (known.ends == entry.ends and known.text != entry.text):
            return False
        there = self._table.call("get_item", Key=_key("entries", known.sequence), ConsistentRead=True)
        return "text" in there.get("Item", {})

    # --- how many there are

    def _held(self, enough: int) -> int:
        """About how many entries there are; counted if there seem to be more than `enough`."""
        item = self._table.call("get_item", Key=_COUNT, ConsistentRead=True).get("Item", {})
        held = int(item.get("held", {"N": "0"})["N"])
        if held <= enough or time.monotonic() < self._counted + RECOUNT_EVERY:
            return held
        counted, start = 0, dict[str, Any]()
        while True:
            answer = self._query(
                "#number > :zero",
                {":zero": _number(0)},
                (),
                FilterExpression="attribute_exists(#text)",
                Select="COUNT",
                **start,
            )
            counted += int(answer["Count"])
            if "LastEvaluatedKey" not in answer:
                break
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
        self._update(_COUNT, "SET #held = :held", {":held": _number(counted)})
        self._counted = time.monotonic()
        return counted

    def _add_to_count(self, more: int) -> None:
        if more:
            self._update(_COUNT, "ADD #held :more", {":more": _number(more)})

    # --- calls

    def _query(self, where: str, values: Mapping[str, Any], shown: Sequence[str], **more: Any) -> Any:
        if shown:
            more["ProjectionExpression"] = ", ".join(shown)
        used = " ".join((where, more.get("FilterExpression", ""), *shown))
        return self._table.call(
            "query",
            KeyConditionExpression=f"part = :entries AND {where}",
            ExpressionAttributeValues={":entries": {"S": "entries"}, **values},
            ExpressionAttributeNames=_names_in(used),
            ConsistentRead=True,
            **more,
        )

    def _update(self, key: Mapping[str, Any], change: str, values: Mapping[str, Any], **more: Any) -> Any:
        return self._table.call(
            "update_item",
            Key=key,
            UpdateExpression=change,
            ExpressionAttributeValues=values,
            ExpressionAttributeNames=_names_in(change),
            **more,
        )

    def _entry(self, item: Mapping[str, Any]) -> Entry:
        """Check an item, which other programs may have written."""
        try:
            number, ends = int(item["number"]["N"]), float(item["ends"]["N"])
            return Entry(number, item["name"]["S"], item["text"]["S"], ends)
        except (KeyError, ValueError) as error:
            raise StateUnavailable(f"table {self._table.name} holds what is no entry of ours") from error


@contextmanager
def _all_unavailable() -> Iterator[None]:
    """For a state, a refusal is an outage like others: what was taken back is not known."""
    try:
        yield
    except StoreRefused as error:
        raise StateUnavailable(str(error)) from error
    except UnicodeEncodeError as error:
        raise StateUnavailable("no table can hold this entry") from error


def _names_in(expression: str) -> Mapping[str, str]:
    """DynamoDB takes no names that are not used."""
    return {short: name for short, name in _NAMES.items() if short in expression}


def _key(part: str, number: int) -> Mapping[str, Any]:
    return {"part": {"S": part}, "number": _number(number)}


def _name_key(name: str) -> Mapping[str, Any]:
    """By a digest, because a key has at most 2,048 bytes."""
    return _key(f"name {hashlib.sha256(name.encode()).hexdigest()}", 0)


def _number(value: float) -> Mapping[str, str]:
    return {"N": repr(value)}
