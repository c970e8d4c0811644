"""The page of a refusal: what went wrong in one sentence, and a way on if there is one."""

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
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy of our own pages: nothing but this one style sheet."""

_TITLES = {
    400: "This address cannot be read",
    401: "Please sign in",
    403: "This file is not shared with you",
    404: "There is no such file",
    503: "This site cannot answer now",
}


def page(status: int, phrase: str, code: str, detail: str, sign_in: str) -> bytes:
    """Make the page.

    Args:
        status: HTTP status code.
        phrase: its reason phrase.
        code: short stable code, the same as in the log.
        detail: one sentence for the reader.
        sign_in: URL of a sign-in page to offer; "" for none.
    """
    words = "Sign in as somebody else" if status == 403 else "Sign in"
    return _PAGE.format(
        title=escape(_TITLES.get(status, phrase)),
        status=f"{status} {phrase}",
        detail=escape(detail[:1].upper() + detail[1:]),
        action=f'<a class="button" href="{escape(sign_in)}">{words}</a>' if sign_in else "",
        code=escape(code),
        style=_STYLE,
    ).encode()
