"""The one way to AWS: a session that all clients share, and the secrets that AWS keeps.

botocore is imported with the first client: it takes half a second, and most sites need none.
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
"""Seconds and attempts of questions at start and in commands."""
REQUEST_LIMITS: dict[str, Any] = {
    "connect_timeout": 1,
    "read_timeout": 3,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}
"""Seconds and attempts of questions that a request waits for: 8 s in all."""

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
"""Error codes that mean "later"; some services send them with status 400."""

_making = threading.Lock()  # a session must not make two clients at once


def client(service: str, region: str | None = None, *, endpoint: str | None = None, **config: Any) -> Any:
    """Make a client; threads may share it.

    Args:
        service: as botocore names it, for example `s3`.
        region: default: from AWS's usual chain, as are the credentials.
        endpoint: URL of another server that speaks the API of this service.
        config: arguments of `botocore.config.Config`; `LIMITS` are the defaults.

    Raises:
        BotoCoreError, ValueError: no region, or a profile or endpoint that cannot be used.
    """
    from botocore.config import Config

    with _making:
        return _session().create_client(
            service, region_name=region, endpoint_url=endpoint, config=Config(**{**LIMITS, **config})
        )


@cache
def _session() -> Any:
    """Made once: each reads the descriptions of AWS's services anew, which takes a tenth of a second."""
    from botocore.session import get_session

    return get_session()


def forget_session() -> None:
    """Let the next client look for profile, region and credentials again."""
    with _making:
        _session.cache_clear()


class Refusal(NamedTuple):
    """What an error answer of AWS says."""

    status: int
    code: str
    details: Mapping[str, Any]

    @property
    def is_temporary(self) -> bool:
        """Can the same question be answered later?"""
        return self.status >= 500 or self.status in (408, 429) or self.code in TEMPORARY

    @property
    def message(self) -> str:
        return str(self.details.get("Message", ""))


def refusal(error: Any) -> Refusal:
    """Read botocore's `ClientError`."""
    details = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return Refusal(status, str(details.get("Code", "")), details)


def read_secret(secret: str, region: str | None = None) -> bytes:
    """Read a secret.

    Args:
        secret: `ssm:` and the name of a parameter, or `secretsmanager:` and the name or ARN of a secret.
        region: default: the ARN's, else from AWS's usual chain.

    Raises:
        InvalidKey: there is no such secret.
        StoreRefused: AWS does not let us read it, or nobody said in which region it is.
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
        raise _refused(secret, refusal(error)) from error
    except NoCredentialsError as error:
        raise StoreRefused(f"{secret} cannot be read: there are no AWS credentials") from error
    except NoRegionError as error:
        raise StoreRefused(f"{secret} cannot be read: in which region is it? Set AWS_DEFAULT_REGION") from error
    except (BotoCoreError, ValueError) as error:
        raise Unavailable(f"{secret} cannot be read: {error}") from error
    except KeyError as error:
        raise Unavailable(f"{secret} cannot be read: what came is no answer of AWS") from error


def _refused(secret: str, why: Refusal) -> StagedoorError:
    if why.code in ("ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException"):
        return InvalidKey(f"{secret} does not exist in this account and region")
    if why.is_temporary:
        return Unavailable(f"{secret} cannot be read: {why.code}")
    return StoreRefused(
        f"{secret} cannot be read: {why.code}; the role needs ssm:GetParameter or "
        "secretsmanager:GetSecretValue, and kms:Decrypt for a key of yours"
    )
