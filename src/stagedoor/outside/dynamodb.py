"""A table of DynamoDB: calls that take a bounded time, and errors that say whether another try would help."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

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

from ..core.errors import StagedoorError, StoreRefused, Unavailable
from . import aws

_NEVER_SENT = (
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSOError,
    TokenRetrievalError,
)
"""Errors of botocore before it sends anything: no credentials, or a name that no table can have."""
_JSON = "application/x-amz-json"


class NoTable(StoreRefused):
    """There is no such table, or not yet."""


class TableInUse(StoreRefused):
    """The table exists already, or is being changed."""


class ConditionFailed(StoreRefused):
    """The condition of a write does not hold, perhaps because an attempt before has written it and was not answered.

    Attributes:
        found: the item as it is, if that was asked for (`ReturnValuesOnConditionCheckFailure`).
    """

    found: Mapping[str, Any] = MappingProxyType({})


class Table:
    """A table, asked through one client that threads share.

    Args:
        name: of the table.
        region: found as AWS's own tools find it if None.
        unavailable: raised when there is no answer in time, or one that asks to try again later.
        connections: at most, to DynamoDB.

    Attributes:
        name: of the table.
    """

    def __init__(self, name: str, region: str | None, unavailable: type[Unavailable], connections: int) -> None:
        self.name, self._region, self._unavailable, self._connections = name, region, unavailable, connections
        self._client: Any = None
        self._starting = threading.Lock()

    def call(self, verb: str, **arguments: Any) -> Any:
        """Make one call about the table.

        Args:
            verb: botocore's name of it.
            arguments: without `TableName`, but for calls about several tables.

        Raises:
            Unavailable: of the kind `unavailable`.
            StoreRefused: the credentials, the table or the call are wrong; another try would not help.
        """
        if not verb.startswith("batch_"):
            arguments["TableName"] = self.name
        try:
            answer = getattr(self.connected(), verb)(**arguments)
        except ClientError as error:
            raise self._refusal(error) from error
        except _NEVER_SENT as error:
            raise StoreRefused(f"table {self.name} cannot be asked: {error}") from error
        except BotoCoreError as error:
            raise self._unavailable(f"table {self.name}: {type(error).__name__}: {error}") from error
        if not answer["ResponseMetadata"]["HTTPHeaders"].get("content-type", "").startswith(_JSON):
            # botocore would take a proxy's error page for a response without an item.
            raise self._unavailable(f"table {self.name}: the answer is not from DynamoDB")
        return answer

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def connected(self) -> Any:
        """The client, made with the first call."""
        with self._starting:
            if self._client is None:
                try:
                    self._client = aws.client(
                        "dynamodb", self._region, **aws.REQUEST_LIMITS, max_pool_connections=self._connections
                    )
                except (BotoCoreError, ValueError) as error:
                    mend = "set AWS_DEFAULT_REGION, or a profile or role that can be used"
                    raise StoreRefused(f"DynamoDB cannot be asked: {error}\n  {mend}") from error
            return self._client

    def _refusal(self, error: ClientError) -> StagedoorError:
        why = aws.refusal(error)
        message = f"table {self.name}: {why.status} {why.code} {why.message}".rstrip()
        if why.is_temporary:
            return self._unavailable(message)
        if why.code == "ResourceNotFoundException":
            region = self._client.meta.region_name
            return NoTable(f"there is no table {self.name} in this region and account ({region})")
        if why.code == "ResourceInUseException":
            return TableInUse(message)
        if why.code == "ConditionalCheckFailedException":
            failed = ConditionFailed(message)
            failed.found = error.response.get("Item", {})
            return failed
        return StoreRefused(message)
