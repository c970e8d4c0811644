"""Complete answers: problem+json for programs, a page for people, redirects. None of them may be stored."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .errors import InvalidPass
from .messages import Headers, Pairs, Reply, Request, Signpost

_OF_TIME = {
    "pass-expired": "ask for a new one where you got it",
    "pass-early": "try again at the time that you were told",
}

_PHRASES = {
    204: "No Content",
    302: "Found",
    303: "See Other",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    414: "URI Too Long",
    503: "Service Unavailable",
}
"""The usual ones at the edge, so that a cold start need not wait for the import of `http`."""

NOT_FOUND = "check the address; what was here may have been moved or removed"
"""Detail of a 404."""

MAX_HEADER_BYTES = 32_768
MAX_HEADER_NAMES = 100
MAX_TARGET_BYTES = 8192
"""Path and query of a request; CloudFront takes no longer URL ("Quotas")."""


def phrase(status: int) -> str:
    """The reason phrase of a status (RFC 9110 §15)."""
    if status in _PHRASES:
        return _PHRASES[status]
    from http import HTTPStatus

    return HTTPStatus(status).phrase


def is_navigation(method: str, headers: Headers) -> bool:
    """Is a person at a browser going to a page (rather than a script, an `<img>` or curl asking)?

    Browsers say so in Sec-Fetch-Mode (W3C Fetch Metadata §2.2); where they send none, Accept decides.
    """
    if method not in ("GET", "HEAD"):
        return False
    mode = headers.get(b"sec-fetch-mode")
    if mode:
        return mode[0] == b"navigate"
    return any(b"text/html" in value for value in headers.get(b"accept", ()))


def page_for(request: Request, signpost: Signpost) -> Signpost | None:
    """The signpost of the page that a navigation gets if it is refused, that of a form too; None for programs."""
    is_form = request.method == "POST" and request.headers.get(b"content-type") == [FORM]
    if not is_navigation("GET" if is_form else request.method, request.headers):
        return None
    return signpost._replace(home="") if request.path == signpost.home.encode() else signpost


FORM = b"application/x-www-form-urlencoded"


def can_sign_in(headers: Headers) -> bool:
    """Does a navigation show a page on which somebody could sign in?

    Sign-in pages show nothing in frames, nobody sees a page that is fetched in advance, and Office asks by itself, then
    hands the last address of a redirect chain to the browser.
    """

    def holds(name: bytes, words: tuple[bytes, ...]) -> bool:
        return any(word in value.lower() for value in headers.get(name, ()) for word in words)

    return not (
        holds(b"sec-fetch-dest", (b"frame", b"embed", b"object"))
        or holds(b"sec-purpose", (b"prefetch",))
        or holds(b"purpose", (b"prefetch",))
        or holds(b"user-agent", (b"ms-office", b"microsoft office"))
    )


def base_headers(referrer: bytes = b"same-origin") -> Pairs:
    """Header fields that every answer of ours carries."""
    return (
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", referrer),
    )


def is_framed(headers: Headers) -> bool:
    """Is what is asked for to be shown inside another page (W3C Fetch Metadata §2.1)?"""
    inside = (b"iframe", b"frame", b"fencedframe", b"embed", b"object")
    return any(value.lower() in inside for value in headers.get(b"sec-fetch-dest", ()))


def way_out_of_frame(url: str, site: str, code: str, extra: Pairs) -> Reply:
    """A 401 that anybody's page may frame, with one link that opens a sign-in page in the whole window.

    Args:
        url: of the sign-in page.
        site: name of the site.
        code: for the log.
        extra: further header fields.
    """
    from ..pages import layout, sign_in

    return html(401, sign_in.in_window(site, url), code, extra, policy=layout.IN_ANY_FRAME)


def html(status: int, body: bytes, reason: str, extra: Pairs = (), *, policy: str = "", caller: str = "") -> Reply:
    """Answer with a page of ours.

    Args:
        status: HTTP status code.
        body: the page.
        reason: for the log.
        extra: further header fields.
        policy: Content-Security-Policy; default: that of all our pages.
        caller: for the log.
    """
    from ..pages import layout  # each cold start at the edge would wait for it

    content: Pairs = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", (policy or layout.CONTENT_SECURITY_POLICY).encode()),
    )
    return Reply(status, base_headers() + content + extra, body, reason, caller)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    page: Signpost | None = None,
    extra: Pairs = (),
    sign_in: str = "",
    caller: str = "",
) -> Reply:
    """Say what went wrong.

    Args:
        status: HTTP status code.
        code: short stable code, the same in the log.
        detail: one sentence for the reader; it must hold no credential, and not say what the page's title says.
        page: for a browser's navigation: an HTML page with this signpost instead of problem+json (RFC 9457).
        extra: further header fields.
        sign_in: URL of a sign-in page to offer on the page.
        caller: for the log.
    """
    if page is not None:
        from ..pages import error

        return html(
            status,
            error.page(status, phrase(status), code, detail, page.name, page.home, sign_in),
            code,
            extra,
            caller=caller,
        )
    fields = {"type": "about:blank", "title": phrase(status), "status": status}
    body = _dump({**fields, "code": code, "detail": detail})
    content: Pairs = ((b"content-type", b"application/problem+json"),)
    return Reply(status, base_headers() + content + extra, body, code, caller)


def fault() -> Reply:
    """Answer an error of our own; only the log says which."""
    return problem(500, "fault", "something went wrong here; nothing was served")


def headers_too_large() -> Reply:
    """Refuse a header section (RFC 6585 §5)."""
    return problem(431, "headers", f"send less than {MAX_HEADER_BYTES} bytes and {MAX_HEADER_NAMES} names of header")


def target_too_long(page: Signpost | None = None) -> Reply:
    """Refuse a request target (RFC 9110 §15.5.15)."""
    return problem(414, "target-too-long", f"an address has {MAX_TARGET_BYTES} bytes at most", page=page)


def judge_headers(headers: Headers) -> Reply | None:
    """Return a refusal if a header section is larger than what any door takes; None if it is not."""
    size = sum(len(name) + len(value) for name, values in headers.items() for value in values)
    return headers_too_large() if len(headers) > MAX_HEADER_NAMES or size > MAX_HEADER_BYTES else None


def pass_error(error: InvalidPass, page: Signpost | None) -> Reply:
    """Say what CloudFront says of a pass that opens nothing; the log has the reason in our words.

    A person who opens a link too late, or too early, gets a page: they can do something about it.
    """
    if page is not None and error.code in _OF_TIME:
        return problem(403, error.code, _OF_TIME[error.code], page=page)
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f"<Error><Code>{error.aws_code}</Code><Message>{error.aws_message}</Message></Error>"
    )
    return Reply(403, (*base_headers(), (b"content-type", b"text/xml")), body.encode(), error.code)


def document(status: int, content: Mapping[str, object], reason: str, *, caller: str = "") -> Reply:
    """Answer with a JSON document."""
    return Reply(status, (*base_headers(), (b"content-type", b"application/json")), _dump(content), reason, caller)


def redirect(location: str, reason: str, extra: Pairs = (), *, status: int = 302, caller: str = "") -> Reply:
    """Send a browser elsewhere; the location is ours or from the settings, never from the request alone.

    Args:
        location: in ASCII.
        reason: for the log.
        extra: further header fields.
        status: 303 after a POST.
        caller: for the log.
    """
    fields: Pairs = (*base_headers(b"no-referrer"), (b"location", location.encode()), *extra)
    return Reply(status, fields, b"", reason, caller)


def _dump(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
