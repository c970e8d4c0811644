"""AWS: the one session that all clients share, and reading secrets.

botocore is imported when the first client is made, because the import takes half a second and most sites need none.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from functools import cache
from typing import Any, NamedTuple

from ..core.errors import InvalidKey, StagedoorError, StoreRefused, Unavailable

SCHEMES = ("ssm", "secretsmanager")

LIMITS: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 5,
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
"""Defaults of every client: seconds, and attempts per call."""
REQUEST_LIMITS: dict[str, Any] = {
    "connect_timeout": 1,
    "read_timeout": 3,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}
"""For calls that a request waits for: 8 s in all."""

TEMPORARY = frozenset(
    (
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
    )
)
"""Error codes that ask to try again later; DynamoDB and SSM send them with status 400."""

_making = threading.Lock()  # a session is not safe for making two clients at once


def client(service: str, region: str | None = None, *, endpoint: str | None = None, **config: Any) -> Any:
    """Make a client, which threads may share.

    Args:
        service: botocore's name of it, for example `s3`.
        region: found as AWS's own tools find it if None; credentials always are.
        endpoint: URL of another server with the same API.
        config: arguments of `botocore.config.Config` that replace or complete `LIMITS`.

    Raises:
        BotoCoreError, ValueError: no region is set, or the profile or the endpoint is unusable.
    """
    from botocore.config import Config

    with _making:
        return _session().create_client(
            service, region_name=region, endpoint_url=endpoint, config=Config(**{**LIMITS, **config})
        )


def session() -> Any:
    """The session that all clients share, for its credentials and settings."""
    with _making:
        return _session()


@cache
def _session() -> Any:
    """Each new session would parse AWS's service descriptions again, which takes a tenth of a second."""
    from botocore.session import get_session

    return get_session()


def forget_session() -> None:
    """Make the next client look for its profile, region and credentials again."""
    with _making:
        _session.cache_clear()


class Refusal(NamedTuple):
    """An error response of AWS."""

    status: int
    code: str
    details: Mapping[str, Any]

    @property
    def is_temporary(self) -> bool:
        """May the same call succeed later?"""
        return self.status >= 500 or self.status in (408, 429) or self.code in TEMPORARY

    @property
    def message(self) -> str:
        return str(self.details.get("Message", ""))


def refusal(error: Any) -> Refusal:
    """The error response in a `ClientError` of botocore."""
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Refusal(status, str(details.get("Code", "")), details)


def read_secret(secret: str, region: str | None = None) -> bytes:
    """Read a secret.

    Args:
        secret: `ssm:` and the name of a parameter, or `secretsmanager:` and the name or ARN of a secret.
        region: an ARN's own region comes first; found as AWS's own tools find it if None.

    Raises:
        InvalidKey: the secret does not exist.
        StoreRefused: AWS does not let us read it, or no region is set.
        Unavailable: AWS did not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

    scheme, _, name = secret.partition(":")
    if name.startswith("arn:"):
        region = "".join(name.split(":")[3:4]) or region
    try:
        with closing(client(scheme, region)) as api:
            if scheme == "ssm":
                answer = api.get_parameter(Name=name, WithDecryption=True)
                return str(answer["Parameter"]["Value"]).encode()
            answer = api.get_secret_value(SecretId=name)
            return answer["SecretBinary"] if "SecretBinary" in answer else str(answer["SecretString"]).encode()
    except ClientError as error:
        raise _unreadable(secret, refusal(error)) from error
    except NoCredentialsError as error:
        raise StoreRefused(f"{secret} cannot be read: there are no AWS credentials") from error
    except NoRegionError as error:
        raise StoreRefused(f"{secret} cannot be read: in which region is it? Set AWS_DEFAULT_REGION") from error
    except (BotoCoreError, ValueError) as error:
        raise Unavailable(f"{secret} cannot be read: {error}") from error
    except KeyError as error:
        raise Unavailable(f"{secret} cannot be read: the answer is not one that AWS gives") from error


def _unreadable(secret: str, why: Refusal) -> StagedoorError:
    if why.code in ("ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException"):
        return InvalidKey(f"{secret} does not exist in this account and region")
    if why.is_temporary:
        return Unavailable(f"{secret} cannot be read: {why.code}")
    return StoreRefused(
        f"{secret} cannot be read: {why.code}; the role needs ssm:GetParameter or "
        "secretsmanager:GetSecretValue, and kms:Decrypt for a key of yours"
    )
