"""Complete answers: problem+json for programs, a page for people, redirects; none of them may be stored."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping

from .errors import InvalidPass
from .messages import Headers, Pairs, Reply

_STYLE = """
:root { color-scheme: light dark; --bg: #f6f5f2; --card: #fff; --ink: #1d1c1a; --soft: #6b675f; --accent: #8a3324 }
@media (prefers-color-scheme: dark) {
  :root { --bg: #161513; --card: #211f1c; --ink: #f0ede6; --soft: #a8a297; --accent: #e08a73 }
}
* { box-sizing: border-box }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--bg); color: var(--ink); font: 1rem/1.6 system-ui, sans-serif }
main { max-width: 34rem; width: 100%; padding: 2.25rem; border-radius: 14px; background: var(--card) }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .75rem }
p { margin: .5rem 0 }
.status { color: var(--accent); font-weight: 600; font-size: .85rem }
.soft { color: var(--soft); font-size: .85rem }
a.button { display: inline-block; margin: 1rem 0; padding: .6rem 1.25rem; border-radius: 8px; font-weight: 600;
  background: var(--accent); color: var(--card); text-decoration: none }
a:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main><p class="status">{status}</p><h1>{title}</h1><p>{detail}</p>{action}<p class="soft"><code>{code}</code></p>
</main></body></html>
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy of our own pages: nothing but this one style sheet."""

_TITLES = {
    400: "This address cannot be read",
    401: "Please sign in",
    403: "This file is not shared with you",
    404: "There is no such file",
    503: "Please try again in a moment",
}


_PHRASES = {
    204: "No Content",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    414: "URI Too Long",
    503: "Service Unavailable",
}
"""Of what the edge answers day by day; for these alone a cold start need not wait for `http`."""


def phrase(status: int) -> str:
    """The reason phrase of a status (RFC 9110 §15)."""
    if status in _PHRASES:
        return _PHRASES[status]
    from http import HTTPStatus

    return HTTPStatus(status).phrase


def is_navigation(method: str, headers: Headers) -> bool:
    """Is a person at a browser going to a page (rather than a script, an `<img>` or curl asking)?

    Browsers say so in Sec-Fetch-Mode (W3C Fetch Metadata §2.2); where they send none, Accept tells.
    """
    if method not in ("GET", "HEAD"):
        return False
    mode = headers.get(b"sec-fetch-mode")
    if mode:
        return mode[0] == b"navigate"
    return any(b"text/html" in value for value in headers.get(b"accept", ()))


def base_headers(referrer: bytes = b"same-origin") -> Pairs:
    """Header fields that every answer of ours carries."""
    return (
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", referrer),
    )


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    page: bool = False,
    extra: Pairs = (),
    sign_in: str = "",
    caller: str = "",
) -> Reply:
    """Say what went wrong.

    Args:
        status: HTTP status code.
        code: short stable code, the same in the log.
        detail: one sentence for the reader; it must hold no credential.
        page: True for a browser's navigation: an HTML page instead of problem+json (RFC 9457).
        extra: further header fields.
        sign_in: URL of a sign-in page to offer on the page.
        caller: for the log.
    """
    if page:
        body = _page(status, code, detail, sign_in)
        content: Pairs = (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", PAGE_POLICY.encode()),
        )
    else:
        fields = {"type": "about:blank", "title": phrase(status), "status": status}
        body = _dump({**fields, "code": code, "detail": detail})
        content = ((b"content-type", b"application/problem+json"),)
    return Reply(status, base_headers() + content + extra, body, code, caller)


def _page(status: int, code: str, detail: str, sign_in: str) -> bytes:
    from html import escape  # brings a table of entities, which each cold start at the edge would wait for

    words = "Sign in as somebody else" if status == 403 else "Sign in"
    return _PAGE.format(
        title=escape(_TITLES.get(status, phrase(status))),
        status=f"{status} {phrase(status)}",
        detail=escape(detail[:1].upper() + detail[1:]),
        action=f'<a class="button" href="{escape(sign_in)}">{words}</a>' if sign_in else "",
        code=escape(code),
        style=_STYLE,
    ).encode()


def pass_error(error: InvalidPass) -> Reply:
    """Say what CloudFront says of a pass that opens nothing; the log has the reason in our words."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{error.aws_code}</Code><Message>{error.aws_message}</Message></Error>"
    )
    return Reply(403, (*base_headers(), (b"content-type", b"text/xml")), body.encode(), error.code)


def document(status: int, content: Mapping[str, object], reason: str, *, caller: str = "") -> Reply:
    """Answer with a JSON document."""
    return Reply(status, (*base_headers(), (b"content-type", b"application/json")), _dump(content), reason, caller)


def redirect(location: str, reason: str, extra: Pairs = ()) -> Reply:
    """Send a browser elsewhere (302); the location is ours or from the settings, never from the request alone."""
    return Reply(302, (*base_headers(b"no-referrer"), (b"location", location.encode()), *extra), b"", reason)


def _dump(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
