"""The pages of sign-in, renewal and sign-out: where to sign in, a way out of frames, and what goes on by itself."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .layout import button, page


def choose(site: str, ways: Sequence[tuple[str, str]]) -> bytes:
    """Let the visitor choose where to sign in.

    Args:
        site: name of the site.
        ways: name of an issuer and the address that begins a sign-in there, for each.
    """
    links = "".join(f"<li>{button(url, name)}</li>" for name, url in ways)
    return page("Where do you sign in?", site, f'<ul class="ways">{links}</ul>')


def in_window(site: str, url: str) -> bytes:
    """Show the way out of somebody's frame, in which no issuer lets people sign in.

    Args:
        site: name of the site.
        url: what the link opens in the whole window.
    """
    body = "<p>That does not work inside another page.</p>" + button(url, "Open this site", ' target="_top"')
    return page("Please sign in", site, body)


def sign_out(site: str, who: str, action: str, home: str) -> bytes:
    """Show who is signed in, and the button that ends it.

    Args:
        site: name of the site.
        who: the caller, as the issuer names them.
        action: where the form is sent.
        home: path of the site's first page; "" if there is none.
    """
    form = f'<form method="post" action="{escape(action)}"><button class="button">Sign out</button></form>'
    return page("Do you want to sign out?", site, f"<p>You are signed in as {escape(who)}.</p>{form}{_home(home)}")


def signed_out(site: str, note: str, sign_in: str, home: str) -> bytes:
    """Say that nobody is signed in any more.

    Args:
        site: name of the site.
        note: a sentence more; "" for none.
        sign_in: URL of a sign-in page; "" if there is none.
        home: path of the site's first page; "" if there is none.
    """
    said = f"<p>{escape(note)}</p>" if note else ""
    again = button(sign_in, "Sign in") if sign_in else ""
    return page("You are signed out", site, f"{said}{again}{_home(home)}")


def wait(site: str, url: str) -> bytes:
    """Say that another tab signs in, while this one waits.

    Args:
        site: name of the site.
        url: where the page goes by itself.
    """
    body = "<p>You are signing in in another tab. This one goes on by itself in a moment.</p>" + button(url, "Go on")
    return page("One moment, please", site, body)


RENEW = """
(async () => {
  const form = document.forms[0], next = form.dataset.next, within = {signal: AbortSignal.timeout(15000)};
  form.action += location.hash;
  const often = () => {
    try {
      const [count, since] = JSON.parse(sessionStorage.renewals || "[0, 0]"), now = Date.now();
      const recent = now - since < 10000;
      sessionStorage.renewals = JSON.stringify(recent ? [count + 1, since] : [1, now]);
      return recent && count >= 5;
    } catch { return false; }
  };
  const renew = async () => {
    const answer = await fetch(form.action, {method: "POST", ...within});
    if (answer.status !== 204) throw answer.status;
    location.replace(next.includes("#") ? next : next + location.hash);
    setTimeout(() => { document.querySelector("[hidden]").hidden = false; }, 3000);
  };
  if (often()) return;
  try { await (navigator.locks ? navigator.locks.request("stagedoor-renew", within, renew) : renew()); }
  catch { form.submit(); }
})();
"""
"""One tab at a time renews the session; what it cannot do by itself, the form does. A circle waits for the visitor."""


def renew(site: str, action: str, next_: str) -> bytes:
    """Renew a session, and go on to where the visitor wants to go; without script, by a button.

    Args:
        site: name of the site.
        action: where the form is sent.
        next_: URL of the page that the visitor wants.
    """
    form = (
        f'<form method="post" action="{escape(action)}" data-next="{escape(next_)}">'
        '<button class="button">Go on</button></form>'
        "<p hidden>If your browser has saved a file, you can go back, or close this tab.</p>"
        f"<script>{RENEW}</script>"
    )
    return page("One moment, please", site, f"<p>This site asks whether you are still signed in.</p>{form}")


def again(site: str, why: str, ways: Sequence[tuple[str, str]]) -> bytes:
    """Break a circle: the sign-in worked, and yet it was asked for again and again.

    Args:
        site: name of the site.
        why: a sentence about the cause.
        ways: words and address of each way on.
    """
    body = f"<p>{escape(why)}</p>" + "".join(button(url, words) for words, url in ways)
    return page("Signing in does not help", site, body)


def _home(home: str) -> str:
    return f'<a href="{escape(home)}">Go to the first page</a>' if home else ""
