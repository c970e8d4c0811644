"""A small site that guards its objects well, but for the faults that are planted in it.

Without a fault it is as strict as a site can be; `FAULTS` says which question of the doctor must find which fault.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import socketserver
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from io import BufferedIOBase
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self
from unicodedata import normalize
from urllib.parse import parse_qsl, quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from stagedoor.doctor import forge
from stagedoor.keys import signatures
from tests.helpers.support import CLIENT, ISSUER, b64, claims, rsa_signer, sealed, token

PRIVATE, PUBLIC, EMPTY = "/users/ann/photo.png", "/public/logo.png", "/users/ann/empty"
PAGE = "/users/ann/page.html"
OBJECTS = {PRIVATE: b"\x89PNG ann's photo", PUBLIC: b"\x89PNG the logo", EMPTY: b"", PAGE: b"<h1>Ann</h1>"}
SECRET = b"only this site knows it"
ORIGIN = "https://app.example.com"

FAULTS: Mapping[str, str] = {
    "no-check": "no-token",
    "cache-before-check": "cache-replay",
    "any-signed-in": "other-user",
    "passes-for-anybody": "other-user",
    "any-word": "garbage-token",
    "empty-bearer": "garbage-token",
    "signature-not-checked": "signature",
    "signature-may-be-missing": "signature",
    "alg-none": "alg-none",
    "alg-none-in-cookies": "alg-none",
    "hs256": "hmac-key",
    "hs256-der": "hmac-key",
    "weak-secret": "hmac-key",
    "key-in-header": "key-tricks",
    "kid-is-a-file": "key-tricks",
    "expired-counts": "expired",
    "any-audience": "audience",
    "dots-after-check": "path-spelling",
    "double-decoding": "path-spelling",
    "slashes-after-check": "path-spelling",
    "semicolon-after-check": "path-spelling",
    "case-after-check": "path-spelling",
    "dots-from-public": "path-spelling",
    "absolute-form": "path-spelling",
    "dots-for-signed-in": "path-spelling",
    "x-original-url": "header-tricks",
    "trusts-localhost": "header-tricks",
    "trusts-user-header": "header-tricks",
    "host-in-redirect": "header-tricks",
    "head": "head",
    "range": "range",
    "range-past-the-end": "range",
    "not-modified": "conditional",
    "precondition-failed": "conditional",
    "writable": "methods",
    "trace": "methods",
    "unknown-method": "methods",
    "listing": "listing",
    "bucket-listing": "listing",
    "our-listing": "listing",
    "public-cache": "cache-control",
    "s-maxage": "cache-control",
    "query-token-cached": "query-token",
    "response-content-type": "response-override",
    "pass-not-signed": "pass-tampered",
    "pass-for-any-path": "pass-tampered",
    "pass-end-not-signed": "pass-tampered",
    "pass-query": "pass-extended",
    "pass-for-ever": "pass-expired",
    "cookie-without-httponly": "session-cookie",
    "cookie-without-samesite": "session-cookie",
    "session-alg-none": "session-forged",
    "session-from-anywhere": "cross-site-post",
    "cors-any-origin": "cors",
    "cors-star": "cors",
    "cors-null": "cors",
    "cors-ending": "cors",
    "open-redirect": "open-redirect",
    "open-redirect-by-path": "open-redirect",
    "script-in-page": "reflection",
    "line-end-in-header": "reflection",
    "token-in-page": "token-shown",
    "token-in-redirect": "token-shown",
    "no-nosniff": "nosniff",
    "crash": "server-fault",
    "locks-out": "still-answers",
    "cors-listed-ending": "cors",
    "cors-listed-http": "cors",
    "refuses-the-doctor": "let-in",
    "passes-for-strangers": "no-token",
    "cookies-for-anybody": "other-user",
    "decision-cached-by-token": "other-user",
    "claim-is-a-beginning": "neighbours",
    "claim-in-any-case": "neighbours",
    "long-token-opens": "garbage-token",
    "two-tokens-open": "garbage-token",
    "unknown-key-opens": "signature",
    "alg-empty": "alg-none",
    "alg-missing": "alg-none",
    "hs512": "hmac-key",
    "hs256-in-small-letters": "hmac-key",
    "certificate-in-header": "key-tricks",
    "api-takes-any-signature": "signature",
    "api-takes-alg-none": "alg-none",
    "api-takes-expired": "expired",
    "http-1.0-unchecked": "path-spelling",
    "endings-let-through": "path-spelling",
    "wide-letters-after-check": "path-spelling",
    "capital-after-check": "path-spelling",
    "triple-decoding": "path-spelling",
    "tabs-after-check": "path-spelling",
    "public-anywhere": "path-spelling",
    "trusts-sub-header": "header-tricks",
    "trusts-mail-header": "header-tricks",
    "trusts-inside-address": "header-tricks",
    "trusts-forwarded": "header-tricks",
    "trusts-own-referrer": "header-tricks",
    "trusts-same-origin": "header-tricks",
    "x-original-url-for-signed-in": "header-tricks",
    "host-in-link": "header-tricks",
    "head-for-signed-in": "head",
    "range-for-signed-in": "range",
    "conditional-for-signed-in": "conditional",
    "post-gives": "methods",
    "propfind-gives": "methods",
    "json-listing": "listing",
    "parent-listing": "listing",
    "versions-listing": "listing",
    "folder-names-objects": "listing",
    "our-listing-for-signed-in": "listing",
    "whoami-cached": "api-replay",
    "our-listing-cached": "api-replay",
    "refusal-for-all": "cache-control",
    "cors-at-our-listing": "cors",
    "redirect-to-own-beginning": "open-redirect",
    "redirect-tab": "open-redirect",
    "redirect-script": "open-redirect",
    "redirect-at-object": "open-redirect",
    "redirect-elsewhere-in-login": "open-redirect",
    "script-in-login": "reflection",
    "trace-in-page": "server-fault",
    "no-nosniff-for-passes": "nosniff",
    "redirect-by-refresh": "open-redirect",
    "no-origin-check-for-cookies": "cross-site-post",
    "origin-null": "cross-site-post",
    "origin-ending": "cross-site-post",
    "pass-for-longer-names": "pass-tampered",
    "pass-in-any-case": "pass-tampered",
    "metrics": "inside",
    "explains-to-anybody": "inside",
    "settings-file": "inside",
    "next-to-provider": "sign-in-next",
    "next-in-state": "sign-in-next",
    "provider-by-query": "sign-in-next",
    "callback-by-query": "sign-in-next",
    "callback-injected": "sign-in-next",
    "callback-by-host": "sign-in-next",
    "callback-by-forwarded-host": "sign-in-next",
    "leads-away-after-sign-in": "sign-in-next",
    "leads-away-by-tab": "sign-in-next",
    "no-state": "sign-in-state",
    "same-state": "sign-in-state",
    "same-nonce": "sign-in-state",
    "no-challenge": "sign-in-state",
    "no-attempt-cookie": "sign-in-state",
    "state-of-anybody": "sign-in-state",
    "any-state": "sign-in-state",
    "no-state-needed": "sign-in-state",
    "any-attempt": "sign-in-state",
    "any-code": "sign-in-state",
    "state-used-twice": "sign-in-state",
    "callback-by-post": "sign-in-state",
    "attempt-continued": "sign-in-fixation",
    "planted-cookie-taken": "sign-in-fixation",
    "session-continued": "sign-in-fixation",
    "session-not-replaced": "sign-in-fixation",
    "attempt-for-scripts": "sign-in-cookies",
    "attempt-from-other-sites": "sign-in-cookies",
    "attempt-for-months": "sign-in-cookies",
    "attempt-without-end": "sign-in-cookies",
    "attempt-for-a-folder": "sign-in-cookies",
    "head-begins": "sign-in-unseen",
    "prefetch-begins": "sign-in-unseen",
    "old-prefetch-begins": "sign-in-unseen",
    "frame-begins": "sign-in-unseen",
    "head-ends": "sign-in-unseen",
    "prefetch-ends": "sign-in-unseen",
    "scripts-to-sign-in": "sign-in-scripts",
    "pictures-to-sign-in": "sign-in-scripts",
    "programs-to-sign-in": "sign-in-scripts",
    "office-to-sign-in": "sign-in-scripts",
    "prefetch-to-sign-in": "sign-in-scripts",
    "pages-without-policy": "sign-in-framed",
    "pages-with-scripts": "sign-in-framed",
    "pages-in-frames": "sign-in-framed",
    "form-in-frames": "sign-in-framed",
    "link-signs-out": "sign-out-by-link",
    "head-signs-out": "sign-out-by-link",
    "prefetch-signs-out": "sign-out-by-link",
    "link-leads-to-sign-out": "sign-out-by-link",
    "link-ends-session": "sign-out-by-link",
    "sign-out-from-anywhere": "sign-out-cross-site",
    "sign-out-for-null": "sign-out-cross-site",
    "sign-out-for-ending": "sign-out-cross-site",
    "sign-out-without-origin": "sign-out-cross-site",
    "session-for-days": "session-life",
    "session-says-days": "session-life",
    "session-in-caches": "session-life",
    "renews-from-anywhere": "renewal-cross-site",
    "renews-for-null": "renewal-cross-site",
    "renews-for-ending": "renewal-cross-site",
    "renews-without-origin": "renewal-cross-site",
    "sign-out-forgets": "signed-out-session",
    "sign-out-late": "signed-out-session",
    "sign-out-at-one-worker": "signed-out-session",
    "revoked-counts": "revoked-token",
    "revoked-late": "revoked-token",
    "revoked-at-one-worker": "revoked-token",
    "revoked-in-session": "revoked-token",
    "revoked-makes-sessions": "revoked-token",
    "revokes-for-anybody": "revocations-open",
    "revokes-for-users": "revocations-open",
    "revokes-from-anywhere": "revocations-open",
    "revokes-for-listed": "revocations-open",
    "revocations-shown": "revocations-open",
    "logout-token-unsigned": "logout-forged",
    "logout-token-by-any-key": "logout-forged",
}

NOTES: Mapping[str, str] = {
    "no-cache-control": "cache-silence",
    "careless-cookie": "session-cookie",
    "asks-provider-for-anybody": "sign-in-state",
    "revokes-nothing": "revoked-token",
}
"""Faults that are worth a word, and no failure."""

MANNERS = (
    *("tokens-buy-passes", "page-for-everything", "sign-in-page", "no-endpoints", "hangs-up", "changing-page"),
    *("changing-object", "changing-public", "names-its-host", "hides", "new-pages", "page-with-next"),
    *("no-sign-in", "several-providers", "balanced"),
)
"""What is no fault, and could be taken for one: as behind a key group of CloudFront; a single-page app; 200 and a
sign-in form where others say 401, which is another each time; a site that has nothing of ours under `/-/`; no answer
at all to nonsense; objects whose bytes are others each time; an error page that names the host; 404 for what one may
not read; a single-page app that is another page each time; a page that leads to sign in, and back to where one was;
nobody can sign in at the site itself; visitors choose where to sign in; a load balancer that sets a cookie."""


class Asked(NamedTuple):
    method: str
    target: str
    fields: Mapping[str, str]
    body: bytes
    version: str = "HTTP/1.1"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def parameters(self) -> dict[str, str]:
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def cookie(self, name: str) -> str | None:
        pairs = (pair.strip().partition("=") for pair in self.fields.get("cookie", "").split(";"))
        return next((value for found, _, value in pairs if found == name), None)


class Told(NamedTuple):
    status: int
    fields: Mapping[str, str] = {}
    body: bytes = b""


class FaultySite:
    """A running site; `with FaultySite("head") as site: … site.url`."""

    running: ClassVar[dict[int, FaultySite]] = {}
    """Port -> site, of those in this process."""

    def __init__(self, *faults: str) -> None:
        assert set(faults) <= {*FAULTS, *NOTES, *MANNERS}, faults
        self.faults = frozenset(faults)
        self.asked: list[Asked] = []
        self.later = 0.0
        self._cache: dict[str, Told] = {}
        self._yes: set[str] = set()
        self._attempts: dict[str, tuple[str, str]] = {}
        self._ended: set[str] = set()
        self._taken: dict[str, float] = {}
        self._check = signatures.load(rsa_signer().jwk)
        site = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 10

            def handle(self) -> None:
                with suppress(OSError):
                    self.wfile.write(site.answer(self.rfile))

        class Server(socketserver.TCPServer):  # one after the other, as the doctor asks
            allow_reuse_address, request_queue_size = True, 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self._port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self._port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        self.running[self._port] = self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        del self.running[self._port]
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def has(self, *faults: str) -> bool:
        return not self.faults.isdisjoint(faults)

    def wait(self, seconds: float) -> None:
        """Let time go by, for this site alone."""
        self.later += seconds

    def mend(self) -> None:
        """Have no fault any more."""
        self.faults = frozenset()

    def _now(self) -> float:
        return time.time() + self.later

    # --- the wire

    def answer(self, request: BufferedIOBase) -> bytes:
        """What is sent back for a request; nothing where the site hangs up."""
        with suppress(OSError, ValueError):
            return self._speak(request)
        return b""

    def _speak(self, stream: Any) -> bytes:
        lines: list[str] = []
        while (raw := stream.readline(65_537)) not in (b"\r\n", b""):
            lines.append(raw.decode("latin-1").rstrip("\r\n"))
        method, target, version = (*lines[0].split(" "), "", "")[:3]
        fields: dict[str, str] = {}
        for name, _, value in (line.partition(":") for line in lines[1:]):
            before = fields.get(name.lower())
            fields[name.lower()] = value.strip() if before is None else f"{before}, {value.strip()}"
        body = stream.read(int(fields.get("content-length", 0)))
        asked = Asked(method, target, fields, body, version)
        self.asked.append(asked)
        if self.has("hangs-up") and self._name(asked) is None:
            return b""
        told = self._answer(asked)
        head = {"Cache-Control": "no-store", "Content-Length": str(len(told.body)), **told.fields}
        if not head["Cache-Control"]:
            del head["Cache-Control"]
        if not self.has("no-nosniff") and not (self.has("no-nosniff-for-passes") and "Signature" in asked.parameters()):
            head["X-Content-Type-Options"] = "nosniff"
        more = [("Set-Cookie", f"AWSALB={secrets.token_hex(16)}; Path=/")] * self.has("balanced")
        text = "".join(f"{name}: {value}\r\n" for name, value in (*head.items(), *self._cors(asked), *more))
        sent = b"" if method == "HEAD" or told.status == 304 else told.body
        return f"HTTP/1.1 {told.status} Told\r\n{text}\r\n".encode("latin-1") + sent

    def _cors(self, asked: Asked) -> list[tuple[str, str]]:
        origin = asked.fields.get("origin", "")
        allowed = {
            "cors-any-origin": origin,
            "cors-star": "*",
            "cors-null": origin if origin == "null" else "",
            "cors-ending": origin if origin.startswith(f"https://{self.url[7:16]}") else "",
            "cors-at-our-listing": origin if asked.path == "/-/s3objects" else "",
            "cors-listed-ending": origin if origin.startswith(ORIGIN) else "",
            "cors-listed-http": origin if origin.endswith("://app.example.com") else "",
        }
        for fault, value in allowed.items():
            if self.has(fault) and origin and value:
                return [("Access-Control-Allow-Origin", value), ("Access-Control-Allow-Credentials", "true")]
        if origin == ORIGIN:
            return [("Access-Control-Allow-Origin", ORIGIN), ("Access-Control-Allow-Credentials", "true")]
        return []

    # --- the site

    def _answer(self, asked: Asked) -> Told:
        if self.has("locks-out") and len(self.asked) > 60:
            return Told(403)
        if self.has("refuses-the-doctor") and "doctor" in asked.fields.get("user-agent", ""):
            return Told(403)
        if self.has("crash") and len(asked.fields.get("accept-language", "")) > 1000:
            return Told(500)
        if self.has("cache-before-check") and asked.method == "GET":
            return self._cached(asked)
        return self._checked(asked)

    def _cached(self, asked: Asked) -> Told:
        """A cache whose key is the path, with the check behind it."""
        kept = self._cache.get(asked.path)
        if kept:
            return kept._replace(fields={**kept.fields, "X-Cache": "Hit", "Age": "1"})
        told = self._checked(asked)
        if told.status == 200:
            self._cache[asked.path] = told
        return told

    def _checked(self, asked: Asked) -> Told:
        if asked.method == "OPTIONS":
            return Told(204)
        if asked.path.startswith("/-/") and not self.has("no-endpoints"):
            return self._endpoint(asked)
        if self.has("page-for-everything", "new-pages") and self._name(asked) not in OBJECTS:
            new = secrets.token_hex(8) if self.has("new-pages") else ""
            return Told(200, {"Content-Type": "text/html"}, f"<script nonce='{new}' src=app.js></script>".encode())
        if self._let_through(asked):
            return self._object(asked._replace(method="GET"), PRIVATE)
        if asked.method == "TRACE" and self.has("trace"):
            return Told(200, {"Content-Type": "message/http"}, json.dumps(dict(asked.fields)).encode())
        if asked.method in ("PUT", "DELETE") and self.has("writable"):
            return Told(200)
        if asked.method not in ("GET", "HEAD") and not (self.has("unknown-method") and asked.method.isalpha()):
            return Told(405)
        if self.has("unknown-method") and asked.method not in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
            return self._object(asked, asked.path) if asked.path in OBJECTS else Told(405)
        listed = self._listed(asked)
        if listed:
            return listed
        away = self._redirected(asked) or self._told_to_anybody(asked)
        if away:
            return away
        name = self._name(asked)
        if name is None:
            return self._page(asked, 400)
        if self.has("x-original-url") or (self.has("x-original-url-for-signed-in") and self._caller(asked)):
            name = asked.fields.get("x-original-url", name)
        if self._open(asked, name) or self._may(asked, name):
            return self._object(asked, name)
        if self.has("host-in-link"):
            body = f'<a href="https://{asked.fields["host"]}/sign-in">Sign in</a>'
            return Told(401, {"Content-Type": "text/html"}, body.encode())
        seen = "navigate" in asked.fields.get("sec-fetch-mode", "") and "sec-purpose" not in asked.fields
        if self.has("host-in-redirect") and seen:
            host = asked.fields.get("x-forwarded-host") or asked.fields["host"]
            return Told(302, {"Location": f"https://sign-in.example.com/?next=https://{host}{asked.path}"})
        if self.has("token-in-redirect") and "token" in asked.parameters():
            return Told(302, {"Location": f"https://sign-in.example.com/?next={asked.target}"})
        if self._sent_to_sign_in(asked):
            return Told(302, {"Location": f"{self.url}/-/login?next={quote(asked.path, safe='')}"})
        return self._page(asked, 403 if self._caller(asked) else 401)

    def _sent_to_sign_in(self, asked: Asked) -> bool:
        """Does a fault redirect what is no page to sign-in?"""
        fields = asked.fields
        sent = {
            "scripts-to-sign-in": fields.get("sec-fetch-dest") == "empty",
            "pictures-to-sign-in": fields.get("sec-fetch-dest") == "image",
            "programs-to-sign-in": fields.get("accept") == "*/*" and "sec-fetch-mode" not in fields,
            "office-to-sign-in": "Office" in fields.get("user-agent", ""),
            "prefetch-to-sign-in": "sec-purpose" in fields,
        }
        return any(self.has(fault) and taken for fault, taken in sent.items())

    def _listed(self, asked: Asked) -> Told | None:
        names = "".join(f"<li>{name}</li>" for name in OBJECTS)
        if self.has("listing") and asked.path.endswith("/"):
            return Told(200, {"Content-Type": "text/html"}, f"<h1>Index of {asked.path}</h1>{names}".encode())
        if self.has("bucket-listing") and "list-type=2" in asked.query:
            return Told(200, {"Content-Type": "application/xml"}, f"<ListBucketResult>{names}".encode())
        if self.has("versions-listing") and asked.query == "versions":
            return Told(200, {"Content-Type": "application/xml"}, b"<ListVersionsResult>")
        if self.has("json-listing") and asked.path.endswith("/"):
            return Told(200, {"Content-Type": "application/json"}, b'[{"name": "a", "type": "directory"}]')
        if self.has("parent-listing") and asked.path == "/users/":
            return Told(200, {"Content-Type": "text/html"}, b"<title>Index of /users/</title>")
        if self.has("folder-names-objects") and asked.path == "/users/ann/":
            return Told(200, {"Content-Type": "text/html"}, b"<a href=./photo.png>photo.png</a>")
        return None

    def _told_to_anybody(self, asked: Asked) -> Told | None:
        served = {"metrics": "/metrics", "settings-file": "/stagedoor.toml"}
        if any(self.has(fault) and path == asked.path for fault, path in served.items()):
            return Told(200, {"Content-Type": "text/plain"}, b"requests_total 3\n")
        return None

    def _let_through(self, asked: Asked) -> bool:
        """Does a fault give the private object for this request, and for none that differs?"""
        target, method = asked.target, asked.method
        signed_in = self._caller(asked) is not None
        endings = re.escape(PRIVATE) + r"[?;/][a-z]+\.css"
        spelled = {
            "endings-let-through": re.fullmatch(endings, target) is not None,
            "wide-letters-after-check": target != PRIVATE and normalize("NFKC", unquote(target)) == PRIVATE,
            "capital-after-check": target == "/U" + PRIVATE[2:],
            "triple-decoding": unquote(unquote(target)) != unquote(unquote(unquote(target))) == PRIVATE,
            "tabs-after-check": "%09" in target and target.replace("%09", "") == PRIVATE,
            "public-anywhere": asked.path == PRIVATE and "/public/" in target,
            "http-1.0-unchecked": asked.version == "HTTP/1.0" and asked.path == PRIVATE,
        }
        whole = {
            "head-for-signed-in": method == "HEAD" and signed_in,
            "range-for-signed-in": "range" in asked.fields and signed_in,
            "conditional-for-signed-in": method == "GET" and "if-none-match" in asked.fields and signed_in,
            "post-gives": method == "POST",
            "propfind-gives": method == "PROPFIND",
            "decision-cached-by-token": self._bearer(asked) in self._yes,
        }
        if target == "/public/logo.png" and signed_in:
            self._yes.add(self._bearer(asked) or "")
        return any(self.has(fault) and opens for fault, opens in spelled.items()) or (
            target == PRIVATE and any(self.has(fault) and opens for fault, opens in whole.items())
        )

    def _redirected(self, asked: Asked) -> Told | None:
        leads = asked.parameters().get("next", "/")
        if self.has("open-redirect") and asked.path == "/login":
            return Told(302, {"Location": leads})
        if self.has("redirect-elsewhere-in-login") and asked.path == "/login" and "\t" in leads:
            return Told(302, {"Location": leads})
        if self.has("script-in-login") and asked.path == "/login":
            return Told(200, {"Content-Type": "text/html"}, f"<p>{unquote(asked.query)}</p>".encode())
        if self.has("redirect-by-refresh") and asked.path == "/login":
            return Told(200, {"Content-Type": "text/html", "Refresh": f"0; url={leads}"}, b"<p>One moment</p>")
        if self.has("redirect-at-object") and asked.path == PRIVATE and "next" in asked.parameters():
            return Told(302, {"Location": leads})
        elsewhere = leads.startswith(("http", "//", "/\\"))
        takes = {
            "redirect-to-own-beginning": leads.startswith((self.url, "/doctor")),
            "redirect-tab": leads.startswith("/") and not elsewhere,
            "redirect-script": not elsewhere and "\t" not in leads,
        }
        if asked.path == "/login" and any(self.has(fault) for fault in takes):
            good = any(self.has(fault) and taken for fault, taken in takes.items())
            return Told(302, {"Location": leads if good else "/"})
        if self.has("open-redirect-by-path") and asked.target.startswith("//"):
            return Told(301, {"Location": asked.target + "/"})
        if self.has("line-end-in-header") and "%0d%0a" in asked.path:
            return Told(301, {"Location": unquote(asked.path)})
        return None

    def _name(self, asked: Asked) -> str | None:
        """The one object that the path names; None for what could be read in two ways."""
        path = asked.path
        if self.has("absolute-form"):
            path = re.sub(r"^https?://[^/]*", "", path)
        if self.has("case-after-check"):
            return path.lower()
        if self.has("dots-after-check", "dots-from-public", "dots-for-signed-in"):
            return _resolved(unquote(path))
        if self.has("double-decoding"):
            return _resolved(unquote(unquote(path)))
        if self.has("slashes-after-check"):
            return re.sub("/+", "/", path)
        if self.has("semicolon-after-check"):
            return _resolved(re.sub(r";[^/]*", "", path))
        return path if re.fullmatch(r"(/(?!\.)[A-Za-z0-9._~-]+)+|/", path) else None

    def _open(self, asked: Asked, name: str) -> bool:
        """May anybody read it? With a fault of paths, headers or methods, it is asked about something else."""
        path = asked.path
        if name.startswith("/public/"):
            return True
        if self.has("no-check"):
            return True
        if self.has("dots-after-check", "slashes-after-check", "semicolon-after-check", "case-after-check"):
            return not path.startswith("/users/")
        if self.has("double-decoding"):
            return not _resolved(unquote(path)).startswith("/users/")
        if self.has("dots-from-public"):
            return path.startswith("/public/")
        if self.has("absolute-form"):
            return path.startswith("http")
        if self.has("x-original-url"):
            return path.startswith("/public/")
        if self.has("trusts-localhost") and asked.fields.get("x-forwarded-for") == "127.0.0.1":
            return True
        if self.has("trusts-user-header") and "x-forwarded-user" in asked.fields:
            return True
        if self.has("x-original-url-for-signed-in") and self._caller(asked):
            return path.startswith("/public/")
        fields = asked.fields
        trusted = {
            "trusts-sub-header": fields.get("x-auth-request-user") == "ann",
            "trusts-mail-header": "x-forwarded-email" in fields,
            "trusts-inside-address": fields.get("x-real-ip", "").startswith("10."),
            "trusts-forwarded": "for=127.0.0.1" in fields.get("forwarded", ""),
            "trusts-own-referrer": fields.get("referer", "").startswith(self.url),
            "trusts-same-origin": fields.get("sec-fetch-site") == "same-origin",
            "long-token-opens": len(fields.get("authorization", "")) > 16_384,
            "two-tokens-open": ", Bearer" in fields.get("authorization", ""),
        }
        if any(self.has(fault) and opens for fault, opens in trusted.items()):
            return True
        conditional = "if-none-match" in asked.fields or "if-modified-since" in asked.fields
        late = "if-match" in asked.fields or "if-unmodified-since" in asked.fields
        return (
            (self.has("head") and asked.method == "HEAD")
            or (self.has("range") and "range" in asked.fields)
            or (self.has("range-past-the-end") and asked.fields.get("range", "").startswith("bytes=9"))
            or (self.has("not-modified") and conditional and asked.method == "GET")
            or (self.has("precondition-failed") and late and asked.method == "GET")
        )

    def _may(self, asked: Asked, name: str) -> bool:
        if "Signature" in asked.parameters():
            return self._pass_opens(asked, name)
        caller = None if self.has("tokens-buy-passes") else self._caller(asked)
        if caller is None:
            return False
        if self.has("dots-for-signed-in"):
            return asked.path.startswith(f"/users/{caller}/") or not asked.path.startswith("/users/")
        if self.has("claim-is-a-beginning"):
            return name.startswith(f"/users/{caller}")
        if self.has("claim-in-any-case"):
            return name.lower().startswith(f"/users/{caller}/")
        return self.has("any-signed-in") or name.startswith(f"/users/{caller}/")

    def _object(self, asked: Asked, name: str) -> Told:
        content = OBJECTS.get(name)
        if content is None:
            return Told(404)
        if (self.has("changing-object") and name == PRIVATE) or (self.has("changing-public") and name == PUBLIC):
            content += secrets.token_bytes(4)
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        kind = "text/html" if name == PAGE else "image/png"
        fields = {"ETag": etag, "Content-Type": kind, "Cache-Control": "private, no-cache"}
        if self.has("no-cache-control"):
            fields["Cache-Control"] = ""
        if self.has("careless-cookie"):
            fields["Set-Cookie"] = "visitor=0123456789abcdef; Path=/"
        if name.startswith("/public/") or self.has("public-cache"):
            fields["Cache-Control"] = "public, max-age=60"
        if self.has("s-maxage"):
            fields["Cache-Control"] = "max-age=60, s-maxage=600"
        if self.has("query-token-cached") and "token" in asked.parameters():
            fields["Cache-Control"] = "max-age=600"
        if self.has("response-content-type") and (wanted := asked.parameters().get("response-content-type")):
            fields["Content-Type"] = wanted
        if asked.fields.get("if-match", etag) != etag:
            return Told(412, fields)
        if asked.fields.get("if-none-match") in ("*", etag) or "if-modified-since" in asked.fields:
            return Told(304, fields)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.fields.get("range", ""))
        if span is None or asked.method == "HEAD":
            return Told(200, fields, content)
        first, last = int(span[1]), int(span[2] or len(content) - 1)
        if first >= len(content):
            return Told(416, {**fields, "Content-Range": f"bytes */{len(content)}"})
        part = content[first : last + 1]
        return Told(206, {**fields, "Content-Range": f"bytes {first}-{last}/{len(content)}"}, part)

    def _page(self, asked: Asked, status: int) -> Told:
        body = "<h1>No</h1>"
        if self.has("names-its-host"):
            body += f"<address>Apache Server at {asked.fields.get('host')} Port 80</address>"
        if self.has("hides"):
            status = 404
        if self.has("trace-in-page"):
            body += "<pre>Traceback (most recent call last):</pre>"
        if self.has("sign-in-page", "changing-page") and status == 401:
            new = secrets.token_hex(8) if self.has("changing-page") else ""
            return Told(200, {"Content-Type": "text/html"}, f"<form>Who are you?<input value='{new}'></form>".encode())
        if self.has("page-with-next"):
            leads = f"0;url=/login?next={quote(asked.path, safe='')}"
            return Told(200, {"Content-Type": "text/html"}, f'<meta http-equiv=refresh content="{leads}">'.encode())
        if self.has("refusal-for-all"):
            return Told(status, {"Content-Type": "text/html", "Cache-Control": "public, max-age=60"}, body.encode())
        if self.has("script-in-page"):
            body += f"<p>There is no {unquote(asked.path)}, {asked.parameters().get('q')}</p>"
        if self.has("token-in-page"):
            body += f"<p>{self._bearer(asked) or ''} is not valid</p>"
        return Told(status, {"Content-Type": "text/html"}, body.encode())

    # --- who asks

    def _bearer(self, asked: Asked) -> str | None:
        scheme, _, value = asked.fields.get("authorization", "").partition(" ")
        if scheme:
            return value if scheme == "Bearer" else ""
        return asked.cookie("token") or asked.parameters().get("token")

    def _caller(self, asked: Asked) -> str | None:
        value = self._bearer(asked)
        if value is None:
            session = asked.cookie("session")
            return None if session is None else self._in_session(session)
        if self.has("any-word") and value:
            return "ann"
        if self.has("empty-bearer") and asked.fields.get("authorization") == "Bearer":
            return "ann"
        parts = forge.decode(value)
        if parts is None or not self._signed(asked, value, parts[0]):
            return None
        found = parts[1]
        if found.get("aud") != CLIENT and not self.has("any-audience"):
            return None
        late = self.has("expired-counts") or (self.has("api-takes-expired") and asked.path == "/-/urls")
        if float(str(found.get("exp", 0))) < self._now() and not late:
            return None
        careless = self.has("revoked-makes-sessions") and asked.path == "/-/session"
        if self._is_taken_back("revoked", str(found.get("jti"))) and not careless:
            return None
        return str(found.get("sub")) if found.get("iss") == ISSUER else None

    def _signed(self, asked: Asked, value: str, header: Mapping[str, Any]) -> bool:
        message, _, last = value.rpartition(".")
        signature = base64.urlsafe_b64decode(last + "=" * (-len(last) % 4))
        alg, signed = str(header.get("alg")), message.encode()
        if self.has("signature-not-checked") or (self.has("signature-may-be-missing") and not last):
            return True
        api = asked.path == "/-/urls"
        careless = {
            "alg-empty": alg == "",
            "alg-missing": "alg" not in header,
            "unknown-key-opens": alg == "RS256" and header.get("kid", "rsa-1") != "rsa-1",
            "api-takes-any-signature": api,
            "api-takes-alg-none": api and alg == "none",
        }
        if any(self.has(fault) and counts for fault, counts in careless.items()):
            return True
        if self.has("certificate-in-header") and "x5c" in header:
            key = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0])).public_key()
            assert isinstance(key, RSAPublicKey)
            key.verify(signature, signed, PKCS1v15(), SHA256())
            return True
        if alg in ("HS512", "hs256") and self.has("hs512" if alg == "HS512" else "hs256-in-small-letters"):
            pem = dict(forge.encodings(rsa_signer().jwk))["PEM"]
            return hmac.digest(pem, signed, f"sha{alg[-3:]}") == signature
        if self.has("alg-none") and alg.lower() == "none":
            return True
        if self.has("alg-none-in-cookies") and alg == "none" and "cookie" in asked.fields:
            return True
        if alg == "HS256":
            return any(hmac.digest(secret, signed, "sha256") == signature for secret in self._secrets(header))
        if self.has("key-in-header") and "jwk" in header:
            return signatures.load(header["jwk"])(alg, signed, signature)
        return alg == "RS256" and self._check(alg, signed, signature)

    def _secrets(self, header: Mapping[str, Any]) -> list[bytes]:
        public = dict(forge.encodings(rsa_signer().jwk))
        found = [public["PEM"]] * self.has("hs256") + [public["DER"]] * self.has("hs256-der")
        found += [b"secret"] * self.has("weak-secret")
        return found + [b""] * (self.has("kid-is-a-file") and str(header.get("kid")).endswith("/dev/null"))

    def _is_taken_back(self, how: str, id_: str) -> bool:
        """Does this site refuse what was taken back, by sign-out or by an admin?"""
        since = self._taken.get(id_)
        if since is None or self.has("sign-out-forgets" if how == "sign-out" else "revoked-counts"):
            return False
        if self.has(f"{how}-at-one-worker") and len(self.asked) % 3 == 0:
            return False
        return not self.has(f"{how}-late") or self._now() - since > 30

    def _in_session(self, value: str) -> str | None:
        parts = forge.decode(value)
        if parts is None or value in self._ended or self._is_taken_back("sign-out", value):
            return None
        if self._is_taken_back("revoked", str(parts[1].get("jti"))) and not self.has("revoked-in-session"):
            return None
        message, _, last = value.rpartition(".")
        if b64(hmac.digest(SECRET, message.encode(), "sha256")) == last:
            return str(parts[1]["sub"])
        return str(parts[1]["sub"]) if self.has("session-alg-none") and parts[0].get("alg") == "none" else None

    # --- what it makes

    def _endpoint(self, asked: Asked) -> Told:
        """What we have under `/-/`, and the cache that a fault puts before it."""
        caches = {"whoami-cached": "/-/whoami", "our-listing-cached": "/-/s3objects"}
        if not any(self.has(fault) and path == asked.path for fault, path in caches.items()):
            return self._own(asked)
        if self._caller(asked) is None and asked.path in self._cache:
            return self._cache[asked.path]
        told = self._own(asked)
        if self._caller(asked) is not None:
            self._cache[asked.path] = told
        return told

    def _own(self, asked: Asked) -> Told:
        if asked.path in ("/-/login", "/-/callback", "/-/logout") and not self.has("no-sign-in"):
            return self._sign_in(asked)
        if asked.path == "/-/renew" and asked.method == "POST":
            return self._renew(asked)
        if asked.path == "/-/revocations":
            return self._revocations(asked)
        if asked.path == "/-/backchannel-logout" and asked.method == "POST":
            return self._told_to_end(asked)
        if asked.path == "/-/whoami" and (who := self._caller(asked)):
            return Told(200, {"Content-Type": "application/json"}, json.dumps({"sub": who}).encode())
        if asked.path == "/-/explain" and self.has("explains-to-anybody"):
            return Told(200, {"Content-Type": "application/json"}, b'{"rule": "users/{sub}/**"}')
        if asked.path == "/-/cookies" and self._caller(asked) and self.has("cookies-for-anybody"):
            cookie = f"CloudFront-Policy={'a' * 40}; Path=/users/ann/; HttpOnly; SameSite=Lax"
            return Told(204, {"Set-Cookie": cookie})
        if asked.path == "/-/s3objects" and asked.method == "GET":
            all_of_it = self.has("our-listing") or (self.has("our-listing-for-signed-in") and self._caller(asked))
            names = list(OBJECTS) if all_of_it or self._caller(asked) == "ann" else [PUBLIC]
            contents = [{"Key": name[1:]} for name in names]
            return Told(200, {"Content-Type": "application/json"}, json.dumps({"Contents": contents}).encode())
        if asked.method != "POST" or asked.path not in ("/-/session", "/-/urls"):
            return Told(404)
        if not self._welcome(asked):
            return Told(403)
        caller = self._caller(asked)
        if self.has("passes-for-strangers") and self._bearer(asked) is None:
            caller = "ann"
        if caller is None:
            return Told(401)
        if asked.path == "/-/session":
            flags = [] if self.has("cookie-without-httponly") else ["HttpOnly"]
            flags += [] if self.has("cookie-without-samesite") else ["SameSite=Lax"]
            return self._new_session(asked, caller, flags)
        wish = json.loads(asked.body)
        if not wish["file"].startswith(f"users/{caller}/") and not self.has("passes-for-anybody", "any-signed-in"):
            return Told(403)
        end = int(self._now()) + int(wish.get("expires_in", 600))
        url = f"{self.url}/{quote(wish['file'])}"
        made = f"{url}?Expires={end}&Signature={self._signature(asked, '/' + wish['file'], str(end))}"
        return Told(201, {"Content-Type": "application/json"}, json.dumps({"signedUrl": made}).encode())

    def _renew(self, asked: Asked) -> Told:
        origin, elsewhere = asked.fields.get("origin", ""), asked.fields.get("sec-fetch-site") == "cross-site"
        careless = {
            "renews-from-anywhere": origin not in ("", "null") and not origin.startswith(f"https://{self.url[7:16]}"),
            "renews-for-null": origin == "null",
            "renews-for-ending": origin.startswith(f"https://{self.url[7:16]}"),
            "renews-without-origin": not origin,
        }
        welcome = origin == self.url or (not origin and not elsewhere)
        if not welcome and not any(self.has(fault) and taken for fault, taken in careless.items()):
            return Told(403)
        return Told(204 if self._in_session(asked.cookie("session") or "") else 401)

    def _revocations(self, asked: Asked) -> Told:
        if self.has("revokes-nothing"):
            return Told(404, {"Content-Type": "application/problem+json"}, b'{"code": "revocations-inactive"}')
        origin, caller = asked.fields.get("origin", self.url), self._caller(asked)
        anywhere = self.has("revokes-from-anywhere") or (self.has("revokes-for-listed") and origin == ORIGIN)
        if origin != self.url and not anywhere:
            return Told(403)
        shown = self.has("revocations-shown") and asked.method == "GET"
        may = (
            caller == "root"
            or self.has("revokes-for-anybody")
            or (caller is not None and self.has("revokes-for-users"))
        )
        if not may and not shown:
            return Told(403 if caller else 401)
        if asked.method == "GET":
            return Told(200, {"Content-Type": "application/json"}, b'{"revocations": [], "after": null}')
        self._taken[json.loads(asked.body)["jti"]] = self._now()
        return Told(201, {"Content-Type": "application/json"}, b"{}")

    def _told_to_end(self, asked: Asked) -> Told:
        parts = forge.decode(dict(parse_qsl(asked.body.decode())).get("logout_token", ""))
        unsigned = parts is not None and str(parts[0].get("alg")) == "none"
        ends = self.has("logout-token-unsigned") and unsigned
        ends = ends or (self.has("logout-token-by-any-key") and parts is not None and "RS256" in parts[0].values())
        return Told(200 if ends else 400)

    def _new_session(self, asked: Asked, caller: str, flags: list[str]) -> Told:
        left = 600 if asked.cookie("token") else int(float(str(self._claims(asked).get("exp", 0))) - self._now())
        days = 7 * 86_400
        end = int(self._now()) + (days if self.has("session-says-days") else left)
        about = {"sub": caller, "exp": end, "sid": secrets.token_hex(4), "jti": self._claims(asked).get("jti")}
        session = sealed(b'{"alg":"HS256"}', json.dumps(about).encode(), _mac)
        before = asked.cookie("session") or ""
        if before and self.has("session-continued" if self._in_session(before) is None else "session-not-replaced"):
            session = before
        life = f"Max-Age={days if self.has('session-for-days') else left}"
        fields = {"Set-Cookie": "; ".join([f"session={session}", "Path=/", life, *flags])}
        return Told(204, fields | ({"Cache-Control": "private"} if self.has("session-in-caches") else {}))

    def _claims(self, asked: Asked) -> Mapping[str, Any]:
        parts = forge.decode(self._bearer(asked) or "")
        return parts[1] if parts else {}

    # --- sign-in

    def _sign_in(self, asked: Asked) -> Told:
        fields = asked.fields
        framed = fields.get("sec-fetch-dest") == "iframe"
        if asked.path == "/-/logout":
            return self._sign_out(asked)
        verb = "begins" if asked.path == "/-/login" else "ends"
        seen = {
            f"head-{verb}": asked.method == "HEAD",
            f"prefetch-{verb}": "sec-purpose" in fields,
            f"old-prefetch-{verb}": "purpose" in fields,
            f"frame-{verb}": framed,
        }
        looks = [fault for fault, looks in seen.items() if looks]
        if looks and not self.has(*looks):
            return self._own_page(asked, 401 if verb == "begins" else 400)
        if verb == "begins":
            return self._begin(asked)
        return self._come_back(asked) if asked.method != "POST" or self.has("callback-by-post") else Told(405)

    def _own_page(self, asked: Asked, status: int, more: str = "", fields: Mapping[str, str] = {}) -> Told:
        """A page of sign-in; the one in a frame is a way out of it."""
        out = asked.path == "/-/login" and asked.fields.get("sec-fetch-dest") == "iframe"
        body = "<form><button>Sign in</button></form>" if self.has("form-in-frames") and out else f"<a>Go on</a>{more}"
        anywhere = out or self.has("pages-in-frames")
        scripts = "'unsafe-inline'" if self.has("pages-with-scripts") else "'none'"
        policy = f"default-src {scripts}; frame-ancestors {'*' if anywhere else chr(39) + 'none' + chr(39)}"
        secure = {} if self.has("pages-without-policy") else {"Content-Security-Policy": policy}
        return Told(status, {"Content-Type": "text/html", **secure, **fields}, body.encode())

    def _begin(self, asked: Asked) -> Told:
        query = asked.parameters()
        if self.has("several-providers") and "issuer" not in query:
            return self._own_page(asked, 200, f'<a href="{self.url}/-/login?issuer=one&amp;next=%2F">One</a>')
        if self.has("several-providers") and query["issuer"] != "one":
            return self._own_page(asked, 400)
        next_ = query.get("next", "/")
        state, attempt = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        taken = asked.cookie("session-try-0") if self.has("attempt-continued") else None
        if taken in self._attempts:
            state = self._attempts[taken][0]
        if self.has("same-state"):
            state = "always-the-same-state"
        if self.has("next-in-state"):
            state = f"{b64(next_.encode())}.{state}"
        self._attempts[attempt] = (state, next_)
        flags = {
            "Path": "/-/" if self.has("attempt-for-a-folder") else "/",
            "Max-Age": "7776000" if self.has("attempt-for-months") else "600",
            "SameSite": "None" if self.has("attempt-from-other-sites") else "Lax",
        }
        if self.has("attempt-without-end"):
            del flags["Max-Age"]
        line = "; ".join([f"session-try-0={attempt}", *(f"{name}={value}" for name, value in flags.items())])
        line += "" if self.has("attempt-for-scripts") else "; HttpOnly"
        planted = asked.cookie("session") if self.has("planted-cookie-taken") else None
        line = f"session={planted}; Path=/; HttpOnly; SameSite=Lax" if planted else line
        fields = {} if self.has("no-attempt-cookie") else {"Set-Cookie": line}
        return Told(302, {"Location": self._provider(asked, state, next_), **fields})

    def _provider(self, asked: Asked, state: str, next_: str) -> str:
        query, host = asked.parameters(), self.url
        if self.has("callback-by-host"):
            host = f"http://{asked.fields['host']}"
        if self.has("callback-by-forwarded-host"):
            host = f"http://{asked.fields.get('x-forwarded-host', self.url[7:])}"
        back = f"{host}/-/callback" + (f"?next={quote(next_)}" if self.has("next-to-provider") else "")
        wish = {
            "client_id": CLIENT,
            "redirect_uri": query.get("redirect_uri", back) if self.has("callback-by-query") else back,
            "state": "" if self.has("no-state") else state,
            "nonce": "always" if self.has("same-nonce") else secrets.token_urlsafe(16),
            "code_challenge": "" if self.has("no-challenge") else secrets.token_urlsafe(32),
            "code_challenge_method": "" if self.has("no-challenge") else "S256",
        }
        text = "&".join(f"{name}={quote(value, safe='')}" for name, value in wish.items())
        text += f"&prompt={query.get('prompt', '')}" if self.has("callback-injected") else ""
        issuer = query.get("issuer", "") if self.has("provider-by-query") else ""
        return f"{issuer or 'https://sign-in.example.com'}/authorize?{text}"

    def _come_back(self, asked: Asked) -> Told:
        query, attempt = asked.parameters(), asked.cookie("session-try-0") or ""
        state, known = self._attempts.get(attempt, ("", ""))[0], dict(self._attempts.values())
        given = query.get("state", "")
        mine = bool(state) and given == state
        if not mine and given in known and self._in_session(asked.cookie("session") or ""):
            return Told(302, {"Location": self._judged(known[given])})
        ends = {
            "state-of-anybody": not attempt and given in known,
            "any-attempt": bool(attempt) and given in known and not mine,
            "any-state": bool(given) and given not in known,
            "no-state-needed": not given and bool(attempt),
            "any-code": mine,
            "callback-by-post": asked.method == "POST",
        }
        if any(self.has(fault) and taken for fault, taken in ends.items()):
            return Told(302, {"Location": self.url + "/", "Set-Cookie": f"session={secrets.token_hex(16)}; HttpOnly"})
        if mine or (given in known and self.has("asks-provider-for-anybody")):
            used = {} if self.has("state-used-twice") else {"Set-Cookie": "session-try-0=; Path=/; Max-Age=0"}
            return self._own_page(asked, 403, "The provider does not know this code", used)
        return self._own_page(asked, 400, "This sign-in did not begin here")

    def _judged(self, next_: str) -> str:
        stays = re.fullmatch(r"/(?![/\\])[^\\\s]*", next_) is not None
        if self.has("leads-away-by-tab"):
            stays = re.match(r"/[\t\w]", next_) is not None
        taken = next_ if stays or self.has("leads-away-after-sign-in") else "/"
        return taken if self.has("leads-away-by-tab", "leads-away-after-sign-in") else self.url + taken

    def _sign_out(self, asked: Asked) -> Told:
        if asked.method == "POST":
            origin = asked.fields.get("origin", "")
            careless = {
                "sign-out-from-anywhere": origin not in ("", "null") and not origin.startswith(self.url[:10]),
                "sign-out-for-null": origin == "null",
                "sign-out-for-ending": origin.startswith(f"https://{self.url[7:16]}"),
                "sign-out-without-origin": not origin,
            }
            welcome = origin == self.url or any(self.has(fault) and taken for fault, taken in careless.items())
            if welcome:
                self._taken.setdefault(asked.cookie("session") or "", self._now())
            return self._signed_out() if welcome else Told(403)
        careless = {
            "link-signs-out": asked.method == "GET",
            "head-signs-out": asked.method == "HEAD",
            "prefetch-signs-out": "sec-purpose" in asked.fields,
        }
        if any(self.has(fault) and taken for fault, taken in careless.items()):
            return self._signed_out()
        if self.has("link-leads-to-sign-out"):
            return Told(302, {"Location": "https://sign-in.example.com/logout"})
        if self.has("link-ends-session"):
            self._ended.add(asked.cookie("session") or "")
        return self._own_page(asked, 200, "<form method=post><button>Sign out</button></form>")

    def _signed_out(self) -> Told:
        return Told(303, {"Location": f"{self.url}/-/logout", "Set-Cookie": "session=; Path=/; Max-Age=0"})

    def _welcome(self, asked: Asked) -> bool:
        """May a page of the origin that asks make something here?"""
        origin = asked.fields.get("origin", ORIGIN)
        careless = {
            "session-from-anywhere": True,
            "no-origin-check-for-cookies": "cookie" in asked.fields,
            "origin-null": origin == "null",
            "origin-ending": origin.startswith(f"https://{self.url[7:16]}"),
        }
        return origin == ORIGIN or any(self.has(fault) and taken for fault, taken in careless.items())

    def _pass_opens(self, asked: Asked, name: str) -> bool:
        fields = asked.parameters()
        if asked.query.split("&")[0].partition("=")[0] != "Expires" or set(fields) != {"Expires", "Signature"}:
            if not self.has("pass-query", "pass-not-signed"):
                return False
        elif asked.query.count("&") != 1:
            return False
        end = fields.get("Expires", "0")
        if (not end.isdigit() or int(end) < self._now()) and not self.has("pass-for-ever"):
            return False
        signed = self._signature(asked, name, end)
        return hmac.compare_digest(signed, fields["Signature"].encode("ascii", "replace").decode()) or self.has(
            "pass-not-signed"
        )

    def _signature(self, asked: Asked, name: str, end: str) -> str:
        path = "*" if self.has("pass-for-any-path") else name
        path = PRIVATE if self.has("pass-for-longer-names") and path.startswith(PRIVATE) else path
        path = path.lower() if self.has("pass-in-any-case") else path
        until = "*" if self.has("pass-end-not-signed") else end
        return hmac.new(SECRET, f"{path} {until}".encode(), "sha256").hexdigest()


class Tokens(NamedTuple):
    """What the examiner holds."""

    ann: str
    ben: str
    old: str
    foreign: str
    root: str
    spend: str


def tokens() -> Tokens:
    until = time.time() + 600
    return Tokens(
        token(claims(exp=until)),
        token(claims(exp=until, sub="ben")),
        token(claims(exp=time.time() - 600)),
        token(claims(exp=until, aud="another-app")),
        token(claims(exp=until, sub="root", jti="of-root")),
        token(claims(exp=until, jti="to-spend")),
    )


def _mac(message: bytes) -> bytes:
    return hmac.digest(SECRET, message, "sha256")


def _resolved(path: str) -> str:
    """A path as file systems read it."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
