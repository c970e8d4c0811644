"""The page of a refusal: whose site it is, what went wrong, and the way on."""

from __future__ import annotations

import base64
import hashlib
from html import escape

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
.site { margin-top: 0; font-weight: 600; overflow-wrap: anywhere }
.status { color: var(--accent); font-weight: 600; font-size: .85rem }
.soft { color: var(--soft); font-size: .85rem }
a { color: var(--accent) }
a.button { display: inline-block; margin: 1rem 1.25rem .5rem 0; padding: .6rem 1.25rem; border-radius: 8px;
  font-weight: 600; background: var(--accent); color: var(--card); text-decoration: none }
a:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main><p class="site">{site}</p><p class="status">{status}</p><h1>{title}</h1><p>{detail}.</p>{ways}
<p class="soft"><code>{code}</code></p>
</main></body></html>
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy of our own pages: nothing but this one style sheet."""

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


_TITLES_BY_CODE = {"pass-expired": "This link has expired", "pass-early": "This link is not good yet"}


def page(status: int, phrase: str, code: str, detail: str, site: str, home: str, sign_in: str) -> bytes:
    """Make the page.

    Args:
        status: HTTP status code.
        phrase: its reason phrase.
        code: short stable code, the same as in the log.
        detail: one sentence for the reader, which does not repeat the title.
        site: name of the site.
        home: path of the site's first page; "" for none.
        sign_in: URL of a sign-in page to offer; "" for none.
    """
    title = _TITLES_BY_CODE.get(code) or _TITLES.get(status, phrase)
    return _PAGE.format(
        site=escape(site),
        title=escape(title),
        status=status if title == phrase else f"{status} {phrase}",
        detail=escape(detail[:1].upper() + detail[1:].removesuffix(".")),
        ways=_ways(status, home, sign_in),
        code=escape(code),
        style=_STYLE,
    ).encode()


def _ways(status: int, home: str, sign_in: str) -> str:
    """Links to where the reader can go on; in words where we know no address."""
    ways = ""
    if sign_in:
        ways = _button(sign_in, "Sign in as somebody else" if status == 403 else "Sign in")
    elif status == 401:
        ways = "<p>This site has no page for that. Open this address from the site where you have an account.</p>"
    elif status >= 500:
        ways = _button("", "Reload this page")
    return f'{ways}<a href="{escape(home)}">Go to the first page</a>' if home else ways


def _button(url: str, words: str) -> str:
    return f'<a class="button" href="{escape(url)}">{words}</a>'
