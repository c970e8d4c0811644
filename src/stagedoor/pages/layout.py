"""What all pages of ours look like: one style sheet, one card, and no script but those whose hash is told."""

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
.button { display: inline-block; margin: 1rem 1.25rem .5rem 0; padding: .6rem 1.25rem; border: 0; border-radius: 8px;
  font: inherit; font-weight: 600; background: var(--accent); color: var(--card); text-decoration: none;
  cursor: pointer; overflow-wrap: anywhere }
.ways { list-style: none; margin: 0; padding: 0 }
.ways .button { display: block; margin: .75rem 0 0; text-align: center }
a:focus-visible, .button:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px }
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main><p class="site">{site}</p>{status}<h1>{title}</h1>{body}{code}
</main></body></html>
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action {form}; frame-ancestors {frame}"
CONTENT_SECURITY_POLICY = _POLICY.format(style=_STYLE_HASH, form="'self'", frame="'none'")
"""Content-Security-Policy of our own pages: nothing but this one style sheet."""
IN_ANY_FRAME = _POLICY.format(style=_STYLE_HASH, form="'none'", frame="*")
"""The same for the one page that may stand in anybody's frame."""


def posting_to(origin: str) -> str:
    """The same for a page with a form whose answer may lead to another origin, and from there on by https.

    Chromium holds each redirect after a form against `form-action`, and nobody knows all hops of a provider.
    """
    return _POLICY.format(style=_STYLE_HASH, form=f"'self' https: {origin}", frame="'none'")


def renewing(script: str, origin: str) -> str:
    """The same for a page with one script, which asks this site, and a form as in `posting_to`."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"{posting_to(origin)}; script-src 'sha256-{digest}'; connect-src 'self'"


def page(title: str, site: str, body: str, *, status: str = "", code: str = "") -> bytes:
    """Make a page.

    Args:
        title: of the page, and its heading.
        site: name of the site.
        body: HTML.
        status: HTTP status and its phrase; "" for none.
        code: what the log calls it; "" for none.
    """
    return _PAGE.format(
        title=escape(title),
        site=escape(site),
        body=body,
        status=f'<p class="status">{escape(status)}</p>' if status else "",
        code=f'\n<p class="soft"><code>{escape(code)}</code></p>' if code else "",
        style=_STYLE,
    ).encode(errors="replace")  # a claim can hold half a character, cut off by its provider


def button(url: str, words: str, more: str = "") -> str:
    """A link that looks like a button; `more` are further attributes."""
    return f'<a class="button" href="{escape(url)}"{more}>{escape(words)}</a>'
