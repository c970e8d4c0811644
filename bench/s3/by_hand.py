"""Private files from S3 as one writes it in an afternoon: Starlette, PyJWT, boto3. A contestant, no example."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import boto3
import jwt
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

KEY: Any = load_pem_public_key(Path(os.environ["ISSUER_KEY"]).read_bytes())
ISSUER, AUDIENCE, BUCKET = os.environ["ISSUER"], os.environ["AUDIENCE"], os.environ["BUCKET"]
KEPT = {"etag", "last-modified", "content-type", "content-length", "content-range", "cache-control"}

s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"], config=Config(max_pool_connections=64))


def authorise(request: Request, key: str) -> None:
    """Let those in whose token names the group that the key is for.

    Raises:
        HTTPException: 401 or 403.
    """
    try:
        claims = jwt.decode(request.cookies.get("token", ""), KEY, ["RS256"], audience=AUDIENCE, issuer=ISSUER)
    except jwt.InvalidTokenError:
        raise HTTPException(401) from None
    folder, _, rest = key.partition("/")
    if folder != "groups" or rest.partition("/")[0] not in claims["groups"]:
        raise HTTPException(403)


def read(request: Request) -> Response:
    """Answer with an object, or with a range of it."""
    key = request.path_params["key"]
    authorise(request, key)
    wanted: dict[str, Any] = {"Range": request.headers["range"]} if "range" in request.headers else {}
    try:
        answer = s3.get_object(Bucket=BUCKET, Key=key, **wanted)
    except ClientError as error:
        raise HTTPException(404) from error
    meta = answer["ResponseMetadata"]
    headers = {name: value for name, value in meta["HTTPHeaders"].items() if name in KEPT}
    return StreamingResponse(answer["Body"].iter_chunks(65_536), meta["HTTPStatusCode"], headers)


def check(request: Request) -> Response:
    """Answer nginx's `auth_request`."""
    authorise(request, request.headers["x-path"].removeprefix("/"))
    return Response(status_code=204)


def healthz(_: Request) -> Response:
    return Response()


app = Starlette(routes=[Route("/-/healthz", healthz), Route("/-/auth", check), Route("/{key:path}", read)])
