"""Secrets that AWS keeps: parameters of SSM Parameter Store and secrets of Secrets Manager."""

from __future__ import annotations

from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from botocore.session import get_session

from ..core.errors import InvalidKey, StagedoorError, StoreRefused, Unavailable

SCHEMES = ("ssm", "secretsmanager")
_CONFIG = {"connect_timeout": 3, "read_timeout": 5, "retries": {"mode": "standard", "total_max_attempts": 3}}


def read(secret: str, region: str | None = None) -> bytes:
    """Read a secret.

    Args:
        secret: `ssm:` and the name of a parameter, or `secretsmanager:` and the name or ARN of a secret.
        region: default: the ARN's, else from AWS's usual chain.

    Raises:
        InvalidKey: there is no such secret.
        StoreRefused: AWS does not let us read it, or nobody said in which region it is.
        Unavailable: AWS did not answer.
    """
    scheme, _, name = secret.partition(":")
    if name.startswith("arn:"):
        region = "".join(name.split(":")[3:4]) or region
    try:
        if scheme == "ssm":
            answer = _client("ssm", region).get_parameter(Name=name, WithDecryption=True)
            return str(answer["Parameter"]["Value"]).encode()
        answer = _client("secretsmanager", region).get_secret_value(SecretId=name)
        return answer["SecretBinary"] if "SecretBinary" in answer else str(answer["SecretString"]).encode()
    except ClientError as error:
        raise _told(error, secret) from error
    except NoCredentialsError as error:
        raise StoreRefused(f"{secret} cannot be read: there are no AWS credentials") from error
    except NoRegionError as error:
        raise StoreRefused(f"{secret} cannot be read: in which region is it? Set AWS_DEFAULT_REGION") from error
    except (BotoCoreError, ValueError) as error:
        raise Unavailable(f"{secret} cannot be read: {error}") from error
    except KeyError as error:
        raise Unavailable(f"{secret} cannot be read: what came is no answer of AWS") from error


def _client(service: str, region: str | None) -> Any:
    return get_session().create_client(service, region_name=region, config=Config(**_CONFIG))


def _told(error: Any, secret: str) -> StagedoorError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ("ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException"):
        return InvalidKey(f"{secret} does not exist in this account and region")
    if status >= 500 or code.startswith("Throttling"):
        return Unavailable(f"{secret} cannot be read: {code}")
    return StoreRefused(
        f"{secret} cannot be read: {code}; the role needs ssm:GetParameter or "
        "secretsmanager:GetSecretValue, and kms:Decrypt for a key of yours"
    )
