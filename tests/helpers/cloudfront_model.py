"""A model of CloudFront on this machine, for one distribution of a synthesised template.

It does what the site relies on, in CloudFront's order: choose a behaviour by the normalised path, check HTTPS, method
and key groups, run the function at viewer-request, use the cache, ask the origin, add headers for the viewer. The
template says how; a policy or kind of origin that the model does not know is an error.

Where CloudFront's documentation leaves something open, the model does what is worse for the site: a response headers
policy adds nothing to answers that the function at viewer-request made.

Not modelled: the firewall, compression, HTTP/2 and 3, several edge locations, and origin shields. Objects are fetched
whole, and ranges are cut from the copy; CloudFront may fetch ranges.

Sources: CloudFront Developer Guide, "Cache behavior settings", "Understand cache policies", "Manage how long content
stays in the cache", "Restrict access to an Amazon S3 origin", "Restrictions on edge functions".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from urllib.parse import unquote

from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.helpers import http_api, native_passes
from tests.helpers.cloudfront import DOMAIN, check, event, request_of
from tests.helpers.deployed import ACCOUNT, Deployed

Event = dict[str, Any]
Hook = Callable[[Event], Event]
Pairs = list[tuple[str, str]]

VIEWER, EDGE = "203.0.113.7", "198.51.100.9"
ERROR_TTL = 10
""""Error caching minimum TTL" of a status that the distribution does not mention."""
_MANAGED: Mapping[str, Mapping[str, Any]] = {
    "4135ea2d-6df8-44a3-9df3-4b5a84be39ad": {"MinTTL": 0, "DefaultTTL": 0, "MaxTTL": 0},  # CachingDisabled
    "658327ea-f89d-4fab-a63d-7e88639e58f6": {"MinTTL": 1, "DefaultTTL": 86_400, "MaxTTL": 31_536_000},  # …Optimized
}
_OF_S3 = (("x-amz-server-side-encryption", "AES256"), ("x-amz-version-id", "3HL4kqtJvjVBH40Nrjfkd"))
"""Header fields of S3 that moto does not send (API Reference, "GetObject")."""
_ALL_BUT_HOST = "b689b0a8-53d0-40ab-baf2-68738e2966ac"  # AllViewerExceptHostHeader
_UNRESERVED = re.compile(r"%(2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])")
_MAX_AGE = re.compile(r"(?:^|[ ,])(?:s-maxage|max-age)=(\d+)")


class Clock:
    """The current time, and later if `ahead` is set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Answer(NamedTuple):
    """An answer to a viewer or to an edge location."""

    status: int
    headers: Pairs
    body: bytes = b""

    def field(self, name: str) -> str | None:
        """The value of a header field, or None. A field that occurs twice is an error."""
        values = [value for found, value in self.headers if found.lower() == name.lower()]
        assert len(values) < 2, values
        return values[0] if values else None


class Asked(NamedTuple):
    """A request to an origin."""

    origin: str
    method: str
    target: str
    headers: Pairs


class Kept(NamedTuple):
    """A copy in the cache."""

    answer: Answer
    until: float


class CloudFront:
    """The distribution of a stack.

    Args:
        stack: with one distribution.
        hook: loads a function from its zip and its handler's name, as an edge location runs it.
        api: answers events of the HTTP API.
        clock: returns the time.

    Attributes:
        asked: the requests to origins, in order.
        log: the access log, with the fields that the template names.
        cache: copies, by cache key.
        down: True: no origin answers.
    """

    def __init__(self, stack: Deployed, hook: Callable[[bytes, str], Hook], api: Hook, clock: Clock) -> None:
        self._stack, self._api, self._clock = stack, api, clock
        (name,) = stack.of_type("AWS::CloudFront::Distribution")
        self._config = stack.properties(name)["DistributionConfig"]
        self._arn = f"arn:aws:cloudfront::{ACCOUNT}:distribution/{stack.ref(name)}"
        self._hooks = {arn: self._load(arn, hook) for arn in self._associated()}
        (delivery,) = stack.of_type("AWS::Logs::Delivery")
        self._fields = stack.properties(delivery)["RecordFields"]
        self.asked: list[Asked] = []
        self.log: list[dict[str, str]] = []
        self.cache: dict[tuple[str, ...], Kept] = {}
        self.down = False

    def ask(
        self,
        target: str,
        method: str = "GET",
        *,
        body: bytes = b"",
        scheme: str = "https",
        **fields: str | Sequence[str],
    ) -> Answer:
        """Send a viewer's request: a raw target, and header fields as keywords."""
        asked = event(target, method, client=VIEWER, **fields)
        answer = self._answered(asked, body, scheme)
        self._note(asked, answer)
        return answer if method != "HEAD" else answer._replace(body=b"")

    def _answered(self, asked: Event, body: bytes, scheme: str) -> Answer:
        request = request_of(asked)
        behavior = self._behavior(request["uri"])
        if scheme != "https":
            assert behavior["ViewerProtocolPolicy"] == "https-only"
            return _own(403, "HTTPS is required")
        if request["method"] not in behavior.get("AllowedMethods", ["GET", "HEAD"]):
            return _own(403, "This distribution is not configured to allow the HTTP request method")
        refused = self._check_pass(behavior, request)
        if refused is not None:
            return refused
        for association in behavior.get("LambdaFunctionAssociations", []):
            assert association["EventType"] == "viewer-request"
            answer = check(asked, self._hooks[association["LambdaFunctionARN"]](asked))
            if "status" in answer:
                return _generated(answer)
            request = answer
        origin = "".join(field["value"] for field in request_of(asked)["headers"].get("origin", []))
        return self._dressed(behavior, origin, self._error_page(self._cached(behavior, request, body)))

    # --- behaviours

    def _behavior(self, path: str) -> Any:
        """The behaviour for a path, by its normalised form (RFC 3986 §6.2.2); the raw path is sent on."""
        normal = _without_dots(_UNRESERVED.sub(lambda found: unquote(found[0]), path))
        for behavior in self._config.get("CacheBehaviors", []):
            pattern = behavior["PathPattern"]
            if fnmatchcase(normal, pattern if pattern.startswith("/") else f"/{pattern}"):
                return behavior
        return self._config["DefaultCacheBehavior"]

    def _associated(self) -> set[str]:
        all_ = (self._config["DefaultCacheBehavior"], *self._config.get("CacheBehaviors", []))
        return {one["LambdaFunctionARN"] for each in all_ for one in each.get("LambdaFunctionAssociations", [])}

    def _load(self, version: str, hook: Callable[[bytes, str], Hook]) -> Hook:
        function = self._stack.named(self._stack.properties(self._stack.named(version))["FunctionName"])
        return hook(self._stack.zip_of(function), self._stack.properties(function)["Handler"])

    # --- passes

    def _check_pass(self, behavior: Mapping[str, Any], request: Event) -> Answer | None:
        """CloudFront's own check of signed URLs and cookies, which also removes the pass from the request."""
        if "TrustedKeyGroups" not in behavior:
            return None
        fields, rest = native_passes.from_query(request["querystring"])
        query = f"?{rest}" if rest else ""
        if not fields:
            cookies = (field["value"] for field in request["headers"].get("cookie", []))
            fields = native_passes.from_cookies("; ".join(cookies))
        keys = dict(self._trusted(behavior["TrustedKeyGroups"]))
        url = f"https://{DOMAIN}{request['uri']}{query}"
        if not native_passes.opens(fields, url, keys, VIEWER, self._clock()):
            code = "AccessDenied" if "Key-Pair-Id" in fields else "MissingKey"
            return _own(403, f"<Error><Code>{code}</Code></Error>")
        request["querystring"] = rest
        return None

    def _trusted(self, groups: Sequence[str]) -> Iterator[tuple[str, native_passes.PublicKey]]:
        for group in groups:
            for key_id in self._stack.properties(self._stack.named(group))["KeyGroupConfig"]["Items"]:
                config = self._stack.properties(self._stack.named(key_id))["PublicKeyConfig"]
                yield key_id, load_pem_public_key(config["EncodedKey"].encode())  # type: ignore[misc]

    # --- cache

    def _cached(self, behavior: Mapping[str, Any], request: Event, body: bytes) -> Answer:
        policy = self._cache_policy(behavior["CachePolicyId"])
        if request["method"] not in behavior.get("CachedMethods", ["GET", "HEAD"]) or not policy["MaxTTL"]:
            return self._origin(behavior, request, body)
        key = (request["headers"]["host"][0]["value"], request["uri"])
        kept = self.cache.get(key)
        result = "Hit"
        if kept is None or kept.until <= self._clock():
            whole = {**request, "method": "GET"}
            answer = self._origin(behavior, whole, b"")
            kept = self.cache[key] = Kept(answer, self._clock() + self._ttl(policy, answer))
            result = "Miss" if answer.status == 200 else "Error"
        answer = _part(kept.answer, request)
        return answer._replace(headers=[*answer.headers, ("x-cache", f"{result} from cloudfront")])

    def _cache_policy(self, id_: str) -> Mapping[str, Any]:
        if id_ in _MANAGED:
            return _MANAGED[id_]
        policy: Mapping[str, Any] = self._stack.properties(self._stack.named(id_))["CachePolicyConfig"]
        key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
        assert key["CookiesConfig"] == {"CookieBehavior": "none"}
        assert key["HeadersConfig"] == {"HeaderBehavior": "none"}
        assert key["QueryStringsConfig"] == {"QueryStringBehavior": "none"}
        return policy

    def _ttl(self, policy: Mapping[str, Any], answer: Answer) -> float:
        if answer.status >= 400:
            named = {one["ErrorCode"]: one["ErrorCachingMinTTL"] for one in self._config["CustomErrorResponses"]}
            return float(named.get(answer.status, ERROR_TTL))
        control = answer.field("cache-control") or ""
        if any(word in control for word in ("no-store", "no-cache", "private")):
            return float(policy["MinTTL"])
        found = _MAX_AGE.search(control)
        wanted = int(found[1]) if found else policy["DefaultTTL"]
        return float(min(max(wanted, policy["MinTTL"]), policy["MaxTTL"]))

    # --- origins

    def _origin(self, behavior: Mapping[str, Any], request: Event, body: bytes) -> Answer:
        (origin,) = (one for one in self._config["Origins"] if one["Id"] == behavior["TargetOriginId"])
        if self.down:
            return _own(502, "the origin did not answer")
        if "S3OriginConfig" in origin:
            return self._ask_bucket(origin, request)
        assert behavior["OriginRequestPolicyId"] == _ALL_BUT_HOST
        return self._ask_api(origin, request, body)

    def _ask_bucket(self, origin: Mapping[str, Any], request: Event) -> Answer:
        """Send the path alone to the bucket, signed as this distribution if the template says so."""
        bucket = origin["DomainName"].partition(".s3.")[0]
        path = origin.get("OriginPath", "") + request["uri"]
        self.asked.append(Asked(bucket, request["method"], path, [("user-agent", "Amazon CloudFront")]))
        control = self._stack.properties(self._stack.named(origin["OriginAccessControlId"]))
        signs = control["OriginAccessControlConfig"]["SigningBehavior"] == "always"
        source = self._arn if signs else None
        return ask_bucket(self._stack, bucket, unquote(path[1:]), source)

    def _ask_api(self, origin: Mapping[str, Any], request: Event, body: bytes) -> Answer:
        """Send everything but Host to the API; header fields of the origin replace those of the viewer."""
        api = origin["DomainName"].partition(".")[0]
        assert self._stack.only("AWS::ApiGatewayV2::Stage", ApiId=api)["StageName"] == "$default"
        assert self._stack.only("AWS::ApiGatewayV2::Route", ApiId=api)["RouteKey"] == "ANY /-/{proxy+}"
        assert self._stack.only("AWS::ApiGatewayV2::Integration", ApiId=api)["PayloadFormatVersion"] == "2.0"
        own = {one["HeaderName"].lower(): one["HeaderValue"] for one in origin.get("OriginCustomHeaders", [])}
        sent = [
            (field["key"], field["value"])
            for name, fields in request["headers"].items()
            for field in fields
            if name not in ("host", "x-forwarded-for", *own)
        ]
        before = [field["value"] for field in request["headers"].get("x-forwarded-for", [])]
        sent += [*own.items(), ("X-Forwarded-For", ", ".join((*before, VIEWER)))]
        target = request["uri"] + (f"?{request['querystring']}" if request["querystring"] else "")
        self.asked.append(Asked(api, request["method"], target, sent))
        lines = [f"{name}: {value}" for name, value in sent]
        made = http_api.event(target, request["method"], *lines, body=body or None, peer=EDGE)
        answer = self._api(made)
        return Answer(answer["statusCode"], list(http_api.pairs(answer)), answer["body"].encode())

    # --- answers

    def _error_page(self, answer: Answer) -> Answer:
        pages = [one for one in self._config.get("CustomErrorResponses", []) if one["ErrorCode"] == answer.status]
        if not pages:
            return answer
        path = pages[0]["ResponsePagePath"]
        behavior = self._behavior(path)
        assert not behavior.get("LambdaFunctionAssociations")
        (origin,) = (one for one in self._config["Origins"] if one["Id"] == behavior["TargetOriginId"])
        page = self._ask_bucket(origin, {"method": "GET", "uri": path})
        return page._replace(status=pages[0]["ResponseCode"]) if page.status == 200 else answer

    def _dressed(self, behavior: Mapping[str, Any], origin: str, answer: Answer) -> Answer:
        """Apply the response headers policy to an answer of an origin or the cache; `origin` is the script's."""
        policy = self._stack.properties(self._stack.named(behavior["ResponseHeadersPolicyId"]))
        config = policy["ResponseHeadersPolicyConfig"]
        gone = {one["Header"] for one in config.get("RemoveHeadersConfig", {}).get("Items", [])}
        headers = [(name, value) for name, value in answer.headers if name.lower() not in gone]
        for name, value, override in (*_policy_headers(config), *_cors_headers(config.get("CorsConfig"), origin)):
            there = any(found.lower() == name for found, _ in headers)
            if override:
                headers = [pair for pair in headers if pair[0].lower() != name]
            if override or not there:
                headers.append((name, value))
        return answer._replace(headers=headers)

    def _note(self, asked: Event, answer: Answer) -> None:
        request = request_of(asked)
        headers = {name: "; ".join(one["value"] for one in fields) for name, fields in request["headers"].items()}
        known = {
            "c-ip": VIEWER,
            "cs-method": request["method"],
            "cs(Host)": DOMAIN,
            "cs-uri-stem": request["uri"],
            "cs-uri-query": request["querystring"],
            "cs(Cookie)": headers.get("cookie", "-"),
            "cs(Referer)": headers.get("referer", "-"),
            "cs(User-Agent)": headers.get("user-agent", "-"),
            "sc-status": str(answer.status),
            "sc-bytes": str(len(answer.body)),
        }
        self.log.append({name: known.get(name, "-") for name in self._fields})


def ask_bucket(stack: Deployed, bucket: str, key: str, source: str | None, *, tls: bool = True) -> Answer:
    """Ask S3 for an object, as the distribution `source` or anonymously; the bucket's policy decides."""
    principal = {"Service": "cloudfront.amazonaws.com"} if source else {}
    about = {"aws:SecureTransport": str(tls).lower(), "s3:TlsVersion": "1.3"}
    if source:
        about["aws:SourceArn"] = source
    lists = stack.allows(bucket, "s3:ListBucket", "", principal, about)
    denied = Answer(403, [("content-type", "application/xml")], b"<Error><Code>AccessDenied</Code></Error>")
    if not key:
        names = stack.s3.list_objects_v2(Bucket=bucket).get("Contents", []) if lists else []
        return Answer(200, [], " ".join(one["Key"] for one in names).encode()) if lists else denied
    if not stack.allows(bucket, "s3:GetObject", key, principal, about):
        return denied
    try:
        found = stack.s3.get_object(Bucket=bucket, Key=key)
    except stack.s3.exceptions.NoSuchKey:
        missing = Answer(404, [("content-type", "application/xml")], b"<Error><Code>NoSuchKey</Code></Error>")
        return missing if lists else denied
    fields = found["ResponseMetadata"]["HTTPHeaders"].items()
    left_out = (
        "access-control-allow-origin",
        "connection",
        "content-length",
        "date",
        "server",
    )  # the server's, not S3's
    headers = [pair for pair in fields if pair[0] not in left_out]
    return Answer(200, [*headers, *_OF_S3], found["Body"].read())


def _own(status: int, text: str) -> Answer:
    """An answer of CloudFront itself."""
    return Answer(status, [("x-cache", "Error from cloudfront")], text.encode())


def _generated(answer: Event) -> Answer:
    """An answer that the function made."""
    headers = [(one["key"], one["value"]) for fields in answer["headers"].values() for one in fields]
    headers.append(("x-cache", "LambdaGeneratedResponse from cloudfront"))
    return Answer(int(answer["status"]), headers, answer.get("body", "").encode())


def _part(answer: Answer, request: Event) -> Answer:
    """Answer a conditional request, or one for a single range, from a copy."""
    headers = {name: fields[0]["value"] for name, fields in request["headers"].items()}
    if answer.status != 200:
        return answer
    etag, modified = answer.field("etag") or "", answer.field("last-modified") or ""
    if headers.get("if-none-match") == etag:
        return answer._replace(status=304, body=b"")
    since = headers.get("if-modified-since")
    if since and "if-none-match" not in headers and parsedate_to_datetime(modified) <= parsedate_to_datetime(since):
        return answer._replace(status=304, body=b"")
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
    if not found or headers.get("if-range", etag) != etag:
        return answer
    size = len(answer.body)
    first, last = int(found[1]), min(int(found[2] or size), size - 1)
    if first > last:
        return Answer(416, [("content-range", f"bytes */{size}")])
    span = ("content-range", f"bytes {first}-{last}/{size}")
    return Answer(206, [*answer.headers, span], answer.body[first : last + 1])


def _policy_headers(config: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    for one in config.get("CustomHeadersConfig", {}).get("Items", []):
        yield one["Header"].lower(), one["Value"], one["Override"]
    for name, one in config["SecurityHeadersConfig"].items():
        if name == "ContentTypeOptions":
            yield "x-content-type-options", "nosniff", one["Override"]
        elif name == "StrictTransportSecurity":
            assert one["IncludeSubdomains"] is False
            yield "strict-transport-security", f"max-age={one['AccessControlMaxAgeSec']}", one["Override"]
        elif name == "ContentSecurityPolicy":
            yield "content-security-policy", one["ContentSecurityPolicy"], one["Override"]
        else:
            assert name == "ReferrerPolicy", name
            yield "referrer-policy", one["ReferrerPolicy"], one["Override"]


def _cors_headers(config: Mapping[str, Any] | None, origin: str) -> Iterator[tuple[str, str, bool]]:
    """Header fields for scripts of a listed origin; preflights are answered before."""
    if config is None or origin not in config["AccessControlAllowOrigins"]["Items"]:
        return
    override = config["OriginOverride"]
    yield "access-control-allow-origin", origin, override
    if config["AccessControlAllowCredentials"]:
        yield "access-control-allow-credentials", "true", override
    yield "access-control-expose-headers", ", ".join(config["AccessControlExposeHeaders"]["Items"]), override


def _without_dots(path: str) -> str:
    """The path without dot segments (RFC 3986 §5.2.4)."""
    out: list[str] = []
    segments = path.split("/")[1:]
    for position, segment in enumerate(segments):
        if segment == "..":
            del out[-1:]
        elif segment != ".":
            out.append(segment)
        if segment in (".", "..") and position == len(segments) - 1:
            out.append("")
    return "/" + "/".join(out)
