"""The page of a refusal: whose site it is, what went wrong, and the way on."""

from __future__ import annotations

from html import escape

from .layout import button
from .layout import page as card

_TITLES = {
    400: "This address cannot be read",
    401: "Please sign in",
    403: "This file is not shared with you",
    404: "There is no such file",
    405: "This address is not for reading",
    414: "This address is too long",
    502: "This site cannot answer now",
    503: "This site cannot answer now",
}


_TITLES_BY_CODE = {
    "pass-expired": "This link has expired",
    "pass-early": "This link is not good yet",
    "renewal-person": "Please sign in again",
    "session-too-large": "Your account does not fit into a session",
}
_OF_SIGN_IN = "You are not signed in"
"""Title where a sign-in came to nothing."""


def page(status: int, phrase: str, code: str, detail: str, site: str, home: str, sign_in: str) -> bytes:
    """Make the page.

    Args:
        status: HTTP status code.
        phrase: its reason phrase.
        code: short stable code, the same as in the log.
        detail: one sentence for the reader, which does not repeat the title.
        site: name of the site.
        home: path of the site's first page; "" if there is none.
        sign_in: URL of a sign-in page to offer; "" for none.
    """
    failed = code.startswith("login")
    title = _TITLES_BY_CODE.get(code) or (_OF_SIGN_IN if failed else _TITLES.get(status, phrase))
    words = detail[:1].upper() + detail[1:].removesuffix(".")
    body = f"<p>{escape(words)}.</p>{_ways(status, home, sign_in, failed)}"
    return card(title, site, body, status=str(status) if title == phrase else f"{status} {phrase}", code=code)


def _ways(status: int, home: str, sign_in: str, failed: bool) -> str:
    """Links to where the reader can go on; in words where we know no address."""
    ways = ""
    if sign_in:
        words = "Sign in as somebody else" if status == 403 else "Sign in"
        ways = button(sign_in, "Try again" if failed else words)
    elif status == 401:
        ways = "<p>This site has no page for that. Open this address from the site where you have an account.</p>"
    elif status >= 500:
        ways = button("", "Reload this page")
    return f'{ways}<a href="{escape(home)}">Go to the first page</a>' if home else ways
