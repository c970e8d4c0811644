"""What the site itself has to remember: a list of entries that several gateways read and add to.

All methods block, so that gateways call them in a thread. Another kind of state is one file here and two lines in
`open_state`.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from .port import State


def open_state(url: str, *, region: str | None = None) -> State:
    """Open a state.

    Args:
        url: `sqlite://` and the absolute path of a file, which is made if it is missing; `redis://` or `rediss://`; or
            `dynamodb://` and the name of a table.
        region: of the DynamoDB table; found as AWS's own tools find it if None.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        from .sqlite import SqliteState

        return SqliteState(unquote(parts.path))
    if parts.scheme == "dynamodb":
        from .dynamodb import DynamoState

        return DynamoState(parts.netloc, region=region)
    from .redis import RedisState

    return RedisState(url)
